import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fitting, recommend
from benchmarks.held_out import read_held_out
from core.errors import SourceError
from models.recommender.catalogue import Catalogue
from models.recommender.training import validation


def log_of_chains(folder: Path, users: int = 80) -> Path:
    """Users who walk round one of two rings of items: the next item follows from the last one."""
    rng = np.random.default_rng(0)
    lines = []
    for user in range(users):
        ring, start = user % 2, int(rng.integers(12))
        items = [1 + 12 * ring + (start + place) % 12 for place in range(int(rng.integers(5, 9)))]
        lines.append(" ".join(map(str, [user + 1, *items])))
    file = folder / "Rings.txt"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "Rings_item2attributes.json").write_text(
        json.dumps({str(item): [1 + (item > 12)] for item in range(1, 25)}), encoding="utf-8"
    )
    return file


def test_every_recommender_is_judged_on_the_last_item_and_order_beats_popularity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "DIM", 16)
    assert recommend.main(["--data", str(log_of_chains(tmp_path)), "--seeds", "1", "--epochs", "2", "--parts", "--hide", "0.05"]) == 0
    shown = capsys.readouterr().out.strip().splitlines()
    found = json.loads(shown[-1])["recommenders"]
    assert set(found) == {
        "popularity",
        "item_knn",
        "markov",
        "als",
        "content_cosine",
        "content_linear",
        "sequence",
        "sequence_text",
        "sequence_ids",
    }
    assert all(0 <= figures[f"ndcg{k}"] <= figures[f"hr{k}"] <= 1 for figures in found.values() for k in (5, 10, 20))
    assert found["markov"]["hr5"] > 0.9
    assert found["sequence"]["hr5"] > found["popularity"]["hr5"]
    assert all(figures["fit_s"] > 0 for figures in found.values())


def test_a_large_catalogue_is_ranked_in_smaller_blocks_and_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = read_held_out(log_of_chains(tmp_path), None, None, None)
    catalogue = Catalogue.of(held.items, lambda texts: np.zeros((len(texts), 1), np.float32))
    fits = fitting.Fits(held, catalogue, 1)
    model, test = fits.markov(), fits.bench.test
    whole, shown = fitting.judge(model, test)
    monkeypatch.setattr(validation, "_SCORES", 7 * len(catalogue))
    assert len(test.cuts(catalogue)) > 7
    parts, shown_in_parts = fitting.judge(model, test)
    assert parts.tolist() == whole.tolist()
    assert shown_in_parts == shown


def test_the_last_item_is_the_test_and_the_one_before_validation(tmp_path: Path) -> None:
    file = tmp_path / "Few.txt"
    file.write_text("7 1 2 3 4\n8 4 3 2\n", encoding="utf-8")
    held = read_held_out(file, None, None, None)
    assert (held.test.items, held.validation.items) == (["4", "2"], ["3", "3"])
    assert held.early["item_id"].tolist() == ["1", "2", "4"]
    assert held.events["item_id"].tolist() == ["1", "2", "3", "4", "3"]


def test_a_purchase_is_held_out_with_all_that_tells_of_it(tmp_path: Path) -> None:
    rows = ["user,item,behavior,timestamp", "1,5,view,100", "1,6,view,110", "1,6,buy,120", "1,7,view,130", "2,5,view,90", "2,5,buy,95"]
    (tmp_path / "events.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "test.csv").write_text("user,item\n1,9\n2,7\n", encoding="utf-8")
    held = read_held_out(tmp_path / "events.csv", None, None, None)
    assert held.validation.items == ["6", "5"]
    assert sorted(held.early["item_id"].tolist()) == ["5", "7"]  # the view of what was bought tells of the purchase
    assert held.test.items == ["9", "7"]
    assert "9" in held.items["item_id"].tolist()


def test_files_of_unknown_form_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "log.xml").write_text("", encoding="utf-8")
    with pytest.raises(SourceError, match=r"unknown form '\.xml'; \.txt, \.inter and \.csv are known"):
        read_held_out(tmp_path / "log.xml", None, None, None)
    with pytest.raises(SourceError, match="is no file"):
        read_held_out(tmp_path / "none.txt", None, None, None)
