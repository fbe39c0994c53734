import math

import pytest
import torch

from models.generator.reading import bag_loss, blanked
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


def test_the_bag_of_words_asks_each_word_of_the_latent_and_no_slot_or_mark_of_end(shop):
    decoder = shop.model().decoder
    latent, size = torch.zeros(2, 6), decoder.shape.tokens
    tokens = torch.tensor([[BOS, 5, 7, size + 1, EOS], [BOS, 8, EOS, PAD, PAD]])
    assert bag_loss(decoder, latent, tokens).item() == pytest.approx(math.log(size), rel=1e-5)  # ℓ says nothing: all words alike
    torch.nn.init.normal_(decoder.memory.weight)
    latent = torch.randn(2, 6)
    logs = (decoder.memory(latent) @ decoder.words.weight.T).log_softmax(-1)
    by_hand = -(logs[0, 5] + logs[0, 7] + logs[1, 8]) / 3
    torch.testing.assert_close(bag_loss(decoder, latent, tokens), by_hand)
