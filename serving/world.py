"""Whose shoppers these are: the key that hides them, and what time it is for them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from core.errors import ServiceError
from core.files import read_json
from core.identity import check_fingerprint, fingerprint, user_key
from serving.clock import Clock, wall_clock
from serving.settings import CleanData
from serving.store import Store, claim
from serving.warm import warm_start

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class World:
    """The data that the service belongs to.

    Attributes:
        key: users are hashed with it; never written.
        fingerprint: of the key.
        clock: the shoppers' time.
        data_version: of the clean tables that online state starts from.
        synthetic: True for the market: its shoppers are nobody.
    """

    key: bytes
    fingerprint: str
    clock: Clock
    data_version: str
    synthetic: bool

    def now(self) -> int:
        """Microseconds since 1970 UTC, in the shoppers' time."""
        return self.clock.now()

    @classmethod
    def open(cls, database: Store, data: CleanData, wall: Callable[[], int] = wall_clock) -> "World":
        """Read lineage.json, check the key, and let online state start from the clean tables.

        Args:
            database: the service's.
            data: the clean tables.
            wall: the wall clock; tests give another.

        Raises:
            ServiceError: there are no clean tables.
            IdentityError: real users and no key, or another key than data or database were hashed with.
        """
        if not data.lineage.is_file():
            raise ServiceError(f"{data.lineage}: no such file, so there are no data to serve from: run the loop with `make run`.")
        lineage = read_json(data.lineage)
        key = user_key(synthetic=bool(lineage["synthetic"]))
        check_fingerprint(str(lineage["user_key_fingerprint"]), key)
        claim(database, fingerprint(key))
        warm_start(database, data, str(lineage["data_version"]))
        synthetic = bool(lineage["synthetic"])
        clock = Clock(database, synthetic=synthetic, data_end=datetime.fromisoformat(str(lineage["end"])), wall=wall)
        return cls(key, fingerprint(key), clock, str(lineage["data_version"]), synthetic)
