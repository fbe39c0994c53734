import json
from pathlib import Path

import pytest

from benchmarks import compliance


def test_sentences_of_ones_own_are_judged_and_the_list_alone_stands_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.jsonl"
    rows = [
        ("全网销量第一的面霜", "护肤", "violation"),
        ("抹一周白头发全变黑，再也不用染", "洗护", "violation"),
        ("纯棉短袖，透气舒适，日常百搭", "女装", "fine"),
        ("第一次露营带上它，轻便好收纳", "户外", "fine"),
    ]
    own.write_text("\n".join(json.dumps(dict(zip(("text", "category", "label"), row, strict=True))) for row in rows), encoding="utf-8")
    assert compliance.main(["--sentences", str(own)]) == 0
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])["own.jsonl"]
    assert found["judged"] == {"recall": 1.0, "precision": 1.0, "fine_stopped": 0.0}
    assert found["list"]["recall"] <= found["judged"]["recall"]
