"""The networks and baselines, trained."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.params import GeneratorParams
from core.tracking import Tracker
from core.vocabulary import Origin
from models.cues import tone_of
from models.device import bfloat16_pays, device
from models.embeddings import Embeddings
from models.generator.clause import ClauseGenerator
from models.generator.copy_model import CopyModel
from models.generator.decoder import CopyDecoder, DecoderShape
from models.generator.gan import GanGenerator, Generator
from models.generator.gpt import GptGenerator, Sampling
from models.generator.hf import HfGenerator
from models.generator.hf.training import TuneSettings, tune
from models.generator.interface import CopyGenerator
from models.generator.latent import LatentTextModel, Projection, conditions
from models.generator.latent_features import latent_features, means_of
from models.generator.latent_start import begin_reading, end_as_late_as_people
from models.generator.latent_training import CollapseDetector, GanSettings, LatentData, train_gan, train_vae
from models.generator.memory import PhraseMemory
from models.generator.memory_share import Remembering, memory_of, remember
from models.generator.ngram import fit_ngram
from models.generator.prompts import build_phrase_book, fit_feature_scale
from models.generator.response import ResponseModel
from models.generator.retrieval import RetrievalGenerator
from models.generator.template import TemplateGenerator
from models.generator.training import CopyData, FitSettings, fit_decoder
from models.generator.training_copies import Copy
from models.generator.vae import VaeGenerator
from tasks.generators.corpus import Corpus

Report = Callable[[dict[str, float], int], None]

WATCHED = 4
"""Steps of the GAN, about, whose texts are measured in the encoder's space."""


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


@dataclass(frozen=True)
class Trained:
    """What training made.

    Attributes:
        generators: by origin.
        notes: epochs, losses, what became of the GAN: for config.json.
        raw: (held-out copies, slots, d) features.
        known: (training copies, d_latent) ℓ.
        human: (training copies, d) raw encoder vectors.
        watched: step → the GAN's generator then.
    """

    generators: dict[str, CopyGenerator]
    notes: dict[str, Any]
    raw: np.ndarray
    known: torch.Tensor
    human: np.ndarray
    watched: dict[int, Generator]


