"""Tagging on a Ray cluster: what the local engine does, part by part, on as many machines as there are.

Each input is cut into parts (`tagger.jobs.ray.parts`). Ray Data hands them to its workers, each of which has the model
loaded once, reads a part from where it lies, tags it as the local engine does and writes a file of its own. No text
passes through Ray, only the numbers of parts and what was found in them, so that any amount can be tagged.

The output of `a.jsonl` is `a-00000.jsonl`, `a-00001.jsonl`, …; one after the other, JSON lines are what the local
engine writes, byte for byte, but for the last digits of probabilities. A part is tagged again when its worker dies;
its file, which follows from the part alone, takes its name when it is whole, so that nothing is lost or doubled.

A directory of outputs has one writer. Stores know no locks: there the journal bears the mark of a job, and when it
finds that of another, which took it over by `resume` or began at the same moment, it ends.

The inputs and the directory of the outputs must be reached from all machines: an object store, or a disk that they
share. The model need not be, it is sent; the toolkit is to be installed on all.
"""

import json
import logging
import os
import re
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from platform import node
from time import time
from typing import Any
from uuid import uuid4

import torch

from tagger import model_dir, tagging
from tagger.choices import Device
from tagger.data import reader
from tagger.data.formats import FORMATS
from tagger.data.formats.writing import Sink, WriteOptions
from tagger.data.writer import make_sink
from tagger.device import relaxed_garbage_collection
from tagger.errors import ConfigError, DataError, Stopped, StorageError, TaggerError
from tagger.io import atomic, directories, json_files
from tagger.io.storage import Place, is_address
from tagger.jobs import inputs
from tagger.jobs.job import Job, check, check_effects
from tagger.jobs.journal import InputRecord, JobRecord, differences
from tagger.jobs.local import engine as local
from tagger.jobs.local.folder import REJECTS
from tagger.jobs.pools import Reader
from tagger.jobs.ray import parts
from tagger.jobs.ray.parts import Part, Source
from tagger.jobs.rejects import Rejects
from tagger.jobs.summary import Summary
from tagger.model import TaggerModel
from tagger.tagging.scorer_choice import can_cache
from tagger.tagging.tagger import BATCH_TOKENS

log = logging.getLogger(__name__)

JOURNAL = ".tagger-ray-job.json"
_INPUT_FORMATS, _OUTPUT_FORMATS = ("lines", "jsonl", "parquet"), ("jsonl", "parquet")
_MOST_TOLD = 20  # notices of a part
_KINDS = {"cpu": "CPU", "cuda": "GPU"}  # what Ray calls processors
_MARKED = re.compile(rb'\{"writer": "[0-9a-f]{32}", (?="made_by": "bilstm-crf-tagger ray", )')
_PART_NAME = re.compile(r"(.+)-\d{5,}\.(jsonl|parquet)")

Answer = dict[str, Any]
"""What a worker found in a part: `summary`, the `seconds` since the job began, the ids of its `first` and `last`
documents, `rejects`, `notices`, and whether the rest of the file is `spoilt`; or the `faults` that end the job."""


