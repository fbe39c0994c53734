"""How a text reads: half width, simplified, small letters, with the way back to the text as it was given."""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files

_KEPT = frozenset("，。！？；：…～、")
"""Punctuation that NFKC would make ASCII; the sentence needs it as it is."""
_UNSEEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20e3\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef"
)


@dataclass(frozen=True)
class Reading:
    """A text as it reads, with the way back.

    Attributes:
        text: as it reads.
        starts: where each of its characters begins in the original.
        ends: where it ends there.
        changed: positions that read otherwise than they are written: letters, signs, other characters of the same sound.
        breaks: positions before which marks were left out.
    """

    text: str
    starts: list[int] | range
    ends: list[int] | range
    changed: frozenset[int] = frozenset()
    breaks: Mapping[int, str] = field(default_factory=dict)

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original that reads as the given one.

        Args:
            start: first character, in the reading.
            end: one past the last, above start.
        """
        return self.starts[start], self.ends[end - 1]


class Plain(dict[str, str]):
    """One character as it reads, found when it is first met; a race between threads writes the same value twice."""

    def __init__(self, lookalikes: Mapping[str, str], simplified: Mapping[str, str]) -> None:
        """Hold the tables.

        Args:
            lookalikes: characters read as another one wherever they stand.
            simplified: simplified forms by Traditional character.
        """
        super().__init__()
        self._lookalikes, self._simplified = lookalikes, simplified
        self._unseen = re.compile(f"[{_UNSEEN}]")
        self.uneven: set[str] = set()
        self._same: set[str] = set()

    def __missing__(self, written: str) -> str:
        reads = "" if self._unseen.match(written) else written
        if reads and written not in _KEPT:
            reads = unicodedata.normalize("NFKC", written).lower()
            if not reads.isascii() and len(reads) == 1 and unicodedata.category(reads) == "Ll":
                bare = "v" if reads in "üǖǘǚǜ" else unicodedata.normalize("NFD", reads)[0]
                reads = bare if bare.isascii() else reads
            reads = "".join(self._lookalikes.get(c, self._simplified.get(c, c)) for c in reads)
        if len(reads) != 1:
            self.uneven.add(written)
        self[written] = reads
        if reads == written:
            self._same.add(written)
        return reads

    def read(self, text: str) -> Reading:
        """Half width, simplified, small letters, without what is not seen.

        Args:
            text: as written.
        """
        reads = text if self._same.issuperset(text) else "".join(map(self.__getitem__, text))
        if reads is text or self.uneven.isdisjoint(text):
            return Reading(reads, range(len(text)), range(1, len(text) + 1))
        starts = [place for place, c in enumerate(text) for _ in self[c]]
        return Reading(reads, starts, [place + 1 for place in starts])


def substituted(reading: Reading, spans: Iterable[tuple[int, int, str]]) -> Reading:
    """The reading with spans replaced; of two that overlap the earlier, then the longer one stands.

    Args:
        reading: what is read so far.
        spans: (start, end, what is read instead), in the reading.
    """
    chosen = sorted(spans, key=lambda span: (span[0], -span[1], span[2]))
    if not chosen:
        return reading
    text: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    changed: set[int] = set()
    breaks: dict[int, str] = {}
    at = 0

    def copy(upto: int) -> None:
        for place in range(at, upto):
            if place in reading.breaks:
                breaks[len(text)] = reading.breaks[place]
            if place in reading.changed:
                changed.add(len(text))
            text.append(reading.text[place])
            starts.append(reading.starts[place])
            ends.append(reading.ends[place])

    for start, end, reads in chosen:
        if start < at:
            continue
        copy(start)
        same = len(reads) == end - start
        for offset, c in enumerate(reads):
            place = start + offset if same else start
            if (same and place in reading.breaks) or (not same and offset == 0 and start in reading.breaks):
                breaks[len(text)] = reading.breaks[place]
            if not same or reading.text[place] != c:
                changed.add(len(text))
            text.append(c)
            starts.append(reading.starts[place])
            ends.append(reading.ends[place if same else end - 1])
        at = end
    copy(len(reading.text))
    return Reading("".join(text), starts, ends, frozenset(changed), breaks)


def simplified() -> dict[str, str]:
    """Zhconv's table of single characters, read here because zhconv leaves the file open."""
    table = json.loads((files("zhconv") / "zhcdict.json").read_text(encoding="utf-8"))["zh2Hans"]
    return {c: reads for c, reads in table.items() if len(c) == len(reads) == 1}
