"""States of tokens are those of the library's own forward pass, whatever else is in the batch."""

import random
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from tagger.choices import Pooling
from tagger.errors import DataError
from tagger.nn.transformer import StateReader
from tagger.transformer.states import StateComputer
from tests.transformer.frozen_transformer import (
    LAYOUT,
    PADDING,
    bert,
    compute_states,
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
    states = compute_states(transformer.computer, transformer.lay_out(SENTENCES, range(len(SENTENCES))))
    expected = torch.cat([read_alone(bert(), tokens, pooling) for tokens in SENTENCES])
    assert states.shape == (sum(map(len, SENTENCES)), 3, transformer.computer.state_dim)
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("budget", [1, 40, 10_000])
def test_states_do_not_depend_on_the_other_windows_of_a_batch(budget: int) -> None:
    sentences, passages = flatten(documents(30))
    transformer = frozen(max_batch_subwords=budget)
    together = compute_states(transformer.computer, transformer.lay_out(sentences, passages))
    separate = [
        compute_states(transformer.computer, transformer.lay_out(document, [0] * len(document)))
        for document in documents(30)
    ]
    assert torch.equal(together, torch.cat(separate))


def test_states_of_the_shortest_sentences_do_not_depend_on_their_number() -> None:
    transformer = frozen(layout=ALONE)
    sentences = [[f"w{number}"] for number in range(40)]
    together = compute_states(transformer.computer, transformer.lay_out(sentences, range(40)))
    separate = [compute_states(transformer.computer, transformer.lay_out([tokens], [0])) for tokens in sentences]
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
    expected = compute_states(transformer.computer, windows)
    for layers, run in ({(0,): {0}, (1, 0): {0}, (1, 2): {0, 1}}).items():
        calls.clear()
        states = compute_states(
            StateComputer(StateReader(model, layers, "mean"), PADDING, torch.device("cpu")), windows
        )
        assert torch.equal(states, expected[:, list(layers)])
        assert set(calls) == run
    assert len(model.encoder.layer) == 2


def test_a_mean_of_layers_is_stored_as_one_layer() -> None:
    transformer, averaging = frozen(), frozen(averages_layers=True)
    windows = transformer.lay_out(SENTENCES[:3], range(3))
    expected = compute_states(transformer.computer, windows).mean(1, keepdim=True)
    torch.testing.assert_close(compute_states(averaging.computer, windows), expected)


def test_half_precision_clamps_values_beyond_its_range() -> None:
    model = bert()
    torch.nn.init.constant_(model.encoder.layer[1].output.LayerNorm.bias, 1e6)
    computer = StateComputer(StateReader(model, (1, 2), "first"), PADDING, torch.device("cpu"))
    states = compute_states(computer, frozen().lay_out(SENTENCES[:1], [0]), dtype=torch.float16)
    assert torch.equal(states[:, 1], torch.full_like(states[:, 1], 65504))
    assert states[:, 0].abs().max() < 100


@pytest.mark.parametrize("limit", [25, 100])
def test_a_batch_that_exhausts_the_memory_is_split(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    transformer = frozen(max_batch_subwords=500)
    sentences, passages = flatten(documents())
    windows = transformer.lay_out(sentences, passages)
    expected = compute_states(transformer.computer, windows)
    run = transformer.computer._run

    def limited(part, dtype):  # type: ignore[no-untyped-def]
        if sum(map(len, part.ids)) > limit:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return run(part, dtype)

    monkeypatch.setattr(transformer.computer, "_run", limited)
    assert torch.equal(compute_states(transformer.computer, windows), expected)


def test_too_little_memory_for_one_window_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    transformer = frozen()

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(transformer.computer, "_run", fail)
    with pytest.raises(DataError, match="no memory for one window"):
        compute_states(transformer.computer, transformer.lay_out(SENTENCES[:2], [0, 1]))


def test_batches_hold_windows_of_one_length_within_the_budget() -> None:
    transformer = frozen(max_batch_subwords=64)
    source = random.Random(1)
    lengths = [source.randint(3, 40) for _ in range(200)]
    batches = list(transformer.computer._split(lengths))
    assert sorted(np.concatenate(batches).tolist()) == list(range(200))
    for batch in batches:
        assert len({lengths[window] for window in batch}) == 1
        assert len(batch) * lengths[batch[0]] <= 64
