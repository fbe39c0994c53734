"""Guidance: logits of everyone + g · (the audience's − everyone's)."""

import numpy as np
import torch

from models.generator.decoder import never
from models.generator.sampling import sample
from models.generator.vocabulary import BOS, EOS


def orders(shop, n=6):
    requests = list(shop.products.values())[:n]
    return [request.placed("brand", "social", "a1", 3 * np.arange(5, dtype=np.float32) - 2 * row) for row, request in enumerate(requests)]


def listening(shop):
    """A model whose layers do something, as after training."""
    model = shop.model()
    for name, weight in model.decoder.named_parameters():
        if name.endswith(("out.weight", "down.weight")):  # zero before training: each layer is the identity
            torch.nn.init.normal_(weight, std=1.0)
    return model


def drawn(model, prompts, guidance, temperature=0.9):
    return sample(model.decoder, prompts, 2, np.random.default_rng(4), temperature=temperature, top_p=0.95, guidance=guidance)


def test_without_guidance_nothing_changes_and_with_none_at_all_everyone_is_written_for(shop):
    model = listening(shop)
    prompts, _ = model.prompts(orders(shop))
    as_trained = sample(model.decoder, prompts, 2, np.random.default_rng(4), temperature=0.9, top_p=0.95)
    assert drawn(model, prompts, 1.0) == as_trained
    assert drawn(model, prompts, 0.0) == drawn(model, prompts.for_everyone(), 1.0)
    assert drawn(model, prompts.for_everyone(), 4.0) == drawn(model, prompts.for_everyone(), 1.0)
    assert drawn(model, prompts, 4.0) != as_trained


def test_the_first_token_is_the_one_that_the_formula_names(shop):
    model = listening(shop)
    prompts, _ = model.prompts(orders(shop))
    begin = torch.full((len(prompts), 1), BOS)
    with torch.no_grad():
        audience, everyone = (model.decoder(some, begin)[:, 0] for some in (prompts, prompts.for_everyone()))
    there = torch.isfinite(everyone)
    logits = torch.where(there, everyone + 5.0 * (audience - everyone), float("-inf"))
    for found in (logits, audience):
        found[:, [*never(), EOS]] = float("-inf")
    wanted = logits.argmax(1).tolist()
    assert [texts[0][0] for texts in drawn(model, prompts, 5.0, temperature=1e-4)] == wanted
    assert wanted != audience.argmax(1).tolist()
