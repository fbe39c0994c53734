"""From judged rows to numbers: each model beside its baselines, each number with its 95 % interval over users."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.columns import Columns
from core.params import EvaluateParams
from evaluation.calibration import calibration, log_losses, reliability
from evaluation.detection import Detection
from evaluation.discrimination import auc_interval
from evaluation.intervals import Interval, bootstrap_mean, bootstrap_paired_difference, bootstrap_ratio
from evaluation.off_policy import Estimator, Refusal, logged_choices, policy_value
from models.pool import Pool
from tasks.judge.copies import MAIN
from tasks.judge.policies import LoggedRequests
from tasks.judge.writing import WritingEvidence

Floats = NDArray[np.float64]
Frame = pd.DataFrame
REPORTED: tuple[Estimator, ...] = ("ips", "snips", "dr")
"""The off-policy estimators of the report."""
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Measure:
    """What was measured of one kind of model.

    Attributes:
        main: the metric that promotion looks at.
        challenger: the model that asks to be champion.
        models: model → metric → interval.
        facts: single numbers and words that are no interval, such as shares and reasons.
        tables: tables for plots.
        higher_is_better: of the main metric.
    """

    main: str
    challenger: str
    models: Mapping[str, Mapping[str, Interval]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Frame] = field(default_factory=dict)
    higher_is_better: bool = True

    @classmethod
    def untrained(cls, reason: str) -> "Measure":
        """Nothing to measure, and why.

        Args:
            reason: in words.
        """
        return cls(main="", challenger="", models={}, facts={"trained": False, "reason": reason})

    def as_dict(self) -> dict[str, Any]:
        """As metrics.json holds it."""
        models = {name: {key: value.as_dict() for key, value in found.items()} for name, found in self.models.items()}
        head = {"main": self.main, "challenger": self.challenger, "higher_is_better": self.higher_is_better, "models": models}
        return {**head, **self.facts}

    def headline(self) -> dict[str, float]:
        """The challenger's metrics as single numbers, for comparing runs."""
        return {key: value.value for key, value in self.models.get(self.challenger, {}).items()}

    def points(self) -> Frame:
        """One row a model and metric: model, metric, value, low, high."""
        rows = [(model, metric, v.value, v.low, v.high) for model, found in self.models.items() for metric, v in found.items()]
        return pd.DataFrame(rows, columns=["model", "metric", "value", "low", "high"])

    def table(self, name: str, columns: list[str]) -> Frame:
        """A table for plots, empty with these columns when there is none.

        Args:
            name: the table's name.
            columns: its columns, in order.
        """
        return self.tables[name][columns] if name in self.tables else pd.DataFrame(columns=columns)


def recommender_measures(frame: Frame, challenger: str, params: EvaluateParams, rng: np.random.Generator) -> Measure:
    """Ranking metrics of each recommender, and the challenger's gain over popularity.

    Args:
        frame: rows of `tasks.judge.recommenders.judge_recommenders`.
        challenger: the recommender that asks to be champion.
        params: the protocol.
        rng: draws the bootstrap.
    """
    k = params.top_k
    if frame.empty:
        return Measure.untrained("not judged: no shopper has an item event in the held-out window")

    def mean(part: Frame, column: str) -> Interval:
        return bootstrap_mean(part[column].to_numpy(np.float64), part[Columns.USER].to_numpy(), params.bootstrap, rng)

    groups: dict[str, Callable[[Frame], pd.Series]] = {
        "novel": lambda part: ~part["repeated"],
        "new_users": lambda part: ~part["known_user"],
        "new_items": lambda part: ~part["known_item"],
    }
    models: dict[str, dict[str, Interval]] = {}
    for name, part in frame.groupby("model", sort=True):
        found = {f"ndcg{k}": mean(part, "ndcg"), f"hr{k}": mean(part, "hit_rate"), "mrr": mean(part, "mrr")}
        for group, chosen in groups.items():
            rows = part[chosen(part)]
            if len(rows):
                found[f"ndcg{k}_{group}"] = mean(rows, "ndcg")
        models[str(name)] = found
    first = frame[frame["model"] == challenger].sort_values(Columns.USER)
    facts: dict[str, Any] = {"users": len(first), **{f"{g}_users": int(chosen(first).sum()) for g, chosen in groups.items()}}
    if "popularity" in models and challenger != "popularity":
        other = frame[frame["model"] == "popularity"].sort_values(Columns.USER)
        pair = first["ndcg"].to_numpy(np.float64), other["ndcg"].to_numpy(np.float64)
        facts["over_popularity"] = bootstrap_paired_difference(*pair, None, params.bootstrap, rng).as_dict()
        if pair[1].sum() > 0:
            facts["times_popularity"] = bootstrap_ratio(*pair, None, params.bootstrap, rng).as_dict()
    return Measure(main=f"ndcg{k}", challenger=challenger, models=models, facts=facts)


