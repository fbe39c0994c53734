"""Audiences: clusters of the user feature F that copy is written for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.files import read_json, write_json
from models.bundle import load_arrays, save_arrays

_CATEGORIES_SHOWN = 2


@dataclass(frozen=True)
class Audiences:
    """Centroids of F with readable names.

    Attributes:
        ids: "a0", "a1", …, largest audience first.
        names: one an audience, from the categories that its members care for more than others do.
        features: (n, d) float32, each audience's mean F.
        sizes: (n,) members when it was made.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    features: np.ndarray
    sizes: np.ndarray

    def of(self, features: np.ndarray) -> list[str]:
        """The audience nearest by cosine; someone without events belongs to the largest.

        Args:
            features: (n, d) user features.
        """
        centres = _unit(self.features)
        nearest = (_unit(features) @ centres.T).argmax(axis=1)
        return [self.ids[place] for place in nearest]

    def save(self, folder: Path) -> None:
        """Write audiences.json and audiences.safetensors.

        Args:
            folder: an existing folder, usually a bundle's draft.
        """
        write_json({"ids": self.ids, "names": self.names, "sizes": self.sizes.tolist()}, folder / "audiences.json")
        save_arrays({"features": self.features}, folder / "audiences.safetensors")

    @classmethod
    def load(cls, folder: Path) -> "Audiences":
        """Read what `save` wrote.

        Args:
            folder: the folder.

        Raises:
            BundleError: the arrays are missing.
        """
        features = load_arrays(folder / "audiences.safetensors")["features"]
        named = read_json(folder / "audiences.json")
        return cls(tuple(named["ids"]), tuple(named["names"]), features, np.array(named["sizes"]))


def make_audiences(features: np.ndarray, categories: Sequence[Sequence[str]], *, count: int, seed: int) -> Audiences:
    """Cluster users by the direction of F.

    Args:
        features: (n_users, d) user features.
        categories: the categories that each user's events touched, repeats included.
        count: audiences wanted; fewer are made when fewer users differ.
        seed: of k-means.

    Returns:
        The audiences, largest first.

    Raises:
        ValueError: no users.
    """
    from sklearn.cluster import KMeans

    if not len(features):
        raise ValueError("no users to form audiences of; at least one is needed")
    directions = _unit(features)
    found = min(count, len(np.unique(directions.round(6), axis=0)))
    labels = KMeans(n_clusters=found, n_init=4, random_state=seed).fit(directions.astype(np.float64)).labels_
    order = sorted(range(found), key=lambda label: (-int((labels == label).sum()), label))
    means = np.stack([features[labels == label].mean(axis=0) for label in order]).astype(np.float32)
    assigned = Audiences(tuple(f"a{place}" for place in range(found)), ("",) * found, means, np.zeros(found, np.int64)).of(features)
    members = [np.array([audience == f"a{place}" for audience in assigned]) for place in range(found)]
    names = _names([[category for row in np.flatnonzero(mask) for category in categories[int(row)]] for mask in members])
    return Audiences(tuple(f"a{place}" for place in range(found)), names, means, np.array([int(mask.sum()) for mask in members]))


def _names(categories: Sequence[Sequence[str]]) -> tuple[str, ...]:
    overall = Counter(category for held in categories for category in held)
    total = max(1, sum(overall.values()))
    names: list[str] = []
    for held in categories:
        counts, size = Counter(held), max(1, len(held))
        lift = {category: count / size * (count / size) / (overall[category] / total) for category, count in counts.items()}
        ranked = sorted(lift, key=lambda category: (-lift[category], category))
        name = " · ".join(ranked[:_CATEGORIES_SHOWN]) or "everyone"
        shown = _CATEGORIES_SHOWN
        while name in names and shown < len(ranked):
            shown += 1
            name = " · ".join(ranked[:shown])
        names.append(name if name not in names else f"{name} {len(names)}")
    return tuple(names)


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit
