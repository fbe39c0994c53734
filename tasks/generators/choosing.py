"""Every generator on held-out products, and which of them writes the pool."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.beside import beside
from core.params import GeneratorParams
from core.tracking import Tracker
from core.vocabulary import Origin
from evaluation.intervals import bootstrap_mean
from models.generator.bundle import GeneratorBundle
from models.generator.gan import GanGenerator
from models.generator.gpt import GptGenerator
from models.generator.held_out import HeldOutTexts
from models.generator.hf import HfGenerator
from models.generator.interface import CopyGenerator
from models.generator.request import CopyRequest
from models.generator.training_copies import Copy
from models.generator.vae import VaeGenerator
from tasks.generators.corpus import Corpus
from tasks.generators.networks import Trained
from tasks.judge.adversary import Encode
from tasks.judge.copies import MAIN, REPLICATIONS, SHOWN_OF, as_shown, judge, measure
from tasks.judge.curves import curves
from tasks.judge.evidence import HeldOut, evidence, figures

logger = logging.getLogger(__name__)

TRIED = 150
"""Held-out copies, at most, that temperatures and what would be shown are judged on."""
_WORTH_A_PROCESS = 100
"""Held-out copies from which on a second process takes part of the judging."""
MOST_NEW = 0.5
"""Word pairs of held-out human copy, on average, that training copy may lack where a score is to be believed of who writes word by word."""
WORD_BY_WORD = frozenset({Origin.NGRAM, Origin.GPT, Origin.VAE, Origin.GAN})
_Sampled = GptGenerator | VaeGenerator | GanGenerator | HfGenerator
Sweeps = dict[str, dict[float, float]]


def best_of(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The generator that the pool is written with: the one with the highest main score; the first among equals.

    Args:
        table: generator → metric → interval.
    """
    return max(table, key=lambda name: table[name][MAIN]["value"])


def familiar(work: Corpus) -> dict[str, Any]:
    """How well training copy knows what people write, and which generators cannot be judged by it.

    Fluency is told by word pairs that human copy should have made by now. Where people make most of their pairs anew, it knows too few: a
    network that repeats the pairs of its few copies in any order then scores above people. What strings clauses or fixed sentences together
    makes sense all the same.

    Args:
        work: training copies, held-out copies and the reviewer.

    Returns:
        ``new_pairs``: share of word pairs of held-out human copy that no training copy has; ``most``: that it may be;
        ``left_out``: generators that cannot be chosen.
    """
    new = float(np.mean([work.reviewer.new_pairs(copy.text, copy.request) for copy in work.held_out]))
    return {"new_pairs": new, "most": MOST_NEW, "left_out": sorted(WORD_BY_WORD) if new > MOST_NEW else []}


