"""Train every copy generator and choose the one that the pool is written with."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import models.generator
from core.files import content_hash, read_json, read_table
from core.params import ChannelParams, GeneratorParams
from core.tracking import Tracker
from core.vocabulary import Origin
from models.cache import cache_folder
from models.embeddings import Embeddings
from models.encoder import TextEncoder
from models.generator.audiences import audience_features
from models.generator.bundle import GeneratorBundle, make_reviewer
from models.generator.clause import ClauseGenerator
from models.generator.copy_model import CopyModel
from models.generator.decoder import CopyDecoder, DecoderShape
from models.generator.facts import fit_facts
from models.generator.gan import GanGenerator, Generator
from models.generator.gpt import GptGenerator, Sampling
from models.generator.held_out import HeldOutTexts
from models.generator.hf import HfGenerator
from models.generator.hf.training import TuneSettings, tune
from models.generator.interface import CopyGenerator
from models.generator.latent import LatentTextModel, Projection, conditions
from models.generator.latent_training import CollapseDetector, GanSettings, LatentData, train_gan, train_vae
from models.generator.ngram import fit_ngram
from models.generator.prompts import build_phrase_book, fit_feature_scale
from models.generator.quality import Reviewer, fit_targets, usual_repeats
from models.generator.request import CopyRequest, requests_of
from models.generator.response import ResponseModel, fit_response
from models.generator.retrieval import RetrievalGenerator
from models.generator.slots import slots_of
from models.generator.template import TemplateGenerator
from models.generator.training import CopyData, FitSettings, fit_decoder
from models.generator.training_copies import Copy, copies_of, mended, split_groups
from models.generator.vae import VaeGenerator
from models.generator.vocabulary import SPECIALS, Vocabulary, build_vocabulary
from tasks.judge.adversary import Encode
from tasks.judge.copies import MAIN, judge, measure
from tasks.judge.evidence import HeldOut, evidence, figures

logger = logging.getLogger(__name__)

WATCHED = 4
"""Steps of the GAN, about, whose texts are measured in the encoder's space."""
MIN_COPIES = 100
"""Fewer usable copies train no model: the template writes, and config.json says so."""


@dataclass(frozen=True)
class Audiences:
    """Whom copy is written for.

    Attributes:
        features: (audiences, d) raw F of each.
        weights: (copies, audiences) chance that a training copy speaks to an audience.
        response: what the weights were read off; None without shoppers.
    """

    features: np.ndarray
    weights: np.ndarray
    response: ResponseModel | None = None

    @classmethod
    def of(cls, features: np.ndarray, response: ResponseModel, copies: Sequence[Copy]) -> "Audiences":
        """By how they respond.

        Args:
            features: (audiences, d) raw F of each, in the order of the response model.
            response: fitted on the copies.
            copies: training copies.
        """
        weights = response.belonging([copy.text for copy in copies], [copy.request for copy in copies])
        return cls(features if features.size else np.zeros((0, 1), np.float32), weights, response)

    @classmethod
    def none(cls, copies: Sequence[Copy]) -> "Audiences":
        """For pairs without shoppers.

        Args:
            copies: training copies.
        """
        return cls(np.zeros((0, 1), np.float32), np.zeros((len(copies), 0)))


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
        _template_only(list(products.values()), params, channels.limits(), reason).save(generator)
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
    work = _prepare(params, rng, products, copies, held_out)
    key = json.dumps([params.model_dump(), work.seed, *data_version, content_hash(Path(models.generator.__file__).parent)])
    checkpoints = cache_folder("checkpoints") / f"generator-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    heard = audiences(work.train)
    trained = _train(params, work, heard, vectors, word_vectors, checkpoints=checkpoints, tracker=tracker)
    bundle = _judged(params, work, trained, tracker, encode)
    bundle = replace(bundle, config={**bundle.config, "limits": dict(products[0].limits)}, response=heard.response)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return bundle


@dataclass(frozen=True)
class _Work:
    """Copies, split, and what is fitted on the training part."""

    train: list[Copy]
    held_out: list[Copy]
    groups: np.ndarray
    vocabulary: Vocabulary
    reviewer: Reviewer
    seed: int
    counts: dict[str, int]


@dataclass(frozen=True)
class _Trained:
    generators: dict[str, CopyGenerator]
    notes: dict[str, Any]
    raw: np.ndarray
    known: torch.Tensor
    watched: dict[int, Generator]


