"""The tagger: pools of sentences through scoring and answering, on several threads where there is enough for them."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count, groupby, islice, pairwise
from pathlib import Path
from typing import NamedTuple

import torch

from tagger import model_dir
from tagger.data import schemes
from tagger.data.batching import batch_limit, split_into_batches
from tagger.data.document_context import PassageNumbering, number_passages
from tagger.data.formats.lines import words
from tagger.data.sentence import Sentence
from tagger.data.windows import Window, windows
from tagger.device import current_stream, is_out_of_memory, own_stream, processors, torch_device
from tagger.errors import DataError
from tagger.model import TaggerModel
from tagger.tagging import forking
from tagger.tagging.decoding import TAGS_ALONE, Answer, Decoder, DecodingOptions
from tagger.tagging.scorer import End, Scores
from tagger.tagging.scorer_choice import scoring
from tagger.tagging.span_tags import SpanTags

log = logging.getLogger(__name__)
_FEEDERS = {"cpu": 1, "cuda": 3}  # threads: while a GPU computes, batches are built and answers are put together
_MOST_TOLD = 20  # notices of a kind
_LARGE_TOKENS = 1 << 17  # of a pool that takes so much memory that no other is read beside it
_FIRST_POOL, _LARGEST_POOL = 32, 1024  # sentences; the first is small so that the first result comes soon


BATCH_TOKENS, MAX_TOKENS = 4096, 1000


def load(
    path: str | Path,
    *,
    device: str = "auto",
    batch_tokens: int = BATCH_TOKENS,
    max_tokens: int = MAX_TOKENS,
    workers: int | None = None,
    cache_bytes: int | None = None,
) -> "Tagger":
    """Returns the tagger of a model directory.

    On a CPU, memory grows with each new word until the tables of words take `cache_bytes`.

    Args:
        path: the directory.
        device: auto, cpu or cuda.
        batch_tokens: as Tagger takes it.
        max_tokens: likewise.
        workers: likewise.
        cache_bytes: likewise.

    Raises:
        ModelError: the directory is missing, damaged or of another format, or the model's scores are not finite.
        ConfigError: there is no such device.
    """
    place = torch_device(device)
    model = model_dir.load(Path(path))[0]
    return Tagger(
        model, place, batch_tokens=batch_tokens, max_tokens=max_tokens, workers=workers, cache_bytes=cache_bytes
    )


class _Work(NamedTuple):
    """A pool that is being tagged.

    Attributes:
        pool: its sentences.
        places: which sentence each window is of.
        batches: windows that are tagged at once, and what gives their answers.
        end: to be called when it is over.
        before_next: whether its answers are computed before the next pool is read.
    """

    pool: Sequence[Sentence]
    places: list[tuple[int, Window]]
    batches: list[tuple[list[int], Callable[[], list[Answer]]]]
    end: End
    before_next: bool


class _Turns:
    """The turns of batches that are computed beside others, and of those that need all memory for themselves."""

    def __init__(self) -> None:
        self._begin()
        forking.register(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._beside, self._alone = 0, False

    def before_fork(self) -> None:
        """Waits for nothing: the child begins anew."""

    def after_fork(self, *, in_child: bool) -> None:
        """Forgets, in the child, the batches of threads that are not there."""
        if in_child:
            self._begin()

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Runs a block when none runs alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._beside += 1
        try:
            yield
        finally:
            with self._changed:
                self._beside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Runs a block when no other runs."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._beside)
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()


class _Notices:
    """Tells of the first long sentences of a stream what windows do to them, then once that there are more."""

    def __init__(self, answers: DecodingOptions, max_tokens: int) -> None:
        self._windows = f"tagged in windows of {max_tokens} tokens{answers.lost_in_windows}"
        self._spans = "spans cut by windows have no probability"
        self._kept = "; the threshold keeps them" * (answers.threshold is not None)
        self._told: Counter[str] = Counter()

    def windows(self, sentence: Sentence) -> None:
        """Tells of a sentence that it is tagged in windows."""
        self._tell(sentence, self._windows, "more sentences are tagged in windows")

    def spans(self, sentence: Sentence, count: int) -> None:
        """Tells how many spans of a sentence have no probability."""
        self._tell(sentence, f"{count} {self._spans}{self._kept}", f"more {self._spans}")

    def _tell(self, sentence: Sentence, what: str, more: str) -> None:
        self._told[more] += 1
        if self._told[more] <= _MOST_TOLD:
            log.info("%s: %s", _told(sentence), what)
        elif self._told[more] == _MOST_TOLD + 1:
            log.info("%s", more)


class Tagger:
    """Tags sentences with a trained network, with its weights as they are now.

    Args:
        model: the model.
        device: where to compute.
        batch_tokens: tokens in a batch at most, padding counted; a longer sentence is a batch by itself.
        max_tokens: longer sentences are tagged in overlapping windows of so many tokens.
        workers: threads that compute on a CPU, as many as this process may use processors if None.
        cache_bytes: on a CPU, the memory that tables of words may take beyond what sentences under way need; 2**28
            (256 MB) if None. A small one forgets words sooner, and each word that is new takes longer.

    Raises:
        ValueError: a limit is below 1.
    """

    def __init__(
        self,
        model: TaggerModel,
        device: torch.device,
        *,
        batch_tokens: int = BATCH_TOKENS,
        max_tokens: int = MAX_TOKENS,
        workers: int | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        limits = {
            "batch_tokens": batch_tokens,
            "max_tokens": max_tokens,
            "workers": workers,
            "cache_bytes": cache_bytes,
        }
        for name, limit in limits.items():
            if limit is not None and limit < 1:
                raise ValueError(f"{name} must be at least 1, got {limit}")
        self._limits = limits
        self.model, self.device = model, device
        self._batch_tokens, self._max_tokens = batch_tokens, max_tokens
        self._scoring = scoring(model, device, cache_bytes)
        self._turns = _Turns()
        self._spelt = SpanTags(model.tags.items) if model.scheme else None
        self._workers = (workers or processors()) if self._scoring.shared else _FEEDERS.get(device.type, 1)

    @property
    def uses_document_context(self) -> bool:
        """Whether the tags of a sentence depend on the others of its document."""
        return self.model.network.embedding.document_context is not None

    @property
    def cache_hit_rate(self) -> float | None:
        """The share of the tokens so far whose word was remembered; None where words are not."""
        return self._scoring.cache_hit_rate

    def limits_affecting_scores(self) -> dict[str, int]:
        """Returns the limits, by option, that a different last digit of an answer may come from."""
        return {} if self._scoring.shared else {"batch_tokens": self._batch_tokens}

    def __reduce__(self) -> tuple[Callable[..., "Tagger"], tuple[object, ...]]:
        """Returns the model and the limits alone, for another process; words are learnt anew there."""
        return _remade, (self.model, self.device, self._limits)

    def tag(
        self,
        sentences: Iterable[str | Sequence[str] | Sentence],
        *,
        probabilities: bool = False,
        threshold: float | None = None,
        nbest: int = 0,
    ) -> list[Sentence]:
        """Returns the sentences with tags and spans, in their order.

        A string is split at spaces and tabs; anything else is taken as tokens. Either is a document by itself, while
        Sentences are of one document where neighbours have the same number of it.

        Args:
            sentences: what to tag.
            probabilities: give spans, and tags outside of them, their probability; in a sentence of over
                max_tokens that given their window, and none to spans that are cut by windows.
            threshold: leave out spans less probable than this; those without a probability stay, which a notice tells.
            nbest: give each sentence so many of the most probable ways to tag it.

        Raises:
            TypeError: a single string is given in place of sentences, or what is no sentence or no token.
            ValueError: a token is empty.
            ConfigError: what is asked for makes no sense for the model.
        """
        if isinstance(sentences, str):
            raise TypeError("tag() takes a list of sentences; put a single one in a list")
        return list(self.stream(map(_sentence, sentences, count()), DecodingOptions(probabilities, threshold, nbest)))

    def stream(
        self,
        sentences: Iterable[Sentence],
        answers: DecodingOptions = TAGS_ALONE,
        *,
        on_batch: Callable[[], None] = lambda: None,
    ) -> Iterator[Sentence]:
        """Yields the sentences with tags and spans, in their order, reading some two thousand ahead at most.

        Args:
            sentences: what to tag; one without tokens passes through.
            answers: what is asked beyond the tags.
            on_batch: called after each batch, so that a caller can break off by raising.
        """
        pools = _pools_of_documents(sentences) if self.uses_document_context else _pools(iter(sentences))
        for pool in self.tag_pools(pools, answers, on_batch=on_batch):
            yield from pool

    def tag_pools(
        self,
        pools: Iterable[Sequence[Sentence]],
        answers: DecodingOptions = TAGS_ALONE,
        *,
        on_batch: Callable[[], None] = lambda: None,
    ) -> Iterator[list[Sentence]]:
        """Yields each pool tagged, in order; while one of several batches is computed the next is read.

        The sentences of a pool are batched by length; arguments as those of `stream`.
        """
        answering = Decoder(self.model, self._spelt, answers)
        under_way: deque[_Work] = deque()
        notices = _Notices(answers, self._max_tokens)
        caller = current_stream(self.device)
        with ThreadPoolExecutor(self._workers, "tagging", own_stream, (caller,)) as threads:
            try:
                for pool in pools:
                    under_way.append(self._begun(pool, notices, answering, threads))
                    # What is too little for threads does not wait for the next pool, which may be slow to come.
                    while len(under_way) > 1 or (under_way and under_way[0].before_next):
                        yield self._finished(under_way.popleft(), on_batch, notices)
                while under_way:
                    yield self._finished(under_way.popleft(), on_batch, notices)
            finally:
                threads.shutdown(cancel_futures=True)
                for work in under_way:
                    work.end()

    def _begun(
        self, pool: Sequence[Sentence], notices: "_Notices", answering: Decoder, threads: ThreadPoolExecutor
    ) -> _Work:
        places = [
            (number, window)
            for number, sentence in enumerate(pool)
            if sentence.tokens
            for window in windows(len(sentence.tokens), self._max_tokens)
        ]
        for number, window in places:
            if not window.start and window.stop < len(pool[number]):
                notices.windows(pool[number])
        lengths = [window.stop - window.start for _, window in places]
        numbers = number_passages(pool) if self.uses_document_context else range(len(pool))
        scores, end = self._scoring.begin(
            [pool[number].tokens[window.start : window.stop] for number, window in places],
            [numbers[number] for number, _ in places],
        )
        try:
            order = sorted(range(len(places)), key=lengths.__getitem__, reverse=True)
            cuts = list(split_into_batches(order, lengths, batch_limit(max_tokens=self._batch_tokens)))
            small = len(cuts) < 2 and sum(lengths) <= BATCH_TOKENS  # not worth a thread
            work = [partial(_answers, scores, answering, self._turns, positions) for positions in cuts]
            waiting = work if small else [threads.submit(each).result for each in work]
        except BaseException:
            end()
            raise
        before_next = small or sum(lengths) > _LARGE_TOKENS
        return _Work(pool, places, list(zip(cuts, waiting, strict=True)), end, before_next)

    def _finished(self, work: _Work, on_batch: Callable[[], None], notices: "_Notices") -> list[Sentence]:
        found: list[Answer] = [_NOTHING] * len(work.places)
        try:
            for positions, result in work.batches:
                for position, answer in zip(positions, result(), strict=True):
                    found[position] = answer
                on_batch()
        finally:
            work.end()
        tagged = list(work.pool)
        for number, parts in groupby(zip(work.places, found, strict=True), lambda part: part[0][0]):
            sentence, whole = work.pool[number], [(window, answer) for (_, window), answer in parts]
            answer = whole[0][1] if len(whole) == 1 else self._stitched(whole)
            if answer.probabilities and (unknown := sum(span.probability is None for span in answer.spans)):
                notices.spans(sentence, unknown)
            tagged[number] = Sentence(
                sentence.tokens,
                tags=answer.tags,
                spans=answer.spans,
                document=sentence.document,
                line=sentence.line,
                raw=sentence.raw,
                offsets=sentence.offsets,
                source=sentence.source,
                probabilities=answer.probabilities,
                alternatives=answer.alternatives,
            )
        return tagged

    def _stitched(self, parts: Sequence[tuple[Window, Answer]]) -> Answer:
        """Returns the answer for a sentence from those for its windows.

        A span that no window shows whole has no probability; there are no alternatives.
        """
        kept = [
            (answer, first - window.start, last - window.start)
            for (window, answer), (first, last) in zip(parts, pairwise(_seams(parts)), strict=True)
        ]
        tags = tuple(tag for answer, first, last in kept for tag in answer.tags[first:last])
        probabilities = tuple(number for answer, first, last in kept for number in answer.probabilities[first:last])
        if self.model.scheme is None:
            return Answer(tags, (), probabilities)
        known = {
            (span.type, window.start + span.start, window.start + span.end): span.probability
            for (window, _), (answer, first, last) in zip(parts, kept, strict=True)
            for span in answer.spans
            if first <= span.start and span.end <= last
        }
        spans = schemes.spans_of(tags)
        spans = tuple(replace(span, probability=known.get((span.type, span.start, span.end))) for span in spans)
        return Answer(schemes.tags_of(spans, len(tags), self.model.scheme), spans, probabilities)


def _remade(model: TaggerModel, device: torch.device, limits: Mapping[str, int]) -> Tagger:
    return Tagger(model, device, **limits)


_NOTHING = Answer(())


def _seams(parts: Sequence[tuple[Window, Answer]]) -> list[int]:
    """Returns where windows begin and end to be kept: near the middle of what two share, within no span of either."""
    seams = [0]
    for pair in pairwise(parts):
        (before, _), (after, _) = pair
        within = {
            window.start + token
            for window, answer in pair
            for span in answer.spans
            for token in range(span.start + 1, span.end)
        }
        free = (place for place in range(max(seams[-1], after.start), before.stop + 1) if place not in within)
        middle = max(seams[-1], before.last)
        seams.append(min(free, key=lambda place: abs(place - middle), default=middle))
    return [*seams, parts[-1][0].stop]


def _answers(scores: Scores, answering: Decoder, turns: _Turns, positions: Sequence[int]) -> list[Answer]:
    """Returns the answers for sentences; if there is no memory for all, those of each half by itself.

    A sentence for which there is none waits until no other batch is computed.

    Raises:
        DataError: there is none for a sentence even so.
    """
    try:
        with turns.beside():
            return answering.of(*scores(positions))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    # Not within the handler: the error holds what was computed.
    if len(positions) > 1:
        half = len(positions) // 2
        parts = positions[:half], positions[half:]
        return [answer for part in parts for answer in _answers(scores, answering, turns, part)]
    with turns.alone():
        torch.cuda.empty_cache()  # does nothing where no GPU is used
        try:
            return answering.of(*scores(positions))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise DataError("there is no memory for one sentence; lower `max_tokens`") from error


def _pools(sentences: Iterator[Sentence]) -> Iterator[list[Sentence]]:
    size = _FIRST_POOL
    while pool := list(islice(sentences, size)):
        yield pool
        size = min(2 * size, _LARGEST_POOL)


def _pools_of_documents(sentences: Iterable[Sentence]) -> Iterator[list[Sentence]]:
    """Yields pools that end where a passage does."""
    size, numbers, before = _FIRST_POOL, PassageNumbering(), 0
    pool: list[Sentence] = []
    for sentence in sentences:
        passage = numbers.assign(sentence.document, len(sentence))
        if len(pool) >= size and passage != before:
            yield pool
            pool, size = [], min(2 * size, _LARGEST_POOL)
        pool.append(sentence)
        before = passage
    if pool:
        yield pool


def _told(sentence: Sentence) -> str:
    return f"line {sentence.line}, {len(sentence)} tokens" if sentence.line else f"a sentence of {len(sentence)} tokens"


def _sentence(given: str | Iterable[str] | Sentence, number: int) -> Sentence:
    if isinstance(given, str):
        given = Sentence(words(given), document=number)
    elif not isinstance(given, Sentence):
        if isinstance(given, bytes | Set | Mapping) or not isinstance(given, Iterable):
            raise TypeError(f"a sentence is a string or a list of tokens, got {given!r}")
        given = Sentence(tuple(given), document=number)
    for token in given.tokens:
        if not isinstance(token, str):
            raise TypeError(f"a token is a string, got {token!r}")
    if not all(given.tokens):
        raise ValueError(f"a token of {given.tokens!r} is empty")
    return given
