"""Measures every bundle on the held-out window, each beside its baselines, each number with its interval."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from core.beside import beside
from core.columns import Columns
from core.files import read_json, read_table, write_beside, write_json, write_table
from core.identity import check_fingerprint, pseudonymise, user_key
from core.lineage import Lineage
from core.params import EvaluateParams
from core.tracking import Tracker
from models.embeddings import Embeddings
from models.encoder import TextEncoder
from models.pool import Pool, campaigns_of
from models.ranker import RankerBundle
from models.recommender import RecommenderBundle
from tasks.judge.generator import Files, judge_generator
from tasks.judge.measures import Measure, copy_measures, policy_measures, ranker_measures, recommender_measures
from tasks.judge.policies import TrueClick, log_requests
from tasks.judge.rankers import judge_ranker, window
from tasks.judge.recommenders import judge_recommenders
from tasks.judge.retrieval import judge_retrieval
from tasks.judge.scenes import judge_scenes
from tasks.judge.truths import true_click_of, true_clicks_of_copy
from tasks.judge.writing import with_frechet
from tasks.report.build import build_page
from tasks.report.copy_page import build_copy_page
from tasks.report.page import render, render_copy
from tasks.sources.market.truth import Truth

_WORTH_A_PROCESS = 2500
"""Human copies from which on a second process judges the generator."""
REQUESTS = 4000
"""Held-out requests whose candidates are scored, at the most."""


@dataclass(frozen=True)
class Window:
    """The held-out window and what was learned before it."""

    train_end: datetime
    start: datetime
    end: datetime


def evaluate(
    params: EvaluateParams,
    *,
    rng: np.random.Generator,
    tracker: Tracker,
    items: Path,
    events: Path,
    copies: Path,
    impressions: Path,
    campaigns: Path,
    quarantine: Path,
    lineage: Path,
    data_report: Path,
    embeddings: Path,
    encoder: Path,
    user_features: Path,
    recommender: Path,
    generator: Path,
    ranker: Path,
    pool: Path,
    rejected: Path,
    truth: Path,
    report: Path,
    index: Path,
    copy: Path,
    metrics: Path,
    calibration: Path,
    ranking: Path,
    policy_value: Path,
) -> None:
    """Judge the bundles and write metrics, plots and the report page.

    Args:
        params: the protocol.
        rng: draws the requests and the bootstrap.
        tracker: receives the headline metrics and the page.
        items: clean items.
        events: clean events.
        copies: clean human copy.
        impressions: clean logged ads.
        campaigns: clean campaigns.
        quarantine: refused rows.
        lineage: what the source has, and the split times.
        data_report: counts of prepare.
        embeddings: raw vectors of human copy.
        encoder: encodes what the generators wrote.
        user_features: F and audience of each shopper.
        recommender: recommender bundle.
        generator: generator bundle.
        ranker: ranker bundle.
        pool: creative pool.
        rejected: texts that generate refused.
        truth: the market's truth; an empty folder for real sources.
        report: folder for per-user and per-request scores and the shoppers' cases.
        index: the page.
        copy: the copy report.
        metrics: all numbers.
        calibration: reliability of p_click.
        ranking: recommenders by metric.
        policy_value: policies by value.

    Raises:
        BundleError: a bundle is incomplete.
        IdentityError: the user key is not the one the data were hashed with.
    """
    facts: Lineage = read_json(lineage)  # type: ignore[assignment]
    span = Window(*(datetime.fromisoformat(facts[key]) for key in ("train_end", "validation_end", "end")))
    tables = {
        name: read_table(path) for name, path in {"items": items, "events": events, "copies": copies, "impressions": impressions}.items()
    }
    bundles = RecommenderBundle.load(recommender), RankerBundle.load(ranker), Pool.load(pool)
    known, refused = _truth(facts, truth), read_table(rejected)
    files = Files(items, events, rejected, user_features, recommender, generator, ranker, pool, known)
    measured: dict[str, Measure] = {}
    with write_beside(report) as draft, beside(files, worthwhile=len(tables["copies"]) >= _WORTH_A_PROCESS) as other:
        draft.mkdir(parents=True)
        pending = other.begin(judge_generator, start=span.start, end=span.end, replications=params.bootstrap, rng=rng.spawn(1)[0])
        frame = judge_recommenders(bundles[0], tables["events"], start=span.start, end=None, train_end=span.train_end, k=params.top_k)
        write_table(frame, draft / "recommenders.parquet")
        measured["recommender"] = recommender_measures(frame, bundles[0].champion.name, params, rng)
        measured["scenes"] = judge_scenes(
            bundles[0], tables["events"], campaigns_of(read_table(campaigns)), start=span.start, params=params, rng=rng.spawn(1)[0]
        )
        found = judge_retrieval(bundles[0], tables["events"], start=span.start, params=params, rng=rng.spawn(1)[0])
        measured["recommender"] = replace(measured["recommender"], facts={**measured["recommender"].facts, "retrieval": found})
        if bundles[1].trained and facts["has"]["impressions"]:
            measured |= _judge_ads(params, span, tables, bundle=bundles[1], known=known, draft=draft, rng=rng)
        else:
            reason = bundles[1].reason or "not trained: no impressions"
            measured |= {"ranker": Measure.untrained(reason), "policy": Measure.untrained(reason)}
        author = None
        if known and facts["has"]["impressions"]:
            author = true_clicks_of_copy(
                known, tables["impressions"], tables["copies"], bundles[2], start=span.start, replications=params.bootstrap, rng=rng
            )
        judged = pending.result()
        write_json(judged.cases, draft / "shoppers.json")
    writing = with_frechet(judged.evidence, TextEncoder.load(encoder).knowing(Embeddings.load(embeddings)).features)
    measured["generator"] = copy_measures(writing, judged.detections, bundles[2], refused, author, personal=judged.personal)
    everything = {name: measure.as_dict() for name, measure in measured.items()}
    protocol = {
        "split": "by time", "train_end": facts["train_end"], "window_start": facts["validation_end"], "window_end": facts["end"],
        "ranking": "against all items, no sampling; the next item viewed or purchased",
        "interval": f"95 %, {params.bootstrap} bootstrap replications over users; of an AUC by its placements, summed by user",
    }  # fmt: skip
    write_json(
        {"protocol": protocol, "data_version": facts["data_version"], "source": facts["source"], "missing": facts["missing"], **everything},
        metrics,
    )
    _write_plots(measured, calibration=calibration, ranking=ranking, policy_value=policy_value)
    page = build_page(
        facts,
        read_json(data_report),
        measured,
        judged.views,
        bundles[2],
        quarantine=read_table(quarantine),
        rejected=refused,
        campaigns=len(read_table(campaigns)),
    )
    with write_beside(index) as draft:
        draft.write_text(render(page), encoding="utf-8")
    subtitle = f"Source {facts['source']}, data {facts['data_version'][:12]}."
    with write_beside(copy) as draft:
        told = build_copy_page(writing, refused, judged.detections, subtitle=subtitle)
        draft.write_text(render_copy(*told, judged.evidence.signature), encoding="utf-8")
    tracker.log_metrics({f"{name}.{key}": value for name, measure in measured.items() for key, value in measure.headline().items()})
    for path in (index, copy, metrics, calibration, ranking, policy_value):
        tracker.log_artifact(path)


def _truth(facts: Lineage, folder: Path) -> tuple[Truth, dict[str, str]] | None:
    """The known truth and pseudonym → raw id, where the source has one."""
    if not facts["has"]["truth"]:
        return None
    key = user_key(synthetic=facts["synthetic"])
    check_fingerprint(facts["user_key_fingerprint"], key)
    known = Truth.load(folder)
    return known, dict(zip(pseudonymise(known.user_ids, key), known.user_ids, strict=True))


def _judge_ads(
    params: EvaluateParams,
    span: Window,
    tables: dict[str, pd.DataFrame],
    *,
    bundle: RankerBundle,
    known: tuple[Truth, dict[str, str]] | None,
    draft: Path,
    rng: np.random.Generator,
) -> dict[str, Measure]:
    shown = window(tables["impressions"], span.start)
    inputs = {name: tables[name] for name in ("impressions", "events", "copies")}
    frame, (requests, candidates) = judge_ranker(bundle, shown, **inputs)
    true_click: TrueClick | None = true_click_of(*known) if known else None
    if true_click is not None:
        by_request = shown.drop_duplicates(Columns.REQUEST)[Columns.USER].astype(str).tolist()
        frame = frame.assign(truth=true_click(by_request, requests, candidates))
    write_table(frame, draft / "impressions.parquet")
    logged = log_requests(shown, bundle=bundle, **inputs, true_click=true_click, limit=REQUESTS, rng=rng)
    return {"ranker": ranker_measures(frame, params, rng, chosen=bundle.chosen), "policy": policy_measures(logged, params, rng)}


def _write_plots(measured: dict[str, Measure], *, calibration: Path, ranking: Path, policy_value: Path) -> None:
    """The tables that `dvc plots show` draws; with a head and no rows where nothing was measured."""
    reliability = measured["ranker"].table("reliability", ["predicted", "observed", "low", "high", "impressions"])
    for frame, path in (
        (reliability, calibration),
        (measured["recommender"].points(), ranking),
        (measured["policy"].points(), policy_value),
    ):
        with write_beside(path) as draft:
            frame.to_csv(draft, index=False, float_format="%.6f", lineterminator="\n")
