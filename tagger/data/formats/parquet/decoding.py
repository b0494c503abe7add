"""Batches of rows with dictionary-encoded strings: the size of each row after decoding, and decoding."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute as pc

_STRINGS = (pa.string(), pa.binary(), pa.large_string(), pa.large_binary())
_ITEMS_AT_ONCE = 2**20  # items of a list whose sizes are computed at once


class EncodedBatch(NamedTuple):
    """Rows whose strings may be dictionary-encoded, and the schema after decoding.

    A dictionary stores repeated values once. Rows are decoded only after their sizes are known.
    """

    rows: pa.RecordBatch
    schema: pa.Schema

    def row_sizes(self) -> NDArray[np.int64]:
        """Returns the size in bytes of each row after decoding."""
        return sum(map(_value_sizes, self.rows.columns), np.zeros(self.rows.num_rows, np.int64))

    def decode(self, start: int, stop: int) -> pa.RecordBatch:
        """Returns rows [start, stop) after decoding."""
        rows = self.rows.slice(start, stop - start)
        columns = zip(rows.columns, self.schema.types, strict=True)
        return pa.RecordBatch.from_arrays([_decode(column, kind) for column, kind in columns], schema=self.schema)


def is_decodable(encoded: pa.DataType, kind: pa.DataType) -> bool:
    """Returns whether Arrow converts an encoded type to another type."""
    try:
        return bool(_decode(pa.array([], encoded), kind).type == kind)
    except pa.ArrowException:
        return False


def _decode(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Returns a column as another type, in two steps because Arrow does not decode dictionaries to views."""
    return column if column.type == kind else column.cast(_without_views(kind)).cast(kind)


def _without_views(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return pa.string() if pa.types.is_string_view(kind) else pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = kind.value_field.with_type(_without_views(kind.value_type))
        return pa.list_(inner) if pa.types.is_list(kind) else pa.large_list(inner)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_without_views(field.type)) for field in kind])
    return kind


def _value_sizes(array: pa.Array) -> NDArray[np.int64]:
    """Returns the size in bytes of each value of an array after decoding, at least 1.

    Raises:
        ArrowInvalid: an index is outside its dictionary.
    """
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _value_sizes(array.storage)
    if pa.types.is_dictionary(kind):
        return _dictionary_sizes(array)
    if pa.types.is_struct(kind):
        return sum(map(_value_sizes, array.flatten()), np.ones(len(array), np.int64))
    if pa.types.is_fixed_size_list(kind):
        bounds = np.arange(array.offset, array.offset + len(array) + 1, dtype=np.int64) * kind.list_size
        return _list_sizes(array.values, bounds)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        return _list_sizes(array.values if not pa.types.is_map(kind) else _map_entries(array), array.offsets.to_numpy())
    if kind in _STRINGS:
        return np.asarray(pc.binary_length(array).fill_null(0).to_numpy(), np.int64) + 4
    if pa.types.is_null(kind):
        return np.ones(len(array), np.int64)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _value_sizes(array.cast(pa.large_binary()))
    try:
        size = kind.bit_width // 8
    except ValueError:  # a list view, or a type of a later Arrow version
        size = array.nbytes
    return np.full(len(array), max(size, 1), np.int64)


def _dictionary_sizes(array: pa.DictionaryArray) -> NDArray[np.int64]:
    sizes = np.append(_value_sizes(array.dictionary), 0)  # the last is the size of null
    indices = array.indices.cast(pa.int64())
    bounds = pc.min_max(indices).as_py()
    if indices.null_count < len(indices) and not 0 <= bounds["min"] <= bounds["max"] < len(array.dictionary):
        raise pa.ArrowInvalid("an index is outside its dictionary")
    return np.asarray(sizes[indices.fill_null(len(sizes) - 1).to_numpy()] + 1, np.int64)


def _map_entries(array: pa.MapArray) -> pa.StructArray:
    return pa.StructArray.from_arrays([array.keys, array.items], ["key", "value"])


def _list_sizes(items: pa.Array, bounds: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Returns the size in bytes of each list; list i holds `items[bounds[i]:bounds[i + 1]]`."""
    first, last = int(bounds[0]), int(bounds[-1])
    if last - first > _ITEMS_AT_ONCE:
        pairs = zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        return np.array([_total_size(items.slice(start, stop - start)) for start, stop in pairs], np.int64) + 4
    ends = np.append(0, np.cumsum(_value_sizes(items.slice(first, last - first))))
    return np.asarray(np.diff(ends[bounds - first]) + 4, np.int64)


def _total_size(items: pa.Array) -> int:
    starts = range(0, len(items), _ITEMS_AT_ONCE)
    return sum(int(_value_sizes(items.slice(start, _ITEMS_AT_ONCE)).sum()) for start in starts)
