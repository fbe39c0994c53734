"""Feature matrix → calibrated p_click and p_convert: the trained ranker and its baselines, side by side."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import BundleError
from models.bundle import load_arrays, save_arrays
from models.ranker.calibrators import Calibrator
from models.ranker.network import ClickConvertNetwork
from models.ranker.trees import BoostedTrees

Matrix = NDArray[np.float32]
_CLIP = 6.0
_ROWS_AT_ONCE = 65_536


class Scorer(Protocol):
    """Standardised features → log-odds."""

    def __call__(self, x: Matrix) -> Matrix:
        """Score rows.

        Args:
            x: ``(n, f)`` standardised.

        Returns:
            ``(n, 2)`` log-odds of click, and of conversion given a click; not calibrated.
        """

    def arrays(self) -> dict[str, np.ndarray]:
        """What must be saved."""


@dataclass(frozen=True)
class Constant:
    """The observed rates, for everybody and everything.

    Attributes:
        log_odds: ``(2,)``.
    """

    log_odds: Matrix

    @classmethod
    def fit(cls, clicks: Matrix, conversions: Matrix, weights: Matrix) -> "Constant":
        """Rates with half an observation of each kind added.

        Args:
            clicks: ``(n,)``.
            conversions: ``(n,)``.
            weights: ``(n,)``.
        """
        total, clicked, converted = (float((weights * values).sum()) for values in (np.ones_like(clicks), clicks, conversions))
        rates = [(clicked + 0.5) / (total + 1), (converted + 0.5) / (clicked + 1)]
        return cls(np.log(np.array(rates) / (1 - np.array(rates))).astype(np.float32))

    def __call__(self, x: Matrix) -> Matrix:
        """See `Scorer`."""
        return np.tile(self.log_odds, (len(x), 1))

    def arrays(self) -> dict[str, np.ndarray]:
        """See `Scorer`."""
        return {"log_odds": self.log_odds}


@dataclass(frozen=True)
class Logistic:
    """Logistic regression.

    Attributes:
        weights: ``(2, f)``.
        intercepts: ``(2,)``.
    """

    weights: Matrix
    intercepts: Matrix

    def __call__(self, x: Matrix) -> Matrix:
        """See `Scorer`."""
        return np.asarray(x @ self.weights.T + self.intercepts, dtype=np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """See `Scorer`."""
        return {"weights": self.weights, "intercepts": self.intercepts}


@dataclass(frozen=True)
class Cross:
    """The cross network, see `models.ranker.network`.

    Attributes:
        networks: trained, in evaluation mode; their log-odds are averaged.
    """

    networks: tuple[ClickConvertNetwork, ...]

    def __call__(self, x: Matrix) -> Matrix:
        """See `Scorer`."""
        with torch.inference_mode():
            rows = torch.from_numpy(np.ascontiguousarray(x))
            found = [sum(network(part) for network in self.networks) / len(self.networks) for part in torch.split(rows, _ROWS_AT_ONCE)]
            return np.asarray(torch.cat(found).numpy()) if found else np.zeros((0, 2), np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """See `Scorer`."""
        return {
            f"{place}.{name}": value.numpy() for place, network in enumerate(self.networks) for name, value in network.state_dict().items()
        }


@dataclass(frozen=True)
class Blend:
    """The mean of several scorers' log-odds.

    Attributes:
        parts: at least one.
    """

    parts: tuple[Scorer, ...]

    def __call__(self, x: Matrix) -> Matrix:
        """See `Scorer`."""
        return np.asarray(np.mean([part(x) for part in self.parts], axis=0), dtype=np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Nothing: the parts are saved by themselves."""
        return {}


class Prediction(NamedTuple):
    """Probabilities of candidates.

    Attributes:
        p_click: ``(n,)`` P(click | shown).
        p_convert: ``(n,)`` P(conversion | clicked).
    """

    p_click: NDArray[np.float64]
    p_convert: NDArray[np.float64]


