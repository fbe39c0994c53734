"""Our sampler beside `transformers` `generate()`, on the same weights, prompts, threads and sampling: characters a second.

    python -m benchmarks.generation [--rows 64] [--candidates 4] [--rounds 5] [--pairs A.jsonl] [--bundle FOLDER]

The very same decoder is driven twice: by `models.generator.sampling`, and, wrapped as a `PreTrainedModel`, by `generate()` with its
own DynamicCache, batched, sampling with temperature, top-p and top-k. Both write the same number of texts for the same products in
one run, by turns (a-b-b-a); the interval is over rounds. Before that, greedy texts of both sides are compared: they must be equal.
`loop` is generate() with one prompt at a time, as one starts from. Networks: the sizes of params.yaml, and 256 × 4 layers, trained for a
few epochs on the market's copies, or on --pairs; or the decoder of a --bundle. Last line: one JSON object.
"""

import argparse
import itertools
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from tqdm import tqdm
from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from benchmarks.hf import split
from core.environment import limit_threads, project_root
from core.params import load_params
from models.device import bfloat16_pays
from models.generator.copy_model import CopyModel
from models.generator.decoder import CopyDecoder, DecoderShape, Layer, State, never
from models.generator.prompts import Prompts, build_phrase_book, fit_feature_scale
from models.generator.request import CopyRequest, requests_of
from models.generator.sampling import sample
from models.generator.slots import lexicalise, slots_of
from models.generator.training import CopyData, batches
from models.generator.training_copies import Copy, copies_of, load_copies
from models.generator.vocabulary import BOS, EOS, PAD, build_vocabulary
from tasks.sources.market.assortment import Assortment, draw_products
from tasks.sources.market.catalogue import load_categories, load_shared
from tasks.sources.market.copywriting import write_copies

TARGET = 3.0


class PeerConfig(PretrainedConfig):
    """Sizes that `generate()` asks for."""

    model_type = "adloom-copy"


class PeerModel(PreTrainedModel, GenerationMixin):
    """A `CopyDecoder` as `generate()` drives it: the same weights and operations, transformers' cache and loop.

    Args:
        decoder: the network.
        slots: slots of a request at most: they are the last ids of the vocabulary.
    """

    config_class = PeerConfig
    main_input_name = "input_ids"

    def __init__(self, decoder: CopyDecoder, slots: int) -> None:
        shape = decoder.shape
        config = PeerConfig(
            vocab_size=shape.tokens + slots,
            hidden_size=shape.d_model,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            bos_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=PAD,
        )
        super().__init__(config)
        self.decoder = decoder
        self.state: State | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return torch.device("cpu")

    def open(self, prompts: Prompts, n: int) -> Cache:
        """Read the prompts, as a user would who knows that the prefix is shared by ``n`` candidates.

        Args:
            prompts: the requests.
            n: candidates a request.
        """
        self.state = self.decoder.start(prompts).repeat(n)
        cache = DynamicCache()
        for layer, kept in enumerate(self.state.cache):
            cache.update(*kept.held, layer)
        return cache

    def prepare_inputs_for_generation(self, input_ids: Tensor, past_key_values: Cache | None = None, **rest: Any) -> dict[str, Any]:
        """The last token only: the rest is in the cache.

        Args:
            input_ids: (rows, length) text so far.
            past_key_values: keys and values of prompt and text.
            rest: what else `generate()` hands on.
        """
        return {"input_ids": input_ids[:, -1:], "past_key_values": past_key_values, "place": input_ids.shape[1] - 1}

    def forward(self, input_ids: Tensor, past_key_values: Cache, place: int, **rest: Any) -> CausalLMOutputWithPast:
        """One step.

        Args:
            input_ids: (rows, 1).
            past_key_values: transformers' cache; it grows.
            place: of the token in the text.
            rest: options of `generate()` that mean nothing here.
        """
        state, decoder = self.state, self.decoder
        assert state is not None
        x = decoder._text(input_ids, state.phrases, place)
        mask = torch.cat([state.seen, state.seen.new_ones(len(input_ids), place + 1)], 1)[:, None, None, :]
        for index, block in enumerate(decoder.blocks):
            x = _layer(block, x, mask, past_key_values, index)
        logits = decoder._logits(decoder.norm(x), state.keys, state.slots)
        return CausalLMOutputWithPast(logits=logits, past_key_values=past_key_values)


