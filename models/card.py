"""An ad as a shopper sees it: one creative, its product and its campaign, drawn as an SVG card.

The same drawing serves the report and the service. Products without a photograph get a drawn panel whose colour and
pattern follow from the category's name; an image_path, when the catalogue has one, is left to the caller's page.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from html import escape

from core.vocabulary import MICROS, Channel


@dataclass(frozen=True)
class Card:
    """What a card shows.

    Attributes:
        title: the product's title.
        category: the product's category; sets the colours.
        text: the creative's copy.
        channel: sets the shape: banner, feed post or search result.
        brand: the brand, None when unknown.
        price_micros: the price in micros, None when unknown.
        campaign: the campaign's name, None outside campaigns.
        start: first moment of the campaign, UTC.
        end: last moment of the campaign, UTC.
        ai_label: True when a machine wrote the copy: the card then says so.
    """

    title: str
    category: str
    text: str
    channel: str
    brand: str | None = None
    price_micros: int | None = None
    campaign: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    ai_label: bool = False


_SHAPES = {Channel.ONSITE: (520, 190), Channel.SOCIAL: (300, 400), Channel.SEARCH: (520, 118)}
_FONT = "font-family=\"'PingFang SC','Microsoft YaHei','Noto Sans CJK SC','Source Han Sans SC',system-ui,sans-serif\""
_WIDE = 0x2E80
"""Characters from here on are one em wide; those before it about half."""


def card_svg(card: Card) -> str:
    """Draw a card.

    Args:
        card: what it shows.

    Returns:
        A self-contained ``<svg>`` element with a title for screen readers; all text is escaped.

    Raises:
        ValueError: the channel is none of `core.vocabulary.CHANNELS`.
    """
    if card.channel not in _SHAPES:
        raise ValueError(f"channel is {card.channel!r}; it must be one of {', '.join(_SHAPES)}")
    width, height = _SHAPES[Channel(card.channel)]
    if card.channel == Channel.ONSITE:
        body = _panel(card, width=170, height=height, size=54) + _words(card, left=190, top=34, width=width - 210, lines=4)
    elif card.channel == Channel.SOCIAL:
        body = _panel(card, width=width, height=170, size=64) + _words(card, left=18, top=200, width=width - 36, lines=6)
    else:
        body = _words(card, left=18, top=30, width=width - 36, lines=2)
    label = escape(f"{card.title}:{card.text}", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="card card-{card.channel}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{label}" {_FONT}><title>{label}</title>'
        f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="12" fill="#fff" stroke="#d9dde3"/>{body}</svg>'
    )


def campaign_dates(start: datetime, end: datetime) -> str:
    """A campaign's dates as a shopper reads them, such as 11月1日–11月11日."""
    return f"{start.month}月{start.day}日–{end.month}月{end.day}日"


def _hue(category: str) -> int:
    return int.from_bytes(hashlib.sha256(category.encode()).digest()[:2]) % 360


def _panel(card: Card, *, width: int, height: int, size: int) -> str:
    hue = _hue(card.category)
    digest = hashlib.sha256(card.title.encode()).digest()
    name = f"g{digest.hex()[:12]}{width}"
    shapes = "".join(
        f'<circle cx="{digest[i] * width // 255}" cy="{digest[i + 1] * height // 255}" r="{16 + digest[i + 2] % 46}" '
        f'fill="hsl({hue + 25 * (i % 3)} 75% {58 + i}%)" opacity=".35"/>'
        for i in range(0, 12, 3)
    )
    initials = escape(card.category[:2])
    return (
        f'<defs><linearGradient id="{name}" x1="0" y1="0" x2="1" y2="1"><stop offset="0" stop-color="hsl({hue} 68% 46%)"/>'
        f'<stop offset="1" stop-color="hsl({(hue + 40) % 360} 70% 34%)"/></linearGradient>'
        f'<clipPath id="c{name}"><rect width="{width}" height="{height}" rx="12"/></clipPath></defs>'
        f'<g clip-path="url(#c{name})"><rect width="{width}" height="{height}" fill="url(#{name})"/>{shapes}'
        f'<text x="{width // 2}" y="{height // 2 + size // 3}" text-anchor="middle" font-size="{size}" font-weight="700" '
        f'fill="#fff" opacity=".92">{initials}</text></g>'
    )


def _words(card: Card, *, left: int, top: int, width: int, lines: int) -> str:
    size = 15
    parts = [_text(left, top, 13, "#5b6573", _clip(card.title, width, 13))]
    rows = wrap(card.text, width / size, lines)
    parts += [_text(left, top + 27 + 22 * i, size, "#15181d", row, weight=600) for i, row in enumerate(rows)]
    bottom = top + 27 + 22 * len(rows) + 6
    tail: list[str] = []
    if card.price_micros is not None:
        tail.append(f"¥{card.price_micros / MICROS:,.2f}".removesuffix(".00"))
    if card.brand:
        tail.append(card.brand)
    parts.append(_text(left, bottom, 14, f"hsl({_hue(card.category)} 70% 34%)", " · ".join(tail), weight=700))
    if card.campaign and card.start and card.end:
        beside = card.channel == Channel.SEARCH  # a search result is low: the dates stand beside the price
        x, y = (left + int(14 * sum(_em(c) for c in " · ".join(tail))) + 14, bottom) if beside else (left, bottom + 20)
        parts.append(_text(x, y, 12, "#b3261e", f"{card.campaign} {campaign_dates(card.start, card.end)}", weight=600))
    if card.ai_label:
        parts.append(f'<text x="{left + width}" y="{top}" text-anchor="end" font-size="10" fill="#5b6573">AI 生成 · 广告</text>')
    else:
        parts.append(f'<text x="{left + width}" y="{top}" text-anchor="end" font-size="10" fill="#5b6573">广告</text>')
    return "".join(parts)


def _text(x: int, y: int, size: int, colour: str, text: str, *, weight: int = 400) -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}">{escape(text)}</text>' if text else ""


def _em(character: str) -> float:
    return 1.0 if ord(character) >= _WIDE else 0.56


def _clip(text: str, width: int, size: int) -> str:
    return wrap(text, (width - 70) / size, 1)[0] if text else ""


def wrap(text: str, width: float, lines: int) -> list[str]:
    """Break a text into rows, never starting one with a closing mark; the last row ends in … when text is left.

    Args:
        text: the text; line breaks in it count as spaces.
        width: the row's width in em.
        lines: rows at the most, at least 1.

    Returns:
        Between one and ``lines`` rows.
    """
    rows, row, used = [], "", 0.0
    for character in " ".join(text.split()):
        if used + _em(character) > width and character not in ",。!?、;:)》”~,.!?":
            rows.append(row)
            row, used = "", 0.0
        row += character
        used += _em(character)
    rows.append(row)
    return rows if len(rows) <= lines else [*rows[: lines - 1], rows[lines - 1][:-1] + "…"]
