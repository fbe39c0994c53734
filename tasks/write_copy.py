"""`adloom write`: copy for a file of products, batch by batch, resumable, in memory that does not grow with the file."""

import json
import logging
import os
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from core.errors import BundleError, SourceError, storage_error
from core.files import content_hash, read_json, write_json
from core.vocabulary import Channel, Origin, Scene
from models.generator.belonging import kind_of
from models.generator.bundle import ON_DEMAND, GeneratorBundle
from models.generator.compliance import Compliance
from tasks.product_lines import Product, read_products, unreadable

logger = logging.getLogger(__name__)

BATCH = 200
"""Products that are written for at a time, and that a killed run loses at the most."""
AI_LABEL = "AI生成"
"""The label that the measures for labelling AI-generated content (in force since 1 September 2025) ask for."""


@dataclass(frozen=True)
class Writing:
    """How copy is written for a file.

    Attributes:
        candidates: texts written for a product, at least 1.
        kept: of these, how many are put out at most, the best first.
        generator: an origin; None for the bundle's own choice.
        scene: of lines that name none.
        channel: of lines that name none.
        tone: of lines that name none; None for any.
        limit: longest text of lines that name none; None for the channel's.
        seed: of sampling.
        rules: own compliance rules, laid over the list; None for the list alone.
    """

    candidates: int = 4
    kept: int = 1
    generator: str | None = None
    scene: str = Scene.PRODUCT
    channel: str = Channel.ONSITE
    tone: str | None = None
    limit: int | None = None
    seed: int = 7
    rules: Path | None = None


@dataclass(frozen=True)
class Written:
    """What became of a file.

    Attributes:
        products: lines written for, those of an earlier run included.
        resumed: how many of them an earlier run had done.
        by_template: products that the template wrote for: all candidates were refused, or no training copy is about their category.
        refused: how many of those the template had no acceptable text for either; their lines say ``accepted: false``.
        untaught: kind of product (`kind_of`) that no training copy is about → products, of this run; empty where a generator is named.
        taught: the kinds that training copy is about.
    """

    products: int
    resumed: int
    by_template: int
    refused: int
    untaught: dict[str, int]
    taught: tuple[str, ...]


def write_copy(products: Path, out: Path, *, bundle: Path, writing: Writing) -> Written:
    """Write copy for each product of a file; ``out`` appears when all is written.

    A killed run is taken up where its last whole batch ended, to an equal file, as long as bundle, file and settings are the same.

    Args:
        products: JSON lines (`tasks.product_lines`).
        out: JSON lines, one a copy: the product's line number and id, scene, channel, text, origin, label, and every score.
        bundle: a generator bundle's folder.
        writing: candidates and defaults.

    Raises:
        SourceError: the file cannot be read or is empty, a line is no product, or ``out`` exists already.
        BundleError: the bundle is incomplete, or has no such generator.
        ParamsError: the own rules are ill-formed; with file and line.
        StorageError: the disk is full; what is written so far stays, and the same command goes on.
        ValueError: fewer than one candidate.
    """
    if out.exists():
        raise SourceError(f"{out} exists already. Remove it, or name another file with --out.")
    total = _count(products)
    held = GeneratorBundle.load(bundle)
    if writing.generator is not None and writing.generator not in held.generators:
        raise BundleError(
            f"{bundle}: no generator {writing.generator!r}; there are {', '.join(held.generators)}. "
            f"Name one of them with --generator, or leave it out and {held.chosen} writes."
        )
    own = []
    if writing.rules is not None:
        held, own = held.under(Compliance.load(extra=writing.rules)), [content_hash(writing.rules)]
    key = [content_hash(bundle), content_hash(products), *map(str, vars(writing).values()), *own]
    part, state = out.with_name(f".{out.name}.part"), out.with_name(f".{out.name}.progress")
    progress = _Progress.read(state, part, key)
    resumed = progress.products
    untaught: Counter[str] = Counter()
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("r+b" if resumed else "wb") as stream, tqdm(total=total, initial=resumed, desc="write", unit="product") as bar:
            stream.truncate(progress.size)
            stream.seek(progress.size)
            for batch in batched(_read(products, writing, resumed, held.limits), BATCH):
                lines, by_template, unfit = _write(held, batch, writing, np.random.default_rng([writing.seed, progress.products]))
                stream.write("".join(lines).encode())
                stream.flush()
                os.fsync(stream.fileno())
                if writing.generator is None:
                    untaught.update(kind_of(product.request) for product in batch if not held.reviewer.belonging.knows(product.request))
                progress = progress.after(len(batch), stream.tell(), by_template, unfit)
                write_json({"key": key, **vars(progress)}, state)
                bar.update(len(batch))
        part.replace(out)
        state.unlink(missing_ok=True)
    except OSError as error:
        refused = storage_error(error, out)
        if refused is None:
            raise
        raise refused from error
    return Written(progress.products, resumed, progress.by_template, progress.refused, dict(untaught), held.reviewer.belonging.kinds)