def _gan_verdict(note: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """A GAN whose training stopped does not work, whatever its texts are like."""
    if note["stopped"]:
        found = {**found, "works": False, "reasons": [f"training stopped at {note['stopped']}", *found["reasons"]]}
    if found["works"] is False:
        logger.warning("the GAN does not work: %s", "; ".join(found["reasons"]))
    return {**note, **found}


def _at(generator: CopyGenerator, temperature: float | None) -> CopyGenerator:
    """The generator at another temperature; as it is for None."""
    if temperature is None or not isinstance(generator, _Sampled):
        return generator
    return replace(generator, sampling=replace(generator.sampling, temperature=temperature))


def _texts(generator: CopyGenerator, requests: Sequence[CopyRequest], seed: int) -> list[str]:
    """One text a request; empty where there is none."""
    return [(texts or [""])[0] for texts in generator.write(requests, 1, np.random.default_rng([seed, 9]))]


def _temperatures(params: GeneratorParams, copies: Sequence[Copy], judging: GeneratorBundle, seed: int) -> Sweeps:
    """Of each generator that has one: temperature → mean score of what it writes for some held-out products."""
    requests, references = [copy.request for copy in copies], [copy.text for copy in copies]
    sweeps: Sweeps = {}
    for name, generator in judging.generators.items():
        if isinstance(generator, _Sampled):
            sweeps[name] = {}
            for temperature in params.temperatures:
                found = judge(_texts(_at(generator, temperature), requests, seed), requests, references, judging.reviewer)
                sweeps[name][temperature] = float(found.score.mean())
    return sweeps


def _curves(judging: GeneratorBundle, copies: Sequence[Copy], groups: NDArray[np.object_], *, seed: int) -> dict[str, Any]:
    return curves(judging.generators, copies, groups, reviewer=judging.reviewer, seed=seed)


def _as_shown(
    judging: GeneratorBundle, temperatures: Mapping[str, float], copies: Sequence[Copy], groups: NDArray[np.object_], *, seed: int
) -> dict[str, dict[str, float]]:
    """Every generator's main score, and that of the human copies."""
    requests, references = [copy.request for copy in copies], [copy.text for copy in copies]
    warm = replace(judging, generators={name: _at(one, temperatures.get(name)) for name, one in judging.generators.items()})
    shown = {name: as_shown(warm, name, requests, np.random.default_rng([seed, 15])) for name in warm.generators}
    scores = {name: judge(texts, requests, references, judging.reviewer).score for name, texts in shown.items()}
    scores["human"] = judge(references, requests, references, judging.reviewer, human=True).score
    return {
        name: bootstrap_mean(score, groups, REPLICATIONS, np.random.default_rng([seed, 16])).as_dict() for name, score in scores.items()
    }


def judged(params: GeneratorParams, work: Corpus, trained: Trained, tracker: Tracker, encode: Encode | None) -> GeneratorBundle:
    """Let every generator write for held-out products, at its best temperature, and judge what it wrote.

    Args:
        params: temperatures.
        work: what was learned from.
        trained: the generators.
        tracker: receives the scores.
        encode: texts → raw encoder vectors, for the Fréchet distance; None: it is not measured.
    """
    seed, some = work.seed, HeldOut(work.held_out, work.groups, trained.raw).some(np.random.default_rng([work.seed, 11]))
    judging = GeneratorBundle(dict(trained.generators), next(iter(trained.generators)), work.reviewer, tuple(work.train), {})
    many = len(work.held_out) >= _WORTH_A_PROCESS and Origin.HF not in judging.generators
    with beside(judging, worthwhile=many) as other:
        drawn = other.begin(_curves, some.copies, some.groups, seed=seed)
        rows = np.sort(np.random.default_rng([seed, 14]).permutation(len(work.held_out))[:TRIED])
        tried = [work.held_out[row] for row in rows]
        sweeps = _temperatures(params, tried, judging, seed)
        temperatures = {name: max(sweep, key=lambda temperature: sweep[temperature]) for name, sweep in sweeps.items()}
        main = other.begin(_as_shown, temperatures, tried, work.groups[rows], seed=seed)
        generators = {name: _at(generator, temperatures.get(name)) for name, generator in trained.generators.items()}
        requests, references = [copy.request for copy in work.held_out], [copy.text for copy in work.held_out]
        written = {name: tuple(_texts(generator, requests, seed)) for name, generator in generators.items()}
        table = {}
        for name, texts in [*written.items(), ("human", references)]:
            rng, human = np.random.default_rng([seed, 10]), name == "human"
            table[name] = measure(texts, requests, references, work.groups, reviewer=work.reviewer, rng=rng, human=human)
        for name, score in main.result().items():
            table[name][MAIN] = score
        measured: dict[str, Any] = {"curves": drawn.result()}
    # most of this passes through the encoder, which likes to have all threads
    measured |= evidence(
        generators.get(Origin.GAN),
        some,
        known=trained.known,
        human=trained.human,
        watched=trained.watched,
        reviewer=work.reviewer,
        encode=encode,
        seed=seed,
    )
    for name, row in table.items():
        if name in generators:
            tracker.log_metrics({f"{name}_{metric}": value["value"] for metric, value in row.items()})
    known = familiar(work)
    chosen = best_of({name: table[name] for name in trained.generators if name not in known["left_out"]})
    tracker.log_metrics(figures(measured) | {"new_pairs_of_human_copy": known["new_pairs"]})
    for step, distance in measured["gan"].get("encoder_frechet", ()):
        tracker.log_metrics({"gan_encoder_frechet": distance}, step=step)
    notes = {**trained.notes, **measured, "gan": _gan_verdict(trained.notes["gan"], measured["gan"])}
    config = {
        "trained": True,
        "reason": "",
        "main": MAIN,
        "shown": {"products": len(tried), "texts": SHOWN_OF},
        "models": table,
        "temperatures": {name: {str(temperature): score for temperature, score in sweep.items()} for name, sweep in sweeps.items()},
        "copies": work.counts,
        "familiar": known,
        **notes,
    }
    tracker.set_tags({"generator": chosen})
    held_out = HeldOutTexts(tuple(work.held_out), tuple(map(str, work.groups)), written)
    return GeneratorBundle(generators, chosen, work.reviewer, tuple(work.train), config, held_out)
