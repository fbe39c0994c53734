"""The market on a real catalogue: real products and human copy from a JSON-lines file, simulated shoppers.

Two forms are read, told apart by their keys. AdvertiseGen: ``{"content": "类型#裤*版型#宽松…", "summary": copy}``. Yanxuan:
``{"id", "name", "brief", "category", "parent_category", "brand", "retail_price", "attributes": [[key, value], …]}``.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import SourceError
from core.vocabulary import CHANNELS, LENGTH_LIMITS, MICROS, Scene
from tasks.sources.market.assortment import FLAT_SEASON, Assortment, Copy, Kind, Product

ORIGIN = "simulated shoppers on a real catalogue"
TYPE_KEYS = ("衣样式", "裤型", "裙长", "裙型")
"""AdvertiseGen keys whose value names the type, the first present wins; else the category does."""
LEADING_KEYS = ("版型", "颜色", "材质")
"""AdvertiseGen keys whose values stand before the type in a title."""
PLACEHOLDERS = ("<UNK>", "BRAND")
FINE_PRINT = re.compile("标准|提示|安全|等级|型号|保质期|许可|认证")
LONGEST_VALUE, LONGEST_TITLE_PART = 24, 5
SHORTEST_COPY = 6


def read_real_catalogue(path: Path, count: int, rng: np.random.Generator) -> Assortment:
    """Read products and their human copy.

    Args:
        path: the JSON-lines file, UTF-8.
        count: products to take at the most; drawn at random among those that have copy first, kept in the file's order.
        rng: the stream to draw from.

    Returns:
        The assortment; what the file does not say (stock, season, perhaps prices and brands) is unknown and listed in `missing`.

    Raises:
        SourceError: no such file, not UTF-8, a line is no JSON object, a row lacks a key, or the form is unknown.
    """
    rows = list(_rows(path))
    if not rows:
        raise SourceError(f"{path} holds no row; one JSON object a line is needed.")
    if {"content", "summary"} <= rows[0].keys():
        entries = _advertisegen(rows, path)
    elif {"name", "category"} <= rows[0].keys():
        entries = _yanxuan(rows, path)
    else:
        raise SourceError(
            f"{path} has keys {', '.join(sorted(rows[0]))}; AdvertiseGen (content, summary) or yanxuan (name, category, …) is needed."
        )
    order = rng.permutation(len(entries))
    speaking = [index for index in order if entries[index][1]]
    silent = [index for index in order if not entries[index][1]]
    chosen = [entries[index] for index in sorted([*speaking, *silent][:count])]
    products = _told_apart([product for product, _ in chosen])
    copies = dict.fromkeys(copy for _, texts in chosen for text_id, text in texts for copy in cut_to_channels(text_id, text))
    return Assortment(
        products=products,
        copies=tuple(copies),
        seasons=dict.fromkeys((product.kind.category for product in products), FLAT_SEASON),
        origin=ORIGIN,
        missing=_missing(products),
    )


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SourceError(
            f"{path}: no such file; set market.catalogue to a JSON-lines file, or to null for the embedded catalogue."
        ) from None
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not UTF-8 at byte {error.start}; convert it, e.g. `iconv -f GBK -t UTF-8`.") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise SourceError(f"{path}, line {number}: no JSON: {error.msg}. One object a line is needed.") from None
        if not isinstance(row, dict):
            raise SourceError(f"{path}, line {number}: holds {type(row).__name__}; one object a line is needed.")
        yield row


def _advertisegen(rows: Sequence[dict[str, Any]], path: Path) -> list[tuple[Product, list[tuple[str, str]]]]:
    """One product for each distinct list of attributes, with the usable copies written for it."""
    texts: dict[str, list[str]] = {}
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get("content"), str) or not isinstance(row.get("summary"), str):
            raise SourceError(f"{path}, row {number}: `content` and `summary` must be text.")
        texts.setdefault(row["content"], [])
        if not any(placeholder in row["summary"] for placeholder in PLACEHOLDERS):
            texts[row["content"]].append(row["summary"].strip())
    entries = []
    for number, (content, summaries) in enumerate(texts.items(), start=1):
        pairs = dict.fromkeys((key, value) for key, _, value in (part.partition("#") for part in content.split("*")) if key and value)
        product = _composed(f"g{number:06d}", tuple(pairs), path, number)
        entries.append((product, [(product.item_id, text) for text in dict.fromkeys(summaries)]))
    return entries


def _composed(item_id: str, attributes: tuple[tuple[str, str], ...], path: Path, number: int) -> Product:
    """A product whose title is composed from its attributes."""
    if not attributes:
        raise SourceError(f"{path}, product {number}: `content` holds no key#value pair.")
    named = dict(reversed(attributes))  # the first value of a key wins
    category = named.get("类型", attributes[0][1])
    style = next((named[key] for key in TYPE_KEYS if key in named), category)
    kind = (
        style if any("\u4e00" <= sign <= "\u9fff" for sign in style[-1:]) and style[-1] in "裙裤衫衣装服套甲褂风褛袄" else style + category
    )
    lead = "".join(named[key] for key in LEADING_KEYS if key in named and named[key] not in kind)
    rest = dict.fromkeys(value for key, value in attributes if value not in lead + kind and key != "类型")
    return Product(
        item_id=item_id,
        title=" ".join([lead + kind, *list(rest)[:LONGEST_TITLE_PART]]),
        short_title=lead + kind,
        kind=Kind(category, kind, (), tuple(dict.fromkeys((kind, category)))),
        brand=None,
        price_micros=None,
        attributes=attributes,
        points={},
        stock=None,
        consumable=None,
    )


def _yanxuan(rows: Sequence[dict[str, Any]], path: Path) -> list[tuple[Product, list[tuple[str, str]]]]:
    entries = []
    for number, row in enumerate(rows, start=1):
        name, category = row.get("name"), row.get("category")
        if not isinstance(name, str) or not isinstance(category, str) or not name.strip():
            raise SourceError(f"{path}, row {number}: `name` and `category` must be text.")
        price = row.get("retail_price")
        if price is not None and (isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < 1e9):
            raise SourceError(f"{path}, row {number}: retail_price is {price!r}; a number of yuan, or null or 0 for unknown, is needed.")
        pairs = [(str(pair[0]).strip(" *"), str(pair[1]).strip()) for pair in row.get("attributes") or [] if len(pair) == 2]
        kept = tuple(
            dict.fromkeys((k, v) for k, v in pairs if k and v and len(v) <= LONGEST_VALUE and "\n" not in v and not FINE_PRINT.search(k))
        )
        product = Product(
            item_id=str(row.get("id") or f"y{number:06d}"),
            title=name.strip(),
            short_title=name.strip(),
            kind=Kind(str(row.get("parent_category") or category), category, (), (category,)),
            brand=str(row["brand"]).strip() if row.get("brand") else None,
            price_micros=round(price * MICROS) if price else None,
            attributes=kept,
            points={},
            stock=None,
            consumable=None,
        )
        brief = str(row.get("brief") or "").strip()
        entries.append((product, [(product.item_id, brief)] if brief and not any(mark in brief for mark in PLACEHOLDERS) else []))
    for item_id, times in Counter(product.item_id for product, _ in entries).most_common(1):
        if times > 1:
            raise SourceError(f"{path}: id {item_id} stands on {times} rows; ids must differ.")
    return entries


def _told_apart(products: Sequence[Product]) -> tuple[Product, ...]:
    """Products with distinct titles: a repeated one gets 第2款, 第3款, …."""
    seen: dict[str, int] = {}
    distinct = []
    for product in products:
        seen[product.title] = seen.get(product.title, 0) + 1
        repeat = seen[product.title]
        distinct.append(product if repeat == 1 else replace(product, title=f"{product.title} 第{repeat}款"))
    return tuple(distinct)


def cut_to_channels(item_id: str, text: str) -> list[Copy]:
    """The leading sentences, else the leading clauses, of a human copy that fit each channel.

    Args:
        item_id: whose copy it is.
        text: the copy.

    Returns:
        At most one copy a channel; none where not even the first clause fits.
    """
    fitting = []
    for channel in CHANNELS:
        limit = LENGTH_LIMITS[channel]
        for pattern in (r"[^。！？!?]+[。！？!?]*", r"[^。！？!?，,；;]+[。！？!?，,；;]*"):
            head = _leading(re.findall(pattern, text), limit)
            if len(head) >= max(SHORTEST_COPY, limit // 3) or (len(head) >= SHORTEST_COPY and head == text):
                fitting.append(Copy(item_id, Scene.PRODUCT, channel, head))
                break
    return fitting


def _leading(parts: Sequence[str], limit: int) -> str:
    head = ""
    for part in parts:
        if len((head + part).rstrip("，,；;、 ")) > limit:
            break
        head += part
    return head.strip().rstrip("，,；;、 ")


def _missing(products: Sequence[Product]) -> tuple[str, ...]:
    lacks = [
        (
            all(product.price_micros is None for product in products),
            "prices: the catalogue names none, so they are unknown and purchases have value 0",
        ),
        (all(product.brand is None for product in products), "brands: the catalogue names none"),
        (all(product.stock is None for product in products), "stock: unknown"),
        (all(product.consumable is None for product in products), "whether a product is consumable: unknown"),
        (True, "seasons: the catalogue tells none, so simulated demand is flat over the year"),
    ]
    return tuple(words for absent, words in lacks if absent)
