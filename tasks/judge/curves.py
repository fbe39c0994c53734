"""The plane of quality and diversity: each generator over a sweep of temperatures, and who lies above the 3-gram's curve.

A single point flatters whoever samples coldest; text GANs were long praised for it (Caccia et al. 2020). So curves are compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from core.vocabulary import Origin
from evaluation import text as metrics
from evaluation.intervals import bootstrap_mean
from models.generator.gan import GanGenerator
from models.generator.gpt import GptGenerator
from models.generator.interface import CopyGenerator
from models.generator.ngram import NgramGenerator
from models.generator.quality import Reviewer
from models.generator.training_copies import Copy
from models.generator.vae import VaeGenerator
from tasks.judge.copies import REPLICATIONS

TEMPERATURES = (0.4, 0.6, 0.8, 1.0, 1.2)
_BETWEEN = 100
"""Points by which a curve is drawn between two temperatures."""

Point = dict[str, float]


def at_temperature(generator: CopyGenerator, temperature: float) -> CopyGenerator | None:
    """A generator that samples at another temperature.

    Args:
        generator: any.
        temperature: above 0.

    Returns:
        None for a generator without temperature.
    """
    if isinstance(generator, NgramGenerator):
        return replace(generator, temperature=temperature)
    if isinstance(generator, GptGenerator | VaeGenerator | GanGenerator):
        return replace(generator, sampling=replace(generator.sampling, temperature=temperature))
    return None


def curves(
    generators: Mapping[str, CopyGenerator], copies: Sequence[Copy], groups: np.ndarray, *, reviewer: Reviewer, seed: int
) -> dict[str, Any]:
    """Every generator's curve, and whether GPT, VAE and GAN lie above the 3-gram's.

    Args:
        generators: by name; those without temperature are left out.
        copies: held-out copies.
        groups: (copies,) the group of each.
        reviewer: knows what is copied.
        seed: of sampling, the same for all.

    Returns:
        ``n``, ``copies`` (ids of the held-out copies), ``points`` (generator → one point a temperature: temperature, bleu4 with bleu4_low
        and bleu4_high, self_bleu4, copy_rate),
        ``above_ngram`` (generator → see `above`).
    """
    points: dict[str, list[Point]] = {}
    for name, generator in generators.items():
        for temperature in TEMPERATURES:
            warm = at_temperature(generator, temperature)
            if warm is not None:
                points.setdefault(name, []).append(_point(warm, temperature, copies, groups=groups, reviewer=reviewer, seed=seed))
    baseline = points.get(Origin.NGRAM, [])
    verdicts = {name: above(found, baseline) for name, found in points.items() if name != Origin.NGRAM and baseline}
    return {"n": len(copies), "copies": [copy.copy_id for copy in copies], "points": points, "above_ngram": verdicts}


def above(points: Sequence[Point], baseline: Sequence[Point]) -> dict[str, Any]:
    """Whether a curve lies above another in the plane of BLEU-4 (more is better) and Self-BLEU-4 (less is better) at equal copy rate.

    A point lies above when its BLEU-4 is higher than the best that the baseline's curve, drawn straight between its temperatures, has
    wherever it copies no more and is at least as diverse. Where the baseline is nowhere so, its most diverse place counts, among those
    that copy no more if there are such.

    Args:
        points: a generator's, one a temperature.
        baseline: the other's.

    Returns:
        ``all`` (every point lies above), ``share`` of points that do, and ``points``: temperature, the baseline's BLEU-4 there, above.
    """
    line = _drawn(baseline)  # (places, 3): BLEU-4, Self-BLEU-4, copy rate
    found = []
    for point in points:
        fair = line[line[:, 2] <= point["copy_rate"] + 1e-9]
        fair = fair if len(fair) else line[line[:, 2] == line[:, 2].min()]
        diverse = fair[fair[:, 1] <= point["self_bleu4"] + 1e-9]
        diverse = diverse if len(diverse) else fair[[int(fair[:, 1].argmin())]]
        goal = float(diverse[:, 0].max())
        found.append({"temperature": point["temperature"], "ngram_bleu4": goal, "above": bool(point["bleu4"] > goal)})
    share = float(np.mean([row["above"] for row in found])) if found else 0.0
    return {"all": share == 1.0, "share": share, "points": found}


def _drawn(points: Sequence[Point]) -> np.ndarray:
    corners = np.array([[point["bleu4"], point["self_bleu4"], point["copy_rate"]] for point in points])
    places = np.linspace(0, len(corners) - 1, max(1, (len(corners) - 1) * _BETWEEN + 1))
    return np.stack([np.interp(places, np.arange(len(corners)), column) for column in corners.T], 1)


def _point(
    generator: CopyGenerator, temperature: float, copies: Sequence[Copy], *, groups: np.ndarray, reviewer: Reviewer, seed: int
) -> Point:
    rng = np.random.default_rng(seed)
    texts = [(found or [""])[0] for found in generator.write([copy.request for copy in copies], 1, rng)]
    bleu = bootstrap_mean(metrics.bleu_4(texts, [copy.text for copy in copies]), groups, REPLICATIONS, rng)
    copied = [overlap.longest >= metrics.COPIED_SPAN for overlap in reviewer.spans.overlaps(texts)]
    return {
        "temperature": temperature,
        "bleu4": bleu.value,
        "bleu4_low": bleu.low,
        "bleu4_high": bleu.high,
        "self_bleu4": metrics.self_bleu_4(texts),
        "copy_rate": float(np.mean(copied)),
    }
