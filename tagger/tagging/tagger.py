"""The tagger, which scores and decodes pools of sentences in several threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tagger import model_dir, model_names
from tagger.data import schemes
from tagger.data.batch_order import batch_limit, split_into_batches
from tagger.data.calibration import Calibration
from tagger.data.document_context import number_passages
from tagger.data.sentence import Sentence, attach_spans
from tagger.data.windows import Window, split_into_windows
from tagger.device import count_processors, current_stream, select_device, use_new_stream
from tagger.model import TaggerModel
from tagger.tagging.batch_memory import MemoryGate, tag_batch
from tagger.tagging.decoding import TAGS_ONLY, Candidates, Decoder, DecodingOptions, Prediction
from tagger.tagging.long_sentences import WindowLog, WindowNotice, drop_unrated, split_candidates, stitch
from tagger.tagging.pools import build_sentence_pools
from tagger.tagging.scorer import PreparedPool
from tagger.tagging.scorer_choice import create_scorer
from tagger.tagging.sentence_tagger import PrecisionLog, SentenceTagger, Stream
from tagger.tagging.span_tags import SpanTags
from tagger.transformer.hidden_state_cache import HiddenStateCache

BATCH_TOKENS, MAX_TOKENS = 4096, 1000
_FEEDERS = {"cpu": 1, "cuda": 3}  # threads that build batches and decode while a GPU computes
LARGE_POOL_TOKENS = 1 << 17
"""Tokens above which a pool is finished before the next one is read, to bound the memory."""


def load(
    model: str | Path,
    *,
    revision: str | None = None,
    device: str = "auto",
    batch_tokens: int = BATCH_TOKENS,
    max_tokens: int = MAX_TOKENS,
    workers: int | None = None,
    cache_bytes: int | None = None,
) -> "Tagger":
    """Returns the tagger of a model.

        tagger.load("runs/mine/model-best")
        tagger.load("USER/NAME", revision="v1")

    Args:
        model: a model directory, or a name on the Hugging Face Hub: `USER/NAME`, or `hub:USER/NAME@REVISION`, which
            is never taken for a directory. A model of the Hub is downloaded once, into the Hub's cache, and verified.
        revision: the commit, tag or branch on the Hub; None for the newest.
        device: auto, cpu, cuda or cuda:N.
        batch_tokens: as in `Tagger`.
        max_tokens: as in `Tagger`.
        workers: as in `Tagger`.
        cache_bytes: as in `Tagger`.

    Raises:
        ModelError: the directory is missing, damaged or of another format; the Hub has no such model, or it cannot be
            downloaded; or the model's scores are not finite.
        ConfigError: the device is not available, or the name is not valid.
    """
    target = select_device(device)
    loaded = model_dir.load(model_names.find(model, revision, is_prefix_optional=True))[0]
    return Tagger(
        loaded, target, batch_tokens=batch_tokens, max_tokens=max_tokens, workers=workers, cache_bytes=cache_bytes
    )


Notify = Callable[[WindowNotice], None]


class EncodedPool(NamedTuple):
    """A pool of sentences, encoded and split into batches; it does not depend on the model's weights.

    Attributes:
        sentences: the pool.
        windows: each window, with its sentence's position in the pool.
        batches: positions in `windows`, by batch.
        tokens: the number of tokens in all windows.
        prepared: the windows, prepared by the scorer.
    """

    sentences: Sequence[Sentence]
    windows: list[tuple[int, Window]]
    batches: list[list[int]]
    tokens: int
    prepared: PreparedPool


class _Batch(NamedTuple):
    """The positions of a batch's windows in its pool, and a function that waits for their predictions."""

    positions: list[int]
    result: Callable[[], list[Prediction]]


class _Work(NamedTuple):
    """A pool that is being tagged.

    Attributes:
        pool: the pool, to be released.
        batches: its batches.
        is_blocking: whether the pool is finished before the next one is read.
    """

    pool: EncodedPool
    batches: list[_Batch]
    is_blocking: bool


