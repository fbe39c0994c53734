"""Shoppers who ask and click from several threads, and remember what was acknowledged."""

import http.client
import json
import random
import threading
import time
import uuid
from dataclasses import dataclass, field

NETWORK = (OSError, http.client.HTTPException)


@dataclass
class Load:
    """A closed loop on loopback.

    Attributes:
        port: of the service.
        slates: request_id → positions of acknowledged slates.
        degraded: request_ids of slates that were marked so.
        events: event_ids of acknowledged behaviour.
        clicks: acknowledged (request_id, position).
        statuses: how often each status was answered, by path.
        slowest: seconds of the slowest answer to a request for ads.
    """

    port: int
    threads: int = 4
    slates: dict[str, int] = field(default_factory=dict)
    degraded: set[str] = field(default_factory=set)
    events: set[str] = field(default_factory=set)
    clicks: set[tuple[str, int]] = field(default_factory=set)
    statuses: dict[tuple[str, int], int] = field(default_factory=dict)
    retry_after: set[str] = field(default_factory=set)
    slowest: float = 0.0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._workers = [threading.Thread(target=self._work, args=(number,)) for number in range(self.threads)]

    def __enter__(self) -> "Load":
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        for worker in self._workers:
            worker.join()

    def acknowledged(self) -> int:
        return len(self.slates) + len(self.events) + len(self.clicks)

    def _work(self, number: int) -> None:
        rng = random.Random(number)
        open_slates: list[str] = []
        unsure: list[dict[str, object]] = []  # sent, and perhaps stored: sent again under the same id until acknowledged
        while not self._stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                while not self._stop.is_set():
                    self._ask(connection, rng, open_slates)
                    if not unsure:
                        unsure.append(self._event(rng, open_slates))
                    if self._tell(connection, unsure[0]):
                        unsure.pop()
            except NETWORK:
                time.sleep(0.1)
            finally:
                connection.close()

    def _ask(self, connection, rng, open_slates) -> None:
        since = time.monotonic()
        status, answer, _ = self._post(connection, "/v1/ads", {"user_id": f"u{rng.randrange(30)}", "k": 2, "scene": "promotion"})
        if status == 200:
            with self._lock:
                self.slowest = max(self.slowest, time.monotonic() - since)
                self.slates[answer["request_id"]] = len(answer["slate"])
                if answer["degraded"]:
                    self.degraded.add(answer["request_id"])
            open_slates.append(answer["request_id"])

    def _event(self, rng, open_slates) -> dict[str, object]:
        name = uuid.uuid4().hex
        if open_slates and rng.random() < 0.5:
            request = rng.choice(open_slates[-20:])
            return {"type": "click", "event_id": name, "request_id": request, "position": rng.randrange(self.slates[request])}
        return {"type": "view", "event_id": name, "user_id": f"u{rng.randrange(30)}", "item_id": f"p{rng.randrange(12)}"}

    def _tell(self, connection, event) -> bool:
        status, _, headers = self._post(connection, "/v1/events", {"events": [event]})
        if status == 200:
            with self._lock:
                if event["type"] == "click":
                    self.clicks.add((event["request_id"], event["position"]))
                self.events.add(event["event_id"])
        elif status == 503 and "retry-after" in headers:
            self.retry_after.add(headers["retry-after"])
        return status == 200

    def _post(self, connection, path, body):
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        told = json.loads(answer.read())
        with self._lock:
            self.statuses[path, answer.status] = self.statuses.get((path, answer.status), 0) + 1
        if answer.status == 503:
            time.sleep(0.1)  # it loads, or a server is away: asking on would only hold it up
        return answer.status, told, {name.lower(): value for name, value in answer.getheaders()}
