"""What ℓ is projected from: BERT's reading of the whole copy, and the input vectors of each of its parts.

One mean-pooled vector says what a copy is about and not what it says: of 60 words next to nothing can be read off it. So a copy is cut into
parts of equal numbers of tokens, and each part's slot of ℓ begins from the mean of BERT's input vectors of its words, which costs no pass
through the network and is close to a bag of words; their order is the parts' order.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from models.generator.copy_model import CopyModel
from models.generator.slots import lexicalise, slots_of
from models.generator.training_copies import Copy


def parts_of(model: CopyModel, copy: Copy, parts: int) -> list[str]:
    """A copy's text in parts: part k holds tokens ⌊k·n/parts⌋ to ⌊(k+1)·n/parts⌋.

    Args:
        model: cuts texts into tokens.
        copy: the copy.
        parts: how many, at least 1.

    Returns:
        As many texts; empty ones where there are fewer tokens.
    """
    ids, slots = model.tokens(copy.lesson)[1:-1], slots_of(copy.request)
    ends = [part * len(ids) // parts for part in range(parts + 1)]
    return [lexicalise(model.vocabulary.decode(ids[first:last]), slots) for first, last in pairwise(ends)]


def latent_features(
    model: CopyModel, copies: Sequence[Copy], whole: np.ndarray, word_vectors: Callable[[Sequence[str]], np.ndarray], parts: int
) -> Tensor:
    """Features of copies, as `Projection` reads them.

    Args:
        model: cuts texts into tokens.
        copies: the copies.
        whole: (n, d_bert) raw encoder vectors of their texts.
        word_vectors: texts → (n, d_bert) mean input vectors of their words.
        parts: how many parts a copy is cut into.

    Returns:
        (n, 1 + parts, d_bert): of the whole text, then of each part; zero where a part is empty.
    """
    texts = [text for copy in copies for text in parts_of(model, copy, parts)] if parts else []
    known = sorted(set(texts) - {""})
    vectors = dict(zip(known, word_vectors(known), strict=True)) if known else {}
    features = np.zeros((len(copies), 1 + parts, whole.shape[1]), np.float32)
    features[:, 0] = whole
    for index, text in enumerate(texts):
        if text:
            features[index // parts, 1 + index % parts] = vectors[text]
    return torch.from_numpy(features)


def means_of(features: Tensor) -> Tensor:
    """The mean features of whole texts and of parts.

    Args:
        features: (n, 1 + parts, d_bert) of training copies.

    Returns:
        (2, d_bert).
    """
    whole, parts = features[:, 0], features[:, 1:]
    return torch.stack([whole.mean(0), parts.mean((0, 1)) if parts.numel() else torch.zeros_like(whole[0])])
