"""Words written by their sound: with letters (zui jia, 减fei), or with other characters of the same sound."""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from operator import add
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jieba

HAN = "\u4e00-\u9fff"
_CHINESE = re.compile(f"[{HAN}]")
_SPELT = 3
"""Syllables from which on a run of letters is taken for spelt Chinese though no character stands beside it: two are as likely a name."""
_LEVEL_1 = 0xD7
"""Lead bytes up to here are level 1 of GB 2312: the 3,755 characters in daily use."""


class _Sounds(dict[str, str]):
    """What a character sounds like; one of unknown sound is its own."""

    def __missing__(self, c: str) -> str:
        self[c] = c
        return c

    def of(self, text: str) -> str:
        """The sound of a text, a symbol a character; faster than `str.translate`."""
        return "".join(map(self.__getitem__, text))


class Sounds:
    """Finds words by their sound."""

    def __init__(
        self,
        syllables: Mapping[str, str],
        *,
        homophones: Mapping[str, str],
        particles: str,
        words: Iterable[str],
        close: Iterable[str],
        derived: Iterable[str],
    ) -> None:
        """Compile the tables.

        Args:
            syllables: syllables.yaml: the characters of each syllable.
            homophones: characters that stand for another one within any word.
            particles: characters too common to stand for another one of the same sound, unless `homophones` names them.
            words: read through when written with letters or other characters of the same sound.
            close: with letters, rare characters and `homophones` only.
            derived: likewise, where jieba's dictionary sees no other word.
        """
        self._letters = re.compile("[a-z]+")
        self._syllables = frozenset(syllables)
        self._sound = {c: min(known) for known in syllables.values() for c in known}
        self._sounds = _Sounds(self._sound)
        self._of_syllable = {syllable: min(known) for syllable, known in syllables.items()}
        self._homophones = {c: frozenset(others) for c, others in homophones.items()}
        self._particles = frozenset(particles)
        self._named = frozenset(words) | frozenset(close)
        self._close = frozenset(close) | frozenset(derived)
        self._odd = frozenset("".join(homophones.values())) | {c for c in self._sound if rare(c)}
        self._open_by_pair: dict[str, list[tuple[str, str]]] = {}
        self._by_pair: dict[str, list[tuple[str, str]]] = {}
        opened = frozenset(words)
        for word in sorted({*opened, *self._close}):
            variants = {word, *(word.replace(c, other) for c in set(word) & homophones.keys() for other in homophones[c])}
            for sound in sorted({self._sounds.of(variant) for variant in variants}):
                self._by_pair.setdefault(sound[:2], []).append((sound, word))
                if word in opened:
                    self._open_by_pair.setdefault(sound[:2], []).append((sound, word))
        self._open_pairs = frozenset(self._open_by_pair)
        self._longest = max(map(len, {*opened, *self._close}))

    def hidden(self, text: str) -> list[tuple[int, int, str]]:
        """Words written with letters or other characters: (start, end, the word), in symbols of the text.

        Args:
            text: as it reads.
        """
        sound = self._sounds.of(text)
        places: list[tuple[int, int]] | None = None
        if self._letters.search(text):
            sound, places = self._spelt(text, sound)
        heard = {(index, word) for index, word in self._open_words(sound)}
        if places is not None or not self._odd.isdisjoint(text):
            heard.update(self._close_words(text, sound, places))
        found: list[tuple[int, int, str]] = []
        for index, word in sorted(heard):
            last = index + len(word) - 1
            start, end = (index, last + 1) if places is None else (places[index][0], places[last][1])
            if text[start:end] != word and self._meant(text, index, word, places):
                found.append((start, end, word))
        return found

    def _open_words(self, sound: str) -> Iterator[tuple[int, str]]:
        """Where a word that any characters of its sound may stand for is heard."""
        for pair in self._open_pairs.intersection(map(add, sound, sound[1:])):
            for heard, word in self._open_by_pair[pair]:
                index = sound.find(heard)
                while index >= 0:
                    yield index, word
                    index = sound.find(heard, index + 1)

    def _close_words(self, text: str, sound: str, places: list[tuple[int, int]] | None) -> Iterator[tuple[int, str]]:
        """Where any word is heard across letters, or across a character that may stand for another one."""
        if places is None:
            heard_at = [at for at, c in enumerate(text) if c in self._odd]
        else:
            heard_at = [at for at, (start, _) in enumerate(places) if text[start] in self._odd or text[start].isascii()]
        for odd in heard_at:
            for index in range(max(0, odd - self._longest + 1), odd + 1):
                for heard, word in self._by_pair.get(sound[index : index + 2], ()):
                    if index + len(word) > odd and sound.startswith(heard, index):
                        yield index, word

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
            symbols = [(place, place + 1) for place in range(len(text))] if places is None else places
            alone = "".join(written).isascii() and not self._among_chinese(text, symbols, index, index + len(word))
            return not glossed and not alone and all(piece.isascii() or self._sure(piece, c) for piece, c in other)
        unsure = [piece for piece, c in other if not self._sure(piece, c)]
        if unsure and (word in self._close or not self._particles.isdisjoint(unsure) or len(unsure) > len(word) // 2):
            return False
        if len(word) > 2 and all(piece in self._homophones.get(c, ()) for piece, c in other):
            return True
        known = word in self._named and all(rare(piece) for piece, _ in other)
        return known or self._stands_alone(text, spans[0][0], written, word)

    def _among_chinese(self, text: str, places: list[tuple[int, int]], first: int, stop: int) -> bool:
        """Whether letters are Chinese that is spelt: characters stand beside their run of syllables, or it has `_SPELT` or more of them."""

        def spelt(symbol: int) -> bool:
            return 0 <= symbol < len(places) and text[slice(*places[symbol])] in self._syllables

        while spelt(first - 1):
            first -= 1
        while spelt(stop):
            stop += 1
        start, end = places[first][0], places[stop - 1][1]
        return stop - first >= _SPELT or bool(_CHINESE.search(text[max(0, start - 1) : start] + text[end : end + 1]))

    def _sure(self, piece: str, c: str) -> bool:
        """Whether a character is one that sellers put for the other: a rare one, or one that the table names."""
        return rare(piece) or piece in self._homophones.get(c, ())

    def _stands_alone(self, text: str, start: int, written: list[str], word: str) -> bool:
        """Whether jieba's dictionary sees no word in the characters that stand for others, here in this text."""
        end = start + len(word)
        at = max(0, start - 8)
        bounds = {at}
        for token in cut(text[at : end + 8]):
            swapped = any(start <= place < end and written[place - start] != word[place - start] for place in range(at, at + len(token)))
            if swapped and len(token) > 1:
                return False
            at += len(token)
            bounds.add(at)
        return start in bounds and end in bounds


def rare(c: str) -> bool:
    """Whether a character is outside level 1 of GB 2312.

    Args:
        c: one character.
    """
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


def cut(text: str) -> list[str]:
    """The words of a text by jieba's dictionary.

    Args:
        text: Chinese.
    """
    return list(_dictionary().cut(text, HMM=False))
