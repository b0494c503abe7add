"""A model saved and loaded is the same model, and a run keeps its newest checkpoints."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tagger import model_dir, tagging
from tagger.errors import ModelError, StorageError
from tagger.io import manifest
from tagger.model_dir import State


def test_a_model_saved_and_loaded_is_the_same_model(model_path: Path, tmp_path: Path) -> None:
    model, metrics = model_dir.load(model_path)
    model_dir.save(model, tmp_path / "model", metrics, card=model_dir.read_card(model_path))
    for path in model_path.iterdir():
        assert (tmp_path / "model" / path.name).read_bytes() == path.read_bytes()
    sentences = ["Ada lives in Paris .", "Nobody lives in Nowhere ."]
    assert tagging.load(model_path).tag(sentences) == tagging.load(tmp_path / "model").tag(sentences)


def test_a_copy_takes_the_place_of_what_was_there_and_a_damaged_model_is_not_copied(
    model_path: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(model_path, tmp_path / "model"))
    (model / "old").touch()
    model_dir.copy(model_path, model)
    assert {path.name: path.read_bytes() for path in model.iterdir()} == {
        path.name: path.read_bytes() for path in model_path.iterdir()
    }
    damaged = Path(shutil.copytree(model_path, tmp_path / "damaged"))
    (damaged / "tags.txt").write_text("O\n")
    with pytest.raises(ModelError, match=r"tags.txt is corrupt"):
        model_dir.copy(damaged, model)
    assert (model / "tags.txt").read_bytes() == (model_path / "tags.txt").read_bytes()


def test_a_model_names_no_file_it_was_trained_on(model_path: Path) -> None:
    assert "train.conll" not in (model_path / "config.yaml").read_text()


def test_a_state_saved_and_loaded_is_the_same_state(model_path: Path, tmp_path: Path) -> None:
    model, metrics = model_dir.load(model_path)
    state = State({"step": 3, "history": [{"f1": 0.1}]}, {"a": torch.arange(3), "b": torch.tensor(0.1)})
    model_dir.save(model, tmp_path / "model", metrics, state)
    found = model_dir.load_state(tmp_path / "model")
    assert found.progress == state.progress
    assert found.tensors.keys() == state.tensors.keys()
    assert all(torch.equal(found.tensors[name], state.tensors[name]) for name in state.tensors)


def test_a_card_tells_what_a_model_is(model_path: Path) -> None:
    card = model_dir.describe(model_path)
    assert card["scheme"] == "IOBES"
    assert card["encoder"] == "lstm, 1 x 16 in both directions"
    network = model_dir.load(model_path)[0].network
    assert card["parameters"] == sum(tensor.numel() for tensor in network.parameters())


def test_a_run_keeps_its_newest_checkpoints_and_drops_those_a_damaged_run_had_after_them(
    model_path: Path, tmp_path: Path
) -> None:
    model, _ = model_dir.load(model_path)
    for number in (0, 5, 10, 7):
        model_dir.add_checkpoint(tmp_path, number, model, {}, State({}, {}), retained=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LATEST", "checkpoint-000005", "checkpoint-000007"]
    assert model_dir.find_newest_checkpoint(tmp_path).name == "checkpoint-000007"


@pytest.mark.parametrize("latest", [b"", b"\xff\n", b"checkpoint-000099\n", b"../elsewhere\n", None])
def test_without_a_latest_of_use_the_newest_checkpoint_counts(
    model_path: Path, tmp_path: Path, latest: bytes | None
) -> None:
    model, _ = model_dir.load(model_path)
    for number in (5, 10):
        model_dir.add_checkpoint(tmp_path, number, model, {}, State({}, {}), retained=2)
    (tmp_path / "LATEST").unlink()
    if latest is not None:
        (tmp_path / "LATEST").write_bytes(latest)
    assert model_dir.find_newest_checkpoint(tmp_path).name == "checkpoint-000010"


@pytest.mark.parametrize("other", [1, 99])
def test_a_model_of_another_format_is_refused(model_path: Path, tmp_path: Path, other: int) -> None:
    listed = json.loads((model_path / "MANIFEST.json").read_text())
    del listed["sha256"]
    (tmp_path / "MANIFEST.json").write_bytes(manifest.serialize(listed | {"format": other}))
    with pytest.raises(ModelError, match=f"has model format {other}; expected format 2, train the model again"):
        model_dir.load(tmp_path)


@pytest.mark.parametrize("files", [None, [], "abc", 3, {"config.yaml": 3}, {}])
def test_a_manifest_that_lists_no_files_is_refused(tmp_path: Path, files: object) -> None:
    (tmp_path / "MANIFEST.json").write_bytes(manifest.serialize({"format": manifest.FORMAT, "files": files}))
    with pytest.raises(ModelError, match=r"is corrupt|holds no config.yaml"):
        model_dir.load(tmp_path)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there: no such model directory"):
        model_dir.load(tmp_path / "there")
    with pytest.raises(ModelError, match=r"no model here, there is no MANIFEST.json"):
        model_dir.load(tmp_path)


def test_a_place_that_cannot_be_written_is_told(model_path: Path, tmp_path: Path) -> None:
    model, _ = model_dir.load(model_path)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written: Not a directory"):
        model_dir.save(model, tmp_path / "file" / "model", {})
