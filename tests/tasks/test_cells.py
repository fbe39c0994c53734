import numpy as np
import pandas as pd

from tasks.sources.cells import as_numbers, as_words


def test_whole_numbers_read_as_floats_keep_all_their_digits():
    ids = pd.Series([1234567.0, 1234568.0, 1.0, 0.1234567, 0.1234568, np.nan])
    assert as_words(ids).tolist() == ["1234567", "1234568", "1", "0.1234567", "0.1234568", None]


def test_text_is_stripped_and_nothing_is_nothing():
    assert as_words(pd.Series([" 甲 ", "", None, 7], dtype="object")).tolist() == ["甲", None, None, "7"]


def test_flags_are_numbers_and_words_are_none():
    found = as_numbers(pd.Series(["true", " False ", "0.5", "many", None], dtype="object"))
    np.testing.assert_array_equal(found, [1.0, 0.0, 0.5, np.nan, np.nan])
