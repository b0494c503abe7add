"""The local engine: tags files on this machine."""

import logging
import tempfile
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from itertools import chain
from pathlib import Path, PurePath
from typing import BinaryIO, cast

from tagger.choices import InputFormat
from tagger.data import data_settings, reader, schemes
from tagger.data.formats import FORMATS, Layout, brat
from tagger.data.formats.writing import Sink, WriteOptions
from tagger.data.guessing import find_likely_format, guess_format
from tagger.data.notices import Notices
from tagger.data.sentence import Record, Reject, Sentence
from tagger.data.writer import make_sink
from tagger.errors import ConfigError, DataError, Stopped, TaggerError
from tagger.io import atomic, directories
from tagger.io.line_reader import strip_compression_suffix
from tagger.jobs import inputs
from tagger.jobs.inputs import STDIN, Input
from tagger.jobs.job import Job, check_options, check_unused_options
from tagger.jobs.journal import InputRecord, JobRecord
from tagger.jobs.local import processes
from tagger.jobs.local.folder import JOB_FOLDER, REJECTS, Index, Output, OutputFolder
from tagger.jobs.local.processes import Task
from tagger.jobs.local.writing import PoolWriter, WrittenPool
from tagger.jobs.pools import Pool, Reader
from tagger.jobs.rejects import Rejects
from tagger.jobs.summary import Summary
from tagger.signals import StopRequest
from tagger.tagging import Tagger
from tagger.tagging.long_sentences import WindowLog, WindowNotice
from tagger.tagging.tagger import LARGE_POOL_TOKENS
from tagger.tagging.texts import check_tokenizer

log = logging.getLogger(__name__)
_MIN_PROCESSES = 3  # with fewer workers, threads are as fast
TOKENS_BEFORE_PROCESSES = 1 << 16
"""Tokens that threads tag before processes are started: smaller jobs end before processes pay."""

Streams = tuple[BinaryIO, BinaryIO]
Callback = Callable[[Summary, int, int], None]
"""Is called after each pool with the summary, the number of finished inputs and the number of inputs."""


def run(tagger: Tagger, job: Job, streams: Streams, *, callback: Callback = lambda *_: None) -> Summary:
    """Runs a tagging job; records keep their order, and an output file appears only when it is complete.

    Args:
        tagger: the tagger of the job's model.
        job: the job.
        streams: the standard input and output.
        callback: is called after each pool.

    Raises:
        ConfigError: options contradict the model or each other.
        DataError: an input cannot be read, or two outputs would have the same path.
        StorageError: the directory cannot be written, or the job to resume is another.
        Stopped: a signal stopped the job, which can resume if it writes to a directory.
    """
    _check_options(tagger, job)
    work = _find_work(tagger, job, streams[0])
    if job.out is None:
        _check_extra_outputs(work, {"rejects": job.rejects, "summary": job.summary}, ())
        with StopRequest(at_once=True):
            return _tag_into_stream(work, streams[1], callback)
    folder = _plan_outputs(work, job.out)
    with atomic.wrap_os_errors(job.out):
        job.out.mkdir(parents=True, exist_ok=True)
    with directories.lock(job.out, remove_lock=True), StopRequest(at_once=True) as stop:
        return _tag_into_folder(work, folder, stop, callback)


def tag_records(
    tagger: Tagger,
    job: Job,
    stdin: BinaryIO,
    *,
    outputs: Mapping[str, Path | None],
    callback: Callback = lambda *_: None,
) -> Iterator[tuple[Input, Record]]:
    """Yields the tagged records of a job, which has no directory of outputs, each with its input.

    Args:
        tagger: the tagger of the job's model.
        job: the job.
        stdin: the standard input.
        outputs: the files that the caller will write, by parameter name; they may not replace an input.
        callback: is called after each pool.

    Raises:
        ConfigError: options contradict the model or each other.
        DataError: an input cannot be read, or an output would replace it.
    """
    _check_options(tagger, job)
    work = _find_work(tagger, job, stdin)
    _check_extra_outputs(work, {"rejects": job.rejects, **outputs}, ())
    summary, document, number, start = Summary(), None, 0, time.perf_counter()
    with _open_reader(work) as reader:
        for pool in work.tag(reader):
            for chunk in pool.chunks:
                document = summary.add(chunk.records, document if chunk.index == number else None)
                number = chunk.index
                yield from ((work.inputs[number], record) for record in chunk.records)
            summary.rejected, summary.seconds = pool.rejects[1], time.perf_counter() - start
            callback(summary, number, len(work.inputs))


