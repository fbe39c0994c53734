"""JSON lines of products, with or without a human copy: read line by line, checked, so that files of any size can be written for."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import SourceError
from core.vocabulary import LENGTH_LIMITS, MICROS, Channel, Scene, Tone
from models.generator.request import CopyRequest
from models.text import attributes_of
from tasks.sources import advertisegen

logger = logging.getLogger(__name__)

_TYPE = "类型"


class ProductLine(BaseModel):
    """One line, in AdvertiseGen's form (`content`, `summary`) or in our own; further keys are left alone, one nearly ours with a warning.

    Attributes:
        content: 类型#裤*版型#宽松…; stands for title, category and attributes.
        summary: its human copy.
        item_id: the product; the line's number when left out.
        title, category, brand: of the product.
        price: in units of currency.
        attributes: a mapping, or a list of pairs or of key/value records.
        text: a human copy.
        scene, channel: where the copy shall stand; the caller's when left out.
        tone: lively, warm or expert; the caller's when left out.
        limit: longest text in characters; the channel's when left out.
    """

    model_config = ConfigDict(extra="ignore")

    content: str | None = None
    summary: str | None = None
    item_id: str | int | None = None
    title: str | None = Field(default=None, min_length=1)
    category: str = ""
    brand: str | None = None
    price: float | None = Field(default=None, ge=0)
    attributes: Any = None
    text: str | None = None
    scene: Scene | None = None
    channel: Channel | None = None
    tone: Tone | None = None
    limit: int | None = Field(default=None, ge=8)


@dataclass(frozen=True)
class Product:
    """A line, read.

    Attributes:
        number: of the line, from 1.
        request: the order.
        text: the human copy, None when the line has none.
    """

    number: int
    request: CopyRequest
    text: str | None


def read_products(
    path: Path,
    *,
    scene: str = Scene.PRODUCT,
    channel: str = Channel.ONSITE,
    tone: str | None = None,
    limit: int | None = None,
    limits: Mapping[str, int] = LENGTH_LIMITS,
    skip: int = 0,
) -> Iterator[Product]:
    """Products of a file, one after the other.

    Args:
        path: JSON lines.
        scene: of lines that name none.
        channel: of lines that name none.
        tone: of lines that name none; None for any.
        limit: of lines that name none.
        limits: longest text of each channel, where no limit is named.
        skip: products at the beginning to pass over.

    Yields:
        One product a line; empty lines are passed over.

    Raises:
        SourceError: the file cannot be read, or a line is no product; the message has the line and what it lacks.
    """
    count, warned = 0, set[str]()
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                count += 1
                if count > skip:
                    product = _product(line, number, path, (scene, channel, tone, limit), warned)
                    yield replace(product, request=replace(product.request, limits=limits))
    except OSError as error:
        raise unreadable(path, error) from None
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not UTF-8 (byte {error.start} of what is read). Convert it: `iconv -f GB18030 -t UTF-8`.") from None


def unreadable(path: Path, error: OSError) -> SourceError:
    """What to raise when a file of products cannot be opened or read.

    Args:
        path: the file.
        error: of the system.
    """
    return SourceError(f"{path}: cannot be read ({error.strerror}). Name a file of JSON lines, one product a line.")


def _warn_of_misspelt(found: Mapping[str, Any], where: str, warned: set[str]) -> None:
    """Say once a file that a key is all but one of ours which the line does not have."""
    for key in found.keys() - ProductLine.model_fields.keys():
        meant = get_close_matches(key, ProductLine.model_fields.keys() - found.keys(), n=1, cutoff=0.8)
        if meant and key not in warned:
            warned.add(key)
            logger.warning("%s: key %r is none of ours and left alone; is %r meant?", where, key, meant[0])


def _product(line: str, number: int, path: Path, place: tuple[str, str, str | None, int | None], warned: set[str]) -> Product:
    where = f"{path}, line {number}"
    try:
        found = json.loads(line)
        if not isinstance(found, dict):
            raise SourceError(
                f"{where}: each line must be one JSON object, a product; this one is of type {type(found).__name__}. "
                "An array becomes lines by `jq -c '.[]'`. docs/copy.md lists the keys."
            )
        _warn_of_misspelt(found, where, warned)
        held = ProductLine.model_validate(found)
        pairs = tuple(attributes_of(held.attributes))
    except json.JSONDecodeError as error:
        raise SourceError(f"{where}: no JSON ({error.msg} at character {error.pos + 1}). One JSON object a line is needed.") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'line'}: {fault['msg']}" for fault in error.errors())
        raise SourceError(f"{where}: {faults}. docs/copy.md lists the keys.") from None
    except (TypeError, ValueError) as error:
        raise SourceError(f"{where}: {error}. docs/copy.md lists the keys.") from None
    title, category = held.title, held.category
    if held.content is not None:
        records = advertisegen.attributes_of(held.content)
        pairs = tuple((record["key"], record["value"]) for record in records)
        category = next((value for key, value in pairs if key == _TYPE), "")
        title = advertisegen.title_of(records) or category
        if not title:
            lack = f"names no {_TYPE}" if records else "names no attribute"
            raise SourceError(f"{where}: `content` {lack}: {held.content!r}; write 类型#裤*版型#宽松. docs/copy.md lists the keys.")
    if not title:
        raise SourceError(f"{where}: neither `title` nor `content` (类型#裤*版型#宽松). docs/copy.md lists the keys.")
    request = CopyRequest(
        item_id=str(held.item_id if held.item_id is not None else number),
        title=title,
        category=category,
        brand=held.brand or None,
        price_micros=None if held.price is None else round(held.price * MICROS),
        attributes=pairs,
        scene=held.scene or place[0],
        channel=held.channel or place[1],
        tone=held.tone or place[2],
        limit=held.limit or place[3],
    )
    return Product(number, request, held.summary if held.content is not None else held.text)
