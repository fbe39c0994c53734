import json

import numpy as np
import pytest

from core.columns import Columns as C
from core.errors import SourceError
from core.vocabulary import LENGTH_LIMITS
from tasks.sources.market import read_market
from tasks.sources.market.real_catalogue import cut_to_channels, read_real_catalogue

STYLES, LOOKS = ["卫衣", "衬衫", "外套", "风衣"], ["简约", "复古", "清新", "街头", "文艺"]


def lines(path, rows):
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def advertisegen(tmp_path):
    rows = [
        {
            "content": f"类型#上衣*版型#宽松*颜色#黑色*风格#{look}*衣样式#{style}",
            "summary": f"这件{look}的{style}版型宽松，上身自在。黑色耐看，平日里怎么搭配都不出错，再配一条牛仔裤就能出门。",
        }
        for style in STYLES
        for look in LOOKS
    ]
    rows += [{"content": "类型#裙*风格#性感*裙型#a字", "summary": "一条<UNK>的裙子，显瘦。"}]
    rows += [{"content": "类型#裤*裤型#阔腿裤", "summary": "BRAND的阔腿裤，垂坠好穿。"}]
    return lines(tmp_path / "ads.jsonl", rows)


@pytest.fixture
def yanxuan(tmp_path):
    rows = [
        {
            "id": 1000 + number, "name": f"{thing}{number}号", "brief": f"{thing}柔软亲肤", "category": thing, "parent_category": "居家",
            "brand": "某制造商" if number % 2 else None, "retail_price": 99.0 + number,
            "attributes": [["材质", "纯棉"], ["温馨提示", "请机洗"], ["尺寸", "1" * 40]],
        }
        for number, thing in enumerate(["毛巾", "枕头", "凉席"] * 4)
    ]  # fmt: skip
    return lines(tmp_path / "goods.jsonl", rows)


def test_advertisegen_products_are_composed_from_their_attributes(advertisegen):
    shelf = read_real_catalogue(advertisegen, 100, np.random.default_rng(1)).products
    assert len(shelf) == 22
    first = shelf[0]
    assert (first.title, first.kind.category, first.kind.name, first.brand, first.price_micros) == (
        "宽松黑色卫衣 简约",
        "上衣",
        "卫衣",
        None,
        None,
    )
    assert ("风格", "简约") in first.attributes
    assert {product.kind.name for product in shelf} == {*STYLES, "a字裙", "阔腿裤"}


def test_copies_with_placeholders_are_dropped_and_products_with_copy_come_first(advertisegen):
    all_of = read_real_catalogue(advertisegen, 100, np.random.default_rng(1))
    assert not any("UNK" in copy.text or "BRAND" in copy.text for copy in all_of.copies)
    few = read_real_catalogue(advertisegen, 20, np.random.default_rng(1))
    assert {copy.item_id for copy in few.copies} == {product.item_id for product in few.products}


def test_a_copy_is_cut_at_sentences_or_clauses_to_what_each_channel_shows():
    text = "宽松的版型不挑身材，穿着自在舒展。" + "面料柔软亲肤，贴身穿也不扎人，洗过几次依旧挺括。" * 5
    cut = {copy.channel: copy.text for copy in cut_to_channels("x", text)}
    assert all(len(words) <= LENGTH_LIMITS[channel] and text.startswith(words) for channel, words in cut.items())
    assert cut["search"] == "宽松的版型不挑身材，穿着自在舒展。"
    assert cut["onsite"].endswith("。")
    assert cut_to_channels("x", "长" * 200) == []
    assert {copy.text for copy in cut_to_channels("x", "纯棉柔软亲肤")} == {"纯棉柔软亲肤"}


@pytest.mark.parametrize("form", ["advertisegen", "yanxuan"])
def test_simulated_shoppers_meet_a_real_catalogue(form, request, market_params):
    path = request.getfixturevalue(form)
    params = market_params.model_copy(update={"catalogue": str(path), "shoppers": 150, "requests_per_day": 0.5, "candidates": 6})
    raw, truth = read_market(params)
    words = "; ".join(raw.source["missing"])
    assert "no real shoppers; these are simulated shoppers on a real catalogue" in words
    assert "no human copy for scene promotion, brand, cross_sell" in words
    assert ("prices" in words) is (form == "advertisegen")
    assert set(raw.copies[C.SCENE]) == set(raw.impressions[C.SCENE]) == {"product"}
    assert len(raw.impressions) > 0.8 * 150 * params.days * 0.5 * params.slate
    assert raw.items[C.STOCK].isna().all()
    assert raw.items[C.CONSUMABLE].isna().all()
    assert raw.items[C.PRICE].isna().all() == (form == "advertisegen")
    assert truth.truth["types"]


def test_yanxuan_products_keep_their_ids_prices_and_plain_attributes(yanxuan):
    shelf = read_real_catalogue(yanxuan, 100, np.random.default_rng(1)).products
    assert (shelf[1].item_id, shelf[1].price_micros, shelf[1].brand, shelf[0].brand) == ("1001", 100_000_000, "某制造商", None)
    assert shelf[0].attributes == (("材质", "纯棉"),)


def test_a_catalogue_without_usable_copy_has_no_impressions_and_says_so(tmp_path, market_params):
    path = lines(tmp_path / "mute.jsonl", [{"content": f"类型#裙*颜色#{colour}", "summary": "<UNK>"} for colour in "红橙黄绿青蓝紫"])
    raw, _ = read_market(market_params.model_copy(update={"catalogue": str(path), "shoppers": 50}))
    assert raw.copies.empty
    assert raw.impressions.empty
    assert raw.source["has"] == {"copies": False, "impressions": False, "campaigns": True, "truth": True}
    assert any(words.startswith("impressions") for words in raw.source["missing"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no row"),
        ("颜色".encode("gbk") * 3, "not UTF-8"),
        (b'{"content": "a#b"\n', "line 1: no JSON"),
        (b"[1]\n", "line 1: holds list"),
        (b'{"sku": 1}\n', "keys sku"),
        (b'{"content": "a#b", "summary": "x"}\n{"content": 3}\n', "row 2"),
        (b'{"content": "ab", "summary": "x"}\n', "no key#value"),
        (b'{"name": "a", "category": "b", "retail_price": -1}\n', "retail_price is -1"),
        (b'{"id": 1, "name": "a", "category": "b"}\n{"id": 1, "name": "c", "category": "b"}\n', "id 1 stands on 2 rows"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused_with_the_place(tmp_path, content, words):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=words):
        read_real_catalogue(path, 10, np.random.default_rng(1))


def test_a_missing_file_is_refused_with_the_next_step(tmp_path):
    with pytest.raises(SourceError, match=r"set market\.catalogue"):
        read_real_catalogue(tmp_path / "none.jsonl", 10, np.random.default_rng(1))
