"""Puts what was measured into chapters: each model beside its baselines, in words, tables and charts."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from core.columns import Columns
from core.lineage import Lineage
from models.pool import Pool
from tasks.judge.measures import Measure
from tasks.report.charts import interval_chart
from tasks.report.latent_chapter import GAN_IDLE, pool_by_gan
from tasks.report.measured import bars, models_table, ranker_name, rankers_chapter, scenes_chapter
from tasks.report.page import Chapter, Page, ShopperView, Table, interval_words, table

SAMPLES = 20
_SHOWN_REJECTS = 12
_COPY_METRICS = (
    "shown_score",
    "score",
    "bleu_4",
    "rouge_l",
    "self_bleu_4",
    "attribute_coverage",
    "copy_rate",
    "contradiction_rate",
    "accepted",
)
"""Of the many; the copy report has them all."""


def build_page(
    facts: Lineage,
    data_report: Mapping[str, Any],
    measured: Mapping[str, Measure],
    views: tuple[ShopperView, ...],
    pool: Pool,
    *,
    quarantine: pd.DataFrame,
    rejected: pd.DataFrame,
    campaigns: int,
) -> Page:
    """The whole page.

    Args:
        facts: lineage.json.
        data_report: data_report.json: counts by table.
        measured: by kind of model: recommender, scenes, policy, ranker, generator.
        views: the shoppers.
        pool: the creative pool.
        quarantine: refused rows.
        rejected: texts that generate refused.
        campaigns: how many campaigns there are.
    """
    span = f"{facts['validation_end'][:16]} to {facts['end'][:16]} UTC"
    subtitle = f"Source {facts['source']}, data {facts['data_version'][:12]}; held out from {span}."
    return Page(
        title="Adloom",
        subtitle=subtitle,
        headlines=headlines(measured, len(pool)),
        shoppers=views,
        chapters=(
            _recommenders(measured["recommender"]),
            scenes_chapter(measured["scenes"]),
            _policies(measured["policy"]),
            rankers_chapter(measured["ranker"]),
            copy_chapter(measured["generator"], pool, rejected),
            data_chapter(data_report, quarantine, campaigns),
        ),
        cautions=tuple(facts["missing"]),
    )


def headlines(measured: Mapping[str, Measure], creatives: int) -> tuple[tuple[str, str, str], ...]:
    """The numbers at the head of the page: name, value, detail.

    Args:
        measured: see `build_page`.
        creatives: in the pool.
    """
    heads = []
    found = measured["recommender"]
    if found.models:
        times = found.facts.get("times_popularity")
        detail = f"{times['value']:.1f} × popularity [{times['low']:.1f}, {times['high']:.1f}]" if times else "no popularity baseline"
        heads.append((f"Recommender {found.main}", f"{found.models[found.challenger][found.main].value:.4f}", detail))
    policy = measured["policy"]
    share = policy.models.get(policy.challenger, {}).get("headroom_share")
    if share:
        heads.append(
            (
                "Headroom reached",
                f"{100 * share.value:.0f} %",
                f"of oracle − logging, true CTR [{100 * share.low:.0f}, {100 * share.high:.0f}]",
            )
        )
    ranker = measured["ranker"]
    area = ranker.models.get("ranker", {}).get("auc")
    if area:
        heads.append(
            (
                f"AUC, {ranker_name(ranker)}",
                f"{area.value:.4f}",
                f"observed / expected {ranker.models['ranker']['observed_over_expected'].value:.3f}",
            )
        )
    heads.append(
        ("Creatives in the pool", f"{creatives:,}", f"{measured['generator'].facts['compliance_violations']} compliance violations")
    )
    return tuple(heads)


def _recommenders(measure: Measure) -> Chapter:
    if not measure.models:
        return Chapter("Recommenders", str(measure.facts["reason"]))
    lead = (
        f"Where the next item of {measure.facts['users']:,} shoppers stands among all items, given what each did strictly before. "
        f"{measure.facts['novel_users']:,} of these items the shopper had not met before (novel); "
        f"{measure.facts['new_users_users']:,} shoppers and {measure.facts['new_items_users']:,} items were not in the training window."
        f"{retrieval_words(measure.facts.get('retrieval'))}"
    )
    chart = interval_chart(bars(measure, measure.main), measure.main)
    return Chapter("Recommenders", lead, (models_table(measure, note="95 % bootstrap intervals over users; full ranking."),), (chart,))


def retrieval_words(facts: Mapping[str, Any] | None) -> str:
    """How lists are found, and how much of the exact lists the approximate way gives.

    Args:
        facts: of `tasks.judge.retrieval.judge_retrieval`; None where it was not asked.
    """
    if facts is None:
        return ""
    way = "from a graph index" if facts["indexed"] else f"by scoring each of {facts['items']:,} items"
    if "recall" not in facts:
        return f" Lists are made {way}."
    found, left = facts["recall"], 100 * facts["exactly_answered"]
    return (
        f" Lists are made {way}; {'it' if facts['indexed'] else 'a graph index'} gives "
        f"{interval_words(found['value'], found['low'], found['high'])} of the exact first {facts['k']} ({facts['shoppers']:,} shoppers; "
        f"{left:.0f} % are left to the exact way)."
    )


def _policies(measure: Measure) -> Chapter:
    if not measure.models:
        return Chapter("Policies", str(measure.facts["reason"]))
    lead = (
        f"What each policy would have shown at the top of {measure.facts['requests']:,} held-out requests, "
        "from the candidates that were logged. "
        f"Policies keep {100 * measure.facts['exploration']:.0f} % exploration unless they are called greedy."
    )
    tables = []
    charts: tuple[str, ...] = ()
    if measure.facts["known_truth"]:
        note = "True click-through by the simulator's own probabilities; share of headroom = (policy − logging) / (oracle − logging)."
        tables.append(models_table(measure, percent=frozenset({"true_ctr", "observed_ctr", "headroom_share"}), note=note))
        charts = (interval_chart(bars(measure, "true_ctr"), "true CTR at position 0", percent=True),)
    rows = []
    for estimator, found in measure.facts["off_policy"].items():
        ess = f"{found['effective_sample_size']:.0f}"
        weight = f"{found['largest_weight']:.1f}"
        if "refused" in found:
            rows.append((estimator, "refused", found["refused"], ess, weight))
        else:
            lift = found["lift"]
            value = interval_words(found["value"], found["low"], found["high"], percent=True)
            rows.append((estimator, value, interval_words(lift["value"], lift["low"], lift["high"], percent=True), ess, weight))
    head = ("estimator", "value of the challenger", "lift over logging", "effective sample size", "largest weight")
    tables.append(table(head, rows, note="From the log alone: logged propensities and clicks, no knowledge of the simulator."))
    return Chapter("Policies", lead, tuple(tables), charts)


def copy_chapter(measure: Measure, pool: Pool, rejected: pd.DataFrame) -> Chapter:
    """Who writes the pool, how the generators compare, what copy for an audience is worth, and samples.

    Args:
        measure: of `tasks.judge.measures.copy_measures`.
        pool: the creative pool.
        rejected: texts that generate refused.
    """
    f = measure.facts
    wrote = ", ".join(f"{name} {count:,}" for name, count in f["by_origin"].items())
    chosen = measure.challenger
    lead = (
        f"The pool takes what is best on held-out products when the first choice of four is shown: {chosen}."
        if measure.models
        else f"Nothing was held out to compare generators on: the pool takes from {chosen}."
    )
    lead += f" The pool holds {len(pool):,} creatives ({wrote})."
    if told := pool_by_gan(chosen, f.get("gan_works")):
        lead += f" {GAN_IDLE} {told}"
    if reason := str(f.get("reason", "")).rstrip("."):
        lead += f" {reason}."
    tables = []
    if measure.models:
        tables.append(
            models_table(
                measure,
                note="Held-out copies, split by group of product attributes and text; 95 % bootstrap intervals. All of it: copy.html.",
                only=_COPY_METRICS,
            )
        )
    if "true_ctr_by_author" in f:
        rows = [(name, interval_words(v["value"], v["low"], v["high"], percent=True)) for name, v in f["true_ctr_by_author"].items()]
        tables.append(
            table(("author", "true CTR"), rows, note="Same shoppers, products, slots, moments and position; only the copy differs.")
        )
    if "personal" in f:
        tables.append(_personal(f["personal"]))
    tables.append(_samples(pool))
    if f["rejected"]:
        tables.append(table(("reason", "texts refused"), [(name, f"{count:,}") for name, count in f["rejected"].items()]))
        shown = rejected.drop_duplicates(Columns.REASON).head(_SHOWN_REJECTS)
        tables.append(
            table(
                ("text", "why it was refused"),
                list(zip(shown[Columns.TEXT], shown[Columns.REASON], strict=True)),
                note="The first text of each reason.",
            )
        )
    return Chapter("Copy", lead, tuple(tables))


def _personal(found: Mapping[str, Any]) -> Table:
    """Whether copy for an audience is really for it."""

    def shown(name: str, *, percent: bool = False) -> str:
        return interval_words(found[name]["value"], found[name]["low"], found[name]["high"], percent=percent)

    names = {
        "true_ctr_lift": "true click-through of copy for the audience, over that of copy for everyone",
        "true_ctr_headroom": "the same, if the truth chose among the candidates",
        "true_ctr_ceiling": "the same, if the truth chose for everyone too",
    }
    rows = (
        [("audience recognised by a classifier of other products' copies", shown("recognition", percent=True))]
        if "recognition" in found
        else []
    )
    rows += [
        (words, shown(name) + (_verdict(found[name]) if name == "true_ctr_lift" else "")) for name, words in names.items() if name in found
    ]
    for name in ("accepted", "quality"):
        pair = [("–" if part is None else f"{part:.3f}") for part in found[name].values()]
        rows.append((f"{name}: for an audience / for everyone", " / ".join(pair)))
    note = (
        f"{found['generator']}: {found['complete']} of {found['products']} held-out products have a text for each of "
        f"{found['audiences']} audiences and for everyone. Chance of recognition: {1 / found['audiences']:.0%}."
    )
    return table(("copy for an audience", "value"), rows, note=note)


def _verdict(lift: Mapping[str, float]) -> str:
    """What a ratio of click-throughs says, by whether its interval excludes 1."""
    return ": clicks better" if lift["low"] > 1 else ": clicks worse" if lift["high"] < 1 else ": not told apart"


def _samples(pool: Pool) -> Table:
    """Machine-written creatives at even steps through the pool: nobody chose them."""
    written = pool.creatives[pool.creatives[Columns.AI_LABEL].astype(bool)]
    step = max(1, len(written) // SAMPLES)
    rows = [
        (str(row[Columns.TEXT]), str(pool.item(str(row[Columns.ITEM]))[Columns.TITLE]), f"{row[Columns.SCENE]} · {row[Columns.CHANNEL]}",
         "everyone" if pd.isna(row[Columns.AUDIENCE]) else str(row[Columns.AUDIENCE]), str(row[Columns.ORIGIN]))
        for row in written.iloc[::step].head(SAMPLES).to_dict("records")
    ]  # fmt: skip
    return table(
        ("creative", "product", "slot", "audience", "generator"), rows, note="Unselected: every n-th machine-written creative of the pool."
    )


def data_chapter(data_report: Mapping[str, Any], quarantine: pd.DataFrame, campaigns: int) -> Chapter:
    """What was read, kept and refused, table by table.

    Args:
        data_report: data_report.json, as `tasks.prepare` writes it.
        quarantine: refused rows and rows set aside.
        campaigns: how many campaigns there are.
    """
    found: Mapping[str, Mapping[str, int]] = data_report["tables"]
    rows = [(name, *(f"{counts[key]:,}" for key in ("rows", "accepted", "refused", "set_aside"))) for name, counts in found.items()]
    note = "Refused rows and rows set aside are in quarantine, with reasons."
    tables = [table(("table", "rows read", "rows kept", "refused", "set aside"), rows, note=note)]
    if len(quarantine):
        reasons = quarantine.groupby([Columns.TABLE, Columns.REASON]).size().sort_values(ascending=False).head(_SHOWN_REJECTS)
        tables.append(
            table(("table", "reason", "rows"), [(*map(str, key), f"{count:,}") for key, count in zip(reasons.index, reasons, strict=True)])
        )
    return Chapter("Data", f"What was read, what the data contract refused and why. {campaigns} campaigns.", tuple(tables))
