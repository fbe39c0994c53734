"""Tokens of copy: every character, and the words that training copy repeats, read by longest match."""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.generator.slots import Piece

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
_MAX_WORD = 4
_MIN_COUNT = 4
_RUNS_KEPT = 100_000


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

    def __len__(self) -> int:
        return len(self.tokens)

    def words(self, text: str) -> list[str]:
        """Cut a run of characters into tokens by longest match; an unknown character stays as it is.

        Args:
            text: the run.
        """
        runs: dict[str, list[str]] = self._runs  # type: ignore[attr-defined]
        if text in runs:
            return runs[text]
        ids: dict[str, int] = self._ids  # type: ignore[attr-defined]
        found: list[str] = []
        position = 0
        while position < len(text):
            for size in range(_MAX_WORD, 0, -1):
                word = text[position : position + size]
                if size == 1 or (len(word) == size and word in ids):
                    break
            found.append(word)
            position += len(word)
        if len(runs) < _RUNS_KEPT:
            runs[text] = found
        return found

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
                found.extend(ids.get(word, UNK) for word in self.words(piece))
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
    """Count characters and jieba's words in training copy and keep the most frequent.

    Args:
        texts: delexicalised training copies.
        phrases: product words (attribute values, nouns, categories) whose characters must have ids.
        size: tokens at most, at least 500.

    Returns:
        The vocabulary; equal input gives an equal order.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba's source holds invalid escapes, reported when it is first compiled
        import jieba
    jieba.setLogLevel(60)
    characters: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for pieces in texts:
        for piece in pieces:
            if isinstance(piece, str):
                characters.update(piece)
                words.update(word for word in jieba.cut(piece) if 2 <= len(word) <= _MAX_WORD and word.isalpha())
    for phrase in phrases:
        characters.update(phrase)
    kept = [token for token, _ in sorted(characters.items(), key=lambda pair: (-pair[1], pair[0]))][: size - len(SPECIALS)]
    room = size - len(SPECIALS) - len(kept)
    frequent = sorted(((word, n) for word, n in words.items() if n >= _MIN_COUNT), key=lambda pair: (-pair[1], pair[0]))
    return Vocabulary((*SPECIALS, *kept, *[word for word, _ in frequent[:room]]))
