"""The worker: one thread that owns the models and tags the requests of many clients together."""

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple

from tagger.choices import Scheme
from tagger.data import schemes
from tagger.data.sentence import Record, Sentence
from tagger.errors import ConfigError, DataError, TaggerError
from tagger.serving.endpoints import Endpoint
from tagger.serving.limits import INTERNAL_ERROR, Limits, RequestError
from tagger.serving.metrics import Metrics
from tagger.serving.queries import Query, TaggingOptions
from tagger.serving.served_models import ServedModel, ServedModels

log = logging.getLogger(__name__)
_MAX_BATCH_BYTES = 1 << 16  # bodies that are tagged together, some ten thousand tokens
_MAX_BATCH_CALLS = 256


class Reply(NamedTuple):
    """The answer to a request: the HTTP status and, if it is 200, the body, else the errors."""

    status: int
    body: bytes = b""
    errors: tuple[str, ...] = ()


@dataclass(eq=False, slots=True)
class Call:
    """A request in the queue.

    Attributes:
        endpoint: parses the body.
        body: the body.
        model: the name of the model in the path, if any.
        future: receives the answer; a call whose future is done is not tagged any more.
        arrival: when it was put into the queue, by the monotonic clock.
    """

    endpoint: Endpoint
    body: bytes
    model: str | None
    future: "asyncio.Future[Reply]"
    arrival: float = field(default_factory=time.monotonic)


class CallQueue:
    """The calls that wait, in the order of their arrival.

    Args:
        max_calls: the number of calls that may wait.
        batch_wait: seconds that a call waits for others.
        on_change: is called with the number of calls when it has changed.
    """

    def __init__(
        self, max_calls: int, batch_wait: float, *, on_change: Callable[[int], None] = lambda length: None
    ) -> None:
        self._max_calls, self._batch_wait, self._on_change = max_calls, batch_wait, on_change
        self._calls: OrderedDict[Call, None] = OrderedDict()  # removes any call at once, unlike a deque
        self._size, self._is_closed = 0, False
        self._lock = threading.Lock()
        self._has_calls, self._has_batch = threading.Condition(self._lock), threading.Condition(self._lock)

    def __len__(self) -> int:
        return len(self._calls)

    def put(self, call: Call) -> bool:
        """Adds a call; returns whether there was room for it."""
        with self._lock:
            if len(self._calls) >= self._max_calls or self._is_closed:
                return False
            self._calls[call] = None
            self._size += len(call.body)
            if len(self._calls) == 1:
                self._has_calls.notify()
            if self._is_full():
                self._has_batch.notify()
            self._on_change(len(self._calls))
            return True

    def remove(self, call: Call) -> None:
        """Removes a call that nobody waits for any more, unless it was taken."""
        with self._lock:
            if call in self._calls:
                del self._calls[call]
                self._size -= len(call.body)
                self._on_change(len(self._calls))

    def close(self) -> None:
        """Refuses further calls; `take` returns the remaining ones, then none."""
        with self._lock:
            self._is_closed = True
            self._has_calls.notify()
            self._has_batch.notify()

    def take(self) -> list[Call]:
        """Waits for calls and returns the next batch of them; none if the queue is closed and empty."""
        with self._lock:
            while True:
                self._has_calls.wait_for(lambda: self._calls or self._is_closed)
                if self._calls and not self._is_full():
                    rest = self._first().arrival + self._batch_wait - time.monotonic()
                    self._has_batch.wait_for(lambda: self._is_full() or self._is_closed, max(rest, 0))
                batch = self._take_batch()
                if batch or self._is_closed:  # else all calls were removed in the meantime
                    return batch

    def _take_batch(self) -> list[Call]:
        batch: list[Call] = []
        size = 0
        while self._calls and len(batch) < _MAX_BATCH_CALLS:
            size += len(self._first().body)
            if batch and size > _MAX_BATCH_BYTES:
                break
            batch.append(self._calls.popitem(last=False)[0])
            self._size -= len(batch[-1].body)
        self._on_change(len(self._calls))
        return batch

    def _first(self) -> Call:
        return next(iter(self._calls))

    def _is_full(self) -> bool:
        return self._size >= _MAX_BATCH_BYTES or len(self._calls) >= _MAX_BATCH_CALLS


