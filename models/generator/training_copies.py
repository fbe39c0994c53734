"""Training copy: cleaned, delexicalised, and the table that n-gram, retrieval and the copy check share."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from core.columns import Columns as C
from core.files import read_table, write_table
from models.generator.request import CopyRequest
from models.generator.slots import Piece, delexicalise, slots_of

_SENTENCE = re.compile(r"[^。！？!?；;\n]+[。！？!?；;\n]*")
_CLAUSE = re.compile(r"[^。！？!?；;，,、\n]+[。！？!?；;，,、\n]*")
_PLACEHOLDER = re.compile(r"<UNK>|<unk>|BRAND|\ufffd")
LOST = "\ufffd"
"""Stands in a copy for a word that the corpus has lost: read as unknown, never written."""
_MIN_LENGTH = 6
_MIN_REST = 10

OFFER = re.compile(
    r"[0-9０-９一二三四五六七八九十两.]+折|半价|(?<!充)满[0-9一二三四五六七八九十百千]+|[立直]减|直降|领券|优惠|折扣|特价|好价|满减|免息|补贴|包邮|买[一二三1-9]送|赠[送品]|返现|红包|秒杀"
    r"|活动(?:价|期|说明|详情|信息|规则|单品|力度|专享|优惠|：)|(?:优惠|促销|店庆|这次|本次|此次|参与|参加)活动|促销|大促|抢购|省[0-9]+"
)
"""Promises of a price or a gift; copy that outlives its campaign makes none."""
DATE = re.compile(
    r"[0-9一二三四五六七八九十]+月[0-9一二三四五六七八九十]*[日号]?|[0-9]+[日号](?!线)|双(?:十一|十二|11|12)|618|今[日天晚]|明[日天晚]|本周|本月|截止|倒计时|限时"
)
"""Dates and deadlines."""


@dataclass(frozen=True)
class Copy:
    """One training copy.

    Attributes:
        copy_id: its id.
        request: its product, scene and channel.
        text: the cleaned text, without clauses in which a word is lost.
        pieces: the text with slots.
        source_text: the text as it stands in the copies table, which is the one that was encoded.
        marked: the text with slots and all its clauses, `LOST` in place of lost words; empty when no word is lost.
    """

    copy_id: str
    request: CopyRequest
    text: str
    pieces: tuple[Piece, ...]
    source_text: str
    marked: tuple[Piece, ...] = ()

    @property
    def lesson(self) -> tuple[Piece, ...]:
        """What a decoder learns from: the marked pieces where there are any, since the rest of a clause with a lost word is worth it."""
        return self.marked or self.pieces


def clean_text(text: str, limit: int, own: Sequence[str] = ()) -> str:
    """Drop clauses that promise a price or a date, and cut to a limit at the end of a sentence.

    Offers and dates belong to campaigns, which end; copy that is learned from outlives them. Placeholders of the corpus become `LOST`.

    Args:
        text: a human copy.
        limit: longest text in characters.
        own: the product's own words, which are no promise (an umbrella may be 三折).

    Returns:
        The cleaned text; empty when too little remains.
    """
    clauses = _CLAUSE.findall(_PLACEHOLDER.sub(LOST, text.strip()))
    return _joined(clauses, [clause for clause in clauses if not _promises(clause, own)], limit)


def without_lost(text: str) -> str:
    """Drop clauses in which a word is lost.

    Args:
        text: what `clean_text` returned.

    Returns:
        The rest; empty when too little remains.
    """
    clauses = _CLAUSE.findall(text)
    return _joined(clauses, [clause for clause in clauses if LOST not in clause], len(text))


def _joined(clauses: Sequence[str], kept: Sequence[str], limit: int) -> str:
    """What is kept of a text's clauses, within a limit and properly ended."""
    if not kept or (len(kept) < len(clauses) and sum(map(len, kept)) < _MIN_REST):
        return ""
    whole = "".join(kept)
    result = ""
    for sentence in _SENTENCE.findall(whole) if len(whole) > limit else [whole]:
        if len(result) + len(sentence) > limit:
            break
        result += sentence
    if not result:
        for clause in kept:
            if len(result) + len(clause) > limit:
                break
            result += clause
    if kept[-1] is not clauses[-1] or len(result) < len(whole):
        result = re.sub(r"[，,、；;：:]+$", "。", result)
    result = result.strip()
    return result if len(result) >= _MIN_LENGTH else ""


def _promises(clause: str, own: Sequence[str]) -> bool:
    for word in own:
        clause = clause.replace(word, "▢")
    return OFFER.search(clause) is not None or DATE.search(clause) is not None


