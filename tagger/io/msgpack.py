"""MessagePack, read and written value by value: scalars are returned, containers are entered by their size or skipped.

Nothing that holds other values is built, so that a small file cannot ask for much memory.
"""

import struct
from typing import Any, Literal

Scalar = bool | int | float | str | bytes | None
_Kind = Literal["scalar", "list", "map", "extension"]

_CONSTANTS: dict[int, Scalar] = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {code: f">{letter}" for code, letter in enumerate("fdBHIQbhiq", 0xCA)}
_SIZED: dict[int, tuple[str, str]] = {
    code: (kind, size)
    for first, kind, sizes in (
        (0xC4, "bytes", "BHI"),
        (0xC7, "extension", "BHI"),
        (0xD9, "text", "BHI"),
        (0xDC, "list", "HI"),
        (0xDE, "map", "HI"),
    )
    for code, size in enumerate(sizes, first)
}
_FIXED_EXTENSIONS = {0xD4 + power: 1 << power for power in range(5)}


class Reader:
    """Reads the values of MessagePack data one after another.

    >>> reader = Reader(bytes([0x92, 0x05, 0xA1, 0x61]))
    >>> [reader.read_size("list"), reader.read(), reader.read()]
    [2, 5, 'a']

    Args:
        data: the data.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._index = data, 0

    @property
    def is_at_end(self) -> bool:
        """Whether all values are read."""
        return self._index == len(self._data)

    def read(self) -> Scalar:
        """Returns the next value.

        Raises:
            ValueError: the value is a container, or the data is not valid.
        """
        kind, value = self._read_head()
        if kind != "scalar":
            raise ValueError(f"expected a value, found a {kind}")
        scalar: Scalar = value
        return scalar

    def read_size(self, kind: Literal["list", "map"]) -> int:
        """Returns the number of values of a list, or of pairs of a map, which are read next.

        Raises:
            ValueError: the next value is of another kind, or the data is not valid.
        """
        actual, size = self._read_head()
        if actual != kind:
            raise ValueError(f"expected a {kind}, found a {actual}")
        count: int = size
        return count

    def skip(self) -> None:
        """Skips the next value with all that it holds.

        Raises:
            ValueError: the data is not valid.
        """
        remaining = 1
        while remaining:
            kind, value = self._read_head()
            remaining += {"list": 1, "map": 2}.get(kind, 0) * value - 1 if kind != "scalar" else -1

    def read_raw(self) -> bytes:
        """Returns the bytes of the next value with all that it holds.

        Raises:
            ValueError: the data is not valid.
        """
        start = self._index
        self.skip()
        return self._data[start : self._index]

    def _read_head(self) -> tuple[_Kind, Any]:
        """Returns the kind of the next value, and the value or the size of a container."""
        code = self._take(1)[0]
        if code < 0x80 or code >= 0xE0:
            return "scalar", code if code < 0x80 else code - 0x100
        if code < 0xA0:
            return ("map" if code < 0x90 else "list"), code & 0xF
        if code < 0xC0:
            return "scalar", self._take(code & 0x1F).decode()
        if code in _CONSTANTS:
            return "scalar", _CONSTANTS[code]
        if code in _NUMBERS:
            return "scalar", self._read_number(_NUMBERS[code])
        return self._read_sized(code)

    def _read_sized(self, code: int) -> tuple[_Kind, Any]:
        if code in _FIXED_EXTENSIONS:
            self._take(1 + _FIXED_EXTENSIONS[code])
            return "extension", 0
        if code not in _SIZED:
            raise ValueError(f"the byte {code:#x} begins no value")
        kind, size_format = _SIZED[code]
        size = self._read_number(f">{size_format}")
        if kind == "text":
            return "scalar", self._take(size).decode()
        if kind == "bytes":
            return "scalar", self._take(size)
        if kind == "extension":
            self._take(1 + size)
            return "extension", 0
        return ("list" if kind == "list" else "map"), size

    def _read_number(self, number_format: str) -> Any:
        return struct.unpack(number_format, self._take(struct.calcsize(number_format)))[0]

    def _take(self, size: int) -> bytes:
        end = self._index + size
        if end > len(self._data):
            raise ValueError("the data ends within a value")
        taken = self._data[self._index : end]
        self._index = end
        return taken


def pack(value: bool | int | str | bytes) -> bytes:
    """Returns a value as MessagePack.

    >>> Reader(pack("a")).read()
    'a'

    Raises:
        ValueError: an integer is negative or has over 64 bits.
    """
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        if not 0 <= value < 1 << 64:
            raise ValueError(f"expected an integer from 0 to 2 ** 64 - 1, found {value}")
        return bytes([value]) if value < 0x80 else struct.pack(">BQ", 0xCF, value)
    if isinstance(value, str):
        data = value.encode()
        return pack_size("text", len(data)) + data
    return pack_size("bytes", len(value)) + value


def pack_size(kind: Literal["bytes", "text", "list", "map"], size: int) -> bytes:
    """Returns the head of a value of a size, which its bytes, values or pairs follow.

    Raises:
        ValueError: the size has over 32 bits.
    """
    for code, (each, number_format) in _SIZED.items():
        if each == kind and size < 1 << 8 * struct.calcsize(number_format):
            return struct.pack(f">B{number_format}", code, size)
    raise ValueError(f"a {kind} of size {size} is too large")
