from pathlib import Path

import numpy as np
import pytest

from core.errors import BundleError
from core.files import read_json, write_json
from models.bundle import copy_bundle, load_arrays, load_table, read_config, save_arrays, writing_bundle


def make(path: Path) -> Path:
    with writing_bundle(path, "test", {"n": 3}) as draft:
        save_arrays({"b": np.arange(3.0), "a": np.ones((2, 2), np.float32)}, draft / "w.safetensors")
    return path


def test_a_bundle_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = make(tmp_path / "b")
    assert read_config(path, "test")["n"] == 3
    arrays = load_arrays(path / "w.safetensors")
    np.testing.assert_array_equal(arrays["b"], np.arange(3.0))
    copy_bundle(path, tmp_path / "copy")
    assert (tmp_path / "copy" / "w.safetensors").read_bytes() == (path / "w.safetensors").read_bytes()


def test_a_failed_writer_leaves_the_old_bundle(tmp_path: Path) -> None:
    path = make(tmp_path / "b")
    with pytest.raises(RuntimeError), writing_bundle(path, "test", {"n": 4}):
        raise RuntimeError("killed")
    assert read_config(path, "test")["n"] == 3


def test_missing_foreign_and_newer_bundles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no config\.json"):
        read_config(tmp_path / "none", "test")
    path = make(tmp_path / "b")
    with pytest.raises(BundleError, match="kind 'test'; 'other' is needed"):
        read_config(path, "other")
    write_json(read_json(path / "config.json") | {"format_version": 99}, path / "config.json")
    with pytest.raises(BundleError, match="format version 99"):
        read_config(path, "test")
    (path / "w.safetensors").write_bytes(b"short")
    with pytest.raises(BundleError, match="not readable"):
        load_arrays(path / "w.safetensors")
    with pytest.raises(BundleError, match="incomplete"):
        load_table(path / "t.parquet")
    with pytest.raises(BundleError, match="no bundle"):
        copy_bundle(tmp_path / "none", tmp_path / "x")
