from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from raw_samples import cleaned, raw_tables

from core.errors import SchemaError
from tasks.cleaning.parse import read_pairs
from tasks.cleaning.split import split_by_time
from tasks.sources.storing import storable

_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.text(max_size=2), max_size=2),
    st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2),
)
_CHANGES = st.lists(
    st.tuples(st.sampled_from(["events", "copies", "impressions", "campaigns"]), st.integers(0, 19), st.integers(0, 30), _ODD), max_size=12
)
_QUICK = (Phase.explicit, Phase.reuse, Phase.generate)  # shrinking a table takes minutes


def _broken(changes: list[tuple[str, int, int, Any]]) -> dict[str, pd.DataFrame]:
    tables = {name: frame.astype("object") for name, frame in raw_tables().items()}
    for name, row, column, value in changes:
        frame = tables[name]
        cells = frame.iloc[:, column % frame.shape[1]].tolist()
        cells[row % len(frame)] = value
        frame[frame.columns[column % frame.shape[1]]] = pd.Series(cells, dtype="object")
    return tables


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=_QUICK)
@given(_CHANGES)
def test_every_raw_row_ends_in_exactly_one_of_clean_and_quarantine(changes: list[tuple[str, int, int, Any]]) -> None:
    tables = _broken(changes)
    result = cleaned(tables)
    for name, frame in tables.items():
        refused = result.quarantine[result.quarantine["table"] == name]
        assert len(result.tables[name]) + len(refused) == len(frame)
        assert refused["row"].is_unique
        kept = sorted(set(range(len(frame))) - set(refused["row"]))
        key = {"events": "event_id", "copies": "copy_id", "impressions": "request_id", "campaigns": "campaign_id", "items": "item_id"}[name]
        assert sorted(result.tables[name][key]) == sorted(str(_plain(value)).strip() for value in frame[key].iloc[kept])
        assert (refused["reason"].str.len() > 0).all()


def _plain(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=_QUICK)
@given(_CHANGES)
def test_writing_a_raw_table_loses_no_row_that_would_be_accepted(changes: list[tuple[str, int, int, Any]]) -> None:
    tables = _broken(changes)
    through = {name: storable(name, frame)[0] for name, frame in tables.items()}
    direct, written = cleaned(tables), cleaned(through)
    for name, frame in direct.tables.items():
        merged = pd.concat([frame, written.tables[name]]).astype("str")
        assert len(merged.drop_duplicates()) == len(written.tables[name])


@given(st.one_of(_ODD, st.lists(_ODD, max_size=3), st.lists(st.lists(_ODD, max_size=3), max_size=3)))
def test_attributes_are_read_or_refused_but_never_raise(value: Any) -> None:
    pairs = read_pairs(value)
    assert pairs is None or all(pair.keys() == {"key", "value"} and pair["key"] and pair["value"] for pair in pairs)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=60), st.lists(st.integers(0, 10**6), max_size=60))
def test_one_pair_of_times_splits_all_tables(first: list[int], second: list[int]) -> None:
    tables = [pd.Series(pd.to_datetime(pd.Series(part, dtype="int64"), unit="s", utc=True)) for part in (first, second)]
    if len(set(first + second)) < 3:
        with pytest.raises(SchemaError, match="distinct times"):
            split_by_time(tables, 0.2, 0.2)
        return
    split = split_by_time(tables, 0.2, 0.2)
    everything = pd.concat(tables)
    assert everything.min() < split.train_end < split.validation_end <= everything.max() < split.end
    assert all(sum(split.counts(table).values()) == len(table) for table in tables)
