"""Policies behind one interface: which creative to show, with exact propensities, and what to learn of who clicked."""

from models.policies.counts import CountingPolicy, EpsilonGreedy, Greedy, Thompson, Uniform
from models.policies.interface import Policy, PolicyState
from models.policies.linear import LinearThompson
from models.policies.saved import load_policy, restore, save_policy

__all__ = [
    "CountingPolicy",
    "EpsilonGreedy",
    "Greedy",
    "LinearThompson",
    "Policy",
    "PolicyState",
    "Thompson",
    "Uniform",
    "load_policy",
    "restore",
    "save_policy",
]
