"""The console in a real Chromium: what people see, click and hear. Pictures for the docs: ADLOOM_SCREENSHOTS=docs/images."""

import os
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
import tiny_shop as tiny
from chrome import needs_chromium, opened, served

from core.params import load_params
from serving.settings import CleanData, Settings
from serving.storage import Storage
from serving.tokens import Tokens

pytestmark = needs_chromium
ROOT = Path(__file__).parents[2]
CHECKS = (Path(__file__).parent / "page_checks.js").read_text(encoding="utf-8")
PICTURES = os.environ.get("ADLOOM_SCREENSHOTS")
WAIT = 20_000
ADMIN = "a" * 24
EXPECTED = re.compile(r"\b401\b|ERR_CONNECTION_REFUSED")
"""A door that is shut, and a board that asks while the test's service ends."""


@pytest.fixture(scope="module")
def browser():
    with opened() as browser:
        yield browser


@pytest.fixture
def address(shop):
    with served(tiny.settings_in(shop, exploration=0.1)) as address:
        views = [{"type": "view", "event_id": f"v{place}", "user_id": "u9", "item_id": f"p{place}"} for place in (9, 4, 0)]
        assert httpx.post(f"{address}/v1/events", json={"events": views}).status_code == 200
        yield address


@pytest.fixture
def visit(browser):
    """Opens the console; at the end nothing may have failed on the page, and nobody else may have been asked."""
    contexts, faults, asked = [], [], set()

    def opens(address, language="en", width=1440, height=1000, shows=".ad", **more):
        context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce", **more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" and not EXPECTED.search(said.text) else None)
        page.on("request", lambda sent: asked.add(re.sub(r"^(\w+://[^/]+).*", r"\1", sent.url)))
        page.goto(f"{address}/console/?lang={language}")
        page.wait_for_selector(shows)
        return page

    yield opens
    for context in contexts:
        context.close()
    assert faults == []
    assert all(host.startswith("http://127.0.0.1:") for host in asked)


def creatives(page):
    return page.eval_on_selector_all(".ad", "nodes => nodes.map(node => node.dataset.creative)")


def said(page, words):
    page.locator("#said").filter(has_text=words).wait_for()
    return page.locator("#said").inner_text()


def test_a_click_is_recorded_and_the_next_slates_follow_from_it(visit, address):
    page = visit(address)
    page.get_by_label("Compose one").check()
    page.fill("#words", "手机")
    page.locator("#product option").filter(has_text="手机商品4").wait_for(state="attached")
    page.select_option("#product", "p5")
    page.select_option("#deed", "cart")
    page.locator("#meeting button").click()
    page.locator("#past li").filter(has_text="手机商品5").wait_for()
    assert page.locator("#past li.carried").count() == 1
    assert any("They carted" in why for why in page.locator(".why").all_inner_texts())
    before = creatives(page)
    first = page.locator(".ad").first
    title = page.locator(".ad .product").first.inner_text()
    first.click()
    told = said(page, "Clicked")
    assert title in told
    changed = int(re.search(r"(\d+) of \d+ positions changed", told)[1])
    assert changed == len(set(creatives(page)) - set(before)) == page.locator(".place.fresh").count()
    assert page.locator("#past li").first.inner_text().startswith("viewed")
    page.locator("[data-tile=ctr] .figure").filter(has_not_text="0.00%").wait_for()
    assert "1 of" in page.locator("[data-tile=ctr]").inner_text()
    page.get_by_role("button", name="Then buy it").click()
    said(page, "is recorded")
    page.locator("[data-tile=cvr] .figure").filter(has_text="100.0%").wait_for()
    assert page.locator("table.beliefs tbody tr").count() > 0


def test_a_brand_is_asked_for_where_the_scene_is_brand(visit, address):
    page = visit(address)
    assert not page.locator("#brand").is_visible()
    with page.expect_response("**/v1/console/slates"):
        page.get_by_label("Scene").select_option("brand")
    page.get_by_label("Brand", exact=True).wait_for()
    assert page.locator("#brands option").count() > 1
    name = page.locator("#brands option").last.get_attribute("value")
    with page.expect_response("**/v1/console/slates") as answered:
        page.get_by_label("Brand", exact=True).fill(name)
        page.keyboard.press("Tab")
    assert answered.value.request.post_data_json["brand"] == name
    ads = [ad for held in answered.value.json()["slates"] for ad in held["answer"]["slate"]]
    assert {ad["brand"] for ad in ads} == {name}
    with page.expect_response("**/v1/console/slates") as answered:
        page.get_by_label("Scene").select_option("product")
    assert "brand" not in answered.value.request.post_data_json
    assert not page.locator("#brand").is_visible()