def read_records(tagger: Tagger, job: Job) -> Iterator[tuple[Input, Record]]:
    """Yields the records of the files of a job, as `tag_records` does, without tags.

    Raises:
        DataError: a file cannot be read.
    """
    work = _find_work(tagger, job, BytesIO())
    for number, item in enumerate(work.inputs):
        yield from ((item, record) for record in work.read_records(number, None))


@dataclass(frozen=True, slots=True)
class _Work:
    """A job with its inputs and their formats; `unreadable` has path and fault of each folder that was skipped."""

    tagger: Tagger
    job: Job
    stdin: BinaryIO
    inputs: Sequence[Input]
    input_formats: Sequence[InputFormat]
    unreadable: Sequence[tuple[str, str]]

    @property
    def labels(self) -> list[str]:
        """The names of the inputs in messages."""
        return [item.label for item in self.inputs]

    def read_records(self, number: int, reject: Callable[[Reject], None] | None) -> Iterator[Record]:
        """Yields the records of an input."""
        item, input_format, formats = self.inputs[number], self.input_formats[number], self.job.formats
        return reader.read_records(
            self.stdin if item.path is None else item.path,
            input_format=input_format,
            layout=self._layout(input_format, token=formats.token_column, tag=formats.tag_column),
            language=formats.language_of(self.tagger.model),
            newline=formats.newline,
            annotations=data_settings.find_annotation_options(self.tagger.model.config.data),
            name=item.label,
            reject=reject,
            max_record_bytes=self.job.max_record_bytes,
            eager=self.job.stream,
        )

    def open_sink(self, number: int) -> Sink:
        """Returns the sink for the output of an input."""
        item, input_format, decoding = self.inputs[number], self.input_formats[number], self.job.decoding
        options = WriteOptions(
            input_format=input_format,
            layout=self._output_layout(input_format),
            name=item.label,
            probabilities=decoding.probabilities,
            alternatives=decoding.nbest > 0,
            source=item.path,
            has_spaces=any(" " in tag for tag in self.tagger.model.tags.items),
            types=self.tagger.span_types,
            has_spans=self.tagger.model.scheme is not None,
        )
        return make_sink(self.job.formats.output_format_of(input_format), options)

    def _output_layout(self, input_format: InputFormat) -> Layout:
        output_format, formats = self.job.formats.output_format_of(input_format), self.job.formats
        if output_format == "conllu" != input_format:
            return self._layout(output_format, tag=formats.tag_column)
        return self._layout(input_format, token=formats.token_column, tag=formats.tag_column)

    def _layout(self, file_format: str, *, token: int | str | None = None, tag: int | str | None = None) -> Layout:
        model = self.tagger.model
        return data_settings.find_layout(
            model.config.data, file_format, has_spans=model.scheme is not None, token=token, tag=tag
        )

    def open_reader(self, rejects: Rejects | None, on_pool: Callable[[Pool], None] = lambda _: None) -> Reader:
        """Returns a reader of all inputs, which keeps documents together if the model uses document context."""
        by_document = self.tagger.uses_document_context and not self.job.stream
        if rejects is not None and not rejects.count:
            for path, fault in self.unreadable:
                rejects.add_file(path, DataError(fault))
        is_document = self._is_alone if by_document else None
        return Reader(
            self.labels,
            self.read_records,
            rejects,
            is_document=is_document,
            one_by_one=self.job.stream,
            on_pool=on_pool,
        )

    def _is_alone(self, number: int) -> bool:
        return not FORMATS[self.input_formats[number]].has_documents

    def tag(self, reader: Reader, *, number: int = 0, first: int = 0, skip: int = 0) -> Iterator[Pool]:
        """Yields the tagged pools of a reader from a position on."""
        pools = reader.pools(number=number, first=first, skip=skip)
        if not self.job.stream:
            return tag_pools(self.tagger, self.job, reader, pools)
        # Alone, a pool is tagged before the next one is read.
        return chain.from_iterable(tag_pools(self.tagger, self.job, reader, [pool]) for pool in pools)

    def write(self, reader: Reader, *, number: int = 0, first: int = 0, skip: int = 0) -> Iterator[WrittenPool]:
        """Yields the pools of a reader from a position on, tagged and converted to bytes of their outputs."""
        writer = PoolWriter(self.open_sink)
        if self.job.stream or self.tagger.workers < _MIN_PROCESSES or not self._is_forkable:
            yield from map(writer.write, self.tag(reader, number=number, first=first, skip=skip))
            return
        pools = reader.pools(number=number, first=first, skip=skip)
        beginning = _take_tokens(pools, TOKENS_BEFORE_PROCESSES)
        yield from map(writer.write, tag_pools(self.tagger, self.job, reader, beginning))
        window_log = WindowLog(self.job.decoding, self.tagger.max_tokens)
        tasks = (Task(reader.pending.popleft(), _count_tokens(pool) > LARGE_POOL_TOKENS) for pool in pools)
        tag = partial(_tag_and_write, self.tagger.with_workers(1), self.job, writer)
        results = processes.map_in_processes(tag, tasks, self.tagger.workers, logger="tagger.data")
        with closing(cast(Generator[tuple[WrittenPool, list[WindowNotice]]], results)):
            for pool, notices in results:
                for notice in notices:
                    window_log.add(notice)
                yield pool

    @property
    def _is_forkable(self) -> bool:
        return processes.can_fork and self.tagger.is_forkable


