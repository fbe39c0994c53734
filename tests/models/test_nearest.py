import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from models.recommender import nearest
from models.recommender.nearest import Nearest, top_k


def naive(users: np.ndarray, items: np.ndarray, k: int, excluded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores = np.where(excluded, -np.inf, users @ items.T)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(scores, order, axis=1)
    codes = np.where(np.isneginf(found), -1, order)
    missing = ((0, 0), (0, max(0, k - items.shape[0])))
    return np.pad(codes, missing, constant_values=-1), np.pad(found, missing, constant_values=-np.inf)


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(1, 7),
    n_items=st.integers(1, 400),
    k=st.integers(1, 60),
    levels=st.sampled_from([1, 3, 1000]),
    share=st.sampled_from([0.0, 0.3, 0.99, 1.0]),
    block=st.sampled_from([1, 1000, 1 << 20]),
    seed=st.integers(0, 2**31),
)
def test_exact_search_is_a_stable_sort_of_all_products_with_the_excluded_left_out(
    *, n: int, n_items: int, k: int, levels: int, share: float, block: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)  # whole numbers: products are exact, and there are ties
    users = rng.integers(-levels, levels + 1, size=(n, 3)).astype(np.float32)
    items = rng.integers(-levels, levels + 1, size=(n_items, 3)).astype(np.float32)
    excluded = rng.random((n, n_items)) < share
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "BLOCK_SCORES", block)
        best = top_k(users, items, k, csr_matrix(excluded))
    codes, scores = naive(users, items, k, excluded)
    np.testing.assert_array_equal(best.codes, codes)
    np.testing.assert_array_equal(best.scores, scores)


def factors(n: int, n_items: int, dim: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    scale = (1 + np.arange(dim)) ** -0.5
    made = [(rng.normal(size=(rows, dim)) * scale).astype(np.float32) for rows in (n, n_items)]
    return made[0], made[1] * rng.lognormal(0, 0.3, size=(n_items, 1)).astype(np.float32)


def test_the_index_finds_nearly_what_all_products_find_and_never_what_is_excluded() -> None:
    users, items = factors(40, 3000)
    excluded = np.zeros((40, 3000), bool)
    exact = top_k(users, items, 10)
    excluded[np.arange(40)[:, None], exact.codes[:, ::2]] = True  # the best ones, where it hurts
    barred = csr_matrix(excluded)
    found = Nearest(items, exact_up_to=2999).top_k(users, 10, barred)
    wanted = top_k(users, items, 10, barred)
    assert not excluded[np.arange(40)[:, None], found.codes].any()
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.codes, wanted.codes, strict=True)]) > 0.95
    np.testing.assert_allclose(found.scores, (items[found.codes] * users[:, None]).sum(2), rtol=1e-4, atol=1e-5)
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_with_few_items_there_is_no_index_and_the_answer_is_exact() -> None:
    users, items = factors(3, 50)
    search = Nearest(items, exact_up_to=50)
    assert search.graph is None
    np.testing.assert_array_equal(search.top_k(users, 5).codes, top_k(users, items, 5).codes)


def test_when_the_index_has_too_few_left_the_answer_is_exact() -> None:
    users, items = factors(2, 30)
    excluded = np.ones((2, 30), bool)
    excluded[0, [4, 9]] = False
    found = Nearest(items, exact_up_to=10).top_k(users, 3, csr_matrix(excluded))
    assert sorted(found.codes[0].tolist()) == [-1, 4, 9]
    assert found.codes[1].tolist() == [-1, -1, -1]


def test_shapes_that_do_not_fit_are_refused() -> None:
    users, items = factors(2, 30)
    with pytest.raises(ValueError, match="k is 0; at least 1"):
        top_k(users, items, 0)
    with pytest.raises(ValueError, match=r"excluded has shape \(1, 30\); .*\(2, 30\)"):
        top_k(users, items, 1, csr_matrix((1, 30)))
    with pytest.raises(ValueError, match=r"users \(2, 11\) and items \(30, 12\) do not fit"):
        top_k(users[:, :11], items, 1)
