"""The service under load on one core, decisions durable, beside `mlflow models serve` with the same weights in the same run.

    python -m benchmarks.serving                     20,000 shoppers, 50 candidates a request, 8 connections, 30 seconds each
    python -m benchmarks.serving --no-peer           the service alone

A closed loop on loopback from a second process: the service has one core and the load generator another. The shop is made of the
embedded market (profile ci, trained once and kept in .run/bench-serving). Every acknowledged answer is looked up in the service's
log after the run. Prints a table, writes a page that says where the time goes, and as its last line one JSON object.
"""

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure.

    Args:
        arguments: of the command line; the process's own when None.

    Returns:
        0 when every bar holds, else 1.
    """
    from benchmarks.serving.measure import measure  # here: the load generator is part of this package, and must stay light

    return measure(arguments)
