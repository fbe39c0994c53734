"""Small right tables, for tests to break."""

from collections.abc import Mapping

import pandas as pd

from core.lineage import CollectedFacts, Feedback, Has
from core.params import PrepareParams
from tasks.cleaning.clean import Cleaned, clean

KEY = b"a-key-for-tests-only"
PREPARE = PrepareParams(
    validation_share=0.1, test_share=0.2, conversion_window_days=3.0, max_events_per_user=1000, max_quarantine_share=0.5
)


def facts(**changes: object) -> CollectedFacts:
    said = CollectedFacts(
        source="files",
        synthetic=False,
        missing=[],
        has=Has(copies=True, impressions=True, campaigns=True, truth=False),
        left_out=[],
        collected_until="2026-10-01T00:00:00+00:00",
        feedback=Feedback(segments=0, events=0, impressions=0, user_key_fingerprint=None),
    )
    said.update(changes)
    return said


def raw_tables(events: int = 20) -> dict[str, pd.DataFrame]:
    times = pd.date_range("2026-09-01", periods=events, freq="h", tz="UTC").astype("datetime64[us, UTC]")
    items = pd.DataFrame(
        {
            "item_id": ["i1", "i2", "i3"],
            "title": ["跑鞋", "Steel bottle", "Yoga mat"],
            "category": ["运动", "Outdoor", "Sports"],
            "brand": ["风行", None, "Ridge"],
            "price_micros": pd.array([299_000_000, None, 24_900_000], dtype="Int64"),
            "attributes": [[{"key": "颜色", "value": "白"}], [], []],
            "stock": pd.array([1, 0, None], dtype="Int64"),
            "consumable": pd.array([False, None, False], dtype="boolean"),
            "image_path": pd.Series([None] * 3, dtype="str"),
        }
    )
    behaviour = pd.DataFrame(
        {
            "event_id": [f"e{row}" for row in range(events)],
            "user_id": [f"u{row % 4}" for row in range(events)],
            "item_id": [f"i{row % 3 + 1}" for row in range(events)],
            "event_type": ["view"] * events,
            "query": pd.Series([None] * events, dtype="str"),
            "basket_id": pd.Series([None] * events, dtype="str"),
            "value_micros": pd.array([0] * events, dtype="Int64"),
            "channel": ["onsite"] * events,
            "timestamp": times,
        }
    )
    copies = pd.DataFrame(
        {
            "copy_id": ["c1", "c2"],
            "item_id": ["i1", "i2"],
            "scene": ["product"] * 2,
            "channel": ["onsite"] * 2,
            "text": ["轻便好穿", "Keeps cold"],
            "origin": ["human"] * 2,
        }
    )
    impressions = pd.DataFrame(
        {
            "request_id": [f"r{row}" for row in range(events)],
            "position": [0] * events,
            "timestamp": times,
            "user_id": [f"u{row % 4}" for row in range(events)],
            "scene": ["product"] * events,
            "channel": ["onsite"] * events,
            "candidates": [["c1", "c2"]] * events,
            "creative_id": ["c1"] * events,
            "item_id": ["i1"] * events,
            "propensity": [0.5] * events,
            "propensity_marginal": [0.5] * events,
            "policy_version": ["p"] * events,
            "model_version": ["m"] * events,
            "retrieval_version": ["r"] * events,
            "p_click": [0.1] * events,
            "p_convert": [None] * events,
            "bid_micros": pd.array([None] * events, dtype="Int64"),
            "ecpm_micros": pd.array([None] * events, dtype="Int64"),
            "consent": [True] * events,
            "click": [row % 2 == 0 for row in range(events)],
            "conversion": [row % 4 == 0 for row in range(events)],
            "value_micros": pd.array([5 if row % 4 == 0 else 0 for row in range(events)], dtype="Int64"),
        }
    )
    campaigns = pd.DataFrame(
        {
            "campaign_id": ["k1"],
            "name": ["Autumn"],
            "start": pd.to_datetime(["2026-09-01"], utc=True),
            "end": pd.to_datetime(["2026-09-20"], utc=True),
            "daily_budget_micros": pd.array([None], dtype="Int64"),
            "bid_micros": pd.array([100_000], dtype="Int64"),
            "target_scenes": [[]],
            "target_channels": [[]],
            "target_categories": [["Sports"]],
            "target_audiences": [[]],
        }
    )
    return {"items": items, "events": behaviour, "copies": copies, "impressions": impressions, "campaigns": campaigns}


def cleaned(tables: Mapping[str, pd.DataFrame], prepare: PrepareParams = PREPARE, **said: object) -> Cleaned:
    return clean(tables, facts(**said), prepare, KEY)


def broken(table: str, column: str, value: object, row: int = 3) -> dict[str, pd.DataFrame]:
    """The right tables with one cell replaced."""
    tables = raw_tables()
    row = min(row, len(tables[table]) - 1)
    cells = tables[table][column].astype("object").tolist()
    cells[row] = value
    tables[table][column] = pd.Series(cells, dtype="object")
    return tables
