"""Fill the creative pool: write candidates for the slots that traffic will need, review them, keep the best, encode what is kept."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from core.beside import Beside, beside
from core.columns import Columns as C
from core.files import content_hash, read_json, read_table, write_table
from core.params import ChannelParams, GenerateParams
from core.tracking import Tracker
from core.vocabulary import CHANNELS, SCENES
from models.bundle import save_arrays, writing_bundle
from models.embeddings import Embeddings
from models.encoder.text_encoder import TextEncoder
from models.generator.audiences import audience_features
from models.generator.bundle import GeneratorBundle
from models.generator.compliance import OWN_RULES, Compliance
from models.generator.gpt import Sampling
from models.generator.request import CopyRequest, requests_of
from models.generator.sampling_search import Said, SamplingSearch, reward, settings, spread
from tasks.pool.candidates import Candidates, HumanCopy, look_at_human, needed, write
from tasks.pool.shelf import Shelf

logger = logging.getLogger(__name__)

_PERSONAL_SHARE = 2 / 3
"""Share of the slots that are written for one audience; the others are for everyone."""
_ROUND = 250
"""Slots that are written and reviewed at a time."""
_WORTH_A_PROCESS = 400
"""Slots from which on a second process writes every second one."""
_HELPINGS = 2
"""How often a slot is written for, at the most, while nothing that was written for it is accepted."""


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
    shelf, writer = Shelf(bundle, content_hash(generator)[:12]), needed(bundle)
    with beside(writer, worthwhile=len(slots) >= _WORTH_A_PROCESS and bundle.sampling is not None) as other:
        search = _write(writer, slots, params, rng, shelf=shelf, other=other)
        written = len(shelf.rows)
        known = human[human[C.ITEM].isin(list(products))]
        wanted = zip(known[C.ITEM], known[C.SCENE], known[C.CHANNEL], strict=True)
        places = [products[item].placed(scene, channel) for item, scene, channel in wanted]
        shelf.add_human(known, places, _looked_at(other, writer, places, known[C.TEXT].tolist()))
    shelf.fill(stocked, products, rng)
    table = shelf.table()
    vectors = TextEncoder.load(encoder).knowing(Embeddings.load(embeddings)).encode(table[C.TEXT].tolist())
    write_table(shelf.refused(), rejected)
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
        save_arrays({"vectors": vectors}, draft / "vectors.safetensors")
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


def _write(
    bundle: GeneratorBundle,
    slots: Sequence[CopyRequest],
    params: GenerateParams,
    rng: np.random.Generator,
    *,
    shelf: Shelf,
    other: Beside[GeneratorBundle],
) -> SamplingSearch | None:
    """Write every slot, round by round; what the candidates of a round were worth says how the next is written."""
    search = SamplingSearch(settings(bundle.sampling, params.temperature_steps, params.guidance_steps)) if bundle.sampling else None
    said = Said()
    for first in tqdm(range(0, len(slots), _ROUND), desc=f"write ({bundle.chosen})", unit="round", leave=False):
        requests = slots[first : first + _ROUND]
        dealt = search.deal(len(requests), rng) if search else np.zeros(len(requests), np.int64)
        rewards, left = np.zeros(len(requests)), list(range(len(requests)))
        for helping in range(_HELPINGS):
            found = _drawn(other, bundle, search, [requests[row] for row in left], dealt[left], n=params.candidates_per_slot, rng=rng)
            rewards[left] = [_choose(requests[row], candidates, params, shelf, said) for row, candidates in zip(left, found, strict=True)]
            if search and not helping:
                search.learn(dealt, rewards)
            left = np.flatnonzero(rewards == 0).tolist()
    return search


def _drawn(
    other: Beside[GeneratorBundle],
    bundle: GeneratorBundle,
    search: SamplingSearch | None,
    requests: Sequence[CopyRequest],
    dealt: NDArray[np.int64],
    *,
    n: int,
    rng: np.random.Generator,
) -> list[Candidates]:
    """Candidates for each request, written with the setting that it was dealt; every second one of a setting by the other process."""
    found: dict[int, Candidates] = {}
    begun: list[tuple[list[int], Future[list[Candidates]]]] = []
    own: list[tuple[list[int], Sampling | None, np.random.Generator]] = []
    for arm in sorted(set(dealt.tolist())):
        rows, sampling, streams = np.flatnonzero(dealt == arm).tolist(), search.arms[arm] if search else None, rng.spawn(2)
        own.append((rows[::2], sampling, streams[0]))
        if theirs := rows[1::2]:
            begun.append((theirs, other.begin(write, sampling, [requests[row] for row in theirs], n=n, rng=streams[1])))
    for mine, sampling, stream in own:
        found |= dict(zip(mine, write(bundle, sampling, [requests[row] for row in mine], n=n, rng=stream), strict=True))
    for theirs, pending in begun:
        found |= dict(zip(theirs, pending.result(), strict=True))
    return [found[row] for row in range(len(requests))]


def _looked_at(
    other: Beside[GeneratorBundle], bundle: GeneratorBundle, places: Sequence[CopyRequest], texts: Sequence[str]
) -> list[HumanCopy]:
    """What there is to say of human copies; of every second one the other process says it."""
    theirs = other.begin(look_at_human, places[1::2], texts[1::2])
    found = dict(zip(range(0, len(texts), 2), look_at_human(bundle, places[::2], texts[::2]), strict=True))
    found |= dict(zip(range(1, len(texts), 2), theirs.result(), strict=True))
    return [found[row] for row in range(len(texts))]


def _choose(request: CopyRequest, candidates: Candidates, params: GenerateParams, shelf: Shelf, said: Said) -> float:
    """Shelve a diverse few of the accepted candidates of a slot; what came of it, in [0, 1]."""
    bundle, known, reviews = shelf.bundle, shelf.texts.get(request.item_id, ()), candidates.reviews
    passed: list[str] = []
    for text in candidates.texts:
        shelf.candidates += 1
        review = reviews[text]
        if not review.accepted:
            shelf.refuse(request, text, bundle.chosen, reason=review.reason, rule=review.rule, found=review.found)
        elif text in known or text in passed:
            shelf.refuse(request, text, bundle.chosen, reason="duplicate", rule="item", found="")
        else:
            passed.append(text)
    weights = [candidates.weights[text] for text in passed] if len(passed) > 1 else [1.0] * len(passed)
    kept = [passed[row] for row in spread(passed, weights, params.kept_per_slot)]
    shelf.served += bool(passed)
    shelf.surplus += len(passed) - len(kept)
    newness = [said.newness(text, request.category) for text in kept]
    said.add(kept, request.category)
    for text in kept:
        shelf.rules[text, request.category] = candidates.rules[text]
        shelf.add(request, text, bundle.chosen, reviews[text].quality)
    return reward([bundle.worth(request, text, reviews[text].quality) for text in kept], newness, params.kept_per_slot)
