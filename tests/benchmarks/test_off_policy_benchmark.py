"""The benchmark's problems are what they say they are, and its last line is what is promised."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bandit_data import Population, digits, sampled, synthetic
from benchmarks.off_policy import PUBLISHED, main
from benchmarks.open_bandit_logs import answer
from evaluation.off_policy import ESTIMATORS, Refusal, evidence, point_value, policy_values

OPEN_BANDIT = Path(__file__).parents[3] / "shared" / "data" / "open_bandit"


def test_actions_are_drawn_by_their_shares() -> None:
    shares = np.tile([0.2, 0.0, 0.5, 0.3], (20_000, 1))
    counts = np.bincount(sampled(shares, np.random.default_rng(0)), minlength=4) / 20_000
    assert counts[1] == 0
    np.testing.assert_allclose(counts, shares[0], atol=4 * np.sqrt(0.25 / 20_000))


def test_in_the_synthetic_problem_the_logging_policy_prefers_bad_actions_and_the_naive_mean_loses() -> None:
    problem = synthetic(1, rounds=3000, actions=10)
    assert problem.log.rewards.mean() < problem.truth - 0.03
    assert abs(point_value(problem.log, "dr") - problem.truth) < 0.03
    assert synthetic(1, rounds=3000, actions=10).truth == problem.truth


def test_in_the_digits_problem_weights_are_those_of_the_two_mixtures() -> None:
    problem = digits(0)
    assert len(problem.log.rewards) == 1258
    assert evidence(problem.log).largest_weight == pytest.approx(0.91 / 0.06)
    assert set(np.round(np.unique(problem.log.logging_propensity), 6)) == {0.06, 0.46}


def test_the_populations_truth_is_that_of_its_logs() -> None:
    population = Population(shoppers=3000)
    values = [point_value(population.log(300, np.random.default_rng(seed)), "ips") for seed in range(40)]
    assert abs(np.mean(values) - population.truth) < 4 * np.std(values) / np.sqrt(40)


def test_a_hopeless_log_is_refused() -> None:
    population = Population(shoppers=3000)
    log = population.log(10, np.random.default_rng(0))
    assert all(isinstance(given, Refusal) for given in policy_values(log, rng=np.random.default_rng(0), replications=10).values())


@pytest.mark.slow
def test_the_last_line_holds_everything(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--runs", "2", "--replications", "4", "--workers", "1"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found) == {"runs", "synthetic", "digits", "coverage", "bars"}
    for name, row in PUBLISHED.items():
        assert set(found[name]) == set(ESTIMATORS)
        assert all(found[name][estimator]["published"] == value for estimator, value in row.items())
    assert {"bootstrap", "bernstein", "refused"} < set(found["coverage"]["dr"])


@pytest.mark.skipif(not OPEN_BANDIT.is_dir(), reason="../shared/data/open_bandit is not there")
def test_a_real_log_answers_for_the_policy_beside_it_or_refuses() -> None:
    found = answer(OPEN_BANDIT, "men", "random", "bts")
    assert found["holds"]
    assert set(found["estimators"]) == set(ESTIMATORS)
