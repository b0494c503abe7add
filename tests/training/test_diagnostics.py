"""Diagnostics: gradient norms by part, open and closed gates, and how far gradients reach, against cases worked out."""

import json
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tagger import checkpoint, training
from tagger.build import Bundle
from tagger.config import Config, dump, parse
from tagger.data.sentence import Sentence
from tagger.training import diagnostics, records


def trained(config: Config, run: Path, *overrides: str) -> list[dict[str, Any]]:
    """Trains for two epochs of a single step; returns their records."""
    settings = ["training.epochs=2", "training.batches.sentences=100", *overrides]
    training.fit(parse(dump(config), "tiny.yaml", overrides=settings), run, device="cpu")
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def bundle(model_dir: Path) -> Bundle:
    return checkpoint.load(model_dir)[0]


def layer(of: Bundle) -> nn.Module:
    return of.network.encoder.layers[0]


def sentences(*lengths: int) -> list[Sentence]:
    words = ("Ada", "lives", "in", "Oslo", ".") * 20
    return [Sentence(words[:length]) for length in lengths]


def looked(of: Bundle) -> dict[str, Any]:
    return diagnostics.look(of, diagnostics.batch(of, sentences(30, 25)))


def test_norms_by_part_make_the_norm_of_the_whole_gradient(tiny_config: Config, tmp_path: Path) -> None:
    options = ("training.diagnostics=true", "training.optimizer={kind: sgd, rate: 0.1}")
    for record in trained(tiny_config, tmp_path / "run", *options):
        norms = record["diagnostics"]["norms"]
        assert set(norms) == {"words", "characters", "encoder", "head"}
        assert all(norm > 0 for norm in norms.values())
        assert math.hypot(*norms.values()) == pytest.approx(record["norm"], rel=1e-5)
        assert record["diagnostics_seconds"] > 0


def test_they_change_nothing_in_the_training(tiny_config: Config, tmp_path: Path) -> None:
    trained(tiny_config, tmp_path / "with", "training.diagnostics=true", "training.average=0.9")
    trained(tiny_config, tmp_path / "without", "training.average=0.9")
    for model in ("model-best", "checkpoint-000002"):
        one, other = (tmp_path / run / model / "weights.safetensors" for run in ("with", "without"))
        assert one.read_bytes() == other.read_bytes()


def test_looking_leaves_the_network_as_it_was(model_dir: Path) -> None:
    of = bundle(model_dir)
    of.network.train()
    before = {name: value.clone() for name, value in of.network.state_dict().items()}
    state = torch.get_rng_state()
    assert looked(of) == looked(of)
    assert of.network.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in of.network.state_dict().items())
    assert all(weight.grad is None for weight in of.network.parameters())


@pytest.mark.parametrize(("bias", "closed", "opened"), [(-30.0, 1.0, 0.0), (0.0, 0.0, 0.0), (30.0, 0.0, 1.0)])
def test_the_shares_of_gates_are_those_that_biases_give_them(
    model_dir: Path, bias: float, closed: float, opened: float
) -> None:
    of = bundle(model_dir)
    with torch.no_grad():
        for cell in layer(of).cells:
            for weight in cell.parameters():
                weight.zero_()
            cell.bias_ih_l0[cell.hidden_size : 2 * cell.hidden_size] = bias
    gates = looked(of)["gates"]
    assert list(gates) == ["1 forward", "1 backward"]
    for of_direction in gates.values():
        assert of_direction["forget"] == {"closed": closed, "open": opened}
        assert of_direction["input"] == of_direction["output"] == {"closed": 0.0, "open": 0.0}


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.1])
def test_a_recurrence_that_shrinks_gradients_by_a_factor_reaches_its_power(
    tiny_config: Config, tmp_path: Path, factor: float
) -> None:
    trained(tiny_config, tmp_path / "run", "model.encoder.cell=rnn")
    of = bundle(tmp_path / "run" / "model-best")
    with torch.no_grad():
        for cell in layer(of).cells:
            cell.weight_hh_l0.copy_(factor * torch.eye(cell.hidden_size).flip(0))
            cell.weight_ih_l0.mul_(1e-6)  # so small that the tangent is a line
            cell.bias_ih_l0.zero_()
            cell.bias_hh_l0.zero_()
    found = looked(of)
    assert found["far"] == 20
    for reach in found["reach"].values():
        assert reach == pytest.approx(factor**20, rel=0.02)


def test_short_sentences_are_looked_at_over_as_many_tokens_as_they_have(model_dir: Path) -> None:
    of = bundle(model_dir)
    batch = diagnostics.batch(of, sentences(*range(1, 100)))
    assert sorted(batch.lengths.tolist()) == list(range(19, 51))
    assert diagnostics.look(of, batch)["far"] == 18
    assert diagnostics.batch(of, sentences(90, 70, 80)).lengths.tolist() == [70]
    alone = diagnostics.look(of, diagnostics.batch(of, sentences(1)))
    assert alone["far"] == 0
    assert set(alone["reach"].values()) == {1.0}


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs the extra [plot]")
def test_the_plot_shows_them(tiny_config: Config, tmp_path: Path) -> None:
    found = trained(tiny_config, tmp_path / "run", "training.diagnostics=true")
    assert (tmp_path / "run" / "training.png").read_bytes().startswith(b"\x89PNG")
    panels = records._panels(found)
    assert panels["share of gates open"]["1 backward: forget"] == [
        record["diagnostics"]["gates"]["1 backward"]["forget"]["open"] for record in found
    ]
    assert set(panels["gradient norm by part"]) == {"words", "characters", "encoder", "head"}
    assert len(panels) == 8
    for record in found:
        del record["diagnostics"]
    assert len(records._panels(found)) == 3
