"""Recommenders: P(item | history), one interface, chosen by params.yaml; a bundle holds all of them with the rules."""

from models.recommender.base import Recommender
from models.recommender.bundle import RecommenderBundle

__all__ = ["Recommender", "RecommenderBundle"]
