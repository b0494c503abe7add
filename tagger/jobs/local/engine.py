"""Tagging files on this machine."""

import logging
import tempfile
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import BinaryIO, cast

from tagger.choices import InputFormat, Scheme
from tagger.data import reader, schemes
from tagger.data.formats import FORMATS, Layout
from tagger.data.formats.writing import Sink, WriteOptions
from tagger.data.reader import find_layout
from tagger.data.sentence import Record, Reject, Sentence
from tagger.data.writer import make_sink
from tagger.errors import ConfigError, DataError, Stopped, TaggerError
from tagger.io import atomic, directories
from tagger.jobs import inputs
from tagger.jobs.inputs import STDIN, Input
from tagger.jobs.job import Job, check, check_effects
from tagger.jobs.journal import InputRecord, JobRecord
from tagger.jobs.local.folder import JOB_FOLDER, REJECTS, Folder
from tagger.jobs.pools import Pool, Reader
from tagger.jobs.rejects import Rejects
from tagger.jobs.summary import Summary
from tagger.signals import StopRequest
from tagger.tagging import Tagger

log = logging.getLogger(__name__)

_UNREADABLE = ": this folder cannot be read: "

Streams = tuple[BinaryIO, BinaryIO]
Callback = Callable[[Summary, int, int], None]
"""Is told after each pool what was done, and how many inputs of how many are finished."""


def run(tagger: Tagger, job: Job, streams: Streams, *, callback: Callback = lambda *_: None) -> Summary:
    """Does a tagging job: each record in its place, each output under its name only when it is whole.

    Args:
        tagger: the tagger of the job's model.
        job: the job.
        streams: the standard input and output.
        callback: told after each pool how far the job has come.

    Raises:
        ConfigError: the options do not fit the model or one another.
        DataError: an input cannot be read, or two outputs would have one name.
        StorageError: the directory cannot be written, or the job to go on with is another.
        Stopped: by a signal; into a directory the job can be gone on with.
    """
    _check(tagger, job)
    work = _found(tagger, job, streams[0])
    if job.out is None:
        _check_aside(work, job.rejects, ())
        with StopRequest(at_once=True):
            return _into_stream(work, streams[1], callback)
    folder = _folder(work, job.out)
    with atomic.wrap_os_errors(job.out):
        job.out.mkdir(parents=True, exist_ok=True)
    with directories.lock(job.out, remove_lock=True), StopRequest(at_once=True) as stop:
        return _into_folder(work, folder, stop, callback)


@dataclass(frozen=True, slots=True)
class _Work:
    """A job with its inputs found and the format of each; `unreadable` holds the faults of folders left out."""

    tagger: Tagger
    job: Job
    stdin: BinaryIO
    inputs: Sequence[Input]
    input_formats: Sequence[InputFormat]
    unreadable: Sequence[str]

    @property
    def labels(self) -> list[str]:
        """What messages call the inputs."""
        return [item.label for item in self.inputs]

    def records(self, number: int, reject: Callable[[Reject], None] | None) -> Iterator[Record]:
        """Opens the input of a number."""
        item, input_format, formats = self.inputs[number], self.input_formats[number], self.job.formats
        return reader.read_records(
            self.stdin if item.path is None else item.path,
            input_format=input_format,
            layout=self._layout(input_format, token=formats.token, tag=formats.tag),
            language=formats.text_language,
            name=item.label,
            reject=reject,
            max_record_bytes=self.job.max_record_bytes,
        )

    def sink(self, number: int) -> Sink:
        """Opens the sink of what the input of a number is tagged as."""
        item, input_format, answers = self.inputs[number], self.input_formats[number], self.job.answers
        options = WriteOptions(
            input_format=input_format,
            layout=self._written(input_format),
            name=item.label,
            probabilities=answers.probabilities,
            alternatives=answers.nbest > 0,
            source=item.path,
        )
        return make_sink(self.job.formats.target(input_format), options)

    def _written(self, input_format: InputFormat) -> Layout:
        output_format, formats = self.job.formats.target(input_format), self.job.formats
        if output_format == "conllu" != input_format:
            return self._layout(output_format, tag=formats.tag)
        return self._layout(input_format, token=formats.token, tag=formats.tag)

    def _layout(self, file_format: str, *, token: int | str | None = None, tag: int | str | None = None) -> Layout:
        model = self.tagger.model
        return find_layout(model.config.data, file_format, has_spans=model.scheme is not None, token=token, tag=tag)

    def reader(self, rejects: Rejects | None) -> Reader:
        """Returns what reads the inputs; documents stay together if the model reads them."""
        whole = self.tagger.uses_document_context
        if rejects is not None and not rejects.count:
            for fault in self.unreadable:
                rejects.add_file(fault.partition(_UNREADABLE)[0], DataError(fault))
        return Reader(self.labels, self.records, rejects, alone=self._alone if whole else None)

    def _alone(self, number: int) -> bool:
        return not FORMATS[self.input_formats[number]].has_documents

    def tagged(self, reader: Reader, *, number: int = 0, first: int = 0, skip: int = 0) -> Iterator[Pool]:
        """Yields the pools of a reader from a place on, tagged."""
        return tagged(self.tagger, self.job, reader, reader.pools(number=number, first=first, skip=skip))


