"""Training of the click and conversion models on feature matrices; imported by the training stage only."""

import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import TrainingError
from core.params import RankerParams
from models.ranker.boosting import LEAST_POSITIVES, grow, grow_again
from models.ranker.calibrators import Calibrator, fit_calibrator
from models.ranker.network import ClickConvertNetwork, entire_space_loss
from models.ranker.regression import PENALTIES, Fit, by_evidence, ridge
from models.ranker.scorers import Blend, Constant, Cross, Logistic, Matrix, Scorer, TrainedScorers, standardised
from models.ranker.trees import BoostedTrees

logger = logging.getLogger(__name__)
MIN_CLICKS = 30
"""Fewer clicks in the training window train nothing."""
MEMBERS = 1
"""Cross networks that are trained from different first weights and averaged."""
OnEpoch = Callable[[int, dict[str, float]], None]


class NotEnoughImpressionsError(TrainingError):
    """There is too little to learn a ranker from; the source is honest about it and serving uses priors."""


@dataclass(frozen=True)
class Rows:
    """Impressions as numbers.

    Attributes:
        features: ``(n, f)``.
        clicks: ``(n,)`` 0 or 1.
        conversions: ``(n,)`` 0 or 1, 1 only where a click is.
        users: ``(n,)``.
        weights: ``(n,)`` how many impressions each row stands for, above 0.
    """

    features: NDArray[np.float32]
    clicks: NDArray[np.float32]
    conversions: NDArray[np.float32]
    users: NDArray[np.object_]
    weights: NDArray[np.float32]

    def where(self, mask: NDArray[np.bool_]) -> "Rows":
        """Some of them.

        Args:
            mask: ``(n,)``.
        """
        return Rows(self.features[mask], self.clicks[mask], self.conversions[mask], self.users[mask], self.weights[mask])

    def and_then(self, later: "Rows") -> "Rows":
        """These and others.

        Args:
            later: of the same features.
        """
        return Rows(*(np.concatenate([getattr(self, field.name), getattr(later, field.name)]) for field in fields(self)))

    @property
    def told(self) -> tuple[Matrix, Matrix, Matrix, Matrix]:
        """Features, clicks, conversions and weights."""
        return self.features, self.clicks, self.conversions, self.weights


def train_scorers(
    training: Rows, validation: Rows, feature_names: tuple[str, ...], params: RankerParams, *, seed: int, on_epoch: OnEpoch
) -> TrainedScorers:
    """Train every scorer, choose one by the validation window, then learn from that window too.

    What is chosen there (penalties, when to stop, how many trees, the scorer) and the shape of each calibrator come from scorers that
    have not seen the validation window. What is returned has: with those choices the regressions and the trees are fitted again on both
    windows, the networks keep what they add to the regression, and each calibrator is moved until it expects as many clicks as both
    windows had, since one short window's luck would otherwise stand in every probability.

    Args:
        training: impressions before train_end.
        validation: impressions between train_end and validation_end.
        feature_names: of the columns.
        params: the stage's section.
        seed: of the networks' first weights, dropout and batches.
        on_epoch: receives the epoch and its figures.

    Returns:
        The scorers; chosen is the one with the lowest log loss of clicks on the validation window, never the trees.

    Raises:
        NotEnoughImpressionsError: fewer than `MIN_CLICKS` training clicks, or no validation rows.
        TrainingError: a loss that is not finite.
    """
    clicks = int(training.clicks.sum())
    if clicks < MIN_CLICKS or not len(validation.clicks):
        raise NotEnoughImpressionsError(
            f"{clicks} clicks in the training window (at least {MIN_CLICKS} needed) and {len(validation.clicks)} impressions in the "
            "validation window (at least 1 needed); gather more impressions, or widen prepare.validation_share."
        )
    mean, scale = training.features.mean(axis=0), training.features.std(axis=0)
    scale = np.where(scale > 1e-6, scale, 1).astype(np.float32)
    known, held = (replace(rows, features=standardised(rows.features, mean, scale)) for rows in (training, validation))
    fits = _best_fits(known, held)
    wide = _by_evidence(known, held, fits, feature_names)
    logistic, start = _logistic(fits), _logistic(wide)
    networks = tuple(_train_network(known, held, params, start, seed=seed + member, on_epoch=on_epoch) for member in range(MEMBERS))
    trees = grow(known.told, held.told, seed=seed)
    tried = _scorers(known, logistic, networks, trees)
    losses = {name: _log_loss(scorer(held.features)[:, 0], held) for name, scorer in tried.items()}
    calibrators = {name: _calibrators(scorer(held.features), held) for name, scorer in tried.items()}
    chosen = min((name for name in tried if name != "lightgbm"), key=lambda name: losses[name])
    both = known.and_then(held)
    moved = _logistic(_fits_again(both, wide))
    networks = tuple(_moved(network, start, moved) for network in networks)
    scorers = _scorers(both, _logistic(_fits_again(both, fits)), networks, grow_again(both.told, trees, seed=seed))
    centred = {name: _centred(calibrators[name], scorer(both.features), both) for name, scorer in scorers.items()}
    shape = {"dim": params.dim, "cross_layers": params.cross_layers, "hidden_dim": params.hidden_dim, "members": MEMBERS}
    return TrainedScorers(feature_names, mean, scale, scorers, centred, chosen, losses, shape)


