"""A small shop with known structure, for tests of the recommenders: themes decide who views what."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from core.columns import Columns
from models.encoder import EncoderSettings, TextEncoder
from models.recommender.catalogue import Catalogue

START = datetime(2026, 1, 1, tzinfo=UTC)
TRAIN_END = START + timedelta(days=20)
VALIDATION_END = START + timedelta(days=25)
THEMES = ("运动", "厨房", "图书", "母婴")
DIM = 16


def text_vectors(texts: list[str] | tuple[str, ...]) -> np.ndarray:
    """Unit vectors: a theme's direction for texts that name it, plus something of the text's own."""
    rows = []
    for text in texts:
        own = np.random.default_rng(list(text.encode())).normal(size=DIM) * 0.15
        own[[place for place, theme in enumerate(THEMES) if theme in text]] += 1.0
        rows.append(own)
    made = np.array(rows, dtype=np.float32).reshape(-1, DIM)
    return (made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def shop_items(per_theme: int = 8) -> pd.DataFrame:
    """Items of four themes; the last of each theme is a consumable, the first but one is out of stock."""
    rows = [(f"{theme}{number}", theme, number) for theme in THEMES for number in range(per_theme)]
    return pd.DataFrame(
        {
            Columns.ITEM: pd.Series([f"p{place:03d}" for place in range(len(rows))], dtype="str"),
            Columns.TITLE: pd.Series([title for title, _, _ in rows], dtype="str"),
            Columns.CATEGORY: pd.Series([theme for _, theme, _ in rows], dtype="str"),
            Columns.BRAND: pd.Series([None] * len(rows), dtype="str"),
            Columns.PRICE: pd.array([9_900_000] * len(rows), dtype="Int64"),
            Columns.ATTRIBUTES: [[{"key": "号", "value": str(number)}] for _, _, number in rows],
            Columns.STOCK: pd.array([0 if number == 1 else (None if number == 2 else 5) for _, _, number in rows], dtype="Int64"),
            Columns.CONSUMABLE: pd.array([number == per_theme - 1 for _, _, number in rows], dtype="boolean"),
            Columns.IMAGE: pd.Series([None] * len(rows), dtype="str"),
        }
    )


def shop_events(items: pd.DataFrame, users: int = 60, days: int = 30, seed: int = 3) -> pd.DataFrame:
    """Visits of shoppers who each love one theme: a search now and then, views, and sometimes a purchase."""
    rng = np.random.default_rng(seed)
    ids, themes = items[Columns.ITEM].to_numpy(), items[Columns.CATEGORY].to_numpy()
    rows: list[tuple[str, str | None, str, str | None, datetime]] = []
    for user in range(users):
        loved = THEMES[user % len(THEMES)]
        for day in range(int(rng.integers(3)), days, 3):
            theme = loved if rng.random() < 0.9 else THEMES[int(rng.integers(len(THEMES)))]
            moment = START + timedelta(days=day, seconds=int(rng.integers(80_000)))
            if rng.random() < 0.4:
                rows.append((f"u{user:03d}", None, "search", theme, moment))
            for item in rng.choice(ids[themes == theme], size=2, replace=False):
                moment += timedelta(seconds=40)
                rows.append((f"u{user:03d}", str(item), "view", None, moment))
            if rng.random() < 0.2:
                rows.append((f"u{user:03d}", rows[-1][1], "purchase", None, moment + timedelta(seconds=60)))
    return events_of(rows)


def events_of(rows: list[tuple[str, str | None, str, str | None, datetime]]) -> pd.DataFrame:
    """An events table of (user, item, event type, query, time)."""
    return pd.DataFrame(
        {
            Columns.EVENT: pd.Series([f"e{place:06d}" for place in range(len(rows))], dtype="str"),
            Columns.USER: pd.Series([row[0] for row in rows], dtype="str"),
            Columns.ITEM: pd.Series([row[1] for row in rows], dtype="str"),
            Columns.EVENT_TYPE: pd.Series([row[2] for row in rows], dtype="str"),
            Columns.QUERY: pd.Series([row[3] for row in rows], dtype="str"),
            Columns.BASKET: pd.Series([None] * len(rows), dtype="str"),
            Columns.VALUE: pd.array([0] * len(rows), dtype="Int64"),
            Columns.CHANNEL: pd.Series(["onsite"] * len(rows), dtype="str"),
            Columns.TIMESTAMP: pd.Series(pd.to_datetime([row[4] for row in rows], utc=True)).astype("datetime64[us, UTC]"),
        }
    )


def shop_catalogue(per_theme: int = 8) -> Catalogue:
    """The catalogue of `shop_items` under `text_vectors`."""
    return Catalogue.of(shop_items(per_theme), lambda texts: text_vectors(list(texts)))


def networkless_encoder() -> TextEncoder:
    """An encoder bundle's object whose network cannot be loaded; it knows only what it is told to remember."""
    settings = EncoderSettings("/nowhere/at/all", "0" * 64, "query: ", 32, 512, "float32")
    return TextEncoder(settings, np.zeros(DIM, np.float32))
