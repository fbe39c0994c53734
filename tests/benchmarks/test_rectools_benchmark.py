import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import rectools

FAKE = """#!{python}
import json, sys
import csv
assert sys.argv[1] == "-P"
events, targets, out, epochs, seconds, threads, dim, length, batch, loss = sys.argv[3:]
rows = list(csv.DictReader(open(events)))
assert rows and set(rows[0]) == {{"user", "item", "time"}} and loss == "softmax"
wanted = list(csv.DictReader(open(targets)))
met = {{(row["user"], row["item"]) for row in rows}}
assert not any((row["user"], row["item"]) in met for row in wanted)
json.dump({{"epoch_s": [900.0] * 3, "fit_s": 1.0, "ranks": [11] * len(wanted)}}, open(out, "w"))
"""


def test_both_read_the_same_events_and_are_judged_on_the_same_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    walks = [[1 + (start + place) % 24 for place in range(6)] for start in rng.integers(24, size=60)]
    log = tmp_path / "Ring.txt"
    log.write_text("".join(f"{user + 1} {' '.join(map(str, items))}\n" for user, items in enumerate(walks)), encoding="utf-8")
    peer = tmp_path / "python"
    peer.write_text(FAKE.format(python=sys.executable), encoding="utf-8")
    peer.chmod(0o755)
    assert rectools.main(["--data", str(log), "--peer-python", str(peer), "--epochs", "2"]) == 0
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    ours, theirs = told["recommenders"].values()
    assert theirs["ndcg10"] == 0 < ours["ndcg10"]
    assert told["epoch_ratio"] > 3
