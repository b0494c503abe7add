"""Diagnostics: gradient norms by part, gate fractions and gradient reach, compared with cases computed by hand."""

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tagger import model_dir, training
from tagger.config import Config, dump, parse
from tagger.data.sentence import Sentence
from tagger.evaluation import Scores
from tagger.model import TaggerModel
from tagger.training import EpochRecord, diagnostics, records
from tagger.training.diagnostics import Activity
from tagger.training.epoch_record import Diagnostics


def trained(config: Config, run: Path, *overrides: str) -> list[EpochRecord]:
    """Trains for two epochs of a single step; returns their records."""
    settings = ["training.epochs=2", "training.batch_size=100", *overrides]
    training.train(parse(dump(config), "tiny.yaml", overrides=settings), run, device="cpu")
    return records.read_metrics(run)[0]


def record(epoch: int, diagnostics: Diagnostics | None = None) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        steps=epoch,
        loss=1.0,
        gradient_norm=1.0,
        clipped_fraction=0.0,
        skipped=0,
        learning_rate=0.1,
        dev=Scores(50.0, "accuracy", 0.0, 0.0, 0.0, 0.0, 50.0, ""),
        best=epoch == 1,
        seconds=1.0,
        dev_seconds=1.0,
        diagnostics=diagnostics,
    )


def load_model(model_path: Path) -> TaggerModel:
    return model_dir.load(model_path)[0]


def layer(model: TaggerModel) -> nn.Module:
    return model.network.encoder.layers[0]


def sentences(*lengths: int) -> list[Sentence]:
    words = ("Ada", "lives", "in", "Oslo", ".") * 20
    return [Sentence(words[:length]) for length in lengths]


def measured(model: TaggerModel) -> Activity:
    return diagnostics.measure(model, diagnostics.select_batch(model, sentences(30, 25)))


def test_norms_by_part_combine_to_the_norm_of_the_whole_gradient(tiny_config: Config, tmp_path: Path) -> None:
    options = ("training.diagnostics=true", "training.optimizer={kind: sgd, learning_rate: 0.1}")
    for record in trained(tiny_config, tmp_path / "run", *options):
        assert record.diagnostics is not None
        norms = record.diagnostics.norms
        assert set(norms) == {"words", "characters", "encoder", "head"}
        assert all(norm > 0 for norm in norms.values())
        assert math.hypot(*norms.values()) == pytest.approx(record.gradient_norm, rel=1e-5)
        assert record.diagnostics.seconds > 0


def test_diagnostics_do_not_change_the_training(tiny_config: Config, tmp_path: Path) -> None:
    trained(tiny_config, tmp_path / "with", "training.diagnostics=true", "training.ema_decay=0.9")
    trained(tiny_config, tmp_path / "without", "training.ema_decay=0.9")
    for model in ("model-best", "checkpoint-000002"):
        first, second = (tmp_path / run / model / "weights.safetensors" for run in ("with", "without"))
        assert first.read_bytes() == second.read_bytes()


def test_measuring_does_not_change_the_network(model_path: Path) -> None:
    model = load_model(model_path)
    model.network.train()
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    state = torch.get_rng_state()
    assert measured(model) == measured(model)
    assert model.network.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
    assert all(weight.grad is None for weight in model.network.parameters())


@pytest.mark.parametrize(("bias", "closed", "opened"), [(-30.0, 1.0, 0.0), (0.0, 0.0, 0.0), (30.0, 0.0, 1.0)])
def test_gate_fractions_follow_from_the_biases(model_path: Path, bias: float, closed: float, opened: float) -> None:
    model = load_model(model_path)
    with torch.no_grad():
        for cell in layer(model).cells:
            for weight in cell.parameters():
                weight.zero_()
            cell.bias_ih_l0[cell.hidden_size : 2 * cell.hidden_size] = bias
    gates = measured(model).gates
    assert list(gates) == ["1 forward", "1 backward"]
    for of_direction in gates.values():
        assert of_direction["forget"] == {"closed": closed, "open": opened}
        assert of_direction["input"] == of_direction["output"] == {"closed": 0.0, "open": 0.0}


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.1])
def test_reach_of_a_linear_recurrence_is_a_power_of_its_factor(
    tiny_config: Config, tmp_path: Path, factor: float
) -> None:
    trained(tiny_config, tmp_path / "run", "model.encoder.cell=rnn")
    model = load_model(tmp_path / "run" / "model-best")
    with torch.no_grad():
        for cell in layer(model).cells:
            cell.weight_hh_l0.copy_(factor * torch.eye(cell.hidden_size).flip(0))
            cell.weight_ih_l0.mul_(1e-6)  # so small that the tangent is a line
            cell.bias_ih_l0.zero_()
            cell.bias_hh_l0.zero_()
    activity = measured(model)
    assert activity.far == 20
    for reach in activity.reach.values():
        assert reach == pytest.approx(factor**20, rel=0.02)


