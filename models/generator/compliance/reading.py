"""How a text reads: half width, simplified, small letters, and through the disguises that keep a word from being found."""

import json
import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML

from core.errors import ParamsError

if TYPE_CHECKING:
    import jieba

DISGUISES, SYLLABLES = Path(__file__).with_name("disguises.yaml"), Path(__file__).with_name("syllables.yaml")
_KEPT = frozenset("，。！？；：…～、")
"""Punctuation that NFKC would make ASCII; the sentence needs it as it is."""
_HAN = "\u4e00-\u9fff"
_PICTURES = "\u2190-\u2bff\u3003\u3012\u3013\U0001f000-\U0001faff"
_UNSEEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20e3\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef"
)
_SOLID = frozenset("0123456789abcdefghijklmnopqrstuvwxyz%")
_LEVEL_1 = 0xD7
"""Lead bytes up to here are level 1 of GB 2312: the 3,755 characters in daily use."""


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


class _Disguises(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    marks: str
    separators: str
    lookalikes: dict[str, str]
    signs: list[tuple[str, str, str]]
    particles: str
    homophones: dict[str, str]
    words: list[str]
    close_words: list[str]


class _Plain(dict[int, str]):
    """One character as it reads, found when it is first met; a race between threads writes the same value twice."""

    def __init__(self, lookalikes: Mapping[str, str], simplified: Mapping[str, str]) -> None:
        super().__init__()
        self._lookalikes, self._simplified = lookalikes, simplified
        self._unseen = re.compile(f"[{_UNSEEN}]")
        self.uneven: set[str] = set()

    def __missing__(self, point: int) -> str:
        written = chr(point)
        reads = "" if self._unseen.match(written) else written
        if reads and written not in _KEPT:
            reads = unicodedata.normalize("NFKC", written).lower()
            if not reads.isascii() and len(reads) == 1 and unicodedata.category(reads) == "Ll":
                bare = "v" if reads in "üǖǘǚǜ" else unicodedata.normalize("NFD", reads)[0]
                reads = bare if bare.isascii() else reads
            reads = "".join(self._lookalikes.get(c, self._simplified.get(c, c)) for c in reads)
        if len(reads) != 1:
            self.uneven.add(written)
        self[point] = reads
        return reads


class _Sounds(dict[int, str]):
    """What a character sounds like; one of unknown sound is its own. `str.translate` is slow about keys that are missing."""

    def __missing__(self, point: int) -> str:
        self[point] = chr(point)
        return self[point]


class Reader:
    """Reads texts; made once (`reader`)."""

    def __init__(self, disguises: _Disguises, syllables: Mapping[str, str]) -> None:
        """Compile the tables.

        Args:
            disguises: disguises.yaml.
            syllables: syllables.yaml.
        """
        self._plain = _Plain(disguises.lookalikes, _simplified())
        self._signs = [(frozenset(characters), re.compile(found), reads) for characters, found, reads in disguises.signs]
        self._sign_characters = frozenset("".join(characters for characters, _, _ in disguises.signs))
        pictures = re.compile(f"[{_PICTURES}]")
        self._mark_characters = frozenset(disguises.marks) | {chr(c) for c in range(0x2190, 0x1FB00) if pictures.match(chr(c))}
        self._marks = re.compile(f"[{re.escape(disguises.marks)}{_PICTURES}]+")
        self._separators = re.compile(f"[{re.escape(disguises.separators)}{_PICTURES}]+")
        self._run = re.compile(f"[{_HAN}]*")
        self._letters = re.compile("[a-z]+")
        self._syllables = frozenset(syllables)
        self._sound = {c: min(known) for known in syllables.values() for c in known}
        self._sounds = _Sounds({ord(c): sound for c, sound in self._sound.items()})
        self._of_syllable = {syllable: min(known) for syllable, known in syllables.items()}
        self._homophones = {c: frozenset(others) for c, others in disguises.homophones.items()}
        self._particles = frozenset(disguises.particles)
        self._close = frozenset(_words(disguises.close_words))
        self._by_pair: dict[str, list[tuple[str, str]]] = {}
        for word in sorted({*_words(disguises.words), *self._close}):
            variants = {word, *(word.replace(c, other) for c, others in disguises.homophones.items() if c in word for other in others)}
            for sound in sorted({variant.translate(self._sounds) for variant in variants}):
                self._by_pair.setdefault(sound[:2], []).append((sound, word))

    def plain(self, text: str) -> Reading:
        """Half width, simplified, small letters, without what is not seen.

        Args:
            text: as written.
        """
        table = self._plain
        reads = text.translate(table)
        if table.uneven.isdisjoint(text):
            places = range(len(text) + 1)
            return Reading(reads, places[:-1], places[1:])
        starts = [place for place, c in enumerate(text) for _ in table[ord(c)]]
        return Reading(reads, starts, [place + 1 for place in starts])

    def through(self, plain: Reading) -> Reading | None:
        """The text without its disguises; None when it wears none.

        Args:
            plain: what `plain` gave.
        """
        characters = set(plain.text)
        reading = plain
        if self._sign_characters & characters:
            signs = [(found, reads) for needed, found, reads in self._signs if needed & characters]
            reading = _substituted(reading, [(*match.span(), reads) for found, reads in signs for match in found.finditer(plain.text)])
        if self._mark_characters & characters:
            reading = self._without_marks(reading)
        reading = _substituted(reading, self._hidden(reading.text))
        return None if reading is plain else reading

    def broken(self, reading: Reading, start: int, end: int) -> bool:
        """Whether marks break a word of the span, rather than part words.

        Args:
            reading: what `through` gave.
            start: of the span, in the reading.
            end: of the span.
        """
        places = [place for place in range(start + 1, end) if place in reading.breaks]
        for place in places:
            if not self._separators.fullmatch(reading.breaks[place]):
                return True
            before = max((other for other in reading.breaks if other < place), default=0)
            after = min((other for other in reading.breaks if other > place), default=len(reading.text))
            left, right = self._last_run(reading.text[before:place]), self._first_run(reading.text[place:after])
            if not left or not right or len(_cut(left)[-1]) == 1 or len(_cut(right)[0]) == 1:
                return True
        return False

    def _first_run(self, text: str) -> str:
        found = self._run.match(text)
        return found.group() if found else ""

    def _last_run(self, text: str) -> str:
        return self._first_run(text[::-1])[::-1]

    def _without_marks(self, reading: Reading) -> Reading:
        cut = [match.span() for match in self._marks.finditer(reading.text) if self._inside(reading.text, *match.span())]
        if not cut:
            return reading
        pieces: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        changed: list[int] = []
        breaks: dict[int, str] = {}
        at = 0
        for start, end in [*cut, (len(reading.text), len(reading.text))]:
            changed += [place - at + len(starts) for place in reading.changed if at <= place < start]
            pieces.append(reading.text[at:start])
            starts += reading.starts[at:start]
            ends += reading.ends[at:start]
            if end > start:
                breaks[len(starts)] = reading.text[start:end]
            at = end
        return Reading("".join(pieces), starts, ends, frozenset(changed), breaks)

    def _inside(self, text: str, start: int, end: int) -> bool:
        """Whether marks stand between characters of which one at least is Chinese, or are spaces between figures."""
        if not start or end == len(text):
            return False
        before, after = text[start - 1], text[end]
        if not (before in _SOLID or "\u4e00" <= before <= "\u9fff") or not (after in _SOLID or "\u4e00" <= after <= "\u9fff"):
            return False
        if before >= "\u4e00" or after >= "\u4e00":
            return True
        return text[start:end].isspace() and not before.isalpha() and not after.isalpha()

    def _hidden(self, text: str) -> list[tuple[int, int, str]]:
        """Words written with letters or other characters: (start, end, the word), in symbols of the text."""
        sound = text.translate(self._sounds)
        places: list[tuple[int, int]] | None = None
        if self._letters.search(text):
            sound, places = self._spelt(text, sound)
        found: list[tuple[int, int, str]] = []
        for pair in self._by_pair.keys() & set(map(add, sound, sound[1:])):
            for heard, word in self._by_pair[pair]:
                index = sound.find(heard)
                while index >= 0:
                    last = index + len(word) - 1
                    start, end = (index, last + 1) if places is None else (places[index][0], places[last][1])
                    if text[start:end] != word and self._meant(text, index, word, places):
                        found.append((start, end, word))
                    index = sound.find(heard, index + 1)
        return found

    def _spelt(self, text: str, sound: str) -> tuple[str, list[tuple[int, int]] | None]:
        """The sound with each run of letters that is syllables as one symbol a syllable, and the places of the symbols."""
        runs = [(run.start(), cut) for run in self._letters.finditer(text) if (cut := self._syllables_of(run.group())) is not None]
        if not runs:
            return sound, None
        symbols: list[str] = []
        places: list[tuple[int, int]] = []
        at = 0
        for start, cut in runs:
            if start == at + 1 and text[at] == " " and places and text[at - 1].isascii():
                at = start  # zui jia: the space is no symbol
            symbols.append(sound[at:start])
            places += [(place, place + 1) for place in range(at, start)]
            at = start
            for syllable in cut:
                symbols.append(self._of_syllable[syllable])
                places.append((at, at + len(syllable)))
                at += len(syllable)
        symbols.append(sound[at:])
        places += [(place, place + 1) for place in range(at, len(text))]
        return "".join(symbols), places

    def _syllables_of(self, letters: str) -> list[str] | None:
        if len(letters) > 24 or letters[0] not in "abcdefghjklmnopqrstwxyz":
            return None
        if letters in self._syllables:
            return [letters]
        for size in range(min(6, len(letters) - 1), 0, -1):
            if letters[:size] in self._syllables and (rest := self._syllables_of(letters[size:])) is not None:
                return [letters[:size], *rest]
        return None

    def _meant(self, text: str, index: int, word: str, places: list[tuple[int, int]] | None) -> bool:
        spans = [(place, place + 1) if places is None else places[place] for place in range(index, index + len(word))]
        written = [text[start:end] for start, end in spans]
        other = [(piece, c) for piece, c in zip(written, word, strict=True) if piece != c]
        spelt = [piece for piece, _ in other if piece.isascii()]
        if spelt:
            start, end = spans[0][0], spans[-1][1]
            beside = text[start - 1 : start] + text[end : end + 1]
            glossed = any(self._sound.get(c) in {self._of_syllable.get(piece) for piece in spelt} for c in beside)
            joined = "".join(written).isascii() and not re.search(f"[{_HAN}]", beside)
            return not glossed and not joined and all(piece.isascii() or self._sure(piece, c) for piece, c in other)
        unsure = [piece for piece, c in other if not self._sure(piece, c)]
        if unsure and (word in self._close or not self._particles.isdisjoint(unsure) or len(unsure) > len(word) // 2):
            return False
        return all(map(_rare, (piece for piece, _ in other))) or self._stands_alone(text, spans[0][0], written, word)

    def _sure(self, piece: str, c: str) -> bool:
        """Whether a character is one that sellers put for the other: a rare one, or one that the table names."""
        return _rare(piece) or piece in self._homophones.get(c, ())

    def _stands_alone(self, text: str, start: int, written: list[str], word: str) -> bool:
        """Whether jieba's dictionary sees no word in the characters that stand for others, here in this text."""
        end = start + len(word)
        at = max(0, start - 8)
        bounds = {at}
        for token in _cut(text[at : end + 8]):
            swapped = any(start <= place < end and written[place - start] != word[place - start] for place in range(at, at + len(token)))
            if swapped and len(token) > 1:
                return False
            at += len(token)
            bounds.add(at)
        return start in bounds and end in bounds


def _substituted(reading: Reading, spans: Iterable[tuple[int, int, str]]) -> Reading:
    """The reading with spans replaced; of two that overlap the earlier, then the longer one stands."""
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


def _rare(c: str) -> bool:
    code = c.encode("gb2312", "ignore")
    return len(code) == 2 and code[0] > _LEVEL_1


@cache
def _dictionary() -> "jieba.Tokenizer":
    """Jieba's dictionary, read when a text first needs it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba's source holds invalid escapes, reported when it is first compiled
        import jieba
    jieba.setLogLevel(60)
    jieba.initialize()
    return jieba.dt


def _cut(text: str) -> list[str]:
    return list(_dictionary().cut(text, HMM=False))


def _words(lines: Iterable[str]) -> list[str]:
    return [word for line in lines for word in line.split()]


def _simplified() -> dict[str, str]:
    """Zhconv's table of single characters, read here because zhconv leaves the file open."""
    table = json.loads((files("zhconv") / "zhcdict.json").read_text(encoding="utf-8"))["zh2Hans"]
    return {c: reads for c, reads in table.items() if len(c) == len(reads) == 1}


@cache
def reader() -> Reader:
    """The reader of this package's tables.

    Raises:
        ParamsError: a table is missing or ill-formed.
    """
    try:
        yaml = YAML(typ="safe", pure=True)
        tables = [yaml.load(path.read_text(encoding="utf-8")) for path in (DISGUISES, SYLLABLES)]
        signs = [tuple(sign) for sign in tables[0]["signs"]]
        return Reader(_Disguises.model_validate({**tables[0], "signs": signs}), tables[1])
    except (OSError, KeyError, TypeError, ValidationError) as error:
        raise ParamsError(f"{DISGUISES.name}, {SYLLABLES.name}: {error}; restore them with `git checkout`.") from None
