"""How a registered policy answers: scores of candidates in, the probability that each stands on top out."""

from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from pydantic import BaseModel

from models.policies.served import ServedPolicy
from models.policies.slate import vote


class Question(BaseModel):
    """Draws of the candidates' scores: one draw of a policy that is sure of them, several of one that lets them vote."""

    draws: list[list[float]]


class Answer(BaseModel):
    """Probabilities in the order of the candidates."""

    propensity: list[float]


class PolicyAnswers(PythonModel):
    """Forms the distribution of the topmost position."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the bundle."""
        self.policy = ServedPolicy.load(Path(context.artifacts["bundle"]))

    def predict(self, context: PythonModelContext, model_input: list[Question]) -> list[Answer]:  # type: ignore[override]
        """Propensities of each question's candidates."""
        return [Answer(propensity=vote(question.draws, self.policy.exploration).tolist()) for question in model_input]

    def example(self) -> list[dict[str, Any]]:
        """An input that any bundle can answer."""
        return [{"draws": [[0.1, 0.3, 0.2]]}]


mlflow.models.set_model(PolicyAnswers())
