"""The four bundles that answer together, loaded and connected."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from core.columns import Columns
from core.errors import BundleError, EncoderError
from core.files import content_hash
from core.identity import check_fingerprint
from core.params import ServingParams
from models.bundle import load_arrays, read_config
from models.correction import Beliefs
from models.decider import Decider
from models.generator import CopyRequest, GeneratorBundle
from models.generator.compliance import Compliance
from models.generator.request import requests_of
from models.policies.served import ServedPolicy
from models.pool import Pool
from models.ranker import RankerBundle
from models.recommender import RecommenderBundle
from registry.models import KINDS
from serving.api import Versions
from serving.champions import Found
from serving.learning import Learning
from serving.pacing import Pacing
from serving.policies import Policies, load_policies
from serving.storage import Storage
from serving.warm import frequent_queries
from serving.world import World

_log = logging.getLogger(__name__)

_AT_ONCE = 128  # so few that the encoder shows no progress bar among the lines of the log
QUERIES_AHEAD = 2048
"""Queries that are encoded before a set serves, the most frequent ones: one that meets the network holds its whole group up by 20 ms."""


@dataclass(frozen=True)
class ModelSet:
    """What answers; never changed once it serves.

    Attributes:
        recommender: finds items.
        ranker: scores creatives.
        pool: what may be shown.
        generator: writes copy.
        decider: the path from shopper to slate.
        products: catalogue items as orders for copy.
        versions: what the answers carry.
        world: whose shoppers they are, and what time it is for them.
        policies: who draws whose slate.
        learning: what clicks have taught since the ranker was trained; None when no policy asks for it.
        pacing: what the campaigns' money costs now; None when budgets are not paced.
    """

    recommender: RecommenderBundle
    ranker: RankerBundle
    pool: Pool
    generator: GeneratorBundle
    decider: Decider
    products: dict[str, CopyRequest]
    versions: Versions
    world: World
    policies: Policies
    learning: Learning | None = None
    pacing: Pacing | None = None
    writing: threading.Lock = field(default_factory=threading.Lock)
    """Generators and the encoder's network are used by one thread at a time."""

    @cached_property
    def versions_json(self) -> bytes:
        """The versions as answers carry them."""
        return self.versions.model_dump_json().encode()

    def under(self, policy: ServedPolicy, beliefs: Beliefs | None) -> "ModelSet":
        """The set as answers and records of one policy name it.

        Args:
            policy: that draws the slate.
            beliefs: what it goes by, if it learns.
        """
        mark = f"/{beliefs.version.partition('/')[2]}" if policy.learns and beliefs is not None else ""
        return replace(self, versions=self.versions.model_copy(update={"policy": f"{policy.version}{mark}"}))

    def learn(self, queries: Sequence[str]) -> None:
        """Encode queries now, so that the next answer does not wait for the network.

        Args:
            queries: what shoppers searched for.
        """
        try:
            with self.writing:
                self.recommender.encoder.features(queries)
        except EncoderError as error:  # the events are stored and acknowledged all the same
            _log.warning("queries are not encoded ahead: %s", error)