def ranker_measures(frame: Frame, params: EvaluateParams, rng: np.random.Generator, *, chosen: str) -> Measure:
    """Discrimination and calibration of p_click and p_convert on held-out impressions.

    Args:
        frame: rows of `tasks.judge.rankers.judge_ranker`; with a column ``truth`` the ceiling stands in the table too.
        params: the protocol.
        rng: draws the bootstrap.
        chosen: which of the models the ranker is (`RankerBundle.chosen`): both have the same numbers.
    """
    users = frame[Columns.USER].to_numpy()
    clicks = frame[Columns.CLICK].to_numpy(np.float64)
    clicked = clicks > 0
    conversions = frame[Columns.CONVERSION].to_numpy(np.float64)
    names = [column.removeprefix("p_click:") for column in frame.columns if column.startswith("p_click:")]
    columns = {name: frame[f"p_click:{name}"].to_numpy(np.float64) for name in names}
    if "truth" in frame:
        columns["truth"] = frame["truth"].to_numpy(np.float64)
    models: dict[str, dict[str, Interval]] = {}
    figures: dict[str, dict[str, float]] = {}
    for name, p_click in columns.items():
        found = {"log_loss": bootstrap_mean(log_losses(p_click, clicks), users, params.bootstrap, rng)}
        if 0 < clicks.sum() < len(clicks):
            told = auc_interval(p_click, clicks, users)
            found["auc"] = Interval(told.value, max(told.low, 0.0), min(told.high, 1.0))  # of few clicks the closed form goes beyond
        found["observed_over_expected"] = bootstrap_ratio(clicks, p_click, users, params.bootstrap, rng)
        if name in names and clicked.sum() > 1:
            p_convert = frame[f"p_convert:{name}"].to_numpy(np.float64)[clicked]
            found["log_loss_convert"] = bootstrap_mean(log_losses(p_convert, conversions[clicked]), users[clicked], params.bootstrap, rng)
        models[name] = found
        summary = calibration(p_click, clicks)
        figures[name] = {"calibration_error": summary.error, "calibration_slope": summary.slope}
    table = reliability(columns["ranker"], clicks)
    own = log_losses(columns["ranker"], clicks)
    gains = {
        name: bootstrap_paired_difference(log_losses(columns[name], clicks), own, users, params.bootstrap, rng).as_dict()
        for name in names
        if name != "ranker"
    }
    facts = {
        "impressions": len(frame), "clicks": int(clicks.sum()), "conversions": int(conversions.sum()), "ctr": float(clicks.mean()),
        "cvr": float(conversions[clicked].mean()) if clicked.any() else None, "calibration": {k: _finite(v) for k, v in figures.items()},
        "log_loss_gain_over": gains, "chosen": chosen, "one_number": _one_number(frame, names),
    }  # fmt: skip
    return Measure("log_loss", "ranker", models, facts, {"reliability": _with_interval(table)}, higher_is_better=False)


