"""How a registered creative pool answers: slots in, creatives out."""

from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from pydantic import BaseModel

from models.pool import Pool


class Slot(BaseModel):
    """A product in a place, for an audience or for everyone."""

    item_id: str
    scene: str = "product"
    channel: str = "onsite"
    audience_id: str | None = None


class Answer(BaseModel):
    """Creatives that may stand in the slot."""

    creative_ids: list[str]
    texts: list[str]


class PoolAnswers(PythonModel):
    """Looks creatives up."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the bundle."""
        self.pool = Pool.load(Path(context.artifacts["bundle"]))

    def predict(self, context: PythonModelContext, model_input: list[Slot]) -> list[Answer]:  # type: ignore[override]
        """The creatives that may stand in each slot."""
        answers: list[Answer] = []
        for slot in model_input:
            rows = self.pool.creatives_of(slot.item_id, scene=slot.scene, channel=slot.channel, audience=slot.audience_id)
            ids = [str(self.pool.creative_id[row]) for row in rows]
            answers.append(Answer(creative_ids=ids, texts=[str(self.pool.text[row]) for row in rows]))
        return answers

    def example(self) -> list[dict[str, Any]]:
        """An input that any bundle can answer."""
        item = str(self.pool.item_id[0]) if len(self.pool) else "none"
        return [{"item_id": item}]


mlflow.models.set_model(PoolAnswers())
