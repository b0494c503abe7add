"""Parquet: a row a record, with a column of texts or of token lists; other columns are carried as they are."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute as pc
from pyarrow import ipc
from pyarrow import parquet as pq

from tagger.data.formats import jsonl, rows
from tagger.data.formats.reading import ReadOptions
from tagger.data.formats.writing import Sink, WriteOptions
from tagger.data.sentence import Record, Reject
from tagger.errors import ConfigError, CorruptError, DataError
from tagger.io import atomic, line_reader

log = logging.getLogger(__name__)

_BATCH = 1024  # rows read at once
_BATCH_BYTES = 2**26  # of rows that are read at once, if they are as large as the others of their row group
_DECODED_BYTES = 2**24  # of rows that are decoded at once, unless it is one
# A row group may hold more items of lists, or more bytes, only where each packed byte stands for at most so many (a few
# bytes may stand for all of them, and one row may hold them) and where a usual row is within the limit.
_GROUP_ITEMS, _GROUP_BYTES, _PACKED = 2**26, 2**29, 50
_STRINGS = (pa.string(), pa.binary(), pa.large_string(), pa.large_binary())
_STEP = 2**20  # items of a list whose sizes are computed at once
_GROUP = 2**24  # bytes of a row group at least, but for the last
_PARQUET = b"PAR1"  # which such a file begins with, and no stream of messages
_END = b"\xff\xff\xff\xff\0\0\0\0"  # of a stream of Arrow messages

_RANGES = pa.list_(pa.list_(pa.int64()))
_SPAN = [("type", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("text", pa.string())]
_ALTERNATIVE = pa.struct([("tags", pa.list_(pa.string())), ("probability", pa.float64())])


class Row(Mapping[str, Any]):
    """A row of a table, whose values become Python's only when they are asked for."""

    def __init__(self, batch: pa.RecordBatch, place: int) -> None:
        self.batch, self.place = batch, place

    def __getitem__(self, name: str) -> Any:
        if name not in self.batch.schema.names:
            raise KeyError(name)
        column = self.batch.column(name)
        try:
            return column[self.place].as_py()
        except (ValueError, OverflowError):  # what Python cannot hold, such as the year 10000
            return column.slice(self.place, 1).to_string(indent=0).strip("[]\n")

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch.schema.names)

    def __len__(self) -> int:
        return len(self.batch.schema.names)


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Returns the records of a file's rows; see `read` for errors."""
    limit = options.max_record_bytes
    return read(source, options.name, options.language, reject=options.reject, max_record_bytes=limit)


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of Parquet files."""
    return Writer(options)


def read(
    source: Path | BinaryIO,
    name: str,
    language: str,
    *,
    reject: Callable[[Reject], None] | None = None,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Iterator[Record]:
    """Returns the records of a file's rows, some of which are read at once, never all.

    Raises:
        ConfigError: the source is a stream; Parquet has its contents at its end.
        CorruptError: the file changes while it is read.
        DataError: the file is damaged, has no column of texts or of tokens, or a row group that takes too much memory;
            or a row has neither, an empty token, or more than `max_record_bytes`, unless `reject` is there to take it.
    """
    if not isinstance(source, Path):
        raise ConfigError(f"{name}: Parquet cannot be read from a stream; name the file")
    return _records(_opened(source, name, max_record_bytes), name, language, reject, 1, max_record_bytes)


def read_groups(
    source: BinaryIO,
    name: str,
    language: str,
    *,
    groups: range | None,
    first: int,
    reject: Callable[[Reject], None] | None = None,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Iterator[Record]:
    """Returns the records of row groups of a file that was opened and can be read at any place.

    Args:
        source: the file.
        name: stands for it in errors.
        language: that of its texts.
        groups: the numbers of the row groups, from 0; all if None.
        first: the number of their first row, from 1.
        reject: as `read` takes it.
        max_record_bytes: as `read` takes it.

    Raises:
        DataError: as `read`.
    """
    return _records(
        _batches(source, name, groups, first, max_record_bytes), name, language, reject, first, max_record_bytes
    )


def group_sizes(source: BinaryIO, name: str) -> list[tuple[int, int]]:
    """Returns the rows, and the bytes before compression, of each row group of a file.

    Raises:
        DataError: it is no Parquet file that can be read.
    """
    with _damage(name):
        found = pq.read_metadata(source)
        groups = map(found.row_group, range(found.num_row_groups))
        return [(group.num_rows, group.total_byte_size) for group in groups]


class _Batch(NamedTuple):
    """Rows whose strings may be encoded by dictionaries, and the types of the columns that they are decoded to.

    A dictionary holds once what many rows repeat, so that rows are decoded only when their sizes are known.
    """

    rows: pa.RecordBatch
    schema: pa.Schema

    def sizes(self) -> NDArray[np.int64]:
        """Returns the bytes of each row when it is decoded."""
        return sum(map(_sizes, self.rows.columns), np.zeros(self.rows.num_rows, np.int64))

    def decoded(self, start: int, stop: int) -> pa.RecordBatch:
        """Returns rows [start, stop) in their own types."""
        rows = self.rows.slice(start, stop - start)
        columns = zip(rows.columns, self.schema.types, strict=True)
        return pa.RecordBatch.from_arrays([_decoded(column, kind) for column, kind in columns], schema=self.schema)


def _records(
    batches: Iterable[_Batch],
    name: str,
    language: str,
    reject: Callable[[Reject], None] | None,
    first: int,
    limit: int,
) -> Iterator[Record]:
    number = first
    for batch in batches:
        with _damage(name):
            sizes = batch.sizes()
        for start, stop in _stretches(sizes, limit):
            if sizes[start] > limit:
                over = f"a row of over {line_reader.format_size(limit)}; raise `max_record_bytes` to read it"
                _refuse(f"{name}: row {number + start}: {over}", number + start, "", reject)
                continue
            with _damage(name):
                decoded = batch.decoded(start, stop)
            yield from _of_rows(decoded, sizes[start:stop], name, language, reject, number + start)
        number += len(sizes)


def _of_rows(
    batch: pa.RecordBatch,
    sizes: NDArray[np.int64],
    name: str,
    language: str,
    reject: Callable[[Reject], None] | None,
    first: int,
) -> Iterator[Record]:
    sound = _sound(batch)
    for place, size in enumerate(sizes.tolist()):
        row, number = Row(batch, place), first + place
        try:
            if not sound and not _sound(batch.slice(place, 1)):
                raise ValueError("a text is not UTF-8")
            yield rows.record(row, number, language, size)
        except ValueError as error:
            raw = f"{jsonl.dump(dict(row)).decode()}\n" if reject else ""
            _refuse(f"{name}: row {number}: {error}", number, raw, reject, error)


def _refuse(
    fault: str,
    number: int,
    raw: str,
    reject: Callable[[Reject], None] | None,
    cause: Exception | None = None,
) -> None:
    if reject is None:
        raise DataError(fault) from cause
    reject(Reject(fault, number, raw))


def _stretches(sizes: NDArray[np.int64], limit: int) -> Iterator[tuple[int, int]]:
    """Yields the bounds of rows that are decoded at once; each over the limit is alone."""
    start, total = 0, 0
    for place, size in enumerate(sizes.tolist()):
        if place > start and (total + size > _DECODED_BYTES or size > limit):
            yield start, place
            start, total = place, 0
        total += size
        if size > limit:
            yield start, place + 1
            start, total = place + 1, 0
    if start < len(sizes):
        yield start, len(sizes)


def _sizes(array: pa.Array) -> NDArray[np.int64]:
    """Returns the bytes of each value of an array when it is decoded, at least 1.

    Raises:
        ArrowInvalid: a value is none of its dictionary.
    """
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _sizes(array.storage)
    if pa.types.is_dictionary(kind):
        of = np.append(_sizes(array.dictionary), 0)  # the last stands for null
        places = array.indices.cast(pa.int64())
        found = pc.min_max(places).as_py()
        if places.null_count < len(places) and not 0 <= found["min"] <= found["max"] < len(array.dictionary):
            raise pa.ArrowInvalid("a value is none of its dictionary")
        return np.asarray(of[places.fill_null(len(of) - 1).to_numpy()] + 1, np.int64)
    if pa.types.is_struct(kind):
        return sum(map(_sizes, array.flatten()), np.ones(len(array), np.int64))
    if pa.types.is_fixed_size_list(kind):
        bounds = np.arange(array.offset, array.offset + len(array) + 1, dtype=np.int64) * kind.list_size
        return _of_items(array.values, bounds)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        return _of_items(array.values if not pa.types.is_map(kind) else _entries(array), array.offsets.to_numpy())
    if kind in _STRINGS:
        return np.asarray(pc.binary_length(array).fill_null(0).to_numpy(), np.int64) + 4
    if pa.types.is_null(kind):
        return np.ones(len(array), np.int64)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _sizes(array.cast(pa.large_binary()))
    try:
        width = kind.bit_width // 8
    except ValueError:  # a list view, or a type to come
        width = array.nbytes
    return np.full(len(array), max(width, 1), np.int64)


def _entries(array: pa.MapArray) -> pa.StructArray:
    return pa.StructArray.from_arrays([array.keys, array.items], ["key", "value"])


def _of_items(items: pa.Array, bounds: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Returns the bytes of lists by the bounds of theirs among all items."""
    first, last = int(bounds[0]), int(bounds[-1])
    if last - first > _STEP:
        pairs = zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        return np.array([_total(items.slice(start, stop - start)) for start, stop in pairs], np.int64) + 4
    ends = np.append(0, np.cumsum(_sizes(items.slice(first, last - first))))
    return np.asarray(np.diff(ends[bounds - first]) + 4, np.int64)


