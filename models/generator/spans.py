"""Which spans of a text stand in training copy word for word."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PROBE = 8
"""Spans shorter than this count as nobody's."""
_STOCK = 4
"""Characters of a stock phrase."""


@dataclass(frozen=True)
class Overlap:
    """What a text shares with training copy.

    Attributes:
        longest: the longest shared span, characters; 0 when below `PROBE`.
        covered: characters that lie in shared spans of `PROBE` or more.
        length: characters of the text.
    """

    longest: int
    covered: int
    length: int


@dataclass(frozen=True)
class SharedSpan:
    """The longest span that a text shares with a training text.

    Attributes:
        start: where it begins in the text.
        length: its characters.
        source: the training text.
        source_start: where it begins there.
    """

    start: int
    length: int
    source: str
    source_start: int


class SpanIndex:
    """Training texts, ready to be compared with.

    Args:
        texts: training copies.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        kept = list(dict.fromkeys(texts))
        self._joined = "\n".join(kept)
        self._whole = set(kept)
        seen: Counter[str] = Counter()
        for text in kept:
            seen.update({text[start : start + _STOCK] for start in range(len(text) - _STOCK + 1)})
        self._stock = {span for span, count in seen.items() if count > 1}
        self._probes = {text[start : start + PROBE] for text in kept for start in range(len(text) - PROBE + 1)}

    def __contains__(self, text: object) -> bool:
        return text in self._whole

    def stock(self, text: str) -> float:
        """How much of a text is stock phrases: its spans of four characters that two training texts or more have.

        Args:
            text: any text.

        Returns:
            A share, in [0, 1]; 0 for a text of fewer characters.
        """
        count = len(text) - _STOCK + 1
        return sum(text[start : start + _STOCK] in self._stock for start in range(count)) / count if count > 0 else 0.0

    def overlap(self, text: str) -> Overlap:
        """Compare one text.

        Args:
            text: any text without line breaks.
        """
        covered_to, covered, hits = 0, 0, self._hits(text)
        for start in hits:
            covered += start + PROBE - max(covered_to, start)
            covered_to = start + PROBE
        return Overlap(self._longest(text, hits)[1], covered, len(text))

    def shared(self, text: str) -> SharedSpan | None:
        """The longest shared span and where it comes from.

        Args:
            text: any text without line breaks.

        Returns:
            None when no span of `PROBE` characters is shared.
        """
        start, length = self._longest(text, self._hits(text))
        if not length:
            return None
        place = self._joined.index(text[start : start + length])
        first = self._joined.rfind("\n", 0, place) + 1
        end = self._joined.find("\n", place)
        return SharedSpan(start, length, self._joined[first : end if end >= 0 else None], place - first)

    def _hits(self, text: str) -> list[int]:
        """Where spans of `PROBE` characters begin that training texts have."""
        return [start for start in range(len(text) - PROBE + 1) if text[start : start + PROBE] in self._probes]

    def _longest(self, text: str, hits: Sequence[int]) -> tuple[int, int]:
        """Start and length of the longest shared span; (0, 0) when there is none."""
        at, longest = 0, 0
        end = -1  # of the run of hits that a hit stands in: what is shared from there is no longer
        for place, start in enumerate(hits):
            if start > end or place == 0:
                end = start
                while place + end - start + 1 < len(hits) and hits[place + end - start + 1] == end + 1:
                    end += 1
            size, most = max(longest + 1, PROBE), end + PROBE - start
            while size <= most and text[start : start + size] in self._joined:
                at, longest, size = start, size, size + 1
        return at, longest

    def overlaps(self, texts: Sequence[str]) -> list[Overlap]:
        """Compare many.

        Args:
            texts: the texts.
        """
        return [self.overlap(text) for text in texts]
