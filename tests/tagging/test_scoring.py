"""Scores by what is remembered where that can be, else by the network as it is, with results that are near."""

import logging
import sys
import threading
from collections.abc import Sequence

import pytest
import torch

from tagger.data.batching import Batch
from tagger.data.sentence import Sentence
from tagger.data.word_arrays import WordEncoder
from tagger.errors import DataError
from tagger.nn.crf.linear_chain import LinearChain
from tagger.tagging import DecodingOptions, Tagger
from tagger.tagging import tagger as tagging
from tagger.tagging.scorer import PreparedPool, TorchScorer
from tests.tagging.models import CPU, make_model, sentences, tagger

SENTENCES = sentences(60, longest=20)
EVERYTHING = DecodingOptions(probabilities=True, nbest=2)


def tag_all(model: Tagger, answers: DecodingOptions = EVERYTHING) -> list[Sentence]:
    return list(model.stream(SENTENCES, answers))


def make_torch_tagger(**model: object) -> Tagger:
    """Returns a tagger that scores by the network."""
    torch_tagger = tagger(make_model(**model))  # type: ignore[arg-type]
    torch_tagger._scorer = TorchScorer(torch_tagger.model, CPU)
    return torch_tagger


def assert_near(left: list[Sentence], right: list[Sentence]) -> None:
    assert [sentence.tags for sentence in left] == [sentence.tags for sentence in right]
    for one, other in zip(left, right, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_the_cached_scorer_and_the_torch_network_agree() -> None:
    assert_near(tag_all(tagger(make_model())), tag_all(make_torch_tagger()))


def test_a_network_with_attention_uses_the_torch_scorer() -> None:
    random_model = make_model(encoder={"hidden_size": 12, "attention_heads": 4})
    model = tagger(random_model)
    assert isinstance(model._scorer, TorchScorer)
    assert model.cache_hit_rate is None
    assert_near(tag_all(model), tag_all(tagger(random_model, batch_tokens=1)))


def test_a_network_in_float64_uses_the_torch_scorer() -> None:
    random_model = make_model()
    expected = tag_all(tagger(random_model))
    random_model.network.double()
    model = tagger(random_model)
    assert isinstance(model._scorer, TorchScorer)
    assert_near(tag_all(model), expected)


def test_the_cache_hit_rate_is_a_fraction_of_tokens() -> None:
    model = tagger(make_model())
    assert model.cache_hit_rate == 0.0
    tag_all(model)
    distinct = len({token for sentence in SENTENCES for token in sentence.tokens} | {"a"})
    assert model.cache_hit_rate == pytest.approx(1 - distinct / (1 + sum(map(len, SENTENCES))))


@pytest.mark.parametrize("what", ["import", "compiling"])
def test_the_torch_scorer_is_used_with_one_warning_where_kernels_cannot_be_compiled(
    what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = tag_all(make_torch_tagger())
    if what == "import":
        monkeypatch.setitem(sys.modules, "tagger.tagging.cached_scorer", None)
    else:
        from tagger.nn.kernels import recurrence

        def fail(*_: object) -> None:
            raise RuntimeError("no compiler for this processor")

        monkeypatch.setattr(recurrence, "run", fail)
    model = tagger(make_model())
    assert isinstance(model._scorer, TorchScorer)
    assert tag_all(model) == expected
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "compiled kernels do not work here" in record.message


@pytest.mark.parametrize("training", [True, False])
def test_the_network_scores_in_evaluation_mode_even_in_several_threads(training: bool) -> None:
    model = make_torch_tagger(dropout={"input": 0.9, "output": 0.9})
    model._batch_tokens = 100
    model.model.network.eval()
    expected = tag_all(model)
    model.model.network.train(training)
    actual: list[list[Sentence]] = []
    threads = [threading.Thread(target=lambda: actual.append(tag_all(model))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert actual == [expected] * 4
    assert model.model.network.training == training


def test_a_pool_of_one_batch_is_not_scored_while_another_is_in_training_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_torch_tagger(dropout={"input": 0.9, "output": 0.9})
    inside, max_size = 0, 0
    lock, honest = threading.Lock(), type(model.model.network).forward

    def forward(self: torch.nn.Module, inputs: Batch) -> torch.Tensor:
        nonlocal inside, max_size
        with lock:
            inside += 1
            max_size = max(max_size, inside)
        threading.Event().wait(0.002)
        try:
            assert not self.training
            return honest(self, inputs)  # type: ignore[arg-type]
        finally:
            with lock:
                inside -= 1

    monkeypatch.setattr(type(model.model.network), "forward", forward)
    model._batch_tokens = 100
    model.model.network.train()
    list(model.tag_pools([SENTENCES[:2], SENTENCES, SENTENCES[:2], SENTENCES]))
    assert max_size == 1


def test_feeder_threads_build_batches_while_one_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    random_model = make_model(encoder={"hidden_size": 12, "attention_heads": 4})
    expected = tag_all(tagger(random_model, batch_tokens=100))
    monkeypatch.setitem(tagging._FEEDERS, "cpu", 3)
    built, overlapped = threading.Semaphore(0), []
    forward, batch = type(random_model.network).forward, WordEncoder.arrays

    def slowly(self: torch.nn.Module, inputs: Batch) -> torch.Tensor:
        if not overlapped:
            overlapped.append(built.acquire(timeout=60) and built.acquire(timeout=60))
        return forward(self, inputs)  # type: ignore[arg-type]

    def build(self: WordEncoder, *arguments: object) -> Batch:
        actual = batch(self, *arguments)  # type: ignore[arg-type]
        built.release()
        return actual

    monkeypatch.setattr(type(random_model.network), "forward", slowly)
    monkeypatch.setattr(WordEncoder, "arrays", build)
    assert tag_all(tagger(random_model, batch_tokens=100)) == expected
    assert overlapped == [True]


def limit_memory(model: Tagger, max_size: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lets scoring fail above so many tokens; returns the list that the sizes tried will be in."""
    original, sizes = model._scorer.prepare, []

    def prepare(words: Sequence[Sequence[str]], passages: Sequence[int]) -> PreparedPool:
        pool = original(words, passages)

        def careful(positions: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
            size = len(positions) * max(len(words[position]) for position in positions)
            sizes.append(size)
            if size > max_size:
                raise error
            return pool.score(positions)

        return pool._replace(score=careful)

    monkeypatch.setattr(model._scorer, "prepare", prepare)
    return sizes


NO_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried to"),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_a_batch_is_halved_until_it_fits_into_memory(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tag_all(tagger(make_model()))
    model = tagger(make_model(), workers=2, batch_tokens=300)
    sizes = limit_memory(model, 45, error, monkeypatch)
    assert tag_all(model) == expected
    assert max(sizes) > 200


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_a_sentence_that_never_fits_into_memory_gives_an_error_with_advice(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tagger(make_model())
    limit_memory(model, 10, error, monkeypatch)
    with pytest.raises(DataError, match="no memory for one sentence; lower `max_tokens`"):
        tag_all(model)
    assert not model._scorer.cache._active  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_a_sentence_that_fits_into_memory_only_alone_waits_for_other_batches(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = tag_all(tagger(make_model()))
    model = tagger(make_model(), workers=3, batch_tokens=1)
    original, lock, inside, failed = model._scorer.prepare, threading.Lock(), [0], []

    def prepare(words: Sequence[Sequence[str]], passages: Sequence[int]) -> PreparedPool:
        pool = original(words, passages)

        def crowded(positions: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
            with lock:
                inside[0] += 1
            try:
                threading.Event().wait(0.002)
                if inside[0] > 1:
                    failed.append(positions)
                    raise error
                return pool.score(positions)
            finally:
                threading.Event().wait(0.002)
                with lock:
                    inside[0] -= 1

        return pool._replace(score=crowded)

    monkeypatch.setattr(model._scorer, "prepare", prepare)
    assert tag_all(model) == expected
    assert failed


@pytest.mark.parametrize("error", [RuntimeError("size mismatch"), ValueError("wrong"), KeyboardInterrupt()], ids=repr)
def test_other_errors_are_not_taken_for_exhausted_memory(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tagger(make_model(), batch_tokens=300)
    sizes = limit_memory(model, 10, error, monkeypatch)
    with pytest.raises(type(error)):
        tag_all(model)
    assert len(sizes) <= 3 + len(SENTENCES) // 10  # nothing was tried again in halves


def test_a_batch_is_halved_when_decoding_exhausts_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tagger(make_model())
    expected = tag_all(model)
    honest = LinearChain.best_paths

    def best_paths(self: LinearChain, count: int) -> object:
        if len(self.scores.emissions) > 3:
            raise MemoryError
        return honest(self, count)

    monkeypatch.setattr(LinearChain, "best_paths", best_paths)
    assert tag_all(model) == expected