def _layer(block: Layer, x: Tensor, mask: Tensor, cache: Cache, index: int) -> Tensor:
    batch, new, width = x.shape
    q, k, v = block.qkv(block.norm_attention(x)).view(batch, new, 3, block.heads, width // block.heads).permute(2, 0, 3, 1, 4)
    k, v = cache.update(k, v, index)
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # what transformers' models call
    x = x + block.out(mixed.transpose(1, 2).reshape(batch, new, width))
    return x + block.down(torch.nn.functional.gelu(block.up(block.norm_forward(x))))


class _Allowed:
    """What our sampler never writes: pad, begin, unknown, an empty text, a product word twice."""

    def __init__(self, tokens: int, slots: int) -> None:
        self.tokens, self.slots = tokens, slots

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.clone()
        scores[:, never()] = float("-inf")
        if input_ids.shape[1] == 1:
            scores[:, EOS] = float("-inf")
        spent = torch.zeros(len(scores), self.slots + 1, dtype=torch.bool)
        spent.scatter_(1, (input_ids - self.tokens + 1).clamp_min(0), True)
        scores[:, self.tokens :] = scores[:, self.tokens :].masked_fill(spent[:, 1:], float("-inf"))
        return scores


@torch.inference_mode()
def peer(model: PeerModel, prompts: Prompts, n: int, *, seed: int, greedy: bool, temperature: float, top_p: float) -> list[list[int]]:
    """Texts by `generate()`.

    Args:
        model: the wrapped decoder.
        prompts: the requests, as one batch.
        n: candidates a request.
        seed: of sampling.
        greedy: the best token at each step instead of sampling.
        temperature: above 0.
        top_p: nucleus.

    Returns:
        Token ids of each text, request by request.
    """
    torch.manual_seed(seed)
    cache = model.open(prompts, n)
    drawn = {"do_sample": False} if greedy else {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    config = GenerationConfig(
        max_new_tokens=model.decoder.shape.max_tokens - 1, use_cache=True, eos_token_id=EOS, pad_token_id=PAD, bos_token_id=BOS, **drawn
    )
    slots = prompts.mask.shape[1] - 1
    ids = model.generate(
        input_ids=torch.full((len(prompts) * n, 1), BOS),
        past_key_values=cache,
        generation_config=config,
        logits_processor=LogitsProcessorList([_Allowed(model.decoder.shape.tokens, slots)]),
    )
    return [row[: row.index(EOS)] if EOS in row else [token for token in row if token != PAD] for row in ids[:, 1:].tolist()]


@dataclass(frozen=True)
class Case:
    """What both sides are given.

    Attributes:
        model: decoder and vocabulary.
        requests: the orders.
        candidates: texts an order.
        temperature: of sampling.
        top_p: nucleus.
    """

    model: CopyModel
    requests: Sequence[CopyRequest]
    candidates: int
    temperature: float
    top_p: float

    def text(self, ids: Sequence[int], row: int) -> str:
        """A text in characters.

        Args:
            ids: tokens.
            row: of which request.
        """
        _, slots = self.model.prompts([self.requests[row]])
        return lexicalise(self.model.vocabulary.decode(ids), slots[0])

    def ours(self, seed: int, *, greedy: bool = False) -> list[list[int]]:
        """Texts by our sampler.

        Args:
            seed: of sampling.
            greedy: the best token at each step.
        """
        prompts, _ = self.model.prompts(self.requests)
        n, temperature = (1, 1e-4) if greedy else (self.candidates, self.temperature)
        drawn = sample(self.model.decoder, prompts, n, np.random.default_rng(seed), temperature=temperature, top_p=self.top_p)
        return [ids for texts in drawn for ids in texts]

    def theirs(self, seed: int, *, greedy: bool = False, rows: int = 0, batch: int = 64) -> list[list[int]]:
        """Texts by `generate()`.

        Args:
            seed: of sampling.
            greedy: the best token at each step.
            rows: only the first so many requests; 0: all.
            batch: requests a call.
        """
        prompts, _ = self.model.prompts(self.requests)
        n, found = 1 if greedy else self.candidates, []
        wrapped = PeerModel(self.model.decoder, prompts.mask.shape[1] - 1).eval()
        places = torch.arange(rows or len(self.requests))
        for some in torch.split(places, batch):
            held = prompts.take(some)
            found += peer(wrapped, held, n, seed=seed, greedy=greedy, temperature=self.temperature, top_p=self.top_p)
        return found


def speed(case: Case, write: Callable[[], list[list[int]]], n: int) -> tuple[float, int]:
    """Characters a second, and how many tokens were written.

    Args:
        case: whose texts these are.
        write: writes them.
        n: texts a request.
    """
    started = time.perf_counter()
    texts = write()
    seconds = time.perf_counter() - started
    return sum(len(case.text(ids, row // n)) for row, ids in enumerate(texts)) / seconds, sum(map(len, texts))


def trained(copies: Sequence[Copy], requests: Sequence[CopyRequest], *, width: int, layers: int, heads: int, steps: int) -> CopyModel:
    """A decoder that writes texts of natural length; how good they are matters to no figure here.

    Args:
        copies: training copies.
        requests: the catalogue.
        width: hidden size.
        layers: transformer layers.
        heads: attention heads.
        steps: of training, 32 copies each.
    """
    torch.manual_seed(1)
    phrases = [word for request in requests for word in (request.category, *[slot.value for slot in slots_of(request)])]
    vocabulary = build_vocabulary([copy.pieces for copy in copies], phrases, 6000)
    book, scale = build_phrase_book(requests), fit_feature_scale(np.zeros((0, 1), np.float32))
    longest = 2 + max(len(vocabulary.encode(copy.lesson)) for copy in copies)
    shape = DecoderShape(len(vocabulary), len(book.names) + 1, len(book.values) + 1, 1, 64, width, layers, heads, longest)
    model = CopyModel(vocabulary, book, scale, CopyDecoder(shape))
    prompts, _ = model.prompts([copy.request for copy in copies])
    tokens = [model.tokens(copy.lesson) for copy in copies]
    data = CopyData(prompts, tokens, torch.zeros(len(copies), 1), np.zeros((len(copies), 0)), torch.zeros(0, 1))
    optimiser = torch.optim.AdamW(model.decoder.parameters(), lr=0.002)
    rng, done = np.random.default_rng(1), 0
    with tqdm(total=steps, desc=f"train {width} × {layers}", unit="step", leave=False) as bar:
        while done < steps:
            for batch in itertools.islice(batches(data, 32, shape, rng), steps - done):
                with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_pays()):
                    loss, _ = model.decoder.loss(batch.prompts, batch.tokens)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                done += 1
                bar.update()
    model.decoder.eval()
    return model


def market_copies() -> list[Copy]:
    """Copies of the simulated market."""
    rng, shared, categories = np.random.default_rng(5), load_shared(), load_categories()
    shelf = draw_products(categories, shared.anchors, 400, rng)
    assortment = Assortment(shelf, write_copies(categories, shelf, shared.offers, rng), {}, "benchmark")
    return copies_of(assortment.copies_table(), requests_of(assortment.items_table()), 120)


def compare(case: Case, label: str, rounds: int, loop: int) -> dict[str, float]:
    """Greedy texts of both sides, then speed by turns.

    Args:
        case: what both are given.
        label: of the row.
        rounds: of a-b-b-a.
        loop: requests for generate() one prompt at a time; 0: left out.

    Returns:
        Characters a second of both, the ratio with its interval, share of equal greedy texts.
    """
    mine, other = case.ours(0, greedy=True), case.theirs(0, greedy=True)
    equal = float(np.mean([a == b for a, b in zip(mine, other, strict=True)]))
    ours: list[float] = []
    theirs: list[float] = []
    lengths = []
    for number in range(rounds):
        for side in (ours, theirs, theirs, ours):
            write = (lambda seed=number: case.ours(seed)) if side is ours else (lambda seed=number: case.theirs(seed))
            found, tokens = speed(case, write, case.candidates)
            side.append(found)
            lengths.append(tokens / (len(case.requests) * case.candidates))
    paired = np.array(ours).reshape(-1, 2).mean(1) / np.array(theirs).reshape(-1, 2).mean(1)
    draws = np.random.default_rng(1).choice(paired, (2000, len(paired))).mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    row = {"ours": float(np.mean(ours)), "generate": float(np.mean(theirs)), "ratio": float(paired.mean()), "low": low, "high": high}
    row["greedy_equal"] = equal
    print(f"{label:<22}{row['ours']:>10.0f}{row['generate']:>12.0f}{row['ratio']:>8.2f} [{low:.2f}, {high:.2f}]{equal:>10.3f}", end="")
    if loop:
        row["loop"], _ = speed(case, lambda: case.theirs(0, rows=loop, batch=1), case.candidates)
        print(f"{row['loop']:>10.0f}{row['ours'] / row['loop']:>8.1f}", end="")
    print(f"{np.mean(lengths):>9.1f}")
    return {name: round(float(value), 3) for name, value in row.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train or load, compare, print.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0.
    """
    params = load_params(project_root() / "params.yaml")
    own = params.train_generator
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=128, help="products to write for")
    parser.add_argument("--candidates", type=int, default=4, help="texts a product")
    parser.add_argument("--rounds", type=int, default=5, help="of a-b-b-a")
    parser.add_argument("--loop", type=int, default=8, help="products for generate() one prompt at a time")
    parser.add_argument("--steps", type=int, default=200, help="of training")
    parser.add_argument("--sizes", default=f"{own.hidden_dim}x{own.layers},256x4", help="networks: width x layers, by commas")
    parser.add_argument("--pairs", type=Path, help="AdvertiseGen-like pairs instead of the market's copies")
    parser.add_argument("--bundle", type=Path, help="a generator bundle: its gpt, and the products of its training copies")
    options = parser.parse_args(arguments)
    limit_threads(params.threads)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    models: list[tuple[str, CopyModel, list[Copy]]] = []
    if options.bundle is not None:
        copies = load_copies(options.bundle / "copies.parquet")
        models.append(("bundle", CopyModel.load(options.bundle / "gpt"), copies))
    else:
        copies = market_copies() if options.pairs is None else split(options.pairs, params.seed)[0]
        catalogue = list({copy.request.item_id: copy.request for copy in copies}.values())
        for size in options.sizes.split(","):
            width, layers = map(int, size.split("x"))
            made = trained(copies, catalogue, width=width, layers=layers, heads=own.heads, steps=options.steps)
            models.append((f"hidden {width} x {layers}", made, copies))
    temperature = own.temperatures[len(own.temperatures) // 2]
    print(
        f"{options.rows} products x {options.candidates} candidates; temperature {temperature}, top_p {own.top_p}; "
        f"{params.threads} threads; {options.rounds} rounds a-b-b-a; torch {torch.__version__}, transformers {transformers.__version__}"
    )
    print(f"{'network':<22}{'ours':>10}{'generate()':>12}{'ratio [95 %]':>21}{'greedy =':>10}{'loop':>10}{'ratio':>8}{'tokens':>9}")
    rows = {}
    for label, model, held in models:
        step = max(1, len(held) // options.rows)
        case = Case(model, [copy.request for copy in held[::step]][: options.rows], options.candidates, temperature, own.top_p)
        rows[label] = compare(case, label, options.rounds, options.loop)
    print("characters a second; greedy = is the share of products whose greedy texts are equal on both sides")
    print(json.dumps({"target": TARGET, "generation": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
