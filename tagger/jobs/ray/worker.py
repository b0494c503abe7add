"""The worker of the engine ray: tags shards with a model that is loaded once."""

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from platform import node
from time import time
from typing import Any, BinaryIO

import torch

from tagger import tagging
from tagger.data import data_settings
from tagger.data.formats.writing import Sink, WriteOptions
from tagger.data.writer import make_sink
from tagger.device import relaxed_garbage_collection
from tagger.errors import ConfigError, TaggerError
from tagger.io import json_files
from tagger.io.storage import Location
from tagger.jobs.job import Job
from tagger.jobs.local import engine as local
from tagger.jobs.local.folder import REJECTS
from tagger.jobs.local.writing import PoolWriter
from tagger.jobs.pools import Pool, Reader
from tagger.jobs.ray import shards
from tagger.jobs.ray.cluster import import_ray
from tagger.jobs.ray.output import OutputOwner, Result, result_name
from tagger.jobs.ray.shards import Shard
from tagger.jobs.rejects import Rejects
from tagger.jobs.summary import Summary

_MAX_NOTICES = 20  # of a shard


@dataclass(frozen=True, slots=True)
class Work:
    """A job whose inputs are split into shards; `start` is when it started, earlier by the time before it resumed."""

    job: Job
    folder: Location
    owner: OutputOwner
    shards: Sequence[Shard]
    limits: Mapping[str, int]
    device: str
    start: float = 0.0


class Worker:
    """Tags shards on one thread or one GPU.

    If the model cannot be loaded, each result has that fault: an exception would reach the user as Ray's traceback.

    Args:
        shared: a Ray reference to the work and to the model's files by name.
    """

    def __init__(self, shared: Any) -> None:
        self._work, model = import_ray().get(shared)
        self._faults: tuple[str, ...] = ()
        try:
            self._tagger = self._load_tagger(model)
        except TaggerError as error:
            self._faults = error.faults

    def _load_tagger(self, model: Mapping[str, bytes]) -> tagging.Tagger:
        if self._work.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError(
                f"the torch of a worker on {node()} finds no GPU, and the cluster has one; set `device` to cpu"
            )
        with tempfile.TemporaryDirectory() as folder:
            for name, data in model.items():
                (Path(folder) / name).write_bytes(data)
            return tagging.load(folder, device=self._work.device, workers=1, **self._work.limits)

    def __call__(self, task: Mapping[str, Any]) -> dict[str, list[str]]:
        """Returns the results of the shards of a task, whose outputs are then complete."""
        results = {index: self._process(self._work.shards[index]) for index in json.loads(task["shards"][0])}
        return {"results": [json.dumps(results)]}

    def _process(self, shard: Shard) -> Result:
        if self._faults:
            return {"faults": self._faults}
        with tempfile.TemporaryDirectory() as temporary, _capture_notices() as notices, relaxed_garbage_collection():
            try:
                return self._tag(shard, Path(temporary)) | {"notices": notices}
            except TaggerError as error:
                return {"faults": error.faults}

    def _tag(self, shard: Shard, temporary: Path) -> Result:
        job, output = self._work.job, temporary / "output"
        rejects = Rejects(temporary / REJECTS, REJECTS) if job.on_error == "skip" else None
        records = Reader(
            [shard.label],
            lambda _, reject: shards.read_records(
                shard,
                reject=reject,
                language=job.formats.language_of(self._tagger.model),
                annotations=data_settings.find_annotation_options(self._tagger.model.config.data),
                max_record_bytes=job.max_record_bytes,
            ),
            rejects,
            is_document=(lambda _: True) if self._tagger.uses_document_context else None,
        )
        with output.open("wb") as stream:
            shard_output = _ShardOutput(stream, lambda: self._open_sink(shard))
            for pool in local.tag_pools(self._tagger, job, records, records.pools()):
                shard_output.write(pool)
            if records.fault:
                raise records.fault
            sink = shard_output.end()
        self._work.owner.check()
        if sink is not None:
            sink.finish(output)
            self._work.folder.join(shard.output).copy_from(output)
        result: Result = {
            "first": shard_output.first,
            "last": shard_output.last,
            "failed": shard_output.failed,
            "seconds": time() - self._work.start,
            "summary": shard_output.summary.to_dict(),
            "rejects": rejects.part.read_text("utf-8") if rejects else "",
            "range": shard.range,
        }
        self._work.folder.join(result_name(shard)).write(json_files.dump(result))
        return result

    def _open_sink(self, shard: Shard) -> Sink:
        job = self._work.job
        with ExitStack() as stack:
            options = WriteOptions(
                input_format=shard.input_format,
                layout=data_settings.find_layout(self._tagger.model.config.data, shard.input_format),
                name=shard.label,
                probabilities=job.decoding.probabilities,
                alternatives=job.decoding.nbest > 0,
                source=stack.enter_context(shard.location.open()) if shard.input_format == "parquet" else None,
            )
            return make_sink(job.formats.output_format_of(shard.input_format), options)


class _ShardOutput:
    """Writes the tagged records of a shard to a stream and counts them.

    Attributes:
        first, last: the documents of the first and the last record.
        failed: whether the rest of the file cannot be read.
        summary: the counts.
    """

    def __init__(self, stream: BinaryIO, open_sink: Callable[[], Sink]) -> None:
        self._stream, self._open_sink = stream, cache(open_sink)
        self._writer = PoolWriter(lambda _: self._open_sink())
        self.failed = False
        self._reset()

    def _reset(self) -> None:
        self.first: str | int | None = None
        self.last: str | int | None = None
        self.summary = Summary()
        self._sink: Sink | None = None

    def write(self, pool: Pool) -> None:
        """Writes the records of a tagged pool."""
        for chunk in self._writer.write(pool).chunks:
            self.failed = chunk.failed
            if chunk.corrupt:  # the last one, of a compressed file, which is a single shard
                self._reset()
                continue
            if self._sink is None and (chunk.records or not chunk.failed):
                self._sink = self._open_sink()
                self._stream.write(self._sink.begin())
            self._stream.write(chunk.data)
            if self.last is None:
                self.first = chunk.first
            self.last = chunk.count_into(self.summary, self.last)

    def end(self) -> Sink | None:
        """Ends the output; returns its sink, None if there is no output."""
        if self._sink is not None:
            self._stream.write(self._sink.end())
        return self._sink


@contextmanager
def _capture_notices() -> Iterator[list[str]]:
    """Yields a list that collects the first log messages of reading and tagging, for the process of the job."""
    notices: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if len(notices) < _MAX_NOTICES:
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