def tag_pools(
    tagger: Tagger,
    job: Job,
    reader: Reader,
    pools: Iterable[Sequence[Sentence]],
) -> Iterator[Pool]:
    """Yields the pools of a reader, tagged with the options of a job."""
    tagged = cast(Generator[list[Sentence]], tagger.tag_pools(pools, job.decoding))
    with closing(tagged):
        for sentences in tagged:
            pool = reader.pending.popleft()
            _replace_sentences(pool, sentences, job)
            yield pool
            pool.clear()  # a large record takes gigabytes: it is freed before the next is read


def _replace_sentences(pool: Pool, tagged: list[Sentence], job: Job) -> None:
    """Replaces the sentences of a pool by tagged ones, whose list is cleared."""
    pool.replace_sentences([schemes.encode_sentence(sentence, job.formats.scheme) for sentence in tagged])
    tagged.clear()


def _tag_and_write(tagger: Tagger, job: Job, writer: PoolWriter, pool: Pool) -> tuple[WrittenPool, list[WindowNotice]]:
    """Returns a pool, tagged and converted to bytes of its outputs, and what windows did to long sentences."""
    notices: list[WindowNotice] = []
    for sentences in tagger.tag_pools([pool.sentences()], job.decoding, on_notice=notices.append):
        _replace_sentences(pool, sentences, job)
    return writer.write(pool), notices


def _count_tokens(pool: Iterable[Sentence]) -> int:
    return sum(map(len, pool))


def _take_tokens(pools: Iterator[list[Sentence]], tokens: int) -> Iterator[list[Sentence]]:
    """Yields the first pools, until they have this number of tokens."""
    while tokens > 0 and (pool := next(pools, None)) is not None:
        tokens -= _count_tokens(pool)
        yield pool


def _check_options(tagger: Tagger, job: Job) -> None:
    check_options(job, tagger.model)
    if job.out is None and job.resume:
        raise ConfigError("`resume` continues a job in a directory; pass `out`, too")
    if job.out is None and job.on_error == "skip" and job.rejects is None:
        raise ConfigError("`on_error` skip needs a file for the rejected input; pass `rejects` or `out`")


