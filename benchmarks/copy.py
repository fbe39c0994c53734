"""Every copy generator on attribute → copy pairs: trained on one file, judged once on another.

    python -m benchmarks.copy --train A.jsonl --test B.jsonl [--out PREDICTIONS.jsonl]

Both files are JSON lines with `content` (类型#裤*版型#宽松…) and `summary`, as AdvertiseGen has them. A part of A, by group of
attributes, is held out for every choice that is made; B is looked at once. Each generator writes candidates for each row, and the
one to show is chosen alike for all (`GeneratorBundle.best_first`): accepted by the reviewer, stating the product's facts, agreeing with
the others and with human copy of similar training products. How much stock phrases count against a text of a network is set on the
held-out part: as little as keeps its Self-BLEU-4 at most 0.10 above the human copy's. Placeholders (<UNK>, BRAND) are never written.
`best` is chosen there too: the highest 3 · BLEU-4 + ROUGE-L among the generators that write in words of their own (copy rate at most
2 %, span share at most 0.35) and nearly as variously as people (Self-BLEU-4 at most 0.10 above). `train_s` is that of all generators
together. Last line: one JSON object.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.copy_candidates import ALIKE, alikeness, first_choices, stock_weight_of, write
from core.environment import limit_threads, project_root
from core.errors import BundleError
from core.files import write_beside
from core.params import GeneratorParams, Params, load_params
from core.tracking import NullTracker
from core.vocabulary import Channel, Origin
from evaluation import text as metrics
from evaluation.intervals import bootstrap_mean
from models.generator import GeneratorBundle
from models.generator.gan import GanGenerator
from models.generator.gpt import GptGenerator
from models.generator.hf.base import WHEEL
from models.generator.request import CopyRequest
from models.generator.spans import SpanIndex
from models.generator.training_copies import Copy, split_groups
from models.generator.vae import VaeGenerator
from tasks.judge.copies import contradicting
from tasks.product_lines import read_products
from tasks.train_copy import train_copy

LIMIT = 320
"""Longest text in characters: these are product descriptions, not ads for a slot."""
SIZES: dict[str, Any] = {
    "max_length": LIMIT,
    "hidden_dim": 256,
    "layers": 4,
    "heads": 4,
    "dropout": 0.3,
    "gpt_epochs": 12,
    "latent_parts": 4,
    "latent_blur": 0.3,
    "latent_epochs": 4,
    "batch_size": 32,
    "memory": False,
    "learning_rate": 0.003,
    "max_positions": 12.0,
    "gan_steps": 3000,
    "temperatures": [0.85],
    "top_p": 1.0,
}
"""What differs from params.yaml, for longer texts and fewer of them; chosen on a part of AdvertiseGen's first 5,000 training rows."""
HELD_OUT = 0.05
HUMAN = str(Origin.HUMAN)
OWN_WORDS = {"copy_rate": 0.02, "span_share": 0.35}
NETWORKS = frozenset({Origin.GPT, Origin.VAE, Origin.GAN})
COPIED = 20
_PLACEHOLDER = re.compile(r"<UNK>|<unk>|BRAND")
SHOWN = ("bleu4", "rouge1", "rouge2", "rougeL", "attribute_coverage", "copy_rate", "span_share", "self_bleu4", "contradiction_rate")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, write, judge, print.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="pairs to learn from")
    parser.add_argument("--test", type=Path, required=True, help="pairs to judge by; read once")
    parser.add_argument("--out", type=Path, help="JSON lines of what each generator wrote")
    parser.add_argument("--keep", type=Path, help="a folder for the trained bundle, which `adloom write --bundle` takes")
    parser.add_argument("--bundle", type=Path, help="a folder that --keep wrote from the same training file: nothing is trained")
    parser.add_argument("--candidates", type=int, default=32, help="texts written for a row, of which one is chosen")
    parser.add_argument("--with", dest="language_model", metavar="hf[=MODEL]", help="tune a language model too (docs/hf.md)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="turn a key of train_generator")
    options = parser.parse_args(arguments)
    params = load_params(project_root() / "params.yaml")
    limit_threads(params.threads)
    turned = dict(part.split("=", 1) for part in options.set)
    settings = GeneratorParams.model_validate(
        {**params.train_generator.model_dump(), **SIZES, **{k: json.loads(v) for k, v in turned.items()}}
    )
    settings = settings.with_hf(_language_model(parser, options.language_model, settings))
    requests, references = read_pairs(options.test)
    with TemporaryDirectory() as folder:
        learnt, held = split(options.train, Path(folder), np.random.default_rng(params.seed))
        validation = read_pairs(held)
        told = params.model_copy(update={"train_generator": settings})
        kept = options.bundle and kept_bundle(options.bundle, validation[1])
        bundle = _at(kept, settings) if kept else _trained(told, learnt, held)
    train_s, bundle = float(bundle.config["train_s"]), bundle.limited_to(COPIED - 1)
    print(f"trained all generators in {train_s:.0f} s on {len(bundle.copies)} copies", file=sys.stderr)
    spans = SpanIndex([_PLACEHOLDER.sub("", text) for text in read_pairs(options.train)[1]])
    table, chosen, written, weights = {}, {}, {}, {}
    if options.keep is not None:
        bundle.save(options.keep)  # judging takes as long as training did, and may be interrupted
    human = [_PLACEHOLDER.sub("", text) for text in validation[1]]
    for name in bundle.generators:
        found, _ = write(bundle, name, validation[0], options.candidates)
        weights[name] = stock_weight_of(found, human) if name in NETWORKS else bundle.stock_weight
        chosen[name] = judge(first_choices(found, weights[name]), *validation, spans, bundle)
        found, speed = write(bundle, name, requests, options.candidates)
        written[name] = first_choices(found, weights[name])
        speeds = {"train_s": _flat(train_s), "chars_per_s": _flat(speed)}
        table[name] = judge(written[name], requests, references, spans, bundle) | speeds
        cells = ", ".join(f"{metric} {_cell(table[name][metric])}" for metric in SHOWN)
        print(f"{name}: {cells}; stock phrases count {weights[name]}", file=sys.stderr, flush=True)
    if options.keep is not None:
        replace(bundle, stock_weight=weights[bundle.chosen]).save(options.keep)
    for judged, (asked, said) in ((chosen, validation), (table, (requests, references))):
        judged[HUMAN] = judge([_PLACEHOLDER.sub("", text) for text in said], asked, said, spans, bundle)
    print(f"held-out part of {options.train.name}, which `best` is chosen by:")
    print_table(chosen, len(validation[0]))
    print(f"{options.test.name}:")
    print_table(table, len(requests))
    if options.out is not None:
        write_out(options.out, requests, references, written)
    flat = {name: {metric: round(value["value"], 4) for metric, value in row.items()} for name, row in table.items() if name != HUMAN}
    print(json.dumps({"best": best_of(chosen), "generators": flat}))
    return 0


def write_out(path: Path, requests: Sequence[CopyRequest], references: Sequence[str], written: Mapping[str, Sequence[str]]) -> None:
    """JSON lines of what each generator wrote.

    Args:
        path: the file.
        requests: the orders.
        references: human copies.
        written: generator → a text a row.
    """
    lines = [
        json.dumps(
            {
                "content": "*".join(f"{key}#{value}" for key, value in request.attributes),
                "summary": reference,
                **{name: texts[row] for name, texts in written.items()},
            },
            ensure_ascii=False,
        )
        for row, (request, reference) in enumerate(zip(requests, references, strict=True))
    ]
    with write_beside(path) as draft:
        draft.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _language_model(parser: argparse.ArgumentParser, asked: str | None, settings: GeneratorParams) -> str | None:
    if asked is None:
        return None
    kind, _, model = asked.partition("=")
    if kind != "hf":
        parser.error(f"--with {asked}: hf is the one optional generator; `--with hf` or `--with hf=MODEL`")
    return model or settings.hf.model or WHEEL


def _trained(params: Params, learnt: Path, held: Path) -> GeneratorBundle:
    started = time.perf_counter()
    rng = np.random.default_rng(params.seed)
    bundle = train_copy(params, rng=rng, tracker=NullTracker(), train=learnt, valid=held, limit=LIMIT)
    return replace(bundle, config={**bundle.config, "train_s": time.perf_counter() - started})


def kept_bundle(folder: Path, held_out: Sequence[str]) -> GeneratorBundle:
    """What an earlier run kept, when it fits the held-out rows of this one.

    Args:
        folder: what `--keep` wrote.
        held_out: texts that the bundle must not have learned from.

    Raises:
        BundleError: no run of this benchmark kept it, or it has learned from held-out rows.
    """
    bundle = GeneratorBundle.load(folder)
    if "train_s" not in bundle.config:
        raise BundleError(f"{folder}: no run of this benchmark kept it (config.json has no train_s). Train with --keep {folder}.")
    shared = len({copy.source_text for copy in bundle.copies} & set(held_out))
    if shared:
        raise BundleError(f"{folder}: it learned from {shared} of {len(held_out)} held-out rows. Name its own file with --train.")
    return bundle


def _at(bundle: GeneratorBundle, settings: GeneratorParams) -> GeneratorBundle:
    """A bundle whose decoders draw as the settings say."""
    drawn = {
        name: replace(generator, sampling=replace(generator.sampling, temperature=settings.temperatures[0], top_p=settings.top_p))
        if isinstance(generator, GptGenerator | VaeGenerator | GanGenerator)
        else generator
        for name, generator in bundle.generators.items()
    }
    return replace(bundle, generators=drawn)


def best_of(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The generator with the highest 3 · BLEU-4 + ROUGE-L of those that write in words of their own, and nearly as variously as people.

    Args:
        table: generator → metric → value, on rows that nothing was trained on; `HUMAN` is the copy that people wrote for them.

    Returns:
        Its name; where none is so, the best of those that write in words of their own, or of all.
    """
    alike = table[HUMAN]["self_bleu4"]["value"] + ALIKE
    names = [name for name in table if name != HUMAN]
    own = [name for name in names if all(table[name][metric]["value"] <= limit for metric, limit in OWN_WORDS.items())]
    various = [name for name in own if table[name]["self_bleu4"]["value"] <= alike]
    return max(various or own or names, key=lambda name: 3 * table[name]["bleu4"]["value"] + table[name]["rougeL"]["value"])


def split(path: Path, folder: Path, rng: np.random.Generator) -> tuple[Path, Path]:
    """Two files of a file of pairs: to learn from, and to choose by; rows of equal attributes or equal text stay together.

    Args:
        path: JSON lines with `content` and `summary`.
        folder: where to write.
        rng: draws the groups that are held out.

    Returns:
        The two files.
    """
    lines = [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]  # as files are read: U+2028 ends no line
    requests, texts = read_pairs(path)
    groups = split_groups(
        [Copy(str(row), request, text, (), text) for row, (request, text) in enumerate(zip(requests, texts, strict=True))]
    )
    names = sorted(set(groups))
    drawn = {names[index] for index in rng.permutation(len(names))[: max(1, round(HELD_OUT * len(names)))]}
    files = folder / "train.jsonl", folder / "held_out.jsonl"
    for file, held in zip(files, (False, True), strict=True):
        kept = [line for line, group in zip(lines, groups, strict=True) if (group in drawn) == held]
        file.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return files


def read_pairs(path: Path) -> tuple[list[CopyRequest], list[str]]:
    """Pairs as orders and human copies.

    Args:
        path: JSON lines with `content` and `summary`.

    Returns:
        Orders and copies, row by row.
    """
    products = list(read_products(path, channel=Channel.SOCIAL, limit=LIMIT))
    return [product.request for product in products], [product.text or "" for product in products]


def judge(
    texts: Sequence[str], requests: Sequence[CopyRequest], references: Sequence[str], spans: SpanIndex, bundle: GeneratorBundle
) -> dict[str, dict[str, float]]:
    """One row of the table.

    Args:
        texts: one a row.
        requests: the orders.
        references: human copies.
        spans: all training texts.
        bundle: whose facts say which keys are exclusive.
    """
    attributes = [request.attributes for request in requests]
    overlaps = spans.overlaps(texts)
    copied = metrics.copying(
        [overlap.longest for overlap in overlaps], [o.covered for o in overlaps], [o.length for o in overlaps], copied_span=COPIED
    )
    rouge = metrics.rouge(texts, references)
    rows = {
        "bleu4": metrics.bleu_4(texts, references),
        "rouge1": rouge["rouge_1"],
        "rouge2": rouge["rouge_2"],
        "rougeL": rouge["rouge_l"],
        "attribute_coverage": metrics.attribute_coverage(texts, attributes),
        "copy_rate": copied.copied.astype(float),
        "span_share": copied.share,
        "contradiction_rate": contradicting(texts, requests, bundle.reviewer.facts).astype(float),
    }
    found = {}
    for name, values in rows.items():
        held = ~np.isnan(values)
        found[name] = bootstrap_mean(values[held], np.flatnonzero(held).astype(object), 1000, np.random.default_rng(3)).as_dict()
    return found | {"self_bleu4": _flat(alikeness(texts))}


def _flat(value: float) -> dict[str, float]:
    return {"value": float(value), "low": float(value), "high": float(value)}


def print_table(table: dict[str, dict[str, dict[str, float]]], n: int) -> None:
    """One row a generator by BLEU-4, human copy last where it is given.

    Args:
        table: generator → metric → value, low, high.
        n: rows that were judged.
    """
    print(f"{n} rows; mean [95 % bootstrap over rows]; {metrics.signature(n)}")
    print(f"{'generator':<10}" + "".join(f"{name:>26}" for name in SHOWN))
    written = sorted((name for name in table if name != "human"), key=lambda name: -table[name]["bleu4"]["value"])
    for name in [*written, *(name for name in table if name == "human")]:
        cells = (table[name][metric] for metric in SHOWN)
        print(f"{name:<10}" + "".join(_cell(cell).rjust(26) for cell in cells))


def _cell(value: dict[str, float]) -> str:
    """A mean with its interval; a measure of the whole set, which has none, alone."""
    return f"{value['value']:.4f}" + (f" [{value['low']:.3f}, {value['high']:.3f}]" if value["low"] < value["high"] else "")


if __name__ == "__main__":
    sys.exit(main())
