"""A log whose requests fill several positions: gathered into slates, its propensities tested position by position, answered or refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_policy_value import NAMES, SHARES, answered

from core.errors import EvidenceError, SchemaError
from evaluation.off_policy import Estimate, Refusal, propensity_calibration
from tasks.policy_value.decisions import load_decisions_mapping, read_decisions
from tasks.policy_value.slates import slates_of
from tasks.policy_value.targets import Target


def slate_log(folder: Path) -> Path:
    rows = [
        {"request": f"r{n}", "place": place, "action": action, "p": p, "click": click}
        for n in range(200)
        for place, (action, p, click) in enumerate([("a", 0.5, n % 2), ("b", 1.0, 0)] if n % 2 else [("b", 0.5, 0), ("a", 1.0, 1)])
    ]
    pd.DataFrame(rows).to_csv(folder / "log.csv", index=False)
    (folder / "mapping.yaml").write_text("columns: {action: action, propensity: p, reward: click, request_id: request, position: place}\n")
    return folder / "log.csv"


def test_slates_are_gathered_by_request_and_position_and_answered_in_rewards_a_slate(tmp_path: Path) -> None:
    path = slate_log(tmp_path)
    target = np.where(np.arange(400) % 2 == 1, 1.0, np.where(pd.read_csv(path)["action"] == "a", 0.25, 0.75))
    pd.DataFrame({"target_propensity": target}).to_csv(tmp_path / "target.csv", index=False)
    answer = answered(path, str(tmp_path / "target.csv"))
    assert answer.unit == "rewards a slate"
    assert list(answer.answers) == ["standard", "cascade"]
    assert answer.answers["standard"].value.value == pytest.approx(0.25 * 1 + 0.75 * 1)
    with pytest.raises(EvidenceError, match="policy greedy: requests of this log fill several positions"):
        answered(path, "greedy")


def ranked_log(folder: Path, rows: int = 900) -> tuple[Path, Path]:
    """Slates of two out of three actions, drawn without replacement, with conditional and marginal propensities; the target is uniform."""
    rng, found = np.random.default_rng(5), []
    second = [sum(SHARES[a] * SHARES[k] / (1 - SHARES[a]) for a in range(3) if a != k) for k in range(3)]
    for n in range(rows):
        first, below = rng.choice(3, 2, replace=False, p=SHARES)
        found.append((f"r{n}", 0, NAMES[first], SHARES[first], SHARES[first], int(rng.uniform() < 0.3)))
        found.append((f"r{n}", 1, NAMES[below], SHARES[below] / (1 - SHARES[first]), second[below], int(rng.uniform() < 0.3)))
    pd.DataFrame(found, columns=["request", "place", "action", "p", "m", "click"]).to_csv(folder / "log.csv", index=False)
    pd.DataFrame({"target_propensity": [1 / 3, 1 / 2] * rows, "target_marginal": 1 / 3}).to_csv(folder / "target.csv", index=False)
    columns = "action: action, propensity: p, reward: click, request_id: request, position: place, propensity_marginal: m"
    (folder / "mapping.yaml").write_text(f"columns: {{{columns}}}\n")
    return folder / "log.csv", folder / "target.csv"


def test_right_propensities_of_slates_without_repetition_are_not_called_wrong(tmp_path: Path) -> None:
    path, target = ranked_log(tmp_path)
    log = read_decisions(path, load_decisions_mapping(tmp_path / "mapping.yaml"))
    of_all_rows = propensity_calibration(np.array(log.names)[log.action], log.propensity, log.users)
    assert of_all_rows.largest_deviation > 6  # 1 is not what to expect below the first position
    answer = answered(path, str(target))
    assert answer.calibration.largest_deviation < 4
    assert answer.drawn == pytest.approx(3, abs=0.3)
    assert all(isinstance(given, Estimate) for given in answer.answers.values())


@pytest.mark.parametrize(
    ("column", "place", "refused"), [("p", 0, ["standard", "cascade"]), ("p", 1, ["standard", "cascade"]), ("m", 1, ["position_wise"])]
)
def test_wrong_propensities_of_a_slate_are_found_at_their_position(tmp_path: Path, column: str, place: int, refused: list[str]) -> None:
    path, target = ranked_log(tmp_path)
    log, given = pd.read_csv(path), pd.read_csv(target)
    here, other = log["place"].eq(place), {"p": "target_propensity", "m": "target_marginal"}[column]
    swapped = log["action"].map(dict(zip(NAMES, SHARES[::-1], strict=True)))
    given.loc[here, other] *= swapped[here] / log.loc[here, column]  # the weights stay as they were
    log.loc[here, column] = swapped[here]
    log.to_csv(path, index=False)
    given.clip(upper=1).to_csv(target, index=False)
    answers = answered(path, str(target)).answers
    assert [name for name, found in answers.items() if isinstance(found, Refusal)] == refused
    assert f"position {place}: wrong propensities: the mean of 1 / propensity over action" in answers[refused[0]].reason
    assert "where 1.000 at most is expected" in answers[refused[0]].reason


def test_a_slate_with_a_gap_is_refused_by_row(tmp_path: Path) -> None:
    path = slate_log(tmp_path)
    frame = pd.read_csv(path).drop(index=[4])
    frame.to_csv(path, index=False)
    log = read_decisions(path, load_decisions_mapping(tmp_path / "mapping.yaml"))
    with pytest.raises(SchemaError, match=r"1 rows have a position that is missing above them .* first: row 5 of the file"):
        slates_of(log, Target(log.propensity))
