"""Reads the rows of Parquet files with bounded memory, whatever the files hold."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet as pq

from tagger.data.formats import annotations, jsonl, rows
from tagger.data.formats.parquet.decoding import EncodedBatch, is_decodable
from tagger.data.formats.reading import ReadOptions
from tagger.data.sentence import Record
from tagger.errors import ConfigError, CorruptError, DataError
from tagger.io import json_files, line_reader

log = logging.getLogger(__name__)

FIELDS = "fields"
"""The column with the fields of a JSON line, as JSON."""
TAGGING = ("tokens", "tags", "spans")
"""The columns that every file of tagged records has."""
_BATCH_ROWS = 1024  # rows read at once
_BATCH_BYTES = 2**26  # bytes read at once, if the rows of a group have equal sizes
_DECODED_BYTES = 2**24  # bytes of rows decoded at once; a larger row is decoded alone
# A row group over these limits of list items or bytes is read only if each compressed byte expands to at most
# `_MAX_EXPANSION` of them and a row of average size is within the limit of a record.
_MAX_GROUP_ITEMS, _MAX_GROUP_BYTES, _MAX_EXPANSION = 2**26, 2**29, 50


_Convert = Callable[["Row", int, int], Record | None]


class Row(Mapping[str, Any]):
    """A row of a batch; its values become Python objects when they are accessed.

    In a file of this toolkit, the fields of a JSON line that are in the column `fields` are values of the row as well,
    except its annotations.
    """

    def __init__(self, batch: pa.RecordBatch, index: int) -> None:
        self.batch, self.index = batch, index
        self._names = list(batch.schema.names)

    @cached_property
    def _fields(self) -> dict[str, Any]:
        """The fields of a JSON line that the row was written from; none in other files."""
        if not {FIELDS, *TAGGING} <= set(self._names) or self.batch.schema.field(FIELDS).type != pa.string():
            return {}
        try:
            value = json_files.parse(self._read(FIELDS) or "", allow_long_integers=True)
        except ValueError:
            return {}
        fields = value if isinstance(value, dict) else {}
        return {name: inner for name, inner in fields.items() if not annotations.is_annotation(name, inner)}

    def __getitem__(self, name: str) -> Any:
        if name in self._names and (name != FIELDS or not self._fields):
            return self._read(name)
        return self._fields[name]

    def _read(self, name: str) -> Any:
        column = self.batch.column(name)
        try:
            return column[self.index].as_py()
        except (ValueError, OverflowError):  # no Python object has this value, such as the year 10000
            return column.slice(self.index, 1).to_string(indent=0).strip("[]\n")

    def __iter__(self) -> Iterator[str]:
        columns = [name for name in self._names if name != FIELDS or not self._fields]
        return iter(dict.fromkeys([*self._fields, *columns]))

    def __len__(self) -> int:
        return len(list(iter(self)))


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Returns the records of a file's rows. Memory does not grow with the number of rows.

    Raises:
        ConfigError: the source is a stream; a Parquet file has its table of contents at its end.
        CorruptError: the file changes while it is read.
        DataError: the file is damaged, has no column of texts or tokens, or a row group needs too much memory; or,
            without `options.reject`, a row has neither text nor tokens, has an empty token, or is too large.
    """
    if not isinstance(source, Path):
        raise ConfigError(f"{options.name}: Parquet cannot be read from a stream; name the file")
    return _read_records(_read_file(source, options), options, _converter(options))


