"""Whether copy for an audience is for it: measured on made copy whose answer is known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from models.generator.request import CopyRequest
from tasks.judge.personal import PersonalCopy, judge_personal, products_of, recognition, true_lift, write_for_audiences

WORDS = ["红绿蓝紫", "快来看呀", "慢慢陪你", "参数说明"]
USERS = pd.DataFrame({"user_id": [f"u{n}" for n in range(30)], "audience_id": [f"a{n % 3}" for n in range(30)]})
FEATURES = {f"a{n}": np.eye(3, dtype=np.float32)[n] for n in range(3)}


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def orders(n: int) -> list[CopyRequest]:
    return [CopyRequest(f"p{row}", f"商品{row}", "类") for row in range(n)]


def made(products: int, *, marked: bool) -> PersonalCopy:
    """Texts of random characters, with the audience's own word when marked."""
    draw = np.random.default_rng(2)

    def text(audience: int) -> str:
        noise = "".join(draw.choice(list("天地玄黄宇宙洪荒日月盈昃"), 8))
        return noise + (WORDS[audience] if marked else "")

    passed = tuple(tuple((text(column),) for column in range(4)) for _ in range(products))
    return PersonalCopy(("a0", "a1", "a2"), tuple(orders(products)), passed, np.ones((products, 4)), np.full((products, 4), 0.8))


def test_marked_copy_is_recognised_and_unmarked_copy_at_chance() -> None:
    told, untold = recognition(made(40, marked=True), 200, rng()), recognition(made(40, marked=False), 200, rng())
    assert told is not None
    assert untold is not None
    assert told.value > 0.95
    assert untold.low < 1 / 3 < untold.high


def test_too_few_products_say_nothing() -> None:
    assert recognition(made(7, marked=True), 100, rng()) is None


def test_the_lift_is_the_ratio_of_true_click_through_and_never_above_what_the_truth_itself_would_choose() -> None:
    def clicks(shoppers: list[str], products: list[CopyRequest], texts: list[str]) -> np.ndarray:
        own = [WORDS[int(user[1:]) % 3] in text for user, text in zip(shoppers, texts, strict=True)]
        return np.where(own, 0.06, np.where(["参数" in text for text in texts], 0.04, 0.02))

    found = true_lift(made(10, marked=True), USERS, clicks, 100, rng())
    assert found is not None
    assert found["lift"].value == pytest.approx(0.06 / 0.04)
    assert found["headroom"].value == pytest.approx(0.06 / 0.04)
    assert found["ceiling"].value == pytest.approx(0.06 / 0.04)  # the text for everyone is the best for all: (0.06 + 2 · 0.02) / 3 is less


def test_products_without_a_text_for_every_arm_are_left_out() -> None:
    whole = made(3, marked=True)
    holed = PersonalCopy(
        whole.audiences, whole.requests, (whole.passed[0], (*whole.passed[1][:3], ()), whole.passed[2]), whole.accepted, whole.quality
    )
    assert holed.complete == [0, 2]
    assert len(holed.shown(-1)) == 2


class Writer:
    """Writes the audience's word; every second candidate is refused."""

    chosen = "gpt"
    held_out = SimpleNamespace(copies=orders(12), requests=[*orders(12), *orders(12)])

    def write(self, requests: list[CopyRequest], n: int, rng: np.random.Generator, kind: str | None = None) -> list[list[str]]:
        return [
            [f"{request.title}{WORDS[int((request.audience_id or 'a3')[1:])]}{'坏' if row % 2 else row}" for row in range(n)]
            for request in requests
        ]

    def review(self, request: CopyRequest, text: str) -> SimpleNamespace:
        return SimpleNamespace(accepted="坏" not in text, quality=0.5)

    def weights(self, request: CopyRequest, texts: list[str], reviews: dict[str, SimpleNamespace]) -> dict[str, float]:
        return {text: float(text[-1]) for text, review in reviews.items() if review.accepted}


def test_accepted_candidates_are_kept_in_the_order_in_which_the_pool_would() -> None:
    copy = write_for_audiences(Writer(), orders(2), FEATURES, n=4, rng=rng())  # type: ignore[arg-type]
    assert [text[-1] for text in copy.passed[0][0]] == ["2", "0"]
    assert copy.accepted.tolist() == [[0.5] * 4] * 2
    assert WORDS[3] in copy.shown(-1)[0]


def test_all_of_it_is_told_and_nothing_without_audiences() -> None:
    found = judge_personal(Writer(), USERS, FEATURES, None, replications=100, rng=rng())  # type: ignore[arg-type]
    assert (found["products"], found["complete"], found["audiences"]) == (12, 12, 3)
    assert found["recognition"]["value"] > 0.9
    assert "true_ctr_lift" not in found
    assert judge_personal(Writer(), USERS, {}, None, replications=100, rng=rng()) == {}  # type: ignore[arg-type]


def test_one_order_a_product_at_even_steps() -> None:
    assert [request.item_id for request in products_of([*orders(6), *orders(6)], 3)] == ["p0", "p2", "p4"]
