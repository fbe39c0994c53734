"""What the log says of two policies: slates with both their propensities, and how their impressions were answered.

Answers count when they came within a span after their impression, and impressions when that span is over, so that asking again later gives
the same numbers for the same rows.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from core.vocabulary import FeedbackKind
from evaluation.guard import Group
from evaluation.off_policy import Calibration, propensity_calibration
from evaluation.policy_trial import Trial
from models.history import micros
from serving.export import ARRIVAL_MARGIN, Log, query

_ROWS = """
SELECT seq, request_id, position, timestamp, user_id, creative_id, propensity, p_click, policy_version, beside,
    CASE WHEN position = 0 THEN candidates END AS candidates,
    EXISTS (SELECT 1 FROM feedback f WHERE f.request_id = d.request_id AND f.position = d.position
        AND f.timestamp <= d.timestamp + :within AND (:conversions = 0 OR f.kind = :conversion)) AS answered
FROM decisions d
WHERE seq > :after AND timestamp > :since AND timestamp <= :settled
ORDER BY seq
"""


@dataclass(frozen=True)
class Metric:
    """A rate that is watched.

    Attributes:
        name: in words.
        within: how long after an impression an answer counts.
        conversions: whether only conversions are answers; else clicks are, and conversions count as clicks.
    """

    name: str
    within: timedelta
    conversions: bool = False


CTR = Metric("clicks an impression", timedelta(minutes=30))
CONVERSIONS = Metric("conversions an impression", timedelta(days=1), conversions=True)


def last_row(database: Log) -> int:
    """The number of the log's last decision; 0 when there is none.

    Args:
        database: the service's log.

    Raises:
        ServiceError: the log cannot be read.
    """
    _, rows, _ = query(database, "SELECT COALESCE(MAX(seq), 0) FROM decisions", {})
    return int(rows[0][0]) if rows else 0


def moment_of(database: Log, row: int) -> int:
    """When the last decision up to a row was made, microseconds since 1970 UTC; 0 when there is none.

    Args:
        database: the service's log.
        row: number of a decision.

    Raises:
        ServiceError: the log cannot be read.
    """
    found = "SELECT timestamp FROM decisions WHERE seq = (SELECT MAX(seq) FROM decisions WHERE seq <= :row)"
    _, rows, _ = query(database, found, {"row": row})
    return int(rows[0][0]) if rows else 0


def shown(database: Log, metric: Metric, now: datetime, *, after: int = 0, since: int = 0) -> pd.DataFrame:
    """Impressions whose answers are settled, in the order of the log.

    Args:
        database: the service's log; none yet gives no rows.
        metric: what counts as an answer.
        now: by the service's clock.
        after: number of a decision; only later ones are read.
        since: microseconds since 1970 UTC; only later ones are read.

    Returns:
        A row an impression: seq, request_id, position, timestamp, user_id, creative_id, propensity, p_click, answered, candidates (of
        position 0);
        policy, its version without what it had learnt; rival, share, rival_propensity, own_p_click, rival_p_click, missing where
        nobody was asked.

    Raises:
        ServiceError: the log cannot be read.
    """
    values = {
        "after": after,
        "since": since,
        "settled": int(micros(now - metric.within - ARRIVAL_MARGIN)[0]),
        "within": metric.within // timedelta(microseconds=1),
        "conversions": int(metric.conversions),
        "conversion": str(FeedbackKind.CONVERSION),
    }
    columns, rows, _ = query(database, _ROWS, values)
    names = columns or ["seq", "request_id", "position", "timestamp", "user_id", "creative_id", "propensity", "p_click", "policy_version",
                        "beside", "candidates", "answered"]  # fmt: skip
    frame = pd.DataFrame(rows, columns=names)
    nobody = (None, np.nan, np.nan, np.nan, np.nan)
    told = [tuple(json.loads(text)) if isinstance(text, str) else nobody for text in frame.pop("beside")]
    beside = pd.DataFrame(told, columns=["rival", "share", "rival_propensity", "own_p_click", "rival_p_click"], index=frame.index)
    frame["policy"] = frame.pop("policy_version").astype(str).str.partition("/")[0] if len(frame) else ""
    return pd.concat([frame.astype({"answered": bool}), beside], axis=1)


def of_pair(rows: pd.DataFrame, champion: str, challenger: str) -> pd.DataFrame:
    """The impressions that one of two policies drew while the other was asked.

    Args:
        rows: see `shown`.
        champion: a version.
        challenger: another.
    """
    served = (rows["policy"] == champion) & (rows["rival"] == challenger)
    return rows[served | ((rows["policy"] == challenger) & (rows["rival"] == champion))]


def trial_of(rows: pd.DataFrame, challenger: str) -> tuple[Trial, Calibration]:
    """Slates of a pair as a trial, and whether the propensities of their topmost positions describe how they were drawn.

    Args:
        rows: of `of_pair`, perhaps none.
        challenger: which of the two it is.
    """
    codes, _ = pd.factorize(rows["request_id"])
    place = rows["position"].to_numpy(dtype=np.int64)
    shape = (int(codes.max(initial=-1)) + 1, int(place.max(initial=0)) + 1)
    by_challenger = (rows["policy"] == challenger).to_numpy()
    own, other = (rows[name].to_numpy(dtype=np.float64) for name in ("propensity", "rival_propensity"))
    own_p, other_p = (rows[name].to_numpy(dtype=np.float64) for name in ("own_p_click", "rival_p_click"))

    def laid(values: np.ndarray, padding: float) -> np.ndarray:
        matrix = np.full(shape, padding)
        matrix[codes, place] = values
        return matrix

    first = rows[place == 0]
    trial = Trial(
        rewards=laid(rows["answered"].to_numpy(dtype=np.float64), 0.0),
        champion=laid(np.where(by_challenger, other, own), 1.0),
        challenger=laid(np.where(by_challenger, own, other), 1.0),
        share=first["share"].to_numpy(dtype=np.float64),
        users=first["user_id"].to_numpy(dtype=str),
        predicted=laid(rows["p_click"].to_numpy(dtype=np.float64), 0.0),
        champion_predicted=laid(np.where(by_challenger, other_p, own_p), 0.0),
        challenger_predicted=laid(np.where(by_challenger, own_p, other_p), 0.0),
    )
    offered = pd.Series([name for text in first["candidates"] for name in json.loads(text)], dtype=object).value_counts() / max(
        len(first), 1
    )
    actions, drawn = first["creative_id"].to_numpy(dtype=str), first["propensity"].to_numpy(dtype=np.float64)
    return trial, propensity_calibration(actions, drawn, trial.users, {str(name): float(part) for name, part in offered.items()})


def group_of(rows: pd.DataFrame) -> Group:
    """Impressions as the guard takes them.

    Args:
        rows: see `shown`.
    """
    return Group(rows["answered"].to_numpy(dtype=np.float64), rows["user_id"].to_numpy(dtype=str))