def _total(items: pa.Array) -> int:
    return sum(int(_sizes(items.slice(start, _STEP)).sum()) for start in range(0, len(items), _STEP))


def _opened(path: Path, name: str, limit: int) -> Iterator[_Batch]:
    """Yields the rows of a file, which Python opens: Arrow takes no name that is not UTF-8."""
    with _damage(name):
        source = path.open("rb")
    with source, line_reader.check_unchanged(source, name):
        yield from _batches(source, name, None, 1, limit)


def _batches(source: BinaryIO, name: str, groups: range | None, first: int, limit: int) -> Iterator[_Batch]:
    """Yields the rows of row groups, one after another: damage in one costs none of those before it."""
    read = first - 1
    try:
        with _damage(name), pq.ParquetFile(source) as plain:
            schema = plain.schema_arrow
            _check(schema.names, name)
            with pq.ParquetFile(source, metadata=plain.metadata, read_dictionary=_strings(source, plain)) as encoded:
                some = range(plain.num_row_groups) if groups is None else groups
                for batch in _of_groups(plain, encoded, name, some, limit):
                    yield _Batch(batch, schema)
                    read += batch.num_rows
    except DataError as error:
        if not read or isinstance(error, CorruptError):
            raise
        raise DataError(f"{error}; read up to row {read}") from error


