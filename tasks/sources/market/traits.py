"""What the market's shoppers see in a text: its tone, its length for the channel, and the selling points it names.

Purely lexical (`lexicon.yaml`), so that any text has a true effect, a generated one as well as a human one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from core.vocabulary import LENGTH_LIMITS, TONES
from tasks.sources.market.catalogue import read_yaml_file

Floats = npt.NDArray[np.float64]
LEXICON = Path(__file__).parent / "lexicon.yaml"
Ints = npt.NDArray[np.int64]
Signals = tuple[tuple[int, tuple[str, ...]], ...]
"""For each attribute of a product its theme, an index into THEMES, and the strings that name it in a text."""
THEMES = ("looks", "material", "size", "occasion", "function")
"""What a selling point is about."""


@cache
def _tone_patterns() -> tuple[re.Pattern[str], ...]:
    tones = read_yaml_file(LEXICON)["tones"]
    return tuple(re.compile("|".join(re.escape(marker) for marker in sorted(tones[tone], key=lambda m: (-len(m), m)))) for tone in TONES)


@cache
def _theme_keywords() -> dict[str, tuple[str, ...]]:
    themes = read_yaml_file(LEXICON)["themes"]
    return {theme: tuple(themes[theme]) for theme in THEMES}


def tone_shares(texts: Sequence[str]) -> Floats:
    """How much each tone speaks in a text: its markers over one plus all markers.

    Args:
        texts: any texts.

    Returns:
        (n, 3) in [0, 1), columns in the order of TONES; a row sums to less than 1, and to 0 without markers.
    """
    counts = np.array([[len(pattern.findall(text)) for pattern in _tone_patterns()] for text in texts], dtype=np.float64)
    counts = counts.reshape(len(texts), len(TONES))
    shares: Floats = counts / (1.0 + counts.sum(axis=1, keepdims=True))
    return shares


def length_ratio(texts: Sequence[str], channels: Sequence[str]) -> Floats:
    """A text's length relative to what its channel shows, on [-1, 1]: -1 empty, 1 full or longer.

    Args:
        texts: any texts.
        channels: the channel of each.

    Returns:
        (n,).

    Raises:
        ValueError: a channel is none of CHANNELS.
    """
    if strays := sorted(set(channels) - set(LENGTH_LIMITS)):
        raise ValueError(f"no channel is named {strays[0]!r}; the channels are {', '.join(LENGTH_LIMITS)}")
    limits = np.array([LENGTH_LIMITS[channel] for channel in channels], dtype=np.float64)
    lengths = np.array([len(text) for text in texts], dtype=np.float64)
    ratio: Floats = 2.0 * np.minimum(lengths / limits, 1.0) - 1.0
    return ratio


@cache
def theme_of(key: str) -> int:
    """The theme that an attribute key belongs to.

    Args:
        key: such as 颜色 or 适用季节.

    Returns:
        An index into THEMES.
    """
    for index, theme in enumerate(THEMES):
        if any(word in key for word in _theme_keywords()[theme]):
            return index
    return THEMES.index("function")


def named_themes(text: str, signals: Sequence[tuple[int, Sequence[str]]]) -> Floats:
    """The themes of the product's own attributes that a text names.

    Args:
        text: any text.
        signals: for each attribute of the product its theme and the strings that name it.

    Returns:
        (5,) shares over THEMES that sum to 1, or zeros when the text names no attribute.
    """
    counts = np.zeros(len(THEMES))
    for theme, names in signals:
        if any(name in text for name in names):
            counts[theme] += 1.0
    total = counts.sum()
    return counts / total if total else counts


@dataclass(frozen=True)
class ReadTexts:
    """What shoppers see in n texts.

    Attributes:
        tone: (n, 3), see `tone_shares`.
        themes: (n, 5), see `named_themes`.
        length: (n,), see `length_ratio`.
    """

    tone: Floats
    themes: Floats
    length: Floats


def read_texts(
    items: Ints, texts: Sequence[str] | npt.NDArray[np.object_], channels: npt.NDArray[np.object_], signals: Sequence[Signals]
) -> ReadTexts:
    """Read texts about products; each distinct one once.

    Args:
        items: (n,) index of the product that each text is about.
        texts: (n,) any texts.
        channels: (n,) of CHANNELS.
        signals: what names each product's attributes.

    Returns:
        The traits.

    Raises:
        ValueError: a text is null, or a channel has no such name.
    """
    codes, distinct = pd.factorize(np.asarray(texts, dtype=object))
    if (codes < 0).any():
        raise ValueError(f"{int((codes < 0).sum())} texts are null; a shown copy has a text")
    keys = items * np.int64(len(distinct) + 1) + codes
    pairs, first = np.unique(keys, return_index=True)
    named = [named_themes(distinct[codes[row]], signals[items[row]]) for row in first]
    themes = np.array(named, dtype=np.float64).reshape(len(pairs), len(THEMES))[np.searchsorted(pairs, keys)]
    length = np.zeros(len(codes))
    for channel in sorted(set(channels)):
        per_text = length_ratio(list(distinct), [channel] * len(distinct))
        length = np.where(channels == channel, per_text[codes], length)
    return ReadTexts(tone=tone_shares(list(distinct))[codes], themes=themes, length=length)
