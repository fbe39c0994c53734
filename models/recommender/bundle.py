"""The recommender bundle: every recommender, the items, F, the audiences, and the rules about what may be shown."""

import copy
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from core.columns import Columns
from core.errors import BundleError
from core.files import content_hash, read_json, write_json, write_table
from core.vocabulary import EventType, Scene
from models.bundle import CONFIG, copy_bundle, load_arrays, load_table, read_config, save_arrays, writing_bundle
from models.encoder import TextEncoder
from models.fusion import Fusion
from models.history import History
from models.recommender.audiences import Audiences
from models.recommender.base import EventRecommender, Recommender
from models.recommender.catalogue import Catalogue
from models.recommender.complements import Complements
from models.recommender.content import ContentCosine, ContentLinear
from models.recommender.covisits import ItemKnn, Markov
from models.recommender.events import event_batch, moments_of
from models.recommender.factorisation import Als
from models.recommender.nearest import Graph
from models.recommender.popularity import Popularity
from models.recommender.reader import FusionReader
from models.recommender.scenes import SceneRules, is_varied, largest, most_varied, varied
from models.recommender.sequence import SequenceRecommender
from models.recommender.shortlist import LEAST, OVERFETCH, Indexable
from models.recommender.weights import load_state, state_of

KIND, GRAPH = "recommender", "graph.usearch"
KINDS: tuple[type[Recommender], ...] = (
    Popularity,
    ItemKnn,
    Markov,
    ContentLinear,
    ContentCosine,
    Als,
    SequenceRecommender,
)
_ROWS = 256


