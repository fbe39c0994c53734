"""Starts services in processes of their own within a moment: everything is imported once, and each service is forked from here.

A line of JSON on stdin asks for one, {"folder": …, "port": …}; a line on stdout names its process.
"""

import gc
import json
import os
import signal
import sys
import traceback
from pathlib import Path

import tiny_shop as tiny

from core.environment import limit_threads
from serving.server import run


def main() -> None:
    """Start what is asked for until stdin ends."""
    limit_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the killed are not waited for
    gc.freeze()
    _say("ready")
    for line in sys.stdin:
        wanted = json.loads(line)
        child = os.fork()
        if child == 0:
            out = os.open(Path(wanted["folder"]) / "service.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(out, 1)
            os.dup2(out, 2)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            folder = Path(wanted["folder"])
            try:
                run(tiny.settings_in(folder), host="127.0.0.1", port=wanted["port"])
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        _say(str(child))


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
