"""Writes tagged records as a stream of Arrow messages, which becomes a Parquet file when it is complete."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import ipc
from pyarrow import parquet as pq

from tagger.data.formats import jsonl, rows
from tagger.data.formats.annotations import ANNOTATION_FIELDS
from tagger.data.formats.parquet.reading import FIELDS, Row, convert_errors
from tagger.data.formats.writing import Sink, WriteOptions
from tagger.data.sentence import Record
from tagger.io import atomic

log = logging.getLogger(__name__)

_GROUP_BYTES = 2**24  # minimum size of a row group, except the last
_PARQUET_MAGIC = b"PAR1"  # the first bytes of a Parquet file; a stream of messages starts with others
_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"  # of a stream of Arrow messages

_RANGES = pa.list_(pa.list_(pa.int64()))
_SPAN = [("type", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("text", pa.string())]
_ALTERNATIVE = pa.struct([("tags", pa.list_(pa.string())), ("probability", pa.float64())])


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of Parquet files."""
    return _ParquetSink(options)


def write_rows(source: Path, out: Path, rows: Sequence[int]) -> None:
    """Writes rows of a Parquet file, by their numbers from 0, with all columns and metadata to another one.

    Raises:
        DataError: the source cannot be read.
        StorageError: the output cannot be written.
    """
    with convert_errors(str(source)), source.open("rb") as stream:
        table = pq.ParquetFile(stream).read().take(pa.array(rows, pa.int64()))
    with atomic.wrap_os_errors(out), atomic.open_output(out) as stream:
        pq.write_table(table, stream)


