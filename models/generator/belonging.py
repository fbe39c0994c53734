"""Sense between product and text: words that human copy says of other kinds of product, and hardly ever of this one's.

内锅, the pot inside a cooker, is foreign in copy for a rucksack. How much that says is a log-odds: how much rarer a word is in copy for
this kind than in copy at large, as far as the counts bear it out. A rare word, a word that is spread over all kinds, and a kind with few
copies say little, without any rule for them. The evidence of a text's words is added up, and a text is refused where it exceeds what all
but a few human copies have, when they are judged by the counts of others.
"""

import itertools
import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from core.files import read_json, write_json
from models.bundle import load_arrays, save_arrays
from models.generator.request import CopyRequest
from models.generator.slots import NOUN, slots_of
from models.generator.topics import own_words
from models.generator.training_copies import Copy, split_groups

logger = logging.getLogger(__name__)

MOST_REFUSED = 0.02
"""Share of human copies, judged by the counts of others, that is refused."""
ENOUGH = 100
"""Fewer copies judge nothing."""
LEAST = 1.5
"""Log-odds that a word must exceed to be evidence; what exceeds it counts."""
_FOLDS = 4
_MIN_COUNT = 3
_MAX_WORD = 5
_SPREADS = np.array([0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0])
"""How alike kinds may use a word: copies that the overall share of a word is worth beside a kind's own counts."""
_TYPE = "类型"
_CLAUSE = re.compile(r"[^，。！？～：；、…,.!?~:;#\s]+")
_TABLES, _ARRAYS = "belonging.json", "belonging.safetensors"


@dataclass(frozen=True)
class Foreign:
    """A word that does not belong.

    Attributes:
        words: the word, or two neighbours.
        kind: the product's kind.
        said: copies of that kind with the word.
        copies: copies of that kind.
        home: the kind that says it most.
        home_said: copies of that kind with the word.
        home_copies: copies of that kind.
        log_odds: log of how much rarer the word is in copy for this kind than in all copy.
    """

    words: str
    kind: str
    said: int
    copies: int
    home: str
    home_said: int
    home_copies: int
    log_odds: float

    def __str__(self) -> str:
        """How a reviewer explains it: 内锅 (厨房用品 52 of 250, 运动健身 0 of 262, log-odds 3.9)."""
        return (
            f"{self.words} ({self.home} {self.home_said} of {self.home_copies}, {self.kind} {self.said} of {self.copies}, "
            f"log-odds {self.log_odds:.1f})"
        )


