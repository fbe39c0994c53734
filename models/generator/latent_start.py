"""Where reading ℓ begins: the projection and the words that ℓ lays on the output, fitted to the bags of words before the decoder reads."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from models.generator.decoder import CopyDecoder
from models.generator.latent import LatentTextModel, Projection, on_sphere
from models.generator.reading import bag_loss
from models.generator.training import CopyData, batches
from models.generator.training_copies import Copy
from models.generator.vocabulary import SPECIALS

_PASSES = 2
_ROWS = 128
_RATE = 2e-3
_LATENESS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
_TRIED = 64
_TEMPERATURE = 0.8


def begin_reading(decoder: CopyDecoder, projection: Projection, data: CopyData, *, blur: float, seed: int, bf16: bool) -> None:
    """Fit ℓ to say its copy's words, part by part, while the decoder and its word vectors stand still.

    Without it the decoder, which has been a GPT before, meets an ℓ that says nothing, and learns in its first steps to do without.

    Args:
        decoder: its `latent` is changed.
        projection: changed.
        data: training copies.
        blur: standard deviation, by dimension, of the noise on ℓ.
        seed: of order and noise.
        bf16: mixed precision.
    """
    reader, size = decoder.latent, decoder.shape.tokens
    seen = [token for ids in data.tokens for token in ids if len(SPECIALS) <= token < size]
    counts = torch.bincount(torch.tensor(seen, dtype=torch.long), minlength=size).float() + 1
    with torch.no_grad():
        reader.usual.copy_(counts.log() - counts.log().mean())
        nn.init.normal_(reader.words.weight, std=0.05)
        nn.init.zeros_(reader.places.weight)
    decoder.words.weight.requires_grad_(False)
    optimiser = torch.optim.AdamW([*projection.parameters(), reader.words.weight, reader.usual], lr=_RATE, weight_decay=0.01)
    for turn in range(_PASSES):
        for batch in batches(data, _ROWS, decoder.shape, np.random.default_rng([seed, turn])):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                noise = torch.zeros(()) if batch.blur is None else blur * batch.blur
                loss = bag_loss(decoder, on_sphere(projection(batch.raw) + noise), batch.tokens)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    decoder.words.weight.requires_grad_(True)


def end_as_late_as_people(latent: LatentTextModel, copies: Sequence[Copy], features: Tensor, *, seed: int) -> None:
    """Set how reluctantly a text ends, so that held-out copies come back from ℓ as long as they were.

    The decoder learns from texts with blanks, whose end it sees coming less well than their words, and comes back too short; of several
    candidates the choice takes the shorter ones once more.

    Args:
        latent: copy ↔ ℓ; its `lateness` is set.
        copies: held-out copies.
        features: (n, slots, d_bert) theirs.
        seed: of sampling.
    """
    some = list(copies[:_TRIED])
    if not some:
        return
    vectors, requests = latent.encode(features[:_TRIED].numpy()), [copy.request for copy in some]
    goal, found = sum(len(copy.text) for copy in some), []
    for lateness in _LATENESS:
        latent.model.decoder.latent.lateness.fill_(lateness)
        drawn = latent.model.write(requests, 1, np.random.default_rng(seed), temperature=_TEMPERATURE, top_p=1.0, latent=vectors)
        found.append((abs(sum(len(texts[0]) for texts in drawn) - goal), lateness))
    latent.model.decoder.latent.lateness.fill_(min(found)[1])