def run(
    paths: Sequence[str],
    out: str,
    job: Job,
    *,
    device: Device = "auto",
    workers: int | None = None,
    limits: Mapping[str, int] | None = None,
    callback: local.Callback = lambda *_: None,
) -> Summary:
    """Does a tagging job on the Ray cluster that this process is connected to, else on that of RAY_ADDRESS.

    Without either, that is the cluster that runs on this machine, or one that is started for the job.

    Args:
        paths: files, folders, globs, and addresses of files and folders such as s3://bucket/folder.
        out: the directory of the outputs, a path or an address, empty or not there.
        job: the rest of the job; its own paths and directory are passed over.
        device: cuda gives each worker a GPU; auto does so if the cluster has one.
        workers: processes that tag, each on one processor or GPU; as many as the cluster has if None.
        limits: `batch_tokens` and `max_tokens` as the tagger takes them.
        callback: told of what was done, and how many inputs of how many are finished.

    Raises:
        ConfigError: Ray is not there, or the options do not fit the model, one another or this engine.
        DataError: an input cannot be read.
        StorageError: the directory holds something, cannot be written, or the job to go on with is another.
        Stopped: by Ctrl-C; the job can be gone on with.
    """
    ray = _ray()
    model = model_dir.load(job.model)[0]
    check(job, model)
    found = _found(paths, out, job)
    check_effects(job.formats, [one.input_format for one in found])
    folder = Place(out if is_address(out) else os.path.abspath(out))  # noqa: PTH100  # links stay
    _check_aside(folder, found, job)
    with ExitStack() as stack:
        stack.enter_context(_connected(ray))
        place = _device(ray, device)
        if not is_address(out):
            with atomic.wrap_os_errors(Path(out)):
                Path(out).mkdir(parents=True, exist_ok=True)
            stack.enter_context(directories.lock(Path(out), remove_lock=True))
        writer = _Writer(folder, uuid4().hex)
        begun = _begin(writer, found, job, _dependences(model, place, limits or {}))
        try:
            work = _Work(job, folder, writer, _cut(ray, found, job), dict(limits or {}), place.type == "cuda")
            return _do(ray, work, begun, workers, callback)
        except TaggerError:
            writer.leave()
            raise
        except KeyboardInterrupt:
            raise Stopped(signal.SIGINT) from None


def _ray() -> Any:
    try:
        import ray.data  # takes seconds to load, so only when it is used
    except ImportError as error:
        raise ConfigError("the engine ray needs Ray: pip install 'bilstm-crf-tagger[ray]'") from error
    return ray


