"""Training of the click and conversion models on feature matrices; imported by the training stage only."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from core.errors import TrainingError
from core.params import RankerParams
from models.ranker.boosting import grow
from models.ranker.calibrators import fit_calibrator
from models.ranker.network import ClickConvertNetwork, entire_space_loss
from models.ranker.scorers import Blend, Constant, Cross, Logistic, Scorer, TrainedScorers, standardised

logger = logging.getLogger(__name__)
MIN_CLICKS = 30
"""Fewer clicks in the training window train nothing."""
MEMBERS = 1
"""Cross networks that are trained from different first weights and averaged."""
_PENALTIES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03)
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


def train_scorers(
    training: Rows, validation: Rows, feature_names: tuple[str, ...], params: RankerParams, *, seed: int, on_epoch: OnEpoch
) -> TrainedScorers:
    """Train every scorer, calibrate each on the validation window, and choose one.

    Args:
        training: impressions before train_end.
        validation: impressions between train_end and validation_end.
        feature_names: of the columns.
        params: the stage's section.
        seed: of the networks' first weights, dropout and batches.
        on_epoch: receives the epoch and its figures.

    Returns:
        The scorers; chosen is the one with the lowest log loss of clicks on the validation window.

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
    logistic = _best_logistic(known, held)
    networks = tuple(_train_network(known, held, params, logistic, seed=seed + member, on_epoch=on_epoch) for member in range(MEMBERS))
    scorers: dict[str, Scorer] = {
        "constant": Constant.fit(known.clicks, known.conversions, known.weights),
        "logistic": logistic,
        "lightgbm": grow(*((rows.features, rows.clicks, rows.conversions, rows.weights) for rows in (known, held)), seed=seed),
        "cross": Cross(networks),
    }
    scorers["blend"] = Blend((scorers["logistic"], scorers["cross"]))
    clicked = held.clicks > 0
    losses, calibrators = {}, {}
    for name, scorer in scorers.items():
        log_odds = scorer(held.features)
        losses[name] = _log_loss(log_odds[:, 0], held)
        calibrators[name] = (
            fit_calibrator(log_odds[:, 0], held.clicks, held.users, held.weights),
            fit_calibrator(log_odds[clicked, 1], held.conversions[clicked], held.users[clicked], held.weights[clicked]),
        )
    # a tie goes to the simpler one, which stands first; the trees are a yardstick and never serve
    chosen = min((name for name in scorers if name != "lightgbm"), key=lambda name: round(losses[name], 5))
    shape = {"dim": params.dim, "cross_layers": params.cross_layers, "hidden_dim": params.hidden_dim, "members": MEMBERS}
    return TrainedScorers(feature_names, mean, scale, scorers, calibrators, chosen, losses, shape)


def _best_logistic(known: Rows, held: Rows) -> Logistic:
    """Ridge logistic regressions over a few penalties; the best on the validation window."""
    clicked = known.clicks > 0
    choices = []
    click = LogisticRegression(max_iter=200, tol=1e-5, warm_start=True)  # each penalty starts where the stronger one ended
    for penalty in _PENALTIES:
        click.set_params(C=penalty).fit(known.features, known.clicks, known.weights)
        choices.append(
            (_log_loss(held.features @ click.coef_[0] + click.intercept_[0], held), click.coef_[0].copy(), float(click.intercept_[0]))
        )
    _, weights, intercept = min(choices, key=lambda choice: choice[0])
    if 0 < known.conversions.sum() < clicked.sum():
        convert = LogisticRegression(C=0.001, max_iter=200).fit(known.features[clicked], known.conversions[clicked])
        pair = np.stack([weights, convert.coef_[0]]), np.array([intercept, float(convert.intercept_[0])])
    else:
        rate = Constant.fit(known.clicks, known.conversions, known.weights).log_odds[1]
        pair = np.stack([weights, np.zeros_like(weights)]), np.array([intercept, rate])
    return Logistic(pair[0].astype(np.float32), pair[1].astype(np.float32))


def _train_network(known: Rows, held: Rows, params: RankerParams, start: Logistic, *, seed: int, on_epoch: OnEpoch) -> ClickConvertNetwork:
    """Adam with early stopping on the validation window; starts from the logistic regression, so it can only add to it."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = ClickConvertNetwork(
        known.features.shape[1], dim=params.dim, cross_layers=params.cross_layers, hidden_dim=params.hidden_dim, dropout=params.dropout
    )
    with torch.no_grad():
        network.crossed_out.weight.copy_(torch.from_numpy(start.weights))
        network.crossed_out.bias.copy_(torch.from_numpy(start.intercepts))
    optimiser = torch.optim.AdamW(network.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay)
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
    x = np.asarray(log_odds, dtype=np.float64)
    return float(np.average(np.logaddexp(0, x) - held.clicks * x, weights=held.weights))
