"""Is the latent read? Copy → ℓ → copy on held-out copies, the same with ℓ of another row, and walks between two copies."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evaluation import text as metrics
from evaluation.intervals import bootstrap_mean
from models.generator.latent import LatentTextModel, between
from models.generator.quality import Reviewer
from models.generator.request import CopyRequest
from models.generator.training_copies import Copy
from tasks.judge.copies import REPLICATIONS

GREEDY = 1e-6
"""A nucleus of one token: reconstruction is the likeliest text, not a draw."""
USED_BELOW = 0.5
"""The latent is used when another row's ℓ leaves less than this share of reconstruction BLEU-4."""
WALKS, STEPS = 4, 6


def reconstruct(latent: LatentTextModel, requests: Sequence[CopyRequest], vectors: Tensor) -> list[str]:
    """The likeliest text of each ℓ.

    Args:
        latent: copy ↔ ℓ.
        requests: the product of each ℓ.
        vectors: (n, d_latent).
    """
    drawn = latent.model.write(requests, 1, np.random.default_rng(0), temperature=1.0, top_p=GREEDY, latent=vectors)
    return [texts[0] for texts in drawn]


def latent_evidence(
    latent: LatentTextModel, copies: Sequence[Copy], raw: np.ndarray, groups: np.ndarray, *, reviewer: Reviewer, rng: np.random.Generator
) -> dict[str, Any]:
    """Reconstruction, shuffled reconstruction, and walks.

    Args:
        latent: copy ↔ ℓ.
        copies: held-out copies, at least two.
        raw: (n, slots, d_bert) their features (`latent_features`).
        groups: (n,) the group of each.
        reviewer: measures fluency along the walks.
        rng: the shuffle, the choice of walks and the bootstrap.

    Returns:
        ``n``, ``bleu_4`` and ``bleu_4_shuffled`` with intervals, ``kept`` (the second over the first; 1 where nothing comes back),
        ``used``, ``walks``.
    """
    vectors, requests, texts = latent.encode(raw), [copy.request for copy in copies], [copy.text for copy in copies]
    order = rng.permutation(len(copies))
    other = np.empty(len(copies), np.int64)
    other[order] = np.roll(order, 1)  # one cycle: no row keeps its own ℓ
    scores = {
        "bleu_4": metrics.bleu_4(reconstruct(latent, requests, vectors), texts),
        "bleu_4_shuffled": metrics.bleu_4(reconstruct(latent, requests, vectors[torch.from_numpy(other)]), texts),
    }
    table = {name: bootstrap_mean(values, groups, REPLICATIONS, rng).as_dict() for name, values in scores.items()}
    own, shuffled = table["bleu_4"]["value"], table["bleu_4_shuffled"]["value"]
    kept = shuffled / own if own > 0 else 1.0  # where nothing comes back, ℓ says nothing
    walks = [_walk(latent, copies, vectors, pair, reviewer) for pair in _pairs(copies, rng)]
    return {"n": len(copies), **table, "kept": kept, "used": kept <= USED_BELOW, "walks": walks}


def _pairs(copies: Sequence[Copy], rng: np.random.Generator) -> list[tuple[int, int]]:
    """Pairs to walk between: of one product and place where there are such, else of one category, else any."""
    found: list[tuple[int, int]] = []
    rows = [int(row) for row in rng.permutation(len(copies))]

    def alike(copy: Copy, level: int) -> tuple[str, ...]:
        request = copy.request
        return [(request.item_id, request.scene, request.channel), (request.category, request.scene, request.channel), ()][level]

    for level in range(3):
        for place, row in enumerate(rows):
            taken = {end for pair in found for end in pair}
            if len(found) == WALKS or row in taken:
                continue
            mates = (mate for mate in rows[place + 1 :] if mate not in taken and copies[mate].text != copies[row].text)
            mate = next((mate for mate in mates if alike(copies[mate], level) == alike(copies[row], level)), None)
            if mate is not None:
                found.append((row, mate))
    return found


def _walk(latent: LatentTextModel, copies: Sequence[Copy], vectors: Tensor, pair: tuple[int, int], reviewer: Reviewer) -> dict[str, Any]:
    first, last = copies[pair[0]], copies[pair[1]]
    shares = [step / (STEPS - 1) for step in range(STEPS)]
    path = torch.stack([between(vectors[pair[0]], vectors[pair[1]], share) for share in shares])
    texts = reconstruct(latent, [first.request] * STEPS, path)
    steps = [
        {"at": share, "text": text, "fluency": reviewer.fluency(text, first.request)} for share, text in zip(shares, texts, strict=True)
    ]
    return {"item_id": first.request.item_id, "from": first.text, "to": last.text, "steps": steps}