class Tagger(SentenceTagger):
    """Tags sentences with a trained model.

    A tagger may be used from several threads at once. It can be pickled: the model and the limits are stored, and the
    word cache starts empty. It works in child processes, forked (also while other threads are tagging) or spawned.

    Args:
        model: the model. Later changes of its weights take effect with `update_weights`.
        device: the device to compute on.
        batch_tokens: maximum number of tokens in a batch, padding included; a longer sentence is a batch by itself.
        max_tokens: maximum length of a sentence that is tagged as a whole; longer sentences are tagged in overlapping
            windows of this length.
        workers: number of threads on a CPU; None for all CPU cores.
        cache_bytes: maximum size of the word cache on a CPU, 2**28 (256 MB) if None. Memory grows with each new word
            until the cache is full; then the least recently used words are evicted, and computed again when needed.
        hidden_state_cache: the cache of a frozen transformer's hidden states; None to compute them for each pool. It
            is not pickled.

    Raises:
        ValueError: a limit is below 1.
        ModelError: the model's scores are not finite.
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
        hidden_state_cache: HiddenStateCache | None = None,
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
        threads = workers or count_processors()
        self._scorer = create_scorer(model, device, cache_bytes, hidden_state_cache=hidden_state_cache, threads=threads)
        self._gate, self._precision_log = MemoryGate(), PrecisionLog()
        # The hidden states of a transformer are cached by passage, also if it reads single sentences.
        self._has_passages = self.uses_document_context or model.transformer is not None
        self._span_tags = SpanTags(model.tags.items) if model.scheme else None
        self._is_untyped = self._span_tags is not None and self._span_tags.types == [schemes.UNTYPED]
        self._workers = threads if self._scorer.is_concurrent else _FEEDERS.get(device.type, 1)

    @property
    def span_types(self) -> tuple[str, ...]:
        """The types of the spans that the model finds, sorted; none for plain tags."""
        return tuple(self._span_tags.types) if self._span_tags else ()

    @property
    def uses_document_context(self) -> bool:
        """Whether the tags of a sentence depend on the other sentences of its document."""
        return self.model.config.model.reads_documents

    @property
    def cache_hit_rate(self) -> float | None:
        """Fraction of tokens so far whose word was in the word cache; None without a word cache."""
        return self._scorer.cache_hit_rate

    def with_calibration(self, calibration: Calibration) -> "Tagger":
        """Returns a tagger with another calibration, which shares the network and the word cache."""
        tagger = object.__new__(Tagger)
        changes = {"model": replace(self.model, calibration=calibration), "_precision_log": PrecisionLog()}
        vars(tagger).update(vars(self) | changes)
        return tagger

    def with_workers(self, workers: int) -> "Tagger":
        """Returns a tagger with another number of threads on a CPU, which shares the network and the word cache."""
        tagger = object.__new__(Tagger)
        vars(tagger).update(vars(self) | {"_workers": workers, "_limits": self._limits | {"workers": workers}})
        return tagger

    @property
    def max_tokens(self) -> int:
        """The maximum length of a sentence that is tagged as a whole."""
        return self._max_tokens

    @property
    def workers(self) -> int:
        """The number of threads that tag on a CPU, or that prepare batches for a GPU."""
        return self._workers

    @property
    def is_forkable(self) -> bool:
        """Whether forked processes, with a thread each, can tag instead of threads, with the same results."""
        return self._scorer.is_concurrent and self.model.transformer is None

    def limits_affecting_scores(self) -> dict[str, int]:
        """Returns the limits, by parameter name, that may change the last digits of probabilities."""
        return {} if self._scorer.is_concurrent else {"batch_tokens": self._batch_tokens}

    def __reduce__(self) -> tuple[Callable[..., "Tagger"], tuple[object, ...]]:
        """Returns the model, the device and the limits; the word cache is not pickled."""
        return _restore, (self.model, self.device, self._limits)

    @property
    def default_language(self) -> str:
        """The ISO code of the language of texts if none is given."""
        return self.model.config.data.language

    @property
    def trained_tokenizer(self) -> str | None:
        """The tokenizer of the texts that the model was trained on; None if it was trained on tokens."""
        return self.model.config.data.tokenizer

    def open_stream(
        self, *, probabilities: bool, threshold: float | None, precision: float | None, nbest: int
    ) -> Stream:
        """Returns a function that tags a stream of sentences; the options are those of `tag`."""
        options = DecodingOptions(probabilities, threshold, nbest, precision=precision)
        return partial(self.stream, options=options)

    def stream(
        self,
        sentences: Iterable[Sentence],
        options: DecodingOptions = TAGS_ONLY,
        *,
        on_batch: Callable[[], None] = lambda: None,
    ) -> Iterator[Sentence]:
        """Yields the sentences with tags and spans, in their order, reading about two thousand ahead at most.

        Args:
            sentences: what to tag; a sentence without tokens is yielded unchanged.
            options: what to compute besides tags and spans.
            on_batch: called after each batch; an exception that it raises ends the stream.
        """
        pools = build_sentence_pools(sentences, by_passage=self._has_passages)
        for pool in self.tag_pools(pools, options, on_batch=on_batch):
            yield from pool

    def tag_pools(
        self,
        pools: Iterable[Sequence[Sentence]],
        options: DecodingOptions = TAGS_ONLY,
        *,
        on_batch: Callable[[], None] = lambda: None,
        on_notice: Notify | None = None,
    ) -> Iterator[list[Sentence]]:
        """Yields each pool tagged, in order; a pool of several batches is computed while the next one is read.

        The sentences of a pool are batched by length.

        Args:
            pools: what to tag.
            options: as for `stream`.
            on_batch: as for `stream`.
            on_notice: called with what windows do to long sentences; None to log it.
        """
        return self.tag_encoded(map(self._encode, pools), options, on_batch=on_batch, on_notice=on_notice)

    def encode(self, sentences: Iterable[Sentence]) -> list[EncodedPool]:
        """Returns sentences as pools that `tag_encoded` can tag repeatedly, also after `update_weights`.

        The pools stay in memory as long as the tagger, and so do their words in the word cache. They cannot
        be used in a process that another thread forks.
        """
        self._scorer.retain_words()
        pools = map(self._encode, build_sentence_pools(sentences, by_passage=self._has_passages))
        return [pool._replace(prepared=pool.prepared._replace(release=lambda: None)) for pool in pools]

    def update_weights(self) -> None:
        """Tags with the model's current weights from now on; no thread may be tagging.

        Raises:
            ModelError: the model's scores are not finite.
        """
        self._scorer.update_weights()

    def tag_encoded(
        self,
        pools: Iterable[EncodedPool],
        options: DecodingOptions = TAGS_ONLY,
        *,
        on_batch: Callable[[], None] = lambda: None,
        on_notice: Notify | None = None,
    ) -> Iterator[list[Sentence]]:
        """Yields the sentences of each pool tagged, in order; arguments are those of `tag_pools`."""
        decoder = Decoder(self.model, self._span_tags, options)
        self._precision_log.add(options.precision, decoder.imprecise_types)
        active: deque[_Work] = deque()
        notify = on_notice or WindowLog(options, self._max_tokens).add
        caller = current_stream(self.device)
        with ThreadPoolExecutor(self._workers, "tagging", use_new_stream, (caller,)) as threads:
            try:
                for pool in pools:
                    active.append(self._start(pool, notify, decoder, threads))
                    # A pool too small for threads is finished before the next one is read, which may take long.
                    while len(active) > 1 or (active and active[0].is_blocking):
                        yield self._finish(active.popleft(), on_batch, notify, options)
                while active:
                    yield self._finish(active.popleft(), on_batch, notify, options)
            finally:
                threads.shutdown(cancel_futures=True)
                for work in active:
                    work.pool.prepared.release()

    def _encode(self, pool: Sequence[Sentence]) -> EncodedPool:
        windows = [
            (position, window)
            for position, sentence in enumerate(pool)
            if sentence.tokens
            for window in split_into_windows(len(sentence.tokens), self._max_tokens)
        ]
        lengths = [window.stop - window.start for _, window in windows]
        order = sorted(range(len(windows)), key=lengths.__getitem__, reverse=True)
        batches = list(split_into_batches(order, lengths, batch_limit(max_tokens=self._batch_tokens)))
        passages = number_passages(pool) if self._has_passages else range(len(pool))
        prepared = self._scorer.prepare(
            [pool[position].tokens[window.start : window.stop] for position, window in windows],
            [passages[position] for position, _ in windows],
        )
        return EncodedPool(pool, windows, batches, sum(lengths), prepared)

    def _start(self, pool: EncodedPool, notify: Notify, decoder: Decoder, threads: ThreadPoolExecutor) -> _Work:
        try:
            for position, window in pool.windows:
                if not window.start and window.stop < len(pool.sentences[position]):
                    sentence = pool.sentences[position]
                    notify(WindowNotice(sentence.line, len(sentence)))
            is_small = len(pool.batches) < 2 and pool.tokens <= BATCH_TOKENS  # not worth a thread
            candidates = self._find_candidates(pool) if decoder.options.candidates else None
            predict = partial(_predict, pool.prepared, decoder, candidates)
            tasks = [partial(tag_batch, predict, self._gate, batch) for batch in pool.batches]
            results = tasks if is_small else [threads.submit(task).result for task in tasks]
        except BaseException:
            pool.prepared.release()
            raise
        is_blocking = is_small or pool.tokens > LARGE_POOL_TOKENS
        return _Work(pool, list(map(_Batch, pool.batches, results)), is_blocking)

    def _find_candidates(self, pool: EncodedPool) -> list[Candidates]:
        """Returns the candidates of each window: its sentence's spans, or plain tags."""
        by_window: list[Candidates] = []
        for position, windows in groupby(pool.windows, lambda entry: entry[0]):
            sentence = pool.sentences[position]
            candidates = sentence.tags if self._span_tags is None else sentence.spans
            by_window += split_candidates(candidates, [window for _, window in windows])
        return by_window

    def _finish(
        self, work: _Work, on_batch: Callable[[], None], notify: Notify, options: DecodingOptions
    ) -> list[Sentence]:
        sentences, windows, _, _, prepared = work.pool
        predictions: list[Prediction] = [_NO_PREDICTION] * len(windows)
        try:
            for batch in work.batches:
                for position, prediction in zip(batch.positions, batch.result(), strict=True):
                    predictions[position] = prediction
                on_batch()
        finally:
            prepared.release()
        tagged = list(sentences)
        for position, prediction in self._join_windows(windows, predictions, len(sentences)):
            sentence = sentences[position]
            if options.precision is not None and self.model.scheme:
                prediction = drop_unrated(prediction, self.model.scheme)
            if prediction.probabilities and (unknown := sum(span.probability is None for span in prediction.spans)):
                notify(WindowNotice(sentence.line, len(sentence), unknown))
            tagged[position] = _add_prediction(sentence, _without_type(prediction) if self._is_untyped else prediction)
        return tagged

    def _join_windows(
        self, windows: Sequence[tuple[int, Window]], predictions: Sequence[Prediction], sentence_count: int
    ) -> Iterator[tuple[int, Prediction]]:
        """Yields the position and the prediction of each sentence that has windows."""
        if [position for position, _ in windows] == list(range(sentence_count)):  # mostly, each sentence has one
            yield from enumerate(predictions)
            return
        for position, entries in groupby(zip(windows, predictions, strict=True), lambda entry: entry[0][0]):
            parts = [(window, prediction) for (_, window), prediction in entries]
            yield position, parts[0][1] if len(parts) == 1 else stitch(parts, self.model.scheme)