@pytest.mark.parametrize(
    ("lengths", "chosen", "far"),
    [
        (range(1, 100), range(21, 31), 20),
        ([*range(28, 100)] * 11, sorted([28, 29, 30] * 11)[1:], 20),
        ([1, 20, 7, 10], [10, 20], 9),
        ([1, 1], [1, 1], 0),
        ([90, 70, 80], [70], 20),
    ],
)
def test_long_sentences_are_measured_and_short_ones_only_without_them(
    model_path: Path, lengths: Sequence[int], chosen: Sequence[int], far: int
) -> None:
    model = load_model(model_path)
    batch = diagnostics.select_batch(model, sentences(*lengths))
    assert sorted(batch.lengths.tolist()) == list(chosen)
    activity = diagnostics.measure(model, batch)
    assert activity.far == far
    assert all((reach is None) == (far == 0) for reach in activity.reach.values())


def test_reach_is_measured_in_the_reading_order_of_each_direction(model_path: Path) -> None:
    model = load_model(model_path)
    batch = diagnostics.select_batch(model, sentences(30))
    first, second = layer(model).cells
    second.load_state_dict(first.state_dict())
    seen = layer(model).register_forward_pre_hook(lambda _, arguments: (torch.ones_like(arguments[0]), arguments[1]))
    reach = diagnostics.measure(model, batch).reach  # of tokens all alike
    seen.remove()
    assert reach["1 forward"] == pytest.approx(reach["1 backward"])


@pytest.mark.parametrize(
    ("encoder", "directions", "description"),
    [
        (
            {"cell": "gru", "num_layers": 2},
            {"1 forward", "1 backward", "2 forward", "2 backward"},
            "in both directions",
        ),
        ({"cell": "lstm1997", "direction": "backward"}, {"1 backward"}, "backward"),
        ({"cell": "rnn", "direction": "forward"}, {"1 forward"}, "forward"),
    ],
)
def test_every_encoder_is_measured(
    tiny_config: Config, tmp_path: Path, encoder: dict[str, Any], directions: set[str], description: str
) -> None:
    settings = [f"model.encoder.{key}={str(value).lower()}" for key, value in encoder.items()]
    history = trained(
        tiny_config, tmp_path / "run", *settings, "training.diagnostics=true", "model.document_context.output_dim=4"
    )
    for record in history:
        assert record.diagnostics is not None
        assert set(record.diagnostics.gates) == set(record.diagnostics.reach) == directions
        gates = {"gru": {"reset", "update"}, "lstm1997": {"input", "output"}, "rnn": set()}[encoder["cell"]]
        assert all(set(fractions) == gates for fractions in record.diagnostics.gates.values())
    card = model_dir.describe(tmp_path / "run" / "model-best")
    assert card["encoder"] == f"{encoder['cell']}, {encoder.get('num_layers', 1)} x 16 {description}"
    assert not [name for name in card["metrics"] if name.startswith("diagnostics")]
    if find_spec("matplotlib") is not None:
        assert (tmp_path / "run" / "training.png").is_file()


def test_epochs_without_a_step_or_without_diagnostics_are_gaps_in_the_plot(tmp_path: Path) -> None:
    gates = {"1 forward": {"input": {"closed": 0.25, "open": 0.5}}}
    history = [
        record(1, Diagnostics({}, gates, {"1 forward": None}, 0, 0.0)),
        record(2),
        record(3, Diagnostics({"words": 2.0}, gates, {"1 forward": 0.0}, 0, 0.0)),
    ]
    panels = records.panels(history)
    assert str(panels["gradient norm by part"]) == "{'words': [nan, nan, 2.0]}"
    assert (
        str(panels["1 forward: fractions of gate activations"])
        == "{'input closed': [0.25, nan, 0.25], 'input open': [0.5, nan, 0.5]}"
    )
    assert str(panels["gradient, far input by near"]) == "{'1 forward': [nan, nan, 0.0]}"
    records.plot(tmp_path, history)


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs the extra [plot]")
@pytest.mark.usefixtures("real_plots")
def test_the_plot_shows_diagnostics(tiny_config: Config, tmp_path: Path) -> None:
    history = trained(tiny_config, tmp_path / "run", "training.diagnostics=true")
    assert (tmp_path / "run" / "training.png").read_bytes().startswith(b"\x89PNG")
    panels = records.panels(history)
    assert panels["1 backward: fractions of gate activations"]["forget open"] == [
        record.diagnostics.gates["1 backward"]["forget"]["open"] for record in history if record.diagnostics
    ]
    assert set(panels["gradient norm by part"]) == {"words", "characters", "encoder", "head"}
    assert len(panels) == 8
    assert len(records.panels([replace(record, diagnostics=None) for record in history])) == 3
