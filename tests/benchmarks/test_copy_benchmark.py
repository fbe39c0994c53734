import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.copy import SHOWN, best_of, main, print_table, read_pairs, split
from benchmarks.copy_candidates import STOCK_WEIGHTS, Candidates, first_choices, stock_weight_of
from models.generator.choice import Merit
from models.generator.quality import Review


def row(bleu: float, rouge: float, copied: float, share: float, alike: float = 0.6) -> dict[str, dict[str, float]]:
    names = ("bleu4", "rougeL", "copy_rate", "span_share", "self_bleu4")
    return {name: {"value": value} for name, value in zip(names, (bleu, rouge, copied, share, alike), strict=True)}


def test_the_best_writes_in_its_own_words_and_variously_when_any_does():
    human = row(97.0, 98.0, 0.04, 0.12, 0.55)
    table = {
        "clause": row(9.0, 30.0, 0.0, 0.97),
        "retrieval": row(8.0, 30.0, 1.0, 0.3),
        "gan": row(8.0, 26.0, 0.0, 0.2, 0.66),
        "gpt": row(7.0, 24.0, 0.0, 0.2),
        "vae": row(7.1, 23.0, 0.0, 0.2),
        "human": human,
    }
    assert best_of(table) == "gpt"  # 3 · 7.0 + 24.0 = 45 > 3 · 7.1 + 23.0 = 44.3; the GAN says too much alike, .66 > .55 + .10
    assert best_of({name: table[name] for name in ("gan", "clause", "human")}) == "gan"
    assert best_of({name: table[name] for name in ("clause", "retrieval", "human")}) == "clause"


def test_rows_of_equal_attributes_or_text_are_held_out_together_and_odd_characters_end_no_line(tmp_path: Path):
    rows = [{"content": f"类型#裙*颜色#色{n % 40}", "summary": f"第{n}款\u2028轻盈透气的裙子。"} for n in range(80)]
    rows.append({"content": "类型#裤*颜色#新", "summary": rows[0]["summary"]})
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in rows), encoding="utf-8")
    learnt, held = (read_pairs(part) for part in split(file, tmp_path, np.random.default_rng(1)))
    assert len(learnt[0]) + len(held[0]) == 81
    assert 0 < len(held[0]) < 20
    assert not {request.attributes for request in learnt[0]} & {request.attributes for request in held[0]}
    assert not set(learnt[1]) & set(held[1])


@pytest.mark.parametrize("seed", [2, 3])
def test_the_split_is_that_of_the_seed(tmp_path: Path, seed: int):
    file = tmp_path / "a.jsonl"
    file.write_text(
        "".join(json.dumps({"content": f"类型#裙*颜色#色{n}", "summary": f"第{n}款裙子。"}) + "\n" for n in range(60)), encoding="utf-8"
    )
    first = split(file, tmp_path, np.random.default_rng(seed))[1].read_bytes()
    assert split(file, tmp_path, np.random.default_rng(seed))[1].read_bytes() == first


def review(*, accepted: bool) -> Review:
    return Review(accepted=accepted, reason="", rule="", found="", coverage=1.0, fluency=1.0, novelty=1.0, quality=1.0)


def test_stock_phrases_count_as_little_as_keeps_the_choices_as_various_as_people_and_a_tenth():
    human = [f"{word}色的料子穿着{word}暖又显{word}气" for word in "甲乙丙丁戊己庚辛壬癸"]
    stock, good = review(accepted=True), review(accepted=True)
    rows = [
        Candidates(
            f"裙{n}",
            {"百搭又时尚的款式谁穿谁好看": Merit(1.0, 1.0), text: Merit(0.3, 0.0)},
            {"百搭又时尚的款式谁穿谁好看": stock, text: good},
        )
        for n, text in enumerate(human)
    ]
    assert first_choices(rows, 0.5) == ["百搭又时尚的款式谁穿谁好看"] * 10
    assert first_choices(rows, 0.8) == human
    assert stock_weight_of(rows, human) == 0.75
    alike = [Candidates("裙", {"百搭又时尚的款式谁穿谁好看": Merit(1.0, 0.0)}, {"百搭又时尚的款式谁穿谁好看": stock})] * 10
    assert stock_weight_of(alike, human) == STOCK_WEIGHTS[-1], "no weight helps where there is no choice"
    refused = Candidates("裙", {"不行": Merit(9.0, 0.0), "行": Merit(0.0, 0.0)}, {"不行": review(accepted=False), "行": good})
    assert first_choices([refused, Candidates("裤", {}, {})], 0.1) == ["行", "裤"]


ATTRIBUTES = {
    "类型": ("裙", "裤", "上衣"),
    "颜色": ("红色", "白色", "黑色", "蓝色"),
    "版型": ("宽松", "修身"),
    "材质": ("棉", "丝绸", "雪纺"),
}


def pairs_file(file: Path, rows: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(rows):
        told = {key: str(rng.choice(values)) for key, values in ATTRIBUTES.items()}
        content = "*".join(f"{key}#{value}" for key, value in told.items())
        opening = str(rng.choice(["这款", "一件", "今夏的"]))
        summary = f"{opening}{told['颜色']}的{told['类型']}，采用{told['材质']}面料，{told['版型']}的版型穿着舒适，" + str(
            rng.choice(["百搭又时尚。", "显瘦又大方。"])
        )
        lines.append(json.dumps({"content": content, "summary": summary}, ensure_ascii=False))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.mark.slow
def test_the_whole_command_ends_with_one_line_of_figures_for_every_generator(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    learn, judge = pairs_file(tmp_path / "a.jsonl", 160, 1), pairs_file(tmp_path / "b.jsonl", 12, 2)
    few = [word for key in ("latent_epochs=1", "gpt_epochs=1", "vae_epochs=1", "gan_steps=20") for word in ("--set", key)]
    assert main(["--train", str(learn), "--test", str(judge), "--candidates", "4", "--out", str(tmp_path / "out.jsonl"), *few]) == 0
    shown = capsys.readouterr().out.strip().splitlines()
    found = json.loads(shown[-1])
    assert found["best"] in found["generators"]
    assert {"template", "clause", "retrieval", "ngram", "gpt", "vae", "gan"} <= set(found["generators"])
    assert any(line.startswith("human") for line in shown)
    assert len((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()) == 12


def test_a_table_without_human_copy_is_printed_too(capsys: pytest.CaptureFixture[str]):
    cell = {"value": 0.5, "low": 0.4, "high": 0.6}
    table = {name: dict.fromkeys(SHOWN, cell) for name in ("gpt", "clause")}
    print_table(table, 3)
    print_table({**table, "human": dict.fromkeys(SHOWN, cell)}, 3)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed if "0.5000" in line] == ["gpt", "clause", "gpt", "clause", "human"]