def _predict(
    pool: PreparedPool, decoder: Decoder, candidates: Sequence[Candidates] | None, positions: Sequence[int]
) -> list[Prediction]:
    """Returns the predictions for the windows of a batch, given their positions in the pool."""
    selected = None if candidates is None else [candidates[position] for position in positions]
    return decoder.decode(*pool.score(positions), selected)


def _without_type(prediction: Prediction) -> Prediction:
    """Returns a prediction of spans without a type, with tags such as `B`."""
    alternatives = tuple(replace(other, tags=schemes.without_type(other.tags)) for other in prediction.alternatives)
    return prediction._replace(tags=schemes.without_type(prediction.tags), alternatives=alternatives)


def _add_prediction(sentence: Sentence, prediction: Prediction) -> Sentence:
    tagged = Sentence(
        sentence.tokens,
        tags=prediction.tags,
        document=sentence.document,
        line=sentence.line,
        raw=sentence.raw,
        offsets=sentence.offsets,
        source=sentence.source,
        probabilities=prediction.probabilities,
        alternatives=prediction.alternatives,
        candidate_probabilities=prediction.candidates,
        uncertainty=prediction.uncertainty,
    )
    if prediction.spans:
        attach_spans(tagged, prediction.spans)
    return tagged


def _restore(model: TaggerModel, device: torch.device, limits: Mapping[str, Any]) -> Tagger:
    return Tagger(model, device, **limits)


_NO_PREDICTION = Prediction(())