def _one_number(frame: Frame, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Model → p_click or p_convert → the value that it gives to every ad; without those that tell ads apart."""
    found: dict[str, dict[str, float]] = {}
    for name in names:
        for kind in ("p_click", "p_convert"):
            values = frame[f"{kind}:{name}"].to_numpy(np.float64)
            if len(values) > 1 and np.ptp(values) <= _ROUNDING * values.max():
                found.setdefault(name, {})[kind] = float(values[0])
    return found


def policy_measures(logged: LoggedRequests, params: EvaluateParams, rng: np.random.Generator) -> Measure:
    """The value of policies on held-out requests: by the known truth where there is one, and from the log alone.

    Args:
        logged: the requests.
        params: the protocol.
        rng: draws the bootstrap.
    """
    policies = {
        "uniform": logged.uniform(),
        **{f"{name}": logged.distribution(scores, params.exploration) for name, scores in sorted(logged.scores.items())},
        "ranker, greedy": logged.distribution(logged.scores["ranker"], 0.0),
    }
    challenger = policies["ranker"]
    models: dict[str, dict[str, Interval]] = {name: {} for name in ("logging", *policies)}
    facts: dict[str, Any] = {"requests": len(logged.users), "exploration": params.exploration, "known_truth": logged.truth is not None}
    if logged.truth is not None:
        models["oracle"] = {}
        truths = {"logging": logged.at_shown(logged.truth), **{name: logged.value(shares) for name, shares in policies.items()}}
        truths["oracle"] = logged.truth.max(axis=1)
        headroom = truths["oracle"] - truths["logging"]
        for name, value in truths.items():
            models[name]["true_ctr"] = bootstrap_mean(value, logged.users, params.bootstrap, rng)
            if headroom.sum() > 0 and name not in {"logging", "oracle"}:
                models[name]["headroom_share"] = bootstrap_ratio(value - truths["logging"], headroom, logged.users, params.bootstrap, rng)
    models["logging"]["observed_ctr"] = bootstrap_mean(logged.click, logged.users, params.bootstrap, rng)
    facts["off_policy"] = _off_policy(logged, challenger, params, rng)
    main = "true_ctr" if logged.truth is not None else "off_policy"
    return Measure(main, "ranker", models, facts)


def copy_measures(
    evidence: WritingEvidence,
    detections: Mapping[str, Detection],
    pool: Pool,
    rejected: Frame,
    author: Mapping[str, Interval] | None,
    *,
    personal: Mapping[str, Any],
) -> Measure:
    """The generators on held-out products, and what the pool holds.

    Args:
        evidence: of the generator bundle.
        detections: how the compliance list does on labelled sentences.
        pool: the creative pool.
        rejected: texts that generate refused, with their reasons.
        author: true click-through by who wrote the copy, where the truth is known.
        personal: what `tasks.judge.personal.judge_personal` found.
    """
    verdicts = pool.creatives[Columns.VERDICT].astype(str)
    facts: dict[str, Any] = {
        "creatives": len(pool), "compliance_violations": int((~(verdicts.eq("pass") | verdicts.str.startswith("warn"))).sum()),
        "compliance_warnings": int(verdicts.str.startswith("warn").sum()),
        "by_origin": {str(k): int(v) for k, v in pool.creatives[Columns.ORIGIN].value_counts().sort_index().items()},
        "rejected": {str(k): int(v) for k, v in rejected[Columns.REASON].value_counts().sort_index().items()},
    }  # fmt: skip
    if author:
        facts["true_ctr_by_author"] = {name: value.as_dict() for name, value in author.items()}
    if personal:
        facts["personal"] = dict(personal)
    facts["signature"] = evidence.signature
    facts["gate"] = {
        row.what: {"before": row.before.as_dict(), "after": row.after.as_dict() if row.after else None} for row in evidence.gate
    }
    facts["compliance_list"] = {
        name: {"recall": found.recall.as_dict(), "precision": found.precision.as_dict()}
        for name, found in detections.items()
        if found.passed + found.wronged and found.found
    }
    if "reason" in evidence.config:
        facts["reason"] = evidence.config["reason"]
    works = evidence.config.get("gan", {}).get("works")
    if works is not None:
        facts["gan_works"] = bool(works)
    return Measure(MAIN, evidence.chosen, evidence.models, facts)


def _off_policy(logged: LoggedRequests, challenger: Floats, params: EvaluateParams, rng: np.random.Generator) -> dict[str, Any]:
    """What the log alone says of the challenger, by estimator; a refusal keeps its reason."""
    answers: dict[str, Any] = {}
    log = logged_choices(
        logged.click, logged.propensity, logged.at_shown(challenger), logged.users,
        predicted=logged.at_shown(logged.scores["ranker"]), predicted_target=(challenger * logged.scores["ranker"]).sum(axis=1),
    )  # fmt: skip
    for estimator in REPORTED:
        found = policy_value(
            log, estimator, rng=rng, replications=params.bootstrap, min_effective_sample_size=params.min_effective_sample_size
        )
        evidence = {"effective_sample_size": found.evidence.effective_sample_size, "largest_weight": found.evidence.largest_weight,
                    "support": found.evidence.support}  # fmt: skip
        if isinstance(found, Refusal):
            answers[estimator] = {"refused": found.reason, **evidence}
        else:
            answers[estimator] = {**found.value.as_dict(), "lift": found.lift.as_dict(), **evidence}
    return answers


def _with_interval(table: Frame) -> Frame:
    """Wilson's 95 % interval beside each bin's frequency. Source: Wilson (1927)."""
    n, share, z = table["impressions"].to_numpy(np.float64), table["observed"].to_numpy(np.float64), 1.959964
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return table.assign(low=middle - half, high=middle + half)


def _finite(found: Mapping[str, float]) -> dict[str, float | None]:
    return {key: value if np.isfinite(value) else None for key, value in found.items()}
