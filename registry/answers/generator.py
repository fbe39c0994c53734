"""How a registered generator answers: products and places in, copy out."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from pydantic import BaseModel

from models.generator import CopyRequest, GeneratorBundle


class Order(BaseModel):
    """Copy for one product in one place; attributes are pairs of key and value."""

    title: str
    category: str
    attributes: list[list[str]] = []
    brand: str | None = None
    scene: str = "product"
    channel: str = "onsite"
    n: int = 4
    seed: int = 0


class Answer(BaseModel):
    """Candidates, and whether the reviewer accepts each."""

    texts: list[str]
    accepted: list[bool]


class GeneratorAnswers(PythonModel):
    """Writes copy."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the bundle."""
        self.bundle = GeneratorBundle.load(Path(context.artifacts["bundle"]))

    def predict(self, context: PythonModelContext, model_input: list[Order]) -> list[Answer]:  # type: ignore[override]
        """Candidates of each order, each with the reviewer's verdict."""
        answers: list[Answer] = []
        for order in model_input:
            request = CopyRequest(
                item_id="",
                title=order.title,
                category=order.category,
                brand=order.brand,
                attributes=tuple((key, value) for key, value in order.attributes),
                scene=order.scene,
                channel=order.channel,
            )
            texts = self.bundle.write([request], order.n, np.random.default_rng(order.seed))[0]
            answers.append(Answer(texts=texts, accepted=[self.bundle.review(request, text).accepted for text in texts]))
        return answers

    def example(self) -> list[dict[str, Any]]:
        """An input that any bundle can answer."""
        return [{"title": "轻便跑鞋", "category": "运动", "attributes": [["鞋底", "缓震"]], "n": 1}]


mlflow.models.set_model(GeneratorAnswers())
