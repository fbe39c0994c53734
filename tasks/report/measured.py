"""Chapters of what may have had too little to go on: scenes and the ranker; and the table and bars that every chapter draws."""

from collections.abc import Mapping

from evaluation.intervals import Interval
from tasks.judge.measures import Measure
from tasks.report.charts import Bar, calibration_chart, interval_chart
from tasks.report.page import Chapter, Table, interval_words, table


def models_table(
    measure: Measure,
    *,
    percent: frozenset[str] = frozenset(),
    note: str = "",
    only: tuple[str, ...] = (),
    names: Mapping[str, str] | None = None,
    remarks: Mapping[tuple[str, str], str] | None = None,
) -> Table:
    """A row a model, a column a metric, each cell with its interval.

    Args:
        measure: what was measured.
        percent: metrics written in per cent.
        note: under the table.
        only: these metrics, in this order; all when empty.
        names: model → what stands for it.
        remarks: (model, metric) → what stands behind the number.
    """
    known = dict.fromkeys(metric for found in measure.models.values() for metric in found)
    metrics = [metric for metric in only or known if metric in known]

    def cell(name: str, found: Mapping[str, Interval], metric: str) -> str:
        value = found.get(metric)
        words = interval_words(value.value, value.low, value.high, percent=metric in percent) if value else "–"
        remark = (remarks or {}).get((name, metric), "")
        return f"{words} ({remark})" if value and remark else words

    called = {name: (names or {}).get(name, name) for name in measure.models}
    rows = [(called[name], *(cell(name, found, metric) for metric in metrics)) for name, found in measure.models.items()]
    return table(("model", *metrics), rows, accent=called.get(measure.challenger, measure.challenger), note=note)


def bars(measure: Measure, metric: str) -> list[Bar]:
    """A bar a model that has the metric, the largest first.

    Args:
        measure: what was measured.
        metric: which metric.
    """
    found = [(name, values[metric]) for name, values in measure.models.items() if metric in values]
    found.sort(key=lambda pair: (-pair[1].value, pair[0]))
    return [Bar(name, v.value, v.low, v.high, accent=name == measure.challenger) for name, v in found]


def scenes_chapter(measure: Measure) -> Chapter:
    """Each scene by what it is for; one with a handful of cases is said to be too few to tell.

    Args:
        measure: of `tasks.judge.scenes.judge_scenes`.
    """
    if not measure.models:
        return Chapter("Scenes", str(measure.facts["reason"]))
    cases = measure.facts["cases"]
    by = "what baskets taught" if measure.facts["complements"] else "the champion, for there are too few baskets to learn from"
    lead = (
        "Lists as they would be shown, under all rules. Product: the next item viewed or bought "
        f"({cases['product']:,} shoppers). Promotion: the first one that a campaign advertised just then, among such items "
        f"({cases['promotion']:,}). Cross-sell: an item taken out of a basket, given the others, ordered by {by} "
        f"({cases['cross_sell']:,} baskets). Brand: a first purchase of a brand; of those it could win and did not, how many stand "
        f"below ({cases['brand']:,} won)."
    )
    note = "hr: hit rate of the list, beside lists by others under the same rules, and the paired difference; auc: mean over brands."
    few = {scene: f"{scene}: {cases[scene]} cases, too few to tell" for scene in measure.facts["too_few"] if scene in measure.models}
    if few:
        note += (
            f" Fewer than {measure.facts['fewest_cases']} cases are too few to tell: such numbers are no evidence, whatever their interval."
        )
    return Chapter("Scenes", lead, (models_table(measure, note=f"95 % bootstrap intervals over users; {note}", names=few),))


def ranker_name(measure: Measure) -> str:
    """The ranker and which of the models it is, such as ``ranker (logistic chosen)``.

    Args:
        measure: of `tasks.judge.measures.ranker_measures`, of a ranker that was judged.
    """
    return f"ranker ({measure.facts['chosen']} chosen)"


def rankers_chapter(measure: Measure) -> Chapter:
    """Discrimination and calibration of the ranker beside its baselines; a prediction that is one number for every ad is called so.

    Args:
        measure: of `tasks.judge.measures.ranker_measures`.
    """
    if not measure.models:
        return Chapter("Ranker", str(measure.facts["reason"]))
    f = measure.facts
    one_number: Mapping[str, Mapping[str, float]] = f["one_number"]
    counts = f"{f['impressions']:,} held-out impressions with {f['clicks']:,} clicks and {f['conversions']:,} conversions"
    called = ranker_name(measure)
    lead = f"p_click and p_convert on {counts}; CTR {100 * f['ctr']:.2f} %."
    for kind, value in one_number.get("ranker", {}).items():
        what = "clicks" if kind == "p_click" else "conversions"
        lead += (
            f" The ranker's {kind} is a constant, {100 * value:.2f} % for every ad: there were too few {what} to learn from, or nothing "
            "learned was better than their rate. It says how often and not which ad."
        )
    constant = "a constant"
    remarks = {
        (name, metric): constant
        for name, found in one_number.items()
        for kind, metrics in (("p_click", ("log_loss", "auc", "observed_over_expected")), ("p_convert", ("log_loss_convert",)))
        for metric in metrics
        if kind in found
    }
    rows = [
        (
            called if name == "ranker" else name,
            "–" if found["calibration_error"] is None else f"{found['calibration_error']:.4f}",
            constant
            if "p_click" in one_number.get(name, {})
            else "–"
            if found["calibration_slope"] is None
            else f"{found['calibration_slope']:.4f}",
        )
        for name, found in f["calibration"].items()
    ]
    tables = (
        models_table(
            measure,
            note=(
                "Log loss in nats, lower is better. `truth` is the simulator's own probability: no model can be better. "
                f"`ranker` is what serves. Its scorer is {f['chosen']}, the best before these days: the two rows are of one model."
            ),
            names={"ranker": called},
            remarks=remarks,
        ),
        table(
            ("model", "calibration error", "calibration slope"),
            rows,
            accent=called,
            note="Of p_click. Ten bins of equal numbers of impressions; a slope of 1 is right.",
        ),
    )
    t = measure.tables["reliability"]
    chart = calibration_chart(*(t[name].tolist() for name in ("predicted", "observed", "low", "high")))
    return Chapter("Ranker", lead, tables, (chart, interval_chart(bars(measure, "log_loss"), "log loss")))