def copies_of(copies: pd.DataFrame, products: dict[str, CopyRequest], max_length: int) -> list[Copy]:
    """Clean copies with their products.

    Args:
        copies: the copies table.
        products: item id → request (`requests_of`).
        max_length: longest copy in characters; the request's own limit holds too.

    Returns:
        The copies that have a product and a text left, each (text, product, scene, channel) once, in the table's order.
    """
    found: list[Copy] = []
    seen: set[tuple[str, str, str, str]] = set()
    for copy_id, item, scene, channel, raw in zip(
        copies[C.COPY], copies[C.ITEM], copies[C.SCENE], copies[C.CHANNEL], copies[C.TEXT], strict=True
    ):
        if item not in products:
            continue
        request = products[item].placed(scene, channel)
        slots = slots_of(request)
        whole = clean_text(str(raw), min(request.max_length, max_length), [slot.value for slot in slots])
        text = without_lost(whole) if LOST in whole else whole
        key = (item, scene, channel, text)
        if not text or key in seen:
            continue
        seen.add(key)
        marked = tuple(delexicalise(whole, slots)) if LOST in whole else ()
        found.append(Copy(str(copy_id), request, text, tuple(delexicalise(text, slots)), str(raw), marked))
    return found


def mended(copy: Copy, faulty: Callable[[str], bool]) -> Copy | None:
    """A copy without its faulty clauses: what is left still teaches.

    Args:
        copy: a copy that a review refuses.
        faulty: whether a clause states what it must not.

    Returns:
        None when less than half of the text is left, or no clause was at fault by itself.
    """
    clauses = _CLAUSE.findall(copy.text)
    kept = [clause for clause in clauses if not faulty(clause)]
    text = re.sub(r"[，,、；;：:]+$", "。", "".join(kept))
    if len(kept) == len(clauses) or 2 * len(text) < len(copy.text) or len(text) < _MIN_REST:
        return None
    return replace(copy, text=text, pieces=tuple(delexicalise(text, slots_of(copy.request))), marked=())


def split_groups(copies: Sequence[Copy]) -> list[str]:
    """The group of each copy: products with equal attributes, or copies with equal delexicalised text, never part.

    Args:
        copies: the copies.

    Returns:
        One group name a copy: the smallest attribute key that its chain of equal products and equal texts reaches.
    """
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    ends: list[str] = []
    for copy in copies:
        pairs = sorted({f"{key.strip().lower()}={value.strip().lower()}" for key, value in copy.request.attributes})
        product = "a:" + (";".join(pairs) + "|" + copy.request.category if pairs else copy.request.item_id)
        text = "t:" + re.sub(r"\W+", "", copy.text.lower())
        a, b = root(product), root(text)
        if a != b:
            parent[max(a, b)] = min(a, b)
        ends.append(product)
    return [root(end) for end in ends]


def save_copies(copies: Sequence[Copy], path: Path) -> None:
    """Write training copies as a table.

    Args:
        copies: the copies.
        path: the Parquet file.
    """
    rows = [
        {
            C.COPY: copy.copy_id,
            C.ITEM: copy.request.item_id,
            C.TITLE: copy.request.title,
            C.CATEGORY: copy.request.category,
            C.BRAND: copy.request.brand,
            C.PRICE: copy.request.price_micros,
            C.ATTRIBUTES: [{"key": key, "value": value} for key, value in copy.request.attributes],
            C.SCENE: copy.request.scene,
            C.CHANNEL: copy.request.channel,
            C.TEXT: copy.text,
        }
        for copy in copies
    ]
    columns = [C.COPY, C.ITEM, C.TITLE, C.CATEGORY, C.BRAND, C.PRICE, C.ATTRIBUTES, C.SCENE, C.CHANNEL, C.TEXT]
    write_table(pd.DataFrame(rows, columns=columns).astype({C.PRICE: "Int64"}), path)


def load_copies(path: Path) -> list[Copy]:
    """Read what `save_copies` wrote.

    Args:
        path: the Parquet file.
    """
    table = read_table(path)
    found = []
    for row in table.to_dict("records"):
        brand, price = row[C.BRAND], row[C.PRICE]
        request = CopyRequest(
            item_id=str(row[C.ITEM]),
            title=str(row[C.TITLE]),
            category=str(row[C.CATEGORY]),
            brand=None if pd.isna(brand) else str(brand),
            price_micros=None if pd.isna(price) else int(price),
            attributes=tuple((str(pair["key"]), str(pair["value"])) for pair in row[C.ATTRIBUTES]),
            scene=str(row[C.SCENE]),
            channel=str(row[C.CHANNEL]),
        )
        found.append(
            Copy(str(row[C.COPY]), request, str(row[C.TEXT]), tuple(delexicalise(str(row[C.TEXT]), slots_of(request))), str(row[C.TEXT]))
        )
    return found
