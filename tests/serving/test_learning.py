"""Learning while serving: what is counted, when it is believed, and that a decision can be replayed."""

import time
from collections import Counter
from datetime import timedelta

import numpy as np
import pytest
import tiny_shop as tiny
from service_runs import running
from tiny_ranker import train_ranker

from models.policies.slate import slate
from serving.clock import moment
from serving.counting import Counting, Mark
from serving.learning import Learning
from serving.store import UnavailableError


@pytest.fixture
def learning_shop(shop):
    train_ranker(shop)
    return shop


def settings_of(shop, **changed):
    return tiny.settings_in(shop, policy="linear_thompson", **changed)


def held(client) -> Learning:
    return client.app.state.champions.current.learning


def ask(client, user="u1", **body):
    return client.post("/v1/ads", json={"user_id": user, "k": 2} | body).json()


def click(client, answer, position=0, name=None):
    told = {"type": "click", "event_id": name or f"c-{answer['request_id']}-{position}", "request_id": answer["request_id"]}
    assert client.post("/v1/events", json={"events": [told | {"position": position}]}).status_code == 200


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


def as_numbers(beliefs):
    return beliefs.version, beliefs.impressions, beliefs.clicks, beliefs.mean.tolist(), beliefs.bank.tolist()


def test_a_click_changes_the_posterior_within_a_second(learning_shop):
    with running(settings_of(learning_shop)) as client:
        shown = ask(client)
        time.sleep(1.0)  # the first rounds are over
        before = held(client).current
        row = [str(name) for name in client.app.state.champions.current.pool.creative_id].index(shown["slate"][0]["creative_id"])
        click(client, shown)
        wait_for(lambda: held(client).current.clicks == before.clicks + 1, 1.0)
        assert held(client).current.mean[row] > before.mean[row]
        assert ask(client)["versions"]["policy"] == held(client).current.version != before.version


def test_an_impression_without_a_click_changes_the_posterior_at_once(learning_shop):
    with running(settings_of(learning_shop)) as client:
        before = held(client).current
        shown = ask(client)
        rows = client.app.state.champions.current.pool.rows_of([ad["creative_id"] for ad in shown["slate"]])
        held(client).catch_up()
        after = held(client).current
        assert (after.impressions, after.clicks) == (2, 0)
        assert all(after.mean[row] < before.mean[row] for row in rows)
        click(client, shown, 1)
        held(client).catch_up()
        assert (held(client).current.impressions, held(client).current.clicks) == (2, 1)


def test_the_click_rate_that_is_learnt_from_fresh_traffic_is_the_one_that_was_seen(learning_shop):
    with running(settings_of(learning_shop)) as client:
        for turn in range(20):
            shown = ask(client, f"u{turn}")
            if turn % 5 == 0:
                click(client, shown)
        held(client).catch_up()
        assert (held(client).current.impressions, held(client).current.clicks) == (40, 4)


def test_a_reading_that_breaks_off_counts_nothing_twice(learning_shop):
    class Breaking:
        def __init__(self, reader):
            self.reader = reader

        def execute(self, statement, values=()):
            if "FROM feedback f" in statement:
                raise UnavailableError("gone in the midst")
            return self.reader.execute(statement, values)

    with running(settings_of(learning_shop)) as client:
        click(client, ask(client))
        counting = held(client)._fresh()
        with client.app.state.storage.store.aside() as reader:
            with pytest.raises(UnavailableError):
                counting.read(Breaking(reader))
            assert counting.read(reader)
        counts = counting.counts()
        assert (counts.shown.sum(), counts.clicked.sum()) == (2, 1)


def test_each_position_counts_one_click_however_often_it_is_told(learning_shop):
    wall = tiny.Wall()
    with running(settings_of(learning_shop), wall) as client:
        shown = ask(client)
        click(client, shown, 0, "first")
        click(client, shown, 0, "first")
        click(client, shown, 0, "second")
        bought = {"type": "conversion", "event_id": "b", "request_id": shown["request_id"], "position": 0, "value_micros": 5}
        assert client.post("/v1/events", json={"events": [bought]}).status_code == 200
        held(client).catch_up()
        click(client, shown, 0, "third")
        held(client).catch_up()
        assert (held(client).current.impressions, held(client).current.clicks) == (2, 1)


