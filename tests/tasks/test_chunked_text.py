"""Text that Arrow holds in several pieces is read like text in one."""

import pandas as pd

from tasks.cleaning.parse import plain_text


def test_a_column_of_several_chunks_is_composed_and_trimmed() -> None:
    pieces = [pd.Series(["Cafe\u0301  鞋 "], dtype="str"), pd.Series(["plain", None], dtype="str")]
    text, bad = plain_text(pd.concat(pieces, ignore_index=True), free=True)
    assert text.iloc[:2].tolist() == ["Café 鞋", "plain"]
    assert text.isna().tolist() == [False, False, True]
    assert not bad.any()
