"""Remove what the loop made and can make again."""

import shutil
from pathlib import Path

from core.stage import DVC_FILE, read_graph
from flows.housekeeping import only_loop

CACHES = (
    ".dvc/cache",
    ".dvc/tmp",
    "data/cache/bundles",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    ".import_linter_cache",
)


def remove_outputs(root: Path) -> list[Path]:
    """Remove every output of dvc.yaml, dvc.lock and the caches; feedback, own data, the live log and the registry stay.

    Args:
        root: the project's folder.

    Returns:
        What was removed.

    Raises:
        StageError: a loop runs here.
    """
    with only_loop(root):
        outputs = [root / out for entry in read_graph(root / DVC_FILE).values() for out in entry.outs]
        found = [path for path in (*outputs, root / "dvc.lock", *(root / name for name in CACHES)) if path.exists()]
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    return [path.relative_to(root) for path in found]
