"""What pacing is told of campaigns, how careful it is, and what it says."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.pool import UPCOMING, Campaign

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
SECOND = 1_000_000


@dataclass(frozen=True)
class Booking:
    """What pacing needs of a campaign with a budget.

    Attributes:
        campaign_id: its id.
        bid_micros: price of a click, positive.
        daily_budget_micros: for a day, not negative.
        start: first moment in which it may be advertised, microseconds since 1970 UTC.
        end: the last one.
    """

    campaign_id: str
    bid_micros: int
    daily_budget_micros: int
    start: int
    end: int

    @classmethod
    def of(cls, campaigns: Sequence[Campaign]) -> tuple["Booking", ...]:
        """The bookings of the campaigns that have a budget; the others are not paced.

        Args:
            campaigns: of the pool.
        """
        return tuple(
            cls(
                campaign_id=c.campaign_id,
                bid_micros=c.bid_micros,
                daily_budget_micros=c.daily_budget_micros,
                start=round((c.start - UPCOMING).timestamp() * SECOND),
                end=round(c.end.timestamp() * SECOND),
            )
            for c in campaigns
            if c.daily_budget_micros is not None
        )


@dataclass(frozen=True)
class PacingSettings:
    """How pacing remembers and how careful it is.

    Attributes:
        slate: positions of the largest slate: what may come on top of a budget is this many clicks.
        memory: after how much traffic demand has faded to 1 / e, in days' worth.
        finish: share of the day's traffic kept back at its end, so that a late lull leaves nothing unspent.
        click_delay_seconds: mean time from a showing to the moment in which its click is known; rather too long than too short.
        evidence: opportunities a campaign must have met before its price is trusted; until then spend does not run ahead of the plan.
        prior_clicks: clicks with which κ begins at 1.
        seen_share: share of all requests that this process sees; 1 / workers where each worker paces for itself.
    """

    slate: int = 3
    memory: float = 0.1
    finish: float = 0.02
    click_delay_seconds: float = 120.0
    evidence: int = 200
    prior_clicks: float = 20.0
    seen_share: float = 1.0

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)}; it must be {what}"
            for name, good, what in (
                ("slate", self.slate >= 1, "at least 1"),
                ("memory", self.memory > 0, "positive"),
                ("finish", 0 <= self.finish < 1, "in [0, 1)"),
                ("click_delay_seconds", self.click_delay_seconds >= 0, "at least 0"),
                ("evidence", self.evidence >= 0, "at least 0"),
                ("prior_clicks", self.prior_clicks > 0, "positive"),
                ("seen_share", 0 < self.seen_share <= 1, "in (0, 1]"),
            )
            if not good
        ]
        if wrong:
            raise ValueError("pacing: " + "; ".join(wrong))


@dataclass(frozen=True)
class Pace:
    """What pacing says until the next tick.

    Attributes:
        price: ``(c,)`` shadow price of each campaign's money, not negative.
        open: ``(c,)`` whether the campaign may take part.
        planned_micros: ``(c,)`` spend so far if the budget followed the curve.
        forecast_micros: ``(c,)`` the most that can be spent by the end of the day, the budget at the most; NaN where too little is known.
        short: ``(c,)`` True where, on the evidence, there is not enough matching traffic to spend the budget.
    """

    price: Floats
    open: Flags
    planned_micros: Floats
    forecast_micros: Floats
    short: Flags
