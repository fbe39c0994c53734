"""What the copy report shows: each generator's held-out texts judged again, place by place, beside human copy and the pool."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.columns import Columns as C
from core.vocabulary import CHANNELS, SCENES, Origin
from evaluation import text as metrics
from evaluation.detection import wilson
from evaluation.frechet import frechet
from evaluation.intervals import Interval, bootstrap_mean
from models.generator.bundle import GeneratorBundle
from models.generator.held_out import HeldOutTexts
from models.generator.request import CopyRequest
from models.generator.spans import SharedSpan
from models.pool import Pool
from tasks.judge.copies import PER, SIGNATURE, row_measures
from tasks.judge.plane import Plane

HUMAN = Origin.HUMAN.value
SAMPLES = 40
NEAR_COPIES = 3
"""Closest texts to training copy that are shown of each generator."""
JUDGED = 400
"""Held-out products, at even steps, that are judged place by place and encoded; the table of metrics is of all of them."""
PLACE_METRICS = ("accepted", "bleu_4", "rouge_l", "attribute_coverage", "copy_rate")
_FEWEST = 5

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class Place:
    """Held-out copy of one scene and channel.

    Attributes:
        scene: the scene.
        channel: the channel.
        texts: how many.
        models: generator → metric → interval; the human copy last.
    """

    scene: str
    channel: str
    texts: int
    models: dict[str, dict[str, Interval]]


@dataclass(frozen=True)
class Sample:
    """One held-out product.

    Attributes:
        request: the product and its place.
        human: its human copy.
        texts: generator → its text, and why the reviewer refuses it; empty when it does not.
    """

    request: CopyRequest
    human: str
    texts: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class NearCopy:
    """A text and the training copy that it shares its longest span with."""

    origin: str
    text: str
    span: SharedSpan


@dataclass(frozen=True)
class Faults:
    """What is wrong with a set of texts, counted anew, never taken from the gate's own verdicts.

    Attributes:
        texts: how many.
        violations: those with a compliance violation, times `PER` over all, with Wilson's interval.
        contradictions: share that contradicts its product, with Wilson's interval.
    """

    texts: int
    violations: Interval
    contradictions: Interval

    @classmethod
    def of(cls, violating: NDArray[np.bool_], contradicting: NDArray[np.bool_]) -> "Faults":
        """Count.

        Args:
            violating: (n,), n at least 1.
            contradicting: (n,).
        """
        share = wilson(int(violating.sum()), len(violating))
        scaled = Interval(PER * share.value, PER * share.low, PER * share.high)
        return cls(len(violating), scaled, wilson(int(contradicting.sum()), len(contradicting)))

    def as_dict(self) -> dict[str, Any]:
        """As metrics.json holds it."""
        return {"texts": self.texts, "violations_per_10k": self.violations.as_dict(), "contradictions": self.contradictions.as_dict()}


@dataclass(frozen=True)
class GateRow:
    """Texts before and after the gate.

    Attributes:
        what: whose texts.
        before: as written.
        after: those that the gate accepts; None for human copy, which is not gated.
    """

    what: str
    before: Faults
    after: Faults | None


@dataclass(frozen=True)
class WritingEvidence:
    """All of it.

    Attributes:
        chosen: the generator that the pool is written with.
        texts: held-out products.
        training: training copies.
        signature: what the numbers rest on.
        models: generator → metric → interval; the human copy last.
        plane: quality and diversity of every author on the products of the curves.
        places: by scene and channel.
        samples: at even steps through the held-out products.
        near_copies: of each generator, the closest first.
        gate: before and after.
        config: of the bundle: curves, latent, verdicts.
        written: generator → its texts for the products that are judged place by place; the human copy last.
        learned: training copies, at even steps, for the Fréchet distance (`with_frechet`).
    """

    chosen: str
    texts: int
    training: int
    signature: str
    models: dict[str, dict[str, Interval]]
    plane: Plane
    places: tuple[Place, ...]
    samples: tuple[Sample, ...]
    near_copies: tuple[NearCopy, ...]
    gate: tuple[GateRow, ...]
    config: Mapping[str, Any]
    written: Mapping[str, tuple[str, ...]]
    learned: tuple[str, ...]


def judge_writing(
    bundle: GeneratorBundle,
    pool: Pool,
    rejected: pd.DataFrame,
    products: Mapping[str, CopyRequest],
    *,
    rng: np.random.Generator,
    replications: int,
) -> WritingEvidence:
    """Judge what a bundle's generators wrote for held-out products, and what came of it in the pool; all but the Fréchet distance.

    Args:
        bundle: with its held-out texts.
        pool: the creative pool.
        rejected: texts that generate refused.
        products: item id → request.
        rng: draws the bootstrap.
        replications: of the bootstrap.
    """
    held = bundle.held_out.at_most(JUDGED)
    texts = {**held.texts, HUMAN: tuple(held.references)} if held.copies else {}
    rows = {
        name: row_measures(written, held.requests, held.references, bundle.reviewer, human=name == HUMAN) for name, written in texts.items()
    }
    learned = tuple(copy.text for copy in bundle.copies[:: -(-len(bundle.copies) // (2 * JUDGED)) or 1])
    return WritingEvidence(
        chosen=bundle.chosen,
        texts=len(bundle.held_out.copies),
        training=len(bundle.copies),
        signature="|".join((metrics.signature(len(bundle.held_out.copies)), SIGNATURE)),
        models=_intervals(bundle.config),
        plane=Plane.of(bundle.held_out, bundle.config.get("curves", {})),
        places=_places(held, rows, rng, replications),
        samples=_samples(bundle),
        near_copies=tuple(near for name, written in held.texts.items() for near in _near_copies(bundle, name, written)),
        gate=_gate(bundle, rows, pool, rejected, products),
        config=bundle.config,
        written=texts,
        learned=learned,
    )


def with_frechet(evidence: WritingEvidence, encode: Encode) -> WritingEvidence:
    """The evidence with the distance of each generator's texts, and of the human copy for the same products, to training copy.

    Args:
        evidence: without it.
        encode: texts → vectors; most of the work, which likes to have all threads.
    """
    n = len(evidence.written.get(HUMAN, ()))
    if min(n, len(evidence.learned)) < 2:
        return evidence
    target, models = encode(evidence.learned), dict(evidence.models)
    for name, written in evidence.written.items():
        distance = frechet(encode([text or "。" for text in written]), target)
        models[name] = {**models[name], "frechet": Interval(distance, distance, distance)}
    rests_on = f"frechet:encoder,n:{n},to training copy:{len(evidence.learned)}"
    return replace(evidence, models=models, signature=f"{evidence.signature}|{rests_on}")


def _intervals(config: Mapping[str, Any]) -> dict[str, dict[str, Interval]]:
    """In the order of the bundle's generators, the human copy last; it is its own reference, so that its BLEU and ROUGE say nothing."""
    held: Mapping[str, Mapping[str, Mapping[str, float]]] = config.get("models", {})
    return {
        name: {metric: Interval(**value) for metric, value in held[name].items() if not _own_reference(name, metric)}
        for name in (*config.get("generators", ()), HUMAN)
        if name in held
    }


