"""A shop of twelve products with bundles that need no training and no encoder network, for tests of the service."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from core.columns import Columns as C
from core.files import read_json, write_json, write_table
from core.identity import DEVELOPMENT_KEY, fingerprint, pseudonymise
from core.params import ServingParams
from core.schemas import arrow_schema
from core.vocabulary import CHANNELS, MICROS, SCENES
from models.bundle import save_arrays, writing_bundle
from models.encoder.text_encoder import EncoderSettings, TextEncoder
from models.fusion import Fusion
from models.generator.bundle import GeneratorBundle, make_reviewer
from models.generator.facts import fit_facts
from models.generator.request import requests_of
from models.generator.template import TemplateGenerator
from models.generator.vocabulary import SPECIALS, Vocabulary
from models.ranker import RankerBundle
from models.recommender import RecommenderBundle
from models.recommender.audiences import make_audiences
from models.recommender.catalogue import Catalogue
from models.recommender.content import ContentCosine, CosineNetwork
from serving.decision_log import DECISION_COLUMNS
from serving.settings import CleanData, Settings
from serving.storage import open_store

DIM = 8
CATEGORIES = ("运动", "手机", "食品")
QUERIES = ("马拉松", "马拉松 鞋", "手机壳", "你好", "甲", "乙")
DATA_END = datetime(2026, 11, 1, 23, 0, tzinfo=UTC)
WALL = int(datetime(2031, 5, 4, 12, 0, tzinfo=UTC).timestamp() * 1_000_000)
"""A wall clock that has nothing to do with the data's time."""