def test_a_restart_keeps_what_was_learnt(learning_shop):
    settings, wall = settings_of(learning_shop), tiny.Wall()
    with running(settings, wall) as client:
        for turn in range(12):
            shown = ask(client, f"u{turn % 3}")
            if turn % 2:
                click(client, shown, turn % 4 // 2)
            held(client).catch_up()
            wall.pass_by(timedelta(minutes=7))
        held(client).catch_up()
        live = as_numbers(held(client).current)
    with running(settings, wall) as client:
        again = held(client).current
        assert again.impressions == live[1] > 10
        assert as_numbers(held(client).replay(live[0])) == live
        assert again.clicks == live[2] == 6


def test_decisions_without_consent_teach_nothing(learning_shop):
    wall = tiny.Wall()
    with running(settings_of(learning_shop), wall) as client:
        click(client, ask(client, consent=False))
        held(client).catch_up()
        assert held(client).current.impressions == 0


def test_another_ranker_begins_without_the_old_one_s_counts(learning_shop):
    settings, wall = settings_of(learning_shop), tiny.Wall()
    with running(settings, wall) as client:
        click(client, ask(client))
        held(client).catch_up()
        assert held(client).current.clicks == 1
        row = client.app.state.champions.current.learning._correction.row
        other = Counting(row, "ranker-another")
        with client.app.state.storage.store.aside() as reader:
            assert not other.read(reader)


def test_a_logged_decision_is_replayed_with_equal_numbers(learning_shop):
    settings, wall = settings_of(learning_shop), tiny.Wall()
    with running(settings, wall) as client:
        answers = []
        for turn in range(16):
            answers.append(ask(client, f"u{turn % 2}", k=3))
            if turn % 3 == 0:
                click(client, answers[-1], turn % 2)
            held(client).catch_up()
            wall.pass_by(timedelta(minutes=9))
        assert len({answer["versions"]["policy"] for answer in answers}) > 8
        models = client.app.state.champions.current
        for answer in answers[::5]:
            beliefs = models.learning.replay(answer["versions"]["policy"])
            assert beliefs.version == answer["versions"]["policy"]
            rows = tiny.decisions(settings, answer["request_id"])
            again = models.decider.decide_all([asked(models, settings, rows, beliefs, k=3)])[0]
            assert [choice.creative_id for choice in again.choices] == [row["creative_id"] for row in rows]
            for choice, row in zip(again.choices, rows, strict=True):
                assert choice.propensity == pytest.approx(row["propensity"], rel=1e-9)
                assert choice.marginal == pytest.approx(row["propensity_marginal"], rel=1e-9)
                assert choice.p_click == pytest.approx(row["p_click"], rel=1e-6)


def asked(models, settings, rows, beliefs, *, k, seed=None):
    import uuid

    from models.decision import Ask
    from serving.state import OnlineState
    from serving.storage import open_store

    database = open_store(settings)
    state, now = OnlineState(database, max_events=100), rows[0]["timestamp"]
    user = rows[0]["user_id"]
    history, responses = state.history(user, now), state.responses(user, now)
    database.close()
    return Ask(
        history=history,
        scene=rows[0]["scene"],
        channel=rows[0]["channel"],
        k=k,
        now=moment(now),
        exploration=settings.params.exploration,
        rng=np.random.default_rng(uuid.UUID(rows[0]["request_id"]).int if seed is None else seed),
        size=settings.params.candidates,
        responses=responses,
        beliefs=beliefs,
    )


def test_a_decision_s_candidates_are_drawn_as_often_as_their_propensities_say(learning_shop):
    settings = settings_of(learning_shop)
    with running(settings) as client:
        for turn in range(20):
            click(client, ask(client, f"u{turn}"), turn % 2)
        held(client).catch_up()
        models, beliefs = client.app.state.champions.current, held(client).current
        one = asked(models, settings, tiny.decisions(settings, ask(client)["request_id"]), beliefs, k=1)
        models.decider.decide_all([one])
        rows, predicted = candidates_of(models, one)
    mean, draws = beliefs.p_click(rows, predicted, np.random.default_rng(1))
    rng, runs = np.random.default_rng(2), 4000
    told, seen = {}, Counter()
    for _ in range(runs):
        drawn = slate(draws, 1, 0.2, rng)
        told[int(drawn.indices[0])] = float(drawn.propensity[0])
        seen[int(drawn.indices[0])] += 1
    assert sum(told.values()) == pytest.approx(1.0)
    assert min(told.values()) == pytest.approx(0.2 / len(rows))
    for index, propensity in told.items():
        assert seen[index] / runs == pytest.approx(propensity, abs=4 * np.sqrt(propensity * (1 - propensity) / runs))
    assert mean.shape == (len(rows),)


def candidates_of(models, one):
    decision = models.decider.decide_all([one])[0]
    index = {str(name): row for row, name in enumerate(models.pool.creative_id)}
    rows = np.array([index[name] for name in decision.candidates])
    return rows, np.linspace(0.05, 0.3, len(rows))


def test_without_clicks_the_ranker_s_own_order_is_the_mean(learning_shop):
    with running(settings_of(learning_shop)) as client:
        beliefs = held(client).current
        assert beliefs.impressions == 0
        assert np.abs(beliefs.mean).max() == 0
        assert 0.005 < min(beliefs.widths) <= max(beliefs.widths) < 0.3


def test_the_ranker_alone_decides_when_params_say_so(learning_shop):
    with running(tiny.settings_in(learning_shop)) as client:
        assert held(client) is None
        assert ask(client)["versions"]["policy"] == "epsilon-greedy-0.2"


def test_a_mark_is_read_back_and_another_policy_s_version_is_refused(learning_shop):
    assert Mark.parse(str(Mark(3, 4))) == Mark(3, 4)
    with running(settings_of(learning_shop)) as client:
        with pytest.raises(ValueError, match="epsilon-greedy"):
            held(client).replay("epsilon-greedy-0.2")
        with pytest.raises(ValueError, match="counted by another rule"):
            held(client).replay("linear-thompson-0.2/3-4-5")
