"""Our encoder beside `sentence-transformers`, on the same model folder, texts and threads: texts a second, and how alike the vectors are.

    python -m benchmarks.encoder [--texts FILE] [--count 600] [--rounds 3] [--model embedded]

Three ways through one network, by turns: ours (each distinct text once, batches of one padded length, bfloat16 where params.yaml says so;
the cache on disk is empty), a plain loop (`SentenceTransformer.encode(text)`, one text at a time, as one starts) and the peer's own batch
mode. The loop sees a part of the texts only, drawn like the rest. Texts: titles and copies of the simulated market as tables hold them,
repeated where a table repeats them; or the lines of --texts. Cosines are of raw vectors with the same prefix and cut. Ratios are paired
within a round; intervals over rounds. Needs the extra `bench`. Last line: one JSON object.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.columns import Columns as C
from core.environment import limit_threads, project_root
from core.params import EncodeParams, load_params
from models.cache import CACHE_VARIABLE
from models.encoder import TextEncoder
from models.encoder.network import encoder_folder
from tasks.sources.market.assortment import Assortment, draw_products
from tasks.sources.market.catalogue import load_categories, load_shared
from tasks.sources.market.copywriting import write_copies

TARGET_RATIO, TARGET_COSINE = 2.0, 0.99
PEER = "sentence-transformers"


def main(arguments: Sequence[str] | None = None) -> int:
    """Encode, compare, print.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0; 2 when the peer is not installed.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, help="one text a line, instead of the market's titles and copies")
    parser.add_argument("--count", type=int, default=600, help="texts a round; each round has others")
    parser.add_argument("--loop", type=int, default=100, help="of these, how many the plain loop encodes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", help="params.yaml's encode.model when left out")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec(PEER.replace("-", "_")) is None:
        print(f'{PEER} is not installed, and without it there is nothing to compare with: pip install -e ".[bench]"', file=sys.stderr)
        return 2
    params = load_params(project_root() / "params.yaml")
    limit_threads(params.threads)
    settings = params.encode if options.model is None else params.encode.model_copy(update={"model": options.model})
    texts = read_texts(options.texts)
    folder = encoder_folder(settings.model)
    peer = peer_of(folder, settings)
    print(
        f"{folder.name}, {settings.precision} beside the peer's float32; {len(texts)} texts, {len(set(texts))} distinct; "
        f"{params.threads} threads; torch {torch.__version__}"
    )
    rng = np.random.default_rng(params.seed)
    rates: dict[str, list[float]] = {"ours": [], "loop": [], "batch": []}
    cosines: list[np.ndarray] = []
    for number in range(options.rounds):
        drawn = [texts[row] for row in rng.permutation(len(texts))[: options.count]]
        few = drawn[: options.loop]
        empty = tempfile.TemporaryDirectory()
        ways: dict[str, tuple[Sequence[str], Callable[[Sequence[str]], np.ndarray]]] = {
            "ours": (drawn, fresh(folder.resolve(), settings, empty.name)),
            "loop": (few, lambda some: np.stack([peer.encode(text, prompt=settings.prefix) for text in some])),
            "batch": (drawn, lambda some: peer.encode(list(some), prompt=settings.prefix, batch_size=32, show_progress_bar=False)),
        }
        made = {}
        for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
            given, encode = ways[name]
            started = time.perf_counter()
            made[name] = encode(given)
            rates[name].append(len(given) / (time.perf_counter() - started))
        empty.cleanup()
        cosines += [_cosine(made["ours"], made["batch"]), _cosine(made["ours"][: len(few)], made["loop"])]
        print(f"round {number + 1}: " + ", ".join(f"{name} {values[-1]:.1f}" for name, values in rates.items()) + " texts/s", flush=True)
    cosine = np.concatenate(cosines)
    print(f"cosine to the peer's vectors: mean {cosine.mean():.5f}, smallest {cosine.min():.5f} (limit {TARGET_COSINE})")
    result: dict[str, object] = {"cosine_min": round(float(cosine.min()), 5)}
    for name in ("loop", "batch"):
        ratio = np.array(rates["ours"]) / np.array(rates[name])
        low, high = np.quantile(np.random.default_rng(1).choice(ratio, (2000, len(ratio))).mean(1), [0.025, 0.975])
        print(f"ours / {name:<6} {ratio.mean():.2f} [{low:.2f}, {high:.2f}]" + (f"   target {TARGET_RATIO}" if name == "loop" else ""))
        result[f"ratio_{name}"] = round(float(ratio.mean()), 3)
    print(json.dumps(result | {name: round(float(np.mean(values)), 1) for name, values in rates.items()}))
    return 0


def read_texts(path: Path | None) -> list[str]:
    """What is encoded.

    Args:
        path: one text a line; None: the market's titles and copies.
    """
    if path is not None:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    rng, shared, categories = np.random.default_rng(5), load_shared(), load_categories()
    shelf = draw_products(categories, shared.anchors, 400, rng)
    assortment = Assortment(shelf, write_copies(categories, shelf, shared.offers, rng), {}, "benchmark")
    return [
        str(text) for table, column in ((assortment.items_table(), C.TITLE), (assortment.copies_table(), C.TEXT)) for text in table[column]
    ]


def fresh(folder: Path, settings: EncodeParams, cache: str) -> Callable[[Sequence[str]], np.ndarray]:
    """Our encoder with its weights loaded and nothing remembered.

    Args:
        folder: weights and tokenizer.
        settings: prefix, cut, batch and precision.
        cache: an empty folder for its vectors.
    """
    before = os.environ.get(CACHE_VARIABLE)
    os.environ[CACHE_VARIABLE] = cache
    try:
        encoder = TextEncoder.open(
            str(folder),
            prefix=settings.prefix,
            max_tokens=settings.max_tokens,
            batch_tokens=settings.batch_tokens,
            precision=settings.precision,
        )
    finally:
        os.environ.pop(CACHE_VARIABLE)
        if before is not None:
            os.environ[CACHE_VARIABLE] = before
    encoder.encode(["暖身"])
    return encoder.encode


def peer_of(folder: Path, settings: EncodeParams) -> Any:
    """The peer over the same folder: transformer and mean pooling, no normalising, the same cut.

    Args:
        folder: weights and tokenizer.
        settings: the cut.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    plain = {"dtype": torch.float32}  # weights kept in fp16 would be run in fp16, which a processor does slowly
    transformer = Transformer(str(folder), max_seq_length=settings.max_tokens, model_kwargs=plain)
    return SentenceTransformer(modules=[transformer, Pooling(transformer.get_embedding_dimension())], device="cpu")


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cosine: np.ndarray = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return cosine


if __name__ == "__main__":
    sys.exit(main())
