"""A pacer as a bundle: config.json and its arrays; no pickle."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from core.errors import BundleError
from models.bundle import load_arrays, read_config, save_arrays, writing_bundle
from models.pacing.booking import Booking, PacingSettings
from models.pacing.curve import TrafficCurve
from models.pacing.pacer import Pacer

KIND = "pacing"
ARRAYS = "learnt.safetensors"


def save_pacer(pacer: Pacer, path: Path) -> None:
    """Write a bundle, whole or not at all.

    Args:
        pacer: what to save.
        path: the bundle's folder; what stands there is replaced.
    """
    config = {"settings": asdict(pacer.settings), "campaigns": [booking.campaign_id for booking in pacer.bookings]}
    curves = np.array([curve.shares for curve in pacer.curves]).reshape(-1, 7, 24)
    with writing_bundle(path, KIND, config) as draft:
        save_arrays({**pacer.state(), "curves": curves}, draft / ARRAYS)


def load_pacer(path: Path, bookings: Sequence[Booking], curve: TrafficCurve | None = None) -> Pacer:
    """Read a bundle that `save_pacer` wrote, for the campaigns of now.

    Args:
        path: the bundle's folder.
        bookings: what is to be paced; a campaign that the bundle does not know begins anew.
        curve: of campaigns that the bundle does not know; `TrafficCurve.even` when None.

    Returns:
        The pacer; with the same bookings it goes on as if it had never been saved.

    Raises:
        BundleError: no such bundle, or one that lacks something.
    """
    config, arrays = read_config(path, KIND), load_arrays(path / ARRAYS)
    try:
        rows = {str(name): row for row, name in enumerate(config["campaigns"])}
        known = {name: TrafficCurve(arrays["curves"][row]) for name, row in rows.items()}
        curves = [known.get(b.campaign_id, curve or TrafficCurve.even()) for b in bookings]
        pacer = Pacer(bookings, curves, PacingSettings(**config["settings"]))
        pacer.take_over(arrays, rows)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BundleError(f"{path}: the state of pacing is incomplete or damaged ({error!r}). Remove the folder to begin anew.") from None
    return pacer
