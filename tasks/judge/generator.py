"""All that is judged of a generator bundle: one piece of work, which a second process may do (`core.beside`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from core.files import read_table
from evaluation.detection import Detection
from models.decider import Decider
from models.generator import GeneratorBundle
from models.generator.audiences import audience_features
from models.generator.request import requests_of
from models.pool import Pool
from models.ranker import RankerBundle
from models.recommender import RecommenderBundle
from tasks.judge.compliance import compliance_quality
from tasks.judge.personal import clicks_of, judge_personal
from tasks.judge.writing import WritingEvidence, judge_writing
from tasks.report.page import ShopperView
from tasks.report.shoppers import shopper_views
from tasks.sources.market.truth import Truth


@dataclass(frozen=True)
class Files:
    """Where what is judged lies, and what it is judged by.

    Attributes:
        items: clean items.
        events: clean events.
        rejected: texts that generate refused.
        user_features: F and audience of each shopper.
        recommender: recommender bundle.
        generator: generator bundle.
        ranker: ranker bundle.
        pool: creative pool.
        known: the market's truth, and pseudonym → raw id, where there is one.
    """

    items: Path
    events: Path
    rejected: Path
    user_features: Path
    recommender: Path
    generator: Path
    ranker: Path
    pool: Path
    known: tuple[Truth, dict[str, str]] | None


@dataclass(frozen=True)
class Judged:
    """What came of it.

    Attributes:
        evidence: what was written for held-out products.
        detections: of the compliance list, by part of the labelled sentences.
        personal: see `judge_personal`.
        views: shoppers' slates, as the page shows them.
        cases: the same as plain values.
    """

    evidence: WritingEvidence
    detections: Mapping[str, Detection]
    personal: dict[str, Any]
    views: tuple[ShopperView, ...]
    cases: list[dict[str, Any]]


def judge_generator(files: Files, *, start: datetime, end: datetime, replications: int, rng: np.random.Generator) -> Judged:
    """Judge what was written and for whom, the compliance list, and some shoppers' slates.

    Args:
        files: what is judged.
        start: first moment of the held-out window, UTC.
        end: of the data, UTC.
        replications: of the bootstrap.
        rng: of all draws.

    Raises:
        BundleError: a bundle is incomplete.
    """
    writer, pool, shoppers = GeneratorBundle.load(files.generator), Pool.load(files.pool), read_table(files.user_features)
    evidence = judge_writing(
        writer,
        pool,
        read_table(files.rejected),
        requests_of(read_table(files.items), writer.limits),
        rng=rng,
        replications=replications,
    )
    clicks = clicks_of(files.known, start) if files.known else None
    personal = judge_personal(writer, shoppers, audience_features(shoppers), clicks, replications=replications, rng=rng)
    detections = {part.part: part.counts for part in compliance_quality(writer.reviewer.compliance)}
    decider = Decider(RecommenderBundle.load(files.recommender), RankerBundle.load(files.ranker), pool)
    views, cases = shopper_views(decider, writer, read_table(files.events), moment=end, start=start)
    return Judged(evidence, detections, personal, views, cases)
