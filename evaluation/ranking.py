"""Ranking metrics against all items: hit rate, recall, NDCG and MRR, one number a user."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RankingMetrics:
    """Metrics of each user, in the users' order; average them with `evaluation.intervals.bootstrap_mean`.

    Attributes:
        hit_rate: (n_users,) 1 where at least one relevant item stands among the first k.
        recall: (n_users,) share of the relevant items among the first k.
        ndcg: (n_users,) normalised discounted cumulative gain at k.
        mrr: (n_users,) one over the best rank of a relevant item, no cut-off.
    """

    hit_rate: np.ndarray
    recall: np.ndarray
    ndcg: np.ndarray
    mrr: np.ndarray

    def as_dict(self) -> dict[str, np.ndarray]:
        """The four vectors by name."""
        return {"hit_rate": self.hit_rate, "recall": self.recall, "ndcg": self.ndcg, "mrr": self.mrr}


def target_ranks(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The rank of one item a user among all items.

    Ties count against the target: a scorer that gives all items one score ranks every target last.

    Args:
        scores: (n_users, n_items) higher is better; -inf for items that may not be shown.
        targets: (n_users,) column of each user's item.

    Returns:
        (n_users,) int64, 1 is best.

    Raises:
        ValueError: shapes that do not fit, or NaN scores.
    """
    if scores.ndim != 2 or targets.shape != (len(scores),):
        raise ValueError(f"scores {scores.shape} and targets {targets.shape} do not fit; (n_users, n_items) and (n_users,) are needed")
    if bool(np.isnan(scores).any()):
        raise ValueError("scores hold NaN; a rank among them has no meaning")
    own = scores[np.arange(len(scores)), targets]
    ranks: np.ndarray = (scores >= own[:, None]).sum(axis=1)
    return ranks.astype(np.int64)


def metrics_of_ranks(ranks: np.ndarray, *, k: int, users: np.ndarray | None = None) -> RankingMetrics:
    """Metrics from the ranks of the relevant items.

    With relevant ranks r_1 < … < r_m of a user: hit = [r_1 ≤ k], recall = #{r ≤ k} / m, MRR = 1 / r_1,
    NDCG = Σ_{r ≤ k} 1/log2(1 + r) / Σ_{j ≤ min(m, k)} 1/log2(1 + j).

    Args:
        ranks: (m,) ranks of relevant items among all items, 1 is best.
        k: the cut-off, at least 1.
        users: (m,) whose relevant item it is, as 0-based rows; None when each rank is its own user's.

    Returns:
        One number a user; users without a relevant item must not occur.

    Raises:
        ValueError: k or a rank below 1, or a user without a relevant item.

    Source:
        Järvelin and Kekäläinen (2002), binary gains.
    """
    if k < 1 or (ranks.size and int(ranks.min()) < 1):
        raise ValueError(f"k is {k} and the smallest rank {ranks.min() if ranks.size else None}; both must be at least 1")
    rows = np.arange(len(ranks)) if users is None else users
    sizes = np.bincount(rows, minlength=0)
    if bool((sizes == 0).any()):
        raise ValueError(f"user row {int(np.flatnonzero(sizes == 0)[0])} has no relevant item; leave such users out")
    inside = ranks <= k
    gains = np.where(inside, 1 / np.log2(1.0 + ranks), 0.0)
    found = np.bincount(rows, weights=inside, minlength=len(sizes))
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(2.0 + np.arange(k)))])[np.minimum(sizes, k)]
    best = np.full(len(sizes), np.iinfo(np.int64).max)
    np.minimum.at(best, rows, ranks)
    return RankingMetrics(
        hit_rate=(found > 0).astype(np.float64),
        recall=found / np.maximum(sizes, 1),
        ndcg=np.bincount(rows, weights=gains, minlength=len(sizes)) / ideal,
        mrr=1.0 / best,
    )


def ranking_metrics(scores: np.ndarray, relevant: np.ndarray, *, k: int) -> RankingMetrics:
    """Metrics of a batch of users from all their scores.

    Args:
        scores: (n_users, n_items) higher is better; ties count against the relevant item.
        relevant: (n_users, n_items) bool; at least one True a row.
        k: the cut-off, at least 1.

    Raises:
        ValueError: shapes that differ, NaN scores, or a user without a relevant item.
    """
    if scores.shape != relevant.shape or scores.ndim != 2:
        raise ValueError(f"scores {scores.shape} and relevant {relevant.shape} do not fit")
    if len(relevant) and not bool(relevant.any(axis=1).all()):
        raise ValueError("a user has no relevant item; leave such users out")
    if bool(np.isnan(scores).any()):
        raise ValueError("scores hold NaN; a rank among them has no meaning")
    users, columns = np.nonzero(relevant)
    others = np.where(relevant, -np.inf, scores)  # relevant items rank among each other by score, never as each other's ties
    ranks = np.empty(len(users), np.int64)
    for row in range(len(scores)):
        mine = np.flatnonzero(users == row)
        own = scores[row, columns[mine]]
        ahead = (others[row][None, :] >= own[:, None]).sum(axis=1) - np.where(np.isneginf(own), relevant[row].sum(), 0)
        order = np.argsort(-own, kind="stable")
        ranks[mine[order]] = ahead[order] + np.arange(1, len(mine) + 1)
    return metrics_of_ranks(ranks, k=k, users=users)
