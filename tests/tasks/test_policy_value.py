"""A log of one's own: read with a mapping, answered for built-in policies and files, or refused with the reason."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from core.errors import AdloomError, EvidenceError, ParamsError, SchemaError, SourceError
from evaluation.off_policy import ESTIMATORS, MODEL_FREE, Estimate, Refusal
from flows.policy_value import show_policy_value
from tasks.policy_value.answer import evaluate_policy
from tasks.policy_value.crossfit import cross_fitted, folds_by_user
from tasks.policy_value.decisions import load_decisions_mapping, read_decisions

MAPPING = """
columns: {action: banner, propensity: p, reward: clicked, user_id: visitor}
context: {age: number, town: category}
values: {reward: {"yes": 1, "no": 0}}
"""
NAMES, SHARES = np.array(["red", "green", "blue"]), np.array([0.5, 0.3, 0.2])
RATES = {"city": np.array([0.05, 0.15, 0.40]), "suburb": np.array([0.35, 0.12, 0.04])}


def own_log(folder: Path, rows: int = 3000, seed: int = 0, name: str = "log.csv") -> Path:
    rng = np.random.default_rng(seed)
    town, action = rng.choice(["city", "suburb"], rows), rng.choice(3, rows, p=SHARES)
    clicked = rng.uniform(size=rows) < np.array([RATES[where][chosen] for where, chosen in zip(town, action, strict=True)])
    frame = pd.DataFrame({
        "visitor": rng.integers(0, rows // 3, rows), "age": rng.normal(40, 9, rows).round(1), "town": town,
        "banner": NAMES[action], "p": SHARES[action], "clicked": np.where(clicked, "yes", "no"),
    })  # fmt: skip
    path = folder / name
    if name.endswith(".parquet"):
        frame.to_parquet(path)
    elif name.endswith(".jsonl"):
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False)
    (folder / "mapping.yaml").write_text(MAPPING)
    return path


def answered(path: Path, policy: str, **changes):
    return evaluate_policy(path, policy, rng=np.random.default_rng(1), replications=100, **changes)


TRUTHS = {
    "uniform": np.mean([rates.mean() for rates in RATES.values()]),
    "best_action": max(np.mean(list(RATES.values()), axis=0)),
    "greedy": np.mean([rates.max() for rates in RATES.values()]),
}


@pytest.mark.parametrize("policy", TRUTHS)
def test_built_in_policies_are_worth_what_they_are_worth_and_the_logged_mean_is_not(tmp_path: Path, policy: str) -> None:
    answer = answered(own_log(tmp_path), policy)
    assert tuple(answer.answers) == ESTIMATORS
    assert not answer.refused
    for name in ("ips", "snips", "dr", "sndr"):
        given = answer.answers[name]
        assert isinstance(given, Estimate)
        assert abs(given.value.value - TRUTHS[policy]) < 3.5 * given.value.standard_error
    if policy == "greedy":
        assert answer.answers["dr"].lift.low > 0
        assert answer.logged.high < TRUTHS[policy]


@pytest.mark.parametrize("name", ["log.jsonl", "log.parquet"])
def test_the_format_of_the_file_changes_nothing(tmp_path: Path, name: str) -> None:
    of_csv, other = (answered(own_log(tmp_path, name=file), "greedy").answers["dr"].value for file in ("log.csv", name))
    assert (other.value, other.low, other.high) == pytest.approx((of_csv.value, of_csv.low, of_csv.high))


def test_a_file_of_the_logged_actions_propensities_is_answered_by_what_needs_no_model(tmp_path: Path) -> None:
    path = own_log(tmp_path)
    log = pd.read_csv(path)
    pd.DataFrame({"target_propensity": log["banner"].map({"red": 0.2, "green": 0.2, "blue": 0.6})}).to_csv(tmp_path / "target.csv")
    answer = answered(path, str(tmp_path / "target.csv"))
    assert tuple(answer.answers) == MODEL_FREE
    assert answer.without_model
    assert answer.answers["ips"].evidence.largest_weight == pytest.approx(3)


def test_a_file_of_whole_distributions_is_answered_by_every_estimator_as_the_built_in_policy_is(tmp_path: Path) -> None:
    path = own_log(tmp_path)
    pd.DataFrame(np.full((3000, 3), 1 / 3), columns=["blue", "green", "red"]).to_csv(tmp_path / "target.csv", index=False)
    found, built_in = answered(path, str(tmp_path / "target.csv")), answered(path, "uniform")
    assert found.as_dict()["estimators"] == built_in.as_dict()["estimators"]


def test_rows_that_cannot_be_used_are_left_out_of_log_and_target_alike(tmp_path: Path) -> None:
    path = own_log(tmp_path)
    frame = pd.read_csv(path, dtype=str)
    frame.loc[4, "p"], frame.loc[7, "clicked"], frame.loc[9, "p"] = "0", "maybe", ""
    frame.to_csv(path, index=False)
    target = np.full((3000, 3), 1 / 3)
    target[[4, 7, 9]] = 9.0  # of rows that are not read
    pd.DataFrame(target, columns=["blue", "green", "red"]).to_csv(tmp_path / "target.csv", index=False)
    answer = answered(path, str(tmp_path / "target.csv"))
    assert answer.rows == 2997
    assert answer.left_out == {"propensity: outside (0, 1]": 1, "reward: missing or no number": 1, "propensity: missing or no number": 1}


def test_without_a_mapping_the_columns_have_our_names(tmp_path: Path) -> None:
    path = own_log(tmp_path)
    names = {"banner": "action", "p": "propensity", "clicked": "reward", "age": "context_age", "visitor": "user_id"}
    frame = pd.read_csv(path).rename(columns=names)
    frame.assign(reward=frame["reward"].eq("yes").astype(int)).to_csv(path, index=False)
    (tmp_path / "mapping.yaml").unlink()
    log = read_decisions(path, None)
    assert log.context.shape == (3000, 1)
    assert log.names == ("blue", "green", "red")
    with pytest.raises(SchemaError, match="no column 'reward'"):
        read_decisions(own_log(tmp_path, name="other.csv"), None)


def test_a_log_too_far_from_the_policy_is_refused_with_its_reason(tmp_path: Path) -> None:
    path = own_log(tmp_path, rows=120)
    answer = answered(path, "greedy")
    assert answer.refused
    assert all(isinstance(given, Refusal) and "(limit 50)" in given.reason for given in answer.answers.values())


def test_propensities_that_are_not_those_of_the_log_are_refused(tmp_path: Path) -> None:
    path = own_log(tmp_path)
    frame = pd.read_csv(path)
    frame.assign(p=frame["banner"].map({"red": 0.2, "green": 0.3, "blue": 0.5})).to_csv(path, index=False)
    answer = answered(path, "uniform")
    assert answer.refused
    assert "wrong propensities" in answer.answers["ips"].reason


def test_a_file_that_keeps_to_each_rows_own_candidates_is_answered(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    absent = rng.integers(0, 3, 2000)  # each row has two candidates, drawn alike
    action = (absent + rng.integers(1, 3, 2000)) % 3
    frame = pd.DataFrame({"action": NAMES[action], "propensity": 0.5, "reward": action == 0})
    frame.to_csv(tmp_path / "log.csv", index=False)
    pd.DataFrame({"target_propensity": np.where((absent + 1) % 3 == action, 0.8, 0.2)}).to_csv(tmp_path / "target.csv", index=False)
    answer = answered(tmp_path / "log.csv", str(tmp_path / "target.csv"))
    assert not answer.refused
    assert "2.0 actions could be drawn at a decision, and 3 appear" in answered(tmp_path / "log.csv", "uniform").answers["ips"].reason
    frame.assign(propensity=np.where(action == 0, 0.2, 0.5)).to_csv(tmp_path / "log.csv", index=False)
    pd.DataFrame({"target_propensity": np.where(action == 0, 0.2, 0.5)}).to_csv(tmp_path / "target.csv", index=False)
    assert "over action red is" in answered(tmp_path / "log.csv", str(tmp_path / "target.csv")).answers["ips"].reason


def sparse_log(folder: Path, actions: str = "") -> Path:
    """600 rows drawn evenly from 300 actions, of which about 40 never appear; a reward of 1 for every even one."""
    action = np.random.default_rng(3).integers(0, 300, 600)
    pd.DataFrame({"banner": [f"b{code:03d}" for code in action], "clicked": 1 - action % 2}).to_csv(folder / "log.csv", index=False)
    text = f"columns: {{action: banner, reward: clicked}}\nconstants: {{propensity: 1/300}}\n{actions}"
    (folder / "mapping.yaml").write_text(text)
    return folder / "log.csv"


ALL = "actions: [" + ", ".join(f"b{code:03d}" for code in range(300)) + "]"


def test_right_propensities_are_called_wrong_where_actions_never_appear_and_the_refusal_says_what_to_write(tmp_path: Path) -> None:
    answer = answered(sparse_log(tmp_path), "uniform")
    assert answer.refused
    assert len(answer.actions) == answer.action_count < 270
    reason = answer.answers["dr"].reason
    assert f"300.0 actions could be drawn at a decision, and {answer.action_count} appear in the log" in reason
    assert "`actions: 300`" in reason


@pytest.mark.parametrize("actions", ["actions: 300", ALL])
def test_a_log_in_which_actions_never_appear_is_answered_when_the_mapping_says_how_many_there_are(tmp_path: Path, actions: str) -> None:
    answer = answered(sparse_log(tmp_path, actions), "uniform")
    assert (answer.action_count, answer.counted) == (300, True)
    assert len(answer.actions) < 270
    assert answer.as_dict()["action_count_from"] == "mapping"
    for given in answer.answers.values():
        assert isinstance(given, Estimate)
        assert given.value.value == pytest.approx(0.5, abs=0.07)
    assert answer.answers["ips"].value.value == pytest.approx(answer.logged.value)


def test_a_policy_file_may_give_to_listed_actions_that_never_appear(tmp_path: Path) -> None:
    path = sparse_log(tmp_path, ALL)
    target = pd.DataFrame(np.full((600, 300), 1 / 300), columns=[f"b{code:03d}" for code in range(300)])
    target.to_parquet(tmp_path / "target.parquet")
    found = answered(path, str(tmp_path / "target.parquet"))
    assert found.as_dict()["estimators"]["dr"]["value"] == pytest.approx(answered(path, "uniform").answers["dr"].value.value)
    sparse_log(tmp_path)
    with pytest.raises(SchemaError, match=r"600 rows do not sum to 1 over the \d+ actions of the log.*`actions: \[\.\.\.\]`"):
        answered(path, str(tmp_path / "target.parquet"))


@pytest.mark.parametrize("name", ["target.csv", "target.parquet", "target.jsonl"])
def test_a_distribution_that_would_not_fit_into_memory_is_refused_before_it_is_read(tmp_path: Path, monkeypatch, name: str) -> None:
    path, target = own_log(tmp_path), pd.DataFrame(np.full((3000, 3), 1 / 3), columns=["blue", "green", "red"])
    form = name.split(".")[1]
    {"csv": target.to_csv, "parquet": target.to_parquet}.get(form, lambda at, **_: target.to_json(at, orient="records", lines=True))(
        tmp_path / name, index=False
    )
    monkeypatch.setattr("tasks.policy_value.targets.MAX_CELLS", 8999)
    with pytest.raises(
        SchemaError, match=r"3 columns for 3,000 rows are 9,000 propensities.*Give `target_propensity` of the logged action"
    ):
        answered(path, str(tmp_path / name))


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ("actions: 200", "appear, and the mapping says `actions: 200`"),
        ("actions: [b000, b001]", "are not in the mapping's list `actions` of 2"),
    ],
)
def test_a_mapping_that_knows_fewer_actions_than_the_log_is_refused(tmp_path: Path, actions: str, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        answered(sparse_log(tmp_path, actions), "uniform")
    assert message in str(caught.value)


def test_too_many_actions_in_the_mapping_are_told_by_the_propensities(tmp_path: Path) -> None:
    answer = answered(sparse_log(tmp_path, "actions: 400"), "uniform")
    assert "300.0 actions could be drawn at a decision, and 400 are said by the mapping" in answer.answers["ips"].reason
    assert "or mend `actions`" in answer.answers["ips"].reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns: {banner: b}", "columns: we have no column 'banner'"),
        ("columns: {action: a, reward: r}", "columns: propensity is missing"),
        ("columns: {action: a, reward: r, propensity: p}\nconstants: {propensity: 1/3}", "propensity is in columns and in constants"),
        ("columns: {action: a, reward: r}\nconstants: {propensity: 4/3}", "constants.propensity: '4/3' is no number in (0, 1]"),
        ("columns: {action: a, reward: r, propensity: p, position: q}", "request_id and position belong together"),
        ("columns: {action: a, reward: r, propensity: p}\ncontext: [r]", "context: 'r' is the action or the reward"),
        ("columns: {action: a, reward: r, propensity: p}\nvalues: {user_id: {a: b}}", "values: 'user_id' is not action or reward"),
        ("columns: {action: a, reward: r, propensity: p}\npath: x", "path: unknown key"),
        ("columns: {action: a, reward: r, propensity: p}\nactions: true", "1 fault; "),
        (
            "columns: {action: a, reward: r, propensity: p}\nactions: many",
            "actions: input should be a valid integer or a valid list",
        ),
        ("columns: {action: a, reward: r, propensity: p}\nactions: 1", "actions: 1; a policy needs at least 2"),
        ("columns: {action: a, reward: r, propensity: p}\nactions: [1, b, 1.0]", "actions: '1' is there 2 times"),
    ],
)
def test_a_wrong_mapping_says_what_to_mend(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mapping.yaml").write_text(text)
    with pytest.raises(ParamsError) as caught:
        load_decisions_mapping(tmp_path / "mapping.yaml")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (None, SourceError, "is neither built in (uniform, best_action, greedy) nor a file"),
        (pd.DataFrame({"target_propensity": [0.5]}), SchemaError, "1 rows, the log has 3000"),
        (pd.DataFrame({"red": np.full(3000, 0.5), "green": 0.5}), SchemaError, "of 3 actions 1 are missing, first blue"),
        (pd.DataFrame({"red": np.full(3000, 0.5), "green": 0.5, "blue": 0.1}), SchemaError, "3000 rows do not sum to 1"),
        (pd.DataFrame({"target_propensity": np.full(3000, 1.5)}), SchemaError, "are no probability in [0, 1]; first: row 1"),
    ],
)
def test_a_wrong_policy_says_what_to_mend(tmp_path: Path, target: pd.DataFrame | None, error: type[AdloomError], message: str) -> None:
    path = own_log(tmp_path)
    if target is not None:
        target.to_csv(tmp_path / "target.csv", index=False)
    with pytest.raises(error) as caught:
        answered(path, str(tmp_path / "target.csv"))
    assert message in str(caught.value)


def test_a_log_with_one_action_or_mostly_unusable_rows_is_refused(tmp_path: Path) -> None:
    path = own_log(tmp_path)
    pd.read_csv(path).query("banner == 'red'").to_csv(path, index=False)
    with pytest.raises(EvidenceError, match="there is one action only, 'red'"):
        answered(path, "uniform")
    pd.read_csv(own_log(tmp_path)).assign(p=0).to_csv(path, index=False)
    with pytest.raises(SchemaError, match=r"3000 of 3000 rows cannot be used \(limit 20%\)"):
        answered(path, "uniform")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("columns: {action: none, propensity: p, reward: clicked}", SchemaError),
        ("columns: {action: banner, propensity: p, reward: town}", SchemaError),
        ("columns: {action: banner, propensity: p, reward: p}\nvalues: {action: {red: x, green: x, blue: x}}", EvidenceError),
        ("columns: {action: banner, propensity: p, reward: clicked}\nactions: 2", SchemaError),
        ("columns: {action: banner, propensity: p, reward: clicked}\nformat: parquet", SourceError),
        ("columns: {action: banner, propensity: p, reward: clicked}\nencoding: klingon", SourceError),
        ("columns: {action: banner, propensity: p}", ParamsError),
    ],
)
def test_every_error_of_a_log_names_the_mapping_it_was_read_with(tmp_path: Path, text: str, error: type[AdloomError]) -> None:
    path, other = own_log(tmp_path), tmp_path / "other.yaml"
    text += "\n" if "values" in text else "\nvalues: {reward: {'yes': 1, 'no': 0}}\n"
    for mapping in (tmp_path / "mapping.yaml", other):
        mapping.write_text(text)
    with pytest.raises(error) as unasked:
        answered(path, "uniform")
    assert str(tmp_path / "mapping.yaml") in str(unasked.value)
    with pytest.raises(error) as asked:
        answered(path, "uniform", mapping=other)
    assert str(other) in str(asked.value)
    assert "beside the log" not in str(asked.value)
    assert answered(own_log(tmp_path), "uniform").as_dict()["mapping"] == str(tmp_path / "mapping.yaml")
    assert error is ParamsError or "--mapping FILE takes another" in str(unasked.value)


def test_no_row_is_predicted_by_a_model_that_saw_its_user() -> None:
    users = np.repeat(np.arange(30), 4)
    fold = folds_by_user(users, 5, np.random.default_rng(0))
    assert all(len(np.unique(fold[users == user])) == 1 for user in range(30))
    assert np.bincount(fold).tolist() == [24] * 5

    class Remembers:
        def fit(self, rows, answers):
            self.seen = set(answers)
            return self

        def predict(self, rows):
            return np.array([min(self.seen)] * len(rows))

    answers = fold.astype(float) + np.linspace(0, 0.1, 120)
    found = cross_fitted(Remembers, np.zeros((120, 1)), np.zeros(120, dtype=int), answers, actions=2, fold=fold)
    assert (found[fold == 0] >= 1).all()
    with pytest.raises(ValueError, match="40 folds for 30 users"):
        folds_by_user(users, 40, np.random.default_rng(0))


def test_the_command_prints_every_estimator_or_the_refusal_and_its_code_says_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(width=200)
    path = own_log(tmp_path)
    asked = {"mapping": None, "seed": 1, "replications": 100}
    assert show_policy_value(console, path, "uniform", as_json=False, **asked) == 0
    shown = capsys.readouterr().out
    assert all(
        name in shown for name in (*ESTIMATORS, "effective sample size", "Bernstein", "largest weight", "support", "standard errors off")
    )
    assert show_policy_value(console, path, "uniform", as_json=True, **asked) == 0
    assert set(json.loads(capsys.readouterr().out)["estimators"]) == set(ESTIMATORS)
    assert show_policy_value(console, own_log(tmp_path, rows=90), "greedy", as_json=False, **asked) == 3
    shown = capsys.readouterr().out
    assert "refused: not enough evidence" in shown
    assert "Bernstein" not in shown


def test_a_log_whose_rewards_are_all_equal_is_said_to_tell_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = own_log(tmp_path)
    path.write_text(path.read_text().replace(",yes", ",no"))
    show_policy_value(Console(width=200), path, "uniform", mapping=None, seed=1, replications=100, as_json=False)
    assert "every reward is 0: where nothing differs the bootstrap cannot tell how far off it is" in capsys.readouterr().out


def test_propensities_of_actions_that_are_too_rare_are_said_to_be_untested(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = own_log(tmp_path, rows=60)
    show_policy_value(Console(width=300), path, "uniform", mapping=None, seed=1, replications=100, as_json=False)
    assert "propensities not tested: none of the actions has 50 rows" in capsys.readouterr().out
