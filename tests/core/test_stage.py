"""A stage's outputs come together or not at all, and what the disk refuses is told in one sentence."""

import errno
from pathlib import Path

import pytest

from core.errors import StorageError, TrainingError, storage_error
from core.stage import StageEntry, _outputs_beside

ENTRY = StageEntry(
    name="fit",
    deps=(Path("data/rows.json"),),
    outs=(Path("data/model"), Path("data/report/metrics.json")),
    params=(),
    paths={"rows": Path("data/rows.json"), "model": Path("data/model"), "metrics": Path("data/report/metrics.json")},
)


def work(entry: StageEntry, text: str, *, fail: bool) -> None:
    with _outputs_beside(entry) as drafted:
        assert drafted.paths["rows"] == Path("data/rows.json"), "inputs stay where they are"
        drafted.paths["model"].mkdir()
        (drafted.paths["model"] / "weights").write_text(text)
        if fail:
            raise TrainingError("diverged")
        drafted.paths["metrics"].write_text(text)


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_outputs_of_a_stage_take_their_places_together_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    work(ENTRY, "first", fail=False)
    first = {"data/model/weights": "first", "data/report/metrics.json": "first"}
    assert files(tmp_path) == first
    with pytest.raises(TrainingError):
        work(ENTRY, "second", fail=True)
    assert files(tmp_path) == first
    work(ENTRY, "third", fail=False)
    assert set(files(tmp_path).values()) == {"third"}


def test_a_killed_stages_drafts_are_gone_after_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    left = tmp_path / "data" / ".drafts" / "fit" / "data" / "model"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    work(ENTRY, "whole", fail=False)
    assert files(tmp_path) == {"data/model/weights": "whole", "data/report/metrics.json": "whole"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x.parquet"), "no space is left on the disk"),
        (OSError(errno.EFBIG, "File too large"), "larger than this process may write"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "no space is left on the disk"),
    ],
)
def test_a_full_disk_is_told_with_the_place_the_room_and_the_next_step(error: Exception, words: str, tmp_path: Path) -> None:
    told = storage_error(error, tmp_path / "deep" / "x.parquet")
    assert isinstance(told, StorageError)
    assert str(tmp_path / "deep" / "x.parquet") in str(told)
    assert words in str(told)
    assert "MB free" in str(told)
    assert "run the same command again" in str(told)


def test_other_errors_are_not_about_the_disk() -> None:
    assert storage_error(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None
    assert storage_error(StorageError("told already")) is None
    assert storage_error(KeyboardInterrupt()) is None
    assert storage_error(ValueError("the service answered code: 13")) is None
    read = storage_error(PermissionError(errno.EACCES, "Permission denied", "/own.csv"))
    assert "/own.csv: cannot be read or written: permission is denied" in str(read)
    rust = storage_error(RuntimeError('Os { code: 28, kind: StorageFull, message: "No space left on device" }'), Path("x"))
    assert "x: cannot be written" in str(rust)
