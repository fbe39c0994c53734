"""The service as it is measured: `adloom serve` over the benchmark's shop, on one core, with its syncs counted.

python -m benchmarks.serving.service FOLDER PORT CORE NOTE.json
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path


def main() -> int:
    """Serve until told to stop, then note how often files were synced."""
    folder, port, core, note = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    if core >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    from benchmarks.serving.syncs import count_syncs

    syncs = count_syncs()

    from benchmarks.serving.world import Shop
    from serving.server import run

    with suppress(KeyboardInterrupt):
        run(Shop(folder, 0).settings(), host="127.0.0.1", port=port)
    note.write_text(json.dumps(None if syncs is None else {"log": syncs.log, "main": syncs.main}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