@dataclass(frozen=True, eq=False)
class Belonging:
    """What is said of which kind of product.

    Attributes:
        kinds: kinds of product (`kind_of`) that training copy is about.
        lexicon: words that texts are cut into, beside single characters.
        features: words, and pairs of neighbours joined by a blank, that are evidence against one kind at least.
        counts: (features, kinds) copies of a kind that hold a feature.
        copies: (kinds,) copies of a kind.
        limit: evidence up to which a text passes.
    """

    kinds: tuple[str, ...]
    lexicon: tuple[str, ...]
    features: tuple[str, ...]
    counts: NDArray[np.int32]
    copies: NDArray[np.int32]
    limit: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "_words", frozenset(self.lexicon))
        object.__setattr__(self, "_rows", {feature: row for row, feature in enumerate(self.features)})
        object.__setattr__(self, "_columns", {kind: column for column, kind in enumerate(self.kinds)})
        object.__setattr__(self, "_odds", log_odds(self.counts, self.copies))

    def knows(self, request: CopyRequest) -> bool:
        """Whether training copy is about the product's kind (`kind_of`); taken for granted where nothing is judged.

        Args:
            request: the product.
        """
        return not self.kinds or kind_of(request) in self.kinds

    def foreign(self, text: str, request: CopyRequest) -> list[Foreign]:
        """Words that speak against a text, the strongest first.

        Args:
            text: a copy.
            request: its product. What its title, brand, category or attributes hold is never foreign; of a kind that training copy does
                not know nothing is.
        """
        column = self._columns.get(kind_of(request))  # type: ignore[attr-defined]
        if column is None:
            return []
        rows, odds, own = self._rows, self._odds, own_words(request)  # type: ignore[attr-defined]
        found = []
        for feature in dict.fromkeys(_features(text, self._words)):  # type: ignore[attr-defined]
            row = rows.get(feature)
            if row is not None and odds[row, column] > LEAST and not any(word in own for word in feature.split(" ")):
                found.append(self._explained(feature, row, column))
        return sorted(found, key=lambda one: (-one.log_odds, " " in one.words, one.words))

    def level(self, text: str, request: CopyRequest) -> float:
        """The evidence against a text: what its words' log-odds exceed `LEAST` by, added up.

        Args:
            text: a copy.
            request: its product.
        """
        return sum(one.log_odds - LEAST for one in self.foreign(text, request))

    def refuses(self, text: str, request: CopyRequest) -> Foreign | None:
        """The word that speaks most against a text that does not make sense for its product; None when it passes.

        Args:
            text: a copy.
            request: its product.
        """
        found = self.foreign(text, request)
        return found[0] if sum(one.log_odds - LEAST for one in found) > self.limit else None

    def _explained(self, feature: str, row: int, column: int) -> Foreign:
        home = int(np.argmax(self.counts[row] / np.maximum(self.copies, 1)))
        said, copies = self.counts[row], self.copies
        return Foreign(
            feature.replace(" ", ""),
            self.kinds[column],
            int(said[column]),
            int(copies[column]),
            self.kinds[home],
            int(said[home]),
            int(copies[home]),
            float(self._odds[row, column]),  # type: ignore[attr-defined]
        )

    def save(self, folder: Path) -> None:
        """Write tables and arrays.

        Args:
            folder: of the generator bundle.
        """
        write_json({"kinds": self.kinds, "lexicon": self.lexicon, "features": self.features}, folder / _TABLES)
        save_arrays({"counts": self.counts, "copies": self.copies, "limit": np.array([self.limit])}, folder / _ARRAYS)

    @classmethod
    def load(cls, folder: Path) -> "Belonging":
        """Read what `save` wrote; a bundle from before it judges nothing.

        Args:
            folder: of the generator bundle.
        """
        if not (folder / _TABLES).exists():
            return NO_BELONGING
        held, arrays = read_json(folder / _TABLES), load_arrays(folder / _ARRAYS)
        kinds, lexicon, features = (tuple(held[name]) for name in ("kinds", "lexicon", "features"))
        return cls(kinds, lexicon, features, arrays["counts"], arrays["copies"], float(arrays["limit"][0]))


def log_odds(counts: NDArray[np.int32], copies: NDArray[np.int32]) -> NDArray[np.float64]:
    """How much rarer each word is in copy for each kind than in all copy, as far as counts bear it out.

    Args:
        counts: (words, kinds) copies of a kind with a word.
        copies: (kinds,) copies of a kind.

    Returns:
        (words, kinds) log m − log E[p]: m is the word's share of all copies, p its share of the kind's; above 0: rarer here.

    Source:
        p ~ Beta(s·m, s·(1 − m)) over kinds, so that E[p | counts] = (n + s·m) / (N + s), averaged over s by the likelihood of the counts
        of all kinds (beta-binomial, Skellam 1948). Log-odds against a prior from all text: Monroe et al. 2008.
    """
    said, sizes = counts.astype(np.float64), copies.astype(np.float64)[None]
    share = (said.sum(1, keepdims=True) + 0.01) / (sizes.sum() + 1.0)
    likelihood = np.zeros((len(said), len(_SPREADS)))
    for place, spread in enumerate(_SPREADS):
        a, b = spread * share, spread * (1.0 - share)
        with_word = gammaln(said + a) - gammaln(a) + gammaln(sizes - said + b) - gammaln(b)
        likelihood[:, place] = (with_word - gammaln(sizes + spread) + gammaln(spread)).sum(1)
    weights = np.exp(likelihood - likelihood.max(1, keepdims=True, initial=-np.inf))
    weights /= weights.sum(1, keepdims=True)
    expected = sum(weights[:, [place]] * (said + spread * share) / (sizes + spread) for place, spread in enumerate(_SPREADS))
    return np.asarray(np.log(share) - np.log(expected))


def kind_of(request: CopyRequest) -> str:
    """The kind of a product: its category; without one its type, then the noun of its title.

    Args:
        request: the product.
    """
    kind = request.category or next((value for key, value in request.attributes if key == _TYPE), "")
    return kind or next((slot.value for slot in slots_of(request) if slot.name == NOUN), "")


