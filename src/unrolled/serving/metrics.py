"""What Prometheus reads at /metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "unrolled_requests", "Requests by route and status.", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "unrolled_request_seconds",
            "From a request's arrival to its answer's end.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._rows = Histogram(
            "unrolled_turn_rows", "Sequences that ran in one call.", buckets=ROWS, registry=self.registry
        )
        self._turns = Histogram(
            "unrolled_turn_seconds", "What one such call took.", buckets=SECONDS, registry=self.registry
        )
        self.symbols = Counter(
            "unrolled_symbols",
            "Timesteps read and symbols drawn, but for what is read whole.",
            ["model"],
            registry=self.registry,
        )
        self.streams_closed = Counter(
            "unrolled_streams_closed", "Streams that are gone, by reason.", ["reason"], registry=self.registry
        )
        self.reloads = Counter(
            "unrolled_reloads", "Runs that were replaced on disk, by outcome.", ["outcome"], registry=self.registry
        )
        self.connections_closed = Counter(
            "unrolled_connections_closed", "Connections that the server ended, by reason.", ["reason"],
            registry=self.registry,
        )  # fmt: skip
        self.lanes_replaced = Counter(
            "unrolled_lanes_replaced", "Threads that failed and were replaced.", ["lane"], registry=self.registry
        )

    def gauge(self, name: str, help: str, value: Callable[[], float]) -> None:
        """A number that is asked for when it is read."""
        Gauge(name, help, registry=self.registry).set_function(value)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def turn(self, rows: int, seconds: float) -> None:
        """So many sequences ran in one call."""
        self._rows.observe(rows)
        self._turns.observe(seconds)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)
