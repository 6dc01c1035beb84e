"""Counters of the requests that this gateway has answered."""

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, ProcessCollector

from service.telemetry.request import RequestNotes

_PAIRS = 200
"""So many pairs of model and language are told apart, that many series bounded; later ones are `other`."""
_OTHER = ("other", "other")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Seconds: from a listing to a generation that waits for its model."""


class RequestMetrics:
    """`registry` has these, and what the process needs of memory and CPU."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._requests = Counter(
            "polymerge_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "polymerge_request_seconds",
            "From the request to the end of its answer; model and language are empty where none is asked.",
            ("route", "model", "language"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._tokens = Counter(
            "polymerge_tokens",
            "Tokens of prompts (in) and answers (out), as engines and judges counted them.",
            ("direction", "model", "language"),
            registry=self.registry,
        )
        self._pairs = {("", "")}

    def observe(
        self, method: str, route: str, status: int | None, seconds: float, notes: RequestNotes
    ) -> None:
        """A request is over; `status` is None when it had no answer."""
        pair = self._pair(notes)
        # Clients may send any word.
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status or "none")).inc()
        self._seconds.labels(route, *pair).observe(seconds)
        if notes.tokens_in or notes.tokens_out:
            self._tokens.labels("in", *pair).inc(notes.tokens_in)
            self._tokens.labels("out", *pair).inc(notes.tokens_out)

    def _pair(self, notes: RequestNotes) -> tuple[str, str]:
        pair = notes.model or "", notes.language or ""
        if pair not in self._pairs:
            if len(self._pairs) > _PAIRS:
                return _OTHER
            self._pairs.add(pair)
        return pair