def _template_only(products: Sequence[CopyRequest], params: GeneratorParams, limits: dict[str, int], reason: str) -> GeneratorBundle:
    vocabulary = Vocabulary(SPECIALS)
    facts = fit_facts(products, [], [], vocabulary)
    reviewer = make_reviewer(facts, [], vocabulary, levels=[], targets={}, max_copied_span=params.max_copied_span)
    return GeneratorBundle(
        {Origin.TEMPLATE: TemplateGenerator()},
        Origin.TEMPLATE,
        reviewer,
        (),
        {"trained": False, "reason": reason, "models": {}, "limits": limits},
    )


def _prepare(
    params: GeneratorParams, rng: np.random.Generator, rows: Sequence[CopyRequest], usable: Sequence[Copy], judges: Sequence[Copy] | None
) -> _Work:

    def words_of(chosen: Sequence[Copy]) -> Vocabulary:
        phrases = [word for request in rows for word in (request.category, *[slot.value for slot in slots_of(request)])]
        return build_vocabulary([copy.pieces for copy in chosen], phrases, params.vocabulary_size)

    vocabulary = words_of(usable)
    reviewer = make_reviewer(
        fit_facts(rows, usable, [], vocabulary),
        [],
        vocabulary,
        levels=[],
        targets={},
        max_copied_span=params.max_copied_span,
        repeats=usual_repeats(usable),
    )
    true = _true_copies(usable, reviewer)
    refused = len(usable) - len(true)
    true = true if len(true) >= MIN_COPIES else list(usable)
    if judges is None:
        groups = split_groups(true)
        names = sorted(set(groups))
        drawn = {names[index] for index in rng.permutation(len(names))[: max(1, round(params.validation_share * len(names)))]}
        train = [copy for copy, group in zip(true, groups, strict=True) if group not in drawn]
        held_out = [copy for copy, group in zip(true, groups, strict=True) if group in drawn]
        held_groups = [group for group in groups if group in drawn]
    else:
        train, held_out, held_groups = true, list(judges), split_groups(judges)
    vocabulary = words_of(train)
    facts = fit_facts(rows, train, held_out, vocabulary)
    bare = make_reviewer(facts, train, vocabulary, levels=[0.0], targets=fit_targets(train, facts), max_copied_span=params.max_copied_span)
    levels = [bare.level(copy.text, copy.request) for copy in held_out]
    reviewer = replace(bare, levels=tuple(sorted(levels)))
    counts = {"copies": len(usable), "refused_for_training": refused, "training": len(train), "validation": len(held_out)}
    logger.info(
        "%d copies: %d to train on, %d held out, %d left out because compliance, facts or form refuse them",
        len(usable),
        len(train),
        len(held_out),
        refused,
    )
    return _Work(train, held_out, np.array(held_groups, dtype=object), vocabulary, reviewer, int(rng.integers(2**20)), counts)


def _true_copies(usable: Sequence[Copy], reviewer: Reviewer) -> list[Copy]:
    """Copies that say nothing false or forbidden; of the others what is left without the clauses that do."""
    found: list[Copy] = []
    for copy in usable:
        request = copy.request

        def faulty(clause: str, request: CopyRequest = request) -> bool:
            return bool(reviewer.facts.check(clause, request, reviewer.vocabulary) or reviewer.compliance.blocks(clause, request.category))

        kept = copy if reviewer.review(copy.text, request, may_copy=True).accepted else mended(copy, faulty)
        if kept is not None and (kept is copy or reviewer.review(kept.text, request, may_copy=True).accepted):
            found.append(kept)
    return found


