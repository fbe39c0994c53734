"""The pool while it is filled: what was accepted for which place, and what was refused and why."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from core.columns import Columns as C
from core.vocabulary import CHANNELS, SCENES, Channel, Origin, Scene
from models.generator.bundle import GeneratorBundle
from models.generator.request import CopyRequest
from tasks.pool.candidates import HumanCopy, rules_of

_COLUMNS = [C.CREATIVE, C.ITEM, C.SCENE, C.CHANNEL, C.TEXT, C.ORIGIN, C.AUDIENCE, C.GENERATOR_VERSION, C.QUALITY, C.VERDICT, C.AI_LABEL]
_REJECTED = [C.ITEM, C.SCENE, C.CHANNEL, C.AUDIENCE, C.TEXT, C.ORIGIN, C.REASON, "rule", "found"]


@dataclass
class Shelf:
    """What has been accepted and refused so far.

    Attributes:
        bundle: judges.
        version: of the generators, which each creative names.
    """

    bundle: GeneratorBundle
    version: str

    def __post_init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.rejected: list[dict[str, Any]] = []
        self.texts: dict[str, set[str]] = {}
        self.reusable: dict[str, list[tuple[float, str, str, str, str]]] = {}
        self.rules: dict[tuple[str, str], list[str]] = {}
        self.open: set[tuple[str, str, str]] = set()
        self.candidates = self.surplus = self.served = self.filled = 0

    def add(
        self, request: CopyRequest, text: str, origin: str, quality: float, *, creative_id: str | None = None, reusable: bool = True
    ) -> None:
        """Accept a text for a place.

        Args:
            request: the place.
            text: of the creative.
            origin: who wrote it.
            quality: of its review.
            creative_id: its name; made of all of it when None.
            reusable: whether it may fill other places of its item.
        """
        audience = request.audience_id
        key = "|".join([request.item_id, request.scene, request.channel, audience or "", origin, text])
        known = (text, request.category)
        warnings = self.rules[known] if known in self.rules else rules_of(self.bundle, text, request)
        human = origin == Origin.HUMAN
        self.rows.append(
            {
                C.CREATIVE: creative_id or f"{origin[0]}{hashlib.sha256(key.encode()).hexdigest()[:12]}",
                C.ITEM: request.item_id,
                C.SCENE: request.scene,
                C.CHANNEL: request.channel,
                C.TEXT: text,
                C.ORIGIN: origin,
                C.AUDIENCE: audience,
                C.GENERATOR_VERSION: "human" if human else self.version,
                C.QUALITY: quality,
                C.VERDICT: f"warn:{','.join(warnings)}" if warnings else "pass",
                C.AI_LABEL: not human,
            }
        )
        self.texts.setdefault(request.item_id, set()).add(text)
        if audience is None:
            self.open.add((request.item_id, request.scene, request.channel))
        if reusable:
            self.reusable.setdefault(request.item_id, []).append((quality, request.scene, request.channel, text, origin))

    def refuse(self, request: CopyRequest, text: str, origin: str, *, reason: str, rule: str, found: str) -> None:
        """Write down why a text is not shown.

        Args:
            request: the place.
            text: the text.
            origin: who wrote it.
            reason: in a word.
            rule: that it breaks.
            found: where.
        """
        row = {
            C.ITEM: request.item_id,
            C.SCENE: request.scene,
            C.CHANNEL: request.channel,
            C.AUDIENCE: request.audience_id,
            C.TEXT: text,
            C.ORIGIN: origin,
        }
        self.rejected.append({**row, C.REASON: reason, "rule": rule, "found": found})

    def add_human(self, copies: pd.DataFrame, places: Sequence[CopyRequest], looked_at: Sequence[HumanCopy]) -> None:
        """Accept what people wrote, unless it breaks the law or does not fit.

        Args:
            copies: the copies table.
            places: of each.
            looked_at: what `look_at_human` says of each.
        """
        for copy_id, request, text, found in zip(copies[C.COPY], places, copies[C.TEXT], looked_at, strict=True):
            self.rules[text, request.category] = found.rules
            if found.violation is not None:
                self.refuse(request, text, Origin.HUMAN, reason="compliance", rule=found.violation.rule, found=found.violation.found)
            elif len(text) > request.max_length:
                self.refuse(request, text, Origin.HUMAN, reason="length", rule="too_long", found=str(len(text)))
            else:  # the merchant's own statement: offers and dates in it are the merchant's, but it is not moved to another place then
                quality, reusable = found.review.quality, found.review.accepted
                self.add(request, text, Origin.HUMAN, quality, creative_id=str(copy_id), reusable=reusable)

    def fill(self, stocked: Sequence[str], products: Mapping[str, CopyRequest], rng: np.random.Generator) -> None:
        """See to it that every item in stock has a creative for every scene and channel: its best text that fits there, else a template.

        Args:
            stocked: items.
            products: item → its order.
            rng: the template's stream.
        """
        template = self.bundle.generators[Origin.TEMPLATE]
        for item in stocked:
            texts = list(self.reusable.get(item, ()))
            for scene in SCENES:
                for channel in CHANNELS:
                    if (item, scene, channel) in self.open:
                        continue
                    request = products[item].placed(scene, channel)
                    fitting = [entry for entry in texts if len(entry[3]) <= request.max_length and (entry[1] in (scene, Scene.PRODUCT))]
                    if fitting:
                        quality, _, _, text, origin = max(
                            fitting, key=lambda entry: (entry[1] == scene, entry[2] == channel, entry[0], entry[3])
                        )
                    else:
                        text, origin = template.write([request.placed(scene, Channel.SEARCH)], 1, rng)[0][0], str(Origin.TEMPLATE)
                        quality = self.bundle.review(request, text).quality
                        texts.append((quality, Scene.PRODUCT, channel, text, origin))
                    creative_id = f"b{hashlib.sha256('|'.join([item, scene, channel, text]).encode()).hexdigest()[:12]}"
                    self.add(request, text, origin, quality, creative_id=creative_id, reusable=False)
                    self.filled += 1

    def table(self) -> pd.DataFrame:
        """The creatives, by place and quality."""
        table = pd.DataFrame(self.rows, columns=_COLUMNS)
        kinds = {name: "str" for name in _COLUMNS if name not in (C.QUALITY, C.AI_LABEL)}
        table = table.astype({**kinds, C.QUALITY: "float64", C.AI_LABEL: "bool"})
        order = [C.ITEM, C.SCENE, C.CHANNEL, C.AUDIENCE, C.QUALITY, C.CREATIVE]
        return table.sort_values(
            order, ascending=[True, True, True, True, False, True], na_position="last", kind="stable", ignore_index=True
        )

    def refused(self) -> pd.DataFrame:
        """The texts that were refused, each with its reason."""
        return pd.DataFrame(self.rejected, columns=_REJECTED).astype({C.AUDIENCE: "str"})
