"""An event log of any length with power laws in it, written as the files that `train_recommender` reads; for `benchmarks.scale`.

How it grows: users = events / 25; items = 10 · events^0.6 (Heaps' law); a category for each 100 items. How it is spread: events a user
are Pareto with density exponent 2.5, the most active having 100 times the share of the least active; an item's share within its category
falls as rank^-0.8; a shopper has three categories, the common ones more often. Within a visit every third event takes the item that
follows the last one in its category, so that there is something to learn.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.columns import Columns as C
from core.files import write_beside, write_json
from core.schemas import arrow_schema
from models.embeddings import Embeddings
from models.encoder import EncoderSettings, TextEncoder
from models.text import item_texts

A_USER, HEAPS, HEAPS_FACTOR, A_CATEGORY = 25, 0.6, 10.0, 100
ACTIVITY, MOST_ACTIVE, POPULARITY = 2.5, 100.0, 0.8
KINDS, SHARES = ("view", "search", "cart", "favourite", "purchase"), (0.72, 0.12, 0.08, 0.04, 0.04)
FOLLOWING, NEW_VISIT, LIKED = 1 / 3, 0.2, 3
DAYS, DIM = 60, 384
SECOND = 1_000_000
START = pd.Timestamp("2026-01-01", tz="UTC")


@dataclass(frozen=True)
class Size:
    """How much of everything a log has.

    Attributes:
        events: rows.
        users: shoppers that may occur.
        items: products.
        categories: of the products.
    """

    events: int
    users: int
    items: int
    categories: int

    @classmethod
    def of(cls, events: int) -> "Size":
        """The size that goes with a number of events.

        Args:
            events: at least 1.
        """
        items = max(100, round(HEAPS_FACTOR * events**HEAPS))
        return cls(events, max(1, events // A_USER), items, max(LIKED, items // A_CATEGORY))


def write_log(folder: Path, events: int, rng: np.random.Generator) -> Size:
    """Write the log, whole or not at all; what stands there already stays.

    Args:
        folder: written: items.parquet, events.parquet, lineage.json, embeddings and encoder.
        events: rows.
        rng: draws.
    """
    size = Size.of(events)
    if folder.is_dir():
        return size
    with write_beside(folder) as draft:
        draft.mkdir()
        category = np.sort(np.arange(size.items) % size.categories)
        items = _items(size, category)
        items.to_parquet(draft / "items.parquet", index=False, schema=arrow_schema("items"))
        texts = item_texts(items)
        centres = rng.standard_normal((size.categories, DIM), dtype=np.float32)
        vectors = centres[category] + rng.standard_normal((size.items, DIM), dtype=np.float32)
        queries = [_query(code) for code in range(size.categories)]
        vectors = np.concatenate([vectors, centres])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        Embeddings((*texts, *queries), vectors).save(draft / "embeddings")
        TextEncoder(EncoderSettings("generated", "0" * 64, "", 32, 512, "float32"), np.zeros(DIM, np.float32)).save(draft / "encoder")
        times = _events(size, category, draft / "events.parquet", rng)
        train_end, validation_end = (START + pd.Timedelta(int(np.quantile(times, share)), unit="us") for share in (0.9, 1.0))
        facts = {"train_end": train_end.isoformat(), "validation_end": validation_end.isoformat(), "data_version": "", "synthetic": True}
        write_json({**facts, "user_key_fingerprint": ""}, draft / "lineage.json")
    return size


def _query(category: int) -> str:
    return f"category {category}"


def _items(size: Size, category: np.ndarray) -> pd.DataFrame:
    n, names = size.items, [_query(code) for code in category]
    return pd.DataFrame(
        {
            C.ITEM: [f"p{row:07d}" for row in range(n)],
            C.TITLE: [f"{name}, product {row}" for row, name in enumerate(names)],
            C.CATEGORY: names,
            C.BRAND: [f"brand {row % (2 * size.categories)}" for row in range(n)],
            C.PRICE: pd.array([9_900_000] * n, dtype="Int64"),
            C.ATTRIBUTES: [[{"key": "colour", "value": str(row % 12)}] for row in range(n)],
            C.STOCK: pd.array([None] * n, dtype="Int64"),
            C.CONSUMABLE: pd.array([False] * n, dtype="boolean"),
            C.IMAGE: pd.Series([None] * n, dtype="str"),
        }
    )


def _events(size: Size, category: np.ndarray, path: Path, rng: np.random.Generator) -> np.ndarray:
    """Write the events in time order; their microseconds since the start."""
    n = size.events
    weight = np.minimum(1.0 + rng.pareto(ACTIVITY - 1, size.users), MOST_ACTIVE)
    user = np.sort(rng.choice(size.users, size=n, p=weight / weight.sum()).astype(np.int32))
    first_of_user = np.diff(user, prepend=-1) != 0
    visit = first_of_user | (rng.random(n) < NEW_VISIT)
    number = np.cumsum(visit) - 1
    begin = rng.integers(DAYS * 86_400, size=int(number[-1]) + 1)
    owner = user[visit]
    begin = begin[np.lexsort((begin, owner))]
    place = np.arange(n) - np.flatnonzero(visit)[number]
    time = (begin[number] + 40 * place) * SECOND + rng.integers(SECOND, size=n)
    item = _met(size, category, user, visit, rng)
    kind = rng.choice(len(KINDS), size=n, p=SHARES).astype(np.int8)
    order = np.argsort(time, kind="stable")
    user, item, kind, time = user[order], item[order], kind[order], time[order]
    searched = kind == KINDS.index("search")
    names = [hashlib.md5(str(code).encode(), usedforsecurity=False).hexdigest() for code in range(size.users)]

    def column(codes: np.ndarray, values: list[str], missing: np.ndarray | None = None) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(codes, mask=missing), pa.array(values)).cast(pa.string())

    queries = [_query(code) for code in range(size.categories)]
    with pq.ParquetWriter(path, arrow_schema("events"), compression="zstd") as writer:
        for start in range(0, n, 1_000_000):
            rows = slice(start, min(start + 1_000_000, n))
            count = rows.stop - start
            held = {
                C.EVENT: pa.array([f"e{row:09d}" for row in range(start, rows.stop)]),
                C.USER: column(user[rows], names),
                C.ITEM: column(item[rows], [f"p{row:07d}" for row in range(size.items)], searched[rows]),
                C.EVENT_TYPE: column(kind[rows], list(KINDS)),
                C.QUERY: column(category[item[rows]].astype(np.int32), queries, ~searched[rows]),
                C.BASKET: pa.nulls(count, pa.string()),
                C.VALUE: pa.array(np.zeros(count, np.int64)),
                C.CHANNEL: pa.array(["onsite"] * count),
                C.TIMESTAMP: pa.array(START.value // 1000 + time[rows], pa.timestamp("us", tz="UTC")),
            }
            writer.write_table(pa.table(held, schema=arrow_schema("events")))
    return time


def _met(size: Size, category: np.ndarray, user: np.ndarray, visit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) the item of each event; a search stands for the item's category."""
    n = size.events
    first, counts = np.searchsorted(category, np.arange(size.categories)), np.bincount(category, minlength=size.categories)
    common = rng.permutation(size.categories)
    liked = common[(size.categories * rng.random((size.users, LIKED)) ** 2).astype(np.int32)]  # some categories are liked by many
    of = liked[user, rng.integers(LIKED, size=n)]
    edges = np.concatenate([[0.0], np.cumsum(np.arange(1, counts.max() + 1) ** -POPULARITY)])
    rank = np.searchsorted(edges, rng.random(n) * edges[counts[of]], side="right") - 1
    item = (first[of] + rank).astype(np.int32)
    follows = np.flatnonzero(~visit & (rng.random(n) < FOLLOWING))
    follows = follows[~np.isin(follows - 1, follows)]
    before = item[follows - 1]
    item[follows] = first[category[before]] + (before - first[category[before]] + 1) % counts[category[before]]
    return item
