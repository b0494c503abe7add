"""Counts of requests, batches and tokens, in the text format of Prometheus."""

from collections.abc import Iterator
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with the folder in which the processes of a server count."""
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_RESTARTS = "restarts"
_NOT_ADDED = ("process_start_time_seconds", "process_max_fds")
_REQUESTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one server.

    Args:
        folder: the folder in which all processes of the server count, named by `FOLDER_VARIABLE` since the start of
            the process; None for a server of one process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._rendered = self._registry if folder is None else CollectorRegistry()
        if folder is None:
            ProcessCollector(registry=self._registry)
        else:
            MultiProcessCollector(self._rendered, str(folder))  # type: ignore[no-untyped-call]
            self._rendered.register(_ProcessesCollector(folder))
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
        self._queue = Gauge(
            "tagger_queue_length",
            "Requests that wait to be tagged.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    def set_queue_length(self, length: int) -> None:
        """Shows the length of the queue."""
        self._queue.set(length)

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
        """Returns all metrics of all processes as text."""
        return generate_latest(self._rendered)


def forget_process(folder: Path, pid: int) -> None:
    """Removes the queue of a process that has ended; what it counted remains."""
    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def count_restart(folder: Path) -> None:
    """Counts a restart of a process that has died."""
    with (folder / _RESTARTS).open("ab") as file:
        file.write(b".")  # the size of the file is the count


class _ProcessesCollector(Collector):
    """CPU time, memory and open files of all running processes that count in a folder, added up; and restarts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """Yields the sums; the start time is that of the oldest process, the limit of files that of each process."""
        totals: dict[str, Metric] = {}
        for pid in self._list_processes():
            for metric in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                total = totals.setdefault(metric.name, metric)
                if total is not metric:
                    combine = min if metric.name in _NOT_ADDED else sum
                    pair = (total.samples[0], metric.samples[0])
                    total.samples[:] = [pair[0]._replace(value=combine([sample.value for sample in pair]))]
        yield from totals.values()
        restarts = self._folder / _RESTARTS
        yield CounterMetricFamily(
            "tagger_process_restarts",
            "Restarts of processes that died.",
            value=restarts.stat().st_size if restarts.exists() else 0,
        )

    def _list_processes(self) -> list[str]:
        """Returns the ids of the running processes, by the files of their queues."""
        return [path.stem.rpartition("_")[2] for path in sorted(self._folder.glob("gauge_livesum_*.db"))]
