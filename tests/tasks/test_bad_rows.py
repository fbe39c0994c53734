"""Every kind of bad input that the contract names, one by one."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from raw_samples import KEY, PREPARE, broken, cleaned, raw_tables

from core.errors import IdentityError, SchemaError
from core.identity import fingerprint, pseudonymise
from tasks.cleaning.clean import require_enough

UNTIL = "2026-10-01T00:00:00+00:00"
FUTURE = f"in the future, later than the data were collected ({UNTIL})"


def test_right_tables_are_accepted_whole() -> None:
    result = cleaned(raw_tables())
    assert {name: len(frame) for name, frame in result.tables.items()} == {
        "items": 3,
        "events": 20,
        "copies": 2,
        "impressions": 20,
        "campaigns": 1,
    }
    assert result.quarantine.empty


@pytest.mark.parametrize(
    ("table", "column", "value", "reason"),
    [
        ("items", "price_micros", -1, "price_micros: negative"),
        ("items", "price_micros", "cheap", "price_micros: not a number"),
        ("items", "price_micros", "NaN", "price_micros: not a number"),
        ("items", "price_micros", True, "price_micros: not a number"),
        ("items", "price_micros", 12.5, "price_micros: not a whole number"),
        ("items", "price_micros", float("inf"), "price_micros: not a whole number"),
        ("items", "price_micros", 10**17, "price_micros: above 9007199254740992"),
        ("items", "stock", -2, "stock: negative"),
        ("items", "stock", "many", "stock: not a number"),
        ("items", "stock", "1.5", "stock: not a whole number"),
        ("items", "title", " \t\u3000", "title: missing"),
        ("items", "title", ["list"], "title: not text"),
        ("items", "attributes", "red", "attributes: not a list"),
        ("items", "consumable", "perhaps", "consumable: not a yes or no"),
        ("items", "item_id", "i1", "item_id: duplicate of an earlier row"),
        ("events", "event_type", "click", "event_type: unknown; known are view, search, cart, favourite, purchase"),
        ("events", "event_type", "search", "query: missing on a search; item_id: present on a search"),
        ("events", "event_id", "e0", "event_id: duplicate of an earlier row"),
        ("events", "event_id", None, "event_id: missing"),
        ("events", "user_id", "", "user_id: missing"),
        ("events", "item_id", "i99", "item_id: unknown item"),
        ("events", "item_id", None, "item_id: missing"),
        ("events", "query", "shoes", "query: present on an event that is no search"),
        ("events", "value_micros", -5, "value_micros: negative"),
        ("events", "channel", "tv", "channel: unknown; known are onsite, social, search"),
        ("events", "timestamp", "yesterday", "timestamp: unparsable time"),
        ("events", "timestamp", "2026-13-01", "timestamp: unparsable time"),
        ("events", "timestamp", "1823-01-01", "timestamp: unparsable time"),
        ("events", "timestamp", "now", "timestamp: unparsable time"),
        ("events", "timestamp", "today", "timestamp: unparsable time"),
        ("events", "timestamp", "2026", "timestamp: unparsable time"),
        ("events", "timestamp", "2026-09", "timestamp: unparsable time"),
        ("events", "timestamp", None, "timestamp: missing"),
        ("events", "timestamp", "2026-10-01T00:00:01+00:00", f"timestamp: {FUTURE}"),
        ("copies", "item_id", "i99", "item_id: unknown item"),
        ("copies", "scene", "shop", "scene: unknown; known are product, promotion, brand, cross_sell"),
        ("copies", "origin", "me", "origin: unknown; known are human, template, clause, retrieval, ngram, gpt, vae, gan, hf"),
        ("copies", "text", "", "text: missing"),
        ("impressions", "propensity", 0.0, "propensity: outside (0, 1]"),
        ("impressions", "propensity", 1.2, "propensity: outside (0, 1]"),
        ("impressions", "propensity", float("inf"), "propensity: not finite"),
        ("impressions", "propensity", float("nan"), "propensity: missing"),
        ("impressions", "propensity", "half", "propensity: not a number"),
        ("impressions", "propensity_marginal", 0.0, "propensity_marginal: outside (0, 1]"),
        ("impressions", "p_click", -0.1, "p_click: outside [0, 1]"),
        ("impressions", "position", -1, "position: negative"),
        ("impressions", "candidates", ["c2"], "creative_id: not among the candidates"),
        ("impressions", "candidates", None, "candidates: missing"),
        ("impressions", "item_id", "i99", "item_id: unknown item"),
        ("impressions", "click", "ja", "click: not a yes or no"),
        ("impressions", "timestamp", "2027-01-01", f"timestamp: {FUTURE}"),
        ("impressions", "request_id", "r0", "request_id, position: duplicate of an earlier row"),
        ("campaigns", "end", "2026-08-01", "end: not after start"),
        ("campaigns", "bid_micros", -1, "bid_micros: negative"),
    ],
)
def test_a_bad_cell_sends_its_row_to_quarantine_with_the_reason(table: str, column: str, value: object, reason: str) -> None:
    tables = broken(table, column, value)
    result = cleaned(tables)
    found = result.quarantine[result.quarantine["table"] == table]
    assert found["reason"].tolist() == [reason]
    assert len(result.tables[table]) == len(tables[table]) - 1
    assert result.report["tables"][table]["refused"] == 1
    assert json.loads(found["record"].iloc[0]).keys() == set(tables[table])


@pytest.mark.parametrize("as_text", [False, True])
def test_a_cell_that_the_source_refused_is_not_read_again_though_it_could_be(as_text: bool) -> None:
    tables = raw_tables()
    events = tables["events"]
    events["timestamp"] = events["timestamp"].astype("str") if as_text else events["timestamp"]
    events["refused_cells"] = [json.dumps({"timestamp": "the clock stood still"}) if row == 3 else None for row in range(20)]
    result = cleaned(tables)
    assert result.quarantine["reason"].tolist() == ["timestamp: the clock stood still"]
    assert json.loads(result.quarantine["record"].iloc[0])["timestamp"].startswith("2026-09-01")
    assert "refused_cells" not in json.loads(result.quarantine["record"].iloc[0])
    assert len(result.tables["events"]) == 19


@pytest.mark.parametrize("note", ["now", "[1]", "3"])
def test_what_a_source_refused_and_nobody_can_read_is_an_error_that_says_so(note: str) -> None:
    tables = raw_tables()
    tables["events"]["refused_cells"] = note
    with pytest.raises(SchemaError, match=rf"events: refused_cells holds '{re.escape(note)}'.*Collect anew"):
        cleaned(tables)


def test_a_bad_row_does_not_take_the_place_of_a_good_one_with_its_id() -> None:
    tables = broken("events", "channel", "tv", row=0)
    tables["events"].loc[1, "event_id"] = "e0"
    result = cleaned(tables)
    assert "e0" in result.tables["events"]["event_id"].tolist()
    assert result.quarantine["row"].tolist() == [0]


def test_rows_of_a_refused_item_are_refused_as_unknown() -> None:
    result = cleaned(broken("items", "price_micros", -1, row=0))
    assert (result.tables["events"]["item_id"] != "i1").all()
    reasons = result.report["tables"]
    assert reasons["events"]["reasons"] == {"item_id: unknown item": 7}
    assert reasons["copies"]["reasons"] == {"item_id: unknown item": 1}


def test_missing_columns_are_all_named_in_one_error() -> None:
    tables = raw_tables()
    tables["items"] = tables["items"].drop(columns="title")
    tables["impressions"] = tables["impressions"].drop(columns=["propensity", "candidates"])
    with pytest.raises(SchemaError, match=r"missing columns: items\.title, impressions\.candidates, impressions\.propensity\."):
        cleaned(tables)


def test_columns_that_may_be_null_may_be_absent() -> None:
    tables = raw_tables()
    tables["items"] = tables["items"][["item_id", "title", "category"]]
    items = cleaned(tables).tables["items"]
    assert items["price_micros"].isna().all()
    assert items["attributes"].tolist() == [[], [], []]


def test_a_catalogue_of_which_nothing_is_left_stops_with_its_reasons() -> None:
    tables = raw_tables()
    tables["items"]["price_micros"] = -1
    with pytest.raises(SchemaError, match="none of 3 rows is accepted; 3 × price_micros: negative"):
        cleaned(tables)


def test_too_many_refused_rows_stop_with_counts_limit_and_remedy() -> None:
    tables = raw_tables()
    tables["events"].loc[:10, "channel"] = "tv"
    with pytest.raises(SchemaError) as caught:
        require_enough(cleaned(tables).report, PREPARE.max_quarantine_share)
    assert "events: 11 of 20 rows refused (55.0%, at most 50.0%): 11 × channel: unknown" in str(caught.value)
    assert "adloom check-data" in str(caught.value)


def test_of_one_user_with_too_many_events_the_newest_stay_and_none_counts_as_refused() -> None:
    tables = raw_tables(events=400)
    tables["events"]["user_id"] = ["crawler" if row % 10 else f"u{row}" for row in range(400)]
    tables["events"] = tables["events"].sample(frac=1, random_state=0).reset_index(drop=True)
    result = cleaned(tables, PREPARE.model_copy(update={"max_events_per_user": 50}))
    crawler = pseudonymise(["crawler"], KEY)[0]
    kept = result.tables["events"]
    kept = kept[kept["user_id"] == crawler]["timestamp"]
    everything = tables["events"][tables["events"]["user_id"] == "crawler"]["timestamp"]
    assert kept.tolist() == sorted(everything)[-50:]
    assert result.report["tables"]["events"]["set_aside"] == 310
    assert result.report["tables"]["events"]["refused"] == 0
    require_enough(result.report, 0.0)


def test_a_conversion_after_its_window_does_not_count() -> None:
    tables = raw_tables()
    shown = tables["impressions"]
    shown["conversion_timestamp"] = shown["timestamp"] + pd.to_timedelta([4 if row == 0 else 2 for row in range(20)], unit="D")
    result = cleaned(tables)
    first = result.tables["impressions"].iloc[0]
    assert (first["click"], first["conversion"], first["value_micros"]) == (True, False, 0)
    assert result.tables["impressions"]["conversion"].sum() == shown["conversion"].sum() - 1
    assert result.report["late_conversions"] == 1


def test_impressions_whose_window_is_still_open_are_set_aside() -> None:
    tables = raw_tables()
    last = tables["impressions"]["timestamp"].max()
    until = last - pd.Timedelta(hours=4) + pd.Timedelta(days=3)
    result = cleaned(tables, feedback_until=until.isoformat())
    assert len(result.tables["impressions"]) == 16
    assert result.report["tables"]["impressions"]["set_aside"] == 4
    assert result.report["tables"]["impressions"]["refused"] == 0


def test_text_is_normalised_and_ids_only_trimmed() -> None:
    tables = raw_tables()
    tables["items"]["title"] = ["  Cafe\u0301 \n\t bag\u3000x ", "a\x00b", "ok"]
    tables["events"]["user_id"] = tables["events"]["user_id"].replace("u0", " u0 ")
    result = cleaned(tables)
    assert result.tables["items"]["title"].tolist() == ["Café bag x", "a b", "ok"]
    assert set(result.tables["events"]["user_id"]) == set(pseudonymise(["u0", "u1", "u2", "u3"], KEY))


def test_no_raw_user_id_is_left_in_any_output() -> None:
    tables = raw_tables()
    for name in ("events", "impressions"):
        tables[name]["user_id"] = [f"secret-person-{row}" for row in range(20)]
        tables[name].loc[0, "channel"] = "tv"
    result = cleaned(tables)
    written = "".join(frame.to_json(date_format="iso") for frame in (*result.tables.values(), result.quarantine))
    assert "secret-person" not in written
    assert len(result.quarantine) == 2


def test_ids_marked_as_pseudonyms_are_not_hashed_twice_and_must_look_like_one() -> None:
    served = pseudonymise(["u1"], KEY)[0]
    tables = raw_tables()
    tables["events"]["pseudonymous"] = [row in (3, 4) for row in range(20)]
    tables["events"].loc[3, "user_id"] = served
    result = cleaned(tables)
    known = result.tables["events"].set_index("event_id")["user_id"]
    assert known["e3"] == served == known["e1"]  # e1 is the same shopper, hashed here
    assert result.quarantine["reason"].tolist() == ["user_id: marked as a pseudonym, but is none"]
    assert "u0" not in result.quarantine["record"].iloc[0].split('"user_id":')[1].split(",")[0]


def test_feedback_of_another_key_is_refused() -> None:
    said = {"segments": 1, "events": 1, "impressions": 0, "user_key_fingerprint": fingerprint(b"another key, another key")}
    with pytest.raises(IdentityError, match="hashed with key"):
        cleaned(raw_tables(), feedback=said)


def test_the_record_of_a_row_with_an_infinite_number_shows_it() -> None:
    result = cleaned(broken("impressions", "propensity", -np.inf))
    assert json.loads(result.quarantine["record"].iloc[0])["propensity"] == "-inf"