def read_tagged_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields a record with tags for each row that is training data. Classes of `datasets` become their names.

    Raises:
        ConfigError: as `read_records`.
        DataError: as `read_records`, or a row has no annotation that can be read; see `rows.TaggedRows`.
    """
    if not isinstance(source, Path):
        raise ConfigError(f"{options.name}: Parquet cannot be read from a stream; name the file")
    tagged_rows = rows.TaggedRows(annotations.with_class_names(options, _read_class_names(source, options.name)))

    def convert(row: Row, number: int, size: int) -> Record | None:
        return tagged_rows.record(row, number, f"{options.name}: row {number}", size=size)

    return _read_records(_read_file(source, options), options, convert)


def _read_class_names(path: Path, name: str) -> dict[str, tuple[str, ...]]:
    """Returns the names of the classes of each column, as `datasets` stores them in the metadata of a file."""
    with convert_errors(name), path.open("rb") as stream:
        metadata = pq.read_schema(stream).metadata or {}
    try:
        value = json_files.parse(metadata.get(b"huggingface", b"{}"))
    except ValueError:
        return {}
    info = value.get("info") if isinstance(value, dict) else None
    features = info.get("features") if isinstance(info, dict) else None
    return {
        column: _class_names(feature) for column, feature in (features if isinstance(features, dict) else {}).items()
    }


def _class_names(feature: Any) -> tuple[str, ...]:
    while isinstance(feature, dict) and "names" not in feature:
        feature = feature.get("feature")
    names = feature["names"] if isinstance(feature, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) else ()


def read_groups(source: BinaryIO, options: ReadOptions, groups: range | None) -> Iterator[Record]:
    """Returns the records of row groups of an open, seekable file.

    Args:
        source: the file.
        options: the options; `options.first` is the number of the first row of the groups, from 1.
        groups: the numbers of the row groups, from 0; None for all.

    Raises:
        DataError: as `read_records`.
    """
    return _read_records(_read_batches(source, options, groups), options, _converter(options))


def read_group_sizes(source: BinaryIO, name: str) -> list[tuple[int, int]]:
    """Returns the number of rows and the uncompressed bytes of each row group of a file.

    Raises:
        DataError: the source cannot be read as Parquet.
    """
    with convert_errors(name):
        metadata = pq.read_metadata(source)
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        return [(group.num_rows, group.total_byte_size) for group in groups]


@contextmanager
def convert_errors(name: str) -> Iterator[None]:
    """Converts exceptions of Arrow and of the operating system to DataError.

    Raises:
        DataError: the block raised such an exception.
    """
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a name in the file is not UTF-8
        is_system_error = isinstance(error, OSError) and error.errno
        reason = os.strerror(is_system_error) if is_system_error else " ".join(str(error).split())[:200]
        raise DataError(f"{name}: not a Parquet file that can be read: {reason}") from error


def _converter(options: ReadOptions) -> _Convert:
    return lambda row, number, size: rows.record(row, number, options, size=size)


def _read_records(batches: Iterable[EncodedBatch], options: ReadOptions, convert: _Convert) -> Iterator[Record]:
    """Yields the records that `convert` returns of rows, their numbers and their sizes; None is left out."""
    name, limit = options.name, options.max_record_bytes
    first = options.first  # the number of the batch's first row
    for batch in batches:
        with convert_errors(name):
            sizes = batch.row_sizes()
        for start, stop in _decoded_ranges(sizes, limit):
            number = first + start
            if sizes[start] > limit:
                fault = f"a row of over {line_reader.format_size(limit)}; raise `max_record_bytes` to read it"
                options.refuse(f"{name}: row {number}: {fault}", number)
                continue
            with convert_errors(name):
                decoded = batch.decode(start, stop)
            yield from _convert_rows(decoded, sizes[start:stop], number, options, convert)
        first += len(sizes)


def _convert_rows(
    batch: pa.RecordBatch, sizes: NDArray[np.int64], first: int, options: ReadOptions, convert: _Convert
) -> Iterator[Record]:
    is_valid = _is_valid(batch)
    for index, size in enumerate(sizes.tolist()):
        row, number = Row(batch, index), first + index
        try:
            if not is_valid and not _is_valid(batch.slice(index, 1)):
                raise ValueError("a text is not UTF-8")
            record = convert(row, number, size)
        except ValueError as error:
            raw = f"{jsonl.dump(dict(row)).decode()}\n" if options.reject else ""
            options.refuse(f"{options.name}: row {number}: {error}", number, raw, error)
        else:
            if record is not None:
                yield record


def _decoded_ranges(sizes: NDArray[np.int64], limit: int) -> Iterator[tuple[int, int]]:
    """Yields the bounds of rows that are decoded at once; each row over the limit has its own range."""
    start, total = 0, 0
    for index, size in enumerate(sizes.tolist()):
        if index > start and (total + size > _DECODED_BYTES or size > limit):
            yield start, index
            start, total = index, 0
        total += size
        if size > limit:
            yield start, index + 1
            start, total = index + 1, 0
    if start < len(sizes):
        yield start, len(sizes)


def _read_file(path: Path, options: ReadOptions) -> Iterator[EncodedBatch]:
    """Yields the rows of a file. Python opens it, because Arrow refuses names that are not UTF-8."""
    with convert_errors(options.name):
        source = path.open("rb")
    with source, line_reader.check_unchanged(source, options.name):
        yield from _read_batches(source, options, None)


def _read_batches(source: BinaryIO, options: ReadOptions, groups: range | None) -> Iterator[EncodedBatch]:
    """Yields the rows of row groups in order; all rows before a damaged row group are yielded."""
    name = options.name
    last_row = options.first - 1
    try:
        with convert_errors(name), pq.ParquetFile(source) as plain:
            schema = plain.schema_arrow
            _check_columns(schema.names, options)
            paths = _decodable_paths(source, plain)
            with pq.ParquetFile(source, metadata=plain.metadata, read_dictionary=paths) as encoded:
                numbers = range(plain.num_row_groups) if groups is None else groups
                for batch in _iterate_groups(plain, encoded, numbers, options):
                    yield EncodedBatch(batch, schema)
                    last_row += batch.num_rows
    except DataError as error:
        if not last_row or isinstance(error, CorruptError):
            raise
        raise DataError(f"{error}; read up to row {last_row}") from error


def _decodable_paths(source: BinaryIO, plain: pq.ParquetFile) -> list[str]:
    """Returns the paths of string and binary columns that can be read as dictionaries and decoded later."""
    leaves = [plain.schema.column(number) for number in range(len(plain.schema))]
    paths = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    with pq.ParquetFile(source, metadata=plain.metadata, read_dictionary=paths) as encoded:
        pairs = zip(encoded.schema_arrow, plain.schema_arrow, strict=True)
        names = {
            field.name for field, target in pairs if field.type != target.type and is_decodable(field.type, target.type)
        }
    return [path for path in paths if any(path == name or path.startswith(f"{name}.") for name in names)]


def _iterate_groups(
    plain: pq.ParquetFile, encoded: pq.ParquetFile, groups: Sequence[int], options: ReadOptions
) -> Iterator[pa.RecordBatch]:
    """Yields the rows of row groups; reads from `encoded` where decoding may need much memory.

    Consecutive groups that are read in the same way are read together.
    """
    for (row_count, is_small), members in groupby(groups, lambda group: _choose_batches(plain, group)):
        file = plain if is_small else encoded
        accepted: list[int] = []
        for group in members:
            try:
                _check_size(plain, group, options)
            except DataError:
                yield from _read_together(file, accepted, row_count)
                raise
            accepted.append(group)
        yield from _read_together(file, accepted, row_count)


def _choose_batches(file: pq.ParquetFile, group: int) -> tuple[int, bool]:
    """Returns how many rows of a row group are read at once, and whether the group is small after decoding.

    The upper bound of a column's size is its number of values times its bytes: each value may be all of the bytes.
    """
    metadata = file.metadata.row_group(group)
    columns = map(metadata.column, range(metadata.num_columns))
    bound = sum(column.num_values * column.total_uncompressed_size for column in columns)
    is_small = bound <= _BATCH_BYTES
    size = bound if is_small else metadata.total_byte_size
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * metadata.num_rows // max(size, 1))), is_small


def _check_size(file: pq.ParquetFile, group: int, options: ReadOptions) -> None:
    """Raises DataError if a row group may need more memory than a machine has, as a decompression bomb does."""
    metadata = file.metadata.row_group(group)
    columns = [metadata.column(number) for number in range(metadata.num_columns)]
    in_lists = [file.schema.column(number).max_repetition_level > 0 for number in range(metadata.num_columns)]
    items = sum(column.num_values for column, in_list in zip(columns, in_lists, strict=True) if in_list)
    size = sum(column.total_uncompressed_size for column in columns)
    compressed = sum(column.total_compressed_size for column in columns)
    for count, limit, unit in ((items, _MAX_GROUP_ITEMS, "list items"), (size, _MAX_GROUP_BYTES, "bytes")):
        is_bomb = count > _MAX_EXPANSION * compressed or size > options.max_record_bytes * metadata.num_rows
        if count > limit and is_bomb:
            rows = f"{metadata.num_rows:,} rows, compressed to {compressed:,} bytes"
            fault = f"row group {group + 1} has {count:,} {unit} in {rows}; write smaller row groups"
            raise DataError(f"{options.name}: {fault}")


def _read_together(file: pq.ParquetFile, groups: Sequence[int], row_count: int) -> Iterator[pa.RecordBatch]:
    """Yields the rows of row groups read together; after a failure, the remaining rows group by group."""
    skip = 0  # rows that were already yielded
    try:
        for batch in file.iter_batches(row_count, row_groups=groups):
            yield batch
            skip += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        log.debug("row groups are read one by one: %s", error)
    else:
        return
    for group in groups:
        if skip and skip >= (count := file.metadata.row_group(group).num_rows):
            skip -= count
            continue
        for batch in file.iter_batches(row_count, row_groups=[group]):
            yield batch.slice(skip)
            skip = max(0, skip - batch.num_rows)


def _check_columns(names: Sequence[str], options: ReadOptions) -> None:
    name, fields = options.name, options.annotations.fields
    if repeated := next((column for column in names if names.count(column) > 1), None):
        raise DataError(f"{name}: two columns are called {repeated!r}; rename one")
    if not {"text", "tokens", "data", fields.text, fields.tokens} & set(names):
        raise DataError(f"{name}: no column 'text' or 'tokens'; it has {', '.join(names) or 'none'}")


def _is_valid(batch: pa.RecordBatch) -> bool:
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
