"""The gate on the recommender's main metric asks for shoppers enough to tell."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tasks.gates.recommender import CHAMPION, FEWEST, _compare


def judged(mine: float, other: float, shoppers: int, against: str):
    index = pd.Index([f"u{number}" for number in range(shoppers)])
    held_out = SimpleNamespace(params=SimpleNamespace(bootstrap=200), rng=np.random.default_rng(0))
    return _compare(pd.Series(mine, index), pd.Series(other, index), held_out, "ndcg10", against)  # type: ignore[arg-type]


@pytest.mark.parametrize("mine", [0.5, 0.9])
def test_few_shoppers_never_move_the_championship(mine):
    gate = judged(mine, 0.5, FEWEST - 1, CHAMPION)
    assert not gate.passed
    assert gate.reason == "19 shoppers in the held-out window; 20 are needed to compare ndcg10 with the champion, who stays"
    assert judged(mine, 0.5, FEWEST, CHAMPION).passed


@pytest.mark.parametrize("shoppers", [3, FEWEST])
def test_a_first_champion_is_held_against_the_baseline_however_few_there_are(shoppers):
    assert judged(0.5, 0.4, shoppers, "the baseline popularity").passed
    assert not judged(0.4, 0.5, shoppers, "the baseline popularity").passed