@dataclass(frozen=True)
class TrainedScorers:
    """Everything between a feature matrix and probabilities.

    Attributes:
        feature_names: in the order of the matrix's columns.
        mean: ``(f,)`` of the training rows.
        scale: ``(f,)`` standard deviations, 1 for constant columns.
        scorers: constant, logistic, lightgbm, cross, blend.
        calibrators: by scorer, of click and conversion.
        chosen: the scorer that predicts.
        validation_log_loss: of clicks, by scorer.
        shape: of the cross networks: dim, cross_layers, hidden_dim, members.
    """

    feature_names: tuple[str, ...]
    mean: Matrix
    scale: Matrix
    scorers: Mapping[str, Scorer]
    calibrators: Mapping[str, tuple[Calibrator, Calibrator]]
    chosen: str
    validation_log_loss: Mapping[str, float]
    shape: Mapping[str, int]

    def predict(self, features: Matrix, names: tuple[str, ...], *, scorer: str | None = None) -> Prediction:
        """Calibrated probabilities.

        Args:
            features: ``(n, f)``.
            names: of the columns.
            scorer: a name in ``scorers``; the chosen one when None.

        Raises:
            BundleError: the features are not those that were trained on.
            ValueError: no scorer of that name.
        """
        if names != self.feature_names:
            odd = sorted(set(names) ^ set(self.feature_names))
            raise BundleError(
                f"the features differ from those the ranker was trained on, first: {odd[:3] or 'their order'}; train the ranker again."
            )
        name = scorer or self.chosen
        if name not in self.scorers:
            raise ValueError(f"no scorer is named {name!r}; there are {', '.join(sorted(self.scorers))}")
        log_odds = self.scorers[name](standardised(features, self.mean, self.scale))
        click, convert = self.calibrators[name]
        return Prediction(click(log_odds[:, 0]), convert(log_odds[:, 1]))

    def config(self) -> dict[str, object]:
        """The JSON side of a saved ranker."""
        return {
            "features": list(self.feature_names),
            "chosen": self.chosen,
            "validation_log_loss": dict(self.validation_log_loss),
            "shape": dict(self.shape),
            "calibrators": {name: [asdict(one) for one in pair] for name, pair in self.calibrators.items()},
        }

    def save(self, path: Path) -> None:
        """Write the arrays' side.

        Args:
            path: a safetensors file.
        """
        arrays: dict[str, np.ndarray] = {"mean": self.mean, "scale": self.scale}
        for name, scorer in self.scorers.items():
            arrays |= {f"{name}/{key}": value for key, value in scorer.arrays().items()}
        save_arrays(arrays, path)

    @classmethod
    def load(cls, path: Path, config: Mapping[str, Any]) -> "TrainedScorers":
        """Read what `save` and `config` wrote.

        Args:
            path: the safetensors file.
            config: the bundle's config.json.

        Raises:
            BundleError: the file or an array is missing.
        """
        arrays = load_arrays(path)
        try:
            shape = config["shape"]
            networks = tuple(_network(arrays, f"cross/{member}.", len(config["features"]), shape) for member in range(shape["members"]))
            scorers: dict[str, Scorer] = {
                "constant": Constant(arrays["constant/log_odds"]),
                "logistic": Logistic(arrays["logistic/weights"], arrays["logistic/intercepts"]),
                "lightgbm": BoostedTrees.of(
                    {key.removeprefix("lightgbm/"): held for key, held in arrays.items() if key.startswith("lightgbm/")}
                ),
                "cross": Cross(networks),
            }
            scorers["blend"] = Blend((scorers["logistic"], scorers["cross"]))
            calibrators = {
                name: (Calibrator(**_tuples(click)), Calibrator(**_tuples(convert)))
                for name, (click, convert) in config["calibrators"].items()
            }
            names = tuple(config["features"])
            return cls(names, arrays["mean"], arrays["scale"], scorers, calibrators, config["chosen"], config["validation_log_loss"], shape)
        except (KeyError, RuntimeError) as fault:
            raise BundleError(f"{path}: incomplete or from another version ({fault}); train the ranker again.") from None


def standardised(features: Matrix, mean: Matrix, scale: Matrix) -> Matrix:
    """Features in standard deviations from the training mean, kept within ±6.

    Args:
        features: ``(n, f)``.
        mean: ``(f,)``.
        scale: ``(f,)``.
    """
    return np.asarray(np.clip((features - mean) / scale, -_CLIP, _CLIP), dtype=np.float32)


def _network(arrays: Mapping[str, Matrix], prefix: str, features: int, shape: Mapping[str, int]) -> ClickConvertNetwork:
    network = ClickConvertNetwork(
        features, dim=shape["dim"], cross_layers=shape["cross_layers"], hidden_dim=shape["hidden_dim"], dropout=0.0
    )
    network.load_state_dict({name[len(prefix) :]: torch.from_numpy(value) for name, value in arrays.items() if name.startswith(prefix)})
    return network.eval()


def _tuples(held: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in held.items()}
