"""Text as moments: what pandas reads of it, less what it would make up."""

import pandas as pd

DAY = 86_400_000_000
"""Microseconds in a day."""
ISO = "ISO8601"
_DAY = r"\d{4}(?:\d{4}|\D\d{1,2}\D\d{1,2})"
_WALL_CLOCK = ("now", "today")


def moments(text: pd.Series, form: str = ISO, *, utc: bool = True) -> pd.Series:
    """Read moments that name a day at least.

    pandas takes the words ``now`` and ``today`` for the wall clock, whatever the format, and ISO 8601's ``2026`` and ``2026-09``
    for their first day. Here they are no moments: equal data give equal tables on every day, and a month is not its first day.

    Args:
        text: without space around it; null stays null.
        form: a strptime format, or ISO 8601.
        utc: times without an offset are UTC and those with one are brought to it; else none may have an offset.

    Returns:
        Times, null where the text is none.
    """
    whole = text.str.match(_DAY, na=False) if form == ISO else ~text.isin(_WALL_CLOCK)
    return pd.to_datetime(text.where(whole), errors="coerce", format=form, utc=utc)
