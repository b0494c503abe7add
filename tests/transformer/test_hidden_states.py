"""Hidden states of tokens are those of the library's own forward pass, whatever else is in the batch."""

import contextlib
import random
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tagger.choices import Pooling
from tagger.device import single_torch_thread, torch_threads
from tagger.errors import DataError
from tagger.nn.packing import WindowAttention
from tagger.nn.transformer import HiddenStateReader
from tagger.transformer import library
from tagger.transformer.hidden_states import HiddenStateComputer
from tagger.transformer.layers import without_layers_above
from tagger.transformer.windows import Layout, lay_out
from tests.transformer import tiny
from tests.transformer.frozen_transformer import (
    LAYOUT,
    PADDING,
    bert,
    compute_hidden_states,
    documents,
    flatten,
    frozen,
    read_alone,
)

ALONE = replace(LAYOUT, is_shared=False, context=0)
SENTENCES = [tokens for document in documents() for tokens in document if len(tokens) <= 7]


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_states_are_those_of_each_sentence_read_alone(pooling: Pooling) -> None:
    transformer = frozen(pooling=pooling, layout=ALONE, max_batch_subwords=60)
    hidden_states = compute_hidden_states(transformer.computer, transformer.lay_out(SENTENCES, range(len(SENTENCES))))
    expected = torch.cat([read_alone(bert(), tokens, pooling) for tokens in SENTENCES])
    assert hidden_states.shape == (sum(map(len, SENTENCES)), 3, transformer.computer.pooled_dim)
    torch.testing.assert_close(hidden_states, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("budget", [1, 40, 10_000])
def test_states_do_not_depend_on_the_other_windows_of_a_batch(budget: int) -> None:
    sentences, passages = flatten(documents(30))
    transformer = frozen(max_batch_subwords=budget)
    together = compute_hidden_states(transformer.computer, transformer.lay_out(sentences, passages))
    separate = [
        compute_hidden_states(transformer.computer, transformer.lay_out(document, [0] * len(document)))
        for document in documents(30)
    ]
    assert torch.equal(together, torch.cat(separate))


def test_states_of_the_shortest_sentences_do_not_depend_on_their_number() -> None:
    transformer = frozen(layout=ALONE)
    sentences = [[f"w{number}"] for number in range(40)]
    together = compute_hidden_states(transformer.computer, transformer.lay_out(sentences, range(40)))
    separate = [compute_hidden_states(transformer.computer, transformer.lay_out([tokens], [0])) for tokens in sentences]
    assert torch.equal(together, torch.cat(separate))


def test_layers_above_the_highest_one_are_not_run_and_the_transformer_keeps_them(
    request: pytest.FixtureRequest,
) -> None:
    model = bert()
    calls = []
    numbers = {layer.output.dense.weight.data_ptr(): number for number, layer in enumerate(model.encoder.layer)}

    def record(module: torch.nn.Module, *_: object) -> None:
        if type(module) is type(model.encoder.layer[0]):
            calls.append(numbers.get(module.output.dense.weight.data_ptr(), -1))

    transformer = frozen()
    windows = transformer.lay_out(SENTENCES[:3], range(3))
    hook = torch.nn.modules.module.register_module_forward_hook(record)
    request.addfinalizer(hook.remove)
    expected = compute_hidden_states(transformer.computer, windows)
    for layers, run in ({(0,): {0}, (1, 0): {0}, (1, 2): {0, 1}}).items():
        calls.clear()
        reader = HiddenStateReader(without_layers_above(model, max(layers)), layers, "mean")
        hidden_states = compute_hidden_states(HiddenStateComputer(reader, PADDING, torch.device("cpu")), windows)
        assert torch.equal(hidden_states, expected[:, list(layers)])
        assert set(calls) == run
    assert len(model.encoder.layer) == 2


def test_a_mean_of_layers_is_stored_as_one_layer() -> None:
    transformer, averaging = frozen(), frozen(averages_layers=True)
    windows = transformer.lay_out(SENTENCES[:3], range(3))
    expected = compute_hidden_states(transformer.computer, windows).mean(1, keepdim=True)
    torch.testing.assert_close(compute_hidden_states(averaging.computer, windows), expected)


def test_half_precision_clamps_values_beyond_its_range() -> None:
    model = bert()
    torch.nn.init.constant_(model.encoder.layer[1].output.LayerNorm.bias, 1e6)
    computer = HiddenStateComputer(HiddenStateReader(model, (1, 2), "first"), PADDING, torch.device("cpu"))
    hidden_states = compute_hidden_states(computer, frozen().lay_out(SENTENCES[:1], [0]), dtype=torch.float16)
    assert torch.equal(hidden_states[:, 1], torch.full_like(hidden_states[:, 1], 65504))
    assert hidden_states[:, 0].abs().max() < 100


@pytest.mark.parametrize("limit", [25, 100])
def test_a_batch_that_exhausts_the_memory_is_split(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    transformer = frozen(max_batch_subwords=500)
    sentences, passages = flatten(documents())
    windows = transformer.lay_out(sentences, passages)
    expected = compute_hidden_states(transformer.computer, windows)
    run = transformer.computer._run

    def limited(part, dtype, reader):  # type: ignore[no-untyped-def]
        if sum(map(len, part.ids)) > limit:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return run(part, dtype, reader)

    monkeypatch.setattr(transformer.computer, "_run", limited)
    assert torch.equal(compute_hidden_states(transformer.computer, windows), expected)


def test_too_little_memory_for_one_window_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    transformer = frozen()

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(transformer.computer, "_run", fail)
    with pytest.raises(DataError, match="no memory for one window"):
        compute_hidden_states(transformer.computer, transformer.lay_out(SENTENCES[:2], [0, 1]))


def draw_lengths() -> list[int]:
    source = random.Random(1)
    return [source.randint(3, 40) for _ in range(200)]


def test_batches_of_packed_windows_are_within_the_budget() -> None:
    lengths = draw_lengths()
    for budget, limit in ((64, 64), (100_000, 1024 + max(lengths))):
        batches = list(frozen(max_batch_subwords=budget).computer._split(lengths))
        assert sorted(np.concatenate(batches).tolist()) == list(range(200))
        assert max(sum(lengths[window] for window in batch) for batch in batches) <= limit


def test_packed_windows_are_divided_evenly_among_threads() -> None:
    lengths = draw_lengths()
    with torch_threads(3):
        batches = list(frozen().computer._split(lengths))
    sizes = [sum(lengths[window] for window in batch) for batch in batches]
    assert len(sizes) % 3 == 0
    assert max(sizes) - min(sizes) <= 2 * max(lengths)


@pytest.mark.parametrize("packed", [True, False])
def test_threads_compute_batches_at_the_same_time_with_the_states_of_one_thread(
    packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformer = frozen(max_batch_subwords=80)
    if not packed:
        transformer.computer._first_position = None
    sentences, passages = flatten(documents(20))
    windows = transformer.lay_out(sentences, passages)
    with single_torch_thread():
        expected = compute_hidden_states(transformer.computer, windows)
    run, barrier = transformer.computer._run, threading.Barrier(2)

    def meet(*arguments: Any) -> torch.Tensor:
        with contextlib.suppress(threading.BrokenBarrierError):  # after the first batches
            barrier.wait(60)
            barrier.abort()
        return run(*arguments)

    monkeypatch.setattr(transformer.computer, "_run", meet)
    with torch_threads(2):
        assert torch.equal(compute_hidden_states(transformer.computer, windows), expected)
        assert torch.get_num_threads() == 2
    assert barrier.broken


def test_an_error_of_a_thread_stops_all_and_restores_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    transformer = frozen(max_batch_subwords=40)
    sentences, passages = flatten(documents(20))
    counts: list[int] = []

    def fail(*_: object) -> None:
        counts.append(1)
        raise KeyError("of a thread")

    monkeypatch.setattr(transformer.computer, "_run", fail)
    with torch_threads(2):
        with pytest.raises(KeyError, match="of a thread"):
            compute_hidden_states(transformer.computer, transformer.lay_out(sentences, passages))
        assert torch.get_num_threads() == 2
    assert len(counts) <= 5


def test_without_packed_windows_batches_hold_windows_of_one_length_within_the_budget() -> None:
    reader = HiddenStateReader(bert(attn_implementation="eager"), (0, 1, 2), "mean")
    lengths = draw_lengths()
    batches = list(HiddenStateComputer(reader, PADDING, torch.device("cpu"), max_batch_subwords=64)._split(lengths))
    assert sorted(np.concatenate(batches).tolist()) == list(range(200))
    for batch in batches:
        assert len({lengths[window] for window in batch}) == 1
        assert len(batch) * lengths[batch[0]] <= 64


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_states_of_every_family_are_those_of_each_window_read_alone(family: str, tmp_path: Path) -> None:
    pretrained = library.load(str(tiny.write_transformer(tmp_path, family)))
    layout = Layout(30, 4, False, pretrained.subwords.prefix, pretrained.subwords.suffix)
    sentences = [text.split()[: 3 + number] for number, text in enumerate(tiny.TEXTS)]
    subwords = pretrained.subwords.encode([token for tokens in sentences for token in tokens])
    windows = lay_out(subwords, list(map(len, sentences)), [number // 3 for number in range(len(sentences))], layout)
    rows: list[dict[str, Any]] = []
    reader = HiddenStateReader(pretrained.encoder, (0, 1, 2), "first")
    computer = HiddenStateComputer(reader, pretrained.padding_id, torch.device("cpu"))
    with torch.no_grad():
        alone = [
            pretrained.encoder(input_ids=torch.from_numpy(ids)[None], output_hidden_states=True).hidden_states
            for ids in windows.ids
        ]
    tokens = zip(windows.windows.tolist(), windows.first.tolist(), strict=True)
    expected = torch.stack([torch.stack([layer[0, index] for layer in alone[window]]) for window, index in tokens])
    hook = pretrained.encoder.register_forward_pre_hook(lambda _, __, kwargs: rows.append(kwargs), with_kwargs=True)
    with single_torch_thread():
        hidden_states = compute_hidden_states(computer, windows)
    hook.remove()
    torch.testing.assert_close(hidden_states, expected, atol=1e-5, rtol=0)
    is_packed = family not in ("deberta", "deberta-v2", "modernbert", "mpnet")
    assert ([row["input_ids"].numel() for row in rows] == [sum(map(len, windows.ids))]) == is_packed
    if is_packed and family != "distilbert":  # which has no token types
        assert torch.equal(rows[0]["token_type_ids"], torch.zeros_like(rows[0]["input_ids"]))


def test_packed_windows_are_refused_by_a_transformer_with_attention_of_its_own() -> None:
    reader = HiddenStateReader(bert(attn_implementation="eager"), (0, 1, 2), "mean")
    packed = frozen().lay_out(SENTENCES, range(len(SENTENCES))).pack(1)
    with pytest.raises(ValueError, match="packed windows need a transformer with torch's attention"):
        reader.read_packed(packed, 0)


def test_packed_windows_are_refused_with_a_mask() -> None:
    query = torch.zeros(1, 2, 5, 4)
    with WindowAttention([3, 2]), pytest.raises(ValueError, match="without a mask"):
        scaled_dot_product_attention(query, query, query, torch.ones(5, 5, dtype=torch.bool))
