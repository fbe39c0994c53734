"""What an operator watches, in Prometheus' text form."""

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from models.decision import Decision
from serving.api import Versions
from serving.condition import PARTS, Condition

_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)


class Stopwatch:
    """Adds up how long the stages of decisions take; for one thread."""

    def __init__(self, seconds: Counter, cpu_seconds: Counter, groups: Counter) -> None:
        """Args: seconds by stage, the thread's processor seconds by stage, and how often it was started."""
        self._seconds = seconds
        self._cpu_seconds = cpu_seconds
        self._groups = groups
        self._since = self._cpu_since = 0.0

    def start(self) -> "Stopwatch":
        """A group of requests begins."""
        self._groups.inc()
        self._since, self._cpu_since = time.perf_counter(), time.thread_time()
        return self

    def __call__(self, stage: str) -> None:
        """A stage has ended, and the next one begins.

        Args:
            stage: its name.
        """
        now, cpu_now = time.perf_counter(), time.thread_time()
        self._seconds.labels(stage).inc(now - self._since)
        self._cpu_seconds.labels(stage).inc(cpu_now - self._cpu_since)
        self._since, self._cpu_since = now, cpu_now


class Metrics:
    """Counts of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("adloom_requests", "Requests answered", ("route", "method", "status"), registry=self._registry)
        self.latency = Histogram("adloom_request_seconds", "Time to answer", ("route",), buckets=_BUCKETS, registry=self._registry)
        self.decisions = Counter("adloom_decisions", "Slates drawn and stored", ("scene", "channel"), registry=self._registry)
        self.groups = Counter(
            "adloom_decision_groups", "Groups of requests that were decided and committed together", registry=self._registry
        )
        self.stages = Counter("adloom_decision_stage_seconds", "Time spent on decisions, by stage", ("stage",), registry=self._registry)
        self.stages_cpu = Counter(
            "adloom_decision_stage_cpu_seconds", "Processor time spent on decisions, by stage", ("stage",), registry=self._registry
        )
        self.positions = Counter("adloom_positions", "Positions filled", registry=self._registry)
        self.explored = Counter(
            "adloom_explored_positions", "Positions filled with a creative that the policy does not think best", registry=self._registry
        )
        self.exploration_share = Gauge(
            "adloom_exploration_share", "Explored positions over filled ones, since the start", registry=self._registry
        )
        self.empty = Counter("adloom_empty_slates", "Requests that no creative fitted", registry=self._registry)
        self.events = Counter("adloom_events", "Events stored", ("kind",), registry=self._registry)
        self.duplicates = Counter("adloom_duplicate_events", "Events that were stored before", registry=self._registry)
        self.creatives = Counter("adloom_creatives", "Texts written on request", ("verdict",), registry=self._registry)
        self.log_failures = Counter(
            "adloom_log_failures", "Requests refused because their record could not be stored", registry=self._registry
        )
        self.degraded = Gauge("adloom_degraded", "1 while a server is away", ("part",), registry=self._registry)
        self.spilled = Counter(
            "adloom_spilled_decisions", "Slates stored on this machine because the log's server was away", registry=self._registry
        )
        self.drained = Counter("adloom_drained_decisions", "Slates moved from this machine into the log", registry=self._registry)
        self.swaps = Counter("adloom_champion_swaps", "Sets of champions put into service", registry=self._registry)
        self.ready = Gauge("adloom_ready", "1 when champions serve", registry=self._registry)
        self.models = Info("adloom_models", "Bundles in service, by the start of their hash", registry=self._registry)
        self._kinds: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._places: dict[tuple[str, str], Counter] = {}
        self._explored = self._filled = self._swaps = self._spilled = self._drained = 0

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            route: that answered.
            method: of the request.
            status: of the answer.
            seconds: that it took.
        """
        kind = (route, method, status)
        if kind not in self._kinds:
            self._kinds[kind] = (self.requests.labels(route, method, str(status)), self.latency.labels(route))
        answered, latency = self._kinds[kind]
        answered.inc()
        latency.observe(seconds)

    def count_decision(self, decision: Decision, scene: str, channel: str) -> None:
        """Count a slate.

        Args:
            decision: the slate.
            scene: of the request.
            channel: of the request.
        """
        if not decision.choices:
            self.empty.inc()
            return
        place = (scene, channel)
        if place not in self._places:
            self._places[place] = self.decisions.labels(scene, channel)
        self._places[place].inc()
        explored = sum([choice.explored for choice in decision.choices])
        self.positions.inc(len(decision.choices))
        if explored:
            self.explored.inc(explored)
        self._filled += len(decision.choices)
        self._explored += explored
        self.exploration_share.set(self._explored / self._filled)

    def count_events(self, kinds: Iterable[str], duplicates: int) -> None:
        """Count events.

        Args:
            kinds: of those stored now.
            duplicates: those stored before.
        """
        for kind in kinds:
            self.events.labels(kind).inc()
        self.duplicates.inc(duplicates)

    @property
    def exploration(self) -> tuple[int, int]:
        """Positions that were explored, and all that were filled, since the start of this process."""
        return self._explored, self._filled

    def page(self, versions: Versions | None, swaps: int, condition: Condition) -> bytes:
        """The page that Prometheus reads.

        Args:
            versions: of what serves, None when nothing does.
            swaps: sets put into service so far.
            condition: which servers are away.
        """
        away = condition.degraded
        for part in PARTS:
            self.degraded.labels(part).set(part in away)
        spilled, drained = condition.spilled, condition.drained
        self.spilled.inc(spilled - self._spilled)
        self.drained.inc(drained - self._drained)
        self._spilled, self._drained = spilled, drained
        self.ready.set(versions is not None)
        self.swaps.inc(swaps - self._swaps)
        self._swaps = swaps
        if versions is not None:
            self.models.info({kind: digest[:12] for kind, digest in versions.bundles.items()} | {"policy": versions.policy})
        return generate_latest(self._registry)
