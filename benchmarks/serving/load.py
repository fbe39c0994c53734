"""The load generator: a closed loop over keep-alive connections, in a process of its own, light enough not to be what is measured.

python -m benchmarks.serving.load PLAN.json       writes what it saw into the file that the plan names
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Plan:
    """What to send.

    Attributes:
        host: address.
        port: of it.
        path: of the route.
        bodies: a file with one JSON body a line; sent in turn.
        connections: each has one request in the air at any time.
        warm_up: seconds before anything is counted.
        seconds: that are counted.
        core: processor core to stay on; −1 for any.
        found: the file to write: one line of totals, then one JSON line a counted answer.
    """

    host: str
    port: int
    path: str
    bodies: str
    connections: int
    warm_up: float
    seconds: float
    core: int
    found: str

    def save(self, path: Path) -> None:
        """Write the plan.

        Args:
            path: a JSON file.
        """
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


@dataclass
class Seen:
    """What came back while it counted.

    Attributes:
        started: clock when counting began.
        stops: clock when the last request may be sent.
        latencies: seconds from the first byte sent to the last byte read.
        answers: bodies of the answers with status 200, those of the warm-up too.
        errors: other answers, and connections that broke.
        last: clock of the last counted answer.
    """

    started: float
    stops: float
    latencies: list[float] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    last: float = 0.0


class _Connection(asyncio.Protocol):
    """Sends a request, reads its answer, sends the next."""

    def __init__(self, requests: Sequence[bytes], first: int, step: int, seen: Seen) -> None:
        self._requests = requests
        self._next = first
        self._step = step
        self._seen = seen
        self._buffer = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        if time.perf_counter() >= self._seen.stops:
            self._transport.close()
            return
        request = self._requests[self._next % len(self._requests)]
        self._next += self._step
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        start = head.find(b"content-length:")
        if start < 0:
            self._seen.errors.append("an answer without content-length")
            if self._transport is not None:
                self._transport.close()
            return
        size = int(head[start + 15 :].split(b"\r\n", 1)[0])
        if len(self._buffer) < end + 4 + size:
            return
        now = time.perf_counter()
        body, self._buffer = self._buffer[end + 4 : end + 4 + size], self._buffer[end + 4 + size :]
        if head[9:12] == b"200":
            self._seen.answers.append(body)
            if self._sent >= self._seen.started:
                self._seen.latencies.append(now - self._sent)
                self._seen.last = now
        else:
            self._seen.errors.append(f"{head[:40].decode()}: {body[:200].decode(errors='replace')}")
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None or time.perf_counter() < self._seen.stops:
            self._seen.errors.append(f"a connection broke: {error}")
        if not self.done.done():
            self.done.set_result(None)


def requests_of(plan: Plan) -> list[bytes]:
    """Whole HTTP requests, made before the clock runs.

    Args:
        plan: names the bodies.
    """
    head = f"POST {plan.path} HTTP/1.1\r\nhost: {plan.host}:{plan.port}\r\ncontent-type: application/json\r\ncontent-length: "
    bodies = Path(plan.bodies).read_bytes().splitlines()
    return [head.encode() + str(len(body)).encode() + b"\r\n\r\n" + body for body in bodies]


async def drive(plan: Plan) -> Seen:
    """Send until the time is over.

    Args:
        plan: what to send.
    """
    requests = requests_of(plan)
    loop = asyncio.get_running_loop()
    started = time.perf_counter() + plan.warm_up
    seen = Seen(started, started + plan.seconds)
    lines = [
        (
            await loop.create_connection(
                lambda place=place: _Connection(requests, place, plan.connections, seen),  # type: ignore[misc]
                plan.host,
                plan.port,
            )
        )[1]
        for place in range(plan.connections)
    ]
    await asyncio.gather(*(line.done for line in lines))
    return seen


def main() -> int:
    """Run a plan."""
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    if plan.core >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {plan.core})
    seen = asyncio.run(drive(plan))
    latencies = np.array(seen.latencies or [float("nan")]) * 1000
    spent = max(seen.last - seen.started, 1e-9)
    totals = {
        "requests": len(seen.latencies),
        "seconds": spent,
        "rps": len(seen.latencies) / spent,
        **{f"p{q}_ms": float(np.percentile(latencies, q)) for q in (50, 90, 99)},
        "max_ms": float(latencies.max()),
        "errors": len(seen.errors),
        "first_error": seen.errors[0] if seen.errors else "",
        "cpu_seconds": time.process_time(),
    }
    Path(plan.found).write_bytes(b"\n".join([json.dumps(totals).encode(), *seen.answers]) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