class Worker:
    """Tags the calls of a queue in a thread of its own, from `start` to `stop`.

    Args:
        models: the models.
        limits: the limits of requests.
        metrics: counts batches and tokens.
    """

    def __init__(self, models: ServedModels, limits: Limits, metrics: Metrics) -> None:
        self.queue = CallQueue(limits.max_queue, limits.batch_wait, on_change=metrics.set_queue_length)
        self._models, self._limits, self._metrics = models, limits, metrics
        self._thread = threading.Thread(target=self._run, name="tagging requests", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Waits until the calls in the queue are answered, for some seconds at most."""
        self.queue.close()
        self._thread.join(timeout)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while calls := self.queue.take():
            active = [call for call in calls if not call.future.done()]
            try:
                replies = list(self._reply(active))
            except Exception:  # a bug outside of a single request: the server must go on
                log.exception("a batch of requests failed")
                replies = [_FAILED] * len(active)
            _deliver(active, replies)

    def _reply(self, calls: Sequence[Call]) -> Iterator[Reply]:
        """Yields the answer of each call; calls for the same model with the same options are tagged together."""
        start = time.monotonic()
        parsed = [self._parse(call) for call in calls]
        groups: dict[tuple[str, TaggingOptions], list[Query]] = {}
        for result in parsed:
            if isinstance(result, Query):
                groups.setdefault((result.model.name, result.options), []).append(result)
        bodies = {id(query): reply for group in groups.values() for query, reply in self._tag(group)}
        self._metrics.count_batch(len(calls), time.monotonic() - start)
        for result in parsed:
            yield bodies[id(result)] if isinstance(result, Query) else result

    def _parse(self, call: Call) -> Query | Reply:
        try:
            return call.endpoint(call.body, call.model, self._models, self._limits)
        except Exception as error:
            return _reply_to_error(error)

    def _tag(self, queries: list[Query]) -> Iterator[tuple[Query, Reply]]:
        """Yields each query with its answer; if tagging them together fails, tags each one alone."""
        try:
            bodies = list(tag_queries(queries))
        except Exception as error:
            if len(queries) > 1:
                for query in queries:
                    yield from self._tag([query])
                return
            yield queries[0], _reply_to_error(error)
            return
        tokens = sum(len(sentence) for query in queries for record in query.records for sentence in record.sentences)
        self._metrics.count_tokens(queries[0].model.name, tokens)
        yield from ((query, Reply(200, body)) for query, body in zip(queries, bodies, strict=True))


def tag_queries(queries: Sequence[Query]) -> Iterator[bytes]:
    """Yields the body of the answer to each query; all have the same model and options.

    Raises:
        ConfigError: the options do not fit the model.
        DataError: the memory is too small.
        ModelError: the model is damaged.
    """
    model, options = queries[0].model, queries[0].options
    sentences = list(_list_sentences(queries, model))
    tagged = chain.from_iterable(model.tagger.tag_pools([sentences] if sentences else [], options.decoding))
    for query in queries:
        yield query.write([_replace_sentences(record, tagged, options.scheme) for record in query.records])


def _list_sentences(queries: Iterable[Query], model: ServedModel) -> Iterator[Sentence]:
    """Yields the sentences that have tokens, numbered by document if the model reads documents."""
    records = (record for query in queries for record in query.records)
    for number, record in enumerate(records):
        for sentence in filter(len, record.sentences):
            yield replace(sentence, document=number) if model.tagger.uses_document_context else sentence


def _replace_sentences(record: Record, tagged: Iterator[Sentence], scheme: Scheme | None) -> Record:
    sentences = (
        schemes.encode_sentence(next(tagged), scheme) if sentence.tokens else sentence for sentence in record.sentences
    )
    return replace(record, sentences=tuple(sentences))


_FAILED = Reply(500, errors=(INTERNAL_ERROR,))


def _reply_to_error(error: Exception) -> Reply:
    if isinstance(error, RequestError):
        return Reply(error.status, errors=error.errors)
    if isinstance(error, ConfigError | DataError):
        return Reply(422, errors=error.faults)
    if isinstance(error, TaggerError):
        log.error("%s", error)
        return Reply(500, errors=error.faults)
    log.error("a request failed", exc_info=error)
    return _FAILED


def _deliver(calls: Sequence[Call], replies: Sequence[Reply]) -> None:
    """Gives each call its answer in the event loop of its client."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Call, Reply]]] = {}
    for call, reply in zip(calls, replies, strict=True):
        by_loop.setdefault(call.future.get_loop(), []).append((call, reply))
    for loop, pairs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_set_results, pairs)
        except RuntimeError:  # the loop was closed: nobody waits any more
            log.debug("%d answers had no receiver", len(pairs))


def _set_results(pairs: Iterable[tuple[Call, Reply]]) -> None:
    for call, reply in pairs:
        if not call.future.done():
            call.future.set_result(reply)