def _find_work(tagger: Tagger, job: Job, stdin: BinaryIO) -> _Work:
    unreadable: list[tuple[str, str]] = []
    on_unreadable = (lambda *item: unreadable.append(item)) if job.on_error == "skip" else None
    items = inputs.find_inputs(job.paths, pattern=job.pattern, out=job.out, on_unreadable=on_unreadable)
    items = _choose_texts(items, job)
    input_formats = [job.formats.input_format] * len(items) if job.formats.input_format else _guess_formats(items)
    check_unused_options(job.formats, input_formats)
    if any(FORMATS[input_format].holds_texts for input_format in input_formats):
        check_tokenizer(tagger.model.config.data.tokenizer, job.formats.language_of(tagger.model))
    if any(
        item.path is None and input_format == "parquet" for item, input_format in zip(items, input_formats, strict=True)
    ):
        raise ConfigError("Parquet is read from files only; pass a path instead of -")
    return _Work(tagger, job, stdin, items, input_formats, unreadable)


def _choose_texts(items: Sequence[Input], job: Job) -> list[Input]:
    """Returns the inputs of a job without the annotations and settings of brat, found in folders beside their texts.

    Raises:
        DataError: brat is the input format, and no text has annotations.
    """
    if job.formats.input_format not in (None, "text", "brat"):
        return list(items)
    paths = [item.path for item in items if item.path is not None]
    texts, left_out = brat.find_pairs(paths)
    if job.formats.input_format == "brat":
        if not texts:
            raise DataError(f"{inputs.summarize_names(paths or [STDIN])}: no text has annotations (.ann) beside it")
        return [item for item in items if item.path in texts]
    if left_out:
        names = inputs.summarize_names(sorted(left_out))
        log.info("%s: annotations of brat are not read, only their texts", names)
    return [item for item in items if item.path not in left_out]


def _guess_formats(items: Sequence[Input]) -> list[InputFormat]:
    """Returns the formats of inputs; logs the text files that are not read as raw text, or may be another format."""
    notices = Notices()
    formats: list[InputFormat] = []
    for item in items:
        formats.append("text" if item.path is None else guess_format(item.path).format)
        if item.path is None or strip_compression_suffix(item.path).suffix != ".txt":
            continue
        if formats[-1] != "text":
            notices.add(
                f"text files read as {formats[-1]} by their content",
                f"{item.label}; `input_format` text reads raw text",
            )
        elif likely := find_likely_format(item.path):
            notices.add(
                f"text files that look like {likely} but are read as raw text",
                f"{item.label}; `input_format` {likely} reads {likely}",
            )
    for line in notices.lines(1):
        log.warning("%s", line)
    return formats


def _plan_outputs(work: _Work, out: Path) -> OutputFolder:
    """Returns the outputs of a job, which is not started yet; nothing is written.

    Raises:
        DataError: an output, the rejects or the summary would replace an input, another of these or a file of the
            model.
    """
    targets = [work.job.formats.output_format_of(input_format) for input_format in work.input_formats]
    names = [
        item.output_path(FORMATS[target].suffixes[0], same_format=input_format == target != "brat")
        for item, input_format, target in zip(work.inputs, work.input_formats, targets, strict=True)
    ]
    outputs = [
        Output(name, _find_text(item, input_format) if target == "brat" else None)
        for item, name, target, input_format in zip(work.inputs, names, targets, work.input_formats, strict=True)
    ]
    texts = [output.text_name for output in outputs if output.text is not None]
    rejects = (work.job.rejects or out / REJECTS) if work.job.on_error == "skip" else None
    index = _plan_index(work, out, names)
    reserved = [PurePath(JOB_FOLDER), PurePath(directories.LOCK), *([index.name] if index else [])]
    _check_extra_outputs(work, {"rejects": rejects, "summary": work.job.summary}, (*names, *texts, *reserved))
    if rejects and rejects.absolute().is_relative_to(out.absolute()):
        reserved.append(rejects.absolute().relative_to(out.absolute()))
    inputs.check_outputs(out, work.inputs, names, reserved)
    if texts:
        published = [output.text_name if output.text else output.name for output in outputs]
        inputs.check_outputs(out, work.inputs, published, reserved)
    return OutputFolder(out, outputs, work.open_sink, rejects, index=index, overwrite=work.job.overwrite)


