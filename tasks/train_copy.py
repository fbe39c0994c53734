"""`adloom train-copy`: every copy generator on pairs of one's own, outside the loop; the same code as the stage."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from core.columns import Columns as C
from core.errors import SourceError
from core.files import content_hash
from core.params import Params
from core.tracking import Tracker
from models.embeddings import Embeddings
from models.encoder import TextEncoder
from models.generator.bundle import GeneratorBundle
from models.generator.request import CopyRequest
from models.generator.training_copies import Copy, copies_of
from tasks.product_lines import Product, read_products
from tasks.train_generator import MIN_COPIES, Audiences, train_bundle

logger = logging.getLogger(__name__)


def train_copy(
    params: Params, *, rng: np.random.Generator, tracker: Tracker, train: Path, valid: Path | None = None, limit: int | None = None
) -> GeneratorBundle:
    """Train on a file of pairs.

    Args:
        params: encoder, sizes, epochs and rates.
        rng: the split, when there is no file to judge by, and the seed.
        tracker: receives losses and scores.
        train: JSON lines of products with a copy each (`tasks.product_lines`).
        valid: the same to choose by; when None, a share of ``train`` by group is held out.
        limit: longest text in characters; the channels' own when None.

    Returns:
        The bundle; the caller saves it.

    Raises:
        SourceError: a file cannot be read, or holds too few copies.
        TrainingError: training diverged.
    """
    limits = params.channels.limits()
    products = list(read_products(train, limit=limit, limits=limits))
    judges = list(read_products(valid, limit=limit, limits=limits)) if valid is not None else []
    length = max(params.train_generator.max_length, limit or 0)
    copies, held_out = _copies(products, length, "t"), _copies(judges, length, "v")
    if len(copies) < MIN_COPIES:
        raise SourceError(f"{train}: {len(copies)} usable copies; {MIN_COPIES} are needed to train. `adloom write` has templates without.")
    if valid is not None and not held_out:
        raise SourceError(f"{valid}: no usable copy to choose by; leave --valid out and a share of {train.name} is held out.")
    encode = params.encode
    encoder = TextEncoder.open(
        encode.model, prefix=encode.prefix, max_tokens=encode.max_tokens, batch_tokens=encode.batch_tokens, precision=encode.precision
    )
    texts = sorted({copy.source_text for copy in (*copies, *held_out)})
    logger.info("%d copies to learn from, %d to choose by, %d texts to encode", len(copies), len(held_out), len(texts))
    return train_bundle(
        params.train_generator.model_copy(update={"max_length": length}),
        [product.request for product in (*products, *judges)],
        copies,
        rng=rng,
        tracker=tracker,
        vectors=Embeddings(tuple(texts), encoder.encode(texts)),
        word_vectors=encoder.word_vectors,
        audiences=Audiences.none,
        data_version=[content_hash(path) for path in (train, valid) if path is not None],
        held_out=held_out or None,
    )


def _copies(products: list[Product], length: int, prefix: str) -> list[Copy]:
    requests: dict[str, CopyRequest] = {}
    rows = []
    for product in products:
        if product.text is None:
            continue
        item = f"{prefix}{product.number}"
        requests[item] = product.request
        rows.append((item, item, product.request.scene, product.request.channel, product.text))
    return copies_of(pd.DataFrame(rows, columns=[C.COPY, C.ITEM, C.SCENE, C.CHANNEL, C.TEXT]), requests, length)
