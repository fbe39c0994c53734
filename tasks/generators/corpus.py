"""What generators learn from and are judged by: true copies, split by group, and what is read off them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.params import GeneratorParams
from core.vocabulary import Origin
from models.generator.belonging import fit_belonging
from models.generator.bundle import GeneratorBundle, make_reviewer
from models.generator.facts import fit_facts
from models.generator.quality import Reviewer, fit_targets, usual_repeats
from models.generator.request import CopyRequest
from models.generator.slots import slots_of
from models.generator.template import TemplateGenerator
from models.generator.training_copies import Copy, mended, split_groups
from models.generator.vocabulary import SPECIALS, Vocabulary, build_vocabulary

logger = logging.getLogger(__name__)

MIN_COPIES = 100
"""Fewer usable copies train no model: the template writes, and config.json says so."""


@dataclass(frozen=True)
class Corpus:
    """Copies, split, and what is fitted on the training part."""

    train: list[Copy]
    held_out: list[Copy]
    groups: np.ndarray
    vocabulary: Vocabulary
    reviewer: Reviewer
    seed: int
    counts: dict[str, int]


def corpus_of(
    params: GeneratorParams, rng: np.random.Generator, rows: Sequence[CopyRequest], usable: Sequence[Copy], judges: Sequence[Copy] | None
) -> Corpus:
    """Split copies by group, leave out what is false or forbidden, and fit on the training part what judges copy.

    Args:
        params: sizes and shares.
        rng: the split and the seed.
        rows: the catalogue.
        usable: copies.
        judges: copies to choose by; None: a share of ``usable``.
    """

    def words_of(chosen: Sequence[Copy]) -> Vocabulary:
        phrases = [word for request in rows for word in (request.category, *[slot.value for slot in slots_of(request)])]
        return build_vocabulary([copy.pieces for copy in chosen], phrases, params.vocabulary_size)

    vocabulary = words_of(usable)
    reviewer = make_reviewer(
        fit_facts(rows, usable, []),
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
    facts = fit_facts(rows, train, held_out)
    bare = make_reviewer(
        facts,
        train,
        vocabulary,
        levels=[0.0],
        targets=fit_targets(train, facts),
        max_copied_span=params.max_copied_span,
        belonging=fit_belonging(train),
    )
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
    return Corpus(train, held_out, np.array(held_groups, dtype=object), vocabulary, reviewer, int(rng.integers(2**20)), counts)


def _true_copies(usable: Sequence[Copy], reviewer: Reviewer) -> list[Copy]:
    """Copies that say nothing false or forbidden; of the others what is left without the clauses that do."""
    found: list[Copy] = []
    for copy in usable:
        request = copy.request

        def faulty(clause: str, request: CopyRequest = request) -> bool:
            return bool(reviewer.facts.check(clause, request) or reviewer.compliance.blocks(clause, request.category))

        kept = copy if reviewer.review(copy.text, request, may_copy=True).accepted else mended(copy, faulty)
        if kept is not None and (kept is copy or reviewer.review(kept.text, request, may_copy=True).accepted):
            found.append(kept)
    return found


def template_only(products: Sequence[CopyRequest], params: GeneratorParams, limits: dict[str, int], reason: str) -> GeneratorBundle:
    """A bundle in which the template writes.

    Args:
        products: the catalogue.
        params: the longest span.
        limits: longest text of each channel.
        reason: why nothing is trained.
    """
    vocabulary = Vocabulary(SPECIALS)
    facts = fit_facts(products, [], [])
    reviewer = make_reviewer(facts, [], vocabulary, levels=[], targets={}, max_copied_span=params.max_copied_span)
    return GeneratorBundle(
        {Origin.TEMPLATE: TemplateGenerator()},
        Origin.TEMPLATE,
        reviewer,
        (),
        {"trained": False, "reason": reason, "models": {}, "limits": limits},
    )
