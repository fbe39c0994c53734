import math

import numpy as np
import pytest
import torch

from models.generator import sampling
from models.generator.copy_model import CopyModel
from models.generator.decoder import KeyValues
from models.generator.gpt import GptGenerator, Sampling
from models.generator.latent import LatentTextModel, Projection, conditions, on_sphere
from models.generator.latent_features import means_of
from models.generator.reading import blanked, part_of
from models.generator.sampling import sample
from models.generator.slots import slots_of
from models.generator.vocabulary import BOS, EOS


def some(shop, n):
    return [copy.request for copy in shop.copies[:: len(shop.copies) // n][:n]]


def test_sampling_with_a_cache_sees_the_logits_of_the_whole_text(shop):
    model = shop.model()
    copies = [copy for copy in shop.copies if len(copy.text) > 20][:3]
    prompts, _ = model.prompts([copy.request for copy in copies])
    prompts = prompts.take(torch.arange(3))
    tokens = [model.tokens(copy.pieces)[:9] for copy in copies]
    latent = on_sphere(torch.randn(3, 6, generator=torch.Generator().manual_seed(1)))
    with torch.inference_mode():
        whole = model.decoder(prompts, torch.tensor(tokens), latent)
        state = model.decoder.start(prompts, latent)
        for place in range(9):
            logits, state = model.decoder.step(state, torch.tensor([row[place] for row in tokens]), place)
            torch.testing.assert_close(logits, whole[:, place], atol=1e-5, rtol=1e-4)


def test_the_text_after_a_position_does_not_change_its_logits(shop):
    model = shop.model()
    prompts = model.prompts(some(shop, 2))[0].take(torch.arange(2))
    a, b = torch.tensor([[BOS, 9, 12, 30]] * 2), torch.tensor([[BOS, 9, 44, 31]] * 2)
    with torch.inference_mode():
        torch.testing.assert_close(model.decoder(prompts, a)[:, :2], model.decoder(prompts, b)[:, :2])


@pytest.mark.parametrize("reads", [False, True])
def test_the_decoder_computes_where_its_batch_lies(shop, reads):
    """`meta` stands for a GPU: it refuses tensors of two devices in one product, as a GPU does."""
    elsewhere = torch.device("meta")
    model = shop.model()
    decoder = model.decoder.to(elsewhere).train()
    prompts = model.prompts(some(shop, 4))[0].to(elsewhere)
    tokens = torch.full((4, 9), BOS, device=elsewhere)
    latent = torch.zeros(4, 6, device=elsewhere) if reads else None
    hidden, keys = decoder.hidden(prompts, blanked(tokens, 0.3), latent, torch.zeros(4, dtype=torch.bool, device=elsewhere))
    pointed = decoder._pointed(hidden, keys, prompts.mask[:, 1:])
    assert {hidden.device, keys.device, pointed.device, part_of(tokens, 2).device} == {elsewhere}


def test_a_slot_that_a_product_lacks_has_probability_zero(shop):
    model = shop.model()
    requests = some(shop, 4)
    prompts, slots = model.prompts(requests)
    logits = model.decoder(prompts, torch.tensor([[BOS]] * 4))[:, 0]
    for row, held in enumerate(slots):
        assert torch.isfinite(logits[row, len(shop.vocabulary) : len(shop.vocabulary) + len(held)]).all()
        assert torch.isinf(logits[row, len(shop.vocabulary) + len(held) :]).all()


def test_a_cache_that_grows_or_loses_rows_holds_what_was_put_in():
    keys, values = torch.randn(3, 2, 100, 4), torch.randn(3, 2, 100, 4)
    cache = KeyValues(keys[:, :, :5], values[:, :, :5])
    for place in range(5, 60):
        cache.add(keys[:, :, place : place + 1], values[:, :, place : place + 1])
    rows = torch.tensor([2, 0, 2])
    cache = cache.take(rows)
    held = cache.add(keys[rows, :, 60:100], values[rows, :, 60:100])
    torch.testing.assert_close(held[0], keys[rows], rtol=0, atol=0)
    torch.testing.assert_close(cache.held[1], values[rows], rtol=0, atol=0)


def test_a_text_does_not_depend_on_rows_that_ended(shop, monkeypatch):
    model = shop.model()
    prompts, _ = model.prompts(some(shop, 6))
    texts = []
    for kept in (0.0, 0.9, 1.0):
        monkeypatch.setattr(sampling, "_KEPT", kept)
        texts.append(sample(model.decoder, prompts, 2, np.random.default_rng(0), temperature=1e-4, top_p=0.9))
    assert texts[0] == texts[1] == texts[2]


def test_no_product_word_is_written_twice(shop):
    model = shop.model()
    prompts, slots = model.prompts(some(shop, 6))
    for texts, held in zip(sample(model.decoder, prompts, 3, np.random.default_rng(0), temperature=2.0, top_p=1.0), slots, strict=True):
        for ids in texts:
            pointed = [index for index in ids if index >= len(shop.vocabulary)]
            assert len(pointed) == len(set(pointed))
            assert all(index - len(shop.vocabulary) < len(held) for index in pointed)
            assert EOS not in ids


def test_a_model_writes_the_same_after_a_round_trip_and_for_the_same_seed(shop, tmp_path):
    generator = GptGenerator(shop.model(), Sampling(0.9, 0.95))
    requests = [request.placed("brand", "social", "a1", np.arange(5, dtype=np.float32)) for request in some(shop, 5)]
    first = generator.write(requests, 2, np.random.default_rng(4))
    generator.save(tmp_path)
    assert GptGenerator.load(tmp_path).write(requests, 2, np.random.default_rng(4)) == first
    assert generator.write(requests, 2, np.random.default_rng(5)) != first
    (tmp_path / "again").mkdir()
    CopyModel.load(tmp_path).save(tmp_path / "again")
    assert (tmp_path / "again" / "decoder.safetensors").read_bytes() == (tmp_path / "decoder.safetensors").read_bytes()


def named_once(copy):
    """How many product words a copy points at; 0 when it names one twice, which sampling does not by default."""
    pointed = [piece for piece in copy.pieces if isinstance(piece, int)]
    return len(pointed) if len(set(pointed)) == len(pointed) else 0


def test_one_step_of_training_overfits_one_copy_through_its_slots(shop):
    model = shop.model()
    copy = max(shop.copies, key=named_once)
    prompts, _ = model.prompts([copy.request])
    tokens = torch.tensor([model.tokens(copy.pieces)])
    optimiser = torch.optim.Adam(model.decoder.parameters(), lr=0.02)
    for _ in range(120):
        loss = torch.nn.functional.cross_entropy(model.decoder(prompts, tokens[:, :-1])[0], tokens[0, 1:])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1 < math.log(len(shop.vocabulary))
    assert model.write([copy.request], 1, np.random.default_rng(0), temperature=0.01, top_p=1.0) == [[copy.text]]


def test_a_feature_of_another_size_is_refused_by_name(shop):
    request = some(shop, 1)[0].placed("product", "onsite", "a0", np.zeros(9, np.float32))
    with pytest.raises(ValueError, match=r"shape \(9,\).*\(5,\)"):
        shop.model().prompts([request])


def test_latents_lie_on_the_sphere_and_survive_a_round_trip(shop, tmp_path):
    raw = np.random.default_rng(2).normal(size=(7, 3, 12)).astype(np.float32)
    model = LatentTextModel(shop.model(), Projection(means_of(torch.from_numpy(raw)), 2).eval())
    latent = model.encode(raw)
    torch.testing.assert_close(latent.pow(2).mean(1), torch.ones(7))
    model.save(tmp_path)
    torch.testing.assert_close(LatentTextModel.load(tmp_path).encode(raw), latent)


def test_conditions_tell_audiences_scenes_and_products_apart(shop):
    model = shop.model()
    first, second = some(shop, 2)
    places = [
        first, first.placed("brand", "onsite"), first.placed("product", "search"),
        first.placed("product", "onsite", "a0", np.ones(5, np.float32)), second.placed("product", "onsite"),
    ]  # fmt: skip
    rows = conditions(model, model.prompts([places[0].placed("product", "onsite"), *places[1:]])[0])
    assert len(torch.unique(rows, dim=0)) == 5
    assert len(slots_of(first)) > 2


def test_words_of_like_meaning_begin_alike_when_an_encoder_says_so(shop):
    decoder = shop.model().decoder
    rng = torch.Generator().manual_seed(3)
    words = torch.randn(decoder.shape.tokens, 40, generator=rng)
    words[9] = words[8] + 0.01
    before = float(decoder.words.weight.detach().std())
    decoder.begin_with(words, torch.randn(decoder.shape.values - 1, 40, generator=rng))
    begun = torch.nn.functional.normalize(decoder.words.weight.detach(), dim=1)
    assert float(begun[8] @ begun[9]) > 0.99 > float((begun[8] @ begun[10:30].T).max())
    assert float(decoder.words.weight.detach().std()) == pytest.approx(before, rel=0.2)
    narrow = torch.randn(decoder.shape.tokens, 3, generator=rng)
    decoder.begin_with(narrow, torch.randn(decoder.shape.values - 1, 3, generator=rng))  # an encoder narrower than the decoder
    assert torch.isfinite(decoder.words.weight).all()