def _train(
    params: GeneratorParams,
    work: _Work,
    audiences: Audiences,
    vectors: Embeddings,
    word_vectors: Callable[[Sequence[str]], np.ndarray],
    *,
    checkpoints: Path,
    tracker: Tracker,
) -> _Trained:
    def report(metrics: dict[str, float], step: int) -> None:
        tracker.log_metrics(metrics, step=step)

    torch.manual_seed(work.seed)
    scale = fit_feature_scale(audiences.features)
    book = build_phrase_book([*{copy.request.item_id: copy.request for copy in work.train}.values()])
    max_tokens = 2 + max(len(work.vocabulary.encode(copy.lesson)) for copy in work.train)
    shape = DecoderShape(
        tokens=len(work.vocabulary),
        names=len(book.names) + 1,
        values=len(book.values) + 1,
        d_feature=len(scale.mean),
        d_latent=params.latent_dim,
        d_model=params.hidden_dim,
        layers=params.layers,
        heads=params.heads,
        max_tokens=max_tokens,
    )
    gpt = CopyModel(work.vocabulary, book, scale, CopyDecoder(shape, params.dropout), work.reviewer.repeats)
    gpt.decoder.begin_with(*(torch.from_numpy(word_vectors(words)) for words in (work.vocabulary.tokens, book.values)))
    features = torch.from_numpy(scale.apply(audiences.features)) if len(audiences.features) else torch.zeros(0, 1)

    def tensors(copies: Sequence[Copy], weights: np.ndarray) -> CopyData:
        prompts, _ = gpt.prompts([copy.request for copy in copies])
        tokens = [gpt.tokens(copy.lesson) for copy in copies]
        raw = torch.from_numpy(np.ascontiguousarray(vectors.vectors_of([copy.source_text for copy in copies]), np.float32))
        return CopyData(prompts, tokens, raw, weights, features)

    train, held_out = tensors(work.train, audiences.weights), tensors(work.held_out, np.zeros((len(work.held_out), 0)))
    affordable = max(1, int(params.max_positions * 1_000_000) // train.positions)
    gpt_epochs = min(params.gpt_epochs, max(1, round(affordable * params.gpt_epochs / (params.gpt_epochs + params.latent_epochs))))
    latent_epochs = min(params.latent_epochs, max(1, affordable - gpt_epochs))
    settings = FitSettings(gpt_epochs, params.batch_size, params.learning_rate, work.seed, bf16=True, label="gpt")
    gpt_loss = fit_decoder(gpt, None, train, held_out, settings, checkpoints=checkpoints / "gpt", report=report)

    decoder = CopyDecoder(shape, params.dropout)
    decoder.load_state_dict(gpt.decoder.state_dict())
    torch.manual_seed(work.seed + 1)  # ℓ begins alike whether the fit before ran through or was resumed
    latent = LatentTextModel(
        CopyModel(work.vocabulary, book, scale, decoder, gpt.repeats), Projection(train.raw.mean(0), params.latent_dim)
    )
    settings = FitSettings(latent_epochs, params.batch_size, params.learning_rate / 3, work.seed + 1, bf16=True, label="latent")
    latent_loss = fit_decoder(latent.model, latent.projection, train, held_out, settings, checkpoints=checkpoints / "latent", report=report)
    latent.projection.requires_grad_(False).eval()

    def latents(data: CopyData) -> LatentData:
        return LatentData(
            latent.encode(data.raw.numpy()).clone(),
            conditions(latent.model, data.prompts),
            torch.from_numpy(data.weights).float(),
            features,
        )

    known, unseen = latents(train), latents(held_out)
    vae = train_vae(
        known,
        d_hidden=2 * params.hidden_dim,
        epochs=params.vae_epochs,
        batch_size=params.batch_size,
        seed=work.seed + 2,
        report=report,
    )
    gan_settings = GanSettings(
        params.noise_dim, 2 * params.hidden_dim, params.gan_steps, 2 * params.batch_size, params.r1_weight, params.ema_decay
    )
    checks = -(-params.gan_steps // gan_settings.check_every)
    watched: dict[int, Generator] = {}

    def watch(network: Generator, step: int) -> None:
        if step == params.gan_steps or -(-step // gan_settings.check_every) % max(1, checks // WATCHED) == 0:
            watched[step] = deepcopy(network)

    gan, detector = train_gan(known, unseen, gan_settings, seed=work.seed + 3, report=report, watch=watch)
    start = Sampling(params.temperatures[0], params.top_p, params.guidance)
    generators: dict[str, CopyGenerator] = {
        Origin.TEMPLATE: TemplateGenerator(),
        Origin.CLAUSE: ClauseGenerator(tuple(work.train)),
        Origin.RETRIEVAL: RetrievalGenerator(tuple(work.train)),
        Origin.NGRAM: fit_ngram(work.train, work.vocabulary),
        Origin.GPT: GptGenerator(gpt, start),
        Origin.VAE: VaeGenerator(latent, vae, start),
        Origin.GAN: GanGenerator(latent, gan, start),
    }
    notes: dict[str, Any] = {
        "epochs": {"gpt": gpt_epochs, "latent": latent_epochs},
        "validation_loss": {"gpt": gpt_loss, "latent": latent_loss},
        "gan": _gan_note(detector),
    }
    if params.hf.model is not None:
        own = params.hf
        settings_hf = TuneSettings(
            own.model or "", own.rank, own.alpha, own.steps, own.batch_size, own.learning_rate, own.max_tokens, seed=work.seed + 4
        )
        tuned, notes["validation_loss"]["hf"] = tune(
            work.train, work.held_out, settings_hf, features=audiences.features, weights=audiences.weights, report=report
        )
        generators[Origin.HF] = HfGenerator(tuned, start)
    return _Trained(generators, notes, held_out.raw.numpy(), known.latent, watched)


def _gan_note(detector: CollapseDetector) -> dict[str, Any]:
    return {
        "kept_step": detector.best_step,
        "frechet": detector.best_distance if detector.best_step >= 0 else None,
        "stopped": detector.reason,
    }


def best_of(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The generator that the pool is written with: the one with the highest main score; the first among equals.

    Args:
        table: generator → metric → interval.
    """
    return max(table, key=lambda name: table[name][MAIN]["value"])


def _gan_verdict(note: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """A GAN whose training stopped does not work, whatever its texts are like."""
    if note["stopped"]:
        found = {**found, "works": False, "reasons": [f"training stopped at {note['stopped']}", *found["reasons"]]}
    if found["works"] is False:
        logger.warning("the GAN does not work: %s", "; ".join(found["reasons"]))
    return {**note, **found}


def _judged(params: GeneratorParams, work: _Work, trained: _Trained, tracker: Tracker, encode: Encode | None) -> GeneratorBundle:
    requests, references = [copy.request for copy in work.held_out], [copy.text for copy in work.held_out]

    def texts_of(generator: CopyGenerator) -> list[str]:
        return [(texts or [""])[0] for texts in generator.write(requests, 1, np.random.default_rng([work.seed, 9]))]

    generators, table, sweeps, written = dict(trained.generators), {}, {}, {}
    for name, generator in trained.generators.items():
        texts = texts_of(generator)
        if isinstance(generator, GptGenerator | VaeGenerator | GanGenerator | HfGenerator):
            drawn = {}
            for temperature in params.temperatures:
                warm = replace(generator, sampling=replace(generator.sampling, temperature=temperature))
                found = texts_of(warm)
                drawn[temperature] = (float(judge(found, requests, references, work.reviewer).score.mean()), found, warm)
            best = max(drawn, key=lambda temperature: drawn[temperature][0])
            _, texts, generators[name] = drawn[best]
            sweeps[name] = {str(temperature): score for temperature, (score, _, _) in drawn.items()}
        written[name] = tuple(texts)
        table[name] = measure(texts, requests, references, work.groups, reviewer=work.reviewer, rng=np.random.default_rng([work.seed, 10]))
        tracker.log_metrics({f"{name}_{metric}": value["value"] for metric, value in table[name].items()})
    table["human"] = measure(
        references, requests, references, work.groups, reviewer=work.reviewer, rng=np.random.default_rng([work.seed, 10]), human=True
    )
    chosen = best_of({name: table[name] for name in trained.generators})
    measured = evidence(
        generators,
        HeldOut(work.held_out, work.groups, trained.raw),
        known=trained.known,
        watched=trained.watched,
        reviewer=work.reviewer,
        encode=encode,
        seed=work.seed,
    )
    tracker.log_metrics(figures(measured))
    for step, distance in measured["gan"].get("encoder_frechet", ()):
        tracker.log_metrics({"gan_encoder_frechet": distance}, step=step)
    notes = {**trained.notes, **measured, "gan": _gan_verdict(trained.notes["gan"], measured["gan"])}
    config = {"trained": True, "reason": "", "main": MAIN, "models": table, "temperatures": sweeps, "copies": work.counts, **notes}
    tracker.set_tags({"generator": chosen})
    held_out = HeldOutTexts(tuple(work.held_out), tuple(map(str, work.groups)), written)
    return GeneratorBundle(generators, chosen, work.reviewer, tuple(work.train), config, held_out)
