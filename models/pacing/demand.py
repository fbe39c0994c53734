"""What each campaign could spend at each price, remembered for a while, and the price at which it spends what it should.

For one request a campaign has a *break-even price*: the shadow price λ of its money up to which it still wins a place in the slate
(`models.pacing.allocation.break_even`). What it spends at price λ is the cost of the requests whose break-even lies above λ. The memory
holds that cost by bins of break-even, forgetting as traffic passes, and traffic in the same way: their ratio is spend per unit of traffic.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 128
WIDTH = 1 / 32
"""Of a bin, in value per cost; a price is spread over one bin (`dithered`), so that of many equal break-evens a part can be bought."""
HIGHEST = BINS * WIDTH


@dataclass(frozen=True)
class Solved:
    """Prices, and what they stand on.

    Attributes:
        price: ``(c,)`` shadow price of each campaign's money, in [0, `HIGHEST`].
        most: ``(c,)`` micros that could be spent per unit of traffic at price 0.
    """

    price: Floats
    most: Floats


class Demand:
    """Cost by break-even price, of c campaigns.

    Args:
        campaigns: c.
        memory: after how much traffic, in days' worth, a cost has faded to 1 / e; positive.
    """

    def __init__(self, campaigns: int, *, memory: float) -> None:
        self.memory = memory
        self.cost = np.zeros((campaigns, BINS))
        self.traffic = np.zeros(campaigns)
        self.seen = np.zeros(campaigns)

    def pass_by(self, traffic: Floats) -> None:
        """Let expected traffic go by: what is remembered fades.

        Args:
            traffic: ``(c,)`` by each campaign's curve, in days' worth, not negative.
        """
        kept = np.exp(-traffic / self.memory)
        self.cost *= kept[:, None]
        # what has come in since then has faded by half of it, on average
        self.traffic = self.traffic * kept + self.memory * (1 - kept)

    def add(self, campaign: NDArray[np.int64], break_even: Floats, cost: Floats) -> None:
        """Remember opportunities, whether they were taken or not.

        Args:
            campaign: ``(n,)`` codes.
            break_even: ``(n,)`` prices; an opportunity that is lost even at price 0 is left out.
            cost: ``(n,)`` expected cost in micros if it is won: p_click · bid.
        """
        at = break_even > 0
        codes = campaign[at]
        bins = np.minimum(break_even[at] / WIDTH + 0.5, BINS - 1).astype(np.int64)  # centred: break-even 1 is the middle of its bin
        self.cost += np.bincount(codes * BINS + bins, weights=cost[at], minlength=self.cost.size).reshape(self.cost.shape)
        self.seen += np.bincount(campaign, minlength=len(self.seen))

    def solve(self, rate: Floats) -> Solved:
        """The price at which each campaign spends at a rate.

        Args:
            rate: ``(c,)`` wanted micros per unit of traffic; 0 or less finds a price that buys nothing.

        Returns:
            Prices: 0 where even that does not spend so much.
        """
        traffic = np.maximum(self.traffic, 1e-12)
        above = np.zeros((len(self.cost), BINS + 1))
        above[:, :BINS] = np.cumsum(self.cost[:, ::-1], axis=1)[:, ::-1] / traffic[:, None]  # spend at the lower edge of each bin
        wanted = np.maximum(rate, 0.0)
        edge = np.maximum((above > wanted[:, None]).sum(axis=1) - 1, 0)  # the last edge that spends too much
        rows = np.arange(len(edge))
        over, under = above[rows, edge], above[rows, np.minimum(edge + 1, BINS)]
        share = np.clip(np.maximum(over - wanted, 0.0) / np.maximum(over - under, 1e-9), 0.0, 1.0)
        price = np.where(over > wanted, np.maximum(edge + share - 0.5, 0.0) * WIDTH, 0.0)
        return Solved(np.minimum(price, HIGHEST), above[:, 0])
