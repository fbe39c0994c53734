"""Features of (shopper, item, copy, context), from events strictly before the request; one code for training and serving."""

from models.features.batch import (
    Candidates,
    Places,
    Recommended,
    Requests,
    Responses,
    considered_candidates,
    logged_candidates,
    requests_of,
    responses,
)
from models.features.fitted import Fitted
from models.features.space import FeatureSpace, Recommendations

__all__ = [
    "Candidates",
    "FeatureSpace",
    "Fitted",
    "Places",
    "Recommendations",
    "Recommended",
    "Requests",
    "Responses",
    "considered_candidates",
    "logged_candidates",
    "requests_of",
    "responses",
]
