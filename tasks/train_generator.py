"""Train every copy generator and choose the one that the pool is written with."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np

import models.generator
from core.files import content_hash, read_json, read_table
from core.params import ChannelParams, GeneratorParams
from core.tracking import Tracker
from models.cache import cache_folder
from models.embeddings import Embeddings
from models.encoder import TextEncoder
from models.generator.audiences import audience_features
from models.generator.bundle import GeneratorBundle
from models.generator.request import CopyRequest, requests_of
from models.generator.response import fit_response
from models.generator.training_copies import Copy, copies_of
from tasks.generators.choosing import judged
from tasks.generators.corpus import MIN_COPIES, corpus_of, template_only
from tasks.generators.networks import Audiences, fit_generators
from tasks.judge.adversary import Encode

logger = logging.getLogger(__name__)


def train_generator(
    params: GeneratorParams,
    channels: ChannelParams,
    *,
    rng: np.random.Generator,
    tracker: Tracker,
    items: Path,
    copies: Path,
    impressions: Path,
    lineage: Path,
    embeddings: Path,
    encoder: Path,
    user_features: Path,
    generator: Path,
) -> None:
    """Train template, clause, retrieval, 3-gram, GPT, VAE and GAN; score them on held-out copies; keep all and name the best.

    Copies are split by group (`split_groups`), since they have no time. Score: `tasks.judge.copies.judge`.

    Args:
        params: sizes, epochs and rates.
        channels: how long copy may be.
        rng: the stage's stream.
        tracker: receives losses and scores.
        items: the catalogue.
        copies: human copies; may be empty.
        impressions: logged ads; those before train_end say which audience a copy speaks to.
        lineage: where the training window ends.
        embeddings: raw vectors of the copies.
        encoder: the encoder bundle; words begin at its input vectors, and generated texts are measured with it.
        user_features: F and audience of each shopper.
        generator: the bundle to write.

    Raises:
        TrainingError: training diverged.
    """
    products = requests_of(read_table(items), channels.limits())
    usable = copies_of(read_table(copies), products, params.max_length)
    if len(usable) < MIN_COPIES:
        reason = f"{len(usable)} usable copies in the source; {MIN_COPIES} are needed to train. The template writes."
        logger.warning(reason)
        template_only(list(products.values()), params, channels.limits(), reason).save(generator)
        return
    users, end = read_table(user_features), datetime.fromisoformat(read_json(lineage)["train_end"])
    features = np.stack([*audience_features(users).values()] or [np.zeros((0,), np.float32)])
    log, opened = read_table(impressions), TextEncoder.load(encoder)
    data = content_hash(items), content_hash(copies), content_hash(impressions), content_hash(embeddings), content_hash(user_features)
    train_bundle(
        params,
        list(products.values()),
        usable,
        rng=rng,
        tracker=tracker,
        vectors=Embeddings.load(embeddings),
        word_vectors=opened.word_vectors,
        audiences=lambda train: Audiences.of(features, fit_response(train, log, users, end), train),
        data_version=data,
        encode=opened.encode,
    ).save(generator)


def train_bundle(
    params: GeneratorParams,
    products: Sequence[CopyRequest],
    copies: Sequence[Copy],
    *,
    rng: np.random.Generator,
    tracker: Tracker,
    vectors: Embeddings,
    word_vectors: Callable[[Sequence[str]], np.ndarray],
    audiences: Callable[[Sequence[Copy]], Audiences],
    data_version: Sequence[str],
    held_out: Sequence[Copy] | None = None,
    encode: Encode | None = None,
) -> GeneratorBundle:
    """Train every generator on copies and choose the best; the stage, `adloom train-copy` and the benchmark share it.

    Args:
        params: sizes, epochs and rates.
        products: the catalogue, which facts are read off.
        copies: usable copies, at least `MIN_COPIES`.
        rng: the split and the seed.
        tracker: receives losses and scores.
        vectors: raw vectors of the copies.
        word_vectors: words → (n, d), where the decoder's words begin.
        audiences: training copies → the audiences and how much each copy speaks to them.
        data_version: hashes of what was read: a killed training of equal data and code is taken up again.
        held_out: copies to choose by; when None, a share of ``copies`` by group.
        encode: texts → raw encoder vectors, for the Fréchet distance of generated texts; None: it is not measured.

    Raises:
        TrainingError: training diverged.
    """
    work = corpus_of(params, rng, products, copies, held_out)
    key = json.dumps([params.model_dump(), work.seed, *data_version, content_hash(Path(models.generator.__file__).parent)])
    checkpoints = cache_folder("checkpoints") / f"generator-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    heard = audiences(work.train)
    trained = fit_generators(params, work, heard, vectors, word_vectors, checkpoints=checkpoints, tracker=tracker)
    bundle = judged(params, work, trained, tracker, encode)
    bundle = replace(bundle, config={**bundle.config, "limits": dict(products[0].limits)}, response=heard.response)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return bundle