def load_models(
    bundles: Mapping[str, Found],
    path: Callable[[Found], Path],
    *,
    params: ServingParams,
    world: World,
    storage: Storage,
    before: ModelSet | None = None,
) -> ModelSet:
    """Load a set, and let its networks answer once so that no shopper waits for them.

    Args:
        bundles: by kind.
        path: bundle → its folder.
        params: say which policy serves, and its floor.
        world: whose shoppers they are.
        storage: holds the decision log that a policy learns from.
        before: the set that serves; its models stay when only policies are others.

    Raises:
        BundleError: a bundle is incomplete, or the pool fits none of the recommender's items.
        IdentityError: a bundle was trained on users that were hashed with another key.
        RegistryError: a bundle's files cannot be had.
    """
    policies = load_policies(bundles, path, params)
    if before is not None and all(before.versions.bundles[kind] == bundles[kind].bundle_hash for kind in KINDS):
        learning = before.learning or _learning(before.pool, before.versions.model, storage, params, policies)
        told = _versions(bundles, policies)
        return replace(before, versions=told, policies=policies, learning=learning if policies.learns else None)
    folders = {kind: path(bundles[kind]) for kind in KINDS}
    for kind, folder in folders.items():
        held = read_config(folder, kind).get("user_key_fingerprint")
        if held is not None:
            check_fingerprint(str(held), world.key)
    recommender = RecommenderBundle.load(folders["recommender"])
    inside = folders["ranker"] / "recommender"
    same = inside.exists() and content_hash(inside) == bundles["recommender"].bundle_hash
    ranker = RankerBundle.load(folders["ranker"], vectorise=recommender.encoder.features if same else None)
    ranker = ranker.reading(recommender) if same else ranker
    pool = Pool.load(folders["pool"])
    if not set(pool.item_row) & set(recommender.champion.item_ids):
        raise BundleError("the champions do not fit: the pool holds none of the recommender's items. Promote both from one run.")
    texts = pool.creatives[Columns.TEXT].astype(str)
    first = ~texts.duplicated().to_numpy()
    raw = load_arrays(folders["pool"] / "vectors.safetensors")["vectors"]
    ranker.remember(texts[first].tolist(), ranker.recommender.encoder.centre(raw[first]))
    recommender.encoder.features(["你好"])
    _encode_ahead(recommender, ranker, frequent_queries(storage.store, QUERIES_AHEAD))
    decider = Decider(recommender, ranker, pool)
    decider.prepare()
    versions = _versions(bundles, policies)
    generator = GeneratorBundle.load(folders["generator"]).under(Compliance.of_bundle(folders["pool"]))
    return ModelSet(
        recommender=recommender,
        ranker=ranker,
        pool=pool,
        generator=generator,
        decider=decider,
        products=requests_of(pool.items, generator.limits),
        versions=versions,
        world=world,
        policies=policies,
        learning=_learning(pool, versions.model, storage, params, policies),
        pacing=_pacing(pool, storage, params, world, before),
    )


def _pacing(pool: Pool, storage: Storage, params: ServingParams, world: World, before: ModelSet | None) -> Pacing | None:
    """Goes on from what is stored: what serves so far writes down what it knows."""
    if not params.pacing:
        return None
    if before is not None and before.pacing is not None:
        before.pacing.save()
    return Pacing(pool, storage.store, storage.state, calendar=storage.log.calendar, now=world.now, slate=params.max_slate)


def _encode_ahead(recommender: RecommenderBundle, ranker: RankerBundle, queries: Sequence[str]) -> None:
    try:
        for start in range(0, len(queries), _AT_ONCE):
            part = queries[start : start + _AT_ONCE]
            recommender.encoder.remember(part, recommender.encoder.encode(part))
            ranker.remember(part, ranker.recommender.encoder.features(part))
    except EncoderError as error:  # the first shoppers who ask wait for it
        _log.warning("queries are not encoded ahead: %s", error)


def _versions(bundles: Mapping[str, Found], policies: Policies) -> Versions:
    return Versions(
        policy=policies.champion.version,
        model=f"ranker-{bundles['ranker'].bundle_hash[:12]}",
        retrieval=f"recommender-{bundles['recommender'].bundle_hash[:12]}/pool-{bundles['pool'].bundle_hash[:12]}",
        bundles={kind: bundles[kind].bundle_hash for kind in sorted(bundles)},
        registered={kind: bundles[kind].version for kind in sorted(bundles)},
    )


def _learning(pool: Pool, model_version: str, storage: Storage, params: ServingParams, policies: Policies) -> Learning | None:
    if policies.learns is None:
        return None
    return Learning(
        pool,
        model_version,
        storage.store,
        storage.state,
        positions=params.max_slate,
        exploration=policies.learns.exploration,
    )