def _scorers(rows: Rows, logistic: Logistic, networks: tuple[ClickConvertNetwork, ...], trees: BoostedTrees) -> dict[str, Scorer]:
    cross = Cross(networks)
    return {
        "constant": Constant.fit(rows.clicks, rows.conversions, rows.weights),
        "logistic": logistic,
        "lightgbm": trees,
        "cross": cross,
        "blend": Blend((logistic, cross)),
    }


def _calibrators(log_odds: Matrix, held: Rows) -> tuple[Calibrator, Calibrator]:
    clicked = held.clicks > 0
    return (
        fit_calibrator(log_odds[:, 0], held.clicks, held.users, held.weights),
        fit_calibrator(log_odds[clicked, 1], held.conversions[clicked], held.users[clicked], held.weights[clicked]),
    )


def _centred(pair: tuple[Calibrator, Calibrator], log_odds: Matrix, rows: Rows) -> tuple[Calibrator, Calibrator]:
    clicked = rows.clicks > 0
    return (
        pair[0].centred(log_odds[:, 0], rows.clicks, rows.weights),
        pair[1].centred(log_odds[clicked, 1], rows.conversions[clicked], rows.weights[clicked]),
    )


def _best_fits(known: Rows, held: Rows) -> tuple[Fit, Fit]:
    """Regressions of clicks and of conversions over a few penalties; the best on the validation window."""
    clicked, theirs = known.clicks > 0, held.clicks > 0
    click = _best(known.features, known.clicks, known.weights, held=(held.features, held.clicks, held.weights))
    if min(known.conversions.sum(), held.conversions.sum()) < LEAST_POSITIVES:
        return click, _rate(known)
    of_held = held.features[theirs], held.conversions[theirs], held.weights[theirs]
    return click, _best(known.features[clicked], known.conversions[clicked], known.weights[clicked], held=of_held)


def _best(x: Matrix, outcomes: Matrix, weights: Matrix, *, held: tuple[Matrix, Matrix, Matrix]) -> Fit:
    fits: list[Fit] = []
    for penalty in sorted(PENALTIES, reverse=True):  # each starts where the stronger one ended
        fits.append(ridge(x, outcomes, weights, penalty, start=fits[-1] if fits else None))
    return min(fits, key=lambda fit: _loss(fit(held[0]), held[1], held[2]))


def _by_evidence(known: Rows, held: Rows, fits: tuple[Fit, Fit], names: tuple[str, ...]) -> tuple[Fit, Fit]:
    """The same regressions with a penalty a group, as far as the validation window bears the evidence out.

    Training rows can speak too well of a feature: the recommender has seen what their shoppers did next. So the plain penalty, the
    evidence's and the geometric mean of both stand for choice.
    """
    click, convert = fits
    clicked, theirs = known.clicks > 0, held.clicks > 0
    found = _borne_out(
        known.features, known.clicks, known.weights, held=(held.features, held.clicks, held.weights), names=names, plain=click
    )
    if not convert.penalties.any():
        return found, convert
    of_held = held.features[theirs], held.conversions[theirs], held.weights[theirs]
    of_known = known.features[clicked], known.conversions[clicked], known.weights[clicked]
    return found, _borne_out(*of_known, held=of_held, names=names, plain=convert)


