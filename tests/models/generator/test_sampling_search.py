import numpy as np
import pytest

from models.generator.gpt import Sampling
from models.generator.sampling_search import Said, SamplingSearch, reward, settings, spread

BASE = Sampling(0.8, 0.95)


def played(best: int, *, gap: float, rounds: int, fall: float = 0.0, seed: int = 3) -> SamplingSearch:
    rng, search = np.random.default_rng(seed), SamplingSearch(settings(BASE, [0.85, 1.0, 1.15], [1.0, 3.0]))
    for number in range(rounds):
        dealt = search.deal(250, rng)
        search.learn(dealt, 0.6 - fall * number + gap * (dealt == best) + 0.3 * rng.standard_normal(250))
    return search


def test_settings_lie_around_what_held_out_copy_chose_and_that_one_is_first() -> None:
    found = settings(BASE, [0.85, 1.0, 1.15], [1.0, 3.0])
    assert found[0] == BASE
    assert [(round(arm.temperature, 2), arm.guidance) for arm in found] == [(0.8, 1.0), (0.68, 1.0), (0.92, 1.0), (0.8, 3.0)]
    assert settings(BASE, [1.0], [1.0]) == (BASE,)


def test_the_first_round_gives_every_setting_its_share() -> None:
    search = SamplingSearch(settings(BASE, [0.85, 1.15], [3.0]))
    assert np.bincount(search.deal(250, np.random.default_rng(0))).tolist() == [63, 63, 62, 62]


@pytest.mark.parametrize("best", [0, 1, 3])
def test_a_setting_that_is_worth_more_writes_most_of_the_later_rounds(best: int) -> None:
    search = played(best, gap=0.15, rounds=6)
    assert search.counts.argmax() == best
    assert search.counts[best] > 0.6 * search.counts.sum()


def test_settings_that_are_worth_the_same_go_on_sharing() -> None:
    shares = np.mean([played(0, gap=0.0, rounds=6, seed=seed).counts for seed in range(20)], 0) / 1500
    assert (np.abs(shares - 0.25) < 0.08).all()


def test_rounds_that_grow_worse_for_all_do_not_speak_against_those_that_write_late() -> None:
    search = played(2, gap=0.15, rounds=6, fall=0.1)
    assert search.counts.argmax() == 2


def test_what_is_told_of_a_setting_covers_its_true_lead() -> None:
    arms = played(1, gap=0.1, rounds=8).summary()
    low, high = arms[1]["beyond_mean"]
    assert low < 0.075 < high  # 0.1 beyond three others that are alike
    assert sum(arm["slots"] for arm in arms) == 2000


def test_one_setting_costs_no_random_number() -> None:
    rng, same = np.random.default_rng(1), np.random.default_rng(1)
    assert not SamplingSearch((BASE,)).deal(10, rng).any()
    assert rng.random() == same.random()


def test_the_few_that_are_kept_say_different_things() -> None:
    texts = ["轻便透气的跑鞋", "轻便透气的跑鞋子", "雨天也不打滑"]
    assert spread(texts, [0.9, 0.89, 0.6], 2) == [0, 2]
    assert spread(texts, [0.9, 0.89, 0.6], 9) == [0, 2, 1]
    assert spread([], [], 2) == []


def test_what_the_category_says_already_is_not_new() -> None:
    said = Said()
    assert said.newness("轻便透气的跑鞋", "鞋") == 1.0
    said.add(["轻便透气的跑鞋"], "鞋")
    assert said.newness("轻便透气的跑鞋", "鞋") == 0.0
    assert 0 < said.newness("轻便透气又好看", "鞋") < 1
    assert said.newness("轻便透气的跑鞋", "帽") == 1.0
    assert said.newness("好", "鞋") == 1.0


def test_a_slot_that_wanted_two_texts_and_got_one_is_worth_half() -> None:
    assert reward([0.8], [1.0], 2) == pytest.approx(reward([0.8, 0.8], [1.0, 1.0], 2) / 2)
    assert reward([0.8], [0.2], 1) < reward([0.8], [0.9], 1)
    assert reward([], [], 2) == 0.0


def test_nothing_much_worse_than_the_best_is_kept_beside_it() -> None:
    texts = ["轻便又耐看的背包", "轻便又耐看的背包呀", "出门带上它就好", "不知所云的话"]
    assert spread(texts, [1.0, 0.95, 0.7, 0.3], 3) == [0, 2, 1]
    assert spread(texts, [0.4, 0.0, 0.0, 0.3], 4) == [0, 3]
    assert spread(texts, [0.0, 0.0, 0.0, 0.0], 1) != []
    assert spread([], [], 2) == []
