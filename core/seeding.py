"""One seed in params.yaml; each stage has its own stream from (seed, stage name)."""

import random
import sys

import numpy as np


def stage_rng(seed: int, stage: str) -> np.random.Generator:
    """The random stream of one stage, independent of every other stage's.

    Args:
        seed: the seed of params.yaml, at least 0.
        stage: the stage's name.

    Returns:
        A generator that depends on nothing but (seed, stage).

    Raises:
        ValueError: seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be at least 0")
    return np.random.default_rng(np.random.SeedSequence([seed, *stage.encode()]))


def seed_globals(seed: int, stage: str) -> None:
    """Seed the global streams of Python, NumPy and (if it is loaded) torch before a stage.

    A stage uses its own ``rng``. This makes a library that draws from a global stream give the same numbers whether the
    stage runs in a process of its own or after other stages in one process.

    Args:
        seed: the seed of params.yaml.
        stage: the stage's name.
    """
    number = int(stage_rng(seed, f"{stage}/globals").integers(2**31))
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 - the legacy stream is what careless libraries use
    if "torch" in sys.modules:
        _steady_torch(number)


def _steady_torch(seed: int) -> None:
    """Seed torch, and let it add up in one order: with two threads a scattered sum may otherwise end in another last digit."""
    torch = sys.modules["torch"]
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
