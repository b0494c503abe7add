"""A tagger can be used from several threads, pickled, and used in forked and spawned processes."""

import multiprocessing
import os
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

import tagger
from tagger.tagging import Tagger
from tagger.tagging.scorer import TorchScorer
from tests.conftest import torch_threads
from tests.robustness.runs import SCALE

TEXTS = ["Ada lives in Paris .", "Grace lives in New York .", "Alan lives in Oslo ."]
_shared: list[Tagger] = []


@contextmanager
def tagging_threads(model: Tagger) -> Iterator[None]:
    """Tags in two threads, new words among them, until the block ends."""
    is_over = threading.Event()

    def work(number: int) -> None:
        for iteration in count():
            if is_over.is_set():
                return
            model.tag([f"word{number}x{iteration}x{index} lives in Paris ." for index in range(40)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def code_of_child(model: Tagger, expected: list[tuple[str, ...]]) -> int:
    """Forks, tags in the child, and returns its exit code: 0 if its tags are those expected, -9 after 20 seconds."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if [sentence.tags for sentence in model.tag(TEXTS)] == expected else 2
        finally:
            os._exit(code)
    end = time.monotonic() + 20
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.001)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python warns of any fork beside threads, since 3.12
@pytest.mark.parametrize("use_torch_scorer", [False, True])
def test_a_child_forked_while_other_threads_tag_gives_the_tags_of_its_parent(
    model_path: Path, use_torch_scorer: bool
) -> None:
    model = tagger.load(model_path, device="cpu", batch_tokens=64, workers=2)
    if use_torch_scorer:
        model._scorer = TorchScorer(model.model, model.device)
    expected = [sentence.tags for sentence in model.tag(TEXTS)]
    with torch_threads(2), tagging_threads(model):
        codes = [code_of_child(model, expected) for _ in range(4 * SCALE if use_torch_scorer else 20 * SCALE)]
        assert [sentence.tags for sentence in model.tag(TEXTS)] == expected
    assert set(codes) == {0}


def test_leases_of_threads_missing_in_a_child_are_released_there(model_path: Path) -> None:
    model = tagger.load(model_path, device="cpu")
    scorer = model._scorer
    pools = []
    thread = threading.Thread(target=lambda: pools.append(scorer.prepare([["abc"]], [0])))
    thread.start()
    thread.join()
    pools.append(scorer.prepare([["def"]], [0]))
    active = scorer.cache._active  # type: ignore[attr-defined]
    assert len(active) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        os._exit(len(active))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert len(active) == 2
    for pool in pools:
        pool.release()
    assert not active


def tags_of(text: str) -> tuple[str, ...]:
    return _shared[0].tag([text])[0].tags


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_pool_of_forked_processes_uses_a_tagger_of_the_parent(model_path: Path) -> None:
    _shared[:] = [tagger.load(model_path, device="cpu")]
    expected = [tags_of(text) for text in TEXTS]
    with tagging_threads(_shared[0]), multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(tags_of, TEXTS * 10).get(60) == expected * 10
    _shared.clear()


def test_a_pickled_tagger_gives_the_same_tags(model_path: Path) -> None:
    model = tagger.load(model_path, device="cpu", max_tokens=7, cache_bytes=10**6)
    restored = pickle.loads(pickle.dumps(model))  # noqa: S301  # our own
    assert [sentence.tags for sentence in restored.tag(TEXTS)] == [sentence.tags for sentence in model.tag(TEXTS)]
    assert restored._limits == model._limits


def tags_in_child(model: Tagger, texts: list[str]) -> list[tuple[str, ...]]:
    return [sentence.tags for sentence in model.tag(texts)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_tagger_passed_to_a_new_process_gives_the_same_tags(model_path: Path, method: str) -> None:
    model = tagger.load(model_path, device="cpu", workers=2)
    expected = tags_in_child(model, TEXTS)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply_async(tags_in_child, (model, TEXTS)).get(300) == expected


def test_several_threads_share_a_tagger_for_a_model_directory(model_path: Path) -> None:
    model = tagger.load(model_path, device="cpu", batch_tokens=16, workers=2)
    texts = [TEXTS[:1], TEXTS, TEXTS[::-1], [f"Ada lives in city{number} ." for number in range(50)]]
    expected = [tags_in_child(model, part) for part in texts]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda part: tags_in_child(model, part), texts * 8)) == expected * 8
