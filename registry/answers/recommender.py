"""How a registered recommender answers: shoppers in, items with probabilities out."""

from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from pydantic import BaseModel

from models.history import History
from models.recommender import RecommenderBundle


class Shopper(BaseModel):
    """What a shopper did, oldest first: pairs of event type and item id (for a search: its query)."""

    events: list[list[str]]
    k: int = 10


class Answer(BaseModel):
    """Items, most probable first, and their probabilities among all items."""

    item_ids: list[str]
    probabilities: list[float]


class RecommenderAnswers(PythonModel):
    """Ranks items for shoppers."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the bundle."""
        self.bundle = RecommenderBundle.load(Path(context.artifacts["bundle"]))

    def predict(self, context: PythonModelContext, model_input: list[Shopper]) -> list[Answer]:  # type: ignore[override]
        """The k most probable items of each shopper, and their probabilities among all items."""
        answers: list[Answer] = []
        for shopper in model_input:
            history = History.of([(kind, what) for kind, what in shopper.events])
            items = [str(item) for item in self.bundle.top_k([history], shopper.k)[0]]
            known = [str(item) for item in self.bundle.champion.item_ids]
            place = {item: row for row, item in enumerate(known)}
            probability = self.bundle.probability(history)
            answers.append(Answer(item_ids=items, probabilities=[float(probability[place[item]]) for item in items]))
        return answers

    def example(self) -> list[dict[str, Any]]:
        """An input that any bundle can answer."""
        return [{"events": [["view", str(self.bundle.champion.item_ids[0])]], "k": 3}]


mlflow.models.set_model(RecommenderAnswers())
