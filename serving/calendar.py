"""The shop's own clock: its days are what budgets are for."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from models.pacing.curve import DAY

_QUARTER = 900_000_000
"""Clocks are put forward and back at full quarters of an hour."""


class Calendar:
    """Times and days by the clock of one time zone.

    Args:
        zone: IANA name, such as Asia/Shanghai.

    Raises:
        ZoneInfoNotFoundError: no such zone.
    """

    def __init__(self, zone: str = "UTC") -> None:
        self.zone = zone
        self._info = ZoneInfo(zone)
        self._known = (-1, 0)

    def local(self, moment: int) -> int:
        """Microseconds that the shop's clock shows, counted from 1970; they jump where it is put forward or back.

        Args:
            moment: microseconds since 1970 UTC.
        """
        quarter, offset = self._known
        if moment // _QUARTER != quarter:
            quarter = moment // _QUARTER
            span = datetime.fromtimestamp(quarter * _QUARTER / 1_000_000, UTC).astimezone(self._info).utcoffset()
            assert span is not None  # the datetime has a zone
            offset = round(span.total_seconds() * 1_000_000)
            self._known = (quarter, offset)
        return moment + offset

    def day(self, moment: int) -> int:
        """The shop's day, counted from 1970.

        Args:
            moment: microseconds since 1970 UTC.
        """
        return self.local(moment) // DAY
