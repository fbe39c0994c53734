"""The ranker as a bundle: everything between a request's candidates and p_click, p_convert."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bundle import copy_bundle, read_config, writing_bundle
from models.features import Candidates, FeatureSpace, Places, Recommended, Requests, Responses
from models.features.catalogue import Vectorise
from models.history import History
from models.ranker.scorers import Prediction, TrainedScorers
from models.recommender import RecommenderBundle

KIND = "ranker"
PRIOR_P_CLICK = 0.02
PRIOR_P_CONVERT = 0.03
PRIOR_TRUST = 0.5
"""Without impressions p_click is the prior, moved by this share of the recommender's log lift (within ±2)."""


class RankerBundle:
    """p_click and p_convert of (shopper, item, copy, context).

    Attributes:
        trained: False when there were no impressions to learn from; then `predict` gives priors.
        reason: why it is not trained; "" when it is.
        recommender: the recommender bundle whose scores and features are read.
        feature_names: the features by name; empty when not trained.
        models: names of what `predict` can score with; the baselines are among them.
        chosen: the model that scores when none is named.
        validation_log_loss: of clicks on the validation window, by model.
    """

    def __init__(
        self, recommender: RecommenderBundle, *, scorers: TrainedScorers | None = None, space: FeatureSpace | None = None, reason: str = ""
    ) -> None:
        if (scorers is None) != (space is None) or (scorers is None) != bool(reason):
            raise ValueError("a ranker has scorers and a feature space, or a reason why it is not trained")
        self.recommender = recommender
        self.reason = reason
        self._scorers = scorers
        self._space = space

    @property
    def trained(self) -> bool:
        """Whether it learned from impressions."""
        return self._scorers is not None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features."""
        return self._scorers.feature_names if self._scorers else ()

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models."""
        return tuple(sorted(self._scorers.scorers)) if self._scorers else ("prior",)

    @property
    def chosen(self) -> str:
        """Name of the model that scores."""
        return self._scorers.chosen if self._scorers else "prior"

    @property
    def validation_log_loss(self) -> dict[str, float]:
        """Log loss of clicks on the validation window, by model."""
        return dict(self._scorers.validation_log_loss) if self._scorers else {}

    def features(
        self, requests: Requests, candidates: Candidates, *, recommended: Recommended | None = None
    ) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        """The feature matrix, for those who score it several times or look at it.

        Args:
            requests: ``r`` of them.
            candidates: ``n`` of them; every item is one of the recommender's.
            recommended: what `recommender` says of the requests; asked here when None.

        Returns:
            ``(n, f)`` and the features' names; ``(n, 0)`` when not trained.

        Raises:
            ValueError: an item is not one of the recommender's.
        """
        if self._space is None:
            return np.zeros((len(candidates), 0), np.float32), ()
        return self._space.compute(requests, candidates, recommended=recommended)

    def predict(
        self, requests: Requests, candidates: Candidates, *, model: str | None = None, recommended: Recommended | None = None
    ) -> Prediction:
        """Calibrated probabilities of candidates of many requests.

        Args:
            requests: ``r`` of them.
            candidates: ``n`` of them; their positions are a feature (0 wherever a slate is being chosen).
            model: one of `models`; the chosen one when None.
            recommended: what `recommender` says of the requests; asked here when None.

        Returns:
            Probabilities in the order of ``candidates``. Without training: `PRIOR_P_CLICK` moved by `PRIOR_TRUST` of the
            recommender's log lift of the item, and `PRIOR_P_CONVERT`.

        Raises:
            ValueError: an item is not one of the recommender's, or no model has that name.
        """
        if self._scorers is None:
            return self._prior(requests, candidates, recommended)
        features, names = self.features(requests, candidates, recommended=recommended)
        return self._scorers.predict(features, names, scorer=model)

    def predict_all(self, requests: Requests, candidates: Candidates) -> dict[str, Prediction]:
        """Calibrated probabilities by the ranker and each of its baselines; features are computed once.

        Args:
            requests: ``r`` of them.
            candidates: ``n`` of them.

        Returns:
            "ranker" is what `predict` gives; the rest are `models` by name, without training none.

        Raises:
            ValueError: an item is not one of the recommender's.
        """
        if self._scorers is None:
            return {"ranker": self._prior(requests, candidates)}
        features, names = self.features(requests, candidates)
        return {
            name: self._scorers.predict(features, names, scorer=held)
            for name, held in [("ranker", None), *zip(self.models, self.models, strict=True)]
        }

    def predict_matrix(self, features: NDArray[np.float32], *, model: str | None = None) -> Prediction:
        """Calibrated probabilities from features that `features` gave.

        Args:
            features: ``(n, f)``.
            model: one of `models`; the chosen one when None.

        Raises:
            ValueError: the ranker is not trained, or no model has that name.
        """
        if self._scorers is None:
            raise ValueError(f"{self.reason}; there is no feature matrix to score, call predict instead")
        return self._scorers.predict(features, self._scorers.feature_names, scorer=model)

    def predict_one(
        self,
        history: History,
        item_ids: Sequence[str],
        texts: Sequence[str],
        *,
        scene: str,
        channel: str,
        timestamp: int,
        responses: Responses | None = None,
    ) -> Prediction:
        """Calibrated probabilities of the candidates of one request, all at position 0.

        Args:
            history: of the shopper; what lies at or after ``timestamp`` is cut off.
            item_ids: of each candidate.
            texts: the copy of each candidate.
            scene: why an ad is shown.
            channel: where.
            timestamp: now, µs UTC.
            responses: the shopper's answers to earlier ads; None for none.

        Raises:
            ValueError: an item is not one of the recommender's.
        """
        requests = Requests.one(history, scene=scene, channel=channel, timestamp=timestamp, responses=responses)
        return self.predict(requests, Candidates.one(item_ids, texts))

    def reading(self, recommender: RecommenderBundle) -> "RankerBundle":
        """This ranker, its tables shared, with scores and F from another object of the same recommender.

        Args:
            recommender: equal in content to the one that it holds.
        """
        space = None if self._space is None else self._space.reading(recommender)
        return RankerBundle(recommender, scorers=self._scorers, space=space, reason=self.reason)

    def look_up(self, texts: Sequence[str], item_ids: Sequence[str], channels: Sequence[str]) -> Places | None:
        """Look at creatives now, such as a pool's, so that no request has to; creatives of unknown items are left out.

        Args:
            texts: copies.
            item_ids: the item of each.
            channels: the channel of each.

        Returns:
            Where they are remembered, for `Candidates.places`; None when not trained.
        """
        return None if self._space is None else self._space.look_up(texts, item_ids, channels)

    def remember(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Take over the vectors of texts that were encoded elsewhere, such as the pool's.

        Args:
            texts: distinct.
            vectors: ``(n, d)`` as the encoder's `features` gives them.
        """
        if self._space is not None:
            self._space.text_vectors.remember(texts, vectors)

    def _prior(self, requests: Requests, candidates: Candidates, recommended: Recommended | None = None) -> Prediction:
        rows = {str(item): row for row, item in enumerate(self.recommender.champion.item_ids)}
        unknown = [str(item) for item in candidates.item_ids if item not in rows]
        if unknown:
            raise ValueError(f"{len(unknown)} candidates are not in the recommender's items, first: {unknown[0]!r}; leave them out")
        told = self.recommender.champion.score(requests.histories, requests.timestamps) if recommended is None else recommended.scores
        scores = np.asarray(told, dtype=np.float64)
        shifted = scores - scores.max(axis=1, keepdims=True)
        lift = shifted - np.log(np.exp(shifted).mean(axis=1, keepdims=True))
        item = np.fromiter((rows[str(item)] for item in candidates.item_ids), np.int64, len(candidates))
        moved = np.log(PRIOR_P_CLICK / (1 - PRIOR_P_CLICK)) + PRIOR_TRUST * np.clip(lift[candidates.request, item], -2, 2)
        return Prediction(1 / (1 + np.exp(-moved)), np.full(len(candidates), PRIOR_P_CONVERT))

    @classmethod
    def load(cls, path: Path, *, vectorise: Vectorise | None = None) -> "RankerBundle":
        """Read a bundle.

        Args:
            path: its folder.
            vectorise: texts → centred vectors from a store that already holds them; the bundle's own encoder when None.

        Raises:
            BundleError: missing, incomplete, or of another version.
        """
        config = read_config(path, KIND)
        recommender = RecommenderBundle.load(path / "recommender")
        if not config["trained"]:
            return cls(recommender, reason=config["reason"])
        space = FeatureSpace.load(path, recommender, vectorise or recommender.encoder.features)
        return cls(recommender, scorers=TrainedScorers.load(path / "scorers.safetensors", config), space=space)

    def save(self, path: Path, *, recommender: Path) -> None:
        """Write the bundle, whole or not at all.

        Args:
            path: its folder.
            recommender: the recommender bundle's folder; a copy goes inside.
        """
        config = {"trained": self.trained, "reason": self.reason, **(self._scorers.config() if self._scorers else {})}
        with writing_bundle(path, KIND, config) as draft:
            copy_bundle(recommender, draft / "recommender")
            if self._scorers is not None and self._space is not None:
                self._space.save(draft)
                self._scorers.save(draft / "scorers.safetensors")
