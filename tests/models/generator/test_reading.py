import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.generator.latent import LatentTextModel, Projection
from models.generator.latent_features import latent_features, means_of, parts_of
from models.generator.latent_start import begin_reading, end_as_late_as_people
from models.generator.reading import bag_loss, blanked, part_of
from models.generator.training import CopyData, batches
from models.generator.vocabulary import BOS, EOS, PAD, UNK


def test_blanking_leaves_the_beginning_and_as_many_tokens_as_asked_for():
    torch.manual_seed(1)
    tokens = torch.full((40, 50), 9)
    tokens[:, 0] = BOS
    assert torch.equal(blanked(tokens, 0.0), tokens)
    assert blanked(tokens, 1.0).unique().tolist() == [BOS, UNK]
    seen = blanked(tokens, 0.3)
    assert (seen[:, 0] == BOS).all()
    assert float((seen == UNK).float().mean()) == pytest.approx(0.3, abs=0.05)


def test_the_bag_of_words_asks_each_word_of_the_slot_of_its_part_and_no_slot_or_mark_of_end(shop):
    decoder = shop.model().decoder
    latent, size = torch.zeros(2, 6), decoder.shape.tokens
    tokens = torch.tensor([[BOS, 5, 7, size + 1, 6, EOS], [BOS, 8, EOS, PAD, PAD, PAD]])
    assert bag_loss(decoder, latent, tokens).item() == pytest.approx(math.log(size), rel=1e-5)  # ℓ says nothing: all words alike
    torch.nn.init.normal_(decoder.latent.words.weight)
    torch.nn.init.normal_(decoder.latent.usual)
    latent = torch.randn(2, 6)
    spoken = torch.stack([part @ decoder.latent.words.weight.T for part in latent.view(2, 3, 2).unbind(1)], 1)
    logs = (spoken @ decoder.words.weight.T + decoder.latent.usual).log_softmax(-1)  # slot 0 stands for the whole text
    by_hand = -(logs[0, 1, 5] + logs[0, 1, 7] + logs[0, 2, 6] + logs[1, 2, 8]) / 4
    torch.testing.assert_close(bag_loss(decoder, latent, tokens), by_hand)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 12])
def test_tokens_belong_to_the_part_that_the_features_are_cut_from(length):
    tokens = torch.tensor([[BOS, *[9] * length, EOS, PAD]])
    ends = [part * length // 3 for part in range(4)]
    expected = [part for part in range(3) for _ in range(ends[part], ends[part + 1])]
    assert part_of(tokens, 3)[0, 1 : 1 + length].tolist() == expected


def test_the_features_of_a_copy_are_its_vector_and_those_of_its_parts(shop):
    model, copies = shop.model(), shop.copies[:6]
    whole = np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)

    def lengths(texts):
        assert "" not in texts
        return np.array([[len(text), 1.0] for text in texts], np.float32)

    features = latent_features(model, copies, whole, lengths, 3)
    assert features.shape == (6, 4, 2)
    torch.testing.assert_close(features[:, 0], torch.from_numpy(whole))
    for copy, row in zip(copies, features, strict=True):
        parts = parts_of(model, copy, 3)
        assert "".join(parts) == copy.text
        assert row[1:, 0].tolist() == [float(len(part)) for part in parts]
    many = latent_features(model, copies, whole, lengths, 200)
    assert (many[:, 1:].abs().sum(2) == 0).any()  # more parts than tokens: some are empty
    torch.testing.assert_close(means_of(features), torch.stack([features[:, 0].mean(0), features[:, 1:].mean((0, 1))]))


def test_a_text_that_does_not_see_its_product_can_still_point_at_it(shop):
    model = shop.model()
    copies = [copy for copy in shop.copies if len(copy.request.attributes) > 1][:2]
    prompts, _ = model.prompts([copy.request for copy in copies])
    other = replace(prompts, names=prompts.names.flip(1), values=(prompts.values + 1).clamp_max(3))
    tokens, latent = torch.full((2, 5), 9), torch.randn(2, 6)
    unread = torch.tensor([True, False])
    for block in model.decoder.blocks:
        torch.nn.init.normal_(block.out.weight, std=0.3)
    with torch.inference_mode():
        hidden, keys = model.decoder.hidden(prompts, tokens, latent, unread)
        changed, moved = model.decoder.hidden(other, tokens, latent, unread)
    torch.testing.assert_close(hidden[0], changed[0])
    assert not torch.allclose(hidden[1], changed[1])
    assert not torch.allclose(keys[0], moved[0])


def test_reading_begins_with_a_latent_that_says_its_words(shop):
    model, copies = shop.model(), shop.copies[:60]
    prompts, _ = model.prompts([copy.request for copy in copies])
    whole = np.zeros((60, 20), np.float32)
    vectors = lambda texts: np.stack([np.bincount([ord(c) % 20 for c in text], minlength=20) for text in texts]).astype(np.float32)  # noqa: E731
    features = latent_features(model, copies, whole, vectors, 2)
    tokens = [model.tokens(copy.lesson) for copy in copies]
    data = CopyData(prompts, tokens, features, np.zeros((60, 0)), torch.zeros(0, 5))
    torch.manual_seed(1)
    projection = Projection(means_of(features), 2)
    words = model.decoder.words.weight.clone()
    (batch,) = batches(data, 60, model.decoder.shape, None)
    before = bag_loss(model.decoder, projection(batch.raw), batch.tokens).item()
    begin_reading(model.decoder, projection, data, blur=0.3, seed=1, bf16=False)
    assert bag_loss(model.decoder, projection(batch.raw), batch.tokens).item() < before - 0.5
    assert torch.equal(model.decoder.words.weight, words)
    assert all(parameter.requires_grad for parameter in model.decoder.parameters())


def test_texts_from_a_latent_end_as_late_as_peoples_do(shop):
    model, copies = shop.model(), shop.copies[:20]
    latent = LatentTextModel(model, Projection(torch.zeros(2, 4), 2).eval())
    features = torch.randn(20, 3, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.decoder.words.weight[EOS] += 0.5  # a decoder that ends early or late, by the hidden vector's luck

    def length(lateness):
        model.decoder.latent.lateness.fill_(lateness)
        vectors = latent.encode(features.numpy())
        requests = [copy.request for copy in copies]
        drawn = model.write(requests, 1, np.random.default_rng(7), temperature=0.8, top_p=1.0, latent=vectors)
        return sum(len(texts[0]) for texts in drawn)

    goal = sum(len(copy.text) for copy in copies)
    off = {lateness: abs(length(lateness) - goal) for lateness in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)}
    assert length(5.0) > length(0.0)
    end_as_late_as_people(latent, copies, features, seed=7)
    assert off[float(model.decoder.latent.lateness)] == min(off.values())
