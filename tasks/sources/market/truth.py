"""The market's true click and conversion probabilities, for any text; only `evaluate` may read what this writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from core.errors import SourceError
from core.files import read_json, read_table
from tasks.sources.base import TruthTables
from tasks.sources.market import terms, traits
from tasks.sources.market.clock import iso
from tasks.sources.market.shoppers import Shoppers
from tasks.sources.market.terms import World
from tasks.sources.market.traits import Signals

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Words = Sequence[str] | npt.NDArray[np.object_]
"""One word a row."""

FORMAT = 1
CALIBRATION_STEPS = 60


@dataclass(frozen=True)
class Truth:
    """The market's parameters and latents.

    Attributes:
        world: latents of shoppers, products and sessions.
        item_ids: (items,) ids in the order of the world's.
        signals: what names each product's attributes.
        strengths: term → strength on the logit scale, drift left out (it acts through taste).
        click_intercept: b_click.
        convert_intercept: b_convert.
        notes: what else truth.json says: names and descriptions of the logging policy.
    """

    world: World
    item_ids: tuple[str, ...]
    signals: tuple[Signals, ...]
    strengths: Mapping[str, float]
    click_intercept: float
    convert_intercept: float
    notes: Mapping[str, Any]

    @property
    def user_ids(self) -> list[str]:
        """Raw user ids of all shoppers."""
        return [str(user_id) for user_id in self.world.shoppers.user_ids]

    @cached_property
    def _users(self) -> pd.Index:
        return pd.Index(self.world.shoppers.user_ids)

    @cached_property
    def _items(self) -> pd.Index:
        return pd.Index(list(self.item_ids), dtype=object)

    def p_click(  # noqa: PLR0917 - the columns of an impression, in the contract's order
        self,
        user_ids: Words,
        item_ids: Words,
        texts: Words,
        scenes: Words,
        channels: Words,
        positions: Sequence[int] | Ints,
        timestamps: object,
    ) -> Floats:
        """True probability that a shopper clicks, row by row.

        Args:
            user_ids: (n,) raw user ids.
            item_ids: (n,) item ids.
            texts: (n,) the copy shown; any text.
            scenes: (n,) of SCENES.
            channels: (n,) of CHANNELS.
            positions: (n,) from 0.
            timestamps: (n,) datetimes (UTC, or without a zone and then taken as UTC) or integer microseconds.

        Returns:
            (n,) in (0, 1).

        Raises:
            ValueError: lengths differ, or a user, item, scene or channel is unknown.
        """
        effects = self.effects(user_ids, item_ids, texts, scenes, channels, positions, timestamps)
        return self.click_given(effects)

    def p_convert(  # noqa: PLR0917
        self,
        user_ids: Words,
        item_ids: Words,
        texts: Words,
        scenes: Words,
        channels: Words,
        positions: Sequence[int] | Ints,
        timestamps: object,
    ) -> Floats:
        """True probability that a shopper buys after a click, row by row; arguments as for `p_click`.

        Returns:
            (n,) in (0, 1).

        Raises:
            ValueError: as for `p_click`.
        """
        effects = self.effects(user_ids, item_ids, texts, scenes, channels, positions, timestamps)
        return self.conversion_given(effects)

    def click_given(self, effects: Mapping[str, Floats]) -> Floats:
        """p_click from the terms that `effects` gave. (n,)."""
        return _sigmoid(self.click_intercept + _total(effects, self.strengths))

    def conversion_given(self, effects: Mapping[str, Floats]) -> Floats:
        """p_convert from the terms that `effects` gave. (n,)."""
        return _sigmoid(self.convert_intercept + _total(effects, self.conversion_strengths))

    @property
    def conversion_strengths(self) -> dict[str, float]:
        """Term → strength on the logit of buying."""
        return {term: strength * terms.CONVERSION_MULTIPLIERS[term] for term, strength in self.strengths.items()}

    def effects(  # noqa: PLR0917
        self,
        user_ids: Words,
        item_ids: Words,
        texts: Words,
        scenes: Words,
        channels: Words,
        positions: Sequence[int] | Ints,
        timestamps: object,
    ) -> dict[str, Floats]:
        """The unscaled terms, row by row; arguments as for `p_click`.

        Returns:
            Term → (n,).

        Raises:
            ValueError: as for `p_click`.
        """
        if len({len(user_ids), len(item_ids), len(texts), len(scenes), len(channels), len(positions)}) != 1:
            raise ValueError("user_ids, item_ids, texts, scenes, channels and positions differ in length")
        users, items = _indices(self._users, user_ids, "user"), _indices(self._items, item_ids, "item")
        moments = _micros(timestamps)
        if len(moments) != len(users):
            raise ValueError(f"{len(moments)} timestamps for {len(users)} rows")
        channel_names, scene_names = np.asarray(channels, dtype=object), np.asarray(scenes, dtype=object)
        read = traits.read_texts(items, texts, channel_names, self.signals)
        shoppers = self.world.shoppers
        return {
            "taste": terms.taste(self.world, users, items, moments),
            "price": terms.price(self.world, users, items),
            "season": terms.season(self.world, items, moments),
            "popularity": self.world.appeal[items],
            "intent": terms.intent(self.world, users, items, moments),
            "tone": np.einsum("nt,nt->n", shoppers.tone[users], read.tone),
            "length": shoppers.length[users] * read.length,
            "selling_point": np.einsum("nt,nt->n", shoppers.theme[users], read.themes),
            "context": terms.context(scene_names, channel_names, moments),
            "position": -np.asarray(positions, dtype=np.float64),
        }

    def calibrated(self, effects: Mapping[str, Floats], *, base_ctr: float, base_cvr: float) -> "Truth":
        """The same truth with intercepts that give the wanted base rates on these impressions.

        Args:
            effects: terms of the impressions, see `effects`.
            base_ctr: wanted mean of p_click.
            base_cvr: wanted mean of p_convert over clicks.
        """
        clicks = _total(effects, self.strengths)
        click_intercept = _intercept(clicks, np.ones(len(clicks)), base_ctr)
        weights = _sigmoid(click_intercept + clicks)
        convert_intercept = _intercept(_total(effects, self.conversion_strengths), weights, base_cvr)
        return replace(self, click_intercept=click_intercept, convert_intercept=convert_intercept)

    def tables(self) -> TruthTables:
        """What `write_truth` writes and `load` reads."""
        world = self.world
        scalars = {
            "format": FORMAT,
            "strengths": dict(self.strengths),
            "conversion_strengths": self.conversion_strengths,
            "click_intercept": self.click_intercept,
            "convert_intercept": self.convert_intercept,
            "taste_mean": world.taste_mean,
            "taste_sd": world.taste_sd,
            "drift_share": world.drift_share,
            "start": iso(world.start),
            "start_micros": world.start,
            "seasons": world.seasons.tolist(),
            "type_relation": world.type_relation.tolist(),
            **self.notes,
        }
        items = pd.DataFrame(
            {
                "item_id": pd.array(self.item_ids, dtype="str"),
                "category": world.item_category,
                "type": world.item_type,
                "brand": world.item_brand,
                "price_z": world.price_z,
                "appeal": world.appeal,
                "signals": [[{"theme": theme, "names": list(names)} for theme, names in signals] for signals in self.signals],
            }
        )
        sessions = pd.DataFrame({"user": world.session_user, "time": world.session_time, "type": world.session_type})
        return TruthTables(scalars, {"users": world.shoppers.table(), "items": items, "sessions": sessions})

    @staticmethod
    def load(folder: Path) -> "Truth":
        """Read the truth that `collect` wrote.

        Args:
            folder: data/truth.

        Raises:
            SourceError: no market's truth lies there, or one of another format.
        """
        path = folder / "truth.json"
        if not path.exists():
            raise SourceError(f"{folder} holds no truth.json: the source is no market, or `collect` has not run.")
        known = read_json(path)
        if known.get("format") != FORMAT:
            raise SourceError(f"{path} has format {known.get('format')!r}; this code reads {FORMAT}. Run `collect` again.")
        items, sessions = read_table(folder / "items.parquet"), read_table(folder / "sessions.parquet")
        world = World(
            shoppers=Shoppers.from_table(read_table(folder / "users.parquet")),
            item_category=items["category"].to_numpy(dtype=np.int64),
            item_type=items["type"].to_numpy(dtype=np.int64),
            item_brand=items["brand"].to_numpy(dtype=np.int64),
            price_z=items["price_z"].to_numpy(dtype=np.float64),
            appeal=items["appeal"].to_numpy(dtype=np.float64),
            type_relation=np.array(known["type_relation"], dtype=np.float64),
            seasons=np.array(known["seasons"], dtype=np.float64),
            taste_mean=known["taste_mean"],
            taste_sd=known["taste_sd"],
            drift_share=known["drift_share"],
            start=known["start_micros"],
            session_user=sessions["user"].to_numpy(dtype=np.int64),
            session_time=sessions["time"].to_numpy(dtype=np.int64),
            session_type=sessions["type"].to_numpy(dtype=np.int64),
        )
        signals = tuple(tuple((int(signal["theme"]), tuple(signal["names"])) for signal in row) for row in items["signals"])
        return Truth(
            world=world,
            item_ids=tuple(items["item_id"]),
            signals=signals,
            strengths=known["strengths"],
            click_intercept=known["click_intercept"],
            convert_intercept=known["convert_intercept"],
            notes={key: known[key] for key in known.get("note_keys", [])},
        )


def _total(effects: Mapping[str, Floats], strengths: Mapping[str, float]) -> Floats:
    total: Floats = np.zeros(len(effects["taste"]))
    for term in sorted(strengths):
        total = total + strengths[term] * effects[term]
    return total


def _sigmoid(logits: Floats) -> Floats:
    p: Floats = 1.0 / (1.0 + np.exp(-np.clip(logits, -40, 40)))
    return p


def _intercept(logits: Floats, weights: Floats, target: float) -> float:
    """The intercept at which the weighted mean probability is the target, by bisection."""
    if not len(logits):
        return float(np.log(target / (1 - target)))
    low, high = -40.0, 40.0
    for _ in range(CALIBRATION_STEPS):
        middle = (low + high) / 2
        if float(np.average(_sigmoid(middle + logits), weights=weights)) < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _indices(known: pd.Index, ids: Words, what: str) -> Ints:
    found = known.get_indexer(pd.Index(np.asarray(ids, dtype=object))).astype(np.int64)
    if (found < 0).any():
        row = int(np.argmax(found < 0))
        wrong = np.asarray(ids, dtype=object)[row]
        raise ValueError(f"{int((found < 0).sum())} of {len(found)} {what} ids are not of this market; first: row {row} = {wrong!r}")
    return found


def _micros(timestamps: object) -> Ints:
    if isinstance(timestamps, np.ndarray) and timestamps.dtype.kind in "iu":
        return timestamps.astype(np.int64)
    moments = pd.DatetimeIndex(pd.to_datetime(pd.Series(timestamps), utc=True))
    return moments.as_unit("us").asi8.astype(np.int64)
