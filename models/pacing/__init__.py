"""Budgets: when a campaign's money is spent, and on which requests.

`TrafficCurve` says when traffic comes, `Pacer` finds the price of each campaign's money such that its budget lasts for the day, and
`models.pacing.allocation` gives each place to the campaign whose value exceeds its price by most.
"""

from models.pacing.allocation import break_even, choose, dithered, multiplier, thresholds
from models.pacing.booking import Booking, Pace, PacingSettings
from models.pacing.curve import TrafficCurve
from models.pacing.demand import Demand
from models.pacing.pacer import Pacer, safely_in_flight
from models.pacing.request import Offer, Standing, floors, opportunities

__all__ = [
    "Booking",
    "Demand",
    "Offer",
    "Pace",
    "Pacer",
    "PacingSettings",
    "Standing",
    "TrafficCurve",
    "break_even",
    "choose",
    "dithered",
    "floors",
    "multiplier",
    "opportunities",
    "safely_in_flight",
    "thresholds",
]
