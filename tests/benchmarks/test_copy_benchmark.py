import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.copy import best_of, read_pairs, split


def row(bleu: float, rouge: float, copied: float, share: float) -> dict[str, dict[str, float]]:
    return {name: {"value": value} for name, value in (("bleu4", bleu), ("rougeL", rouge), ("copy_rate", copied), ("span_share", share))}


def test_the_best_writes_in_its_own_words_when_any_does():
    table = {
        "clause": row(9.0, 30.0, 0.0, 0.97),
        "retrieval": row(8.0, 30.0, 1.0, 0.3),
        "gpt": row(7.0, 24.0, 0.0, 0.2),
        "vae": row(7.1, 23.0, 0.0, 0.2),
    }
    assert best_of(table) == "gpt"  # 3 · 7.0 + 24.0 = 45 > 3 · 7.1 + 23.0 = 44.3
    assert best_of({name: table[name] for name in ("clause", "retrieval")}) == "clause"


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
