"""The other side of `python -m benchmarks.generation` is the same network."""

from benchmarks.generation import Case


def test_generate_of_transformers_writes_the_greedy_texts_of_our_sampler(shop):
    requests = [copy.request for copy in shop.copies[:: len(shop.copies) // 5][:5]]
    case = Case(shop.model(), requests, 2, 0.8, 0.95)
    ours = case.ours(0, greedy=True)
    assert ours == case.theirs(0, greedy=True)
    assert any(ours)
