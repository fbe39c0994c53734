"""A bundle is registered once, checked before an alias moves, fetched by content, and rolled back by the ledger."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from core.columns import Columns
from core.errors import RegistryError
from core.files import content_hash, write_table
from core.schemas import empty_table
from models.bundle import writing_bundle
from registry.ledger import Ledger, roll_back
from registry.models import CHALLENGER, CHAMPION, Registry

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


def pool_bundle(path: Path, text: str) -> Path:
    """A pool of one creative."""
    creatives = empty_table("creatives")
    creatives.loc[0] = {
        Columns.CREATIVE: "c1", Columns.ITEM: "i1", Columns.SCENE: "product", Columns.CHANNEL: "onsite", Columns.TEXT: text,
        Columns.ORIGIN: "template", Columns.AUDIENCE: None, Columns.GENERATOR_VERSION: "v", Columns.QUALITY: 1.0, Columns.VERDICT: "pass",
        Columns.AI_LABEL: True,
    }  # fmt: skip
    items = pd.DataFrame({Columns.ITEM: ["i1"], Columns.TITLE: ["鞋"], Columns.CATEGORY: ["运动"]})
    with writing_bundle(path, "pool", {}) as draft:
        write_table(creatives, draft / "creatives.parquet")
        write_table(items, draft / "items.parquet")
        write_table(empty_table("campaigns"), draft / "campaigns.parquet")
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project's folder with a fresh store (made once: MLflow lays its tables for seconds)."""
    root = tmp_path_factory.mktemp("project")
    patch = pytest.MonkeyPatch()
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield root
    patch.undo()


@pytest.fixture(scope="module")
def registry(store: Path) -> Registry:
    return Registry(store)


def new_run(registry: Registry) -> str:
    return str(registry.client.create_run(registry.experiment()).info.run_id)


def test_the_same_files_are_registered_once_and_answer(registry: Registry, tmp_path: Path) -> None:
    bundle = pool_bundle(tmp_path / "pool", "轻便")
    first = registry.register("pool", bundle, run_id=new_run(registry), tags={})
    again = registry.register("pool", bundle, run_id=new_run(registry), tags={})
    assert first == again
    assert first.bundle_hash == content_hash(bundle)
    registry.point(first, CHALLENGER)
    assert registry.alias("pool", CHALLENGER) == first
    assert registry.version("pool", first.version) == first
    with pytest.raises(RegistryError, match="no version 99 of the pool; there is 1 only"):
        registry.version("pool", 99)
    with pytest.raises(RegistryError, match="no version 1 of the ranker; there is none yet"):
        registry.version("ranker", 1)


def test_a_fetched_bundle_is_the_registered_one_and_is_downloaded_once(registry: Registry, tmp_path: Path) -> None:
    bundle = pool_bundle(tmp_path / "pool", "舒适")
    registered = registry.register("pool", bundle, run_id=new_run(registry), tags={})
    copy = registry.fetch(registered, tmp_path / "cache")
    assert content_hash(copy) == registered.bundle_hash
    stamp = copy.stat().st_mtime_ns
    assert registry.fetch(registered, tmp_path / "cache").stat().st_mtime_ns == stamp


def test_a_bundle_that_cannot_answer_moves_no_alias(registry: Registry, tmp_path: Path) -> None:
    bundle = pool_bundle(tmp_path / "pool", "透气")
    (bundle / "creatives.parquet").write_bytes(b"half a file")
    before = registry.alias("pool", CHAMPION)
    with pytest.raises(RegistryError, match="does not answer"):
        registry.register("pool", bundle, run_id=new_run(registry), tags={})
    assert registry.alias("pool", CHAMPION) == before
    assert registry.find("pool", content_hash(bundle)) is None, "a version that failed its check is never found"


def test_rollback_follows_the_ledger_and_is_written_down(registry: Registry, store: Path, tmp_path: Path) -> None:
    ledger = Ledger(registry, store)
    versions = [
        registry.register("pool", pool_bundle(tmp_path / name, name), run_id=new_run(registry), tags={}) for name in ("一", "二", "三")
    ]
    before = None
    for version in versions:
        registry.point(version, CHAMPION)
        ledger.write("promoted", version, before=before, reasons=["better"], verdict={"long": "字" * 9000})
        before = version
    assert ledger.champion_verdict(versions[2]) == {"long": "字" * 9000}
    entry = roll_back(store, "pool", reason="complaints")
    assert (entry.version, entry.before, entry.reasons) == (versions[1].version, versions[2].version, ("complaints",))
    assert registry.alias("pool", CHAMPION) == versions[1]
    assert ledger.rolled_back(versions[2]) is not None
    assert roll_back(store, "pool").version == versions[0].version
    with pytest.raises(RegistryError, match="no champion before it"):
        roll_back(store, "pool")
    assert roll_back(store, "pool", to=versions[2].version).version == versions[2].version
    assert ledger.rolled_back(versions[2]) is None
    assert [e.action for e in ledger.entries("pool")] == ["promoted"] * 3 + ["rolled back"] * 3
    refused = registry.register("pool", pool_bundle(tmp_path / "四", "四"), run_id=new_run(registry), tags={})
    ledger.write("refused", refused, before=versions[2], reasons=["worse"])
    for never in (refused.version, 99):
        with pytest.raises(RegistryError, match=rf"version {never} of pool never was champion: .*adloom promote"):
            roll_back(store, "pool", to=never)
    assert registry.alias("pool", CHAMPION) == versions[2]


def test_a_kind_without_a_champion_cannot_be_rolled_back(registry: Registry, store: Path) -> None:
    with pytest.raises(RegistryError, match="no champion"):
        roll_back(store, "ranker")
    with pytest.raises(RegistryError, match="no model 'x'"):
        roll_back(store, "x")
