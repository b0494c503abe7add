"""Schedules of the learning rate, learning rates by part, and gradient clipping."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tagger import model as models
from tagger import model_dir
from tagger.choices import Part, options
from tagger.config import Config
from tagger.config.schema import Optimizer, Schedule, Training
from tagger.data.sentence import Sentence
from tagger.training import optimizers
from tagger.training.optimizers import clip_gradients, count_plateaus, schedule_factor


def factors(total: int = 20, **settings: object) -> list[float]:
    """Returns the factor of a schedule at each step of two epochs."""
    schedule = Schedule(**settings)  # type: ignore[arg-type]
    return [
        schedule_factor(
            schedule, step=step, total=total, epoch=2 * step // total, improved=[False] * (2 * step // total)
        )
        for step in range(total)
    ]


def test_a_constant_learning_rate_does_not_change() -> None:
    assert factors(kind="constant") == [1.0] * 20


@pytest.mark.parametrize("kind", ["constant", "inverse", "plateau", "linear"])
def test_the_learning_rate_warms_up_linearly(kind: str) -> None:
    assert factors(kind=kind, warmup=4)[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_an_inverse_learning_rate_falls_by_epoch() -> None:
    assert factors(kind="inverse", decay=0.25) == pytest.approx([1.0] * 10 + [0.8] * 10)


def test_a_linear_learning_rate_falls_evenly_and_ends_above_zero() -> None:
    assert factors(kind="linear", warmup=4)[4:] == pytest.approx([(20 - step) / 16 for step in range(4, 20)])


def test_a_plateau_learning_rate_falls_by_a_factor_at_each_plateau() -> None:
    schedule = Schedule(kind="plateau", patience=2, factor=0.1)
    improved = [True, True, False, False, False, False, True]
    actual = [schedule_factor(schedule, step=9, total=99, epoch=n, improved=improved[:n]) for n in range(8)]
    assert actual == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(("improved", "count"), [("", 0), ("y", 0), ("yn", 0), ("ynn", 1), ("ynynn", 1), ("ynnnn", 2)])
def test_a_plateau_is_a_number_of_consecutive_epochs_that_did_not_improve(improved: str, count: int) -> None:
    assert count_plateaus([epoch == "y" for epoch in improved], 2) == count


@pytest.mark.parametrize(("total", "peak"), [(20, 0.3), (100, 0.25), (7, 0.5), (3, 0.4)])
def test_onecycle_equals_the_schedule_of_torch(total: int, peak: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total, pct_start=peak, cycle_momentum=False)
    for actual in factors(total, kind="onecycle", peak=peak):
        assert actual == pytest.approx(scheduler.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        if scheduler.last_epoch + 1 < total:
            scheduler.step()


@pytest.mark.parametrize("kind", options(Schedule.model_fields["kind"].annotation))
def test_no_learning_rate_is_negative_or_rises_when_an_epoch_has_additional_steps(kind: str) -> None:
    schedule = Schedule(kind=kind)  # type: ignore[arg-type]
    late = [schedule_factor(schedule, step=step, total=10, epoch=0, improved=[]) for step in range(8, 14)]
    assert all(after <= before for before, after in pairwise(late))
    assert min(late) > 0


def test_every_parameter_belongs_to_a_part_and_no_part_is_empty(model_path: Path) -> None:
    network = model_dir.load(model_path)[0].network
    settings = Optimizer(kind="adam", learning_rate=0.1, learning_rates={"head": 0.2})
    groups = optimizers.create_optimizer(network, settings, None).param_groups
    assert {group["part"] for group in groups} == set(options(Part)) - {"transformer"}
    assert optimizers.part_of("embedding.transformer.reader.encoder.layer.0.weight") == "transformer"
    assert optimizers.part_of("embedding.transformer.projection.weight") == "encoder"
    assert {group["part"]: group["learning_rate"] for group in groups}["head"] == 0.2
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    parts = {name: optimizers.part_of(name) for name, _ in network.named_parameters()}
    assert parts["embedding.words.weight"] == "words"
    assert parts["embedding.characters.embedding.weight"] == "characters"
    assert parts["head.crf.transitions"] == parts["projection.weight"] == "head"
    assert all(part == "encoder" for name, part in parts.items() if name.startswith("encoder."))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"clip_norm": 2.5}, [1.5, 2.0]),
        ({"clip_norm": 100.0}, [3.0, 4.0]),
        ({"clip_norm": None}, [3.0, 4.0]),
        ({"clip_norm": None, "clip_value": 3.5}, [3.0, 3.5]),
        ({"clip_norm": 2.5, "clip_value": 1.75}, [1.5, 1.75]),
    ],
)
def test_gradients_are_clipped_and_their_norm_before_clipping_is_returned(
    settings: dict[str, float | None], expected: list[float]
) -> None:
    gradients = [torch.tensor([3.0]), torch.tensor([4.0])]
    norm, clipped = clip_gradients(gradients, Training(**settings))  # type: ignore[arg-type]
    assert norm.item() == pytest.approx(5.0)
    assert clipped.item() == (expected != [3.0, 4.0])
    assert [gradient.item() for gradient in gradients] == pytest.approx(expected, rel=1e-5)


def test_a_norm_that_is_not_finite_is_returned() -> None:
    assert math.isinf(clip_gradients([torch.tensor([math.inf])], Training())[0].item())


def test_biases_that_keep_gates_open_have_no_weight_decay(tiny_config: Config) -> None:
    encoder = tiny_config.model.encoder.model_copy(update={"cell": "lstm1997"})
    config = Config(model=tiny_config.model.model_copy(update={"encoder": encoder}))
    network = models.build_model(config, [Sentence(("Ada", "lives"), tags=("B-PER", "O"))]).network
    (layer,) = network.encoder.layers
    settings = Optimizer(kind="adamw", learning_rate=0.1, learning_rates={"encoder": 0.5}, weight_decay=0.5)
    optimizer = optimizers.create_optimizer(network, settings, None)
    assert {group["part"]: group["learning_rate"] for group in optimizer.param_groups}["encoder"] == 0.5
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    before = [weight.detach().clone() for weight in layer.parameters()]
    for group in optimizer.param_groups:
        group["lr"] = group["learning_rate"]
    optimizer.step()
    for weight, was in zip(layer.parameters(), before, strict=True):
        held = was == 1e4
        assert torch.equal(weight[held], was[held])
        assert (weight[~held].abs() <= was[~held].abs()).all()
    assert sum(int((was == 1e4).sum()) for was in before) == 2 * 16


def test_the_moving_average_soon_forgets_the_initial_weights(model_path: Path) -> None:
    network = model_dir.load(model_path)[0].network
    averaged = optimizers.MovingAverage(network, None)
    weight, mean = network.projection.weight.detach(), averaged.network.projection.weight
    mean.fill_(1000.0)
    weight.fill_(1.0)
    for updates in range(40):
        averaged.update(optimizers.warmed_up_decay(0.999, updates))
    assert (mean - 1.0).abs().max() < 1e-4


def test_the_decay_of_the_moving_average_rises_to_its_setting_and_stays_there() -> None:
    decays = [optimizers.warmed_up_decay(0.99, updates) for updates in range(2000)]
    assert decays[0] == 0.1
    assert all(before < after for before, after in pairwise(decays[:890]))
    assert set(decays[891:]) == {0.99}