def tagged(tagger: Tagger, job: Job, reader: Reader, pools: Iterable[Sequence[Sentence]]) -> Iterator[Pool]:
    """Yields the pools that a reader gives out, tagged as a job asks for."""
    done = cast(Generator[list[Sentence]], tagger.tag_pools(pools, job.answers))
    with closing(done):
        for sentences in done:
            pool = reader.waiting.popleft()
            pool.put_back([_spelt(sentence, job.formats.scheme) for sentence in sentences])
            sentences.clear()
            yield pool
            pool.clear()  # one large record takes gigabytes: it goes before the next is read


def _spelt(sentence: Sentence, scheme: Scheme | None) -> Sentence:
    """Returns a sentence with its spans, and those of its alternatives, spelt in a scheme."""
    if scheme is None:
        return sentence
    others = (schemes.tags_of(schemes.spans_of(other.tags), len(sentence), scheme) for other in sentence.alternatives)
    return replace(
        sentence,
        tags=schemes.tags_of(sentence.spans, len(sentence), scheme),
        alternatives=tuple(replace(a, tags=tags) for a, tags in zip(sentence.alternatives, others, strict=True)),
    )


def _check(tagger: Tagger, job: Job) -> None:
    check(job, tagger.model)
    if job.out is None and job.resume:
        raise ConfigError("`resume` continues a job in a directory; pass `out`, too")
    if job.out is None and job.on_error == "skip" and job.rejects is None:
        raise ConfigError("`on_error` skip needs a file for the rejected input; pass `rejects` or `out`")


def _found(tagger: Tagger, job: Job, stdin: BinaryIO) -> _Work:
    unreadable: list[str] = []
    leave_out = unreadable.append if job.on_error == "skip" else None
    found = inputs.find(job.paths, pattern=job.pattern, out=job.out, unreadable=leave_out)
    input_formats = [job.formats.input_format or reader.guess_format(item.path or Path(STDIN)) for item in found]
    check_effects(job.formats, input_formats)
    if any(
        item.path is None and input_format == "parquet" for item, input_format in zip(found, input_formats, strict=True)
    ):
        raise ConfigError("Parquet is read from files only; give its path in place of -")
    if job.formats.input_format is None:
        _tell_guessed(
            [item for item, input_format in zip(found, input_formats, strict=True) if input_format == "lines"]
        )
    return _Work(tagger, job, stdin, found, input_formats, unreadable)


def _tell_guessed(guessed: Sequence[Input]) -> None:
    names = [item.label for item in guessed if item.path is not None]
    if names:
        log.info(
            "%s: read as plain lines, a sentence each; `input_format` chooses another format", inputs.and_more(names)
        )


def _folder(work: _Work, out: Path) -> Folder:
    """Returns the outputs of a job, none of them begun."""
    targets = [work.job.formats.target(input_format) for input_format in work.input_formats]
    names = [
        item.output(FORMATS[target].suffixes[0], same_format=input_format == target)
        for item, input_format, target in zip(work.inputs, work.input_formats, targets, strict=True)
    ]
    rejects = (work.job.rejects or out / REJECTS) if work.job.on_error == "skip" else None
    taken = [PurePath(JOB_FOLDER), PurePath(directories.LOCK)]
    _check_aside(work, rejects, (*names, *taken))
    if rejects and rejects.absolute().is_relative_to(out.absolute()):
        taken.append(rejects.absolute().relative_to(out.absolute()))
    inputs.check_outputs(out, work.inputs, names, taken)
    return Folder(out, names, work.sink, rejects, overwrite=work.job.overwrite)


def _check_aside(work: _Work, rejects: Path | None, taken: Collection[PurePath]) -> None:
    read = [item.path for item in work.inputs if item.path is not None]
    aside = {"rejects": rejects, "summary": work.job.summary}
    names = frozenset(taken)
    for option, path in aside.items():
        if path is not None and path.resolve().is_relative_to(work.job.model.resolve()):
            raise DataError(
                f"{path}: lies within the model, and `{option}` would change the model; choose another file"
            )
    inputs.check_aside(aside, read, work.job.out, lambda place: place in names or place.parts[:1] == (JOB_FOLDER,))


def _described(work: _Work, names: Sequence[PurePath]) -> JobRecord:
    """Returns what the outputs of a job depend on, for its journal."""
    pairs = zip(work.inputs, names, strict=True)
    listed = [InputRecord(item.recorded_path, str(name), item.identity()) for item, name in pairs]
    options = work.job.options() | {"device": work.tagger.device.type}
    return JobRecord.of(options | work.tagger.limits_affecting_scores(), listed)


