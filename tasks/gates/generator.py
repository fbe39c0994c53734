"""Gates of the generator: the score of its copy against the champion's, written for the same held-out products."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.vocabulary import Origin
from evaluation.intervals import bootstrap_paired_difference
from models.generator import CopyRequest, GeneratorBundle
from models.generator.request import requests_of
from models.generator.training_copies import copies_of
from tasks.gates.verdict import Gate, difference_gate
from tasks.gates.window import HeldOut
from tasks.judge.copies import MAIN, as_shown, judge

ENOUGH, AT_MOST = 30, 200
"""Held-out copies that a comparison needs, and that it uses at the most."""


def generator_gates(challenger: Path, champion: Path | None, held_out: HeldOut) -> tuple[Gate, ...]:
    """Judge a challenger.

    Args:
        challenger: its bundle.
        champion: the champion's bundle; None when there is none: the template stands in.
        held_out: what they are compared on.

    Raises:
        BundleError: a bundle cannot be read.
    """
    bundle = GeneratorBundle.load(challenger)
    if champion is None:
        return (_first(bundle),)
    other = GeneratorBundle.load(champion)
    requests, references = _held_out_copies(bundle, other, held_out)
    if len(requests) < ENOUGH:
        told = f"{len(requests)} human copies that neither bundle has learned from; {ENOUGH} are needed to compare"
        return (Gate("main metric", False, told),)
    seed = int(held_out.rng.integers(2**31))
    scores = [
        judge(as_shown(each, each.chosen, requests, np.random.default_rng(seed)), requests, references, bundle.reviewer).score
        for each in (bundle, other)
    ]
    groups = np.array([request.item_id for request in requests], dtype=object)
    difference = bootstrap_paired_difference(scores[0], scores[1], groups, held_out.params.bootstrap, held_out.rng)
    return (difference_gate(difference, metric=f"copy {MAIN}", against="the champion"),)


def _first(bundle: GeneratorBundle) -> Gate:
    if bundle.chosen == Origin.TEMPLATE:
        return Gate(
            "main metric", True, f"first champion; it writes with the baseline template ({bundle.config.get('reason') or 'it scored best'})"
        )
    scores: dict[str, Any] = bundle.config["models"]
    mine, base = (scores[name][MAIN] for name in (bundle.chosen, Origin.TEMPLATE))
    passed = mine["value"] >= base["value"]
    told = f"copy {MAIN} of {bundle.chosen} {mine['value']:.4g} against {base['value']:.4g} of the baseline template"
    return Gate("main metric", passed, told if passed else f"{told}: the baseline writes better")


def _held_out_copies(bundle: GeneratorBundle, other: GeneratorBundle, held_out: HeldOut) -> tuple[list[CopyRequest], Sequence[str]]:
    learned = {copy.text for each in (bundle, other) for copy in each.copies}
    usable = copies_of(held_out.copies, requests_of(held_out.items, bundle.limits), max(bundle.limits.values()))
    unseen = [copy for copy in usable if copy.text not in learned]
    if len(unseen) > AT_MOST:
        unseen = [unseen[row] for row in np.sort(held_out.rng.choice(len(unseen), AT_MOST, replace=False))]
    return [copy.request for copy in unseen], [copy.text for copy in unseen]
