"""Every damage to a file of a model is found, and a run goes back to its newest whole checkpoint.

By default some 100 mutations; TAGGER_TEST_SCALE=10 makes them 1000.
"""

import logging
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tagger import model_dir, training
from tagger.config import Config, dump
from tagger.errors import ModelError
from tagger.training import run_dir
from tests.robustness.runs import SCALE, changed, results


def mutations(data: bytes, count: int, seed: str) -> Iterator[bytes]:
    """Yields `count` damaged forms of a file's content: cut short, a bit turned over, a page of zeros."""
    source = random.Random(seed)
    while count:
        place = source.randrange(len(data))
        match source.randrange(3):
            case 0:
                damaged = data[:place]
            case 1:
                damaged = data[:place] + bytes([data[place] ^ (1 << source.randrange(8))]) + data[place + 1 :]
            case _:
                page = place // 4096 * 4096
                damaged = data[:page] + bytes(len(data[page : page + 4096])) + data[page + 4096 :]
        if damaged != data:
            count -= 1
            yield damaged


@pytest.fixture
def copy(model_path: Path, tmp_path: Path) -> Path:
    """A copy of the trained model, without the card, which a user may edit."""
    return Path(shutil.copytree(model_path, tmp_path / "model", ignore=shutil.ignore_patterns("README.md")))


def test_every_damage_to_a_file_of_a_model_is_detected(copy: Path) -> None:
    paths = [path for path in sorted(copy.iterdir()) if path.stat().st_size]
    for path in paths:
        whole = path.read_bytes()
        for damaged in mutations(whole, 14 * SCALE, path.name):
            path.write_bytes(damaged)
            with pytest.raises(ModelError, match="corrupt"):
                model_dir.load(copy)
        path.write_bytes(whole)
    assert len(paths) >= 7
    model_dir.load(copy)


def test_a_missing_file_is_detected(copy: Path) -> None:
    for path in sorted(copy.iterdir()):
        whole = path.read_bytes()
        path.unlink()
        with pytest.raises(ModelError, match=r"cannot be read|no model here"):
            model_dir.load(copy)
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["weights.safetensors", "state.json", "state.safetensors", "MANIFEST.json"])
def test_a_run_resumes_from_its_newest_valid_checkpoint_with_the_same_result(
    config: Config, undisturbed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    run = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    newest = model_dir.find_newest_checkpoint(run)
    damaged = newest / name
    damaged.write_bytes(next(mutations(damaged.read_bytes(), 1, name)))
    with caplog.at_level(logging.INFO, "tagger"):
        training.resume(run, device="cpu")
    assert f"{newest.name}/{name} is corrupt" in caplog.text
    assert "using an older checkpoint" in caplog.text
    assert results(run) == results(undisturbed)


def test_a_run_without_a_valid_checkpoint_is_refused(config: Config, tmp_path: Path) -> None:
    training.train(changed(config, "training.epochs=1"), tmp_path, device="cpu")
    for path in tmp_path.glob("checkpoint-*/weights.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(ModelError, match=r"has no checkpoint to resume from$"):
        training.resume(tmp_path, device="cpu")


def test_a_run_killed_before_its_first_checkpoint_can_start_again(config: Config, tmp_path: Path) -> None:
    config = changed(config, "training.epochs=1")
    with run_dir.lock_run_dir(tmp_path / "run"):
        (tmp_path / "run" / "config.yaml").write_text(dump(config))
    with pytest.raises(ModelError, match=r"no checkpoint .*; run the command that started it again, without `res"):
        training.resume(tmp_path / "run", device="cpu")
    training.train(config, tmp_path / "run", device="cpu")
