"""One seed in params.yaml; each stage has its own stream from (seed, stage name)."""

import random

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


def seed_libraries(rng: np.random.Generator) -> int:
    """Seed Python's and torch's global streams from ``rng``, for libraries that accept no generator.

    Args:
        rng: the stage's stream; one number is drawn from it.

    Returns:
        The seed that was set.
    """
    seed = int(rng.integers(2**31))
    random.seed(seed)
    import torch  # imported here: `core` is read by stages and services that need no torch

    torch.manual_seed(seed)
    return seed
