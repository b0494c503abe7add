"""Tags files on a Ray cluster: the work of the local engine, shard by shard, on any number of machines.

Each input is split into shards (`tagger.jobs.ray.shards`). Ray Data sends them to its workers. Each worker loads the
model once, reads a shard from its location, tags it as the local engine does and writes a file. No text passes through
Ray, only shard indices and results, so any amount of text can be tagged.

The output of `a.jsonl` is `a-00000.jsonl`, `a-00001.jsonl`, …. Concatenated, JSON lines equal the output of the local
engine byte for byte, except for the last digits of probabilities. If a worker dies, its shard is tagged again. An
output file appears only when it is complete and its name depends only on the shard, so nothing is lost or doubled.

An output directory has one writer. Object stores have no locks: there the journal has the mark of its owner. A job
ends when it finds the mark of another job, which resumed it or started at the same moment.

All machines must have access to the inputs and the output directory: an object store or a shared disk. The model is
sent to the workers. The toolkit must be installed on all machines.
"""

import json
import logging
import os
import re
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePath
from time import time
from typing import Any
from uuid import uuid4

import torch

from tagger import model_dir
from tagger.choices import Device
from tagger.data.formats import FORMATS
from tagger.data.guessing import guess_format
from tagger.errors import ConfigError, DataError, Stopped, StorageError, TaggerError
from tagger.io import atomic, directories
from tagger.io.storage import Location, is_address
from tagger.jobs import inputs
from tagger.jobs.job import Job, check_options, check_unused_options
from tagger.jobs.local import engine as local
from tagger.jobs.local.folder import REJECTS
from tagger.jobs.ray import shards
from tagger.jobs.ray.cluster import choose_device, connect, count_processors, import_ray
from tagger.jobs.ray.output import JOURNAL, OutputOwner, Result, ResultCollector, load_result, result_name, start_job
from tagger.jobs.ray.shards import Shard, Source
from tagger.jobs.ray.worker import Work, Worker
from tagger.jobs.rejects import Rejects
from tagger.jobs.summary import Summary
from tagger.model import TaggerModel
from tagger.tagging.scorer_choice import can_cache
from tagger.tagging.tagger import BATCH_TOKENS

log = logging.getLogger(__name__)

_INPUT_FORMATS, _OUTPUT_FORMATS = ("lines", "jsonl", "parquet"), ("jsonl", "parquet")
_OUTPUT_NAME = re.compile(r"(.+)-\d{5,}\.(jsonl|parquet)")


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
    """Runs a tagging job on the Ray cluster that this process is connected to, else on that of RAY_ADDRESS.

    Without either, it uses the cluster that runs on this machine, or starts one for the job.

    Args:
        paths: files, folders, globs, and addresses of files and folders such as s3://bucket/folder.
        out: the output directory, a path or an address; it must be empty or not exist.
        job: the options of the job; its own paths and directory are ignored.
        device: cuda gives each worker a GPU; auto does so if the cluster has one.
        workers: number of processes that tag, each on one processor or GPU; as many as the cluster has if None.
        limits: `batch_tokens` and `max_tokens` as in `tagging.load`.
        callback: is called with the summary, the number of finished inputs and the number of inputs.

    Raises:
        ConfigError: Ray is not installed, or options contradict the model, each other or this engine.
        DataError: an input cannot be read.
        StorageError: the directory is not empty or cannot be written, or the job to resume is another.
        Stopped: by Ctrl-C; the job can resume.
    """
    ray = import_ray()
    model = model_dir.load(job.model)[0]
    check_options(job, model)
    sources = _find_sources(paths, out, job)
    check_unused_options(job.formats, [source.input_format for source in sources])
    folder = Location(out if is_address(out) else os.path.abspath(out))  # noqa: PTH100  # links stay
    _check_extra_outputs(folder, sources, job)
    limits = dict(limits or {})
    with ExitStack() as stack:
        stack.enter_context(connect(ray))
        torch_device = choose_device(ray, device)
        if not is_address(out):
            with atomic.wrap_os_errors(Path(out)):
                Path(out).mkdir(parents=True, exist_ok=True)
            stack.enter_context(directories.lock(Path(out), remove_lock=True))
        owner = OutputOwner(folder, uuid4().hex)
        options = job.options(job.formats.language_of(model)) | _device_options(model, torch_device, limits)
        names = start_job(owner, sources, options, resume=job.resume)
        try:
            work = Work(job, folder, owner, _split_sources(ray, sources, job), limits, torch_device.type)
            return _tag_shards(ray, work, names, workers, callback)
        except TaggerError:
            owner.release()
            raise
        except KeyboardInterrupt:
            raise Stopped(signal.SIGINT) from None