@contextmanager
def _connected(ray: Any) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    # Ray's core warns, each time, of what cannot befall references that outlive their actors (its issue 53727).
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        # A client of another Ray sends its settings as a pickle, and adds no directory.
        through_client = os.environ.get("RAY_ADDRESS", "").startswith("ray://")
        settings = {} if through_client else {"job_config": _job_config(ray)}
        ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR, **settings)
    except (ConnectionError, ValueError, RuntimeError) as error:
        place = os.environ.get("RAY_ADDRESS", "this machine")
        raise ConfigError(f"no Ray cluster at {place}: {' '.join(str(error).split())[:300]}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _job_config(ray: Any) -> Any:
    """Returns settings by which workers import nothing from the current directory, which Ray puts on their path first.

    If this package is not installed but lies in a directory, workers look for modules in that directory.
    """

    class JobConfig(ray.job_config.JobConfig):  # type: ignore[misc]
        def _runtime_env_has_working_dir(self) -> bool:
            return True  # Ray asks this alone before it adds the directories of the script and the process

    parent = Path(__file__).parents[2]
    is_installed = parent.name in ("site-packages", "dist-packages")
    return JobConfig(_py_driver_sys_path=[] if is_installed else [str(parent)])


def _count(ray: Any, kind: str) -> int:
    """Returns how many processors of a kind, CPU or GPU, the cluster has."""
    return int(ray.cluster_resources().get(kind, 0))


def _device(ray: Any, name: Device) -> torch.device:
    """Returns where each worker computes: on a GPU if the cluster has any, unless told otherwise.

    Raises:
        ConfigError: the cluster has no such processor.
    """
    kind = "cpu" if name == "cpu" or (name == "auto" and not _count(ray, "GPU")) else "cuda"
    if not _count(ray, _KINDS[kind]):
        raise ConfigError(f"the Ray cluster has no {_KINDS[kind]}")
    return torch.device(kind)


def _dependences(model: TaggerModel, place: torch.device, limits: Mapping[str, int]) -> dict[str, Any]:
    """Returns what answers depend on beside the job's own options, by option, as the local engine has it."""
    batch_tokens = {} if can_cache(model, place) else {"batch_tokens": limits.get("batch_tokens", BATCH_TOKENS)}
    return {"device": place.type} | batch_tokens


def _found(paths: Sequence[str], out: str, job: Job) -> list[Source]:
    """Returns the files to tag: those on disks, then those of addresses."""
    if inputs.STDIN in paths:
        raise ConfigError("the engine ray reads files, not the standard input")
    on_disk = [Path(path) for path in paths if not is_address(path)]
    listed = inputs.find(on_disk, pattern=job.pattern, out=None if is_address(out) else Path(out)) if on_disk else []
    found = []
    for item in listed:
        assert item.path is not None
        size, changed = item.identity() or (None, None)
        place = Place(os.path.abspath(item.path))  # noqa: PTH100
        found.append(Source(place, item.label, item.place, _form(item.place, job), size, changed))
    for address in filter(is_address, paths):
        inside = [one for one in Place(address).files() if _is_asked_for(one.place.name, job.pattern)]
        if not inside:
            raise DataError(f"{address}: no such file, or no file in this folder fits")
        for one in inside:
            name = PurePath(one.place.name or PurePath(address).name)
            found.append(Source(one.place, str(one.place), name, _form(name, job), one.size, one.changed))
    return found


def _is_asked_for(name: str, pattern: str | None) -> bool:
    hidden = any(part.startswith(".") for part in name.split("/"))
    return not hidden and (not name or pattern is None or PurePath(name).match(pattern))


def _form(name: PurePath, job: Job) -> Any:
    input_format = job.formats.input_format or reader.guess_format(Path(name))
    if input_format not in _INPUT_FORMATS:
        raise ConfigError(
            f"the engine ray reads {', '.join(_INPUT_FORMATS)}, and {name} is {input_format}; leave out `engine`"
        )
    if (output_format := job.formats.target(input_format)) not in _OUTPUT_FORMATS:
        raise ConfigError(
            f"the engine ray writes {' or '.join(_OUTPUT_FORMATS)}, not {output_format}; choose with `output_format`"
        )
    return input_format


def _check_aside(folder: Place, found: Sequence[Source], job: Job) -> None:
    out, kept = folder.on_disk(), {PurePath(name) for name in (JOURNAL, directories.LOCK)}
    rejects = job.rejects or (out / REJECTS if out and job.on_error == "skip" else None)
    bare = {one.name.with_name(inputs.stem(one.name)) for one in found}

    def taken(place: PurePath) -> bool:
        part = _PART_NAME.fullmatch(place.name)
        return place in kept or (part is not None and place.with_name(part[1]) in bare)

    read = [path for one in found if (path := one.place.on_disk())]
    inputs.check_aside({"rejects": rejects, "summary": job.summary}, read, out, taken)


@dataclass(frozen=True, slots=True)
class _Writer:
    """The writer of a directory, whose mark stands in the journal: whose mark it is, his is the job there."""

    folder: Place
    name: str

    def claim(self, job: JobRecord) -> None:
        """Writes the journal of a job, in place of any other."""
        self._journal.write(self._mark + json_files.dump(job.to_json())[1:])

    def read(self) -> JobRecord:
        """Returns the job of the journal, whoever wrote it.

        Raises:
            StorageError: the file was not made by such a job.
        """
        data = self._journal.read()
        try:
            if not _MARKED.match(data):
                raise ValueError("it was not made by a tagging job on Ray")
            return json_files.parse_as(JobRecord, b"{" + _MARKED.sub(b"", data, count=1))
        except ValueError as error:
            raise StorageError(f"{self._journal}: cannot resume from this journal: {error}") from None

    def check(self) -> None:
        """Raises StorageError if the journal is that of another or gone."""
        if not self._holds():
            raise StorageError(f"{self.folder}: another process is writing here")

    def leave(self) -> None:
        """Takes the journal back if there is nothing to go on with."""
        if self._holds() and _names(self.folder) == {JOURNAL}:
            self._journal.remove()

    def _holds(self) -> bool:
        if not self._journal.files():
            return False
        with self._journal.opened() as file:  # whose beginning is enough: a journal may be long
            return file.read(len(self._mark)) == self._mark

    @property
    def _journal(self) -> Place:
        return self.folder.inside(JOURNAL)

    @property
    def _mark(self) -> bytes:
        return f'{{"writer": "{self.name}", '.encode()


def _names(folder: Place) -> set[str]:
    names = {one.place.name for one in folder.files()}
    if (directory := folder.on_disk()) and directory.is_dir():
        # A store lists no links, pipes and devices.
        inside = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
        names |= {str(path.relative_to(directory)) for path in inside}
    return names - {directories.LOCK}


def _begin(writer: _Writer, found: Sequence[Source], job: Job, dependences: dict[str, Any]) -> set[str]:
    """Begins the job, or takes up the unfinished one; returns the names of the files that are there."""
    folder = writer.folder
    listed = [InputRecord(str(one.place), str(one.name), (one.size, one.changed)) for one in found]
    now = JobRecord.of(job.options() | dependences, listed, "bilstm-crf-tagger ray")
    names = _names(folder)
    if job.resume and JOURNAL in names:
        if lines := differences(writer.read(), now, len(found)):
            raise StorageError(*(f"{folder}: the unfinished job here is another: {line}" for line in lines))
        writer.claim(now)
        return names
    if names:
        hint = "; `resume=True` continues the unfinished job there" if JOURNAL in names else ""
        raise StorageError(f"{folder}: is not empty, and many files are written there; choose another `out`{hint}")
    writer.claim(now)
    return names


@dataclass(frozen=True, slots=True)
class _Work:
    """A job with its inputs cut into parts."""

    job: Job
    folder: Place
    writer: _Writer
    parts: Sequence[Part]
    limits: Mapping[str, int]
    cuda: bool
    began: float = 0.0  # by the clock, moved back by the time that was spent before a resumption

    def mark(self, part: Part) -> str:
        """Returns the name of the file that holds the answer for a part that is whole."""
        path = PurePath(part.output)
        return str(path.with_name(f".{path.name}.done"))


def _cut(ray: Any, found: Sequence[Source], job: Job) -> list[Part]:
    """Returns the parts of all inputs; what large ones hold is looked up on the cluster."""
    stretches = [(number, one) for number, source in enumerate(found) for one in parts.stretches(source)]
    surveys: dict[int, list[parts.Survey]] = {}
    if stretches:
        remote = ray.remote(num_cpus=1)(parts.survey)
        answers = ray.get([remote.remote(one) for _, one in stretches])
        for (number, _), answer in zip(stretches, answers, strict=True):
            surveys.setdefault(number, []).append(answer)
    cut: list[Part] = []
    for number, source in enumerate(found):
        suffix = FORMATS[job.formats.target(source.input_format)].suffixes[0]
        cut += parts.cut(source, number, surveys.get(number, []), suffix)
    first: dict[str, Part] = {}
    for part in cut:
        if part.output in first:
            raise DataError(inputs.collision(first[part.output].label, part.label, part.output))
        first[part.output] = part
    return cut


def _cut_of(part: Part) -> list[int | None]:
    """Returns what of its file a part is."""
    return [part.start, part.stop, part.first]


def _do(ray: Any, work: _Work, begun: set[str], workers: int | None, callback: local.Callback) -> Summary:
    """Tags the parts that are not whole yet, puts the answers of all together and ends the job."""
    job = work.job
    with tempfile.TemporaryDirectory() as aside:
        target = work.folder.inside(REJECTS)
        aside_rejects = Path(aside) / REJECTS
        rejects = Rejects(aside_rejects, str(job.rejects or target)) if job.on_error == "skip" else None
        arrived: dict[int, Answer] = {
            number: _stored_answer(work.folder.inside(work.mark(part)))
            for number, part in enumerate(work.parts)
            if work.mark(part) in begun
        }
        if any(answer["cut"] != _cut_of(work.parts[number]) for number, answer in arrived.items()):
            raise StorageError(f"{work.folder}: the unfinished job here was cut otherwise; empty it and start again")
        work = replace(work, began=time() - max((answer["seconds"] for answer in arrived.values()), default=0.0))
        tally = _Tally(rejects, work.began)
        answers = _answers(ray, work, [number for number in range(len(work.parts)) if number not in arrived], workers)
        work.writer.check()
        for number, part in enumerate(work.parts):
            while number not in arrived:
                arrived.update(next(answers))
                work.writer.check()
            tally.add(part, arrived.pop(number))
            callback(tally.summary, part.source, work.parts[-1].source + 1)
        work.writer.check()
        for part in tally.left_out:
            work.folder.inside(part.output).remove()
        if job.rejects and rejects:
            with atomic.wrap_os_errors(job.rejects):
                atomic.copy_output(rejects.part, job.rejects)
        elif rejects:
            target.take(rejects.part)
    for name in (*map(work.mark, work.parts), JOURNAL):
        work.folder.inside(name).remove()
    return tally.summary


@dataclass(frozen=True)
class _StoredAnswer:
    """The answer for a part that is whole, as its file holds it."""

    first: str | int | None
    last: str | int | None
    spoilt: bool
    seconds: float
    summary: Summary
    rejects: str
    cut: tuple[int | None, int | None, int | None]


def _stored_answer(place: Place) -> Answer:
    """Returns the answer that a worker has stored.

    Raises:
        StorageError: the file does not hold one.
    """
    try:
        answer: Answer = json_files.parse(place.read())
        json_files.parse_as(_StoredAnswer, json_files.dump(answer)).summary.check()
        if not all(isinstance(json_files.parse(row), dict) for row in answer["rejects"].split("\n")[:-1]):
            raise ValueError("the rejects are not rows")
    except ValueError as error:
        raise StorageError(
            f"{place}: is not what a worker writes: {error}; empty the directory and start again"
        ) from None
    return answer


def _answers(ray: Any, work: _Work, left: Sequence[int], workers: int | None) -> Iterator[dict[int, Answer]]:
    """Yields the answers for parts by their numbers, as they come."""
    if not left:
        return
    tasks = list(_tasks(work.parts, left))
    size = min(workers or _count(ray, _KINDS["cuda" if work.cuda else "cpu"]), len(tasks))
    shared = ray.put((work, model_dir.contents(work.job.model)))
    dataset = ray.data.from_items([{"parts": json.dumps(task)} for task in tasks], override_num_blocks=len(tasks))
    dataset.context.enable_progress_bars = dataset.context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    tagged = dataset.map_batches(
        Worker,
        fn_constructor_args=(shared,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=size),
        num_cpus=1,
        num_gpus=1 if work.cuda else 0,
    )
    for row in tagged.iter_rows():
        yield {int(number): answer for number, answer in json.loads(row["answers"]).items()}


def _tasks(cut: Sequence[Part], left: Sequence[int]) -> Iterator[list[int]]:
    """Yields the numbers of parts that are done at once: one, or several small files."""
    task: list[int] = []
    size = 0
    for number in left:
        volume = cut[number].size
        if task and size + volume > parts.PART_BYTES:
            yield task
            task, size = [], 0
        task.append(number)
        size += volume
    yield task


class Worker:
    """Tags parts, with the model loaded once, on one thread or one GPU.

    If the model cannot be loaded, that is the fault of each part: what Ray is told by raising ends in a long trace.

    Args:
        shared: refers to the work and to the model's files by name.
    """

    def __init__(self, shared: Any) -> None:
        self._work, model = _ray().get(shared)
        self._faults: tuple[str, ...] = ()
        try:
            self._tagger = self._loaded(model)
        except TaggerError as error:
            self._faults = error.faults

    def _loaded(self, model: Mapping[str, bytes]) -> tagging.Tagger:
        if self._work.cuda and not torch.cuda.is_available():
            raise ConfigError(
                f"the torch of a worker on {node()} finds no GPU, and the cluster has one; set `device` to cpu"
            )
        with tempfile.TemporaryDirectory() as folder:
            for name, data in model.items():
                (Path(folder) / name).write_bytes(data)
            device = "cuda" if self._work.cuda else "cpu"
            return tagging.load(folder, device=device, workers=1, **self._work.limits)

    def __call__(self, task: Mapping[str, Any]) -> dict[str, list[str]]:
        """Returns the answers for the parts of a task, whose files are then whole."""
        return {"answers": [json.dumps({n: self._answer(self._work.parts[n]) for n in json.loads(task["parts"][0])})]}

    def _answer(self, part: Part) -> Answer:
        if self._faults:
            return {"faults": self._faults}
        with tempfile.TemporaryDirectory() as aside, _noted() as notices, relaxed_garbage_collection():
            try:
                return self._tagged(part, Path(aside)) | {"notices": notices}
            except TaggerError as error:
                return {"faults": error.faults}

    def _tagged(self, part: Part, aside: Path) -> Answer:
        job, output = self._work.job, aside / "output"
        rejects = Rejects(aside / REJECTS, REJECTS) if job.on_error == "skip" else None
        reader = Reader(
            [part.label],
            lambda _, reject: parts.records(
                part, language=job.formats.text_language, reject=reject, max_record_bytes=job.max_record_bytes
            ),
            rejects,
            alone=(lambda _: True) if self._tagger.uses_document_context else None,
        )
        answer: Answer = {"first": None, "last": None, "spoilt": False}
        summary = Summary()
        with output.open("wb") as stream:
            sink = None
            for pool in local.tagged(self._tagger, job, reader, reader.pools()):
                for stretch in pool.stretches:
                    answer["spoilt"] = stretch.spoilt
                    if stretch.corrupt:  # the last, of a packed file, which is one part
                        summary, sink = Summary(), None
                        answer["first"] = answer["last"] = None
                        continue
                    if sink is None and (stretch.records or not stretch.spoilt):
                        sink = self._sink(part)
                        stream.write(sink.begin())
                    if sink is not None and stretch.records:
                        stream.write(sink.write(stretch.records))
                        if answer["last"] is None:
                            answer["first"] = stretch.records[0].document
                        answer["last"] = summary.add(stretch.records, answer["last"])
            if reader.fault:
                raise reader.fault
            if sink is not None:
                stream.write(sink.end())
        self._work.writer.check()
        if sink is not None:
            sink.finish(output)
            self._work.folder.inside(part.output).take(output)
        answer |= {
            "seconds": time() - self._work.began,
            "summary": summary.stored(),
            "rejects": rejects.part.read_text("utf-8") if rejects else "",
            "cut": _cut_of(part),
        }
        self._work.folder.inside(self._work.mark(part)).write(json_files.dump(answer))
        return answer

    def _sink(self, part: Part) -> Sink:
        job = self._work.job
        with ExitStack() as stack:
            options = WriteOptions(
                input_format=part.input_format,
                layout=reader.find_layout(self._tagger.model.config.data, part.input_format),
                name=part.label,
                probabilities=job.answers.probabilities,
                alternatives=job.answers.nbest > 0,
                source=stack.enter_context(part.place.opened()) if part.input_format == "parquet" else None,
            )
            return make_sink(job.formats.target(part.input_format), options)


@contextmanager
def _noted() -> Iterator[list[str]]:
    """Yields a list that takes up the first notices of reading and tagging, which are to be told where the job is."""
    notices: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if len(notices) < _MOST_TOLD:
                notices.append(record.getMessage())

    handler, loggers = Handler(), [logging.getLogger(name) for name in ("tagger.data", "tagger.tagging")]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    try:
        yield notices
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


@dataclass(slots=True)
class _Tally:
    """Puts the answers for parts, in their order, together as the local engine would have counted.

    Attributes:
        rejects: takes what could not be read, if it is not to end the job.
        began: when the job began, by the clock.
        summary: what was done.
        left_out: parts that stand after what could not be read of their file.
    """

    rejects: Rejects | None
    began: float
    summary: Summary = field(default_factory=Summary)
    left_out: list[Part] = field(default_factory=list)
    _spoilt: bool = False
    _source: int = -1
    _document: str | int | None = None

    def add(self, part: Part, answer: Answer) -> None:
        """Takes up the answer for the next part.

        Raises:
            DataError: it could not be read, and nothing takes that.
        """
        if faults := answer.get("faults"):
            raise DataError(*faults)
        if part.source != self._source:
            self._source, self._document, self._spoilt = part.source, None, False
        if self._spoilt:
            self.left_out.append(part)
            return
        for notice in answer.get("notices", ()):
            log.info("%s: %s", part.label, notice)
        for row in answer["rejects"].split("\n")[:-1]:
            if self.rejects:
                self.rejects.add_row(json.loads(row))
        self._spoilt = answer["spoilt"]
        self._count(answer)
        self.summary.rejected = self.rejects.count if self.rejects else 0
        self.summary.seconds = time() - self.began

    def _count(self, answer: Answer) -> None:
        done = Summary.of(answer["summary"])
        if answer["last"] is not None:
            self.summary.documents -= answer["first"] == self._document  # it began in the part before
            self._document = answer["last"]
        self.summary.documents += done.documents
        self.summary.sentences += done.sentences
        self.summary.tokens += done.tokens
        self.summary.spans += done.spans
