"""Tagging with worker processes: the outputs, notices and faults are those of threads."""

import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import tagger
from tagger.data.sentence import Record, Sentence, SourceText, Span
from tagger.errors import Stopped, TaggerError
from tagger.jobs.inputs import STDIN
from tagger.jobs.job import Formats, Job
from tagger.jobs.local import engine, processes
from tagger.jobs.local.processes import Task, map_in_processes
from tagger.jobs.local.writing import PoolWriter
from tagger.jobs.summary import Summary
from tagger.tagging import DecodingOptions, Tagger

pytestmark = pytest.mark.skipif(not processes.can_fork, reason="worker processes need Linux")

LINES = "Ada lives in Oslo .\nGrace lives in New York .\n\nAlan\n"
COLUMNS = "-DOCSTART- O\n\nAda ?\nlives ?\n\n\nGrace ?\n\n-DOCSTART- O\n\nAlan ?\nlives ?\nin ?\nLima ?\n\n"


@pytest.fixture(scope="module")
def model(model_path: Path) -> Tagger:
    """The model that has learned the tiny corpus."""
    return tagger.load(model_path, device="cpu", workers=3, max_tokens=20)


@pytest.fixture
def processes_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a job use processes from its second pool on."""
    monkeypatch.setattr(engine, "TOKENS_BEFORE_PROCESSES", 1)


def write_inputs(folder: Path) -> list[Path]:
    """Writes files of several formats, with several pools, long sentences, and faults."""
    folder.mkdir()
    contents = {
        "a.lines": LINES * 300,
        "b.conll": COLUMNS * 200 + "Ada\n\n",  # the last sentence lacks a column
        "c.txt": "Ada lives in Oslo. Grace lives in New York.\n" * 150,
        "d.conll": "".join("".join(f"{word} ?\n" for word in ["Ada"] * 30) + "\n" for _ in range(60)),
        "e.jsonl": '{"text": "Ada lives in Oslo.", "offsets": 2, "spans": []}\n' * 300 + "{\n",
    }
    for name, content in contents.items():
        (folder / name).write_text(content)
    return [folder / name for name in contents]


def tag_into(model: Tagger, model_path: Path, out: Path, paths: list[Path], workers: int, **options: Any) -> Summary:
    """Tags files into a directory with a number of workers."""
    job = Job(tuple(paths), model_path, out=out, on_error="skip", **options)
    return engine.run(model.with_workers(workers), job, (BytesIO(), BytesIO()))


def read_files(folder: Path) -> dict[str, bytes]:
    """Returns the content of all files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.usefixtures("processes_from_the_start")
