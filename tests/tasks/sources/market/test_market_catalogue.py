import numpy as np
import pytest

from core.errors import SourceError
from core.vocabulary import CHANNELS, LENGTH_LIMITS, SCENES, TONES
from tasks.sources.market.assortment import draw_products
from tasks.sources.market.catalogue import FOLDER, load_categories, load_shared
from tasks.sources.market.copywriting import fill, price_words, write_copies
from tasks.sources.market.traits import tone_shares

CATEGORIES, SHARED = load_categories(), load_shared()


@pytest.fixture(scope="module")
def shelf():
    rng = np.random.default_rng(1)
    products = draw_products(CATEGORIES, SHARED.anchors, 800, rng)
    return products, write_copies(CATEGORIES, products, SHARED.offers, rng)


def test_the_shelf_holds_the_wanted_number_of_products_with_distinct_titles_in_twelve_categories_or_more(shelf):
    products, _ = shelf
    assert len(products) == len({p.item_id for p in products}) == len({p.title for p in products}) == 800
    assert len({p.kind.category for p in products}) >= 12


@pytest.mark.parametrize("count", [40, 240, 800])
def test_the_fixed_cases_of_the_report_find_several_products_each(count):
    products = draw_products(CATEGORIES, SHARED.anchors, count, np.random.default_rng(2))
    assert len(products) == count
    for name in ("运动鞋", "篮球", "运动背包", "马拉松装备"):
        assert sum(p.kind.name == name for p in products) >= 4


def test_prices_lie_in_the_types_range_and_rise_with_the_brands_tier(shelf):
    products, _ = shelf
    tier = {brand.name: brand.tier for category in CATEGORIES for brand in category.brands}
    ranges = {(c.category, t.name): t.price for c in CATEGORIES for t in c.types}
    places = []
    for product in products:
        low, high = ranges[product.kind.category, product.kind.name]
        assert 0.88 * low <= product.price_micros / 1e6 <= 1.05 * high + 1
        places.append(np.log(product.price_micros / 1e6 / low) / np.log(high / low))
    assert np.corrcoef(places, [tier[p.brand] for p in products])[0, 1] > 0.6


def test_there_are_3000_distinct_human_texts_within_the_limits_for_every_scene_and_channel(shelf):
    _, copies = shelf
    texts = [copy.text for copy in copies]
    assert len(texts) == len(set(texts)) >= 3000
    assert all(len(copy.text) <= LENGTH_LIMITS[copy.channel] for copy in copies)
    assert {(copy.scene, copy.channel) for copy in copies} == {(scene, channel) for scene in SCENES for channel in CHANNELS}


def test_no_text_keeps_an_open_slot_or_broken_punctuation(shelf):
    _, copies = shelf
    for copy in copies:
        assert not any(fault in copy.text for fault in ("{", "}", "None", "，，", "。。", "，。", "。，", "！，", "～，"))


def test_no_copy_names_an_attribute_value_that_its_product_lacks(shelf):
    products, copies = shelf
    by_id = {p.item_id: p for p in products}
    listed = {(c.category, t.name): [v for values in t.attributes.values() for v in values] for c in CATEGORIES for t in c.types}
    for copy in copies:
        product = by_id[copy.item_id]
        for value in listed[product.kind.category, product.kind.name]:
            told = value in copy.text
            assert not told or any(value in own for own in (*product.values, product.kind.name)), (copy, value)


def test_a_phrase_that_names_an_attribute_value_of_another_product_is_not_used_for_this_one():
    category = CATEGORIES[0]
    kind = category.types[0]
    key, values = next(iter(kind.attributes.items()))
    boasting = kind.model_copy(update={"benefits": [f"还有{value}" for value in values]})
    told = category.model_copy(update={"types": [boasting]})
    rng = np.random.default_rng(3)
    products = draw_products([told], [], 20, rng)
    own = {product.item_id: dict(product.attributes)[key] for product in products}
    copies = write_copies([told], products, SHARED.offers, rng)
    assert any("还有" in copy.text for copy in copies)
    assert all(value == own[copy.item_id] for copy in copies for value in values if value in copy.text)


def test_the_lexicon_hears_the_tone_that_a_frame_was_written_in():
    right = total = 0
    for category in CATEGORIES:
        kind, brand = category.types[0], category.brands[0]
        clauses = [clause for listed in kind.points.values() for clause in listed]
        words = {"brand": brand.name, "type": kind.name, "title": kind.name, "point": clauses[0], "point2": clauses[-1]}
        words |= {"moment": kind.moments[0], "benefit": kind.benefits[0], "benefit2": kind.benefits[1], "story": brand.story[0]}
        words |= {"offer": "限时九折", "complement": "相配的一件", "price": "99元"}
        for tones in category.frames.values():
            for index, tone in enumerate(TONES):
                texts = [text for frames in tones[tone].values() for frame in frames if (text := fill(frame, words))]
                right += int((tone_shares(texts).argmax(axis=1) == index).sum())
                total += len(texts)
    assert right / total > 0.9


def test_a_frame_without_a_word_for_its_slot_stays_unwritten():
    assert fill("{brand}配{complement}", {"brand": "驰野"}) is None
    assert fill("{brand}配{complement}", {"brand": "驰野", "complement": "运动袜"}) == "驰野配运动袜"


def test_prices_are_said_as_shops_say_them():
    assert [price_words(29_900_000), price_words(149_000_000)] == ["29.9元", "149元"]


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("category:", "categorie:", "categorie"),
        ("{brand}", "{brend}", "{brend}"),
        ("season: [", "season: [0, ", "season"),
        ("  - name: 运动鞋\n    price: [199, 899]", "  - name: 运动鞋\n    price: [899, 199]", "must rise"),
        ("      透气网面: [", "      透气铁面: [", "透气铁面"),
    ],
)
def test_a_category_file_that_breaks_the_schema_is_refused_with_its_name(tmp_path, old, new, word):
    text = (FOLDER / "01_sports.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "01_sports.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SourceError, match="01_sports") as caught:
        load_categories(tmp_path)
    assert word in str(caught.value)


def test_an_empty_folder_and_a_doubled_category_are_refused(tmp_path):
    with pytest.raises(SourceError, match="holds no category file"):
        load_categories(tmp_path)
    for name in ("01_a.yaml", "02_b.yaml"):
        (tmp_path / name).write_text((FOLDER / "01_sports.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(SourceError, match="two files describe 运动健身"):
        load_categories(tmp_path)
