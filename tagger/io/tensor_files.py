"""Reads safetensors files that somebody else may have written; what their headers say is checked before it is used."""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

MAX_HEADER_BYTES = 1 << 20
_MAX_DIMENSIONS, _MAX_SIZE = 8, 1 << 40
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "I64": torch.int64,
    "U8": torch.uint8,
}


class _Entry(NamedTuple):
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


def size_range(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Returns the least and the largest size in bytes of a file of such tensors, which may be on the device meta."""
    least = 8 + sum(tensor.nbytes for tensor in tensors.values())
    return least, least + MAX_HEADER_BYTES


def take(data: bytearray) -> dict[str, Tensor]:
    """Returns the tensors of a file by name and empties `data`, so that memory never holds all of them twice.

    Raises:
        ValueError: `data` is not a safetensors file, or holds a type that this toolkit does not write.
    """
    entries, tensors = _entries(data), {}
    for entry in reversed(entries):
        tensors[entry.name] = _tensor(data, entry)
        del data[entry.start :]
    return {entry.name: tensors[entry.name] for entry in entries}


def mismatches(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Returns a line for each tensor whose name, shape or dtype is not the expected one, or with a value not finite."""
    faults = [f"{name} is missing" for name in expected.keys() - tensors.keys()]
    faults += [f"{_shown(name)} does not belong there" for name in tensors.keys() - expected.keys()]
    for name in expected.keys() & tensors.keys():
        wanted, found = expected[name], tensors[name]
        if wanted.shape != found.shape or wanted.dtype != found.dtype:
            faults.append(
                f"{name} has {found.dtype} {tuple(found.shape)}, expected {wanted.dtype} {tuple(wanted.shape)}"
            )
        elif found.numel() and not all(bound.isfinite() for bound in found.aminmax()):
            faults.append(f"{name} holds a value that is not finite")
    return sorted(faults)


def _tensor(data: bytearray, entry: _Entry) -> Tensor:
    if entry.start == entry.stop:
        return torch.empty(entry.shape, dtype=entry.dtype)
    count = math.prod(entry.shape)
    # A copy: torch's own memory is aligned, so that sums round as in a training.
    return torch.frombuffer(data, dtype=entry.dtype, count=count, offset=entry.start).clone().reshape(entry.shape)


def _entries(data: bytearray) -> list[_Entry]:
    """Returns what the header lists, in the order of the tensors, which fill the rest of the file without a gap."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise ValueError("its header is longer than the file")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header is longer than {MAX_HEADER_BYTES} bytes")
    try:
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("its header nests too deeply") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    header.pop("__metadata__", None)
    entries = sorted((_entry(name, value, 8 + length) for name, value in header.items()), key=lambda one: one[3:])
    end = 8 + length
    for entry in entries:
        if entry.start != end:
            raise ValueError(f"{_shown(entry.name)} does not begin where the tensor before it ends")
        end = entry.stop
    if end != len(data):
        raise ValueError(f"its tensors end at byte {end} of {len(data)}")
    return entries


def _entry(name: str, value: Any, base: int) -> _Entry:
    """Returns an entry of the header; offsets become those in the file.

    Raises:
        ValueError: it is not an entry, or its size is not that of its shape.
    """
    fault = ValueError(f"the entry of {_shown(name)} in its header is not valid")
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise fault
    dtype, shape, offsets = _DTYPES.get(str(value["dtype"])), value["shape"], value["data_offsets"]
    if dtype is None or not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise fault
    if len(shape) > _MAX_DIMENSIONS or offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
        raise fault
    return _Entry(name, dtype, tuple(shape), base + offsets[0], base + offsets[1])


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int and 0 <= one <= _MAX_SIZE for one in value)


def _shown(name: str) -> str:
    return name[:100] if name.isprintable() else repr(name[:100])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns a JSON object; `json` would let the last of two equal names win."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a name stands twice in its header")
    return entries
