"""Scores by what is remembered where that can be, else by the network as it is, with results that are near."""

import logging
import sys
import threading
from collections.abc import Sequence

import pytest
import torch

from tagger.data.batching import Batch, WordEncoder
from tagger.data.sentence import Sentence
from tagger.errors import DataError
from tagger.tagging import DecodingOptions, Tagger
from tagger.tagging import tagger as tagging
from tagger.tagging.scorer import TorchScorer
from tests.tagging.models import CPU, make_model, sentences, tagger

SENTENCES = sentences(60, longest=20)
EVERYTHING = DecodingOptions(probabilities=True, nbest=2)


def all_of(model: Tagger, answers: DecodingOptions = EVERYTHING) -> list[Sentence]:
    return list(model.stream(SENTENCES, answers))


def plain(**model: object) -> Tagger:
    """Returns a tagger that scores by the network."""
    made = tagger(make_model(**model))  # type: ignore[arg-type]
    made._scoring = TorchScorer(made.model, CPU)
    return made


def assert_near(left: list[Sentence], right: list[Sentence]) -> None:
    assert [sentence.tags for sentence in left] == [sentence.tags for sentence in right]
    for one, other in zip(left, right, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_what_is_remembered_and_the_network_say_the_same() -> None:
    assert_near(all_of(tagger(make_model())), all_of(plain()))


def test_a_network_with_attention_is_asked_itself() -> None:
    made = make_model(encoder={"hidden_size": 12, "attention_heads": 4})
    model = tagger(made)
    assert isinstance(model._scoring, TorchScorer)
    assert model.cache_hit_rate is None
    assert_near(all_of(model), all_of(tagger(made, batch_tokens=1)))


def test_a_network_in_float64_is_asked_itself() -> None:
    made = make_model()
    expected = all_of(tagger(made))
    made.network.double()
    model = tagger(made)
    assert isinstance(model._scoring, TorchScorer)
    assert_near(all_of(model), expected)


def test_hits_are_told_as_a_share() -> None:
    model = tagger(make_model())
    assert model.cache_hit_rate == 0.0
    all_of(model)
    distinct = len({token for sentence in SENTENCES for token in sentence.tokens} | {"a"})
    assert model.cache_hit_rate == pytest.approx(1 - distinct / (1 + sum(map(len, SENTENCES))))


@pytest.mark.parametrize("what", ["import", "compiling"])
def test_where_nothing_can_be_compiled_the_network_is_asked_and_that_is_said_once(
    what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = all_of(plain())
    if what == "import":
        monkeypatch.setitem(sys.modules, "tagger.tagging.cached_scorer", None)
    else:
        from tagger.nn.kernels import recurrence

        def fail(*_: object) -> None:
            raise RuntimeError("no compiler for this processor")

        monkeypatch.setattr(recurrence, "run", fail)
    model = tagger(make_model())
    assert isinstance(model._scoring, TorchScorer)
    assert all_of(model) == expected
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "nothing can be compiled here" in record.message


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_asked_in_evaluation_even_by_several_threads(training: bool) -> None:
    model = plain(dropout={"input": 0.9, "output": 0.9})
    model._batch_tokens = 100
    model.model.network.eval()
    expected = all_of(model)
    model.model.network.train(training)
    found: list[list[Sentence]] = []
    threads = [threading.Thread(target=lambda: found.append(all_of(model))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
    assert model.model.network.training == training


def test_a_pool_of_one_batch_is_not_scored_while_another_is_in_training_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    model = plain(dropout={"input": 0.9, "output": 0.9})
    inside, most = 0, 0
    lock, honest = threading.Lock(), type(model.model.network).forward

    def forward(self: torch.nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.002)
        try:
            assert not self.training
            return honest(self, *inputs)  # type: ignore[arg-type]
        finally:
            with lock:
                inside -= 1

    monkeypatch.setattr(type(model.model.network), "forward", forward)
    model._batch_tokens = 100
    model.model.network.train()
    list(model.tag_pools([SENTENCES[:2], SENTENCES, SENTENCES[:2], SENTENCES]))
    assert most == 1


def test_what_feeds_a_gpu_builds_batches_while_one_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_model(encoder={"hidden_size": 12, "attention_heads": 4})
    expected = all_of(tagger(made, batch_tokens=100))
    monkeypatch.setitem(tagging._FEEDERS, "cpu", 3)
    built, overlapped = threading.Semaphore(0), []
    forward, batch = type(made.network).forward, WordEncoder.batch

    def slowly(self: torch.nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
        if not overlapped:
            overlapped.append(built.acquire(timeout=5) and built.acquire(timeout=5))
        return forward(self, *inputs)  # type: ignore[arg-type]

    def build(self: WordEncoder, *given: object) -> Batch:
        found = batch(self, *given)  # type: ignore[arg-type]
        built.release()
        return found

    monkeypatch.setattr(type(made.network), "forward", slowly)
    monkeypatch.setattr(WordEncoder, "batch", build)
    assert all_of(tagger(made, batch_tokens=100)) == expected
    assert overlapped == [True]


def limited(model: Tagger, most: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lets scoring fail above so many tokens; returns the list that the sizes tried will be in."""
    honest, tried = model._scoring.begin, []

    def begin(words: Sequence[Sequence[str]], passages: Sequence[int]) -> object:
        scores, end = honest(words, passages)

        def careful(positions: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
            size = len(positions) * max(len(words[position]) for position in positions)
            tried.append(size)
            if size > most:
                raise error
            return scores(positions)

        return careful, end

    monkeypatch.setattr(model._scoring, "begin", begin)
    return tried


NO_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried to"),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_a_batch_that_finds_no_memory_is_halved_until_it_does(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = all_of(tagger(make_model()))
    model = tagger(make_model(), workers=2, batch_tokens=300)
    tried = limited(model, 45, error, monkeypatch)
    assert all_of(model) == expected
    assert max(tried) > 200


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_a_sentence_that_never_fits_is_an_error_that_says_what_to_do(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tagger(make_model())
    limited(model, 10, error, monkeypatch)
    with pytest.raises(DataError, match="no memory for one sentence; lower `max_tokens`"):
        all_of(model)
    assert not model._scoring.memory._under_way  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_a_sentence_that_fits_only_alone_waits_for_the_others(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = all_of(tagger(make_model()))
    model = tagger(make_model(), workers=3, batch_tokens=1)
    honest, lock, inside, failed = model._scoring.begin, threading.Lock(), [0], []

    def begin(words: Sequence[Sequence[str]], passages: Sequence[int]) -> object:
        scores, end = honest(words, passages)

        def crowded(positions: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
            with lock:
                inside[0] += 1
            try:
                threading.Event().wait(0.002)
                if inside[0] > 1:
                    failed.append(positions)
                    raise error
                return scores(positions)
            finally:
                threading.Event().wait(0.002)
                with lock:
                    inside[0] -= 1

        return crowded, end

    monkeypatch.setattr(model._scoring, "begin", begin)
    assert all_of(model) == expected
    assert failed


@pytest.mark.parametrize("error", [RuntimeError("size mismatch"), ValueError("wrong"), KeyboardInterrupt()], ids=repr)
def test_another_fault_is_not_taken_for_it(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tagger(make_model(), batch_tokens=300)
    tried = limited(model, 10, error, monkeypatch)
    with pytest.raises(type(error)):
        all_of(model)
    assert len(tried) <= 3 + len(SENTENCES) // 10  # nothing was tried again in halves


def test_answers_that_find_no_memory_are_halved_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tagger(make_model())
    expected = all_of(model)
    head = type(model.model.network.head)
    honest = head.best_paths

    def best_paths(self: object, emissions: torch.Tensor, lengths: torch.Tensor, *, count: int) -> object:
        if len(emissions) > 3:
            raise MemoryError
        return honest(self, emissions, lengths, count=count)  # type: ignore[arg-type]

    monkeypatch.setattr(head, "best_paths", best_paths)
    assert all_of(model) == expected