def _find_text(item: Input, input_format: InputFormat) -> Path:
    """Returns the text that is copied beside the annotations of an input.

    Raises:
        ConfigError: the input is no file of text.
    """
    brat.check_source(item.label, input_format)
    if item.path is None:
        raise ConfigError("brat has a text beside each file of annotations; name files instead of -")
    return brat.find_text(item.path)


def _plan_index(work: _Work, out: Path, names: Collection[PurePath]) -> Index | None:
    """Returns the index page of the outputs, None for a single file or a format without such a page."""
    output_format = FORMATS[work.job.formats.output_format_of(work.input_formats[0])]
    is_folder = any(isinstance(path, Path) and path.is_dir() for path in work.job.paths)
    if output_format.index is None or not (is_folder or len(names) > 1):
        return None
    if PurePath(output_format.index) in names:
        log.info("%s: is the page of an input, so the job writes no index page", out / output_format.index)
        return None
    return Index(PurePath(output_format.index), partial(output_format.load().index, str(out)))


def _check_extra_outputs(work: _Work, files: Mapping[str, Path | None], reserved: Collection[PurePath]) -> None:
    read = [item.path for item in work.inputs if item.path is not None]
    names = frozenset(reserved)
    for parameter, path in files.items():
        if path is not None and path.resolve().is_relative_to(work.job.model.resolve()):
            raise DataError(
                f"{path}: is in the model directory, and `{parameter}` would change the model; choose another file"
            )
    inputs.check_extra_outputs(files, read, work.job.out, lambda path: path in names or path.parts[:1] == (JOB_FOLDER,))


def _describe_job(work: _Work, names: Sequence[PurePath]) -> JobRecord:
    """Returns the record of a job for its journal."""
    pairs = zip(work.inputs, names, strict=True)
    listed = [InputRecord(item.journal_path, str(name), item.file_status()) for item, name in pairs]
    options = work.job.options(work.job.formats.language_of(work.tagger.model))
    options |= {"device": work.tagger.device.type}
    return JobRecord.create(options | work.tagger.limits_affecting_scores(), listed)


def _tag_into_folder(work: _Work, folder: OutputFolder, stop: StopRequest, callback: Callback) -> Summary:
    """Tags into a directory, which the caller has locked."""
    writing = partial(atomic.wrap_os_errors, folder.out)
    with stop.defer(), writing():
        folder.start(_describe_job(work, folder.names), resume=work.job.resume)
    state = folder.state
    reader = work.open_reader(folder.rejects)
    try:
        pools = work.write(reader, number=state.pools, first=state.finished, skip=state.records)
        with closing(cast(Generator[WrittenPool], pools)):
            for pool in pools:
                with stop.defer(), writing():
                    due = folder.write(pool)
                    if due:
                        folder.commit()
                if due:
                    with writing():
                        folder.publish()
                callback(state.summary, state.finished, len(work.inputs))
        with stop.defer(), writing():
            folder.suspend()
        if reader.fault is None:
            with writing():
                folder.publish()
    except Stopped:
        with writing():
            folder.suspend()
        raise
    except TaggerError:
        with writing():
            folder.rollback()
        raise
    if reader.fault is not None:
        if state.pools:
            log.info("the output before the fault is saved; fix the file and continue with `resume=True`")
        raise reader.fault
    stop.ignore()  # from here on the job cannot resume
    with writing():
        folder.finish()
    return state.summary


