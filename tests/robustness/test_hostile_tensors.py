"""A model whose manifest is right, but whose tensors its author made to harm, is refused."""

import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from tagger import model_dir
from tagger.errors import ModelError
from tagger.io import manifest
from tests.robustness.runs import SCALE

WEIGHTS = "weights.safetensors"


@pytest.fixture
def model(model_path: Path, tmp_path: Path) -> Path:
    """A copy of the trained model."""
    return Path(shutil.copytree(model_path, tmp_path / "model"))


def put(model: Path, data: bytes, name: str = WEIGHTS) -> None:
    """Gives a file of a model new content, and the model a manifest in which all is right."""
    names = [path.name for path in model.iterdir() if path.name != model_dir.MANIFEST]
    contents = {each: (model / each).read_bytes() for each in names} | {name: data}
    (model / name).write_bytes(data)
    (model / model_dir.MANIFEST).write_bytes(manifest.build_manifest(contents))


def with_header(data: bytes, change: Callable[[str], str]) -> bytes:
    """Returns a safetensors file with its header's JSON changed."""
    (length,) = struct.unpack("<Q", data[:8])
    header = change(data[8 : 8 + length].decode()).encode()
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def test_an_unchanged_file_is_accepted(model: Path) -> None:
    put(model, (model / WEIGHTS).read_bytes())
    model_dir.load(model)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 100_000) + b"[" * 100_000,
    ],
)
def test_a_file_that_is_not_safetensors_is_refused(model: Path, data: bytes) -> None:
    put(model, data)
    with pytest.raises(ModelError, match=r"refused|is missing"):
        model_dir.load(model)


def test_a_repeated_name_is_refused(model: Path) -> None:
    def twice(header: str) -> str:
        entry = header[1 : header.index("}") + 1]
        return f"{{{entry},{header[1:]}"

    put(model, with_header((model / WEIGHTS).read_bytes(), twice))
    with pytest.raises(ModelError, match=r"its header: the key .* occurs twice"):
        model_dir.load(model)


@pytest.mark.parametrize("dtype", ["F4", "F8_E8M0", "X", "I16"])
def test_an_unexpected_dtype_is_refused(model: Path, dtype: str) -> None:
    def changed(header: str) -> str:
        entries = json.loads(header)
        start, end = entries["projection.bias"]["data_offsets"]
        entries["projection.bias"] |= {"dtype": dtype, "shape": [end - start]}  # right for a type of one byte
        return json.dumps(entries)

    put(model, with_header((model / WEIGHTS).read_bytes(), changed))
    with pytest.raises(ModelError, match=r"refused|expected torch.float32"):
        model_dir.load(model)


def _without(tensors: dict[str, Tensor]) -> None:
    del tensors["projection.bias"]


def _with_more(tensors: dict[str, Tensor]) -> None:
    tensors["more"] = torch.zeros(1)


def _wider(tensors: dict[str, Tensor]) -> None:
    tensors["projection.bias"] = torch.zeros(len(tensors["projection.bias"]) + 1)


def _of_halves(tensors: dict[str, Tensor]) -> None:
    tensors["projection.bias"] = tensors["projection.bias"].half()


def _with(value: float) -> Callable[[dict[str, Tensor]], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors["projection.bias"][0] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without, "projection.bias is missing"),
        (_with_more, "more is not expected"),
        (_wider, r"projection.bias has torch.float32 \(\d+,\), expected torch.float32 \(\d+,\)"),
        (_of_halves, r"projection.bias has torch.float16 .* expected torch.float32"),
        (_with(float("nan")), "projection.bias has a value that is not finite"),
        (_with(float("inf")), "projection.bias has a value that is not finite"),
    ],
)
def test_tensors_that_do_not_match_the_recipe_are_refused(
    model: Path, change: Callable[[dict[str, Tensor]], Any], message: str
) -> None:
    tensors = load_file(model / WEIGHTS)
    change(tensors)
    put(model, save(tensors))
    with pytest.raises(ModelError, match=message):
        model_dir.load(model)


def test_no_changed_header_crashes_the_reader(model: Path) -> None:
    """A changed header is refused, or it says the same; what comes out is never another exception."""
    whole, source = (model / WEIGHTS).read_bytes(), random.Random(18)
    (length,) = struct.unpack("<Q", whole[:8])
    expected = load_file(model / WEIGHTS)
    for _ in range(40 * SCALE):
        place = source.randrange(8 + length)
        put(model, whole[:place] + bytes([source.randrange(256)]) + whole[place + 1 :])
        try:
            found = model_dir.load(model)[0].network.state_dict()
        except ModelError:
            continue
        assert found.keys() == expected.keys()
        assert all(found[name].shape == expected[name].shape for name in expected)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("tags.txt", b"O\nO\n"),
        ("tags.txt", b"O\n"),
        ("words.txt", b"\xff\n"),
        ("chars.txt", b"a"),
        ("metrics.json", b"{"),
        ("metrics.json", b"[" * 100_000),
        ("config.yaml", b"\xff"),
        ("config.yaml", b"model: {encoder: {hidden_size: none}}"),
    ],
)
def test_files_of_a_model_that_contradict_each_other_are_refused(model: Path, name: str, data: bytes) -> None:
    put(model, data, name)
    with pytest.raises(ModelError, match="model"):
        model_dir.load(model)
