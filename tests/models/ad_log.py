"""A small made-up ad log for tests of features and ranker: tastes by category, a liking for short copy, known click rates."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from models.features import FeatureSpace
from models.text import item_texts

START = 1_790_000_000_000_000  # µs UTC
DAY = 86_400_000_000
CATEGORIES = ("运动", "茶饮", "图书")
DIM = 16


def vectors_of(texts):
    """Texts → unit vectors that are close when characters are shared."""
    table = np.random.default_rng(3).normal(size=(997, DIM)).astype(np.float32)
    found = (
        np.stack([table[[ord(letter) % 997 for letter in text] or [0]].sum(axis=0) for text in texts])
        if texts
        else np.zeros((0, DIM), np.float32)
    )
    found = found - table.mean(axis=0)
    return (found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)).astype(np.float32)


class TasteRecommender:
    """Popularity plus the mean vector of what was looked at; knows nothing of the truth."""

    def __init__(self, items):
        self.items = items
        self.catalogue = self.champion = self
        self.item_ids = tuple(items["item_id"])
        self._vectors = vectors_of(item_texts(items))
        self._rows = {item: row for row, item in enumerate(self.item_ids)}

    def features(self, codes):
        return self._vectors[codes]

    def user_feature(self, histories, now=None):
        found = np.zeros((len(histories), DIM), np.float32)
        for row, history in enumerate(histories):
            seen = [self._rows[item] for item in history.item_ids if item in self._rows]
            if seen:
                found[row] = self._vectors[seen].mean(axis=0)
        return found

    def score(self, histories, now=None):
        return self.user_feature(histories) @ self._vectors.T


@dataclass(frozen=True)
class AdLog:
    items: pd.DataFrame
    copies: pd.DataFrame
    events: pd.DataFrame
    impressions: pd.DataFrame
    p_click: np.ndarray

    @property
    def texts(self):
        return dict(zip(self.copies["copy_id"], self.copies["text"], strict=True))


def make_ad_log(*, users=60, requests=600, days=20, seed=0, candidates=6):
    rng = np.random.default_rng(seed)
    moments = lambda values: pd.to_datetime(np.asarray(values), unit="us", utc=True).astype("datetime64[us, UTC]")  # noqa: E731
    items = pd.DataFrame(
        {
            "item_id": [f"i{row:02d}" for row in range(18)],
            "title": [f"{CATEGORIES[row % 3]}好物{row}" for row in range(18)],
            "category": [CATEGORIES[row % 3] for row in range(18)],
            "brand": [f"牌{row % 4}" if row % 5 else None for row in range(18)],
            "price_micros": pd.array([None if row == 7 else (row + 1) * 1_000_000 for row in range(18)], dtype="Int64"),
            "attributes": [[{"key": "颜色", "value": "红蓝绿"[row % 3]}, {"key": "材质", "value": f"料{row % 6}"}] for row in range(18)],
            "stock": pd.array([None] * 18, dtype="Int64"),
            "consumable": pd.array([False] * 18, dtype="boolean"),
            "image_path": None,
        }
    )
    rows = [
        (f"c{row:02d}{kind}", f"i{row:02d}", scene, "onsite", text, "human")
        for row in range(18)
        for kind, (scene, text) in enumerate(
            [
                ("product", f"{items['title'][row]}，今日特价！"),
                ("product", f"{items['title'][row]}采用料{row % 6}，经过专业测试，日常使用安心舒适，值得细细品味，慢慢相处"),
            ]
        )
    ]
    copies = pd.DataFrame(rows, columns=["copy_id", "item_id", "scene", "channel", "text", "origin"])
    taste = rng.integers(0, 3, users)
    user = rng.integers(0, users, 20 * users)
    own = rng.random(user.size) < 0.8
    seen = np.where(own, taste[user] + 3 * rng.integers(0, 6, user.size), rng.integers(0, 18, user.size))
    searched = rng.random(user.size) < 0.1
    events = pd.DataFrame(
        {
            "event_id": [f"e{row:05d}" for row in range(user.size)],
            "user_id": [f"u{one:03d}" for one in user],
            "item_id": np.where(searched, None, [f"i{one:02d}" for one in seen]),
            "event_type": np.where(searched, "search", rng.choice(["view", "view", "cart", "purchase"], user.size)),
            "query": np.where(searched, [CATEGORIES[taste[one]] for one in user], None),
            "timestamp": moments(START + rng.integers(0, days * DAY, user.size)),
        }
    ).sort_values("timestamp", ignore_index=True)
    shown = []
    truth = []
    for number in range(requests):
        who = int(rng.integers(users))
        when = START + int((number + 0.5) / requests * days * DAY)
        offered = rng.choice(len(copies), candidates, replace=False)
        for position, place in enumerate(offered[:2]):
            row = int(copies["item_id"][place][1:])
            logit = -2.0 + 1.8 * (row % 3 == taste[who]) + 0.8 * (place % 2 == 0) - 0.3 * position
            truth.append(1 / (1 + np.exp(-logit)))
            click = rng.random() < truth[-1]
            creative = copies.loc[place]
            when_and_who = (f"r{number:05d}", position, when, f"u{who:03d}", "product", "onsite")
            choice = (list(copies["copy_id"][offered]), creative["copy_id"], creative["item_id"], 1 / (candidates - position))
            shown.append((*when_and_who, *choice, click, click and rng.random() < 0.3))
    names = ["request_id", "position", "timestamp", "user_id", "scene", "channel", "candidates", "creative_id", "item_id", "propensity"]
    names += ["click", "conversion"]
    impressions = pd.DataFrame(shown, columns=names)
    impressions["timestamp"] = moments(impressions["timestamp"])
    return AdLog(items, copies, events, impressions, np.array(truth))


def fitted(log, requests):
    """The features of the log, whose requests are `requests_of` it."""
    return FeatureSpace.fit(
        TasteRecommender(log.items),
        vectors_of,
        events=log.events,
        impressions=log.impressions,
        copies=log.copies,
        requests=requests.rows(0, 100),
    )
