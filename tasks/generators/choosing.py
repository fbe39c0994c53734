"""Every generator on held-out products, and which of them writes the pool."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from core.params import GeneratorParams
from core.tracking import Tracker
from evaluation.intervals import bootstrap_mean
from models.generator.bundle import GeneratorBundle
from models.generator.gan import GanGenerator
from models.generator.gpt import GptGenerator
from models.generator.held_out import HeldOutTexts
from models.generator.hf import HfGenerator
from models.generator.interface import CopyGenerator
from models.generator.request import CopyRequest
from models.generator.vae import VaeGenerator
from tasks.generators.corpus import Corpus
from tasks.generators.networks import Trained
from tasks.judge.adversary import Encode
from tasks.judge.copies import MAIN, REPLICATIONS, SHOWN_OF, as_shown, judge, measure
from tasks.judge.evidence import HeldOut, evidence, figures

logger = logging.getLogger(__name__)

TRIED = 150
"""Held-out copies, at most, that temperatures and what would be shown are judged on."""


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


def judged(params: GeneratorParams, work: Corpus, trained: Trained, tracker: Tracker, encode: Encode | None) -> GeneratorBundle:
    """Let every generator write for held-out products, at its best temperature, and judge what it wrote.

    Args:
        params: temperatures.
        work: what was learned from.
        trained: the generators.
        tracker: receives the scores.
        encode: texts → raw encoder vectors, for the Fréchet distance; None: it is not measured.
    """
    requests, references = [copy.request for copy in work.held_out], [copy.text for copy in work.held_out]

    def texts_of(generator: CopyGenerator, orders: Sequence[CopyRequest]) -> list[str]:
        return [(texts or [""])[0] for texts in generator.write(orders, 1, np.random.default_rng([work.seed, 9]))]

    rows = np.sort(np.random.default_rng([work.seed, 14]).permutation(len(requests))[:TRIED])
    some, some_references = [requests[row] for row in rows], [references[row] for row in rows]
    generators, table, written = dict(trained.generators), {}, {}
    sweeps: dict[str, dict[str, float]] = {}
    for name, generator in trained.generators.items():
        if isinstance(generator, GptGenerator | VaeGenerator | GanGenerator | HfGenerator):
            sweeps[name] = {}
            for temperature in params.temperatures:
                warm = replace(generator, sampling=replace(generator.sampling, temperature=temperature))
                found = judge(texts_of(warm, some), some, some_references, work.reviewer)
                sweeps[name][str(temperature)] = float(found.score.mean())
            best = max(params.temperatures, key=lambda temperature: sweeps[name][str(temperature)])
            generators[name] = replace(generator, sampling=replace(generator.sampling, temperature=best))
        written[name] = tuple(texts_of(generators[name], requests))
        texts = written[name]
        table[name] = measure(texts, requests, references, work.groups, reviewer=work.reviewer, rng=np.random.default_rng([work.seed, 10]))
        tracker.log_metrics({f"{name}_{metric}": value["value"] for metric, value in table[name].items()})
    table["human"] = measure(
        references, requests, references, work.groups, reviewer=work.reviewer, rng=np.random.default_rng([work.seed, 10]), human=True
    )
    judging = GeneratorBundle(generators, next(iter(generators)), work.reviewer, tuple(work.train), {})
    for name in generators:
        shown = as_shown(judging, name, some, np.random.default_rng([work.seed, 15]))
        score = judge(shown, some, some_references, work.reviewer).score
        table[name][MAIN] = bootstrap_mean(score, work.groups[rows], REPLICATIONS, np.random.default_rng([work.seed, 16])).as_dict()
        tracker.log_metrics({f"{name}_{MAIN}": table[name][MAIN]["value"]})
    score = judge(some_references, some, some_references, work.reviewer, human=True).score
    table["human"][MAIN] = bootstrap_mean(score, work.groups[rows], REPLICATIONS, np.random.default_rng([work.seed, 16])).as_dict()
    chosen = best_of({name: table[name] for name in trained.generators})
    measured = evidence(
        generators,
        HeldOut(work.held_out, work.groups, trained.raw),
        known=trained.known,
        human=trained.human,
        watched=trained.watched,
        reviewer=work.reviewer,
        encode=encode,
        seed=work.seed,
    )
    tracker.log_metrics(figures(measured))
    for step, distance in measured["gan"].get("encoder_frechet", ()):
        tracker.log_metrics({"gan_encoder_frechet": distance}, step=step)
    notes = {**trained.notes, **measured, "gan": _gan_verdict(trained.notes["gan"], measured["gan"])}
    config = {
        "trained": True,
        "reason": "",
        "main": MAIN,
        "shown": {"products": len(some), "texts": SHOWN_OF},
        "models": table,
        "temperatures": sweeps,
        "copies": work.counts,
        **notes,
    }
    tracker.set_tags({"generator": chosen})
    held_out = HeldOutTexts(tuple(work.held_out), tuple(map(str, work.groups)), written)
    return GeneratorBundle(generators, chosen, work.reviewer, tuple(work.train), config, held_out)