def items() -> pd.DataFrame:
    """Twelve products, four a category; p3 is out of stock, food can be bought again."""
    rows = range(12)
    return pd.DataFrame(
        {
            C.ITEM: [f"p{row}" for row in rows],
            C.TITLE: [f"{CATEGORIES[row // 4]}商品{row}" for row in rows],
            C.CATEGORY: [CATEGORIES[row // 4] for row in rows],
            C.BRAND: [f"品牌{row % 2}" for row in rows],
            C.PRICE: pd.array([(row + 1) * 10 * MICROS for row in rows], dtype="Int64"),
            C.ATTRIBUTES: [[{"key": "颜色", "value": "红色" if row % 2 else "蓝色"}, {"key": "材质", "value": "纯棉"}] for row in rows],
            C.STOCK: pd.array([0 if row == 3 else 5 for row in rows], dtype="Int64"),
            C.CONSUMABLE: pd.array([row >= 8 for row in rows], dtype="boolean"),
            C.IMAGE: pd.Series([None] * 12, dtype="str"),
        }
    ).astype(dict.fromkeys((C.ITEM, C.TITLE, C.CATEGORY, C.BRAND), "str"))


def vectors(texts) -> np.ndarray:
    """Texts of one category lie close together; 马拉松 lies with sports, 手机壳 with phones."""
    found = []
    for text in texts:
        place = next((code for code, name in enumerate(CATEGORIES) if name in text), 0 if "马拉松" in text else 1 if "手机" in text else 5)
        noise = np.random.default_rng(list(text.encode())).normal(size=DIM) * 0.15
        found.append(np.eye(DIM)[place] + noise)
    return np.array(found, dtype=np.float32)


def write_recommender(folder: Path, scale: float = 1.0) -> None:
    encoder = TextEncoder(EncoderSettings("nowhere", "0" * 64, "", 32, 256, "float32"), np.zeros(DIM, np.float32))
    encoder.save(folder.parent / "encoder")
    known = vectors(QUERIES)
    encoder.remember(list(QUERIES), known)
    encoder.remember(_texts(), vectors(_texts()))
    catalogue = Catalogue.of(items(), encoder.features)
    network = CosineNetwork(DIM)
    network.log_scale.data *= scale
    audiences = make_audiences(catalogue.features(np.arange(12)), [[name] for name in items()[C.CATEGORY]], count=3, seed=1)
    bundle = RecommenderBundle(
        catalogue=catalogue,
        encoder=encoder,
        fusion=Fusion(DIM),
        audiences=audiences,
        models={"content_cosine": ContentCosine(catalogue, 50, network)},
        champion="content_cosine",
        max_events=50,
    )
    key = fingerprint(DEVELOPMENT_KEY)
    bundle.save(
        folder, encoder=folder.parent / "encoder", queries=dict(zip(QUERIES, known, strict=True)), config={"user_key_fingerprint": key}
    )


def _texts() -> list[str]:
    from models.text import item_texts

    return sorted(set(item_texts(items())))


def write_pool(folder: Path, *, budget: int | None = 50 * MICROS) -> None:
    rows = []
    for item, category in zip(items()[C.ITEM], items()[C.CATEGORY], strict=True):
        for scene in SCENES:
            for channel in CHANNELS:
                for which in range(2):
                    text = f"{category}好物{item}:{scene}{channel}{'甲乙'[which]}"
                    rows.append((f"c-{item}-{scene}-{channel}-{which}", item, scene, channel, text, "template" if which else "human"))
    table = pd.DataFrame(rows, columns=[C.CREATIVE, C.ITEM, C.SCENE, C.CHANNEL, C.TEXT, C.ORIGIN])
    table = table.assign(
        **{C.AUDIENCE: pd.Series([None] * len(table), dtype="str"), C.GENERATOR_VERSION: "test", C.QUALITY: 1.0, C.VERDICT: "passed"}
    )
    table[C.AI_LABEL] = table[C.ORIGIN] != "human"
    start = pd.Timestamp(DATA_END) - pd.Timedelta(days=1)
    campaigns = pd.DataFrame(
        {
            C.CAMPAIGN: ["k1"],
            C.NAME: ["运动节"],
            C.START: [start],
            C.END: [start + pd.Timedelta(days=11)],
            C.DAILY_BUDGET: pd.array([budget], dtype="Int64"),
            C.BID: pd.array([2 * MICROS], dtype="Int64"),
            C.TARGET_SCENES: [["promotion"]],
            C.TARGET_CHANNELS: [[]],
            C.TARGET_CATEGORIES: [["运动"]],
            C.TARGET_AUDIENCES: [[]],
        }
    )
    with writing_bundle(folder, "pool", {}) as draft:
        write_table(table, draft / "creatives.parquet", arrow_schema("creatives"))
        write_table(items(), draft / "items.parquet", arrow_schema("items"))
        write_table(campaigns, draft / "campaigns.parquet", arrow_schema("campaigns"))
        save_arrays({"vectors": vectors(table[C.TEXT])}, draft / "vectors.safetensors")


def write_generator(folder: Path) -> None:
    products = list(requests_of(items()).values())
    vocabulary = Vocabulary(SPECIALS)
    reviewer = make_reviewer(fit_facts(products, [], []), [], vocabulary, levels=[], targets={}, max_copied_span=20)
    GeneratorBundle({"template": TemplateGenerator()}, "template", reviewer, (), {}).save(folder)


def write_bundles(folder: Path, scale: float = 1.0) -> None:
    """All four bundles; another scale makes other bundles."""
    write_recommender(folder / "recommender", scale)
    write_pool(folder / "pool")
    write_generator(folder / "generator")
    RankerBundle(RecommenderBundle.load(folder / "recommender"), reason="not trained: no impressions").save(
        folder / "ranker", recommender=folder / "recommender"
    )
    shutil.rmtree(folder / "encoder")


def write_clean(folder: Path, version: str = "one") -> CleanData:
    """Clean tables: shopper u1 bought p0, viewed p4, saw two ads and clicked the first."""
    user = pseudonymise(["u1"], DEVELOPMENT_KEY)[0]
    start = pd.Timestamp(DATA_END) - pd.Timedelta(days=2)
    events = pd.DataFrame(
        {
            C.EVENT: ["past-1", "past-2"],
            C.USER: user,
            C.ITEM: ["p0", "p4"],
            C.EVENT_TYPE: ["purchase", "view"],
            C.QUERY: pd.Series([None, None], dtype="str"),
            C.BASKET: pd.Series([None, None], dtype="str"),
            C.VALUE: [10 * MICROS, 0],
            C.CHANNEL: "onsite",
            C.TIMESTAMP: [start, start + pd.Timedelta(hours=1)],
        }
    )
    impressions = pd.DataFrame(
        {
            C.REQUEST: "past-request",
            C.POSITION: [0, 1],
            C.TIMESTAMP: start,
            C.USER: user,
            C.SCENE: "product",
            C.CHANNEL: "onsite",
            C.CANDIDATES: [["h1", "h2"]] * 2,
            C.CREATIVE: ["h1", "h2"],
            C.ITEM: ["p5", "p6"],
            C.PROPENSITY: 0.5,
            C.PROPENSITY_MARGINAL: 0.5,
            C.POLICY_VERSION: "p",
            C.MODEL_VERSION: "m",
            C.RETRIEVAL_VERSION: "r",
            C.P_CLICK: None,
            C.P_CONVERT: None,
            C.BID: None,
            C.ECPM: None,
            C.CONSENT: True,
            C.CLICK: [True, False],
            C.CONVERSION: False,
            C.VALUE: 0,
        }
    )
    copies = pd.DataFrame(
        {C.COPY: ["h1", "h2"], C.ITEM: ["p5", "p6"], C.SCENE: "product", C.CHANNEL: "onsite", C.TEXT: ["甲", "乙"], C.ORIGIN: "human"}
    )
    data = CleanData(*(folder / name for name in ("lineage.json", "events.parquet", "impressions.parquet", "copies.parquet")))
    for name, frame in (("events", events), ("impressions", impressions), ("copies", copies)):
        write_table(frame, getattr(data, name), arrow_schema(name))
    lineage = {
        "synthetic": True,
        "user_key_fingerprint": fingerprint(DEVELOPMENT_KEY),
        "data_version": version,
        "end": DATA_END.isoformat(),
    }
    write_json(lineage, data.lineage)
    return data


class Wall:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.time = WALL

    def __call__(self) -> int:
        self.time += 1000
        return self.time

    def pass_by(self, span: timedelta) -> None:
        self.time += span // timedelta(microseconds=1)


def settings_in(folder: Path, **changed: object) -> Settings:
    params = ServingParams(
        host="127.0.0.1",
        port=8000,
        candidates=12,
        max_slate=5,
        exploration=0.2,
        policy="epsilon_greedy",
        pacing=True,
        time_zone="UTC",
        frequency_cap=0,
        category_share=0.5,
        canary_share=0.0,
        max_events=100,
        late_event_days=7.0,
        poll_seconds=0.05,
        requests_per_second=0.0,
    ).model_copy(update=changed)
    data = CleanData(*(folder / "clean" / name for name in ("lineage.json", "events.parquet", "impressions.parquet", "copies.parquet")))
    file = folder / "servers.json"
    urls = read_json(file) if file.exists() else {}
    live = folder / "live" / "serving.sqlite"
    return Settings(folder, params, timedelta(days=3), data, live, folder / "fetched", folder / "models", **urls)


def use_servers(folder: Path, *, log_url: str | None, state_url: str | None) -> None:
    """What `settings_in` says from now on about servers."""
    write_json({"log_url": log_url, "state_url": state_url}, folder / "servers.json")


def rows(settings: Settings, statement: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Rows of the log, whatever keeps it."""
    store = open_store(settings)
    try:
        return store.read(statement, values)
    finally:
        store.close()


def decisions(settings: Settings, request_id: str) -> list[dict[str, object]]:
    """The stored positions of a slate."""
    found = rows(settings, f"SELECT {', '.join(DECISION_COLUMNS)} FROM decisions WHERE request_id = ? ORDER BY position", (request_id,))
    return [dict(zip(DECISION_COLUMNS, row, strict=True)) for row in found]


def everything(settings: Settings) -> bytes:
    """All that the log holds, as text."""
    return repr([rows(settings, f"SELECT * FROM {table}") for table in ("events", "decisions", "feedback", "texts", "meta")]).encode()
