"""Cards: what they show is escaped, wrapped and complete."""

from dataclasses import replace
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest

from core.vocabulary import CHANNELS, MICROS
from models.card import Card, card_svg, wrap

CARD = Card(
    title="驰野飞织运动鞋", category="运动健身", text="清晨五公里,飞织鞋面让脚背一路有风", channel="onsite",
    brand="驰野", price_micros=299 * MICROS,
    campaign="马拉松装备季", start=datetime(2026, 11, 1, tzinfo=UTC), end=datetime(2026, 11, 11, tzinfo=UTC), ai_label=True,
)  # fmt: skip


def words(svg: str) -> str:
    return "".join(ElementTree.fromstring(svg).itertext())


@pytest.mark.parametrize("channel", CHANNELS)
def test_every_channel_shows_copy_price_dates_and_ai_label(channel: str) -> None:
    shown = words(card_svg(replace(CARD, channel=channel)))
    for part in ("清晨五公里", "¥299", "马拉松装备季", "11月1日–11月11日", "AI 生成", "驰野飞织运动鞋"):
        assert part in shown


def test_an_unknown_price_brand_or_campaign_is_left_out_and_never_zero() -> None:
    shown = words(card_svg(replace(CARD, price_micros=None, brand=None, campaign=None)))
    assert "¥" not in shown
    assert "月" not in shown


def test_human_copy_carries_no_ai_label() -> None:
    assert "AI" not in words(card_svg(replace(CARD, ai_label=False)))


def test_markup_in_a_copy_is_text() -> None:
    svg = card_svg(replace(CARD, text="<script>alert(1)</script>&\"'", title="<b>"))
    assert "<script" not in svg
    assert "<script>" in words(svg)


def test_an_unknown_channel_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'radio'.*onsite, social, search"):
        card_svg(replace(CARD, channel="radio"))


def test_rows_hold_their_width_and_never_begin_with_a_comma() -> None:
    text = "一二三四,五六七八,九十"
    rows = wrap(text, 4, 9)
    assert "".join(rows) == text
    assert all(not row.startswith(",") for row in rows)
    assert all(len(row) <= 5 for row in rows)


def test_text_that_does_not_fit_ends_in_an_ellipsis() -> None:
    rows = wrap("一二三四五六七八九十", 4, 2)
    assert len(rows) == 2
    assert rows[-1].endswith("…")
