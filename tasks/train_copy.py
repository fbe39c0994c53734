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
from models.generator.training_copies import Copy, copies_of, split_groups
from tasks.generators.corpus import MIN_COPIES
from tasks.generators.networks import Audiences
from tasks.product_lines import Product, read_products
from tasks.train_generator import train_bundle

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
        valid: the same to choose by, less what shares its attributes or text with a pair of ``train``; when None, a share of ``train`` by
            group is held out.
        limit: longest text in characters; the channels' own when None.

    Returns:
        The bundle; the caller saves it.

    Raises:
        SourceError: a file cannot be read, holds too few copies, or ``valid`` holds nothing that ``train`` does not.
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
    if held_out:
        held_out = _apart(copies, held_out, train, valid)
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
        encode=encoder.encode,
    )


def _apart(copies: list[Copy], held_out: list[Copy], train: Path, valid: Path | None) -> list[Copy]:
    """Copies to choose by without those of products or texts that are trained on too: they would reward whoever learns by heart."""
    groups = split_groups([*copies, *held_out])
    known = set(groups[: len(copies)])
    kept = [copy for copy, group in zip(held_out, groups[len(copies) :], strict=True) if group not in known]
    dropped = len(held_out) - len(kept)
    if not kept:
        raise SourceError(
            f"{valid}: each of its {dropped} usable copies has the attributes or the text of a pair in {train.name}, so there is nothing "
            f"to choose by; leave --valid out and a share of {train.name} is held out by group."
        )
    if dropped:
        logger.warning(
            "%s: %d of %d usable copies have the attributes or the text of a pair in %s; they are left out of the choice",
            valid,
            dropped,
            len(held_out),
            train.name,
        )
    return kept


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
