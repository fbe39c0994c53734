"""Reading what was sent: text in the contract's form, anonymous histories, and a digest that tells repetitions."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime

from models.history import History
from serving.api import Body, Fault, PastEvent
from serving.clock import moment
from serving.errors import invalid

_SPACES = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def plain(text: str) -> str:
    """An id or a text in the contract's form: NFC, white space and control characters as single spaces, none at the ends.

    Args:
        text: as it was sent.
    """
    return _SPACES.sub(" ", unicodedata.normalize("NFC", text)).strip()


def microseconds(moment: datetime) -> int:
    """A time as microseconds since 1970 UTC.

    Args:
        moment: with an offset.
    """
    return round(moment.timestamp() * 1_000_000)


def digest(body: Body) -> str:
    """What tells a repeated event from another one under the same id: a hash of the fields that were sent.

    Args:
        body: the event.
    """
    sent = json.dumps(body.model_dump(mode="json", exclude_unset=True), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(sent.encode()).hexdigest()[:32]


def readable_history(events: Sequence[PastEvent], now: int, *, gap: int) -> History:
    """An anonymous shopper's history; events without a time lie ``gap`` apart, the last one just before now.

    Args:
        events: oldest first.
        now: microseconds since 1970 UTC.
        gap: microseconds.

    Raises:
        RefusedError: an event lacks its item or query, has one in excess, or lies in the future.
    """
    faults: list[Fault] = []
    times: list[int] = []
    for place, event in enumerate(events):
        search = event.type == "search"
        for name, needed in (("item_id", not search), ("query", search)):
            given = getattr(event, name) is not None
            if given != needed:
                wrong = "missing" if needed else "present"
                faults.append(Fault(field=f"history.{place}.{name}", problem=f"{wrong} on an event of type {event.type}"))
        time = now - gap * (len(events) - place) if event.timestamp is None else microseconds(event.timestamp)
        if time >= now:
            faults.append(
                Fault(field=f"history.{place}.timestamp", problem=f"not before now, which is {moment(now):%Y-%m-%dT%H:%M:%S} UTC here")
            )
        times.append(time)
    if faults:
        raise invalid(*faults)
    pairs = [(str(event.type), plain(event.query or "") if event.type == "search" else str(event.item_id)) for event in events]
    return History.empty().extended(pairs, times)
