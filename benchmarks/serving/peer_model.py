"""The ranker as MLflow serves it: rows of precomputed features in, calibrated probabilities out. Logged as code by `peer`."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel

from core.environment import limit_threads
from models.bundle import read_config
from models.ranker.scorers import TrainedScorers


class FeatureRanker(PythonModel):  # type: ignore[misc]
    """The scorers of a ranker bundle, with their weights and calibrators."""

    def load_context(self, context: Any) -> None:
        """Read the bundle.

        Args:
            context: holds the artifact ``ranker``.
        """
        limit_threads(1)
        bundle = Path(context.artifacts["ranker"])
        self._scorers = TrainedScorers.load(bundle / "scorers.safetensors", read_config(bundle, "ranker"))

    def predict(self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None) -> np.ndarray:
        """Score candidates.

        Args:
            context: unused.
            model_input: ``(n, f)`` float32, one row a candidate.
            params: unused.

        Returns:
            ``(n, 2)`` p_click and p_convert.
        """
        predicted = self._scorers.predict(model_input, self._scorers.feature_names)
        return np.stack([predicted.p_click, predicted.p_convert], axis=1)


mlflow.models.set_model(FeatureRanker())
