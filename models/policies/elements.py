"""What creatives are made of, as columns of a linear predictor, in groups that share a prior width.

A creative's elements are choices, such as template, background, colour, size, font: one code a kind. Columns:

    intercept | main effects: one a choice that occurs | pairs: one a pair of choices that occurs together (optional)
              | context features | context features × main effects

Choices that all creatives share, pairs that single out one creative (the residual is that already) and pairs that say what one of their
choices says already get no column.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.policies.interface import Codes, Floats

INTERCEPT, MAIN, PAIRS, CONTEXT, CONTEXT_MAIN = "intercept", "main", "pairs", "context", "context_main"


@dataclass(frozen=True)
class ElementDesign:
    """The columns of creatives in a context.

    Attributes:
        own: ``(n, p)`` intercept, main effects and pairs of each creative.
        main: ``(n, a)`` the main effects among them.
        context: x, number of context features.
        groups: ``(p + x + x·a,)`` name of the group of each column.
    """

    own: Floats
    main: Floats
    context: int
    groups: tuple[str, ...]

    @property
    def creatives(self) -> int:
        """Number of creatives."""
        return len(self.own)

    def rows(self, creatives: Codes, context: Floats | None) -> Floats:
        """The columns' values.

        Args:
            creatives: ``(b,)`` creatives.
            context: ``(x,)`` one context for all, or ``(b, x)``; None when there is none.

        Returns:
            ``(b, p + x + x·a)``.

        Raises:
            ValueError: a context of another shape, or with a value that is not a finite number.
        """
        own = self.own[creatives]
        if not self.context:
            if context is not None and np.asarray(context).shape[-1:] != (0,):
                raise ValueError(f"context of shape {np.asarray(context).shape}, but this policy was made without; pass context=None")
            return own
        if context is None:
            raise ValueError(f"this policy needs {self.context} context features, and got none")
        features = np.asarray(context, dtype=np.float64)
        if features.shape not in ((self.context,), (len(own), self.context)):
            raise ValueError(f"context has shape {features.shape}; ({self.context},) or ({len(own)}, {self.context}) is needed")
        if not np.isfinite(features).all():
            raise ValueError(f"{int((~np.isfinite(features)).sum())} context values are not finite numbers")
        features = np.broadcast_to(features, (len(own), self.context))
        crossed = features[:, :, None] * self.main[creatives][:, None, :]  # (b, x, a)
        return np.hstack([own, features, crossed.reshape(len(own), -1)])


def design_elements(elements: NDArray[np.integer], *, pairs: bool = False, context: int = 0) -> ElementDesign:
    """Lay out the columns.

    Args:
        elements: ``(n, kinds)`` code of each creative's choice of each kind; no kinds means that creatives share nothing.
        pairs: whether pairs of choices have effects of their own.
        context: number of context features.

    Returns:
        The design.

    Raises:
        ValueError: elements not two-dimensional, or context below 0.
    """
    codes = np.asarray(elements)
    if codes.ndim != 2 or len(codes) == 0:
        raise ValueError(f"elements have shape {codes.shape}; one row a creative and one column a kind is needed")
    if context < 0:
        raise ValueError(f"context is {context}; a number of features is at least 0")
    kinds = range(codes.shape[1])
    main = np.hstack([np.zeros((len(codes), 0)), *(_indicators(codes[:, [kind]], singles=True) for kind in kinds)])
    crossed = [_indicators(codes[:, list(two)], singles=False) for two in itertools.combinations(kinds, 2)] if pairs else []
    pair = np.hstack([np.zeros((len(codes), 0)), *crossed])
    said = (pair[:, :, None] == main[:, None, :]).all(axis=0).any(axis=1)
    own = np.hstack([np.ones((len(codes), 1)), main, pair[:, ~said]])
    names = [INTERCEPT] + [MAIN] * main.shape[1] + [PAIRS] * (own.shape[1] - 1 - main.shape[1])
    names += [CONTEXT] * context + [CONTEXT_MAIN] * (context * main.shape[1])
    return ElementDesign(own, main, context, tuple(names))


def _indicators(codes: NDArray[np.integer], *, singles: bool) -> Floats:
    """``(n, values)`` 1 where a row has the value; without those that all rows have, and without those of one row unless singles."""
    values, inverse, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    columns = inverse.ravel()[:, None] == np.arange(len(values))
    return np.asarray(columns[:, (counts < len(codes)) & (singles | (counts > 1))], dtype=np.float64)
