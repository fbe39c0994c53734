"""Requests as tensors: what the decoder is conditioned on."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from core.vocabulary import CHANNELS, SCENES, TONES
from models.generator.request import CopyRequest
from models.generator.slots import MAX_SLOTS, Slot, slots_of
from models.generator.vocabulary import Vocabulary

_CATEGORY = "category"
_PHRASE_LENGTH = 16
UNKNOWN_PHRASE = 0


@dataclass(frozen=True)
class PhraseBook:
    """Numbers of the phrases (slot names and values) met in training; number 0 is any other phrase.

    Attributes:
        names: slot names without ordinals.
        values: slot values and categories.
    """

    names: tuple[str, ...]
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", {name: index + 1 for index, name in enumerate(self.names)})
        object.__setattr__(self, "_values", {value: index + 1 for index, value in enumerate(self.values)})

    def name(self, name: str) -> int:
        """Number of a slot name.

        Args:
            name: without ordinal.
        """
        return int(self._names.get(name, UNKNOWN_PHRASE))  # type: ignore[attr-defined]

    def value(self, value: str) -> int:
        """Number of a value.

        Args:
            value: a slot's value or a category.
        """
        return int(self._values.get(value, UNKNOWN_PHRASE))  # type: ignore[attr-defined]


def build_phrase_book(requests: Sequence[CopyRequest]) -> PhraseBook:
    """The phrases of a catalogue that more than one product shares; prices have no number.

    Args:
        requests: the products of the training copies.
    """
    names: dict[str, int] = {}
    values: dict[str, int] = {}
    for request in requests:
        for name, value in _phrases(request):
            names[name] = names.get(name, 0) + 1
            if name != "price":
                values[value] = values.get(value, 0) + 1
    return PhraseBook(tuple(sorted(names)), tuple(sorted(value for value, n in values.items() if n > 1)))


def _phrases(request: CopyRequest) -> list[tuple[str, str]]:
    slots = slots_of(request)
    return [(_CATEGORY, request.category), *[(slot.key, slot.value) for slot in slots]]


@dataclass(frozen=True)
class Prompts:
    """A batch of requests.

    Attributes:
        scene: (batch,) int64.
        channel: (batch,) int64.
        tone: (batch,) int64, 0 where none is asked for, else 1 + the place in TONES.
        feature: (batch, d_feature) standardised F, zero where absent.
        personal: (batch,) 1.0 where F is present.
        names: (batch, phrases) int64; phrase 0 is the category, phrase 1 + i is slot i.
        values: (batch, phrases) int64.
        characters: (batch, phrases, 16) int64 of the values, 0-padded.
        mask: (batch, phrases) bool, True where a phrase stands.
    """

    scene: Tensor
    channel: Tensor
    tone: Tensor
    feature: Tensor
    personal: Tensor
    names: Tensor
    values: Tensor
    characters: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.scene)

    def take(self, rows: Tensor) -> "Prompts":
        """A subset, with phrases trimmed to the longest request of it.

        Args:
            rows: (n,) int64.
        """
        mask = self.mask[rows]
        width = int(mask.sum(1).max()) if len(rows) else 1
        return Prompts(
            self.scene[rows],
            self.channel[rows],
            self.tone[rows],
            self.feature[rows],
            self.personal[rows],
            self.names[rows, :width],
            self.values[rows, :width],
            self.characters[rows, :width],
            mask[:, :width],
        )

    def to(self, where: torch.device) -> "Prompts":
        """The same on a device.

        Args:
            where: the device.
        """
        return Prompts(**{field.name: getattr(self, field.name).to(where) for field in fields(self)})

    def for_everyone(self) -> "Prompts":
        """The same requests without an audience."""
        return self.with_feature(torch.zeros_like(self.feature), torch.zeros_like(self.personal))

    def with_feature(self, feature: Tensor, personal: Tensor) -> "Prompts":
        """The same requests for other audiences.

        Args:
            feature: (batch, d_feature) standardised F.
            personal: (batch,) 1.0 where F is present.
        """
        return replace(self, feature=feature, personal=personal)


@dataclass(frozen=True)
class FeatureScale:
    """Centres and scales F, so that audiences lie apart whatever space F lives in.

    Attributes:
        mean: (d_feature,) mean F over audiences.
        scale: root mean square of the centred F.
    """

    mean: np.ndarray
    scale: float

    def apply(self, feature: np.ndarray) -> np.ndarray:
        """Standardise.

        Args:
            feature: (..., d_feature).
        """
        scaled: np.ndarray = ((feature - self.mean) / self.scale).astype(np.float32)
        return scaled


def fit_feature_scale(features: np.ndarray) -> FeatureScale:
    """Fit on the audiences' features.

    Args:
        features: (audiences, d_feature); no rows when the source knows no shoppers.
    """
    if len(features) == 0:
        return FeatureScale(np.zeros(1, np.float32), 1.0)
    mean = features.mean(0).astype(np.float32)
    spread = float(np.sqrt(np.mean((features - mean) ** 2)))
    return FeatureScale(mean, spread if spread > 1e-8 else 1.0)


def _tone(request: CopyRequest) -> int:
    if request.tone is None:
        return 0
    if request.tone not in TONES:
        raise ValueError(f"tone {request.tone!r} of {request.item_id} is unknown; there are {', '.join(TONES)}")
    return 1 + TONES.index(request.tone)


def prompts_of(
    requests: Sequence[CopyRequest], vocabulary: Vocabulary, book: PhraseBook, scale: FeatureScale
) -> tuple[Prompts, list[tuple[Slot, ...]]]:
    """Requests as tensors, and each request's slots.

    Args:
        requests: the orders.
        vocabulary: the decoder's tokens.
        book: the decoder's phrases.
        scale: of F.

    Returns:
        The prompts, and the slots that slot numbers of each row point at.

    Raises:
        ValueError: a feature has another size than the generator was trained with or is not finite, or a scene, channel or tone is unknown.
    """
    size, width = len(requests), 1 + MAX_SLOTS
    names, values = np.zeros((size, width), np.int64), np.zeros((size, width), np.int64)
    characters, mask = np.zeros((size, width, _PHRASE_LENGTH), np.int64), np.zeros((size, width), bool)
    feature, personal = np.zeros((size, len(scale.mean)), np.float32), np.zeros(size, np.float32)
    known: dict[tuple[str, str], tuple[int, int, list[int]]] = {}
    slots: list[tuple[Slot, ...]] = []
    for row, request in enumerate(requests):
        slots.append(slots_of(request))
        for column, phrase in enumerate(_phrases(request)):
            if phrase not in known:
                known[phrase] = (book.name(phrase[0]), book.value(phrase[1]), vocabulary.characters(phrase[1])[:_PHRASE_LENGTH])
            names[row, column], values[row, column], ids = known[phrase]
            characters[row, column, : len(ids)] = ids
            mask[row, column] = True
        if request.feature is not None:
            if request.feature.shape != scale.mean.shape:
                raise ValueError(
                    f"feature of {request.item_id} has shape {request.feature.shape}; the generator was trained with {scale.mean.shape}"
                )
            if not np.isfinite(request.feature).all():
                raise ValueError(
                    f"feature of {request.item_id}, audience {request.audience_id}, is not finite; leave it out, or train again"
                )
            feature[row], personal[row] = scale.apply(request.feature), 1.0
    prompts = Prompts(
        scene=torch.tensor([SCENES.index(request.scene) for request in requests], dtype=torch.long),
        channel=torch.tensor([CHANNELS.index(request.channel) for request in requests], dtype=torch.long),
        tone=torch.tensor([_tone(request) for request in requests], dtype=torch.long),
        feature=torch.from_numpy(feature),
        personal=torch.from_numpy(personal),
        names=torch.from_numpy(names),
        values=torch.from_numpy(values),
        characters=torch.from_numpy(characters),
        mask=torch.from_numpy(mask),
    )
    return prompts, slots
