"""Policies learnt from randomised logs: context → action."""

from models.policy_learning.learner import FOLDS, PARTS, ROUNDS, CrossFitted, LearntPolicy, RandomisedLog, cross_fit, learn_policy

__all__ = ["FOLDS", "PARTS", "ROUNDS", "CrossFitted", "LearntPolicy", "RandomisedLog", "cross_fit", "learn_policy"]
