"""Where things live that are dear to make and cheap to lose: built encoder weights, raw vectors, training checkpoints."""

import os
from pathlib import Path

CACHE_VARIABLE = "ADLOOM_CACHE"


def cache_folder(name: str) -> Path:
    """A folder of the cache; deleting it costs time, never results.

    Args:
        name: what is kept there, such as ``vectors``.

    Returns:
        The folder under ADLOOM_CACHE, or under data/cache of the working folder when that is not set.
    """
    return Path(os.environ.get(CACHE_VARIABLE) or Path("data") / "cache") / name
