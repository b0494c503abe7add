"""Cached hidden states are those that the transformer computes, and only what changed is computed again."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tagger.transformer import providers
from tagger.transformer.hidden_state_cache import CacheOptions, Entry, HiddenStateCache, open_cache
from tagger.transformer.providers import FillProgress, FrozenTransformer, HiddenStateProvider, SubwordProvider
from tests.transformer.frozen_transformer import (
    LAYOUT,
    PADDING,
    Document,
    compute_hidden_states,
    documents,
    encode,
    flatten,
    frozen,
    subwords_of,
)


@contextmanager
def filled(
    some: Sequence[Document], directory: Path, transformer: FrozenTransformer | None = None, **options: Any
) -> Iterator[HiddenStateProvider]:
    """Opens the cache in a directory, filled with the hidden states of documents."""
    with open_cache(CacheOptions(directory, **options)) as cache:
        provider = HiddenStateProvider(*flatten(some), transformer or frozen(), cache)
        provider.fill()
        yield provider


def expected_hidden_states(some: Sequence[Document], transformer: FrozenTransformer | None = None) -> list[Tensor]:
    """Returns the hidden states of each sentence without a cache."""
    transformer, (sentences, passages) = transformer or frozen(), flatten(some)
    hidden_states = compute_hidden_states(transformer.computer, transformer.lay_out(sentences, passages))
    return list(hidden_states.half().split(list(map(len, sentences))))


def count_computed(caplog: pytest.LogCaptureFixture) -> int:
    """Returns the number of passages that the log says were computed."""
    return sum(record.args[0] for record in caplog.records if "tokens/s" in record.msg)  # type: ignore[index,misc]


@pytest.fixture(autouse=True)
def _small_pools(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Computes a few passages at a time, and records the log."""
    monkeypatch.setattr(providers, "_POOL_BYTES", 5000)
    caplog.set_level(logging.INFO)


@pytest.mark.parametrize("is_enabled", [True, False])
def test_cached_states_are_those_that_are_computed(tmp_path: Path, is_enabled: bool) -> None:
    some = documents()
    expected = expected_hidden_states(some)
    order = np.random.default_rng(0).permutation(len(expected)).tolist()
    for _ in range(2):
        with filled(some, tmp_path / "cache", is_enabled=is_enabled) as provider:
            assert torch.equal(provider.read(order), torch.cat([expected[position] for position in order]))
            assert torch.equal(provider.read([3]), expected[3])
            assert provider.read([3]).dtype == torch.float16
    assert (tmp_path / "cache").exists() == is_enabled


def test_only_changed_passages_are_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    some = documents()
    with filled(some, tmp_path):
        pass
    assert count_computed(caplog) == len(some)
    caplog.clear()
    some[4][0][0] = "changed"
    some.insert(2, [["new", "document"]])
    some.reverse()
    with filled(some, tmp_path) as provider:
        assert count_computed(caplog) == 2
        expected = expected_hidden_states(some)
        assert torch.equal(provider.read(range(len(expected))), torch.cat(expected))


def test_other_bounds_of_sentences_are_another_passage() -> None:
    transformer = frozen()
    same = [
        [["a", "bc"]],
        [["ab", "c"]],
        [["a", "b"], ["c"]],
        [["a"], ["b", "c"]],
        [["a", "b", "c"]],
        [["ab"], ["c"]],
        [["a"], ["b"], ["c"]],
    ]
    assert len({transformer.entry(document).key for document in same}) == len(same)


@pytest.mark.parametrize(
    "other",
    [
        frozen(layers=(0, 1)),
        frozen(layers=(0, 2, 1)),
        frozen(pooling="first"),
        frozen(averages_layers=True),
        frozen(layout=replace(LAYOUT, context=5)),
        frozen(layout=replace(LAYOUT, is_shared=False)),
        replace(frozen(), digest="another"),
    ],
)
def test_another_transformer_or_setting_does_not_read_these_hidden_states(other: FrozenTransformer) -> None:
    assert other.entry([["a"]]).key != frozen().entry([["a"]]).key


def test_passages_with_equal_sentences_are_computed_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    some = documents(2)
    with filled([*some, *some], tmp_path) as provider:
        expected = torch.cat(expected_hidden_states([*some, *some]))
        assert torch.equal(provider.read(range(len(provider._lengths))), expected)
    assert count_computed(caplog) == 2
    assert len(list(tmp_path.glob("*.states"))) == 2


def test_an_interrupted_computation_continues_where_it_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    some, progress = documents(), []

    def interrupt(event: FillProgress) -> None:
        progress.append(event)
        if event.tokens > event.total_tokens / 2:
            raise KeyboardInterrupt

    with open_cache(CacheOptions(tmp_path)) as cache, pytest.raises(KeyboardInterrupt):
        HiddenStateProvider(*flatten(some), frozen(), cache).fill(interrupt)
    assert progress[-1].total_tokens == sum(len(tokens) for document in some for tokens in document)
    written = len(list(tmp_path.glob("*.states")))
    assert 0 < written < len(some)
    with filled(some, tmp_path) as provider:
        assert count_computed(caplog) == len(some) - written
        expected = expected_hidden_states(some)
        assert torch.equal(provider.read(range(len(expected))), torch.cat(expected))


