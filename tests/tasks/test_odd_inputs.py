"""Odd products, pairs and audiences, and broken numbers, by the entry points of a user: sane copy, or an error that says what to do."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_copy_files import FakeEncoder, lines, small_params
from test_generate import data, train
from typer.testing import CliRunner

import tasks.train_copy
from cli import main
from core.columns import Columns as C
from core.errors import SourceError, TrainingError
from core.files import read_table, write_table
from core.tracking import NullTracker
from core.vocabulary import LENGTH_LIMITS
from models.embeddings import Embeddings
from models.generator import GeneratorBundle
from models.generator.request import CopyRequest
from tasks.train_copy import train_copy

KINDS = ("template", "clause", "retrieval", "ngram", "gpt", "vae", "gan")
ODD = {
    "no attributes": CopyRequest("o1", "轻便跑鞋", "运动鞋"),
    "no category": CopyRequest("o2", "东西", ""),
    "a long attribute": CopyRequest("o3", "跑鞋", "运动鞋", "风行", 299_000_000, (("说明", "很长" * 5000), ("鞋面", "网布"))),
    "emoji": CopyRequest("o4", "🎁礼物👟", "运动鞋", "风行", None, (("图案", "👟👟"), ("颜色", "🔴🔴"))),
    "Traditional Chinese": CopyRequest("o5", "輕便跑鞋", "運動鞋", "風行", None, (("鞋面", "網布透氣"), ("說明", "適合長跑"))),
    "forty attributes": CopyRequest("o6", "跑鞋", "运动鞋", None, None, tuple((f"键{n}", f"值值{n}") for n in range(40))),
    "a line break": CopyRequest("o7", "跑鞋\n新款", "运动鞋", None, None, (("说\n明", "舒\n适"),)),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("odd")
    patch = pytest.MonkeyPatch()
    patch.setenv("ADLOOM_CACHE", str(folder / "cache"))
    paths = data(folder)
    generator = train(paths, folder / "generator")
    patch.undo()
    return {**paths, "generator": generator}


@pytest.fixture(scope="module")
def bundle(made: dict[str, Path]) -> GeneratorBundle:
    return GeneratorBundle.load(made["generator"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("odd", ODD)
def test_every_generator_writes_sanely_for_an_odd_product(bundle: GeneratorBundle, kind: str, odd: str) -> None:
    request = ODD[odd]
    (texts,) = bundle.write([request], 3, np.random.default_rng(1), kind)
    assert len(texts) <= 3
    for text in texts:
        review = bundle.review(request, text)
        assert not review.accepted or 0 < len(text) <= request.max_length
        assert 0.0 <= review.quality <= 1.0


@pytest.mark.parametrize("kind", ["gpt", "vae", "gan"])
def test_an_audience_nobody_is_in_gets_copy_and_one_of_another_size_is_refused(bundle: GeneratorBundle, kind: str) -> None:
    for feature in (np.zeros(6, np.float32), np.full(6, 1e4, np.float32)):
        request = replace(ODD["no attributes"], audience_id="nobody", feature=feature)
        (texts,) = bundle.write([request], 2, np.random.default_rng(1), kind)
        assert len(texts) == 2
    short = replace(ODD["no attributes"], audience_id="nobody", feature=np.zeros(3, np.float32))
    with pytest.raises(ValueError, match=r"shape \(3,\); the generator was trained with \(6,\)"):
        bundle.write([short], 1, np.random.default_rng(1), kind)
    lost = replace(ODD["no attributes"], audience_id="nobody", feature=np.full(6, np.nan, np.float32))
    with pytest.raises(ValueError, match="feature of o1, audience nobody, is not finite"):
        bundle.write([lost], 1, np.random.default_rng(1), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_adloom_write_writes_a_line_for_every_odd_product(made: dict[str, Path], kind: str, tmp_path: Path) -> None:
    rows = [
        {"title": request.title, "category": request.category, "brand": request.brand, "attributes": list(request.attributes)}
        for request in ODD.values()
    ]
    products, out = lines(tmp_path / "p.jsonl", *rows), tmp_path / "out.jsonl"
    done = CliRunner().invoke(
        main, ["write", str(products), "--bundle", str(made["generator"]), "--generator", kind, "--candidates", "2", "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["line"] for row in found] == list(range(1, len(ODD) + 1))
    assert all(0 < len(row["text"]) <= LENGTH_LIMITS["onsite"] for row in found if row["accepted"])


def pairs(bundle: GeneratorBundle) -> list[dict[str, object]]:
    return [
        {"title": c.request.title, "category": c.request.category, "attributes": list(c.request.attributes), "text": c.text}
        for c in bundle.copies
    ]


def test_train_copy_learns_from_odd_pairs(bundle: GeneratorBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tasks.train_copy, "TextEncoder", FakeEncoder)
    odd = [
        {"title": request.title, "attributes": list(request.attributes), "text": f"{text}，穿着很舒服。"}
        for request in ODD.values()
        for text in ("👟👟轻轻一踩", "網布透氣、適合長跑", "普通的一句")
    ]
    file = lines(tmp_path / "p.jsonl", *pairs(bundle)[:150], *odd)
    made = train_copy(small_params(), rng=np.random.default_rng(1), tracker=NullTracker(), train=file)
    assert made.config["trained"]
    (texts,) = made.write([ODD["Traditional Chinese"]], 2, np.random.default_rng(1))
    assert texts


@pytest.mark.parametrize(
    ("rows", "words"), [([], "0 usable copies; 100 are needed"), (["网布透气，跑起来轻。"], "1 usable copies; 100 are")]
)
def test_adloom_train_copy_refuses_too_few_pairs_in_one_sentence(rows: list[str], words: str, tmp_path: Path) -> None:
    file = lines(tmp_path / "p.jsonl", *[{"title": "轻便跑鞋", "text": text} for text in rows])
    done = CliRunner().invoke(main, ["train-copy", "--train", str(file), "--out", str(tmp_path / "bundle")])
    assert done.exit_code == 1
    assert words in done.stderr
    assert not (tmp_path / "bundle").exists()


def test_pairs_to_choose_by_that_are_trained_on_too_are_left_out_and_counted(
    bundle: GeneratorBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ADLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tasks.train_copy, "TextEncoder", FakeEncoder)
    rows = pairs(bundle)
    train_file = lines(tmp_path / "a.jsonl", *rows)
    fresh = [
        {"title": "铁壶", "category": "茶具", "attributes": {"材质": "铸铁"}, "text": f"铸铁壶身厚实，煮水第{n}壶也温润。"}
        for n in range(3)
    ]
    with pytest.raises(SourceError, match=r"each of its \d+ usable copies has the attributes or the text of a pair in a.jsonl"):
        train_copy(
            small_params(),
            rng=np.random.default_rng(1),
            tracker=NullTracker(),
            train=train_file,
            valid=lines(tmp_path / "same.jsonl", *rows[:10]),
        )
    mixed = lines(tmp_path / "mixed.jsonl", *rows[:10], *fresh)
    made = train_copy(small_params(), rng=np.random.default_rng(1), tracker=NullTracker(), train=train_file, valid=mixed)
    assert made.config["copies"]["validation"] == 3
    assert "10 of 13 usable copies have the attributes or the text of a pair in a.jsonl" in caplog.text


def test_an_audience_without_a_single_impression_is_trained_with(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADLOOM_CACHE", str(tmp_path / "cache"))
    users = read_table(made["user_features"])
    lonely = users.iloc[:1].assign(**{C.USER: "nobody", C.AUDIENCE: "a9"})
    write_table(pd.concat([users, lonely], ignore_index=True), tmp_path / "users.parquet")
    inputs = {name: path for name, path in made.items() if name != "generator"} | {"user_features": tmp_path / "users.parquet"}
    assert GeneratorBundle.load(train(inputs, tmp_path / "generator")).config["trained"]


def test_text_vectors_that_are_not_finite_stop_the_stage_and_name_encode(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADLOOM_CACHE", str(tmp_path / "cache"))
    held = Embeddings.load(made["embeddings"])
    vectors = held.vectors.copy()
    vectors[:5] = np.nan
    Embeddings(held.texts, vectors).save(tmp_path / "embeddings")
    inputs = {name: path for name, path in made.items() if name != "generator"} | {"embeddings": tmp_path / "embeddings"}
    with pytest.raises(TrainingError, match=r"text vectors are not finite; run `encode` again"):
        train(inputs, tmp_path / "generator")
    assert not (tmp_path / "generator").exists()


def test_a_decoder_that_diverges_stops_the_stage_and_names_the_rate(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADLOOM_CACHE", str(tmp_path / "cache"))
    inputs = {name: path for name, path in made.items() if name != "generator"}
    with pytest.raises(TrainingError, match=r"gpt: validation loss is nan in epoch 0; lower train_generator.learning_rate"):
        train(inputs, tmp_path / "generator", learning_rate=1e30)
    assert not (tmp_path / "generator").exists()