def _strings(source: BinaryIO, plain: pq.ParquetFile) -> list[str]:
    """Returns the paths of the strings and bytes that can be read as values of dictionaries and decoded later."""
    leaves = [plain.schema.column(number) for number in range(len(plain.schema))]
    paths = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    with pq.ParquetFile(source, metadata=plain.metadata, read_dictionary=paths) as encoded:
        pairs = zip(encoded.schema_arrow, plain.schema_arrow, strict=True)
        names = {field.name for field, own in pairs if field.type != own.type and _is_decodable(field.type, own.type)}
    return [path for path in paths if any(path == name or path.startswith(f"{name}.") for name in names)]


def _is_decodable(encoded: pa.DataType, kind: pa.DataType) -> bool:
    try:
        return bool(_decoded(pa.array([], encoded), kind).type == kind)
    except pa.ArrowException:
        return False


def _decoded(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Returns a column in a type, in two steps because Arrow decodes no dictionary to views."""
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


def _of_groups(
    plain: pq.ParquetFile, encoded: pq.ParquetFile, name: str, groups: Sequence[int], limit: int
) -> Iterator[pa.RecordBatch]:
    """Yields the rows of row groups, those of like groups together; of `encoded` where decoding might take much."""
    for (rows_at_once, is_small), some in groupby(groups, lambda group: _way(plain, group)):
        file = plain if is_small else encoded
        together: list[int] = []
        for group in some:
            try:
                _check_size(plain, name, group, limit)
            except DataError:
                yield from _together(file, together, rows_at_once)
                raise
            together.append(group)
        yield from _together(file, together, rows_at_once)


def _way(file: pq.ParquetFile, group: int) -> tuple[int, bool]:
    """Returns how many rows of a row group are read at once, and whether it is small however it is encoded.

    A small one takes at most the product of its values and bytes, which would be so if each value were all of them.
    """
    found = file.metadata.row_group(group)
    columns = map(found.column, range(found.num_columns))
    largest = sum(column.num_values * column.total_uncompressed_size for column in columns)
    is_small = largest <= _BATCH_BYTES
    size = largest if is_small else found.total_byte_size
    return max(1, min(_BATCH, _BATCH_BYTES * found.num_rows // max(size, 1))), is_small


def _check_size(file: pq.ParquetFile, name: str, group: int, limit: int) -> None:
    """Raises DataError if a row group may take more memory than a machine has, as packed bombs do."""
    found = file.metadata.row_group(group)
    columns = [found.column(number) for number in range(found.num_columns)]
    lists = [file.schema.column(number).max_repetition_level > 0 for number in range(found.num_columns)]
    items = sum(column.num_values for column, is_list in zip(columns, lists, strict=True) if is_list)
    size = sum(column.total_uncompressed_size for column in columns)
    packed = sum(column.total_compressed_size for column in columns)
    for count, most, what in ((items, _GROUP_ITEMS, "list items"), (size, _GROUP_BYTES, "bytes")):
        if count > most and (count > _PACKED * packed or size > limit * found.num_rows):
            into = f"{found.num_rows:,} rows, packed into {packed:,} bytes"
            raise DataError(f"{name}: row group {group + 1} holds {count:,} {what} in {into}; write smaller row groups")


def _together(file: pq.ParquetFile, groups: Sequence[int], rows_at_once: int) -> Iterator[pa.RecordBatch]:
    """Yields the rows of row groups, read together as long as that does not fail, then those of one after another."""
    given = 0
    try:
        for batch in file.iter_batches(rows_at_once, row_groups=groups):
            yield batch
            given += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        log.debug("row groups are read one by one: %s", error)
    else:
        return
    for group in groups:
        if given and given >= (count := file.metadata.row_group(group).num_rows):
            given -= count
            continue
        for batch in file.iter_batches(rows_at_once, row_groups=[group]):
            yield batch.slice(given)
            given = max(0, given - batch.num_rows)


def _check(columns: Sequence[str], name: str) -> None:
    if twice := next((one for one in columns if columns.count(one) > 1), None):
        raise DataError(f"{name}: two columns are called {twice!r}")
    if not {"text", "tokens"} & set(columns):
        raise DataError(f"{name}: no column 'text' or 'tokens'; it has {', '.join(columns) or 'none'}")


@contextmanager
def _damage(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:  # a name in the file may be no UTF-8
        known = isinstance(error, OSError) and error.errno
        reason = os.strerror(known) if known else " ".join(str(error).split())[:200]
        raise DataError(f"{name}: not a Parquet file that can be read: {reason}") from error


def _sound(batch: pa.RecordBatch) -> bool:
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


class Writer:
    """Returns tagged records as messages of an Arrow stream, which becomes a Parquet file when it is complete.

    The columns are those of a Parquet source, or `fields`, which holds the fields of a line of JSON as JSON; then the
    document's id and the tagging, in place of columns of their names.
    """

    def __init__(self, options: WriteOptions) -> None:
        form, several, source = options.input_format, options.read_as.has_offsets, options.source
        probabilities, alternatives = options.probabilities, options.alternatives
        self._wanted = {"ranges": several, "probabilities": probabilities, "alternatives": alternatives}
        self._skips_empty = options.read_as.is_corpus
        answers = _types(several=several, probabilities=probabilities, alternatives=alternatives)
        with _damage(str(source)):
            theirs = _schema(source if form == "parquet" else None)
        self._carried = [name for name in theirs.names if name not in answers]
        if replaced := set(theirs.names) & answers.keys() - {"tokens"}:
            log.info("%s: its own %s are replaced by those of the output", source, ", ".join(sorted(replaced)))
        self._types = {"fields": pa.string()} if form == "jsonl" else {}
        if "document" not in self._carried:
            # A document of CoNLL-U may have an id or only a number.
            self._types["document"] = pa.int64() if form in ("lines", "columns") else pa.string()
        self._types |= answers
        self._schema = pa.schema([*map(theirs.field, self._carried), *self._types.items()])
        self._head = self._messages([])

    def begin(self) -> bytes:
        """Returns the message that holds the schema."""
        return self._head

    def write(self, records: Sequence[Record]) -> bytes:
        """Returns the messages that hold records."""
        records = [record for record in records if not self._skips_empty or any(map(len, record.sentences))]
        if not records:
            return b""
        found = [self._row(record) for record in records]
        columns = [_array([row.get(name) for row in found], kind) for name, kind in self._types.items()]
        if self._carried:
            carried = _joined(records, self._carried)
            theirs = [
                _named(records, one) if name == "document" else one
                for name, one in zip(self._carried, carried.columns, strict=True)
            ]
            columns = [*theirs, *columns]
        return self._messages([pa.RecordBatch.from_arrays(columns, schema=self._schema)])[len(self._head) :]

    def end(self) -> bytes:
        """Returns the mark of the stream's end."""
        return _END

    def finish(self, part: Path) -> None:
        """Converts a complete stream of messages into a Parquet file of the same name, unless it is one already."""
        with part.open("rb") as begun:
            if begun.read(len(_PARQUET)) == _PARQUET:
                return
        with part.open("rb") as stream, atomic.open_atomic(part) as new:
            reader = ipc.open_stream(stream)
            with pq.ParquetWriter(new, reader.schema) as writer:
                for group in _groups(reader):
                    writer.write_table(pa.Table.from_batches(group))

    def _row(self, record: Record) -> dict[str, Any]:
        row = record.to_dict(**self._wanted)
        document = record.document
        if "fields" in self._types:
            fields = {name: value for name, value in record.fields.items() if name not in self._types}
            row["fields"] = jsonl.dump(fields).decode()
            document = rows.source_document(record)
        if not isinstance(document, str | int):
            document = jsonl.dump(document).decode()
        return row | {"document": document if self._types.get("document") == pa.int64() else str(document)}

    def _messages(self, batches: Sequence[pa.RecordBatch]) -> bytes:
        """Returns a stream of Arrow messages without its end."""
        stream = BytesIO()
        with ipc.new_stream(stream, self._schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return stream.getvalue().removesuffix(_END)


def _schema(source: Path | BinaryIO | None) -> pa.Schema:
    if source is None:
        return pa.schema([])
    if not isinstance(source, Path):
        return pq.read_schema(source).remove_metadata()
    with source.open("rb") as stream:
        return pq.read_schema(stream).remove_metadata()


def _types(*, several: bool, probabilities: bool, alternatives: bool) -> dict[str, pa.DataType]:
    """Returns the types of what a record says of itself, in the order of `Record.to_dict`."""
    span = pa.struct(_SPAN + [("probability", pa.float64())] * probabilities)
    types = {"tokens": pa.list_(pa.string()), "tags": pa.list_(pa.string()), "spans": pa.list_(span)}
    if several:
        types |= {"offsets": _RANGES, "sentences": _RANGES}
    if probabilities:
        types["probabilities"] = pa.list_(pa.float64())
    if alternatives:
        types["alternatives"] = pa.list_(pa.list_(_ALTERNATIVE))
    return types


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # a lone surrogate, which is no text in Arrow
        return pa.array(_escaped(values), kind)


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {name: _escaped(item) for name, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list | tuple) else value


def _joined(records: Sequence[Record], names: list[str]) -> pa.RecordBatch:
    """Returns the carried columns of records: stretches of the batches that they were read from."""
    stretches: list[list[Any]] = []  # a batch, its first row and the number of rows
    for record in records:
        row = record.fields
        assert isinstance(row, Row)
        if stretches and stretches[-1][0] is row.batch and sum(stretches[-1][1:]) == row.place:
            stretches[-1][2] += 1
        else:
            stretches.append([row.batch, row.place, 1])
    return pa.concat_batches([batch.select(names).slice(first, count) for batch, first, count in stretches])


def _named(records: Sequence[Record], documents: pa.Array) -> pa.Array:
    """Returns a column of documents with the ids of the records in place of nulls, as far as its type can hold them."""
    kind = documents.type
    fitting = int if pa.types.is_integer(kind) else str | int
    if not documents.null_count or not (pa.types.is_integer(kind) or pa.types.is_string(kind)):
        return documents
    given = zip(documents.is_valid().to_pylist(), (record.document for record in records), strict=True)
    ids = [str(one) if not there and isinstance(one, fitting) else None for there, one in given]
    try:
        return pc.coalesce(documents, pa.array(ids, pa.string()).cast(kind))
    except (pa.ArrowException, UnicodeEncodeError):
        return documents


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Yields batches together as row groups."""
    group: list[pa.RecordBatch] = []
    for batch in batches:
        group.append(batch)
        if sum(one.nbytes for one in group) >= _GROUP:
            yield group
            group = []
    if group:
        yield group