def _borne_out(
    x: Matrix, outcomes: Matrix, weights: Matrix, *, held: tuple[Matrix, Matrix, Matrix], names: tuple[str, ...], plain: Fit
) -> Fit:
    told = by_evidence(x, outcomes, weights, names, start=plain)
    between = ridge(x, outcomes, weights, np.sqrt(plain.penalties * told.penalties), start=plain)
    return min((plain, between, told), key=lambda fit: _loss(fit(held[0]), held[1], held[2]))


def _fits_again(both: Rows, fits: tuple[Fit, Fit]) -> tuple[Fit, Fit]:
    click, convert = fits
    clicked = both.clicks > 0
    again = ridge(both.features, both.clicks, both.weights, click.penalties, start=click)
    if not convert.penalties.any():
        return again, _rate(both)
    return again, ridge(both.features[clicked], both.conversions[clicked], both.weights[clicked], convert.penalties, start=convert)


def _rate(rows: Rows) -> Fit:
    """The rate of conversions, for want of conversions to learn more from."""
    rate = Constant.fit(rows.clicks, rows.conversions, rows.weights).log_odds[1]
    nothing = np.zeros(rows.features.shape[1])
    return Fit(nothing, float(rate), nothing)


def _logistic(fits: tuple[Fit, Fit]) -> Logistic:
    click, convert = fits
    weights = np.stack([click.weights, convert.weights]).astype(np.float32)
    return Logistic(weights, np.array([click.intercept, convert.intercept], np.float32))


def _moved(network: ClickConvertNetwork, start: Logistic, again: Logistic) -> ClickConvertNetwork:
    """The network with what it learned beside the regression, over a regression that knows more."""
    moved = deepcopy(network)
    with torch.no_grad():
        moved.crossed_out.weight.add_(torch.from_numpy(again.weights - start.weights))
        moved.crossed_out.bias.add_(torch.from_numpy(again.intercepts - start.intercepts))
    return moved.eval()


def _train_network(known: Rows, held: Rows, params: RankerParams, start: Logistic, *, seed: int, on_epoch: OnEpoch) -> ClickConvertNetwork:
    """Adam with early stopping on the validation window; starts from a logistic regression, so it can only add to it."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = ClickConvertNetwork(
        known.features.shape[1], dim=params.dim, cross_layers=params.cross_layers, hidden_dim=params.hidden_dim, dropout=params.dropout
    )
    with torch.no_grad():
        network.crossed_out.weight.copy_(torch.from_numpy(start.weights))
        network.crossed_out.bias.copy_(torch.from_numpy(start.intercepts))
    optimiser = torch.optim.AdamW(network.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay, fused=True)
    x, clicks, conversions = (torch.from_numpy(values) for values in (known.features, known.clicks, known.conversions))
    weights = torch.from_numpy(known.weights / known.weights.mean())
    best, best_state, waited = _validation_loss(network, held), _state(network), 0
    for epoch in range(params.epochs):
        network.train()
        order = torch.randperm(len(x), generator=generator)
        total = 0.0
        for rows in torch.split(order, params.batch_size):
            optimiser.zero_grad()
            loss = entire_space_loss(network(x[rows]), clicks[rows], conversions[rows], weights[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(loss.detach()) * len(rows)
        found = _validation_loss(network, held)
        if not np.isfinite(found):
            raise TrainingError(
                f"the ranker's validation loss is {found} in epoch {epoch}; lower train_ranker.learning_rate (now {params.learning_rate})."
            )
        on_epoch(epoch, {"train_loss": total / len(x), "validation_loss": found})
        if found < best - 1e-6:
            best, best_state, waited = found, _state(network), 0
        else:
            waited += 1
            if waited >= params.patience:
                break
    network.load_state_dict(best_state)
    return network.eval()


def _state(network: ClickConvertNetwork) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _validation_loss(network: ClickConvertNetwork, held: Rows) -> float:
    network.eval()
    with torch.inference_mode():
        logits = network(torch.from_numpy(held.features))
        weights = torch.from_numpy(held.weights / held.weights.mean())
        return float(entire_space_loss(logits, torch.from_numpy(held.clicks), torch.from_numpy(held.conversions), weights))


def _log_loss(log_odds: NDArray[np.floating], held: Rows) -> float:
    return _loss(log_odds, held.clicks, held.weights)


def _loss(log_odds: NDArray[np.floating], outcomes: Matrix, weights: Matrix) -> float:
    x = np.asarray(log_odds, dtype=np.float64)
    return float(np.average(np.logaddexp(0, x) - outcomes * x, weights=weights))