def _device_options(model: TaggerModel, device: torch.device, limits: Mapping[str, int]) -> dict[str, Any]:
    """Returns the options beyond those of the job that scores depend on, as in the local engine."""
    batch_tokens = {} if can_cache(model, device) else {"batch_tokens": limits.get("batch_tokens", BATCH_TOKENS)}
    return {"device": device.type} | batch_tokens


def _find_sources(paths: Sequence[str], out: str, job: Job) -> list[Source]:
    """Returns the files to tag: those on disks, then those of addresses."""
    if inputs.STDIN in paths:
        raise ConfigError("the engine ray reads files, not the standard input")
    on_disk = [Path(path) for path in paths if not is_address(path)]
    local_out = None if is_address(out) else Path(out)
    sources = []
    for item in inputs.find_inputs(on_disk, pattern=job.pattern, out=local_out) if on_disk else []:
        assert item.path is not None
        size, modified = item.file_status() or (None, None)
        location = Location(os.path.abspath(item.path))  # noqa: PTH100
        name = item.relative_path
        sources.append(Source(location, item.label, name, _input_format(name, item.label, job), size, modified))
    for address in filter(is_address, paths):
        files = [file for file in Location(address).list_files() if _is_selected(file.location.name, job.pattern)]
        if not files:
            raise DataError(f"{address}: no such file, or no file in this folder matches")
        for file in files:
            name = PurePath(file.location.name or PurePath(address).name)
            label = str(file.location)
            sources.append(
                Source(file.location, label, name, _input_format(name, label, job), file.size, file.modified)
            )
    return sources


def _is_selected(name: str, pattern: str | None) -> bool:
    is_hidden = any(part.startswith(".") for part in name.split("/"))
    return not is_hidden and (not name or pattern is None or PurePath(name).match(pattern))


def _input_format(name: PurePath, label: str, job: Job) -> Any:
    input_format = job.formats.input_format or guess_format(Path(label)).format
    if input_format not in _INPUT_FORMATS:
        formats = ", ".join(_INPUT_FORMATS)
        raise ConfigError(
            f"the engine ray reads {formats}, but {name} is {input_format}; choose one with `input_format`, or leave"
            " out `engine`"
        )
    if (output_format := job.formats.output_format_of(input_format)) not in _OUTPUT_FORMATS:
        formats = " or ".join(_OUTPUT_FORMATS)
        raise ConfigError(f"the engine ray writes {formats}, not {output_format}; choose with `output_format`")
    return input_format


def _check_extra_outputs(folder: Location, sources: Sequence[Source], job: Job) -> None:
    out, reserved = folder.local_path(), {PurePath(name) for name in (JOURNAL, directories.LOCK)}
    rejects = job.rejects or (out / REJECTS if out and job.on_error == "skip" else None)
    names = {source.name.with_name(inputs.strip_suffixes(source.name)) for source in sources}

    def is_reserved(path: PurePath) -> bool:
        match = _OUTPUT_NAME.fullmatch(path.name)
        return path in reserved or (match is not None and path.with_name(match[1]) in names)

    read = [path for source in sources if (path := source.location.local_path())]
    inputs.check_extra_outputs({"rejects": rejects, "summary": job.summary}, read, out, is_reserved)


