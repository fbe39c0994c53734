"""Fill the creative pool: write candidates for the slots that traffic will need, review them, keep the best, encode what is kept."""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from core.columns import Columns as C
from core.files import content_hash, read_json, read_table, write_table
from core.params import ChannelParams, GenerateParams
from core.tracking import Tracker
from core.vocabulary import CHANNELS, SCENES, Channel, Origin, Scene
from models.bundle import save_arrays, writing_bundle
from models.embeddings import Embeddings
from models.encoder.text_encoder import TextEncoder
from models.generator.audiences import audience_features
from models.generator.bundle import GeneratorBundle
from models.generator.compliance import OWN_RULES, Compliance
from models.generator.request import CopyRequest, requests_of
from models.generator.sampling_search import Said, SamplingSearch, reward, settings, spread

logger = logging.getLogger(__name__)

_PERSONAL_SHARE = 2 / 3
"""Share of the slots that are written for one audience; the others are for everyone."""
_ROUND = 250
"""Slots that are written and reviewed at a time."""
_HELPINGS = 2
"""How often a slot is written for, at the most, while nothing that was written for it is accepted."""
_COLUMNS = [C.CREATIVE, C.ITEM, C.SCENE, C.CHANNEL, C.TEXT, C.ORIGIN, C.AUDIENCE, C.GENERATOR_VERSION, C.QUALITY, C.VERDICT, C.AI_LABEL]
_REJECTED = [C.ITEM, C.SCENE, C.CHANNEL, C.AUDIENCE, C.TEXT, C.ORIGIN, C.REASON, "rule", "found"]


def generate(
    params: GenerateParams,
    channels: ChannelParams,
    *,
    rng: np.random.Generator,
    tracker: Tracker,
    items: Path,
    copies: Path,
    events: Path,
    campaigns: Path,
    impressions: Path,
    lineage: Path,
    embeddings: Path,
    user_features: Path,
    encoder: Path,
    generator: Path,
    own: Path,
    pool: Path,
    rejected: Path,
) -> None:
    """Write, review and encode creatives.

    The pool holds, in this order of choice for a slot (item, scene, channel, audience): generated creatives; human copy that the
    compliance list lets pass, written for everyone; and, where an item in stock has nothing for a (scene, channel), the best text of
    the same item that fits there, else a template. Every item in stock has a creative for every scene and channel. A campaign's name
    and dates are in campaigns.parquet, for the card; generated text holds no date and no offer.

    Args:
        params: slots, candidates, limits.
        channels: how long copy may be.
        rng: the stage's stream.
        tracker: receives the counts.
        items: the catalogue; items with stock 0 get no new creative.
        copies: human copies.
        events: behaviour; breaks ties where impressions are few.
        campaigns: dated campaigns, copied into the pool.
        impressions: logged ads; those before train_end say which slots traffic needs.
        lineage: where the training window ends.
        embeddings: raw vectors of human copy.
        user_features: F and audience of each shopper.
        encoder: encodes what was accepted.
        generator: the generator bundle.
        own: folder of the user's own data; own compliance rules are read from there, and the pool carries them.
        pool: the bundle to write.
        rejected: the table of refused texts to write, each with its reason.
    """
    rules = None if params.compliance_rules is None else own / params.compliance_rules
    bundle = GeneratorBundle.load(generator).limited_to(params.max_copied_span).under(Compliance.load(extra=rules))
    catalogue, human = read_table(items), read_table(copies)
    products = requests_of(catalogue, channels.limits())
    stocked = [item for item, stock in zip(products, catalogue[C.STOCK], strict=True) if pd.isna(stock) or stock > 0]
    users = read_table(user_features)
    demand = _demand(read_table(impressions), read_table(events), users, read_json(lineage), set(stocked))
    slots = _slots(demand, {item: products[item] for item in stocked}, audience_features(users), params.max_slots)
    shelf = _Shelf(bundle, content_hash(generator)[:12])
    search = _write(bundle, slots, params, rng, shelf)
    written = len(shelf.rows)
    _add_human(human, products, shelf)
    _fill(stocked, products, rng, shelf)
    table = _table(shelf)
    known = Embeddings.load(embeddings)
    write_table(pd.DataFrame(shelf.rejected, columns=_REJECTED).astype({C.AUDIENCE: "str"}), rejected)
    config = {
        "generator": bundle.chosen,
        "generator_version": shelf.version,
        "creatives": len(table),
        "by_origin": _counts(table[C.ORIGIN]),
        "slots": {"wanted": len(slots), "personal": sum(slot.audience_id is not None for slot in slots), "with_a_creative": shelf.served},
        "generated": {
            "candidates": shelf.candidates,
            "accepted": written,
            "surplus": shelf.surplus,
            "rejected": _counts([f"{row[C.REASON]}:{row['rule']}" for row in shelf.rejected]),
        },
        "sampling": search.summary() if search else [],
        "filled": shelf.filled,
        "copy_in_source": bool(len(human)),
        "limits": channels.limits(),
        "note": bundle.config.get("reason", ""),
    }
    with writing_bundle(pool, "pool", config) as draft:
        write_table(table, draft / "creatives.parquet")
        write_table(catalogue, draft / "items.parquet")
        if rules is not None:
            (draft / OWN_RULES).write_bytes(rules.read_bytes())
        write_table(read_table(campaigns), draft / "campaigns.parquet")
        save_arrays({"vectors": _vectors(table[C.TEXT].tolist(), known, encoder)}, draft / "vectors.safetensors")
    tracker.log_metrics(
        {
            "creatives": float(len(table)),
            "generated": float(written),
            "rejected": float(len(shelf.rejected)),
            "candidates": float(shelf.candidates),
        }
    )
    logger.info("%d creatives: %s; %d of %d candidates accepted", len(table), config["by_origin"], written, shelf.candidates)