def fit_generators(
    params: GeneratorParams,
    work: Corpus,
    audiences: Audiences,
    vectors: Embeddings,
    word_vectors: Callable[[Sequence[str]], np.ndarray],
    *,
    checkpoints: Path,
    tracker: Tracker,
) -> Trained:
    """Train GPT, latent model, VAE and GAN, the language model where one is named, and the baselines.

    Args:
        params: sizes, epochs and rates.
        work: what is learned from.
        audiences: whom the copies speak to.
        vectors: raw vectors of the copies.
        word_vectors: words → (n, d), where the decoder's words begin.
        checkpoints: where a killed training is taken up.
        tracker: receives losses.
    """

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
        d_latent=params.latent_dim * (1 + params.latent_parts),
        d_model=params.hidden_dim,
        layers=params.layers,
        heads=params.heads,
        max_tokens=max_tokens,
        slots=1 + params.latent_parts,
    )
    gpt = CopyModel(work.vocabulary, book, scale, CopyDecoder(shape, params.dropout), work.reviewer.repeats)
    gpt.decoder.begin_with(*(torch.from_numpy(word_vectors(words)) for words in (work.vocabulary.tokens, book.values)))
    features = torch.from_numpy(scale.apply(audiences.features)) if len(audiences.features) else torch.zeros(0, 1)

    def tensors(copies: Sequence[Copy], weights: np.ndarray, *, toned: bool = False) -> CopyData:
        prompts, _ = gpt.prompts([replace(copy.request, tone=tone_of(copy.text) if toned else None) for copy in copies])
        tokens = [gpt.tokens(copy.lesson) for copy in copies]
        whole = vectors.vectors_of([copy.source_text for copy in copies])
        return CopyData(prompts, tokens, latent_features(gpt, copies, whole, word_vectors, params.latent_parts), weights, features)

    train, held_out = tensors(work.train, audiences.weights, toned=True), tensors(work.held_out, np.zeros((len(work.held_out), 0)))
    affordable = max(1, int(params.max_positions * 1_000_000) // train.positions)
    gpt_epochs = min(params.gpt_epochs, max(1, round(affordable * params.gpt_epochs / (params.gpt_epochs + params.latent_epochs))))
    latent_epochs = min(params.latent_epochs, max(1, affordable - gpt_epochs))
    bf16 = bfloat16_pays(device())
    settings = FitSettings(
        gpt_epochs, params.batch_size, params.learning_rate, work.seed, bf16=bf16, optimiser=params.optimiser, label="gpt"
    )
    loss = fit_decoder(gpt, None, train, held_out, settings, checkpoints=checkpoints / "gpt", report=report)
    memory = memory_of(gpt, train) if params.memory else None
    gpt, told = (gpt, Remembering(0.0, loss, loss)) if memory is None else remember(gpt, None, memory, held_out)
    remembered = {"gpt": told}
    settings = replace(
        settings, epochs=latent_epochs, learning_rate=params.learning_rate / 3, seed=work.seed + 1, label="latent", blur=params.latent_blur
    )
    latent, remembered["latent"] = _fit_latent(
        gpt, params, train, held_out, settings, memory=memory, checkpoints=checkpoints / "latent", report=report
    )
    end_as_late_as_people(latent, work.held_out, held_out.raw, seed=work.seed + 5)

    def latents(data: CopyData) -> LatentData:
        return LatentData(
            latent.encode(data.raw.numpy()).clone(),
            conditions(latent.model, data.prompts),
            torch.from_numpy(data.weights).float(),
            features,
            params.latent_blur,
        )

    known, unseen = latents(train), latents(held_out)
    vae = train_vae(
        known,
        unseen,
        d_hidden=2 * params.hidden_dim,
        epochs=params.vae_epochs,
        batch_size=params.batch_size,
        seed=work.seed + 2,
        report=report,
    )
    gan_settings = GanSettings(
        params.noise_dim,
        2 * params.hidden_dim,
        params.gan_steps,
        2 * params.batch_size,
        params.r1_weight,
        params.ema_decay,
        g_rate=5e-4,
        d_ratio=2.0,
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
    for name, told in remembered.items():
        tracker.log_metrics({f"{name}_memory_share": told.share, f"{name}_memory_validation_loss": told.loss})
    notes: dict[str, Any] = {
        "epochs": {"gpt": gpt_epochs, "latent": latent_epochs},
        "validation_loss": {name: told.loss for name, told in remembered.items()},
        "memory": {name: asdict(told) for name, told in remembered.items()},
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
    return Trained(generators, notes, held_out.raw.numpy(), known.latent, train.raw[:, 0].numpy(), watched)


def _fit_latent(
    gpt: CopyModel,
    params: GeneratorParams,
    train: CopyData,
    held_out: CopyData,
    settings: FitSettings,
    *,
    memory: PhraseMemory | None,
    checkpoints: Path,
    report: Report,
) -> tuple[LatentTextModel, Remembering]:
    """The latent text model, whose decoder begins as the GPT."""
    decoder = CopyDecoder(gpt.decoder.shape, params.dropout)
    decoder.load_state_dict(gpt.decoder.state_dict())
    torch.manual_seed(settings.seed)  # ℓ begins alike whether the fit before ran through or was resumed
    alone = replace(gpt, decoder=decoder, memory=None, share=0.0)
    projection = Projection(means_of(train.raw), params.latent_dim)
    if not list(checkpoints.glob("*.ckpt")):
        begin_reading(decoder, projection, train, blur=params.latent_blur, seed=settings.seed, bf16=bfloat16_pays())
    loss = fit_decoder(alone, projection, train, held_out, settings, checkpoints=checkpoints, report=report)
    projection.requires_grad_(False).eval()
    if memory is None:
        return LatentTextModel(alone, projection), Remembering(0.0, loss, loss)
    model, told = remember(alone, projection, memory, held_out)
    return LatentTextModel(model, projection), told


def _gan_note(detector: CollapseDetector) -> dict[str, Any]:
    return {
        "kept_step": detector.best_step,
        "frechet": detector.best_distance if detector.best_step >= 0 else None,
        "energy": detector.best_energy if detector.best_step >= 0 else None,
        "stopped": detector.reason,
    }
