"""Tokens of copy: characters, words, and the phrases that training copy repeats.

Phrases are grown from jieba's words by merging the most frequent neighbours within a clause (byte-pair encoding, Sennrich et al. 2016, over
words). They keep a small decoder from garbling set phrases and make texts half as long; a corpus that repeats no phrases keeps
its words and characters. The n-gram models read words, never phrases.
"""

import heapq
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from models.generator.slots import Piece

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
_MAX_WORD = 4
_MIN_COUNT = 3
_RUNS_KEPT = 100_000
_CLAUSE = re.compile(r"[^，。！？～：；、…,.!?~:;#\s]+|.", re.DOTALL)
_MAX_PHRASE = 12


@dataclass(frozen=True)
class Vocabulary:
    """Token ids of characters and words. Ids from ``len(self)`` on stand for a product's slots.

    Attributes:
        tokens: id → token; the first four are pad, begin, end and unknown.
    """

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ids", {token: index for index, token in enumerate(self.tokens)})
        object.__setattr__(self, "_runs", {})
        object.__setattr__(self, "_cuts", {})

    def __len__(self) -> int:
        return len(self.tokens)

    def words(self, text: str) -> list[str]:
        """Cut a run of characters into tokens by longest match; an unknown character stays as it is.

        Args:
            text: the run.
        """
        runs: dict[str, list[str]] = self._runs  # type: ignore[attr-defined]
        if text not in runs:
            if len(runs) >= _RUNS_KEPT:
                runs.clear()
            runs[text] = self._longest(text, _MAX_WORD)
        return runs[text]

    def encode(self, pieces: Sequence[Piece]) -> list[int]:
        """Ids of pieces, without begin and end.

        Args:
            pieces: runs of characters and slot numbers.
        """
        ids: dict[str, int] = self._ids  # type: ignore[attr-defined]
        found: list[int] = []
        for piece in pieces:
            if isinstance(piece, int):
                found.append(len(self.tokens) + piece)
            else:
                found.extend(ids.get(token, UNK) for token in self.cut(piece))
        return found

    def cut(self, text: str) -> list[str]:
        """Cut a run of characters into phrases, words and characters by longest match within clauses.

        Args:
            text: the run.
        """
        cuts: dict[str, list[str]] = self._cuts  # type: ignore[attr-defined]
        found: list[str] = []
        for clause in _CLAUSE.findall(text):
            if clause not in cuts:
                if len(cuts) >= _RUNS_KEPT:
                    cuts.clear()
                cuts[clause] = self._longest(clause, _MAX_PHRASE)
            found.extend(cuts[clause])
        return found

    def _longest(self, text: str, longest: int) -> list[str]:
        ids: dict[str, int] = self._ids  # type: ignore[attr-defined]
        found: list[str] = []
        position = 0
        while position < len(text):
            for size in range(min(longest, len(text) - position), 0, -1):
                word = text[position : position + size]
                if size == 1 or word in ids:
                    break
            found.append(word)
            position += len(word)
        return found

    def decode(self, ids: Iterable[int]) -> list[Piece]:
        """Pieces of ids up to the end token; pad, begin and unknown are left out.

        Args:
            ids: token ids.
        """
        pieces: list[Piece] = []
        for index in ids:
            if index == EOS:
                break
            if index >= len(self.tokens):
                pieces.append(int(index) - len(self.tokens))
            elif index > UNK:
                pieces.append(self.tokens[index])
        return pieces

    def characters(self, text: str) -> list[int]:
        """One id a character, for phrases that condition the decoder.

        Args:
            text: a phrase.
        """
        ids: dict[str, int] = self._ids  # type: ignore[attr-defined]
        return [ids.get(character, UNK) for character in text]


def build_vocabulary(texts: Iterable[Sequence[Piece]], phrases: Iterable[str], size: int) -> Vocabulary:
    """Count characters and words in training copy, grow phrases from words, and keep the most frequent.

    Args:
        texts: delexicalised training copies.
        phrases: product words (attribute values, nouns, categories) whose characters must have ids.
        size: tokens at most, at least 500; characters go first.

    Returns:
        The vocabulary; equal input gives an equal order.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba's source holds invalid escapes, reported when it is first compiled
        import jieba
    jieba.setLogLevel(60)
    characters: Counter[str] = Counter()
    clauses: Counter[str] = Counter()
    for pieces in texts:
        for piece in pieces:
            if isinstance(piece, str):
                characters.update(piece)
                clauses.update(_CLAUSE.findall(piece))
    for phrase in phrases:
        characters.update(phrase)
    kept = _most_frequent(characters, 1, size - len(SPECIALS))
    words: Counter[str] = Counter()
    cut = [(list(jieba.cut(clause)), n) for clause, n in sorted(clauses.items())]
    for found, n in cut:
        for word in found:
            if len(word) > 1:
                words[word] += n
    single = set(kept)
    room = size - len(SPECIALS) - len(kept)
    used = _most_frequent(_grow(cut), _MIN_COUNT, room, single)
    return Vocabulary((*SPECIALS, *kept, *used, *_most_frequent(words, _MIN_COUNT, room - len(used), single | set(used))))


def _grow(cut: Sequence[tuple[list[str], int]]) -> Counter[str]:
    """Merge the most frequent neighbours again and again while a pair stands `_MIN_COUNT` times; how often each token then stands."""
    lines = [list(words) for words, _ in cut]
    weight = [n for _, n in cut]
    pairs: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], set[int]] = defaultdict(set)

    def count(row: int, sign: int) -> None:
        for pair in pairwise(lines[row]):
            if len(pair[0]) + len(pair[1]) <= _MAX_PHRASE:
                pairs[pair] += sign * weight[row]
                where[pair].add(row)
                if sign > 0:
                    heapq.heappush(heap, (-pairs[pair], pair))

    heap: list[tuple[int, tuple[str, str]]] = []
    for row in range(len(lines)):
        count(row, 1)
    while heap:
        n, pair = heapq.heappop(heap)
        if (
            -n != pairs[pair] or -n < _MIN_COUNT
        ):  # an entry from before a merge changed the count: the true one is in the heap too, or too small
            if -n > pairs[pair] >= _MIN_COUNT:
                heapq.heappush(heap, (-pairs[pair], pair))
            continue
        for row in sorted(where.pop(pair)):
            count(row, -1)
            lines[row] = _merged(lines[row], pair)
            count(row, 1)
    used: Counter[str] = Counter()
    for line, n in zip(lines, weight, strict=True):
        for token in line:
            used[token] += n
    return used


def _merged(words: list[str], pair: tuple[str, str]) -> list[str]:
    found: list[str] = []
    for word in words:
        if found and (found[-1], word) == pair:
            found[-1] += word
        else:
            found.append(word)
    return found


def _most_frequent(counts: Counter[str], least: int, room: int, known: Collection[str] = ()) -> list[str]:
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [token for token, n in ordered if n >= least and token not in known and len(token) <= _MAX_PHRASE][: max(room, 0)]
