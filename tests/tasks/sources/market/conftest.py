"""A small market, made once for all tests of this folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.params import MarketParams, MarketStrengths, load_params
from tasks.sources.base import RawTables, write_truth
from tasks.sources.market import Truth, read_market

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="session")
def market_params() -> MarketParams:
    """The shipped strengths on a market of 500 shoppers with many ad requests."""
    shipped = load_params(ROOT / "params.yaml").market
    return shipped.model_copy(update={"seed": 3, "catalogue": None, "products": 240, "shoppers": 500, "requests_per_day": 2.0})


@pytest.fixture(scope="session")
def with_strengths(market_params: MarketParams) -> Callable[..., MarketParams]:
    """The same market with other strengths: ``with_strengths(taste=0.0)``; ``all_of=0.0`` sets every one first."""

    def change(*, all_of: float | None = None, **strengths: float) -> MarketParams:
        old = market_params.strengths.model_dump()
        base = old if all_of is None else dict.fromkeys(old, all_of)
        small = {"shoppers": 300, "requests_per_day": 0.5}
        return market_params.model_copy(update={**small, "strengths": MarketStrengths(**(base | strengths))})

    return change


@pytest.fixture(scope="session")
def market(market_params: MarketParams, tmp_path_factory: pytest.TempPathFactory) -> tuple[RawTables, Truth]:
    """Raw tables, and the truth read back from its folder."""
    raw, truth = read_market(market_params)
    folder = tmp_path_factory.mktemp("market") / "truth"
    write_truth(truth, folder)
    return raw, Truth.load(folder)
