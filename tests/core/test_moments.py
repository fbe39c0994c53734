import pandas as pd
import pytest

from core.moments import moments


@pytest.mark.parametrize("form", ["ISO8601", "%Y-%m-%d"])
@pytest.mark.parametrize("word", ["now", "today"])
def test_the_wall_clock_is_never_asked_though_pandas_would(word: str, form: str) -> None:
    assert pd.to_datetime(pd.Series([word]), format=form).notna().all()
    assert moments(pd.Series([word, None], dtype="str"), form).isna().all()


@pytest.mark.parametrize("text", ["2026", "2026-09", "2026-9"])
def test_a_year_or_a_month_is_no_moment(text: str) -> None:
    assert pd.to_datetime(pd.Series([text]), format="ISO8601").notna().all()
    assert moments(pd.Series([text], dtype="str")).isna().all()


@pytest.mark.parametrize(
    "text", ["2026-09-01", "20260901", "2026-9-1", "2026/09/01", "2026-09-01T02+02", "20260901T000000Z", "2026-09-01 00:00"]
)
def test_whatever_names_a_day_is_read_as_pandas_reads_it(text: str) -> None:
    assert moments(pd.Series([text], dtype="str")).tolist() == [pd.Timestamp("2026-09-01", tz="UTC")]


def test_a_format_that_the_user_wrote_may_name_a_month() -> None:
    assert moments(pd.Series(["09.2026"], dtype="str"), "%m.%Y").tolist() == [pd.Timestamp("2026-09-01", tz="UTC")]
