"""The page is self-contained, escaped and reproducible."""

import re

from tasks.report.charts import Bar, calibration_chart, interval_chart
from tasks.report.page import Chance, Chapter, Page, ShopperView, Slot, interval_words, render, table

OVER_THREE = (Chance("运动鞋", "运动", 0.5), Chance("篮球", "运动", 0.5))
SHOPPER = ShopperView(
    "小林", "viewed <three> products", ("看 运动鞋",), (("over three", OVER_THREE),), (Slot("product", "why", ("<svg></svg>",)),)
)
RANKING = table(("model", "value"), (("sequence", "0.1"), ("popularity", "0.05")), accent="sequence")
PAGE = Page(
    title="Adloom",
    subtitle="market",
    headlines=(("NDCG@10", "0.12", "2.4 × popularity"),),
    shoppers=(SHOPPER,),
    chapters=(Chapter("Ranking", "lead", (RANKING,), (interval_chart([Bar("a", 0.1, 0.05, 0.2)], "x"),)),),
    cautions=("nothing is faked",),
)


def test_the_page_asks_nothing_of_the_network() -> None:
    html = render(PAGE)
    outside = [url for url in re.findall(r"(?:src|href)=[\"']([^\"']+)", html) if not url.startswith("#")]
    assert outside == []
    assert "@import" not in html


def test_words_are_escaped_and_drawings_are_not() -> None:
    html = render(PAGE)
    assert "viewed &lt;three&gt; products" in html
    assert "<svg></svg>" in html


def test_the_accented_row_is_the_one_named() -> None:
    assert html_row(render(PAGE), "sequence").startswith('<tr class="accent"')
    assert html_row(render(PAGE), "popularity").startswith("<tr>")


def html_row(html: str, first: str) -> str:
    return next(line for line in html.splitlines() if f"<td>{first}</td>" in line)


def test_equal_numbers_draw_equal_bytes() -> None:
    bars = [Bar("oracle", 0.05, 0.045, 0.055), Bar("logging", 0.02, 0.018, 0.022, accent=True)]
    assert interval_chart(bars, "true CTR", percent=True) == interval_chart(bars, "true CTR", percent=True)
    chart = calibration_chart([0.01, 0.03], [0.012, 0.028], [0.008, 0.02], [0.016, 0.036])
    assert chart == calibration_chart([0.01, 0.03], [0.012, 0.028], [0.008, 0.02], [0.016, 0.036])
    assert "predicted p_click" in chart


def test_intervals_are_written_with_their_estimate() -> None:
    assert interval_words(0.123456, 0.1, 0.15) == "0.1235 [0.1000, 0.1500]"
    assert interval_words(0.5, 0.4, 0.6, percent=True) == "50.00 % [40.00, 60.00]"
    assert interval_words(64.08, 64.08, 64.08) == "64.0800", "a measure of a whole set has no interval, and is given none of no width"
    assert interval_words(0.0231, 0.021, 0.025, percent=True) == "2.31 % [2.10, 2.50]"