def fit_belonging(copies: Sequence[Copy]) -> Belonging:
    """Count words by kind of product, and find the limit that few human copies exceed.

    A fold of the copies, by group (`split_groups`), is judged by the counts of the others, as generated copy will be.

    Args:
        copies: training copies.

    Returns:
        The judge; one that judges nothing for fewer than `ENOUGH` copies, or copies of one kind only.
    """
    if len(copies) < ENOUGH or len({kind_of(copy.request) for copy in copies} - {""}) < 2:
        logger.info("%d copies of too few kinds of product: which words belong to which is not judged", len(copies))
        return NO_BELONGING
    lexicon = _lexicon(copies)
    words = frozenset(lexicon)
    features = [list(dict.fromkeys(_features(copy.text, words))) for copy in copies]
    groups = split_groups(copies)
    names = sorted(set(groups))
    folds = dict(zip(names, (np.random.default_rng(21).permutation(len(names)) % _FOLDS).tolist(), strict=True))
    fold = [folds[group] for group in groups]
    levels: list[float] = []
    for number in range(_FOLDS):
        learned = [row for row, mine in enumerate(fold) if mine != number]
        judge = _counted([copies[row] for row in learned], [features[row] for row in learned], lexicon)
        levels += [judge.level(copies[row].text, copies[row].request) for row, mine in enumerate(fold) if mine == number]
    whole = _counted(copies, features, lexicon)
    limit = float(np.quantile(levels, 1.0 - MOST_REFUSED, method="higher"))
    return Belonging(whole.kinds, whole.lexicon, whole.features, whole.counts, whole.copies, limit)


def _counted(copies: Sequence[Copy], features: Sequence[Sequence[str]], lexicon: tuple[str, ...]) -> Belonging:
    """Counts without a limit, less the features that are no evidence against any kind."""
    held = [kind_of(copy.request) for copy in copies]
    kinds = tuple(sorted(set(held) - {""}))
    columns = {kind: column for column, kind in enumerate(kinds)}
    often = Counter(feature for kind, found in zip(held, features, strict=True) if kind for feature in found)
    names = sorted(feature for feature, n in often.items() if n >= _MIN_COUNT)
    rows = {feature: row for row, feature in enumerate(names)}
    counts, sizes = np.zeros((len(names), len(kinds)), np.int32), np.zeros(len(kinds), np.int32)
    for kind, found in zip(held, features, strict=True):
        if kind:
            sizes[columns[kind]] += 1
            counts[[rows[feature] for feature in found if feature in rows], columns[kind]] += 1
    kept = np.flatnonzero((log_odds(counts, sizes) > LEAST).any(1)) if names else np.zeros(0, int)
    return Belonging(kinds, lexicon, tuple(names[row] for row in kept), counts[kept], sizes, np.inf)


def _lexicon(copies: Sequence[Copy]) -> tuple[str, ...]:
    """Words of two characters or more that copies use, the longest aside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba's source holds invalid escapes, reported when it is first compiled
        import jieba
    jieba.setLogLevel(60)
    clauses = Counter(clause for copy in copies for clause in _CLAUSE.findall(copy.text))
    words: Counter[str] = Counter()
    for clause, n in clauses.items():
        for word in jieba.cut(clause):
            words[word] += n
    return tuple(sorted(word for word, n in words.items() if n >= _MIN_COUNT and 2 <= len(word) <= _MAX_WORD))


def _features(text: str, lexicon: frozenset[str]) -> Iterator[str]:
    """Words of a text, by longest match within a clause, and pairs of neighbours."""
    for clause in _CLAUSE.findall(text):
        words, place = [], 0
        while place < len(clause):
            size = next((size for size in range(_MAX_WORD, 1, -1) if clause[place : place + size] in lexicon), 1)
            words.append(clause[place : place + size])
            place += size
        yield from words
        yield from (f"{one} {other}" for one, other in itertools.pairwise(words))


NO_BELONGING = Belonging((), (), (), np.zeros((0, 0), np.int32), np.zeros(0, np.int32), np.inf)
"""Judges nothing: for a source with few copies."""