def entries_of(some: Sequence[Document]) -> list[Entry]:
    return [frozen().entry(document) for document in some]


def fill_in_threads(some: Sequence[Document], directory: Path, count: int) -> list[list[Tensor]]:
    """Fills a directory by several caches at the same time; returns what each of them reads."""
    read: list[list[Tensor]] = []

    def fill(transformer: FrozenTransformer) -> None:
        with filled(some, directory, transformer) as provider:
            read.append([provider.read([position]) for position in range(len(flatten(some)[0]))])

    threads = [threading.Thread(target=fill, args=(frozen(),)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return read


def test_trainings_that_start_at_once_compute_each_passage_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    some = documents(60)
    read, expected = fill_in_threads(some, tmp_path, 3), expected_hidden_states(some)
    assert count_computed(caplog) == len(some)
    assert len(read) == 3
    for states in read:
        assert torch.equal(torch.cat(states), torch.cat(expected))


def hold_group(directory: Path, entries: Sequence[Entry], is_held: Event) -> None:
    """Holds the lock of a group as a process that computes it does, until it is killed."""
    with open_cache(CacheOptions(directory)) as cache:
        cache.find(entries)
        with cache.lock_group(entries, wait=True):
            is_held.set()
            threading.Event().wait(60)


def test_a_training_takes_over_from_one_that_is_killed(tmp_path: Path) -> None:
    some = documents(20)
    entries = entries_of(some)
    group = [entry for entry in entries if entry.group == entries[0].group]
    context = get_context("fork")
    is_held = context.Event()
    child = context.Process(target=hold_group, args=(tmp_path, group, is_held))
    child.start()
    assert is_held.wait(60)
    waiting = threading.Thread(target=fill_in_threads, args=(some, tmp_path, 1))
    waiting.start()
    others = {entry.file_name for entry in entries if entry not in group}
    while waiting.is_alive() and {path.name for path in tmp_path.glob("*.states")} != others:
        waiting.join(0.01)
    waiting.join(0.2)
    assert waiting.is_alive()
    child.kill()
    child.join()
    waiting.join(60)
    assert {path.name for path in tmp_path.glob("*.states")} == {entry.file_name for entry in entries}


@pytest.mark.parametrize("options", [{"is_enabled": False}, {"max_bytes": 1}])
def test_a_training_whose_features_are_not_cached_waits_for_no_other(tmp_path: Path, options: dict[str, Any]) -> None:
    some = documents(4)
    expected = expected_hidden_states(some)
    with open_cache(CacheOptions(tmp_path)) as cache:
        cache.find(entries_of(some))
        with lock_all(cache, entries_of(some)), filled(some, tmp_path, **options) as provider:
            assert torch.equal(provider.read(range(len(expected))), torch.cat(expected))


@contextmanager
def lock_all(cache: HiddenStateCache, entries: Sequence[Entry]) -> Iterator[None]:
    """Locks the groups of passages."""
    with ExitStack() as stack:
        for entry in {entry.group: entry for entry in entries}.values():
            assert stack.enter_context(cache.lock_group([entry], wait=False))
        yield


def test_a_lock_that_cannot_be_taken_costs_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    some = documents(1)
    (tmp_path / ".tagger-features").write_bytes(b"bilstm-crf-tagger features\n")
    lock = tmp_path / f".group-{entries_of(some)[0].group}.lock"
    lock.write_text("mine")
    with filled(some, tmp_path) as provider:
        assert torch.equal(provider.read(range(1)), expected_hidden_states(some)[0])
    assert lock.read_text() == "mine"
    assert f"{lock}: is not a lock file of this tool; move it away; its passages are computed here" in caplog.text


def test_a_passage_that_disappears_in_training_is_computed_again(tmp_path: Path) -> None:
    some = documents(4)
    expected = expected_hidden_states(some)
    with filled(some, tmp_path) as provider:
        removed, truncated = sorted(tmp_path.glob("*.states"))[:2]
        removed.unlink()
        truncated.write_bytes(truncated.read_bytes()[:70])
        assert torch.equal(provider.read(range(len(expected))), torch.cat(expected))
        assert removed.exists()


def test_subwords_of_sentences_are_read_with_their_context() -> None:
    sentences, passages = flatten(documents(5))
    provider = SubwordProvider(sentences, passages, encode, replace(LAYOUT, is_shared=False, max_subwords=200), PADDING)
    positions = [7, 2, 3]
    subwords = provider.read(positions)
    tokens = [token for position in positions for token in sentences[position]]
    assert len(subwords.windows) == len(tokens)
    for token, window, first, last in zip(
        tokens, subwords.windows.tolist(), subwords.first.tolist(), subwords.last.tolist(), strict=True
    ):
        assert subwords.ids[window, first : last + 1].tolist() == subwords_of(token)
    assert (subwords.cores[:, 0] > 1).any()


def test_windows_that_sentences_share_cannot_be_read_by_sentence() -> None:
    with pytest.raises(ValueError, match="share a window"):
        SubwordProvider([["a"]], [0], encode, LAYOUT, PADDING)