def _split_sources(ray: Any, sources: Sequence[Source], job: Job) -> list[Shard]:
    """Returns the shards of all inputs; the cluster scans large ones."""
    ranges = [(index, item) for index, source in enumerate(sources) for item in shards.list_scan_ranges(source)]
    scan_results: dict[int, list[shards.ScanResult]] = {}
    if ranges:
        remote = ray.remote(num_cpus=1)(shards.scan)
        results = ray.get([remote.remote(item) for _, item in ranges])
        for (index, _), result in zip(ranges, results, strict=True):
            scan_results.setdefault(index, []).append(result)
    split: list[Shard] = []
    for index, source in enumerate(sources):
        suffix = FORMATS[job.formats.output_format_of(source.input_format)].suffixes[0]
        split += shards.split(source, index, scan_results.get(index, []), suffix)
    first: dict[str, Shard] = {}
    for shard in split:
        if shard.output in first:
            raise DataError(inputs.describe_collision(first[shard.output].label, shard.label, shard.output))
        first[shard.output] = shard
    return split


def _tag_shards(ray: Any, work: Work, names: set[str], workers: int | None, callback: local.Callback) -> Summary:
    """Tags the shards that are not complete, adds up the results of all and ends the job."""
    job = work.job
    with tempfile.TemporaryDirectory() as temporary:
        target = work.folder.join(REJECTS)
        rejects = Rejects(Path(temporary) / REJECTS, str(job.rejects or target)) if job.on_error == "skip" else None
        results = _load_results(work, names)
        work = replace(work, start=time() - max((result["seconds"] for result in results.values()), default=0.0))
        collector = ResultCollector(rejects, work.start)
        new = _iterate_results(ray, work, [n for n in range(len(work.shards)) if n not in results], workers)
        work.owner.check()
        for index, shard in enumerate(work.shards):
            while index not in results:
                results.update(next(new))
                work.owner.check()
            collector.add(shard, results.pop(index))
            callback(collector.summary, shard.source, work.shards[-1].source + 1)
        work.owner.check()
        for shard in collector.skipped:
            work.folder.join(shard.output).remove()
        if job.rejects and rejects:
            with atomic.wrap_os_errors(job.rejects):
                atomic.copy_output(rejects.part, job.rejects)
        elif rejects:
            target.copy_from(rejects.part)
    for name in (*map(result_name, work.shards), JOURNAL):
        work.folder.join(name).remove()
    return collector.summary


def _load_results(work: Work, names: set[str]) -> dict[int, Result]:
    """Returns the results of complete shards by index."""
    results = {
        index: load_result(work.folder.join(result_name(shard)))
        for index, shard in enumerate(work.shards)
        if result_name(shard) in names
    }
    if any(result["range"] != work.shards[index].range for index, result in results.items()):
        raise StorageError(f"{work.folder}: the unfinished job here has other shards; empty it and start again")
    return results


def _iterate_results(ray: Any, work: Work, indices: Sequence[int], workers: int | None) -> Iterator[dict[int, Result]]:
    """Yields the results of shards by index, in the order in which workers finish them."""
    if not indices:
        return
    tasks = list(_group_into_tasks(work.shards, indices))
    size = min(workers or count_processors(ray, work.device), len(tasks))
    shared = ray.put((work, model_dir.read_files(work.job.model)))
    dataset = ray.data.from_items([{"shards": json.dumps(task)} for task in tasks], override_num_blocks=len(tasks))
    dataset.context.enable_progress_bars = dataset.context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    tagged = dataset.map_batches(
        Worker,
        fn_constructor_args=(shared,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=size),
        num_cpus=1,
        num_gpus=1 if work.device == "cuda" else 0,
    )
    for row in tagged.iter_rows():
        yield {int(index): result for index, result in json.loads(row["results"]).items()}


def _group_into_tasks(split: Sequence[Shard], indices: Sequence[int]) -> Iterator[list[int]]:
    """Yields the indices of shards that one task tags: a single shard, or several small files."""
    task: list[int] = []
    task_bytes = 0
    for index in indices:
        size = split[index].size
        if task and task_bytes + size > shards.SHARD_BYTES:
            yield task
            task, task_bytes = [], 0
        task.append(index)
        task_bytes += size
    yield task
