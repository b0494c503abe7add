"""Tests of the process around a job."""

import gc
from collections.abc import Iterator

import pytest
import torch

from tagger.device import relaxed_garbage_collection, select_device
from tagger.errors import ConfigError


@pytest.fixture
def _unfrozen() -> Iterator[None]:
    """Starts a test without frozen objects; `tests/conftest.py` freezes those of the session."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.usefixtures("_unfrozen")
def test_the_garbage_collector_is_relaxed_in_the_block_and_restored_after_it() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with relaxed_garbage_collection():
        assert gc.get_threshold()[0] > 10 * before[0]
        assert gc.get_freeze_count() > frozen
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


def test_objects_frozen_by_an_application_stay_frozen() -> None:
    """The count may fall by some objects: a frozen object without references is freed."""
    gc.freeze()
    frozen = gc.get_freeze_count()
    more = [[] for _ in range(1000)]  # type: ignore[var-annotated]  # a second freeze would add these
    with relaxed_garbage_collection():
        assert 0.9 * frozen < gc.get_freeze_count() <= frozen
    assert 0.9 * frozen < gc.get_freeze_count() <= frozen
    del more


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", "", "cuda:1234", "mps"])
def test_an_unknown_device_is_an_error_that_names_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^`device` must be auto, cpu, cuda or cuda:N, got '{name}'$"):
        select_device(name)


def test_a_gpu_that_does_not_exist_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_device("auto") == select_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"^`device` is cuda:1, but torch finds no GPU; set it to cpu or auto$"):
        select_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert select_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match=r"^`device` is cuda:2, but the last GPU that torch finds is cuda:1$"):
        select_device("cuda:2")