def _into_folder(work: _Work, folder: Folder, stop: StopRequest, callback: Callback) -> Summary:
    """Tags into a directory that has no other writer."""
    writing = partial(atomic.wrap_os_errors, folder.out)
    with stop.held(), writing():
        folder.begin(_described(work, folder.names), resume=work.job.resume)
    state = folder.state
    reader = work.reader(folder.rejects)
    try:
        for pool in work.tagged(reader, number=state.pool, first=state.finished, skip=state.records):
            with stop.held(), writing():
                due = folder.write(pool)
                if due:
                    folder.commit()
            if due:
                with writing():
                    folder.name()
            callback(state.summary, state.finished, len(work.inputs))
        with stop.held(), writing():
            folder.leave()
        if reader.fault is None:
            with writing():
                folder.name()
    except Stopped:
        with writing():
            folder.leave()
        raise
    except TaggerError:
        with writing():
            folder.give_up()
        raise
    if reader.fault is not None:
        if state.pool:
            log.info("what was tagged before the fault is kept: mend the file and continue with `resume=True`")
        raise reader.fault
    stop.hold()  # from here on there is nothing to go on with
    with writing():
        folder.finish()
    return state.summary


def _into_stream(work: _Work, stream: BinaryIO, callback: Callback) -> Summary:
    """Tags into one stream, whose head is that of the first input and whose foot that of the last."""
    targets = {
        work.job.formats.target(input_format): item
        for input_format, item in zip(work.input_formats, work.inputs, strict=True)
    }
    if len(targets) > 1:
        found = " and ".join(f"{item.label} as {target}" for target, item in targets.items())
        raise ConfigError(
            f"one stream holds one format, and {found} are several; choose one with `output_format`, or pass `out`"
        )
    if "parquet" in targets:
        raise ConfigError("parquet is written into files only; pass a directory as `out`")
    path = work.job.rejects
    if path:
        atomic.check_writable(path)
    with tempfile.TemporaryDirectory() as aside:
        rejects = Rejects(Path(aside) / REJECTS, str(path)) if path else None
        reader = work.reader(rejects)
        try:
            summary = _streamed(work, reader, stream, callback)
        except Stopped as stopped:
            raise Stopped(stopped.signum, saved=False) from None
        finally:
            if rejects and path:
                with atomic.wrap_os_errors(path):
                    atomic.copy_output(rejects.part, path)
    if reader.fault:
        raise reader.fault
    return summary


def _streamed(work: _Work, reader: Reader, stream: BinaryIO, callback: Callback) -> Summary:
    """Writes what a reader reads, tagged; returns what was done before the end or a fault."""
    summary, document, began = Summary(), None, time.perf_counter()
    number, sink = 0, work.sink(0)
    written, documents = _Written(stream), _Documents()
    written.add(sink.begin())
    for pool in work.tagged(reader):
        for stretch in pool.stretches:
            if stretch.number != number:
                number, sink, document = stretch.number, work.sink(stretch.number), None
                documents.next_input()
                if FORMATS[work.job.formats.target(work.input_formats[number])].is_corpus:
                    written.end_sentence()
                    written.add(sink.begin())
            records = documents.counted_on(stretch.records)
            written.add(sink.write(records))
            document = summary.add(records, document)
        stream.flush()
        summary.rejected, summary.seconds = pool.rejects[1], time.perf_counter() - began
        callback(summary, number, len(work.inputs))
    if reader.fault is None:
        stream.write(sink.end())
        stream.flush()
    return summary


class _Documents:
    """The documents of a stream that have no ids of their own: their numbers count on from input to input."""

    def __init__(self) -> None:
        self._first = self._next = 0

    def next_input(self) -> None:
        """Begins another input, whose own numbers begin at 0."""
        self._first = self._next

    def counted_on(self, records: Sequence[Record]) -> list[Record]:
        """Returns the next records of the input with their numbers in the stream."""
        found = []
        for record in records:
            if record.numbered and isinstance(record.document, int):
                document = self._first + record.document
                record, self._next = replace(record, document=document), document + 1
            found.append(record)
        return found


class _Written:
    """A stream into which corpora are written one after another."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._last, self._begins = stream, b"\n\n", False

    def add(self, data: bytes) -> None:
        """Writes data, without a byte-order mark where another corpus stands before it."""
        if self._begins and data:
            data, self._begins = data.removeprefix(b"\xef\xbb\xbf"), False
        self._stream.write(data)
        self._last = (self._last + data[-4:])[-4:]

    def end_sentence(self) -> None:
        """Ends the last line and sentence, so that those of the next corpus are not taken for more of the same."""
        line = b"" if self._last.endswith(b"\n") else b"\n"
        blank = b"" if self._last.replace(b"\r", b"").endswith(b"\n\n") else b"\n"
        self._stream.write(line + blank)
        self._last, self._begins = b"\n\n", True
