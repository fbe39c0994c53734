"""Is copy for an audience recognised, and does it click better there? On the bundle and the market of the last run.

    python -m benchmarks.personalisation                          the chosen generator, a network's at guidance 1, 3 and 5
    python -m benchmarks.personalisation --kind gpt --guidance 1 2 3

Reads data/; prints a table and, as its last line, one JSON object. Chance of recognition is one over the audiences. The last two columns
say how much there is to win: of the same candidates the truth chooses for each audience, over the truth's choice for everyone
(ceiling) and over the copy for everyone that would be shown (headroom). The first line is human copy: what choosing among a product's
own copies of one channel could win.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from core.environment import limit_threads
from core.files import read_json, read_table
from core.identity import pseudonymise, user_key
from core.stage import path_of
from models.generator import GeneratorBundle
from models.generator.audiences import audience_features
from models.generator.gan import GanGenerator
from models.generator.gpt import GptGenerator
from models.generator.training_copies import Copy
from models.generator.vae import VaeGenerator
from tasks.judge.personal import PersonalCopy, clicks_of, judge_personal, true_lift
from tasks.sources.market.truth import Truth


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0 when copy is recognised in 60 % and clicks 10 % better, the lower ends of the intervals not asked for; else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", help="a generator of the bundle; the chosen one when left out")
    parser.add_argument("--guidance", type=float, nargs="+", help="in place of the bundle's; neural generators only; 1 3 5 when left out")
    parser.add_argument("--products", type=int, default=100)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    limit_threads(2)
    facts, bundle, users = read_json(path_of("lineage")), GeneratorBundle.load(path_of("generator")), read_table(path_of("user_features"))
    clicks = None
    if facts["has"]["truth"]:
        truth = Truth.load(path_of("truth"))
        ids = dict(zip(pseudonymise(truth.user_ids, user_key(synthetic=facts["synthetic"])), truth.user_ids, strict=True))
        clicks = clicks_of((truth, ids), datetime.fromisoformat(facts["validation_end"]))
    kind = options.kind or bundle.chosen
    runs = []
    print(f"{'guidance':>8} {'recognised':>22} {'true CTR, ratio':>22} {'accepted':>15} {'quality':>15} {'ceiling':>8} {'headroom':>9}")
    human = _human(bundle, list(audience_features(users)), options.products)
    chosen = true_lift(human, users, clicks, 1000, np.random.default_rng(options.seed)) if clicks and human.requests else None
    if chosen:
        runs.append({"guidance": "human", "products": len(human.requests), **{f"true_ctr_{k}": v.as_dict() for k, v in chosen.items()}})
        print(_line(runs[-1]), flush=True)
    neural = isinstance(bundle.generators[kind], GptGenerator | VaeGenerator | GanGenerator)
    for guidance in options.guidance or ([1.0, 3.0, 5.0] if neural else [None]):
        found = judge_personal(
            bundle if guidance is None else _guided(bundle, kind, guidance),
            users,
            audience_features(users),
            clicks,
            replications=1000,
            rng=np.random.default_rng(options.seed),
            products=options.products,
            candidates=options.candidates,
            kind=kind,
        )
        runs.append({"guidance": guidance, **found})
        print(_line(runs[-1]), flush=True)
    print(json.dumps({"runs": runs}))
    reached = [
        run.get("recognition", {}).get("value", 0.0) >= 0.6 and run.get("true_ctr_lift", {}).get("value", 0.0) >= 1.1 for run in runs
    ]
    return 0 if any(reached) else 1


def _human(bundle: GeneratorBundle, audiences: Sequence[str], products: int) -> PersonalCopy:
    """Products with several human copies in one channel, every copy a candidate for everybody."""
    found: dict[tuple[str, str], list[Copy]] = {}
    for copy in (*bundle.copies, *bundle.held_out.copies):
        found.setdefault((copy.request.item_id, copy.request.channel), []).append(copy)
    several = [copies for copies in found.values() if len({copy.text for copy in copies}) > 1]
    several = several[:: -(-len(several) // products) or 1]
    passed = tuple(tuple(tuple(dict.fromkeys(copy.text for copy in copies)) for _ in range(len(audiences) + 1)) for copies in several)
    nothing = np.zeros((len(several), len(audiences) + 1))
    return PersonalCopy(tuple(audiences), tuple(copies[0].request for copies in several), passed, nothing, nothing)


def _guided(bundle: GeneratorBundle, kind: str, guidance: float) -> GeneratorBundle:
    generator = bundle.generators[kind]
    if not isinstance(generator, GptGenerator | VaeGenerator | GanGenerator):
        raise SystemExit(f"{kind} knows no guidance; leave --guidance out, or choose gpt, vae or gan.")
    told = replace(generator, sampling=replace(generator.sampling, guidance=guidance))
    return replace(bundle, generators={**bundle.generators, kind: told})


def _line(run: dict[str, Any]) -> str:
    def shown(name: str) -> str:
        found = run.get(name)
        return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]" if found else "–"

    def pair(name: str) -> str:
        return " / ".join("–" if part is None else f"{part:.3f}" for part in run.get(name, {"": None}).values())

    ends = " ".join(f"{run[name]['value']:>8.3f}" for name in ("true_ctr_ceiling", "true_ctr_headroom") if name in run)
    guidance = "bundle" if run["guidance"] is None else str(run["guidance"])
    return f"{guidance:>8} {shown('recognition'):>22} {shown('true_ctr_lift'):>22} {pair('accepted'):>15} {pair('quality'):>15} {ends}"


if __name__ == "__main__":
    raise SystemExit(main())