@dataclass(frozen=True)
class _Progress:
    """Products written for, bytes that they take, how many of them the template wrote for, and for how many it could not either."""

    products: int = 0
    size: int = 0
    by_template: int = 0
    refused: int = 0

    def after(self, products: int, size: int, by_template: int, refused: int) -> "_Progress":
        """After a batch more; ``size`` is that of the whole file."""
        return _Progress(self.products + products, size, self.by_template + by_template, self.refused + refused)

    @classmethod
    def read(cls, state: Path, part: Path, key: list[str]) -> "_Progress":
        """What an earlier run with the same key left; nothing done when it had another, or when the disk has not kept all of it."""
        if not state.exists() or not part.exists():
            return cls()
        try:
            held = read_json(state)
        except ValueError:
            held = {}
        if held.get("key") != key:
            logger.warning("%s is of another bundle, file or setting: writing starts anew", state)
            return cls()
        done = cls(*(int(held.get(name, 0)) for name in ("products", "size", "by_template", "refused")))
        if part.stat().st_size < done.size:
            logger.warning("%s is shorter than what was written to it: writing starts anew", part)
            return cls()
        return done


def _count(products: Path) -> int:
    """How many lines hold something; an error when none does."""
    try:
        with products.open("rb") as lines:
            total = sum(1 for line in lines if line.removeprefix(BOM_UTF8).strip())
    except OSError as error:
        raise unreadable(products, error) from None
    if not total:
        raise SourceError(f"{products}: holds no product; at least one is needed, a JSON object a line. docs/copy.md lists the keys.")
    return total


def _read(products: Path, writing: Writing, skip: int, limits: Mapping[str, int]) -> Iterator[Product]:
    return read_products(
        products, scene=writing.scene, channel=writing.channel, tone=writing.tone, limit=writing.limit, limits=limits, skip=skip
    )


def _write(bundle: GeneratorBundle, batch: Sequence[Product], writing: Writing, rng: np.random.Generator) -> tuple[list[str], int, int]:
    """The lines of a batch, for how many of its products the template wrote, and for how many of these it had nothing acceptable."""
    writers = [bundle.writer_for(product.request, writing.generator) for product in batch]
    drawn: dict[int, list[str]] = {}
    for name in dict.fromkeys(writers):
        rows = [row for row, writer in enumerate(writers) if writer == name]
        drawn |= zip(rows, bundle.write([batch[row].request for row in rows], writing.candidates, rng, name), strict=True)
    lines, by_template, refused = [], 0, 0
    for row, product in enumerate(batch):
        origin, request, texts = writers[row], product.request, drawn[row]
        held = ON_DEMAND if writing.generator is None and origin != Origin.TEMPLATE else 0.0
        reviews = bundle.reviewed(request, texts, share=held)
        written = {text: (origin, found) for text, found in reviews.items() if text}
        if origin != Origin.TEMPLATE and not any(review.accepted for review in reviews.values()):
            origin = str(Origin.TEMPLATE)
            (texts,) = bundle.write([request], writing.candidates, rng, origin)
            reviews = {text: bundle.review(request, text) for text in texts}
            written |= {text: (origin, found) for text, found in reviews.items() if text not in written}
        by_template += origin == Origin.TEMPLATE
        refused += not any(review.accepted for review in reviews.values())
        stopped = [
            {"text": text, "origin": by, "reason": found.reason, "rule": found.rule, "found": found.found}
            for text, (by, found) in written.items()
            if not found.accepted
        ]
        ordered = bundle.best_first(request, texts, reviews)
        accepted = [text for text in ordered if reviews[text].accepted]
        for rank, text in enumerate(accepted[: writing.kept] or ordered[:1]):
            review = reviews[text]
            line = {
                "line": product.number,
                "item_id": request.item_id,
                "scene": request.scene,
                "channel": request.channel,
                "tone": request.tone,
                "rank": rank,
                "text": text,
                "origin": origin,
                "ai_label": AI_LABEL,
                "accepted": review.accepted,
                "reason": review.reason,
                "rule": review.rule,
                "scores": {name: round(getattr(review, name), 4) for name in ("quality", "coverage", "fluency", "novelty")},
                "candidates": len(written),
                "refused": len(stopped),
                "stopped": stopped if rank == 0 else [],
            }
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    return lines, by_template, refused


def batched(products: Iterator[Product], size: int) -> Iterator[list[Product]]:
    """Products in lists.

    Args:
        products: any number.
        size: of each list but the last.
    """
    while batch := list(islice(products, size)):
        yield batch