def _counts(values: Any) -> dict[str, int]:
    return dict(sorted(Counter(str(value) for value in values).items()))


def _demand(
    impressions: pd.DataFrame, events: pd.DataFrame, users: pd.DataFrame, lineage: Mapping[str, Any], stocked: set[str]
) -> pd.DataFrame:
    """Expected traffic a slot: impressions of the training window, and a hundredth of the item's events spread over its slots."""
    end = pd.Timestamp(str(lineage["train_end"]))
    audience = users.set_index(C.USER)[C.AUDIENCE] if len(users) else pd.Series(dtype="str")

    def placed(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame[(frame[C.TIMESTAMP] < end) & frame[C.ITEM].isin(list(stocked))]
        return frame.assign(**{C.AUDIENCE: frame[C.USER].map(audience).astype("object").fillna("")})

    key = [C.ITEM, C.AUDIENCE, C.SCENE, C.CHANNEL]
    shown = placed(impressions)[key].assign(n=1.0)
    places = pd.DataFrame([(scene, channel) for scene in SCENES for channel in CHANNELS], columns=[C.SCENE, C.CHANNEL])
    seen = placed(events)[[C.ITEM, C.AUDIENCE]].assign(n=0.01 / len(places)).groupby([C.ITEM, C.AUDIENCE], as_index=False).sum()
    counted: pd.DataFrame = pd.concat([shown, seen.merge(places, how="cross")[[*key, "n"]]]).groupby(key, as_index=False).sum()
    return counted


def _slots(
    demand: pd.DataFrame, products: Mapping[str, CopyRequest], features: Mapping[str, np.ndarray], max_slots: int
) -> list[CopyRequest]:
    """The slots with most traffic; what personal slots leave over is added up into slots for everyone. No traffic: items in order."""
    table = demand.sort_values(["n", C.ITEM, C.SCENE, C.CHANNEL, C.AUDIENCE], ascending=[False, True, True, True, True], kind="stable")
    personal = table[table[C.AUDIENCE].isin(list(features))].head(round(max_slots * _PERSONAL_SHARE))
    rest = table.drop(personal.index).groupby([C.ITEM, C.SCENE, C.CHANNEL])["n"].sum().reset_index()
    rest = rest.sort_values(["n", C.ITEM, C.SCENE, C.CHANNEL], ascending=[False, True, True, True], kind="stable")
    places = [(item, scene, channel) for item, scene, channel in zip(rest[C.ITEM], rest[C.SCENE], rest[C.CHANNEL], strict=True)]
    if not len(table):
        places = [(item, scene, channel) for scene in SCENES for channel in CHANNELS for item in products]
    wanted = [
        products[item].placed(scene, channel, audience, features[audience])
        for item, audience, scene, channel in zip(
            personal[C.ITEM], personal[C.AUDIENCE], personal[C.SCENE], personal[C.CHANNEL], strict=True
        )
    ]
    return [*wanted, *[products[item].placed(scene, channel) for item, scene, channel in places[: max_slots - len(wanted)]]]


@dataclass
class _Shelf:
    """What has been accepted and refused so far."""

    bundle: GeneratorBundle
    version: str

    def __post_init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.rejected: list[dict[str, Any]] = []
        self.texts: dict[str, set[str]] = {}
        self.reusable: dict[str, list[tuple[float, str, str, str, str]]] = {}
        self.open: set[tuple[str, str, str]] = set()
        self.candidates = self.surplus = self.served = self.filled = 0

    def add(
        self, request: CopyRequest, text: str, origin: str, quality: float, *, creative_id: str | None = None, reusable: bool = True
    ) -> None:
        """Accept a text for a place."""
        audience = request.audience_id
        key = "|".join([request.item_id, request.scene, request.channel, audience or "", origin, text])
        warnings = sorted({found.rule for found in self.bundle.reviewer.compliance.check(text, request.category)})
        human = origin == Origin.HUMAN
        self.rows.append(
            {
                C.CREATIVE: creative_id or f"{origin[0]}{hashlib.sha256(key.encode()).hexdigest()[:12]}",
                C.ITEM: request.item_id,
                C.SCENE: request.scene,
                C.CHANNEL: request.channel,
                C.TEXT: text,
                C.ORIGIN: origin,
                C.AUDIENCE: audience,
                C.GENERATOR_VERSION: "human" if human else self.version,
                C.QUALITY: quality,
                C.VERDICT: f"warn:{','.join(warnings)}" if warnings else "pass",
                C.AI_LABEL: not human,
            }
        )
        self.texts.setdefault(request.item_id, set()).add(text)
        if audience is None:
            self.open.add((request.item_id, request.scene, request.channel))
        if reusable:
            self.reusable.setdefault(request.item_id, []).append((quality, request.scene, request.channel, text, origin))

    def refuse(self, request: CopyRequest, text: str, origin: str, *, reason: str, rule: str, found: str) -> None:
        """Write down why a text is not shown."""
        row = {
            C.ITEM: request.item_id,
            C.SCENE: request.scene,
            C.CHANNEL: request.channel,
            C.AUDIENCE: request.audience_id,
            C.TEXT: text,
            C.ORIGIN: origin,
        }
        self.rejected.append({**row, C.REASON: reason, "rule": rule, "found": found})


def _write(
    bundle: GeneratorBundle, slots: Sequence[CopyRequest], params: GenerateParams, rng: np.random.Generator, shelf: _Shelf
) -> SamplingSearch | None:
    """Write every slot, round by round; what the candidates of a round were worth says how the next is written."""
    search = SamplingSearch(settings(bundle.sampling, params.temperature_steps, params.guidance_steps)) if bundle.sampling else None
    said = Said()
    for first in tqdm(range(0, len(slots), _ROUND), desc=f"write ({bundle.chosen})", unit="round", leave=False):
        requests = slots[first : first + _ROUND]
        dealt = search.deal(len(requests), rng) if search else np.zeros(len(requests), np.int64)
        rewards, left = np.zeros(len(requests)), list(range(len(requests)))
        for helping in range(_HELPINGS):
            found = _drawn(bundle, search, [requests[row] for row in left], dealt[left], n=params.candidates_per_slot, rng=rng)
            rewards[left] = [_choose(requests[row], texts, params, shelf, said) for row, texts in zip(left, found, strict=True)]
            if search and not helping:
                search.learn(dealt, rewards)
            left = np.flatnonzero(rewards == 0).tolist()
    return search


def _drawn(
    bundle: GeneratorBundle,
    search: SamplingSearch | None,
    requests: Sequence[CopyRequest],
    dealt: NDArray[np.int64],
    *,
    n: int,
    rng: np.random.Generator,
) -> list[list[str]]:
    """Candidates for each request, written with the setting that it was dealt."""
    found: list[list[str]] = [[] for _ in requests]
    for arm in sorted(set(dealt.tolist())):
        rows = np.flatnonzero(dealt == arm).tolist()
        drawing = bundle.drawing(search.arms[arm]) if search else bundle
        for row, texts in zip(rows, drawing.write([requests[row] for row in rows], n, rng), strict=True):
            found[row] = texts
    return found


def _choose(request: CopyRequest, texts: Sequence[str], params: GenerateParams, shelf: _Shelf, said: Said) -> float:
    """Review the candidates of a slot and shelve a diverse few of the accepted; what came of it, in [0, 1]."""
    bundle, known = shelf.bundle, shelf.texts.get(request.item_id, ())
    reviews = bundle.reviewed(request, texts)
    passed: list[str] = []
    for text in texts:
        shelf.candidates += 1
        review = reviews[text]
        if not review.accepted:
            shelf.refuse(request, text, bundle.chosen, reason=review.reason, rule=review.rule, found=review.found)
        elif text in known or text in passed:
            shelf.refuse(request, text, bundle.chosen, reason="duplicate", rule="item", found="")
        else:
            passed.append(text)
    weights = bundle.weights(request, texts, reviews) if len(passed) > 1 else dict.fromkeys(passed, 1.0)
    kept = [passed[row] for row in spread(passed, [weights[text] for text in passed], params.kept_per_slot)]
    shelf.served += bool(passed)
    shelf.surplus += len(passed) - len(kept)
    newness = [said.newness(text, request.category) for text in kept]
    said.add(kept, request.category)
    for text in kept:
        shelf.add(request, text, bundle.chosen, reviews[text].quality)
    return reward([bundle.worth(request, text, reviews[text].quality) for text in kept], newness, params.kept_per_slot)


def _add_human(human: pd.DataFrame, products: Mapping[str, CopyRequest], shelf: _Shelf) -> None:
    reviewer = shelf.bundle.reviewer
    for copy_id, item, scene, channel, text in zip(
        human[C.COPY], human[C.ITEM], human[C.SCENE], human[C.CHANNEL], human[C.TEXT], strict=True
    ):
        if item not in products:
            continue
        request = products[item].placed(scene, channel)
        violations = reviewer.compliance.blocks(text, request.category)
        if violations:
            shelf.refuse(request, text, Origin.HUMAN, reason="compliance", rule=violations[0].rule, found=violations[0].found)
        elif len(text) > request.max_length:
            shelf.refuse(request, text, Origin.HUMAN, reason="length", rule="too_long", found=str(len(text)))
        else:  # the merchant's own statement: offers and dates in it are the merchant's, but it is not moved to another place then
            review = reviewer.review(text, request, may_copy=True)
            shelf.add(request, text, Origin.HUMAN, review.quality, creative_id=str(copy_id), reusable=review.accepted)


def _fill(stocked: Sequence[str], products: Mapping[str, CopyRequest], rng: np.random.Generator, shelf: _Shelf) -> None:
    template = shelf.bundle.generators[Origin.TEMPLATE]
    for item in stocked:
        texts = list(shelf.reusable.get(item, ()))
        for scene in SCENES:
            for channel in CHANNELS:
                if (item, scene, channel) in shelf.open:
                    continue
                request = products[item].placed(scene, channel)
                fitting = [entry for entry in texts if len(entry[3]) <= request.max_length and (entry[1] in (scene, Scene.PRODUCT))]
                if fitting:
                    quality, _, _, text, origin = max(
                        fitting, key=lambda entry: (entry[1] == scene, entry[2] == channel, entry[0], entry[3])
                    )
                else:
                    text, origin = template.write([request.placed(scene, Channel.SEARCH)], 1, rng)[0][0], str(Origin.TEMPLATE)
                    quality = shelf.bundle.review(request, text).quality
                    texts.append((quality, Scene.PRODUCT, channel, text, origin))
                creative_id = f"b{hashlib.sha256('|'.join([item, scene, channel, text]).encode()).hexdigest()[:12]}"
                shelf.add(request, text, origin, quality, creative_id=creative_id, reusable=False)
                shelf.filled += 1


def _table(shelf: _Shelf) -> pd.DataFrame:
    table = pd.DataFrame(shelf.rows, columns=_COLUMNS)
    kinds = {name: "str" for name in _COLUMNS if name not in (C.QUALITY, C.AI_LABEL)}
    table = table.astype({**kinds, C.QUALITY: "float64", C.AI_LABEL: "bool"})
    order = [C.ITEM, C.SCENE, C.CHANNEL, C.AUDIENCE, C.QUALITY, C.CREATIVE]
    return table.sort_values(order, ascending=[True, True, True, True, False, True], na_position="last", kind="stable", ignore_index=True)


def _vectors(texts: Sequence[str], known: Embeddings, encoder: Path) -> np.ndarray:
    distinct = list(dict.fromkeys(texts))
    new = [text for text in distinct if text not in known]
    row_of = {text: row for row, text in enumerate(distinct)}
    vectors = np.zeros((len(distinct), known.vectors.shape[1]), np.float32)
    old = [text for text in distinct if text in known]
    vectors[[row_of[text] for text in old]] = known.vectors_of(old)
    if new:
        vectors[[row_of[text] for text in new]] = TextEncoder.load(encoder).encode(new)
    return vectors[[row_of[text] for text in texts]]
