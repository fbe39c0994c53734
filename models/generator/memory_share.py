"""How much of a decoder's chances its memory gets: as much as makes unseen copy likeliest."""

from dataclasses import dataclass, replace

import torch

from models.generator.copy_model import CopyModel
from models.generator.latent import Projection
from models.generator.memory import PhraseMemory, contexts, named_slots
from models.generator.slots import NOUN
from models.generator.training import CopyData, batches
from models.generator.vocabulary import PAD

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
_ROWS = 16


@dataclass(frozen=True)
class Remembering:
    """What was chosen, and why.

    Attributes:
        share: of the memory.
        loss: of held-out copies with it, in nats a token.
        loss_alone: of the decoder alone.
    """

    share: float
    loss: float
    loss_alone: float


def memory_of(model: CopyModel, train: CopyData) -> PhraseMemory:
    """Counts of training copy, for every decoder with these tokens.

    Args:
        model: whose vocabulary and phrases.
        train: the copies.
    """
    shape = model.decoder.shape
    return PhraseMemory.of(train.prompts, train.tokens, tokens=shape.tokens, names=shape.names, noun=model.book.name(NOUN))


def remember(model: CopyModel, projection: Projection | None, memory: PhraseMemory, held_out: CopyData) -> tuple[CopyModel, Remembering]:
    """Give a trained decoder a memory of its training copies.

    Args:
        model: trained.
        projection: BERT features → ℓ where the decoder reads it; None for the plain GPT.
        memory: counts of them.
        held_out: what it did not; empty: the memory gets nothing.

    Returns:
        The model with its memory, without where it would get no share, and what was chosen.
    """
    losses = losses_by_share(model, projection, memory, held_out)
    share = min(losses, key=lambda one: losses[one])
    return replace(model, memory=memory if share else None, share=share), Remembering(share, losses[share], losses[0.0])


@torch.inference_mode()
def losses_by_share(model: CopyModel, projection: Projection | None, memory: PhraseMemory, data: CopyData) -> dict[float, float]:
    """Cross-entropy of copies under the mixture.

    Args:
        model: trained.
        projection: see `remember`.
        memory: counts of its training copies.
        data: the copies.

    Returns:
        Share → nats a token; 0 for no copies.
    """
    decoder, total, count = model.decoder.eval(), dict.fromkeys(SHARES, 0.0), 0
    for batch in batches(data, _ROWS, decoder.shape, None):
        latent = projection(batch.raw) if projection is not None else None
        logits = decoder(batch.prompts, batch.tokens[:, :-1], latent).float()
        rows, places = (batch.tokens[:, 1:] != PAD).nonzero(as_tuple=True)
        before = contexts(named_slots(batch.tokens, batch.prompts.names, memory.tokens))[rows, places]
        recall = replace(memory.recall(batch.prompts).keep(rows), before=before)
        target = batch.tokens[rows, places + 1][:, None]
        own, remembered = logits[rows, places], recall.chances()
        for share in SHARES:
            total[share] -= float(recall.mixed(own, share, remembered).gather(1, target).sum())
        count += len(rows)
    return {share: value / max(count, 1) for share, value in total.items()}
