"""The embedded source: a simulated Chinese marketplace with known truth."""

from tasks.sources.market.engine import read_market
from tasks.sources.market.truth import Truth

__all__ = ["Truth", "read_market"]
