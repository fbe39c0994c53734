"""`adloom recommend`: a history in any form, an answer with its reasons."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.sparse import csr_matrix
from tiny_shop import DATA_END, items, write_clean, write_recommender

from core.columns import Columns
from core.errors import SourceError
from flows.recommending import _print, show_recommendations, signed
from models.history import GAP, History
from models.pool import Campaign
from models.recommender import RecommenderBundle
from models.recommender.complements import BasketShape, Complements, Learned
from tasks.recommend import Question, history_of_user, read_history, recommend, running_now

NOW = round(DATA_END.timestamp() * 1_000_000)
ASKED = Question("product", 3, (), None, NOW)
EVENTS = "search:马拉松, view:p1; cart:p2"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> RecommenderBundle:
    folder = tmp_path_factory.mktemp("shop")
    write_recommender(folder / "recommender")
    return RecommenderBundle.load(folder / "recommender")


def test_a_newcomer_with_three_events_gets_items_with_reasons_without_training(bundle: RecommenderBundle) -> None:
    answer = recommend(bundle, read_history(EVENTS, NOW), ASKED, {})
    assert (answer.events, answer.unknown) == (3, ())
    assert [row.rank for row in answer.rows] == [1, 2, 3]
    assert answer.rows[0].category == "运动"
    assert answer.rows[0].events[0][1] > 0
    assert answer.rows[0].score > answer.rows[-1].score
    assert sum(answer.rows[0].parts.values()) == pytest.approx(answer.rows[0].score, abs=1e-4)
    assert sum(answer.gates.values()) == pytest.approx(1)
    assert json.loads(json.dumps(answer.as_dict()))["rows"][0]["item_id"] == answer.rows[0].item_id


def test_excluded_bought_and_sold_out_items_are_not_in_the_answer(bundle: RecommenderBundle) -> None:
    bought = read_history("purchase:p0, purchase:p9", NOW)
    shown = {row.item_id for row in recommend(bundle, bought, Question("product", 12, ("p4",), None, NOW), {}).rows}
    assert shown == {f"p{row}" for row in range(12)} - {"p0", "p3", "p4"}  # p9 is food and can be bought again; p3 is out of stock
    shares = [row.probability for row in recommend(bundle, bought, Question("product", 12, ("p4",), None, NOW), {}).rows]
    assert sum(shares) == pytest.approx(1)


def test_a_promotion_names_the_campaign_and_its_dates(bundle: RecommenderBundle) -> None:
    start, end = datetime(2026, 10, 30, tzinfo=UTC), datetime(2026, 11, 9, tzinfo=UTC)
    none: frozenset[str] = frozenset()
    campaign = Campaign("k", "运动节", start, end, 1, frozenset({"promotion"}), frozenset({"social"}), frozenset({"运动"}), none)
    running = running_now([campaign], bundle.scenes.categories, audience=None, moment=NOW)
    rows = recommend(bundle, History.empty(), Question("promotion", 12, (), None, NOW), running).rows
    assert {row.item_id for row in rows} == {"p0", "p1", "p2"}
    assert {row.campaign for row in rows} == {"运动节 2026-10-30 – 2026-11-09"}
    late = running_now([campaign], bundle.scenes.categories, audience=None, moment=NOW + 9 * 86_400_000_000)
    assert recommend(bundle, History.empty(), Question("promotion", 12, (), None, NOW), late).rows == ()


def test_a_brand_shows_its_items_alone(bundle: RecommenderBundle) -> None:
    rows = recommend(bundle, History.empty(), Question("brand", 12, (), "品牌1", NOW), {}).rows
    assert {row.item_id for row in rows} == {"p1", "p5", "p7", "p9", "p11"}
    with pytest.raises(SourceError, match="no item is of brand '品牌9'"):
        recommend(bundle, History.empty(), Question("brand", 12, (), "品牌9", NOW), {})


def test_the_same_events_read_alike_from_words_json_lines_and_csv(tmp_path: Path) -> None:
    told = read_history(EVENTS, NOW)
    assert told.timestamps.tolist() == [NOW - 3 * GAP, NOW - 2 * GAP, NOW - GAP]
    rows = [{"type": "search", "query": "马拉松"}, {"type": "view", "item_id": "p1"}, {"type": "cart", "item_id": "p2"}]
    (tmp_path / "lines.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "words.txt").write_text(EVENTS.replace("; ", "\n"))
    (tmp_path / "table.csv").write_text("type,item_id,query\nsearch,,马拉松\nview,p1,\ncart,p2,\n")
    for given in (json.dumps(rows), *(str(tmp_path / name) for name in ("lines.jsonl", "words.txt", "table.csv"))):
        read = read_history(given, NOW)
        assert (read.item_ids, read.event_types, read.queries) == (told.item_ids, told.event_types, told.queries)
        assert read.timestamps.tolist() == told.timestamps.tolist()
    timed = read_history('[{"type": "view", "item_id": "p1", "timestamp": "2026-11-01T00:00:00+00:00"}]', NOW)
    assert timed.timestamps.tolist() == [round(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1_000_000)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("view:p1, look:p2", "event 2: type 'look' is none of view, search"),
        ("view:", "event 1: view of nothing"),
        ('[{"type": "view"', "not JSON at line 1"),
        ("[3]", "3 is no event"),
        ('[{"type": "view", "item_id": "p1", "timestamp": "noon"}]', "timestamp 'noon' is not ISO 8601"),
        ("/nonexistent.csv", "there is no file '/nonexistent.csv'"),
        ("events.JSONL", "there is no file 'events.JSONL'"),
        ("some/folder", "there is no file 'some/folder'"),
        ("look:a/b", "event 1: type 'look' is none of"),
    ],
)
def test_what_is_no_event_is_told_with_its_place(given: str, message: str) -> None:
    with pytest.raises(SourceError, match="--history") as told:
        read_history(given, NOW)
    assert message in str(told.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("wrong.csv", "kind,item\nview,p1\n", "its columns are 'kind', 'item'; needed are type (or event_type), and item_id, query"),
        ("wide.csv", "type;item_id\nview;p1\n", "its columns are 'type;item_id'"),
        ("lines.jsonl", '{"type": "view", "item_id": "p1"}\n\n{"type" "view"}\n', "not JSON at line 3, column 9"),
    ],
)
def test_a_file_of_another_form_is_told_with_its_columns_or_its_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError) as told:
        read_history(str(tmp_path / name), NOW)
    assert said in str(told.value)


def test_a_search_for_what_looks_like_a_path_is_a_search() -> None:
    assert read_history("search:跑步/健身, search:notes.csv", NOW).queries == ("跑步/健身", "notes.csv")


def test_events_after_the_moment_are_not_read_and_the_answer_says_how_many(
    bundle: RecommenderBundle, capsys: pytest.CaptureFixture[str]
) -> None:
    late = '[{"type": "view", "item_id": "p1", "timestamp": "2027-01-01"}, {"type": "view", "item_id": "p2"}]'
    answer = recommend(bundle, read_history(late, NOW), ASKED, {})
    assert (answer.events, answer.later_events) == (1, 1)
    said = f"1 of 2 events lie after {DATA_END:%Y-%m-%dT%H:%M:%S} UTC, the moment asked for, and were not read; --at gives another."
    assert answer.as_dict()["caution"] == said
    _print(Console(width=200), answer)
    assert said in capsys.readouterr().out
    told = recommend(bundle, read_history(EVENTS, NOW), ASKED, {})
    assert (told.later_events, told.caution) == (0, "")


def test_a_brand_in_a_scene_that_is_not_about_brands_is_refused() -> None:
    asked = Question("product", 3, (), "品牌1", NOW)
    with pytest.raises(SourceError, match="--brand '品牌1' belongs to scene brand, asked is scene product"):
        show_recommendations(Console(), asked, user=None, history="view:p1", at=None, bundle=None, model=None, as_json=False)


def completing(bundle: RecommenderBundle) -> Complements:
    """Knows one thing: p9 belongs to p0."""
    links = np.zeros((12, 12), np.float32)
    links[0, 9] = 1.0
    nothing, one = np.zeros((0, 0), np.float32), np.ones(12, np.float32)
    learned = Learned(csr_matrix(links), np.zeros(0, np.int64), nothing, one, one, np.zeros((3, 3), np.float32))
    return Complements(bundle.catalogue, learned, BasketShape(), {"links": 1.0, "same_category": -0.1})


@pytest.mark.parametrize("kind", ["cart", "view", "purchase", "favourite"])
def test_what_completes_a_cart_is_carried_by_what_the_shopper_did(bundle: RecommenderBundle, kind: str) -> None:
    learned = bundle.completed_by(completing(bundle))
    (row,) = recommend(learned, read_history(f"{kind}:p0, search:马拉松", NOW), Question("cross_sell", 1, (), None, NOW), {}).rows
    assert (row.item_id, row.parts["links"] > 1) == ("p9", True)
    ((told, fall),) = row.events
    assert told == f"{kind} {learned.scenes.titles[0]}"
    assert fall == pytest.approx(row.score, abs=1e-4)  # of nobody's cart every item's score is the mean
    assert sum(row.parts.values()) == pytest.approx(row.score, abs=1e-4)


def test_of_two_items_in_the_cart_the_one_that_the_answer_belongs_to_carried_it(bundle: RecommenderBundle) -> None:
    learned = bundle.completed_by(completing(bundle))
    (row,) = recommend(learned, read_history("cart:p0, cart:p4, view:p5", NOW), Question("cross_sell", 1, (), None, NOW), {}).rows
    assert row.item_id == "p9"
    (first, fall), *rest = row.events
    assert (first, fall > 1) == (f"cart {learned.scenes.titles[0]}", True)
    assert all(weight < 0.1 for _, weight in rest)


def test_a_history_of_unknown_items_alone_is_refused_and_a_few_are_named(bundle: RecommenderBundle) -> None:
    with pytest.raises(SourceError, match="none of 2 events is of the 12 items"):
        recommend(bundle, read_history("view:x1, view:x2", NOW), ASKED, {})
    assert recommend(bundle, read_history("view:x1, view:p2", NOW), ASKED, {}).unknown == ("x1",)


def test_an_item_to_exclude_that_the_catalogue_does_not_hold_is_named(
    bundle: RecommenderBundle, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = recommend(bundle, read_history(EVENTS, NOW), Question("product", 3, ("p4", "nope", "nope"), None, NOW), {})
    assert answer.unknown_excluded == ("nope",)
    assert answer.as_dict()["unknown_excluded"] == ("nope",)
    _print(Console(width=200), answer)
    assert "--exclude: not in the catalogue, nothing was left out for it: nope" in capsys.readouterr().out
    assert recommend(bundle, read_history(EVENTS, NOW), Question("product", 3, ("p4",), None, NOW), {}).unknown_excluded == ()


def test_a_shopper_is_found_by_id_and_by_pseudonym(tmp_path: Path) -> None:
    data = write_clean(tmp_path)
    told = history_of_user("u1", events=data.events, lineage=data.lineage, moment=NOW)
    assert told.item_ids == ("p0", "p4")
    from core.files import read_table

    pseudonym = str(read_table(data.events)[Columns.USER].iloc[0])
    assert history_of_user(pseudonym, events=data.events, lineage=data.lineage, moment=NOW).item_ids == told.item_ids
    with pytest.raises(SourceError, match="give --history"):
        history_of_user("u2", events=data.events, lineage=data.lineage, moment=NOW)
    assert len(items()) == 12


@pytest.mark.parametrize(("value", "told"), [(0.3, "+0.30"), (-0.004, "-0.004"), (1e-9, "+0.00"), (0.0, "+0.00")])
def test_small_parts_are_told_by_their_first_digit_and_rounding_errors_are_not(value: float, told: str) -> None:
    assert signed(value) == told
