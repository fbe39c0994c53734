"""Copy for files: lines are checked, killed runs go on, and training on pairs is the stage's."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_generate import data, tiny, train, vector

import tasks.train_copy
import tasks.write_copy
from core.errors import BundleError, SourceError
from core.params import Params, load_params
from core.tracking import NullTracker
from models.generator import GeneratorBundle
from models.generator.request import CopyRequest
from tasks.product_lines import read_products
from tasks.train_copy import train_copy
from tasks.write_copy import AI_LABEL, Writing, _Progress, write_copy

OWN = {"item_id": "S1", "title": "轻便跑鞋", "category": "运动鞋", "brand": "风行", "price": 299.5, "attributes": {"鞋面": "网布"}}
PAIR = {"content": "类型#裙*版型#显瘦*图案#条纹", "summary": "条纹修身，显瘦又利落。"}


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_both_forms_of_a_line_become_orders(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "p.jsonl", {**OWN, "text": "跑起来轻。"}, "\n", PAIR, {"title": "碗", "scene": "brand", "channel": "search", "limit": 20}
    )
    own, pair, bare = read_products(file, channel="social", limit=90)
    assert (own.number, own.request.item_id, own.request.price_micros, own.request.attributes) == (
        1,
        "S1",
        299_500_000,
        (("鞋面", "网布"),),
    )
    assert (own.request.channel, own.request.max_length, own.text) == ("social", 90, "跑起来轻。")
    assert (pair.number, pair.request.item_id, pair.request.category, pair.text) == (3, "3", "裙", PAIR["summary"])
    assert pair.request.attributes == (("类型", "裙"), ("版型", "显瘦"), ("图案", "条纹"))
    assert (bare.request.scene, bare.request.channel, bare.request.max_length, bare.text) == ("brand", "search", 20, None)
    assert [product.number for product in read_products(file, skip=2)] == [4]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{'title': 1}\n", "line 2: no JSON"),
        ({"name": "x"}, "line 2: neither `title` nor `content`"),
        ({"content": "类型#"}, r"line 2: `content` names no attribute: '类型#'; write 类型#裤"),
        ({"content": "", "title": "x"}, "line 2: `content` names no attribute: ''"),
        ({"content": "鞋面#网布"}, "line 2: `content` names no 类型: '鞋面#网布'"),
        ([PAIR], r"line 2: each line must be one JSON object, a product; this one is of type list\. An array becomes lines by `jq"),
        ("3\n", "line 2: each line must be one JSON object, a product; this one is of type int"),
        ({"title": "x", "price": -1}, r"line 2: price: .*greater than or equal to 0"),
        ({"title": "x", "channel": "tv"}, "line 2: channel: Input should be"),
        ({"title": "x", "attributes": "red"}, "line 2: attributes are str; a list"),
        ({"title": "x", "attributes": [1]}, "line 2: .*docs/copy.md"),
    ],
)
def test_a_line_that_is_no_product_is_named(row: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=words):
        list(read_products(lines(tmp_path / "p.jsonl", OWN, row)))


def test_a_missing_file_and_one_in_gbk_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.jsonl: cannot be read"):
        list(read_products(tmp_path / "none.jsonl"))
    (tmp_path / "gbk.jsonl").write_bytes(json.dumps(OWN, ensure_ascii=False).encode("gb18030"))
    with pytest.raises(SourceError, match=r"gbk.jsonl: not UTF-8 .*iconv"):
        list(read_products(tmp_path / "gbk.jsonl"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    patch = pytest.MonkeyPatch()
    patch.setenv("ADLOOM_CACHE", str(folder / "cache"))
    made = train(data(folder), folder / "generator")
    patch.undo()
    return made


def test_every_product_gets_a_labelled_line_with_all_scores(bundle: Path, tmp_path: Path) -> None:
    odd = {"title": "🎁" * 5, "attributes": [["說明", "很長" * 5000]]}
    file = lines(tmp_path / "p.jsonl", OWN, PAIR, {"title": "碗"}, odd)
    done = write_copy(file, tmp_path / "out.jsonl", bundle=bundle, writing=Writing(candidates=3, kept=2))
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (done.products, done.resumed) == (4, 0)
    assert {row["line"] for row in found} == {1, 2, 3, 4}
    for row in found:
        assert row["ai_label"] == AI_LABEL
        assert set(row["scores"]) == {"quality", "coverage", "fluency", "novelty"}
        assert 0 < len(row["text"]) <= 60
        assert row["accepted"] == (row["reason"] == "")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    with pytest.raises(SourceError, match="exists already"):
        write_copy(file, tmp_path / "out.jsonl", bundle=bundle, writing=Writing())


def test_products_without_any_acceptable_text_are_counted_apart(bundle: Path, tmp_path: Path) -> None:
    unlawful = {"title": "全网第一", "brand": "全网第一"}  # the template can say nothing else of it
    done = write_copy(
        lines(tmp_path / "p.jsonl", OWN, unlawful), tmp_path / "out.jsonl", bundle=bundle, writing=Writing(generator="template")
    )
    accepted = [json.loads(line)["accepted"] for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert accepted == [True, False]
    assert (done.by_template, done.refused) == (2, 1)


def test_the_template_writes_for_a_category_that_no_copy_taught_unless_a_generator_is_named(bundle: Path, tmp_path: Path) -> None:
    known = GeneratorBundle.load(bundle).reviewer.belonging.kinds
    assert OWN["category"] not in known
    taught = OWN | {"category": known[0]}
    file = lines(tmp_path / "p.jsonl", OWN, taught)
    drawn = GeneratorBundle.load(bundle).chosen
    writers, untaught = {}, {None: {OWN["category"]: 1}, drawn: {}}
    for name in (None, drawn):
        done = write_copy(file, tmp_path / f"{name}.jsonl", bundle=bundle, writing=Writing(candidates=8, generator=name))
        rows = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        assert (done.untaught, done.taught) == (untaught[name], known)
        writers[name] = [{row["origin"], *(stopped["origin"] for stopped in row["stopped"])} for row in rows]
    assert drawn != "template"
    assert writers[None][0] == {"template"}
    assert all(drawn in found for found in (writers[None][1], *writers[drawn]))


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, r"p\.jsonl: cannot be read \(No such file"), (b"", "p.jsonl: holds no product"), (b"\xef\xbb\xbf\n \n", "holds no product")],
)
def test_a_file_that_is_missing_or_empty_is_refused_before_anything_is_made(content: bytes | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SourceError, match=words):
        write_copy(file, tmp_path / "out.jsonl", bundle=tmp_path / "none", writing=Writing())
    assert [path.name for path in tmp_path.iterdir()] == ([] if content is None else ["p.jsonl"])


def test_a_generator_that_the_bundle_has_not_is_named_beside_those_it_has(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no generator 'foo'; there are .*template.*--generator"):
        write_copy(lines(tmp_path / "p.jsonl", OWN), tmp_path / "out.jsonl", bundle=bundle, writing=Writing(generator="foo"))


def test_a_killed_run_goes_on_to_an_equal_file(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.write_copy, "BATCH", 3)
    file = lines(tmp_path / "p.jsonl", *[{**OWN, "item_id": f"S{n}", "brand": f"风行{n}"} for n in range(8)])
    write_copy(file, tmp_path / "whole.jsonl", bundle=bundle, writing=Writing())
    real, calls = GeneratorBundle.write, []

    def killed(self: GeneratorBundle, *args: object) -> list[list[str]]:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(GeneratorBundle, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        write_copy(file, tmp_path / "again.jsonl", bundle=bundle, writing=Writing())
    assert not (tmp_path / "again.jsonl").exists()
    monkeypatch.setattr(GeneratorBundle, "write", real)
    with (tmp_path / ".again.jsonl.part").open("ab") as part:
        part.write(b'{"half a li')
    done = write_copy(file, tmp_path / "again.jsonl", bundle=bundle, writing=Writing())
    assert done.products == 8
    assert done.resumed in (3, 6)
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("told", ["{", '{"key": "other"}'])
def test_progress_that_cannot_be_read_or_is_of_another_run_begins_anew(tmp_path: Path, told: str) -> None:
    state, part = tmp_path / "progress", tmp_path / "part"
    state.write_text(told)
    part.write_bytes(b"1234")
    assert _Progress.read(state, part, ["k"]) == _Progress()


def test_a_part_shorter_than_what_was_written_to_it_begins_anew(tmp_path: Path) -> None:
    state, part = tmp_path / "progress", tmp_path / "part"
    state.write_text('{"key": ["k"], "products": 2, "size": 4, "by_template": 0, "refused": 0}')
    part.write_bytes(b"1234")
    assert _Progress.read(state, part, ["k"]).products == 2
    part.write_bytes(b"123")
    assert _Progress.read(state, part, ["k"]) == _Progress()


class FakeEncoder:
    @classmethod
    def open(cls, model: str, **_: object) -> "FakeEncoder":
        return cls()

    def encode(self, texts: list[str]) -> np.ndarray:
        return np.stack([vector(text) for text in texts])

    word_vectors = encode


def small_params() -> Params:
    return load_params(Path("params.yaml")).model_copy(update={"train_generator": tiny()})


@pytest.mark.parametrize("memory", [True, False])
def test_pairs_train_every_generator_of_the_stage(memory: bool, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tasks.train_copy, "TextEncoder", FakeEncoder)
    copies = GeneratorBundle.load(bundle).copies
    rows = [
        {
            "title": copy.request.title,
            "category": copy.request.category,
            "brand": copy.request.brand,
            "attributes": list(copy.request.attributes),
            "text": copy.text,
        }
        for copy in copies
    ]
    pairs, later = lines(tmp_path / "a.jsonl", *rows[20:]), lines(tmp_path / "b.jsonl", *rows[:20])
    params = small_params()
    params = params.model_copy(update={"train_generator": params.train_generator.model_copy(update={"memory": memory})})
    made = train_copy(params, rng=np.random.default_rng(1), tracker=NullTracker(), train=pairs, valid=later)
    for told in made.config["memory"].values():
        assert (told["share"] > 0) == memory == (told["loss"] < told["loss_alone"])
    assert set(made.generators) == {"template", "clause", "retrieval", "ngram", "gpt", "vae", "gan"}
    assert made.config["copies"]["validation"] <= 20
    made.save(tmp_path / "bundle")
    again = GeneratorBundle.load(tmp_path / "bundle")
    assert again.chosen == made.chosen
    assert [(tmp_path / "bundle" / name / "memory.safetensors").exists() for name in ("gpt", "latent")] == [memory] * 2


@pytest.mark.parametrize(("rows", "words"), [([], "0 usable copies; 100 are needed"), ([PAIR], "1 usable copies; 100 are needed")])
def test_too_few_pairs_are_refused_with_the_number_needed(rows: list[object], words: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=words):
        train_copy(small_params(), rng=np.random.default_rng(1), tracker=NullTracker(), train=lines(tmp_path / "p.jsonl", *rows))


def test_own_rules_stop_a_text_and_the_line_says_which_rule_did(bundle: Path, tmp_path: Path) -> None:
    rules = tmp_path / "house.yaml"
    rules.write_text('- {id: house, clause: c, severity: block, patterns: ["[\\u4e00-\\u9fff]"], suggestion: s}\n', encoding="utf-8")
    write_copy(lines(tmp_path / "p.jsonl", PAIR), tmp_path / "out.jsonl", bundle=bundle, writing=Writing(candidates=2, rules=rules))
    (line,) = (json.loads(row) for row in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines())
    assert not line["accepted"]
    assert line["rule"] in {"house", "too_short", "too_long"} or line["reason"] == "form"
    assert any(found["reason"] == "compliance" and found["rule"] == "house" and found["found"] for found in line["stopped"])


def test_counts_and_stopped_texts_speak_of_the_same_candidates(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = ["国家级的跑鞋，轻。", "国家级的跑鞋，轻。", "", "全网最低价的跑鞋。"]
    real = GeneratorBundle.write

    def banned(self: GeneratorBundle, requests: list[CopyRequest], n: int, rng: np.random.Generator, kind: str) -> list[list[str]]:
        return real(self, requests, n, rng, kind) if kind == "template" else [drawn for _ in requests]

    monkeypatch.setattr(GeneratorBundle, "write", banned)
    write_copy(lines(tmp_path / "p.jsonl", OWN), tmp_path / "out.jsonl", bundle=bundle, writing=Writing(candidates=4, generator="gpt"))
    (line,) = (json.loads(row) for row in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines())
    assert (line["origin"], line["accepted"]) == ("template", True)
    assert [found["text"] for found in line["stopped"] if found["origin"] == "gpt"] == ["国家级的跑鞋，轻。", "全网最低价的跑鞋。"]
    assert line["refused"] == len(line["stopped"])
    assert 2 < line["candidates"] <= 2 + 4


def test_a_key_that_is_all_but_ours_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wrong = {"title": "碗", "categroy": "厨房", "colour": "红", "brands": "x", "brand": "y"}
    assert [product.request.category for product in read_products(lines(tmp_path / "p.jsonl", wrong, wrong))] == ["", ""]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'p.jsonl'}, line 1: key 'categroy' is none of ours and left alone; is 'category' meant?"
    ]
