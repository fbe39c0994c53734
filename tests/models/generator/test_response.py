"""The response model: audiences are told by the manner that they click on, not by what they are shown."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from models.cues import CUES
from models.generator.response import ResponseModel, fit_response

END = datetime(2026, 10, 1, tzinfo=UTC)
USERS = pd.DataFrame({"user_id": [f"u{n}" for n in range(60)], "audience_id": [f"a{n % 3}" for n in range(60)]})


def log(copies, click, n=30_000, seed=1, moment="2026-09-20"):
    """Impressions of random copies to random shoppers; ``click`` gives the chance by audience and copy."""
    rng = np.random.default_rng(seed)
    user, copy = rng.integers(60, size=n), rng.integers(len(copies), size=n)
    p = np.array([click(u % 3, copies[c]) for u, c in zip(user.tolist(), copy.tolist(), strict=True)])
    return pd.DataFrame(
        {
            "user_id": [f"u{u}" for u in user],
            "creative_id": [copies[c].copy_id for c in copy],
            "position": 0,
            "click": rng.random(n) < p,
            "timestamp": pd.Timestamp(moment, tz="UTC"),
        }
    )


def loud(copy):
    return "！" in copy.text or "～" in copy.text


@pytest.fixture(scope="module")
def model(shop):
    return fit_response(shop.copies, log(shop.copies, lambda a, c: 0.25 if a == 1 and loud(c) else 0.08), USERS, END)


def test_a_manner_that_one_audience_clicks_on_is_found_and_speaks_to_it(shop, model):
    assert model.personal[:, CUES.index("exclamation")].argmax() == 1
    shares = model.belonging([copy.text for copy in shop.copies], [copy.request for copy in shop.copies])
    assert shares.sum(1) == pytest.approx(np.ones(len(shop.copies)))
    noisy = np.array([loud(copy) for copy in shop.copies])
    assert shares[noisy, 1].mean() > 0.6
    assert shares[~noisy, 1].mean() < 0.3


def test_being_shown_more_of_a_product_says_nothing(shop):
    seen = log(shop.copies, lambda a, c: 0.1)
    categories = sorted({copy.request.category for copy in shop.copies})
    of = {copy.copy_id: categories.index(copy.request.category) for copy in shop.copies}
    audience = seen["user_id"].str[1:].astype(int) % 3
    biased = seen[(seen["creative_id"].map(of) % 3 == audience) | (seen.index % 10 == 0)]
    found = fit_response(shop.copies, biased, USERS, END)
    assert np.abs(found.personal).max() < 0.15


def test_the_fit_of_a_text_is_its_share_for_a_known_audience_and_full_for_everyone(shop, model):
    request = shop.copies[0].request
    texts = ["快来看看吧！好开心～一起出发！", "采用网布材质，规格标准。"]
    own = model.fit_of(texts, request.placed("product", "onsite", "a1"))
    assert own[0] > own[1]
    assert model.fit_of(texts, request).tolist() == [1, 1]
    assert model.fit_of(texts, request.placed("product", "onsite", "stranger")).tolist() == [1, 1]


def test_without_shoppers_or_clicks_or_before_the_end_nothing_is_known(shop):
    nobody = fit_response(shop.copies, log(shop.copies, lambda a, c: 0.5, n=50), USERS[:0], END)
    assert nobody.audiences == ()
    assert nobody.belonging(["好"], [shop.copies[0].request]).shape == (1, 0)
    for seen in (log(shop.copies, lambda a, c: 0.0, n=50), log(shop.copies, lambda a, c: 0.9, n=50, moment="2026-10-02")):
        found = fit_response(shop.copies, seen, USERS, END)
        assert found.clicks == 0
        assert found.belonging(["好"], [shop.copies[0].request]) == pytest.approx(np.full((1, 3), 1 / 3))


def test_a_model_comes_back_as_it_was_saved(shop, model, tmp_path):
    model.save(tmp_path / "response.safetensors")
    again = ResponseModel.load(tmp_path / "response.safetensors", model.audiences)
    texts, requests = [copy.text for copy in shop.copies[:9]], [copy.request for copy in shop.copies[:9]]
    assert again.belonging(texts, requests) == pytest.approx(model.belonging(texts, requests))
    assert again.clicks == model.clicks > 0
