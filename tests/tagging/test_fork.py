"""A tagger works in a forked child, though other threads of the parent were tagging, and in a spawned one."""

import multiprocessing
import os
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Iterator
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
    over = threading.Event()

    def work(number: int) -> None:
        for turn in count():
            if over.is_set():
                return
            model.tag([f"word{number}x{turn}x{place} lives in Paris ." for place in range(40)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
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
@pytest.mark.parametrize("plain", [False, True])
def test_a_child_forked_while_other_threads_tag_tags_as_its_parent(model_path: Path, plain: bool) -> None:
    model = tagger.load(model_path, device="cpu", batch_tokens=64, workers=2)
    if plain:
        model._scoring = TorchScorer(model.model, model.device)
    expected = [sentence.tags for sentence in model.tag(TEXTS)]
    with torch_threads(2), tagging_threads(model):
        codes = [code_of_child(model, expected) for _ in range((10 if plain else 60) * SCALE)]
        assert [sentence.tags for sentence in model.tag(TEXTS)] == expected
    assert set(codes) == {0}


def test_turns_of_threads_that_the_child_has_not_hold_no_words_there(model_path: Path) -> None:
    model = tagger.load(model_path, device="cpu")
    scoring = model._scoring
    ends = []
    thread = threading.Thread(target=lambda: ends.append(scoring.begin([["abc"]], [0])[1]))
    thread.start()
    thread.join()
    own = scoring.begin([["def"]], [0])[1]
    under_way = scoring.memory._under_way  # type: ignore[attr-defined]
    assert len(under_way) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        os._exit(len(under_way))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert len(under_way) == 2
    own()
    ends[0]()
    assert not under_way


def tags_of(text: str) -> tuple[str, ...]:
    return _shared[0].tag([text])[0].tags


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_pool_of_forked_processes_uses_a_tagger_of_the_parent(model_path: Path) -> None:
    _shared[:] = [tagger.load(model_path, device="cpu")]
    expected = [tags_of(text) for text in TEXTS]
    with tagging_threads(_shared[0]), multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(tags_of, TEXTS * 10).get(60) == expected * 10
    _shared.clear()


def test_a_tagger_that_was_pickled_tags_as_before(model_path: Path) -> None:
    model = tagger.load(model_path, device="cpu", max_tokens=7, cache_bytes=10**6)
    again = pickle.loads(pickle.dumps(model))  # noqa: S301  # our own
    assert [sentence.tags for sentence in again.tag(TEXTS)] == [sentence.tags for sentence in model.tag(TEXTS)]
    assert again._limits == model._limits
