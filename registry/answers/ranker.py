"""How a registered ranker answers: a shopper, a place and candidates in, click and conversion probabilities out."""

from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from pydantic import BaseModel

from models.history import History
from models.ranker import RankerBundle


class Question(BaseModel):
    """Candidates for one request; events as pairs of event type and item id (for a search: its query), timestamp in µs UTC."""

    events: list[list[str]]
    item_ids: list[str]
    texts: list[str]
    scene: str = "product"
    channel: str = "onsite"
    timestamp: int


class Answer(BaseModel):
    """Probabilities in the order of the question's candidates."""

    p_click: list[float]
    p_convert: list[float]


class RankerAnswers(PythonModel):
    """Predicts clicks and conversions."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the bundle."""
        self.bundle = RankerBundle.load(Path(context.artifacts["bundle"]))

    def predict(self, context: PythonModelContext, model_input: list[Question]) -> list[Answer]:  # type: ignore[override]
        """p_click and p_convert of each candidate at position 0."""
        answers: list[Answer] = []
        for question in model_input:
            history = History.of([(kind, what) for kind, what in question.events], end=question.timestamp - 60_000_000)
            p_click, p_convert = self.bundle.predict_one(
                history, question.item_ids, question.texts, scene=question.scene, channel=question.channel, timestamp=question.timestamp
            )
            answers.append(Answer(p_click=p_click.tolist(), p_convert=p_convert.tolist()))
        return answers

    def example(self) -> list[dict[str, Any]]:
        """An input that any bundle can answer."""
        item = str(self.bundle.recommender.champion.item_ids[0])
        return [{"events": [["view", item]], "item_ids": [item], "texts": ["轻便跑鞋"], "timestamp": 1_800_000_000_000_000}]


mlflow.models.set_model(RankerAnswers())
