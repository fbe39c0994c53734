"""A text through the disguises that keep a word from being found: signs, marks, split characters, words by their sound."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML

from core.errors import ParamsError
from models.generator.compliance.reading import Plain, Reading, simplified, substituted
from models.generator.compliance.sounds import HAN, Sounds, cut

DISGUISES, SYLLABLES = Path(__file__).with_name("disguises.yaml"), Path(__file__).with_name("syllables.yaml")
_PICTURES = "\u2190-\u2bff\u3003\u3012\u3013\U0001f000-\U0001faff"
_SOLID = frozenset("0123456789abcdefghijklmnopqrstuvwxyz%")


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
    splits: dict[str, str]


class Reader:
    """Reads texts; made once for a list of words (`reader`)."""

    def __init__(self, disguises: _Disguises, syllables: Mapping[str, str], words: Iterable[str]) -> None:
        """Compile the tables.

        Args:
            disguises: disguises.yaml.
            syllables: syllables.yaml.
            words: what the rules look for: read through as close_words of the table are.
        """
        self._plain = Plain(disguises.lookalikes, simplified())
        self._signs = [(frozenset(characters), re.compile(found), reads) for characters, found, reads in disguises.signs]
        self._sign_characters = frozenset("".join(characters for characters, _, _ in disguises.signs))
        pictures = re.compile(f"[{_PICTURES}]")
        self._mark_characters = frozenset(disguises.marks) | {chr(c) for c in range(0x2190, 0x1FB00) if pictures.match(chr(c))}
        self._marks = re.compile(f"[{re.escape(disguises.marks)}{_PICTURES}]+")
        self._separators = re.compile(f"[{re.escape(disguises.separators)}{_PICTURES}]+")
        self._loose = re.compile(f"[ ·•{_PICTURES}]+")
        self._run = re.compile(f"[{HAN}]*")
        open_words = frozenset(_words(disguises.words))
        close_words = frozenset(_words(disguises.close_words)) - open_words
        hidden = {*words, *open_words, *close_words}
        self._sounds = Sounds(
            syllables,
            homophones=disguises.homophones,
            particles=disguises.particles,
            words=open_words,
            close=close_words,
            derived=hidden - open_words - close_words,
        )
        self._splits = {parts: c for c, written in disguises.splits.items() for parts in written.split()}
        self._split = re.compile("|".join(sorted(map(re.escape, self._splits), key=len, reverse=True)))
        self._split_heads = frozenset(parts[0] for parts in self._splits)
        self._with: dict[str, list[str]] = {}
        for word in sorted(hidden):
            for c in set(word).intersection(disguises.splits):
                self._with.setdefault(c, []).append(word)

    def plain(self, text: str) -> Reading:
        """Half width, simplified, small letters, without what is not seen.

        Args:
            text: as written.
        """
        return self._plain.read(text)

    def through(self, plain: Reading) -> Reading | None:
        """The text without its disguises; None when it wears none.

        Args:
            plain: what `plain` gave.
        """
        characters = set(plain.text)
        reading = plain
        if self._sign_characters & characters:
            signs = [(found, reads) for needed, found, reads in self._signs if not needed.isdisjoint(characters)]
            reading = substituted(reading, [(*match.span(), reads) for found, reads in signs for match in found.finditer(plain.text)])
        if self._mark_characters & characters:
            reading = self._without_marks(reading)
        if not self._split_heads.isdisjoint(characters):
            reading = substituted(reading, self._joined(reading.text))
        reading = substituted(reading, self._sounds.hidden(reading.text))
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
            if not left or not right:
                return True
            words, then = cut(left), cut(right)
            if len(words[-1]) == 1 or len(then[0]) == 1:
                return True
            if self._loose.fullmatch(reading.breaks[place]) and _ends(words[::-1], place - start) and _ends(then, end - place):
                return True  # whole words that a picture or a space parts: 销量🔥冠军
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

    def _joined(self, text: str) -> list[tuple[int, int, str]]:
        """Characters written as their two halves (弓虽 for 强), where they make a word that the rules look for."""
        places = list(self._split.finditer(text))
        found: list[tuple[int, int, str]] = []
        for match in places:
            c = self._splits[match.group()]
            before, after = (
                self._split.sub(lambda part: self._splits[part.group()], part) for part in (text[: match.start()], text[match.end() :])
            )
            whole, at = before + c + after, len(before)
            if any(whole.startswith(word, at - k) for word in self._with.get(c, ()) for k, of in enumerate(word) if of == c and at >= k):
                found.append((*match.span(), c))
        return found


def _ends(words: Iterable[str], at: int) -> bool:
    """Whether a word ends at a place, or all of them end before it."""
    total = 0
    for word in words:
        total += len(word)
        if total >= at:
            return total == at
    return True


def _words(lines: Iterable[str]) -> list[str]:
    return [word for line in lines for word in line.split()]


@lru_cache(maxsize=8)
def reader(words: str = "") -> Reader:
    """The reader of this package's tables.

    Args:
        words: what the rules look for, parted by spaces.

    Raises:
        ParamsError: a table is missing or ill-formed.
    """
    try:
        yaml = YAML(typ="safe", pure=True)
        tables = [yaml.load(path.read_text(encoding="utf-8")) for path in (DISGUISES, SYLLABLES)]
        signs = [tuple(sign) for sign in tables[0]["signs"]]
        return Reader(_Disguises.model_validate({**tables[0], "signs": signs}), tables[1], words.split())
    except (OSError, KeyError, TypeError, ValidationError) as error:
        raise ParamsError(f"{DISGUISES.name}, {SYLLABLES.name}: {error}; restore them with `git checkout`.") from None
