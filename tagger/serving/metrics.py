"""Counts of requests, batches and tokens, in the text format of Prometheus."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_REQUESTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "tagger_requests", "Requests by path and status.", ("path", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "tagger_request_seconds",
            "Time to answer requests that tag.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._tokens = Counter("tagger_tokens", "Tokens tagged, by model.", ("model",), registry=self._registry)
        self._batches = Histogram(
            "tagger_batch_requests", "Requests that were tagged together.", buckets=_REQUESTS, registry=self._registry
        )
        self._batch_seconds = Histogram(
            "tagger_batch_seconds", "Time to tag a batch of requests.", buckets=_SECONDS, registry=self._registry
        )
        self._queue = Gauge("tagger_queue_length", "Requests that wait to be tagged.", registry=self._registry)

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Shows the length of the queue from now on, by a function that returns it."""
        self._queue.set_function(length)

    def count_request(self, path: str, status: int) -> None:
        """Counts an answered request."""
        self._requests.labels(path, str(status)).inc()

    def observe_seconds(self, seconds: float) -> None:
        """Adds the time that a request to tag took."""
        self._seconds.observe(seconds)

    def count_batch(self, requests: int, seconds: float) -> None:
        """Counts requests that were tagged together, and the time that they took."""
        self._batches.observe(requests)
        self._batch_seconds.observe(seconds)

    def count_tokens(self, model: str, tokens: int) -> None:
        """Adds tokens that a model tagged."""
        self._tokens.labels(model).inc(tokens)

    def render(self) -> bytes:
        """Returns all metrics as text."""
        return generate_latest(self._registry)