def _own_reference(name: str, metric: str) -> bool:
    return name == HUMAN and metric.startswith(("bleu", "rouge", "sacrebleu"))


def _places(
    held: HeldOutTexts, rows: Mapping[str, Mapping[str, NDArray[np.float64]]], rng: np.random.Generator, replications: int
) -> tuple[Place, ...]:
    places, groups = [], held.group_array()
    where = [(request.scene, request.channel) for request in held.requests]
    for scene in SCENES:
        for channel in CHANNELS:
            mine = np.array([place == (scene, channel) for place in where], bool)
            if mine.sum() < _FEWEST:
                continue
            models: dict[str, dict[str, Interval]] = {}
            for name, found in rows.items():
                models[name] = {}
                for metric in PLACE_METRICS:
                    if _own_reference(name, metric):
                        continue
                    known = mine & ~np.isnan(found[metric])
                    if known.any():
                        models[name][metric] = bootstrap_mean(found[metric][known], groups[known], replications, rng)
            places.append(Place(scene, channel, int(mine.sum()), models))
    return tuple(places)


def _samples(bundle: GeneratorBundle) -> tuple[Sample, ...]:
    held = bundle.held_out
    step = max(1, len(held.copies) // SAMPLES)
    found = []
    for row in range(0, len(held.copies), step)[:SAMPLES]:
        request = held.copies[row].request
        texts = {}
        for name, written in held.texts.items():
            review = bundle.review(request, written[row])
            why = "" if review.accepted else f"{review.reason}: {review.rule} {review.found}".strip()
            texts[name] = (written[row], why)
        found.append(Sample(request, held.copies[row].text, texts))
    return tuple(found)


def _near_copies(bundle: GeneratorBundle, name: str, written: Sequence[str]) -> list[NearCopy]:
    spans = [(text, bundle.reviewer.spans.shared(text)) for text in dict.fromkeys(written)]
    found = [NearCopy(name, text, span) for text, span in spans if span is not None]
    return sorted(found, key=lambda near: (-near.span.length, near.text))[:NEAR_COPIES]


def _gate(
    bundle: GeneratorBundle,
    rows: Mapping[str, Mapping[str, NDArray[np.float64]]],
    pool: Pool,
    rejected: pd.DataFrame,
    products: Mapping[str, CopyRequest],
) -> tuple[GateRow, ...]:
    """Violations and contradictions counted anew on every side of the gate, never taken from its own verdicts."""
    found = []
    for name, measured in rows.items():
        passed = measured["accepted"] > 0
        violating, contradicting = measured["violations_per_10k"] > 0, measured["contradiction_rate"] > 0
        after = Faults.of(violating[passed], contradicting[passed]) if name != HUMAN and passed.any() else None
        found.append(GateRow(name, Faults.of(violating, contradicting), after))
    facts, compliance = bundle.reviewer.facts, bundle.reviewer.compliance

    def counted(frame: pd.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        pairs = [(str(text), products[item]) for text, item in zip(frame[C.TEXT], frame[C.ITEM], strict=True) if item in products]
        return (
            np.array([bool(compliance.blocks(text, request.category)) for text, request in pairs], bool),
            np.array([bool(facts.contradictions(text, request)) for text, request in pairs], bool),
        )

    candidates = int(pool.config.get("generated", {}).get("candidates", 0))
    machine = pool.creatives[pool.creatives[C.AI_LABEL].astype(bool)]
    if candidates and len(machine):
        refused = counted(rejected[rejected[C.ORIGIN] == bundle.chosen])
        rest = np.zeros(max(candidates - len(refused[0]), 0), bool)  # what the gate let through is counted in the pool
        before = Faults.of(*(np.concatenate([side, rest]) for side in refused))
        found.append(GateRow(f"candidates ({bundle.chosen}) → machine-written creatives in the pool", before, Faults.of(*counted(machine))))
    return tuple(found)
