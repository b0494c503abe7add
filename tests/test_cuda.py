"""Training and tagging on a GPU: the same as on a CPU. Skipped where there is none."""

from pathlib import Path

import pytest
import torch

import tagger
from tagger import checkpoint, training
from tagger.config import Config
from tagger.training import StepEnd

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
TEXTS = ["Ada lives in New York .", "Alan", "Grace lives in Paris . Donald lives in Oslo ."] * 50


def with_training(config: Config, **changes: object) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update=changes)})


def test_a_model_gives_the_same_tags_on_gpu_and_cpu(model_dir: Path) -> None:
    assert tagger.load(model_dir, device="cuda").tag(TEXTS) == tagger.load(model_dir, device="cpu").tag(TEXTS)


@pytest.mark.parametrize("mixed", [False, True])
def test_a_gpu_learns_the_tiny_corpus(tiny_config: Config, tmp_path: Path, mixed: bool) -> None:
    config = with_training(tiny_config, epochs=15, mixed_precision=mixed, average=0.9)
    assert training.fit(config, tmp_path / "run", device="cuda").dev > 99


def test_a_stopped_run_goes_on_on_the_gpu_and_on_the_cpu(tiny_config: Config, tmp_path: Path) -> None:
    config = with_training(tiny_config, epochs=4, checkpoint_steps=3)

    class Killed(BaseException):
        pass

    def kill(event: object) -> None:
        if isinstance(event, StepEnd) and (event.epoch, event.step) == (1, 5):
            raise Killed

    for device in ("cuda", "cpu"):
        run = tmp_path / device
        with pytest.raises(Killed):
            training.fit(config, run, device="cuda", listen=kill)
        assert training.resume(run, device=device).model.is_dir()
        assert checkpoint.newest(run).name == "checkpoint-000036"