class _ParquetSink:
    """Writes the columns of a Parquet source, or a column `fields` with the fields of a JSON line as JSON.

    The document's id and the tagging follow; they replace source columns of the same name.
    """

    def __init__(self, options: WriteOptions) -> None:
        input_format, has_ranges, source = options.input_format, options.read_as.has_offsets, options.source
        probabilities, alternatives = options.probabilities, options.alternatives
        self._options = {"ranges": has_ranges, "probabilities": probabilities, "alternatives": alternatives}
        self._skips_empty = options.read_as.is_corpus
        tagging_types = _tagging_types(**self._options)
        with convert_errors(str(source)):
            source_schema = _read_schema(source if input_format == "parquet" else None)
        self._carried = [
            name
            for name in source_schema.names
            if name not in tagging_types
            and not (options.is_annotated and name in ANNOTATION_FIELDS and _is_list(source_schema.field(name).type))
        ]
        if not options.is_annotated and (replaced := set(source_schema.names) & tagging_types.keys() - {"tokens"}):
            log.info("%s: its columns %s are replaced by those of the output", source, ", ".join(sorted(replaced)))
        self._types = {FIELDS: pa.string()} if input_format in ("jsonl", "json") else {}
        if "document" not in self._carried:
            # A document of CoNLL-U may have an id or only a number.
            self._types["document"] = pa.int64() if input_format in ("lines", "columns") else pa.string()
        self._types |= tagging_types
        self._schema = pa.schema([*map(source_schema.field, self._carried), *self._types.items()])
        self._head = self._messages([])

    def begin(self) -> bytes:
        """Returns the message with the schema."""
        return self._head

    def write(self, records: Sequence[Record]) -> bytes:
        """Returns the messages of records."""
        records = [record for record in records if not self._skips_empty or any(map(len, record.sentences))]
        if not records:
            return b""
        values = [self._values(record) for record in records]
        columns = [_build_array([row.get(name) for row in values], kind) for name, kind in self._types.items()]
        if self._carried:
            carried = _carried_columns(records, self._carried)
            filled = [
                _fill_documents(records, column) if name == "document" else column
                for name, column in zip(self._carried, carried.columns, strict=True)
            ]
            columns = [*filled, *columns]
        return self._messages([pa.RecordBatch.from_arrays(columns, schema=self._schema)])[len(self._head) :]

    def end(self) -> bytes:
        """Returns the end mark of the stream."""
        return _STREAM_END

    def finish(self, part: Path) -> None:
        """Converts a complete stream of messages to a Parquet file of the same name; skips a Parquet file."""
        with part.open("rb") as file:
            if file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC:
                return
        with part.open("rb") as stream, atomic.open_atomic(part) as new:
            reader = ipc.open_stream(stream)
            with pq.ParquetWriter(new, reader.schema) as writer:
                for group in _row_groups(reader):
                    writer.write_table(pa.Table.from_batches(group))

    def _values(self, record: Record) -> dict[str, Any]:
        """Returns the values of a record's new columns by name."""
        row = record.to_dict(**self._options)
        document = record.document
        if FIELDS in self._types:
            fields = {name: value for name, value in record.fields.items() if name not in self._types}
            row[FIELDS] = jsonl.dump(fields).decode()
            document = rows.source_document(record)
        if not isinstance(document, str | int):
            document = jsonl.dump(document).decode()
        return row | {"document": document if self._types.get("document") == pa.int64() else str(document)}

    def _messages(self, batches: Sequence[pa.RecordBatch]) -> bytes:
        """Returns a stream of Arrow messages without its end mark."""
        stream = BytesIO()
        with ipc.new_stream(stream, self._schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return stream.getvalue().removesuffix(_STREAM_END)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _read_schema(source: Path | BinaryIO | None) -> pa.Schema:
    if source is None:
        return pa.schema([])
    if not isinstance(source, Path):
        return pq.read_schema(source).remove_metadata()
    with source.open("rb") as stream:
        return pq.read_schema(stream).remove_metadata()


def _tagging_types(*, ranges: bool, probabilities: bool, alternatives: bool) -> dict[str, pa.DataType]:
    """Returns the types of the fields of `Record.to_dict`, in its order."""
    span = pa.struct(_SPAN + [("probability", pa.float64())] * probabilities)
    types = {"tokens": pa.list_(pa.string()), "tags": pa.list_(pa.string()), "spans": pa.list_(span)}
    if ranges:
        types |= {"offsets": _RANGES, "sentences": _RANGES}
    if probabilities:
        types["probabilities"] = pa.list_(pa.float64())
    if alternatives:
        types["alternatives"] = pa.list_(pa.list_(_ALTERNATIVE))
    return types


def _build_array(values: list[Any], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # a lone surrogate, which Arrow strings cannot hold
        return pa.array(_escape_surrogates(values), kind)


def _escape_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {name: _escape_surrogates(item) for name, item in value.items()}
    return [_escape_surrogates(item) for item in value] if isinstance(value, list | tuple) else value


def _carried_columns(records: Sequence[Record], names: list[str]) -> pa.RecordBatch:
    """Returns the carried columns of records, concatenated from slices of the batches that they were read from."""
    slices: list[list[Any]] = []  # a batch, its first row and the number of rows
    for record in records:
        row = record.fields
        assert isinstance(row, Row)
        if slices and slices[-1][0] is row.batch and sum(slices[-1][1:]) == row.index:
            slices[-1][2] += 1
        else:
            slices.append([row.batch, row.index, 1])
    return pa.concat_batches([batch.select(names).slice(first, count) for batch, first, count in slices])


def _fill_documents(records: Sequence[Record], documents: pa.Array) -> pa.Array:
    """Returns a column of documents with nulls replaced by the ids of the records, if its type can hold them."""
    kind = documents.type
    id_type = int if pa.types.is_integer(kind) else str | int
    if not documents.null_count or not (
        pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    ):
        return documents
    pairs = zip(documents.is_valid().to_pylist(), (record.document for record in records), strict=True)
    ids = [str(document) if not is_set and isinstance(document, id_type) else None for is_set, document in pairs]
    try:
        return pc.coalesce(documents, pa.array(ids, pa.string()).cast(kind))
    except (pa.ArrowException, UnicodeEncodeError):
        return documents


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Yields lists of batches, each of which becomes a row group."""
    group: list[pa.RecordBatch] = []
    for batch in batches:
        group.append(batch)
        if sum(member.nbytes for member in group) >= _GROUP_BYTES:
            yield group
            group = []
    if group:
        yield group
