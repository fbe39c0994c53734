"""Policies learnt from randomised logs: context → action."""

from models.policy_learning.learner import FOLDS, PARTS, ROUNDS, CrossFitted, LearntPolicy, cross_fit, learn_policy
from models.policy_learning.log import RandomisedLog

__all__ = ["FOLDS", "PARTS", "ROUNDS", "CrossFitted", "LearntPolicy", "RandomisedLog", "cross_fit", "learn_policy"]
