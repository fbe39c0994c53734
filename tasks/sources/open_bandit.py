"""Source `open_bandit`: logged fashion impressions with true propensities (Saito et al. 2021), the CSVs of zr-obp."""

from pathlib import Path

import pandas as pd

from core.columns import Columns
from core.errors import SchemaError, SourceError
from core.lineage import SourceFacts
from core.vocabulary import Channel, Scene
from tasks.sources.base import RawTables, filled
from tasks.sources.reading import read_file

COLLECTED_UNTIL = "2019-12-01T00:00:00+00:00"
"""The logs cover 24 to 30 November 2019."""

_USER_FEATURES = [f"user_feature_{number}" for number in range(4)]
_ITEM_FEATURES = [f"item_feature_{number}" for number in range(4)]
_NEEDED = ["timestamp", "item_id", "position", "click", "propensity_score", *_USER_FEATURES]
_MISSING = [
    "no events: no behaviour besides clicks on ads",
    "no copies: images were shown, no texts; creative ids stand for the images",
    "no campaigns",
    "items: anonymised features, no names; titles are the ids and say nothing",
    "impressions: no user ids; the four anonymised user features stand in, so that one id is many people",
    "impressions: every row is a request of its own; the logged propensity is that of the item at its position",
    "impressions: no conversions, no values, no consent flag (published for research: true), no scene or channel (product, onsite)",
]


def read_open_bandit(path: str | None) -> RawTables:
    """Read every log below a folder; ``<policy>/<campaign>/<campaign>.csv`` with item_context.csv beside it.

    Args:
        path: `collect.path`: the folder above, or one policy's or campaign's folder. Its CSVs lie in the wheel obp==0.4.1.

    Returns:
        Items and impressions.

    Raises:
        SourceError: no path, or no log in it.
        SchemaError: a log lacks columns.
    """
    root = Path(path) if path else None
    contexts = sorted(root.rglob("item_context.csv")) if root and root.is_dir() else []
    if not contexts:
        raise SourceError(f"source open_bandit needs `collect.path`: a folder with item_context.csv files below it; found {path!r}.")
    items = pd.concat([_items(context) for context in contexts], ignore_index=True).drop_duplicates(Columns.ITEM, ignore_index=True)
    impressions = pd.concat([_impressions(context.parent) for context in contexts], ignore_index=True)
    facts = SourceFacts(source="open_bandit", synthetic=False, missing=_MISSING, collected_until=COLLECTED_UNTIL)
    return RawTables(source=facts, items=items, impressions=impressions)


def _checked(file: Path, needed: list[str]) -> pd.DataFrame:
    frame = read_file(file)
    absent = [column for column in needed if column not in frame]
    if absent:
        raise SchemaError(f"{file}: missing columns {', '.join(absent)}.")
    return frame[needed]


def _items(context: Path) -> pd.DataFrame:
    campaign = context.resolve().parent.name
    frame = _checked(context, ["item_id", *_ITEM_FEATURES])
    ids = campaign + "-" + frame["item_id"]
    features = frame[_ITEM_FEATURES].to_dict("records")
    attributes = pd.Series([[{"key": str(key), "value": str(value)} for key, value in row.items()] for row in features], dtype="object")
    return filled("items", {Columns.ITEM: ids, Columns.TITLE: "item " + ids, Columns.CATEGORY: campaign, Columns.ATTRIBUTES: attributes})


def _impressions(folder: Path) -> pd.DataFrame:
    campaign, policy = folder.resolve().name, folder.resolve().parent.name
    log = _checked(folder / f"{campaign}.csv", _NEEDED)
    shown = campaign + "-" + log["item_id"]
    choices = ("image-" + campaign + "-" + _checked(folder / "item_context.csv", ["item_id"])["item_id"]).tolist()
    rows = pd.Series(range(len(log))).astype("str")
    columns = {
        Columns.REQUEST: policy + "-" + campaign + "-" + rows,
        Columns.POSITION: pd.to_numeric(log["position"], errors="coerce") - 1,  # 1..3 in the log
        Columns.TIMESTAMP: log["timestamp"],
        Columns.USER: log[_USER_FEATURES].agg("-".join, axis=1),
        Columns.SCENE: str(Scene.PRODUCT),
        Columns.CHANNEL: str(Channel.ONSITE),
        Columns.CANDIDATES: pd.Series([choices] * len(log), dtype="object"),
        Columns.CREATIVE: "image-" + shown,
        Columns.ITEM: shown,
        Columns.PROPENSITY: log["propensity_score"],
        Columns.PROPENSITY_MARGINAL: log["propensity_score"],
        Columns.POLICY_VERSION: policy,
        Columns.MODEL_VERSION: f"open-bandit-{policy}",
        Columns.RETRIEVAL_VERSION: f"open-bandit-{campaign}",
        Columns.CONSENT: True,
        Columns.CLICK: log["click"],
        Columns.CONVERSION: False,
        Columns.VALUE: 0,
    }
    return filled("impressions", columns)
