"""Readers of public formats, on small files of the published shape."""

import json
from pathlib import Path

import pandas as pd
import pytest
from raw_samples import cleaned

from core.errors import SchemaError, SourceError
from tasks.sources import complete_journey
from tasks.sources.advertisegen import attributes_of, read_advertisegen, title_of
from tasks.sources.amazon import read_amazon
from tasks.sources.base import RawTables
from tasks.sources.complete_journey import read_complete_journey
from tasks.sources.open_bandit import read_open_bandit
from tasks.sources.retailrocket import read_retailrocket


def accepted(raw: RawTables) -> dict[str, pd.DataFrame]:
    said = {"collected_until": raw.source["collected_until"]} if "collected_until" in raw.source else {}
    result = cleaned(raw.tables, **said)
    assert result.quarantine.empty, result.quarantine["reason"].tolist()
    return result.tables


def test_retailrocket_events_name_the_items(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user,item,behavior,timestamp\n0,3,view,1433221969\n0,1,cart,1433222104\n1,3,buy,1433222105\n")
    tables = accepted(read_retailrocket(str(tmp_path)))
    assert tables["items"]["item_id"].tolist() == ["1", "3"]
    assert tables["events"]["event_type"].tolist() == ["view", "cart", "purchase"]
    assert tables["events"]["timestamp"].iloc[0] == pd.Timestamp("2015-06-02 05:12:49", tz="UTC")


def test_retailrocket_without_a_column_names_it(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user,item,timestamp\n0,3,1\n")
    with pytest.raises(SchemaError, match=r"events: events\.csv has no column 'behavior' for event_type"):
        read_retailrocket(str(tmp_path))


def test_amazon_sequences_keep_their_order_and_end_on_one_day(tmp_path: Path) -> None:
    (tmp_path / "Beauty.txt").write_text("7 3 1 2\n8 2 1\n9 \n")
    (tmp_path / "Beauty_item2attributes.json").write_text('{"3": [5, 6]}')
    raw = read_amazon(str(tmp_path))
    tables = accepted(raw)
    events = tables["events"]
    assert [events[raw.events["user_id"].eq(user).to_numpy()].empty for user in ("7", "8")] == [False, False]
    first = raw.events[raw.events["user_id"] == "7"]
    assert first["item_id"].tolist() == ["3", "1", "2"]
    assert first["timestamp"].diff().dropna().tolist() == [pd.Timedelta(days=1)] * 2
    assert raw.events.groupby("user_id")["timestamp"].max().nunique() == 1
    assert raw.items.set_index("item_id")["attributes"]["3"] == [{"key": "attribute", "value": "5"}, {"key": "attribute", "value": "6"}]
    assert any("no times, only an order" in said for said in raw.source["missing"])


def test_amazon_titles_and_histories(tmp_path: Path) -> None:
    (tmp_path / "Games.item").write_text('item_id:token\ttitle:token_seq\n0\tFire "Emblem"\n1\tCare Case\n2\tLost\n')
    (tmp_path / "Games.test.inter").write_text("user_id:token\titem_id_list:token_seq\titem_id:token\n0\t0 1\t2\n1\t2\t1\n")
    raw = read_amazon(str(tmp_path))
    accepted(raw)
    assert raw.items["title"].tolist() == ['Fire "Emblem"', "Care Case", "Lost"]
    assert raw.events[raw.events["user_id"] == "0"]["item_id"].tolist() == ["0", "1", "2"]


def test_open_bandit_rows_are_requests_with_their_logged_propensity(tmp_path: Path) -> None:
    features = ",".join(f"user_feature_{number}" for number in range(4))
    for policy in ("random", "bts"):
        folder = tmp_path / policy / "men"
        folder.mkdir(parents=True)
        context = ",item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3\n" + "".join(
            f"{i},{i},0.5,a,b,c\n" for i in range(3)
        )
        (folder / "item_context.csv").write_text(context)
        rows = "".join(f"{row},2019-11-2{4 + row} 00:00:17.004101+00:00,{row},3,{row % 2},0.25,a,b,c,d\n" for row in range(3))
        (folder / "men.csv").write_text(f",timestamp,item_id,position,click,propensity_score,{features}\n{rows}")
    shown = accepted(read_open_bandit(str(tmp_path)))["impressions"]
    assert len(shown) == 6
    assert set(shown["policy_version"]) == {"random", "bts"}
    assert shown["position"].unique().tolist() == [2]
    assert (shown["propensity"] == 0.25).all()
    assert shown["candidates"].iloc[0] == ["image-men-0", "image-men-1", "image-men-2"]
    assert shown["click"].sum() == 2
    with pytest.raises(SourceError, match=r"item_context\.csv"):
        read_open_bandit(str(tmp_path / "nowhere"))


def test_advertisegen_rows_of_equal_attributes_are_one_item(tmp_path: Path) -> None:
    rows = [
        {"content": "类型#裙*颜色#蓝色*裙长#连衣裙", "summary": "蓝色连衣裙"},
        {"content": "类型#裙*颜色#蓝色*裙长#连衣裙", "summary": "清爽的蓝"},
        {"content": "类型#裤*版型#宽松", "summary": "宽松<UNK>裤"},
    ]
    file = tmp_path / "train.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    raw = read_advertisegen(str(file))
    tables = accepted(raw)
    assert tables["items"]["title"].tolist() == ["蓝色连衣裙", "宽松裤"]
    assert tables["copies"]["text"].tolist() == ["蓝色连衣裙", "清爽的蓝"]
    assert raw.source.get("left_out") == [{"rows": 1, "what": "copies with a placeholder (<UNK>, BRAND): no text to show or to learn from"}]
    file.write_text('{"text": "x"}\n')
    with pytest.raises(SchemaError, match="missing columns content, summary"):
        read_advertisegen(str(file))


def test_attributes_without_a_key_are_dropped_and_a_title_says_each_word_once() -> None:
    assert attributes_of("类型#上衣*宽松*颜色#") == [{"key": "类型", "value": "上衣"}]
    assert title_of(attributes_of("类型#上衣*衣样式#卫衣*颜色#红*颜色#蓝")) == "红卫衣"
    assert title_of([]) is None


@pytest.mark.parametrize("read", [read_retailrocket, read_amazon, read_open_bandit, read_advertisegen])
def test_a_source_without_its_path_says_what_it_needs(read: object) -> None:
    with pytest.raises(SourceError, match=r"needs `collect\.path`"):
        read(None)  # type: ignore[operator]


def test_complete_journey_takes_over_what_it_can_and_says_what_it_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    when = pd.to_datetime(["2017-01-01 10:00", "2017-01-02 11:00", "2017-01-03 11:00", "2017-01-03 12:00"])
    lines = {"household_id": 1, "store_id": 3, "basket_id": [10, 11, 12, 12], "product_id": [5, 5, 5, 6], "quantity": [2, 1, 0, 1]}
    paid = {
        "sales_value": [3.0, 1.19, 0.0, 0.0],
        "retail_disc": [1.0, 0.0, 0.0, 0.0],
        "coupon_match_disc": 0.0,
        "transaction_timestamp": when,
    }
    products = {
        "product_id": [5, 6], "manufacturer_id": 1, "department": ["GROCERY", "TOYS"], "brand": ["Private", "National"],
        "product_category": ["BREAD", None], "product_type": ["RYE", None], "package_size": ["1 LB", None],
    }  # fmt: skip
    data = {
        "transactions": pd.DataFrame(lines | paid),
        "products": pd.DataFrame(products),
        "campaign_descriptions": pd.DataFrame(
            {"campaign_id": [9], "campaign_type": ["Type A"], "start_date": when[:1], "end_date": when[1:2]}
        ),
        "coupons": pd.DataFrame({"coupon_upc": [1], "product_id": [5], "campaign_id": [9]}),
        "coupon_redemptions": pd.DataFrame({"household_id": [1]}),
    }
    monkeypatch.setattr(complete_journey, "_table", data.__getitem__)
    raw = read_complete_journey()
    tables = accepted(raw)
    assert tables["items"]["title"].tolist() == ["RYE 1 LB", "TOYS"]
    assert tables["items"]["price_micros"].tolist() == [2_000_000, pd.NA]  # shelf price at the first sale: (3 + 1) / 2
    assert tables["items"]["consumable"].tolist() == [True, False]
    assert tables["events"]["value_micros"].tolist() == [3_000_000, 1_190_000, 0]
    assert tables["campaigns"]["target_categories"].tolist() == [["BREAD"]]
    assert tables["campaigns"]["daily_budget_micros"].isna().all()
    assert [left["rows"] for left in raw.source.get("left_out", [])] == [1, 1]
