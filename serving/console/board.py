"""The live board: what came of the slates, what was spent, and what is believed of each creative."""

import threading
from datetime import datetime

from core.moments import DAY
from models.correction import Beliefs
from models.pool import UPCOMING, Campaign
from serving.api import ChannelName
from serving.clock import moment
from serving.console.api import BoardAnswer, CreativeBelief, CreativesFound, Exploration, Rate, Spend
from serving.console.beliefs import believed, rate
from serving.console.tally import Count, Tally
from serving.metrics import Metrics
from serving.model_set import ModelSet
from serving.pacing import Course
from serving.reviews import Reviews
from serving.service import Parts


class Board:
    """Reads the decision log on at each look, under a lock; requests for ads do not wait for it."""

    def __init__(self, parts: Parts, metrics: Metrics, reviews: Reviews) -> None:
        """Args: what to work with, this process's counts, and what is blocked."""
        self._parts, self._metrics, self._reviews = parts, metrics, reviews
        self._store, self._log = parts.storage.store, parts.storage.log
        self._tally = Tally()
        self._turn = threading.Lock()

    def look(self, days: int, most: int) -> BoardAnswer:
        """The board.

        Args:
            days: UTC days that rates count, today included.
            most: creatives at the most.

        Raises:
            RefusedError: there are no champions.
            UnavailableError: the log is away.
        """
        models = self._parts.models()
        now = models.world.now()
        today = now // DAY
        with self._turn:
            self._tally.read_on(self._store)
            channels = self._tally.between(today - days + 1, today)
            shown = sorted(self._tally.creatives.items(), key=lambda held: (-held[1].shown, held[0]))
            rows = [row for name, _ in shown for row in models.pool.rows_of([name])][:most]
            beliefs = self._beliefs(models)
            creatives = self._believed(rows, models)
            known = self._known(models)
        every = channels.values()
        clicks, impressions = sum(c.clicked for c in every), sum(c.shown for c in every)
        explored, positions = self._metrics.exploration
        rates: dict[ChannelName, Rate] = {
            name: rate(channels.get(name, Count()).clicked, channels.get(name, Count()).shown) for name in ("onsite", "social", "search")
        }
        pacing = models.pacing
        course = pacing.course() if pacing else {}
        day, paid = self._day(now), self._log.paid_today(now)
        return BoardAnswer(
            now=moment(now),
            days=days,
            ctr=rate(clicks, impressions),
            cvr=rate(sum(c.converted for c in every), clicks),
            channels=rates,
            exploration=Exploration(
                floor=models.policies.champion.exploration,
                explored=explored,
                positions=positions,
                share=explored / positions if positions else None,
            ),
            plan="traffic" if pacing else "even",
            campaigns=[
                _spend(campaign, paid.get(campaign.campaign_id, (0, 0)), course.get(campaign.campaign_id), moment(now), day)
                for campaign in models.pool.campaigns
            ],
            posterior="beta" if beliefs is None else "linear_thompson",
            impressions=known,
            learnt=None if models.learning is None else models.learning.current.impressions,
            creatives=creatives,
        )

    def find(self, words: str, only: str, limit: int) -> CreativesFound:
        """Creatives for review: blocked ones first, then the most shown.

        Args:
            words: that text, title, category or id must all hold, in any case.
            only: all, shown or blocked.
            limit: creatives at the most.

        Raises:
            RefusedError: there are no champions.
            UnavailableError: the log is away.
        """
        models = self._parts.models()
        pool, wanted = models.pool, words.casefold().split()
        blocked = pool.rows_of(self._reviews.blocked().creative_ids)
        with self._turn:
            self._tally.read_on(self._store)
            counts = self._tally.creatives
            fitting = []
            for row in range(len(pool)):
                name, item = str(pool.creative_id[row]), str(pool.item_id[row])
                if (only == "blocked" and row not in blocked) or (only == "shown" and name not in counts):
                    continue
                place = pool.item_row[item]
                held = f"{pool.text[row]} {pool.title[place]} {pool.category[place]} {name}".casefold()
                if all(word in held for word in wanted):
                    fitting.append((row not in blocked, -counts[name].shown if name in counts else 0, row))
            rows = [row for _, _, row in sorted(fitting)[:limit]]
            return CreativesFound(total=len(fitting), creatives=self._believed(rows, models))

    def _believed(self, rows: list[int], models: ModelSet) -> list[CreativeBelief]:
        blocked = models.pool.rows_of(self._reviews.blocked().creative_ids)
        return believed(rows, models.pool, self._tally.creatives, self._beliefs(models), blocked)

    def _day(self, now: int) -> tuple[datetime, datetime]:
        """Beginning and end of the shop's day."""
        gone = self._log.calendar.local(now) % DAY
        return moment(now - gone), moment(now - gone + DAY)

    def _beliefs(self, models: ModelSet) -> Beliefs | None:
        return models.learning.current if models.learning else None

    def _known(self, models: ModelSet) -> int:
        """Impressions of creatives that the pool has."""
        return sum(count.shown for name, count in self._tally.creatives.items() if models.pool.rows_of([name]))


def _spend(campaign: Campaign, paid: tuple[int, int], course: Course | None, now: datetime, day: tuple[datetime, datetime]) -> Spend:
    """Spend against the pacer's plan; where nothing is paced, against one in proportion to the part of the day within the campaign."""
    planned, plan, budget = None, [], campaign.daily_budget_micros
    if course is not None:
        planned, plan = course.planned_micros, list(course.plan)
    elif budget is not None:
        open_from, open_to = max(day[0], campaign.start - UPCOMING), min(day[1], campaign.end)

        def by(time: datetime) -> int:
            share = (time - open_from) / (open_to - open_from) if open_to > open_from else 0.0
            return round(budget * min(1.0, max(0.0, share)))

        planned, plan = by(now), [by(day[0] + (day[1] - day[0]) * hour / 24) for hour in range(25)]
    return Spend(
        campaign_id=campaign.campaign_id,
        name=campaign.name,
        state="upcoming" if now < campaign.start else "ended" if now > campaign.end else "running",
        start=campaign.start,
        end=campaign.end,
        bid_micros=campaign.bid_micros,
        daily_budget_micros=budget,
        spent_micros=paid[0],
        given_micros=paid[1],
        planned_micros=planned,
        forecast_micros=None if course is None else course.forecast_micros,
        short=course is not None and course.short,
        price=None if course is None else course.price,
        plan=plan,
        course=[] if course is None else list(course.spent),
    )
