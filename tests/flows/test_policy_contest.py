"""A challenger policy is promoted on evidence, refused with what it lacks, ended when it harms, and taken back when clicks fall."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from core.errors import BundleError, RegistryError
from flows.console import roll_back_model
from flows.contest import Contest, challenge, withdraw
from flows.guard import guard
from flows.policies import judge_challenger, watch
from models.policies import served
from models.policies.served import ServedPolicy
from registry.ledger import Ledger, roll_back
from registry.models import CHALLENGER, CHAMPION, POLICY, Registry
from serving.database import Database
from serving.decision_log import DECISION_COLUMNS
from serving.policies import in_canary

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)
ROOT = Path(__file__).parents[2]
ACTIONS, POSITIONS, FLOOR = 6, 2, 0.2
HOUR = 3_600_000_000
SHARE = 0.3


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A project with a registry of its own (made once: MLflow lays its tables for seconds)."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
    patch = pytest.MonkeyPatch()
    for name in ("MLFLOW_TRACKING_URI", "ADLOOM_LOG_URL"):
        patch.delenv(name, raising=False)
    patch.setenv("ADLOOM_CACHE", str(folder / "cache"))
    yield folder
    patch.undo()


@pytest.fixture(autouse=True)
def new_log(root):
    shutil.rmtree(root / "data" / "live", ignore_errors=True)


def distribution(scores, above):
    """Best of what is left, with a floor."""
    left = np.ones_like(scores, dtype=bool)
    if above is not None:
        left[np.arange(len(scores)), above] = False
    best = np.where(left, scores, -np.inf).argmax(axis=1)
    p = FLOOR * left / left.sum(axis=1, keepdims=True)
    p[np.arange(len(scores)), best] += 1 - FLOOR
    return p


class Market:
    """Shoppers who click by what they are shown, and a service that logs what both policies thought of it."""

    def __init__(self, root, champion, challenger=None, *, champion_noise=1.0, challenger_noise=1.0, salt="", share=SHARE):
        self.root, self.salt, self.share = root, salt, share
        self.versions = (champion.version, challenger.version if challenger else None)
        self.noise = (champion_noise, challenger_noise)

    def serve(self, slates, *, seed, hours_ago, level=1.0):
        rng = np.random.default_rng(seed)
        users = [f"user {number}" for number in rng.integers(slates // 4, size=slates)]
        alone = self.versions[1] is None
        canary = np.array([not alone and in_canary(user, salt=self.salt, share=self.share) for user in users])
        quality, error = rng.normal(size=(slates, ACTIONS)), rng.normal(size=(slates, ACTIONS))
        truth = level / (1 + np.exp(2.0 - quality))
        scores = [quality + noise * error for noise in self.noise]
        rows, clicks, above, start = [], [], None, time.time_ns() // 1000 - round(hours_ago * HOUR)
        everyone = np.arange(slates)
        for position in range(POSITIONS):
            champion, challenger = (distribution(score, above) for score in scores)
            mine = np.where(canary[:, None], challenger, champion)
            other = np.where(canary[:, None], champion, challenger)
            shown = (mine.cumsum(axis=1) > rng.random((slates, 1))).argmax(axis=1)
            clicked = rng.random(slates) < truth[everyone, shown]
            for row in range(slates):
                name, rival = self.versions if not canary[row] else self.versions[::-1]
                thought = [rival, self.share, other[row, shown[row]], mine[row] @ truth[row], other[row] @ truth[row]]
                moment = start + row * 1000
                request = f"{seed}-{row}"
                rows.append((row, position, {
                    "request_id": request, "position": position, "timestamp": moment, "user_id": users[row], "scene": "product",
                    "channel": "onsite", "candidates": json.dumps([f"c{code}" for code in range(ACTIONS)]), "creative_id": f"c{shown[row]}",
                    "item_id": "p", "propensity": mine[row, shown[row]], "propensity_marginal": None, "policy_version": f"{name}/1-2-3",
                    "model_version": "m", "retrieval_version": "r", "p_click": truth[row, shown[row]], "p_convert": 0.1,
                    "bid_micros": 1, "ecpm_micros": 1, "campaign_id": None, "budget_left_micros": None, "consent": 1, "replayable": 1,
                    "key_fingerprint": "k",
                    "beside": None if alone else json.dumps(thought),
                }))  # fmt: skip
                if clicked[row]:
                    clicks.append((f"{request}-{position}", request, position, "click", 0, moment + 1000, ""))
            above = shown
        rows.sort(key=lambda one: one[:2])
        database = Database(self.root / "data" / "live" / "serving.sqlite")
        with database.transaction() as writer:
            insert = f"INSERT INTO decisions ({', '.join(DECISION_COLUMNS)}) VALUES ({', '.join('?' * len(DECISION_COLUMNS))})"
            writer.executemany(insert, [tuple(held.get(name) for name in DECISION_COLUMNS) for _, _, held in rows])
            columns = "event_id, request_id, position, kind, value_micros, timestamp, digest"
            writer.executemany(f"INSERT INTO feedback ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", clicks)
        database.close()


def begin(root, exploration, **noise):
    """A new challenger against whoever is champion, and its market."""
    policy = ServedPolicy("epsilon_greedy", exploration)
    challenge(root, policy)
    contest = Contest(root)
    champion, challenger = contest.held(CHAMPION), contest.held(CHALLENGER)
    assert challenger.policy == policy
    return champion, challenger, Market(root, champion.policy, policy, salt=challenger.registered.bundle_hash, **noise)


def actions(root):
    registry = Registry(root)
    return [(entry.action, entry.version) for entry in Ledger(registry, root).entries(POLICY)]


def test_the_first_challenge_makes_the_policy_of_params_champion_and_too_little_data_is_refused_with_what_it_lacks(root):
    assert watch(root) == []  # nobody has a registry yet, and none is made for it
    assert not (root / "mlruns").exists()
    with pytest.raises(RegistryError, match=r"the policy of params.yaml \(epsilon-greedy-0.1\) serves already; a challenger is another"):
        challenge(root, ServedPolicy("epsilon_greedy", 0.1))
    assert actions(root) == []  # who asked for nothing new has changed nothing
    champion, challenger, market = begin(root, 0.31)
    assert champion.policy == ServedPolicy("epsilon_greedy", 0.1)
    assert actions(root) == [("promoted", 1), ("challenged", 2)]
    entry = judge_challenger(root)
    assert entry.action == "refused"
    assert "0 slates with the propensities of both policies" in entry.reasons[0]
    assert "500 more are needed for the first look at 500" in entry.reasons[0]
    market.serve(120, seed=1, hours_ago=5)
    market.serve(50, seed=2, hours_ago=0.1)  # their clicks may still come
    assert "120 slates" in judge_challenger(root).reasons[0]
    assert "380 more" in judge_challenger(root).reasons[0]
    assert actions(root)[2:] == [("refused", 2)]  # once, however often it is asked
    with pytest.raises(RegistryError, match="challenges already"):
        challenge(root, challenger.policy)
    with pytest.raises(RegistryError, match="is champion; a challenger is another policy"):
        challenge(root, champion.policy)


def test_a_worse_challenger_is_refused_with_its_figures(root):
    champion, challenger, market = begin(root, 0.32, champion_noise=0.4, challenger_noise=0.8)
    market.serve(1500, seed=3, hours_ago=5)
    entry = judge_challenger(root)
    assert (entry.action, entry.version) == ("refused", challenger.registered.version)
    assert "the lower end must be above 0" in entry.reasons[0]
    assert entry.verdict["slates"] == 1429  # 500 · 1.3⁴, rounded up
    assert entry.verdict["effective_slates"]["challenger"] > 200
    assert entry.verdict["gates"][1]["difference"]["value"] < 0
    assert entry.verdict["canary_share"] == pytest.approx(SHARE)
    contest = Contest(root)
    assert contest.held(CHAMPION) == champion
    assert contest.held(CHALLENGER) == challenger
    before = len(actions(root))
    judge_challenger(root)
    assert len(actions(root)) == before
    market.serve(500, seed=4, hours_ago=4)  # another look
    judge_challenger(root)
    assert len(actions(root)) == before + 1


def test_a_better_challenger_is_promoted_and_rolled_back_when_clicks_fall_below_the_level_before(root):
    champion, challenger, market = begin(root, 0.33, champion_noise=3.0, challenger_noise=0.3)
    market.serve(4000, seed=5, hours_ago=20)
    found = watch(root)
    assert [(entry.action, entry.version) for entry in found] == [("promoted", challenger.registered.version)]
    assert found[0].verdict["gates"][1]["difference"]["low"] > 0
    assert "clicks a slate against" in found[0].reasons[0]
    contest = Contest(root)
    assert (contest.held(CHAMPION), contest.held(CHALLENGER)) == (challenger, None)
    alone = Market(root, challenger.policy, champion_noise=0.3)
    alone.serve(600, seed=6, hours_ago=10)
    assert guard(root) == []  # as good as it was promised to be
    alone.serve(1200, seed=7, hours_ago=8, level=0.3)
    entry = guard(root)[0]
    assert (entry.action, entry.version, entry.before) == ("rolled back", champion.registered.version, challenger.registered.version)
    assert "clicks an impression fell" in entry.reasons[0]
    assert entry.verdict["difference"]["high"] < 0
    assert contest.held(CHAMPION) == champion
    assert guard(root) == []


def test_a_policy_is_rolled_back_by_hand_as_a_model_is(root):
    champion, challenger, market = begin(root, 0.34, champion_noise=3.0, challenger_noise=0.3)
    market.serve(4000, seed=8, hours_ago=20)
    assert judge_challenger(root).action == "promoted"
    entry = roll_back(root, POLICY, reason="complaints")
    assert (entry.version, entry.before) == (champion.registered.version, challenger.registered.version)
    assert Contest(root).held(CHAMPION) == champion
    with pytest.raises(RegistryError, match="no policy challenges the champion"):
        judge_challenger(root)


def test_a_canary_that_harms_is_ended_and_one_that_does_not_goes_on(root):
    _, _, market = begin(root, 0.35, champion_noise=0.5, challenger_noise=0.5)
    market.serve(3000, seed=9, hours_ago=30)
    assert guard(root) == []
    champion, challenger, market = begin(root, 0.36, champion_noise=0.2, challenger_noise=8.0)
    market.serve(3000, seed=10, hours_ago=20)
    (entry,) = watch(root)
    assert (entry.action, entry.version, entry.before) == ("ended", challenger.registered.version, champion.registered.version)
    assert "clicks an impression fell" in entry.reasons[0]
    contest = Contest(root)
    assert (contest.held(CHAMPION), contest.held(CHALLENGER)) == (champion, None)
    assert watch(root) == []


def test_a_challenge_is_withdrawn_by_hand_and_may_be_made_again(root):
    champion, challenger, _ = begin(root, 0.39, champion_noise=0.5, challenger_noise=0.5)
    entry = withdraw(root)
    assert (entry.action, entry.version, entry.before) == ("ended", challenger.registered.version, champion.registered.version)
    contest = Contest(root)
    assert (contest.held(CHAMPION), contest.held(CHALLENGER)) == (champion, None)
    with pytest.raises(RegistryError, match="nothing to withdraw"):
        withdraw(root)
    assert challenge(root, challenger.policy).version == challenger.registered.version


def test_policies_that_this_code_cannot_run_are_challenged_anew_or_withdrawn(root, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(served.NEEDS, "epsilon_greedy", {"slate": 0})
        begin(root, 0.41)
    with pytest.raises(BundleError, match="Challenge with it anew"):
        judge_challenger(root)
    champion, challenger, _ = begin(root, 0.41)
    entries = Contest(root).ledger.entries(POLICY)[-4:]
    assert [entry.action for entry in entries] == ["promoted", "challenged", "promoted", "challenged"]
    assert [entry.version for entry in entries[2:]] == [champion.registered.version, challenger.registered.version]
    assert champion.policy == ServedPolicy("epsilon_greedy", 0.1)
    assert entries[2].reasons == (f"the policy of params.yaml, in the place of policy {entries[0].version}, which this code cannot run",)
    assert guard(root) == []
    monkeypatch.chdir(root)
    with pytest.raises(BundleError, match="it would draw from another distribution"):
        roll_back_model(Console(), POLICY, to=entries[0].version, reason="")
    assert Contest(root).held(CHAMPION) == champion
    monkeypatch.setitem(served.NEEDS, "epsilon_greedy", {"slate": 3})
    assert withdraw(root).version == challenger.registered.version
    entry = challenge(root, champion.policy)  # the very policy that stood: champion again, as this code draws it
    assert (entry.action, entry.before) == ("promoted", None)
    assert Contest(root).held(CHAMPION).policy == champion.policy
    assert guard(root) == []


def test_slates_of_before_a_policy_was_champion_are_not_held_against_the_next(root):
    """A policy of other code may have had its name, and more clicks."""
    contest = Contest(root)
    before = ServedPolicy("epsilon_greedy", 0.42)
    held = contest.register(before)
    Market(root, before, champion_noise=0.3).serve(9000, seed=22, hours_ago=70, level=1.6)
    contest.registry.point(held.registered, CHAMPION)
    contest.write("promoted", held.registered, before=None, reasons=("by hand",))
    Market(root, before, champion_noise=0.3).serve(3000, seed=23, hours_ago=40)
    later = contest.register(ServedPolicy("epsilon_greedy", 0.43))
    contest.registry.point(later.registered, CHAMPION)
    contest.write("promoted", later.registered, before=held.registered, reasons=("by hand",))
    Market(root, later.policy, champion_noise=0.3).serve(3000, seed=24, hours_ago=20)
    assert guard(root) == []


def test_what_was_logged_before_a_challenge_does_not_count_for_it(root):
    _, _, market = begin(root, 0.37, champion_noise=3.0, challenger_noise=0.3)
    market.serve(800, seed=11, hours_ago=20)
    challenge(root, ServedPolicy("epsilon_greedy", 0.38))
    challenge(root, ServedPolicy("epsilon_greedy", 0.37))  # again
    assert "0 slates" in judge_challenger(root).reasons[0]