def test_a_blocked_creative_leaves_the_page_and_the_trail_says_why(visit, address):
    page = visit(address)
    gone = creatives(page)[0]
    page.locator(".place summary").first.click()
    page.locator(".place details .danger").first.click()
    assert page.evaluate("document.activeElement.id") == "note"
    page.keyboard.press("Escape")
    page.locator("dialog[open]").wait_for(state="detached")
    assert page.evaluate("document.activeElement.className") == "danger small"
    page.keyboard.press("Enter")
    page.fill("#note", "夸大")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#reviewed").filter(has_text="Blocked").wait_for()
    assert "夸大" in page.locator("#trail").inner_text()
    page.locator("#found li.is-blocked").wait_for()
    for _ in range(3):
        page.locator("#ask .strong").click()
        page.wait_for_timeout(300)
        assert gone not in creatives(page)
    page.locator("#found li.is-blocked button").click()
    page.locator("#reviewed").filter(has_text="Allowed again").wait_for()


def test_the_page_is_used_with_the_keyboard_alone(visit, address):
    page = visit(address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    order = []
    for _ in range(60):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || document.activeElement.className || document.activeElement.name"))
        if order[-1].startswith("ad "):
            break
    places = [order.index(next(one for one in order if one.startswith(name))) for name in ("mode", "someone", "user", "scene", "k", "ad ")]
    assert places == sorted(places), order
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    said(page, "Clicked")
    assert page.evaluate("document.activeElement.classList.contains('ad')"), "the focus stays in the slate"
    roles = page.evaluate("['#said', '#reviewed'].map(id => document.querySelector(id).getAttribute('aria-live'))")
    assert roles == ["polite", "polite"]
    assert page.evaluate("['header', 'nav', 'main', 'footer', 'h1'].map(tag => document.querySelectorAll(tag).length)") == [1] * 5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_control_has_a_name_every_text_is_readable_and_nothing_sticks_out(visit, address, language, width, theme):
    page = visit(address, language, width, color_scheme=theme)
    page.locator(".ad").first.click()
    page.locator(".place.fresh, #said button").first.wait_for()
    for summary in page.locator(".place summary").all():
        summary.click()
    page.locator("#found li").first.wait_for()
    measured = page.evaluate(CHECKS)
    assert measured == {"unnamed": [], "faint": [], "twice": [], "wordless": [], "wide": 0}
    assert page.evaluate("document.documentElement.lang") == {"zh": "zh-CN", "en": "en"}[language]
    page.locator("#language").click()
    page.locator("html").filter(has=page.locator("body")).wait_for()
    assert page.locator("#try-title").inner_text() == {"zh": "Show ads to a shopper", "en": "给一位顾客看广告"}[language]
    assert page.evaluate(CHECKS)["wordless"] == []


def test_a_service_with_tokens_asks_for_one_and_shows_no_data_before(visit, shop):
    tokens = Tokens.of_environment({"ADLOOM_TOKENS_ADMIN": ADMIN})
    with served(replace(tiny.settings_in(shop), tokens=tokens)) as address:
        page = visit(address, shows="#door:not([hidden])")
        assert page.locator("#inside").is_hidden()
        page.get_by_label("Admin token").fill("x" * 24)
        page.keyboard.press("Enter")
        page.locator("#problem").filter(has_text="not accepted").wait_for()
        page.get_by_label("Admin token").fill(ADMIN)
        page.keyboard.press("Enter")
        page.wait_for_selector(".ad")
        assert ADMIN not in page.content()


def test_a_raw_user_id_is_not_on_the_page_and_goes_to_the_service_once(visit, address):
    page = visit(address)
    bodies = []
    page.on("request", lambda sent: bodies.append(sent.post_data or ""))
    page.fill("#user", "u1")
    page.locator("#named button").click()
    page.wait_for_selector("#channels:not([aria-busy])")  # answered: until then nothing but the raw id says who is meant
    page.locator("#past li").filter(has_text="运动商品0").wait_for()
    page.locator("#ask .strong").click()
    said(page, "Slates updated")
    assert sum('"u1"' in body for body in bodies) == 1
    assert page.locator("#user").input_value() == ""
    assert not re.search(r"\bu1\b", page.locator("body").inner_text())


def test_a_banner_says_what_the_service_does_without_for_as_long_as_it_lasts(visit, shop, monkeypatch):
    problems, opens = {"log": "", "state": ""}, Storage.open

    def watched(settings):
        storage = opens(settings)
        for part in ("log", "state"):
            storage.condition.watch(part, lambda part=part: problems[part])
        return storage

    monkeypatch.setattr(Storage, "open", watched)
    with served(tiny.settings_in(shop)) as address:
        page = visit(address)
        assert page.locator("#degraded").is_hidden()
        problems["state"] = "away"
        page.locator("#ask .strong").click()
        page.locator("#degraded p").filter(has_text="Redis is away").wait_for()
        assert page.locator("#problem").is_hidden()
        assert page.evaluate(CHECKS)["faint"] == []
        page.locator("#language").click()
        page.locator("#degraded p").filter(has_text="连不上").wait_for()
        problems["state"] = ""
        page.locator("#degraded").wait_for(state="hidden")


@pytest.mark.skipif(PICTURES is None, reason="pictures are taken when ADLOOM_SCREENSHOTS names a folder")
def test_pictures_for_the_docs_are_taken(visit, shop, tmp_path):
    """Of a finished loop in data/, when the project has one; else of the tiny shop."""
    folder = Path(str(PICTURES))
    folder.mkdir(parents=True, exist_ok=True)
    settings = tiny.settings_in(shop)
    if (ROOT / "data" / "models" / "ranker" / "config.json").is_file():
        clean = CleanData(
            *(ROOT / "data" / "clean" / name for name in ("lineage.json", "events.parquet", "impressions.parquet", "copies.parquet"))
        )
        params = load_params(ROOT / "params.yaml").serving
        settings = Settings(
            tmp_path, params, timedelta(days=3), clean, tmp_path / "live.sqlite", tmp_path / "fetched", ROOT / "data" / "models"
        )
    with served(settings, ready_seconds=200) as address:
        crowd(address)
        for language in ("zh", "en"):
            page = visit(address, language, width=1440, height=1080)
            page.get_by_label({"zh": "自己设定", "en": "Compose one"}[language]).check()
            page.fill("#query", "马拉松")  # the tiny shop knows the words, too
            page.keyboard.press("Enter")
            page.locator("#past li").first.wait_for()
            page.fill("#words", "运动")
            page.wait_for_timeout(600)
            page.select_option("#deed", "cart")
            page.locator("#meeting button").click()
            page.locator("#past li").nth(1).wait_for()
            for turn, place in enumerate((2, 1, 3, 5, 4, 0)):
                page.locator(".ad").nth(place).click()
                page.locator("#past li").nth(turn + 2).wait_for()
                page.wait_for_timeout(700)
                if all(plain(text) for text in page.locator(".ad").all_inner_texts()):
                    break
            page.mouse.move(0, 0)
            page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
            page.wait_for_timeout(3500)
            page.screenshot(path=folder / f"console-{language}.png")
            page.evaluate("document.querySelector('#board').scrollIntoView()")
            if language == "en":
                page.screenshot(path=folder / "console-board-en.png")
        page = visit(address, "en", width=390, height=844)
        page.evaluate("document.querySelector('#channels').scrollIntoView()")
        page.screenshot(path=folder / "console-narrow.png")


def plain(text: str) -> bool:
    """Whether any font draws it: no emoji."""
    return all((ord(character) < 0x10000 and not 0x2600 <= ord(character) < 0x2800) or character in "✎" for character in text)


def crowd(address: str, requests: int = 160) -> None:
    """Shoppers who click as the ranker expects, so that the board has something to tell."""
    rng = np.random.default_rng(4)
    with httpx.Client(base_url=address, timeout=60) as client:
        people = [one["shopper"] for one in client.get("/v1/console/shoppers", params={"count": 30}).json()["shoppers"]]
        for turn in range(requests):
            body = {"shopper": people[turn % len(people)]} if people else {"history": [{"type": "view", "item_id": "p4"}]}
            events = []
            for held in client.post("/v1/console/slates", json=body | {"k": 2}).json()["slates"]:
                for ad in held["answer"]["slate"]:
                    told = {"request_id": held["answer"]["request_id"], "position": ad["position"]}
                    if rng.random() < ad["p_click"]:
                        events.append({"type": "click", "event_id": f"c{turn}-{len(events)}", **told})
                        if rng.random() < ad["p_convert"]:
                            events.append({"type": "conversion", "event_id": f"b{turn}-{len(events)}", **told})
            if events:
                assert client.post("/v1/events", json={"events": events}).status_code == 200