@pytest.mark.parametrize(
    "options",
    [
        {"decoding": DecodingOptions(probabilities=True)},
        {"decoding": DecodingOptions(probabilities=True, nbest=2), "formats": Formats(output_format="jsonl")},
        {"formats": Formats(output_format="html")},
    ],
)
def test_processes_write_the_bytes_that_threads_write(
    model: Tagger, model_path: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    paths = write_inputs(tmp_path / "in")
    with_processes = tag_into(model, model_path, tmp_path / "processes", paths, 3, **options)
    with_threads = tag_into(model, model_path, tmp_path / "threads", paths, 2, **options)
    found, expected = read_files(tmp_path / "processes"), read_files(tmp_path / "threads")
    if "index.html" in expected:  # names the folder
        expected["index.html"] = expected["index.html"].replace(b"/threads", b"/processes")
    assert found == expected
    assert b"expected 2 columns" in found["rejects.jsonl"]
    assert with_processes.to_json() | {"seconds": 0, "tokens_per_second": 0} == with_threads.to_json() | {
        "seconds": 0,
        "tokens_per_second": 0,
    }


@pytest.mark.usefixtures("processes_from_the_start")
def test_notices_of_processes_are_those_of_threads(
    model: Tagger, model_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = write_inputs(tmp_path / "in")
    messages = []
    for workers in (2, 3):
        caplog.clear()
        with caplog.at_level(logging.INFO, "tagger"):
            tag_into(model, model_path, tmp_path / str(workers), paths, workers)
        messages.append(sorted(record.getMessage() for record in caplog.records))
    assert messages[0] == messages[1]
    assert "more sentences are tagged in windows" in messages[0]
    assert "the input's fields offsets, spans are replaced by those of the output" in messages[0]


@pytest.mark.usefixtures("processes_from_the_start")
def test_documents_of_several_inputs_count_on_in_one_stream(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    paths = write_inputs(tmp_path / "in")
    streams = []
    for workers in (2, 3):
        out = BytesIO()
        job = Job((paths[0], paths[3]), model_path, Formats(output_format="jsonl"))
        summary = engine.run(model.with_workers(workers), job, (BytesIO(), out))
        streams.append((out.getvalue(), summary.documents, summary.tokens))
    assert streams[0] == streams[1]


@pytest.mark.usefixtures("processes_from_the_start")
def test_the_standard_input_is_tagged_by_processes(model: Tagger, model_path: Path) -> None:
    streams = []
    for workers in (2, 3):
        out = BytesIO()
        job = Job((STDIN,), model_path, Formats("lines"))
        engine.run(model.with_workers(workers), job, (BytesIO(LINES.encode() * 500), out))
        streams.append(out.getvalue())
    assert streams[0] == streams[1]
    assert streams[0].count(b"Ada B-PER") + streams[0].count(b"Ada S-PER") == 500


def test_a_document_in_several_pools_counts_once(model: Tagger, model_path: Path) -> None:
    job = Job((STDIN,), model_path, Formats("columns"))
    text = b"Ada ?\nlives ?\n\n" * 1000 + b"-DOCSTART- O\n\nAda ?\n\n"
    summary = engine.run(model, job, (BytesIO(text), BytesIO()))
    assert (summary.documents, summary.sentences, summary.tokens) == (2, 1001, 2001)


def test_a_small_job_starts_no_process(model: Tagger, model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_open_workers", lambda *_: pytest.fail("a process was started"))
    engine.run(model, Job((STDIN,), model_path, Formats("lines")), (BytesIO(LINES.encode() * 100), BytesIO()))


@pytest.mark.usefixtures("processes_from_the_start")
def test_a_killed_process_is_an_error_and_the_job_resumes(
    model: Tagger, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.lines").write_text(LINES * 3000)
    job = Job((tmp_path / "a.lines",), model_path, Formats("lines"), out=tmp_path / "out")
    honest, parent = PoolWriter.write, os.getpid()

    def write(self: PoolWriter, pool: Any) -> Any:
        if os.getpid() != parent and pool.chunks[0].records[0].line > 9000:
            os.kill(os.getpid(), signal.SIGKILL)
        return honest(self, pool)

    with monkeypatch.context() as patch:
        patch.setattr(PoolWriter, "write", write)
        with pytest.raises(TaggerError, match="a worker process was killed"):
            engine.run(model, job, (BytesIO(), BytesIO()))
    assert not multiprocessing.active_children()
    resumed = Job(job.paths, model_path, job.formats, out=job.out, resume=True)
    engine.run(model, resumed, (BytesIO(), BytesIO()))
    stream = BytesIO()
    engine.run(model.with_workers(1), Job(job.paths, model_path, job.formats), (BytesIO(), stream))
    assert (tmp_path / "out" / "a.conll").read_bytes() == stream.getvalue()


@pytest.mark.usefixtures("processes_from_the_start")
def test_a_signal_stops_all_processes(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.lines").write_text(LINES * 3000)
    job = Job((tmp_path / "a.lines",), model_path, Formats("lines"), out=tmp_path / "out")
    pools = []

    def stop(*_: Any) -> None:
        pools.append(len(multiprocessing.active_children()))
        if pools[-1]:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        engine.run(model, job, (BytesIO(), BytesIO()), callback=stop)
    assert pools[-1] == 3
    assert not multiprocessing.active_children()


def test_results_keep_the_order_of_the_values() -> None:
    tasks = (Task(number, number % 7 == 0) for number in range(40))
    assert list(map_in_processes(abs, tasks, 3, logger="tagger")) == list(range(40))


def test_few_values_are_read_ahead() -> None:
    read = []

    def tasks() -> Iterator[Task[int]]:
        for number in range(30):
            read.append(number)
            yield Task(-number, number == 20)

    largest = 0
    results = map_in_processes(abs, tasks(), 2, logger="tagger")
    for result in results:
        largest = max(largest, len(read) - result)
        assert result != 20 or len(read) == 22  # the next value is read, but waits for the large one
    assert largest == 5


def test_an_error_in_a_process_is_that_of_the_function() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_in_processes((1).__floordiv__, iter([Task(1), Task(0)]), 2, logger="tagger"))
    assert not multiprocessing.active_children()


def test_a_pickled_record_is_equal_and_its_spans_know_their_text() -> None:
    sentence = Sentence(
        ("New", "York"),
        tags=("B-LOC", "I-LOC"),
        spans=(Span("LOC", 0, 2, 0.5),),
        document=3,
        offsets=((1, 4), (5, 9)),
        source=SourceText(" New York"),
    )
    record = Record((sentence,), "id", 7, " New York", fields={"a": 1})
    restored = pickle.loads(pickle.dumps(record))  # noqa: S301  # as processes exchange records
    assert restored == record
    assert restored.sentences[0].spans[0].text == "New York"
    assert restored.sentences[0].source == sentence.source


def test_processes_end_when_the_first_process_is_killed() -> None:
    program = (
        "import os, time\n"
        "from tagger.jobs.local.processes import Task, map_in_processes\n"
        "def show(_):\n    os.write(1, b'%d\\n' % os.getpid())\n    time.sleep(60)\n"
        "list(map_in_processes(show, iter([Task(0), Task(1)]), 2, logger='tagger'))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        workers = [int(process.stdout.readline()) for _ in range(2)]
        process.kill()
    deadline = time.monotonic() + 20
    while (alive := [pid for pid in workers if _is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
