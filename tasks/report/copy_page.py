"""The copy report: what the generators write, how good and how new it is, and what the gate lets through."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from core.columns import Columns as C
from evaluation.detection import Detection
from evaluation.intervals import Interval
from tasks.judge.copies import PER
from tasks.judge.writing import HUMAN, PLACE_METRICS, Faults, NearCopy, Place, Sample, WritingEvidence
from tasks.report.charts import PlanePoint, plane_chart
from tasks.report.latent_chapter import latent_chapter
from tasks.report.page import Chapter, Page, SampleView, Table, interval_cell, marked, table

PERCENT = frozenset(
    {"accepted", "copy_rate", "span_share", "attribute_coverage", "contradiction_rate", "foreign_word_rate", "distinct_1", "distinct_2"}
)
NAMES = {
    "shown_score": "score of the first choice of four (0–1)",
    "score": "score (0–1)",
    "bleu_4": "BLEU-4",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "sacrebleu_zh": "sacreBLEU zh",
    "distinct_1": "distinct-1, %",
    "distinct_2": "distinct-2, %",
    "self_bleu_4": "Self-BLEU-4",
    "copy_rate": "copy rate, %",
    "span_share": "span share, %",
    "longest_span": "longest shared span",
    "attribute_coverage": "attribute coverage, %",
    "contradiction_rate": "contradictions, %",
    "foreign_word_rate": "words of other kinds of product, %",
    "frechet": "Fréchet distance",
    "perplexity": "perplexity a character",
    "violations_per_10k": "violations per 10,000",
    "accepted": "accepted by the gate, %",
}
"""Metric → how the page calls it, in the order of its table."""
_DIGITS = {"score": 3, "shown_score": 3, "frechet": 4, "longest_span": 0, "violations_per_10k": 0}
_EXAMPLES = 3


def build_copy_page(
    evidence: WritingEvidence, rejected: pd.DataFrame, detections: Mapping[str, Detection], *, subtitle: str
) -> tuple[Page, tuple[SampleView, ...]]:
    """The report's page.

    Args:
        evidence: what was judged.
        rejected: texts that generate refused.
        detections: group of labelled sentences → how the compliance list does on it.
        subtitle: source and data version.

    Returns:
        The page, and the samples under it.
    """
    reason = str(evidence.config.get("reason", ""))
    page = Page(
        title="Adloom · copy",
        subtitle=f"{subtitle} {evidence.texts:,} held-out products, split by group of attributes and text; "
        f"{evidence.training:,} training copies.",
        headlines=_headlines(evidence),
        shoppers=(),
        chapters=(
            *((_generators(evidence), _plane(evidence)) if evidence.models else ()),
            *((_places(evidence),) if len(evidence.places) > 1 else ()),
            *latent_chapter(evidence.config),
            _gate(evidence, detections),
            *((_rejected(rejected),) if len(rejected) else ()),
            *((_near_copies(evidence),) if evidence.near_copies else ()),
        ),
        cautions=(reason,) if reason else (),
    )
    return page, tuple(_sample(sample, evidence.chosen) for sample in evidence.samples)


def _headlines(evidence: WritingEvidence) -> tuple[tuple[str, str, str], ...]:
    found, human = evidence.models.get(evidence.chosen), evidence.models.get(HUMAN)
    heads = [("The pool is written by", evidence.chosen, f"of {len(evidence.models) - 1} generators" if human else "nothing was trained")]
    if found and human:
        ours, theirs = found["self_bleu_4"].value, human["self_bleu_4"].value
        heads.append((f"BLEU-4 of {evidence.chosen}", f"{found['bleu_4'].value:.2f}", f"ROUGE-L {found['rouge_l'].value:.2f}"))
        heads.append(("Self-BLEU-4", f"{ours:.1f}", f"human copy {theirs:.1f}; higher is more alike"))
        heads.append(
            ("Copied from training", f"{100 * found['copy_rate'].value:.1f} %", f"human copy {100 * human['copy_rate'].value:.1f} %")
        )
    after = evidence.gate[-1].after if evidence.gate else None
    if after is not None:
        ends = f"[{after.violations.low:.0f}, {after.violations.high:.0f}]"
        detail = f"{ends}; contradictions {100 * after.contradictions.value:.2f} %"
        heads.append(("Violations after the gate", f"{after.violations.value:.0f} per {PER:,}", detail))
    return tuple(heads)


def _cell(metric: str, value: Interval | None) -> str:
    if value is None:
        return "–"
    scale = 100.0 if metric in PERCENT else 1.0
    digits = _DIGITS.get(metric, 1 if metric in PERCENT else 2)
    return interval_cell(scale * value.value, scale * value.low, scale * value.high, digits=digits)


def _generators(evidence: WritingEvidence) -> Chapter:
    names = list(evidence.models)
    rows = [
        (words, *(_cell(metric, evidence.models[name].get(metric)) for name in names))
        for metric, words in NAMES.items()
        if any(metric in found for found in evidence.models.values())
    ]
    note = (
        "But for the first row: one unselected text a held-out product; under a number its 95 % bootstrap interval over groups, which "
        "measures of the whole set lack. Copied: a span of 20 characters or more of a training text. Span share: characters in spans "
        "of 8 or more. Contradictions: another type, colour, length, brand, price or number than the product has. Fréchet: distance "
        "to training copy in the encoder's space, which human copy has too. Perplexity: a character "
        "3-gram model of the other half of the held-out human copy."
    )
    lead, shown = f"The pool takes from {evidence.chosen}", evidence.config.get("shown")
    if shown:
        lead += f": of {shown['texts']} texts for each of {shown['products']} held-out products the first choice scores best"
    known = evidence.config.get("familiar")
    if known and known["left_out"]:
        new, most = (f"{100 * known[name]:.0f} %" for name in ("new_pairs", "most"))
        lead += (
            f" of those that can be judged. Of the word pairs of held-out human copy {new} are in no training copy; above {most} no score "
            f"here tells sense from garble, and {', '.join(known['left_out'])} are left out of the choice"
        )
    return Chapter("Generators", f"{lead}.", (table(("metric", *names), rows, accent=evidence.chosen, note=note),))


_CURVE = ("temperature", "bleu4", "self_bleu4", "copy_rate")


def _plane(evidence: WritingEvidence) -> Chapter:
    plane = evidence.plane
    points = [PlanePoint(name, plane.self_bleu_4[name], bleu, accent=name == evidence.chosen) for name, bleu in plane.bleu_4.items()]
    drawn = evidence.config.get("curves", {})
    swept: dict[str, list[dict[str, Any]]] = drawn.get("points", {})
    curves = {name: [(float(point["self_bleu4"]), float(point["bleu4"])) for point in curve] for name, curve in swept.items()}
    told = " Lines join one generator's temperatures." if curves else ""
    lead = (
        f"Up is closer to the human copy, left is more varied; the dashed line is how alike human copy is.{told} Dots, lines and the "
        f"dashed line are of {plane.texts:,} held-out products, one text each."
    )
    if plane.texts < evidence.texts:
        lead += f" Self-BLEU grows with the number of texts: over all {evidence.texts:,} it is higher, as the table above has it."
    tables = []
    if curves:
        rows = [
            (
                name,
                *(f"{float(point[key]):g}" if key == "temperature" else f"{float(point[key]):.2f}" for key in _CURVE),
                _beside(drawn, name, at),
            )
            for name, curve in swept.items()
            for at, point in enumerate(curve)
        ]
        head = ("generator", "temperature", "BLEU-4", "Self-BLEU-4", "copy rate", "above the 3-gram")
        tables.append(
            table(head, rows, note=f"On {drawn['n']} held-out copies, one text each; above: at no higher copy rate and no less variety.")
        )
    return Chapter("Quality and diversity", lead, tuple(tables), (plane_chart(points, curves, plane.human),))


def _beside(drawn: Mapping[str, Any], name: str, at: int) -> str:
    verdict = drawn.get("above_ngram", {}).get(name)
    return ("yes" if verdict["points"][at]["above"] else "no") if verdict else "–"


def _places(evidence: WritingEvidence) -> Chapter:
    names = list(evidence.places[0].models)

    def row(place: Place, metric: str) -> tuple[str, ...]:
        cells = (_cell(metric, place.models[name].get(metric)) for name in names)
        return (f"{place.scene} · {place.channel}", f"{place.texts:,}", *cells)

    head = ("scene · channel", "texts", *names)
    tables = tuple(
        table(head, [row(place, metric) for place in evidence.places], accent=evidence.chosen, title=NAMES[metric], folded=number > 1)
        for number, metric in enumerate(PLACE_METRICS)
    )
    return Chapter("By scene and channel", "The same texts, or every n-th of them, place by place; human copy beside.", tables)


def _gate(evidence: WritingEvidence, detections: Mapping[str, Detection]) -> Chapter:
    rows = [(row.what, *_faults(row.before), *_faults(row.after)) for row in evidence.gate]
    head = (
        "texts",
        "written",
        f"violations per {PER:,}",
        "contradict their product",
        "accepted",
        f"violations per {PER:,} ",
        "contradict ",
    )
    note = (
        "Counted anew on both sides of the gate, not taken from its verdicts; 95 % Wilson intervals. What the list and the fact check do "
        "not see, they do not count either: the labelled sentences say how much the list sees."
    )
    tables = [table(head, rows, note=note), *([_labelled(detections)] if detections else [])]
    lead = "Of what is written, and of what the gate accepts; human copy is not gated."
    return Chapter("Facts and compliance, before and after the gate", lead, tuple(tables))


def _faults(found: Faults | None) -> tuple[str, str, str]:
    if found is None:
        return "–", "–", "–"
    return f"{found.texts:,}", interval_cell(*_triple(found.violations), digits=0), _share(found.contradictions)


def _share(found: Interval) -> str:
    return interval_cell(*(100 * end for end in _triple(found)), digits=2, unit=" %")


def _triple(found: Interval) -> tuple[float, float, float]:
    return found.value, found.low, found.high


def _labelled(detections: Mapping[str, Detection]) -> Table:
    rows = [
        (
            name,
            f"{found.found + found.missed}",
            f"{found.passed + found.wronged}",
            _share(found.recall) if found.found + found.missed else "–",
            _share(found.precision) if found.passed + found.wronged and found.found else "–",
            f"{found.missed}",
            f"{found.wronged}" if found.passed + found.wronged else "–",
        )
        for name, found in detections.items()
    ]
    head = ("labelled sentences", "violations", "fine", "recall", "precision", "missed", "wrongly stopped")
    return table(
        head,
        rows,
        note="On sentences labelled by hand: rounds 1 to 5 after the list was changed for them (decision 0004 has them at first sight), "
        "the others never learnt from (docs/copy.md).",
    )


def _rejected(rejected: pd.DataFrame) -> Chapter:
    counts = rejected.groupby([C.ORIGIN, C.REASON, "rule"]).size().sort_values(ascending=False, kind="stable")
    rows = [(*map(str, key), f"{count:,}") for key, count in zip(counts.index, counts, strict=True)]
    examples = []
    for (reason, rule), some in rejected.groupby([C.REASON, "rule"]):
        for text, found in list(zip(some[C.TEXT].astype(str), some["found"].astype(str), strict=True))[:_EXAMPLES]:
            place = text.find(found) if found else -1
            examples.append((f"{reason}: {rule}", marked(text, max(place, 0), len(found) if place >= 0 else 0), found))
    return Chapter(
        "Rejected texts",
        f"{len(rejected):,} texts that the gate refused while the pool was filled.",
        (
            table(("author", "reason", "rule", "texts"), rows),
            table(("why", "text", "what decided"), examples, note=f"The first {_EXAMPLES} of each rule.", text=True),
        ),
    )


def _near_copies(evidence: WritingEvidence) -> Chapter:
    rows = [_near(near) for near in evidence.near_copies]
    lead = "The texts of each generator that share most with one training text, beside it; from 20 characters on a text counts as copied."
    return Chapter("Closest to training copy", lead, (table(("generator", "characters", "text", "training copy"), rows, text=True),))


def _near(near: NearCopy) -> tuple[str, ...]:
    span = near.span
    return (
        near.origin,
        f"{span.length}",
        marked(near.text, span.start, span.length),
        marked(span.source, span.source_start, span.length),
    )


def _sample(sample: Sample, chosen: str) -> SampleView:
    request = sample.request
    facts: Sequence[tuple[str, Any]] = [("brand", request.brand), *request.attributes]
    return SampleView(
        title=request.title,
        place=f"{request.scene} · {request.channel} · {request.category}",
        attributes=" · ".join(f"{key} {value}" for key, value in facts if value),
        texts=((HUMAN, sample.human, ""), *((name, text, why) for name, (text, why) in sample.texts.items())),
        accent=chosen,
    )
