"""A ranker for the tiny shop."""

import shutil

import numpy as np
import pandas as pd
from tiny_shop import DATA_END, vectors

from core.columns import Columns as C
from core.files import read_table
from core.params import RankerParams
from models.features import FeatureSpace, logged_candidates, requests_of
from models.ranker import RankerBundle
from models.ranker.training import Rows, train_scorers
from models.recommender import RecommenderBundle

PARAMS = RankerParams(
    max_requests=1000,
    dim=4,
    cross_layers=1,
    hidden_dim=8,
    dropout=0.0,
    epochs=2,
    patience=2,
    batch_size=64,
    learning_rate=0.01,
    weight_decay=0.0,
)


def train_ranker(shop):
    """A ranker that has learned from random ads of the tiny shop; sports are clicked most."""
    recommender = RecommenderBundle.load(shop / "models" / "recommender")
    creatives = read_table(shop / "models" / "pool" / "creatives.parquet")
    rng = np.random.default_rng(5)
    shown = creatives.iloc[rng.integers(0, len(creatives), 900)].reset_index(drop=True)
    sporty = shown[C.ITEM].isin(["p0", "p1", "p2", "p3"]).to_numpy()
    end = pd.Timestamp(DATA_END)
    table = shown[[C.CREATIVE, C.ITEM, C.SCENE, C.CHANNEL]].assign(
        **{
            C.REQUEST: [f"r{row}" for row in range(len(shown))],
            C.POSITION: 0,
            C.USER: [f"{row % 30:032x}" for row in range(len(shown))],
            C.TIMESTAMP: [end - pd.Timedelta(minutes=30 * (len(shown) - row)) for row in range(len(shown))],
            C.CLICK: rng.random(len(shown)) < np.where(sporty, 0.5, 0.1),
        }
    )
    copies = creatives.rename(columns={C.CREATIVE: C.COPY})
    texts = dict(zip(copies[C.COPY], copies[C.TEXT], strict=True))
    events = read_table(shop / "clean" / "events.parquet")
    requests, place = requests_of(table, events, texts)
    space = FeatureSpace.fit(recommender, vectors, events=events, impressions=table, copies=copies, requests=requests)
    features, names = space.compute(requests, logged_candidates(table, place, texts))
    clicks = table[C.CLICK].to_numpy(dtype=np.float32)
    rows = Rows(features, clicks, np.zeros_like(clicks), table[C.USER].to_numpy(dtype=object), np.ones_like(clicks))
    first = np.arange(len(table)) < 600
    scorers = train_scorers(rows.where(first), rows.where(~first), names, PARAMS, seed=1, on_epoch=lambda epoch, found: None)
    shutil.rmtree(shop / "models" / "ranker")
    RankerBundle(recommender, scorers=scorers, space=space).save(shop / "models" / "ranker", recommender=shop / "models" / "recommender")
