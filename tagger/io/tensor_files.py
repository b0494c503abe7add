"""Reads safetensors files that may come from anywhere; their headers are validated before use."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tagger.io import json_files

MAX_HEADER_BYTES = 1 << 20
_MAX_DIMENSIONS, _MAX_SIZE = 8, 1 << 40
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "I64": torch.int64,
    "U8": torch.uint8,
    "I8": torch.int8,
}


class _Entry(NamedTuple):
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


def size_range(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Returns the minimum and maximum size in bytes of a file of tensors, which may be on the device meta."""
    minimum = 8 + sum(tensor.nbytes for tensor in tensors.values())
    return minimum, minimum + MAX_HEADER_BYTES


def load_tensors(data: bytearray) -> dict[str, Tensor]:
    """Returns the tensors of a file by name and empties `data`, so that memory never holds all tensors twice.

    Raises:
        ValueError: `data` is not a safetensors file, or has a dtype that this toolkit does not write.
    """
    entries, tensors = _parse_header(data), {}
    for entry in reversed(entries):
        tensors[entry.name] = _read_tensor(data, entry)
        del data[entry.start :]
    return {entry.name: tensors[entry.name] for entry in entries}


def find_mismatches(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Returns a line for each tensor whose name, shape or dtype differs from the expected, or that is not finite."""
    faults = [f"{name} is missing" for name in expected.keys() - tensors.keys()]
    faults += [f"{_format_name(name)} is not expected" for name in tensors.keys() - expected.keys()]
    for name in expected.keys() & tensors.keys():
        wanted, actual = expected[name], tensors[name]
        if wanted.shape != actual.shape or wanted.dtype != actual.dtype:
            faults.append(
                f"{name} has {actual.dtype} {tuple(actual.shape)}, expected {wanted.dtype} {tuple(wanted.shape)}"
            )
        elif actual.numel() and not all(bound.isfinite() for bound in actual.aminmax()):
            faults.append(f"{name} has a value that is not finite")
    return sorted(faults)


def _read_tensor(data: bytearray, entry: _Entry) -> Tensor:
    if entry.start == entry.stop:
        return torch.empty(entry.shape, dtype=entry.dtype)
    count = math.prod(entry.shape)
    # Copied because memory that torch allocates is aligned: sums then round as in training.
    return torch.frombuffer(data, dtype=entry.dtype, count=count, offset=entry.start).clone().reshape(entry.shape)


def _parse_header(data: bytearray) -> list[_Entry]:
    """Returns the entries of the header in file order; their tensors fill the rest of the file without a gap."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise ValueError("its header is longer than the file")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header is longer than {MAX_HEADER_BYTES} bytes")
    try:
        header = json_files.parse(bytes(data[8 : 8 + length]))
    except ValueError as error:
        raise ValueError(f"its header: {error}") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    header.pop("__metadata__", None)
    entries = sorted(
        (_parse_entry(name, value, 8 + length) for name, value in header.items()), key=lambda entry: entry[3:]
    )
    end = 8 + length
    for entry in entries:
        if entry.start != end:
            raise ValueError(f"{_format_name(entry.name)} does not start where the previous tensor ends")
        end = entry.stop
    if end != len(data):
        raise ValueError(f"its tensors end at byte {end} of {len(data)}")
    return entries


def _parse_entry(name: str, value: Any, base: int) -> _Entry:
    """Returns an entry of the header, with offsets from the start of the file.

    Raises:
        ValueError: it is not an entry, or its size does not match its shape.
    """
    fault = ValueError(f"the entry of {_format_name(name)} in its header is not valid")
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise fault
    dtype, shape, offsets = _DTYPES.get(str(value["dtype"])), value["shape"], value["data_offsets"]
    if dtype is None or not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise fault
    if len(shape) > _MAX_DIMENSIONS or offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
        raise fault
    return _Entry(name, dtype, tuple(shape), base + offsets[0], base + offsets[1])


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and 0 <= size <= _MAX_SIZE for size in value)


def _format_name(name: str) -> str:
    return name[:100] if name.isprintable() else repr(name[:100])
