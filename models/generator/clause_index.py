"""Whether a text's clauses are such as people have written for this kind of product: a network's slips of sense are clauses like nobody's.

A small network joins halves of clauses that each read well (不锈钢内胆 + 猫咪接受得快). Word pairs do not show it, since both halves are
human; that no clause for this kind of product resembles the whole does.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.generator.request import CopyRequest
from models.generator.slots import Piece, Slot, delexicalise, slots_of
from models.generator.training_copies import Copy

ENOUGH = 50
"""A kind of product with fewer clauses is compared with its category, a category with fewer with all."""
TELLING = 20
"""Copies a kind, on average, from which on a category's kinds are told apart."""
_HELD = 100_000
"""Clauses of a kind whose likeness is remembered, about: candidates for one order share most of theirs."""
_ENDS = re.compile(r"[，,、；;：:。！？!?…～~\s#]+")
_BEGIN, _END = "<", ">"

Clause = tuple[str, ...]
"""Characters, and the names of slots in place of the product's own words."""
Kind = tuple[str, frozenset[str] | None]
"""Category and attribute keys: a monitor and a mouse share a category, not their keys. Keys None: the whole category; category "": all."""
_ALL: Kind = ("", None)


class _Clauses:
    """Clauses of one kind of product as rows of pairs of neighbours."""

    def __init__(self, clauses: Sequence[Clause]) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        for clause in clauses:
            for pair in _pairs(clause):
                self._numbers.setdefault(pair, len(self._numbers))
        self._rows = self._matrix(clauses).T.tocsr()
        self._sizes = np.array([len(_pairs(clause)) for clause in clauses], np.float32)

    def _matrix(self, clauses: Sequence[Clause]) -> sparse.csr_matrix:
        found = [[self._numbers[pair] for pair in _pairs(clause) if pair in self._numbers] for clause in clauses]
        ends = np.cumsum([0, *map(len, found)])
        columns = np.array([number for row in found for number in row], np.int64)
        return sparse.csr_matrix((np.ones(len(columns), np.float32), columns, ends), shape=(len(clauses), len(self._numbers)))

    def likeness(self, clauses: Sequence[Clause]) -> NDArray[np.float64]:
        """How much each clause resembles the clause most like it: the Dice coefficient of their pairs of neighbours. (n,) in [0, 1]."""
        shared = (self._matrix(clauses) @ self._rows).tocoo()
        sizes = np.array([len(_pairs(clause)) for clause in clauses], np.float32)
        dice = 2 * shared.data / (sizes[shared.row] + self._sizes[shared.col])
        best = np.zeros(len(clauses))
        np.maximum.at(best, shared.row, dice)
        return best


class ClauseIndex:
    """Clauses of training copy, by kind of product: what people say of it, or of several kinds of its category.

    Args:
        copies: training copies.

    Attributes:
        repeated: share of the clauses that another copy of the same category has too: where people hardly repeat themselves,
            that a clause is like nobody's says little.
    """

    def __init__(self, copies: Sequence[Copy]) -> None:
        by_kind: dict[Kind, Counter[Clause]] = defaultdict(Counter)
        spoken_of: Counter[Kind] = Counter()
        for copy in copies:
            by_kind[_kind_of(copy.request)].update(set(_clauses(copy.pieces, slots_of(copy.request))))
            spoken_of[_kind_of(copy.request)] += 1
        kinds: dict[str, list[Kind]] = defaultdict(list)
        whole: dict[str, Counter[Clause]] = defaultdict(Counter)
        for kind, clauses in by_kind.items():
            kinds[kind[0]].append(kind)
            whole[kind[0]].update(clauses)
        self._pools: dict[Kind, list[Clause]] = {_ALL: list(dict.fromkeys(clause for said in whole.values() for clause in said))}
        for category, found in kinds.items():
            if not category or len(whole[category]) < ENOUGH:
                continue
            self._pools[category, None] = list(whole[category])
            if len(found) < 2 or sum(spoken_of[kind] for kind in found) < TELLING * len(found):
                continue
            spread = Counter(clause for kind in found for clause in by_kind[kind])
            shared = [clause for clause, times in spread.items() if times > 1]
            for kind in found:
                if len(by_kind[kind]) >= ENOUGH:
                    self._pools[kind] = list(dict.fromkeys([*by_kind[kind], *shared]))
        again = sum(count for said in whole.values() for count in said.values() if count > 1)
        self.repeated = again / max(sum(said.total() for said in whole.values()), 1)
        self._built: dict[Kind, _Clauses] = {}
        self._known: dict[Kind, dict[Clause, float]] = {}

    def support(self, texts: Sequence[str], request: CopyRequest) -> NDArray[np.float64]:
        """How much texts are made of clauses like those people wrote for this kind of product.

        Args:
            texts: for one order.
            request: the order.

        Returns:
            (n,) in [0, 1]: half the mean over a text's clauses, half its worst clause; 1 where there is no training copy.
        """
        slots, kind = slots_of(request), self._pool_of(request)
        cut = [_clauses(delexicalise(text, slots), slots) for text in texts]
        if not self._pools[kind]:
            return np.ones(len(texts))
        known = self._known.setdefault(kind, {})
        found = {clause: known.get(clause) for clauses in cut for clause in clauses}
        new = [clause for clause, likeness in found.items() if likeness is None]
        if new:
            fresh = dict(zip(new, self._clauses_of(kind).likeness(new).tolist(), strict=True))
            found |= fresh
            if len(known) > _HELD:
                self._known[kind] = {}  # others may still be reading the old one
            self._known[kind].update(fresh)
        parts = [[found[clause] or 0.0 for clause in clauses] or [0.0] for clauses in cut]
        return np.array([(sum(part) / len(part) + min(part)) / 2 for part in parts])

    def _pool_of(self, request: CopyRequest) -> Kind:
        kind = _kind_of(request)
        return next(one for one in (kind, (kind[0], None), _ALL) if one in self._pools)

    def _clauses_of(self, kind: Kind) -> _Clauses:
        if kind not in self._built:
            self._built[kind] = _Clauses(self._pools[kind])
        return self._built[kind]


def _kind_of(request: CopyRequest) -> Kind:
    return request.category, frozenset(key for key, _ in request.attributes)


def _clauses(pieces: Sequence[Piece], slots: Sequence[Slot]) -> list[Clause]:
    """A delexicalised text cut at its punctuation marks, which are left out."""
    found: list[list[str]] = [[]]
    for piece in pieces:
        if isinstance(piece, int):
            found[-1].append(slots[piece].name)
            continue
        for number, part in enumerate(_ENDS.split(piece)):
            if number:
                found.append([])
            found[-1] += part
    return [tuple(clause) for clause in found if clause]


def _pairs(clause: Clause) -> frozenset[tuple[str, str]]:
    return frozenset(pairwise((_BEGIN, *clause, _END)))
