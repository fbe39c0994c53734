"""Source `advertisegen`: Chinese product attributes → human ad copy (Shao et al. 2019); JSON lines with `content` and `summary`."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from core.columns import Columns
from core.errors import SchemaError, SourceError
from core.lineage import LeftOut, SourceFacts
from core.vocabulary import Channel, Origin, Scene
from tasks.sources.base import RawTables, filled
from tasks.sources.reading import find_files, read_file

_TYPE = "类型"
_HEADS = ("裙长", "裙型", "裤长", "裤型", "衣样式")
_ADJECTIVES = ("颜色", "材质", "风格", "版型", "图案")
_PLACEHOLDERS = ("<UNK>", "BRAND")


def read_advertisegen(path: str | None) -> RawTables:
    """Read attribute→copy pairs; rows of equal attributes are one item.

    Args:
        path: `collect.path`: a file, or a folder of .json and .jsonl files.

    Returns:
        Items and copies; no shopper, no event, no ad.

    Raises:
        SourceError: no path, or a file cannot be read.
        SchemaError: the file has other columns.
    """
    frame = _rows(path)
    content = frame["content"].astype("str")
    usable = ~frame["summary"].astype("str").str.contains("|".join(_PLACEHOLDERS), regex=True)
    pairs = content.map(attributes_of)
    item_ids = content.map(lambda text: "p" + hashlib.sha256(text.encode()).hexdigest()[:12])
    unique = pd.DataFrame({Columns.ITEM: item_ids, Columns.ATTRIBUTES: pairs}).drop_duplicates(Columns.ITEM, ignore_index=True)
    items = {
        Columns.ITEM: unique[Columns.ITEM],
        Columns.ATTRIBUTES: unique[Columns.ATTRIBUTES],
        Columns.TITLE: unique[Columns.ATTRIBUTES].map(title_of),
        Columns.CATEGORY: unique[Columns.ATTRIBUTES].map(lambda found: next((p["value"] for p in found if p["key"] == _TYPE), None)),
    }
    copies = {
        Columns.COPY: "c" + frame.index.astype("str"),
        Columns.ITEM: item_ids,
        Columns.SCENE: str(Scene.PRODUCT),
        Columns.CHANNEL: str(Channel.SOCIAL),
        Columns.TEXT: frame["summary"],
        Columns.ORIGIN: str(Origin.HUMAN),
    }
    left_out: list[LeftOut] = [
        {"rows": int((~usable).sum()), "what": f"copies with a placeholder ({', '.join(_PLACEHOLDERS)}): no text to show or to learn from"}
    ]
    facts = SourceFacts(
        source="advertisegen",
        synthetic=False,
        missing=[
            "no events and no shoppers: build the market on this catalogue (market.catalogue) for simulated ones",
            "no impressions",
            "no campaigns",
            "items: no names, brands, prices or stock; titles are put together from the attributes",
            "copies: no scene and no channel; product and social stand in (their length is that of a post)",
        ],
        left_out=left_out,
    )
    return RawTables(source=facts, items=filled("items", items), copies=filled("copies", copies)[usable].reset_index(drop=True))


def _rows(path: str | None) -> pd.DataFrame:
    if path is None:
        raise SourceError("source advertisegen needs `collect.path`: a JSON-lines file with `content` and `summary`.")
    place = Path(path)
    files = [place] if not place.is_dir() else find_files(place, "*.json*")
    frame = pd.concat([read_file(file, form="jsonl") for file in files], ignore_index=True)
    absent = [column for column in ("content", "summary") if column not in frame]
    if absent:
        raise SchemaError(f"{path}: missing columns {', '.join(absent)}; it has {', '.join(map(str, frame.columns))}.")
    return frame


def attributes_of(content: str) -> list[dict[str, str]]:
    """``类型#裤*版型#宽松`` as key/value attributes.

    Args:
        content: pairs joined by ``*``, key and value by ``#``.

    Returns:
        The pairs in order; parts without a ``#`` are dropped.
    """
    parts = (part.partition("#") for part in content.split("*"))
    return [{"key": key, "value": value} for key, mark, value in parts if mark and key and value]


def title_of(attributes: Sequence[dict[str, str]]) -> str | None:
    """A short title such as 蓝色雪纺清新连衣裙, adjectives first.

    Args:
        attributes: see `attributes_of`.

    Returns:
        The title, or None where there are no attributes.
    """
    first: dict[str, str] = {}
    for pair in attributes:
        first.setdefault(pair["key"], pair["value"])
    head = next((first[key] for key in _HEADS if key in first), first.get(_TYPE, ""))
    kind = first.get(_TYPE, "")
    whole = head if kind and kind[-1] in head else head + kind
    return "".join(dict.fromkeys([*(first[key] for key in _ADJECTIVES if key in first), whole])) or None