class RecommenderBundle:
    """P(item | history) by the champion and its baselines, under the rules: nothing out of stock, no durable bought twice."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        encoder: TextEncoder,
        fusion: Fusion,
        audiences: Audiences,
        models: Mapping[str, Recommender],
        champion: str,
        max_events: int,
        complements: Complements | None = None,
        graph: Graph | None = None,
    ) -> None:
        """Keep the parts.

        Args:
            catalogue: the items.
            encoder: makes features of texts.
            fusion: makes F.
            audiences: clusters of F.
            models: recommenders by name, all over ``catalogue``.
            champion: the name of the one that answers.
            max_events: latest events that F reads.
            complements: what belongs to a cart; None when there were too few baskets to learn it from.
            graph: over the champion's `item_rows`; None: every item is scored.

        Raises:
            BundleError: there is no recommender of the champion's name, or the graph is not over these items.
        """
        if champion not in models:
            raise BundleError(f"no recommender is named {champion!r}; the bundle holds {', '.join(models)}. Train again.")
        self.catalogue = catalogue
        self.encoder = encoder
        self.fusion = fusion.eval()
        self._fused = FusionReader(fusion)
        self.audiences = audiences
        self.models = dict(models)
        self.champion = self.models[champion]
        self.max_events = max_events
        self.complements = complements
        self.scenes = SceneRules(catalogue, complements)
        self.graph = graph
        if graph is not None and len(graph) != len(catalogue):
            raise BundleError(f"the graph holds {len(graph)} items, the catalogue {len(catalogue)}. Train again.")
        read = self.champion.reads if isinstance(self.champion, EventRecommender) else None
        held = self.fusion.state_dict()
        self._one_fusion = read is not None and all(torch.equal(value, held[name]) for name, value in read.state_dict().items())

    def completed_by(self, complements: Complements | None) -> "RecommenderBundle":
        """The same with complements for scene cross_sell.

        Args:
            complements: None for none.
        """
        made = copy.copy(self)
        made.complements, made.scenes = complements, SceneRules(self.catalogue, complements)
        return made

    def indexed(self, exact_up_to: int) -> "RecommenderBundle":
        """The same with a graph over the champion's items where there are more than that; without one otherwise.

        Args:
            exact_up_to: items up to which `top_k` scores every one.
        """
        made = copy.copy(self)
        many = len(self.catalogue) > exact_up_to and isinstance(self.champion, Indexable)
        made.graph = Graph.of(self.champion.item_rows(np.arange(len(self.catalogue)))) if many else None  # type: ignore[attr-defined]
        return made

    @property
    def items(self) -> pd.DataFrame:
        """The items table, in the order of the scores' columns."""
        return self.catalogue.items

    @property
    def audience_features(self) -> dict[str, np.ndarray]:
        """Mean F of each audience by id, each (d,)."""
        return {audience: self.audiences.features[place] for place, audience in enumerate(self.audiences.ids)}

    @property
    def audience_names(self) -> dict[str, str]:
        """Readable name of each audience by id."""
        return dict(zip(self.audiences.ids, self.audiences.names, strict=True))

    def user_feature(self, histories: Sequence[History], now: int | np.ndarray | None = None) -> np.ndarray:
        """F of each history.

        Args:
            histories: n of them.
            now: microseconds since 1970 UTC, one for all or (n,), or None: just after each history's last event.

        Returns:
            (n, d) float32 with norms of at most 1; zero for an empty history.
        """
        moments = moments_of(histories, now)
        features = np.zeros((len(histories), self.catalogue.dim), np.float32)
        with torch.inference_mode():
            for start in range(0, len(histories), _ROWS):
                rows = slice(start, start + _ROWS)
                batch = event_batch(histories[rows], moments[rows], self.catalogue, self.max_events)
                features[rows] = self._fused(batch, moments[rows])
        return features

    def scores_and_features(self, histories: Sequence[History], now: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The champion's logits and F of each history: what `champion.score` and `user_feature` give, the events read once.

        Args:
            histories: n of them.
            now: microseconds since 1970 UTC, one for all or (n,).

        Returns:
            (n, n_items) and (n, d), float32.
        """
        champion = self.champion
        if not (isinstance(champion, EventRecommender) and champion.max_events == self.max_events and len(histories) <= _ROWS):
            return champion.score(histories, now), self.user_feature(histories, now)
        moments = moments_of(histories, now)
        with torch.inference_mode():
            batch = event_batch(histories, moments, self.catalogue, self.max_events)
            at = torch.from_numpy(moments.copy())
            features = self._fused(batch, moments)
            return champion.logits(batch, at, torch.from_numpy(features) if self._one_fusion else None).numpy(), features

    def audience_of(self, features: np.ndarray) -> list[str]:
        """The audience of each user feature; the largest for a zero feature.

        Args:
            features: (n, d).
        """
        return self.audiences.of(features)

    def allowed(self, histories: Sequence[History], now: int | np.ndarray | None = None) -> np.ndarray:
        """Which items may be shown to whom.

        Args:
            histories: n of them.
            now: purchases at or after it are not looked at; see `user_feature`.

        Returns:
            (n, n_items) bool: in stock or of unknown stock, and not a durable that the shopper has bought.
        """
        moments = moments_of(histories, now)
        allowed = np.repeat(~self.catalogue.out_of_stock[None, :], len(histories), axis=0)
        for row, (history, moment) in enumerate(zip(histories, moments.tolist(), strict=True)):
            allowed[row, self.owned(history.before(moment))] = False
        return allowed

    def owned(self, history: History) -> list[int]:
        """Columns of the durables that a shopper has bought.

        Args:
            history: what the shopper did.
        """
        column, consumable = self.catalogue.index.get, self.catalogue.consumable
        bought = [item for item, kind in zip(history.item_ids, history.event_types, strict=True) if kind == EventType.PURCHASE]
        return [code for item in bought if (code := column(item, -1)) >= 0 and not consumable[code]]

    def probability(self, history: History, item_ids: Sequence[str] | None = None, now: int | None = None) -> np.ndarray:
        """P(item | history) by the champion: softmax over the asked items.

        Args:
            history: what the shopper did.
            item_ids: which items share the mass, and in which order; None for all that the rules allow, the others then have 0.
            now: the moment; None: just after the last event.

        Returns:
            (len(item_ids),), or (n_items,) in the order of ``champion.item_ids``; sums to 1.

        Raises:
            ValueError: no items asked for, an unknown item, or no item that the rules allow.
        """
        scores = self.champion.score([history], now)[0].astype(np.float64)
        if item_ids is None:
            scores = np.where(self.allowed([history], now)[0], scores, -np.inf)
        else:
            codes = self.catalogue.codes(item_ids)
            unknown = [item for item, code in zip(item_ids, codes, strict=True) if code < 0]
            if unknown or not len(codes):
                raise ValueError(
                    f"{len(unknown)} of {len(codes)} items are not in the catalogue {unknown[:1]}; ask for at least one that is"
                )
            scores = scores[codes]
        if not np.isfinite(scores).any():
            raise ValueError("no item may be shown: all are out of stock or were bought")
        shares = np.exp(scores - scores.max())
        normalised: np.ndarray = shares / shares.sum()
        return normalised

    def top_k(
        self,
        histories: Sequence[History],
        k: int,
        exclude: Sequence[str] = (),
        now: int | np.ndarray | None = None,
        *,
        scene: str = Scene.PRODUCT,
        promoted: Collection[str] = (),
        brand: str | None = None,
        model: str | None = None,
    ) -> list[list[str]]:
        """The best items that the rules allow and the scene is about, best first, not too many of one category (`varied`).

        With a graph, the champion's own scene is answered from what the graph finds; who is left with too little gets the exact answer.

        Args:
            histories: n of them.
            k: how many at the most.
            exclude: items that must not be shown to anyone.
            now: see `user_feature`.
            scene: see `SceneRules`.
            promoted: see `SceneRules.candidates`.
            brand: see `SceneRules.candidates`; the category rule is off where a brand is asked for.
            model: name of the recommender that ranks; the scene's own, or the champion, when None.

        Returns:
            One list of item ids a history; shorter than ``k`` where fewer are allowed. Equal scores come in catalogue order.
        """
        moments = moments_of(histories, now)
        barred = self.catalogue.codes(list(exclude))
        barred = barred[barred >= 0]
        chosen = None if model is None else self.models[model]
        found: list[list[str]] = []
        for start in range(0, len(histories), _ROWS):
            told, at = histories[start : start + _ROWS], moments[start : start + _ROWS]
            listed: list[list[int] | None] = [None] * len(told)
            if scene == Scene.PRODUCT and chosen is None and brand is None:
                listed = self.from_graph(told, at, k, barred)
            rest = [row for row, codes in enumerate(listed) if codes is None]
            scores = self.scene_scores([told[row] for row in rest], at[rest], scene, chosen)
            for row, score in zip(rest, scores, strict=True):
                allowed = self._allowed_here(told[row], int(at[row]), barred)
                if scene != Scene.PRODUCT:
                    allowed &= self.scenes.candidates(scene, told[row], int(at[row]), promoted=promoted, brand=brand)
                free = np.flatnonzero(allowed)
                kept = free[largest(score[free], k)] if brand is not None else most_varied(free, score[free], self.scenes.category, k)
                listed[row] = kept.tolist()
            found += [[self.catalogue.item_ids[code] for code in codes] for codes in listed if codes is not None]
        return found

    def _allowed_here(self, history: History, moment: int, barred: np.ndarray) -> np.ndarray:
        allowed: np.ndarray = self.allowed([history], moment)[0]
        allowed[barred] = False
        return allowed

    def from_graph(
        self, histories: Sequence[History], moments: np.ndarray, k: int, barred: np.ndarray | None = None
    ) -> list[list[int] | None]:
        """Lists for scene product of what the graph found, under all rules.

        Args:
            histories: n of them.
            moments: (n,) int64 microseconds.
            k: how many items at the most.
            barred: columns of items that must not be shown to anyone.

        Returns:
            Columns of items, best first; None where every item is to be scored: there is no graph, or the rules leave too little of it.
        """
        if self.graph is None or not isinstance(self.champion, Indexable):
            return [None] * len(histories)
        kept_out = np.zeros(0, np.int64) if barred is None else barred
        size = max(LEAST, OVERFETCH * k) + len(kept_out)
        lists: list[list[int] | None] = []
        shortlists = self.champion.shortlists(self.graph, histories, moments, size)
        for history, moment, found in zip(histories, moments.tolist(), shortlists, strict=True):
            order = found.codes[self._allowed_here(history, moment, kept_out)[found.codes]]
            kept = varied(order, self.scenes.category, k)
            lists.append(kept if len(kept) == k and is_varied(kept, self.scenes.category, k) else None)
        return lists

    def scene_scores(self, histories: Sequence[History], moments: np.ndarray, scene: str, model: Recommender | None = None) -> np.ndarray:
        """Logits of all items in the order that a scene ranks by.

        Args:
            histories: n of them.
            moments: (n,) int64 microseconds.
            scene: see `SceneRules.ranked_by`.
            model: ranks in any scene; the scene's own, or the champion, when None.

        Returns:
            (n, n_items) float32.
        """
        if model is not None:
            return model.score(histories, moments)
        asked = [
            self.scenes.ranked_by(scene, self.champion, history, moment)
            for history, moment in zip(histories, moments.tolist(), strict=True)
        ]
        scores = np.empty((len(histories), len(self.catalogue)), np.float32)
        for by in {id(ranker): ranker for ranker, _ in asked}.values():
            own = np.array([row for row, (ranker, _) in enumerate(asked) if ranker is by], dtype=np.int64)
            scores[own] = by.score([asked[row][1] for row in own], moments[own])
        return scores

    def save(self, path: Path, *, encoder: Path, queries: Mapping[str, np.ndarray], config: Mapping[str, object]) -> None:
        """Write the bundle, whole or not at all.

        Args:
            path: the folder.
            encoder: the encoder bundle; a copy goes inside.
            queries: raw vectors of known queries, so that they need no network later.
            config: what config.json shall hold besides names and sizes.
        """
        held: dict[str, object] = {
            "champion": self.champion.name,
            "models": list(self.models),
            "max_events": self.max_events,
            "dim": self.catalogue.dim,
        }
        held |= {"complements": self.complements is not None, "graph": None}
        with writing_bundle(path, KIND, {**config, **held}) as draft:
            if self.graph is not None:
                self.graph.save(draft / GRAPH)
                write_json(read_json(draft / CONFIG) | {"graph": content_hash(draft / GRAPH)}, draft / CONFIG)
            copy_bundle(encoder, draft / "encoder")
            write_table(self.items, draft / "items.parquet")
            save_arrays({"vectors": self.catalogue.vectors, "text_of": self.catalogue.text_of}, draft / "items.safetensors")
            write_table(pd.DataFrame({Columns.QUERY: pd.Series(list(queries), dtype="str")}), draft / "queries.parquet")
            raw = np.stack(list(queries.values())) if queries else np.zeros((0, self.catalogue.dim), np.float32)
            save_arrays({"vectors": raw}, draft / "queries.safetensors")
            save_arrays(state_of(self.fusion), draft / "fusion.safetensors")
            self.audiences.save(draft)
            for name, model in self.models.items():
                model.save(draft / name)
            if self.complements is not None:
                self.complements.save(draft / Complements.name)

    @classmethod
    def load(cls, path: Path) -> "RecommenderBundle":
        """Read the folder that `save` wrote; the encoder's network is loaded only when an unknown query comes.

        Args:
            path: the folder.

        Raises:
            BundleError: the folder is missing, incomplete, or of another kind or format version.
        """
        config = read_config(path, KIND)
        encoder = TextEncoder.load(path / "encoder")
        encoder.remember(load_table(path / "queries.parquet")[Columns.QUERY].tolist(), load_arrays(path / "queries.safetensors")["vectors"])
        arrays = load_arrays(path / "items.safetensors")
        catalogue = Catalogue(load_table(path / "items.parquet"), arrays["vectors"], arrays["text_of"], encoder.features)
        fusion = Fusion(config["dim"])
        load_state(fusion, load_arrays(path / "fusion.safetensors"), path)
        kinds = {kind.name: kind for kind in KINDS}
        unknown = [name for name in config["models"] if name not in kinds]
        if unknown:
            raise BundleError(
                f"{path}: holds recommenders {unknown} that this code does not know. Train again, or use the code that wrote it."
            )
        return cls(
            catalogue=catalogue,
            encoder=encoder,
            fusion=fusion,
            audiences=Audiences.load(path),
            models={name: kinds[name].load(path / name, catalogue) for name in config["models"]},
            champion=config["champion"],
            max_events=config["max_events"],
            complements=Complements.load(path / Complements.name, catalogue) if config.get("complements") else None,
            graph=Graph.load(path / GRAPH, digest=config["graph"]) if config.get("graph") else None,
        )
