"""How a batch is divided among ranks, how their gradients are summed, and how a process learns its rank."""

import random
from copy import deepcopy
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch import Tensor

import tagger
from tagger import model_dir
from tagger.config import load
from tagger.data.partial import GoldEncoder
from tagger.errors import ConfigError
from tagger.model import TaggerModel
from tagger.nn.model import Network
from tagger.training import corpora
from tagger.training.gradient_buffer import GradientBuffer
from tagger.training.launch import Launch, read_launch
from tagger.training.ranks import Ranks, divide, divide_blocks


def test_each_sentence_of_a_batch_belongs_to_one_rank_and_tokens_are_balanced() -> None:
    draw = random.Random(1)
    for _ in range(200):
        lengths = [draw.randint(1, 60) for _ in range(100)]
        positions, count = draw.sample(range(100), draw.randint(1, 40)), draw.randint(1, 5)
        groups = divide(positions, lengths, count)
        assert sorted(chain.from_iterable(groups)) == sorted(positions)
        assert all(group == [position for position in positions if position in group] for group in groups)
        tokens = [sum(lengths[position] for position in group) for group in groups]
        assert max(tokens) - min(tokens) <= max(lengths[position] for position in positions)


def test_ranks_beyond_the_sentences_of_a_batch_have_none() -> None:
    assert divide([3, 5], [1] * 6, 4) == [[3], [5], [], []]


def test_dev_data_is_divided_between_blocks() -> None:
    draw = random.Random(2)
    for _ in range(200):
        blocks = sorted(draw.randint(0, 12) for _ in range(draw.randint(1, 60)))
        lengths, count = [draw.randint(1, 30) for _ in blocks], draw.randint(1, 5)
        ranges = divide_blocks(blocks, lengths, count)
        assert len(ranges) == count
        assert [position for each in ranges for position in each] == list(range(len(blocks)))
        owners = {(blocks[position], rank) for rank, each in enumerate(ranges) for position in each}
        assert len(owners) == len(set(blocks))


@pytest.fixture
def trained(model_path: Path) -> tuple[TaggerModel, corpora.Corpora]:
    """A model without dropout, and its data."""
    model, _ = model_dir.load(model_path)
    for module in model.network.modules():
        for name in ("dropout", "probability", "word_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model, corpora.load(load(str(model_path.parent / "config.yaml")))


def gradients(network: Network) -> dict[str, Tensor | None]:
    """Returns the gradients by name, sparse ones dense."""
    return {
        name: None if weight.grad is None else weight.grad.to_dense() for name, weight in network.named_parameters()
    }


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "by rows"])
def test_summed_gradients_are_those_of_the_whole_batch(
    trained: tuple[TaggerModel, corpora.Corpora], sparse: bool
) -> None:
    model, data = trained
    encoded = model.encode(data.train.sentences, GoldEncoder(model.tags, model.scheme, data.source))
    assert model.network.embedding.words is not None
    model.network.embedding.words.sparse = sparse
    positions = [0, 7, 8, 20, 33]
    words, _ = encoded.word_ids(positions)

    def backward(network: Network, chosen: list[int]) -> Tensor:
        batch = encoded.batch(chosen)
        assert batch.gold is not None
        loss = network.loss(network(batch), batch.gold, batch.lengths) * (len(chosen) / len(positions))
        loss.backward()
        return loss.detach()

    networks = [deepcopy(model.network).train() for _ in range(3)]  # the third one is of a rank without sentences
    losses = [backward(networks[0], [0, 20]), backward(networks[1], [7, 8, 33]), torch.zeros(())]
    for network in networks:
        network.projection.bias.grad = None
    buffers = [GradientBuffer(network, 1) for network in networks]
    packed = [
        buffer.pack(loss, [float(rank)], words) for rank, (buffer, loss) in enumerate(zip(buffers, losses, strict=True))
    ]
    total = sum(packed[1:], packed[0])
    whole = deepcopy(model.network).train()
    expected = backward(whole, positions)
    whole.projection.bias.grad = None
    for network, buffer in zip(networks, buffers, strict=True):
        loss, flags = buffer.unpack(total.clone())
        torch.testing.assert_close(loss, expected)
        assert flags == [3.0]
        summed, reference = gradients(network), gradients(whole)
        assert [name for name, gradient in summed.items() if gradient is None] == ["projection.bias"]
        for name, gradient in reference.items():
            torch.testing.assert_close(summed[name], gradient, atol=1e-6, rtol=1e-5, msg=name)


def test_a_process_alone_exchanges_nothing() -> None:
    ranks = Ranks(torch.device("cpu"))
    assert (ranks.is_first, ranks.count) == (True, 1)
    assert ranks.assign([3, 1, 2], [5] * 4) == [3, 1, 2]
    assert ranks.gather(b"x") == [ranks.broadcast(b"x")] == [b"x"]
    before = torch.get_rng_state()
    with ranks.seed_step(1, 2):
        assert torch.equal(torch.get_rng_state(), before)


def _launch(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


def test_the_rank_is_read_from_the_variables_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    _launch(monkeypatch)
    assert read_launch() == Launch(0, 1, 0)
    _launch(monkeypatch, **TORCHRUN)
    assert read_launch() == Launch(1, 2, 1)


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ({"RANK": ""}, "WORLD_SIZE is '2', but RANK is not set"),
        ({"LOCAL_RANK": "x"}, "LOCAL_RANK is 'x'"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
        ({"RANK": "2"}, "RANK is 2, but WORLD_SIZE is 2"),
        ({"MASTER_PORT": ""}, "MASTER_PORT is not set"),
    ],
)
def test_incomplete_variables_are_an_error_in_one_line(
    monkeypatch: pytest.MonkeyPatch, variable: dict[str, str], message: str
) -> None:
    _launch(monkeypatch, **TORCHRUN | variable)
    with pytest.raises(ConfigError, match=message) as refused:
        read_launch()
    assert len(refused.value.faults) == 1


def test_torchrun_trains_one_seed_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _launch(monkeypatch, **TORCHRUN)
    with pytest.raises(ConfigError, match="torchrun has started 2 processes, which train one model"):
        tagger.train("sample", seeds=[1, 2], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
