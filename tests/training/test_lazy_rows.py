"""LazyRows compared with torch's optimizer and a plain moving average, which update all rows at each step."""

import pytest
import torch
from torch import Tensor, nn

from tagger.training import lazy_rows as module
from tagger.training.lazy_rows import LazyRows

WORDS, WIDTH, DECAY = 30, 4, 0.9


class Dense:
    """The reference: torch's optimizer over all rows."""

    def __init__(self, weight: Tensor, *, momentum: float, nesterov: bool) -> None:
        self.weight = nn.Parameter(weight.clone())
        self.moving_average = weight.clone()
        self.optimizer = torch.optim.SGD([self.weight], lr=1.0, momentum=momentum, nesterov=nesterov)

    def step(self, gradient: Tensor, learning_rate: float, decay: float = DECAY) -> None:
        self.weight.grad = gradient
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.step()
        self.moving_average.lerp_(self.weight.detach(), 1 - decay)


def gradients(steps: int) -> list[Tensor]:
    """Returns sparse gradients of a few rows each, with some rows repeated."""
    random = torch.Generator().manual_seed(2)
    result = []
    for _ in range(steps):
        ids = torch.randint(0, WORDS // 2, (5,), generator=random)  # the other half is never seen
        values = torch.randn(5, WIDTH, generator=random)
        result.append(torch.sparse_coo_tensor(ids[None], values, (WORDS, WIDTH), check_invariants=True))
    return result


def start(*, momentum: float = 0.9, nesterov: bool = False, averaged: bool = True) -> LazyRows:
    weight = torch.randn(WORDS, WIDTH, generator=torch.Generator().manual_seed(1))
    return LazyRows(nn.Parameter(weight), momentum=momentum, nesterov=nesterov, averaged=averaged)


def move(rows: LazyRows, gradient: Tensor, learning_rate: float, decay: float = DECAY) -> None:
    rows.catch_up(gradient.coalesce().indices()[0])
    rows.weight.grad = gradient
    rows.gradient()
    rows.step(learning_rate, decay)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("most", [7, 1000])
def test_lazy_rows_equal_rows_updated_at_each_step(
    momentum: float, nesterov: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_STEPS", most)
    rows = start(momentum=momentum, nesterov=nesterov)
    dense = Dense(rows.weight.detach(), momentum=momentum, nesterov=nesterov)
    for step, gradient in enumerate(gradients(60)):
        learning_rate = 0.1 / (1 + step // 10)
        decay = step % 7 / 8  # 0 among them
        move(rows, gradient, learning_rate, decay)
        dense.step(gradient.to_dense(), learning_rate, decay)
        assert rows.moving_average is not None
        if step % 9 == 0:
            with rows.flush_temporarily():
                torch.testing.assert_close(rows.weight, dense.weight, atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(rows.moving_average.detach(), dense.moving_average, atol=1e-5, rtol=1e-5)
    rows.flush()
    torch.testing.assert_close(rows.weight, dense.weight, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("nesterov", [False, True])
def test_rows_caught_up_before_reading_equal_rows_updated_at_each_step(*, nesterov: bool) -> None:
    """The gradient depends on the vectors, as in a network."""
    rows = start(nesterov=nesterov)
    dense = Dense(rows.weight.detach(), momentum=0.9, nesterov=nesterov)
    goal = torch.randn(WORDS, WIDTH, generator=torch.Generator().manual_seed(3))
    random = torch.Generator().manual_seed(4)
    for _ in range(80):
        ids = torch.randint(0, WORDS, (3,), generator=random)
        rows.catch_up(torch.cat([ids, torch.tensor([WORDS, WORDS + 5])]))  # words without a trained vector
        gradient = torch.sparse_coo_tensor(
            ids[None], rows.weight.detach()[ids] - goal[ids], (WORDS, WIDTH), check_invariants=True
        )
        of_all = torch.zeros(WORDS, WIDTH).index_add_(0, ids, dense.weight.detach()[ids] - goal[ids])
        move(rows, gradient, 0.05)
        dense.step(of_all, 0.05)
    rows.flush()
    torch.testing.assert_close(rows.weight, dense.weight, atol=1e-5, rtol=1e-5)
    assert rows.moving_average is not None
    torch.testing.assert_close(rows.moving_average.detach(), dense.moving_average, atol=1e-5, rtol=1e-5)


def test_without_decay_there_is_no_moving_average() -> None:
    rows = start(averaged=False)
    move(rows, gradients(1)[0], 0.1)
    assert rows.moving_average is None


def test_rows_are_updated_by_the_clipped_gradient() -> None:
    rows, clipped = start(), start()
    gradient = gradients(1)[0]
    move(rows, gradient * 0.25, 0.1)
    clipped.weight.grad = gradient
    clipped.gradient().mul_(0.25)
    clipped.step(0.1)
    torch.testing.assert_close(rows.weight, clipped.weight)


def test_a_step_without_a_gradient_updates_rows_by_momentum() -> None:
    rows = start()
    move(rows, gradients(1)[0], 0.1)
    before = rows.weight.detach().clone()
    rows.gradient()
    rows.step(0.1, DECAY)
    rows.flush()
    assert not torch.equal(rows.weight, before)


def test_a_temporary_flush_or_a_restored_state_changes_no_bit_of_later_steps() -> None:
    plain, interrupted = start(), start()
    for step, gradient in enumerate(gradients(20)):
        move(plain, gradient, 0.1)
        move(interrupted, gradient, 0.1)
        with interrupted.flush_temporarily():
            saved = {name: tensor.clone() for name, tensor in interrupted.tensors().items()}
        saved |= {name: tensor.clone() for name, tensor in interrupted.tensors().items()}
        if step % 3 == 0:
            moving_average, interrupted = interrupted.moving_average, start()
            interrupted.restore(saved)
            interrupted.moving_average = moving_average
    for rows in (plain, interrupted):
        rows.flush()
    assert all(torch.equal(tensor, interrupted.tensors()[name]) for name, tensor in plain.tensors().items())
    assert plain.moving_average is not None
    assert interrupted.moving_average is not None
    assert torch.equal(plain.moving_average, interrupted.moving_average)


def test_a_gradient_of_a_row_that_was_not_caught_up_is_refused() -> None:
    rows, both = start(), gradients(2)
    move(rows, both[0], 0.1)
    rows.weight.grad = both[1]
    rows.gradient()
    with pytest.raises(ValueError, match="was not caught up"):
        rows.step(0.1, DECAY)