def _tag_into_stream(work: _Work, stream: BinaryIO, callback: Callback) -> Summary:
    """Tags into one stream, with the header of the first output and the footer of the last."""
    targets = {
        work.job.formats.output_format_of(input_format): item
        for input_format, item in zip(work.input_formats, work.inputs, strict=True)
    }
    if len(targets) > 1:
        names = " and ".join(f"{item.label} as {target}" for target, item in targets.items())
        raise ConfigError(
            f"one stream has one format, but {names} would be several; choose one with `output_format`, or pass `out`"
        )
    if unwritable := [target for target in targets if FORMATS[target].needs_file]:
        raise ConfigError(f"{unwritable[0]} is written to files only; pass a directory as `out`")
    if "csv" in targets and len(work.inputs) > 1:
        raise ConfigError("several files in csv would have several headers; pass a directory as `out`")
    documents = _DocumentNumbers()
    with _open_reader(work, documents.renumber) as reader:
        try:
            summary = _write_stream(work, reader, stream, callback)
        except Stopped as error:
            raise Stopped(error.signum, saved=False) from None
    return summary


@contextmanager
def _open_reader(work: _Work, on_pool: Callable[[Pool], None] = lambda _: None) -> Iterator[Reader]:
    """Yields a reader whose rejected input becomes the file `rejects` when the block ends.

    Raises:
        DataError: an input could not be read.
    """
    path = work.job.rejects
    if path:
        atomic.check_writable(path)
    with tempfile.TemporaryDirectory() as temporary:
        rejects = Rejects(Path(temporary) / REJECTS, str(path)) if path else None
        reader = work.open_reader(rejects, on_pool)
        try:
            yield reader
        finally:
            if rejects and path:
                with atomic.wrap_os_errors(path):
                    atomic.copy_output(rejects.part, path)
    if reader.fault:
        raise reader.fault


def _write_stream(work: _Work, reader: Reader, stream: BinaryIO, callback: Callback) -> Summary:
    """Writes the tagged records of a reader to a stream; returns the summary at the end or at a fault."""
    summary, document, start = Summary(), None, time.perf_counter()
    number, sink = 0, work.open_sink(0)
    corpora = _CorpusStream(stream)
    corpora.write(sink.begin())
    for pool in work.write(reader):
        for chunk in pool.chunks:
            if chunk.index != number:
                number, sink, document = chunk.index, work.open_sink(chunk.index), None
                if FORMATS[work.job.formats.output_format_of(work.input_formats[number])].is_corpus:
                    corpora.end_sentence()
                    corpora.write(sink.begin())
            corpora.write(chunk.data)
            document = chunk.count_into(summary, document)
        stream.flush()
        summary.rejected, summary.seconds = pool.rejects[1], time.perf_counter() - start
        callback(summary, number, len(work.inputs))
    if reader.fault is None:
        stream.write(sink.end())
        stream.flush()
    return summary


class _DocumentNumbers:
    """Numbers the documents without ids of all inputs in one stream consecutively."""

    def __init__(self) -> None:
        self._input = self._first = self._next = 0

    def renumber(self, pool: Pool) -> None:
        """Changes the document numbers in the next pool, which start at 0 in each input, to those in the stream."""
        for chunk in pool.chunks:
            if chunk.index != self._input:
                self._input, self._first = chunk.index, self._next
            chunk.records = list(map(self._renumber, chunk.records))

    def _renumber(self, record: Record) -> Record:
        if not (record.numbered and isinstance(record.document, int)):
            return record
        document = self._first + record.document
        self._next = document + 1
        return replace(record, document=document)


class _CorpusStream:
    """A stream to which corpora are written one after another."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._last_bytes, self._is_new_corpus = stream, b"\n\n", False

    def write(self, data: bytes) -> None:
        """Writes data, without a byte-order mark at the start of a second corpus."""
        if self._is_new_corpus and data:
            data, self._is_new_corpus = data.removeprefix(b"\xef\xbb\xbf"), False
        self._stream.write(data)
        self._last_bytes = (self._last_bytes + data[-4:])[-4:]

    def end_sentence(self) -> None:
        """Ends the last line and sentence before the next corpus starts."""
        line = b"" if self._last_bytes.endswith(b"\n") else b"\n"
        blank = b"" if self._last_bytes.replace(b"\r", b"").endswith(b"\n\n") else b"\n"
        self._stream.write(line + blank)
        self._last_bytes, self._is_new_corpus = b"\n\n", True
