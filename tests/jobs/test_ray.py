"""Tagging on a Ray cluster of two nodes gives what tagging on this machine gives, though a worker dies."""

import builtins
import gzip
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq
from typer.testing import CliRunner

import tagger
from tagger import model_dir
from tagger.cli import app
from tagger.errors import ConfigError, DataError, StorageError
from tagger.jobs.job import Formats, Job
from tagger.jobs.local import engine as local
from tagger.jobs.ray import engine as cluster
from tagger.jobs.ray import shards, worker
from tagger.jobs.summary import Summary
from tagger.tagging import DecodingOptions
from tests.robustness.test_foreign_code import MODULES, lay_decoys, proofs, start_script
from tests.tagging.models import make_model

# Ray copies its own settings, deprecated ones among them.
pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.")

NAMES, PLACES = ("Ada", "Grace", "Alan"), ("Oslo", "New York", "Lima")
WORDS = [f"{NAMES[n % 3]} lives in {PLACES[n // 3 % 3]} .".split() * (n % 4) for n in range(60)]


@pytest.fixture(scope="module")
def nodes() -> Iterator[None]:
    """A Ray cluster of two nodes with a processor each, to which this process is connected."""
    ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
    from ray.cluster_utils import Cluster

    size = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # they are collected by a process of their own, and sent
    started = Cluster(initialize_head=True, head_node_args=size | {"include_dashboard": False})
    try:
        started.add_node(**size)
        ray.init(address=started.address, log_to_driver=False)
        yield
    finally:
        ray.shutdown()
        started.shutdown()
        patch.undo()


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts inputs into parts of 500 bytes."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 500)


def rows(folder: Path) -> bytes:
    """Returns the JSON lines of a directory, part after part."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("*.jsonl")))


def on_this_machine(model_path: Path, out: Path, path: Path, job: Job) -> Summary:
    model = tagger.load(model_path, device="cpu")
    return local.run(model, replace(job, paths=(path,), out=out), (BytesIO(), BytesIO()))


def figures(summary: Summary) -> dict[str, Any]:
    return {name: value for name, value in summary.to_json().items() if "second" not in name}


def jsonl(path: Path) -> Path:
    """Writes rows of which some cannot be read, most have the id of those beside them."""
    lines = [
        json.dumps({"tokens": words, "n": n} | ({"id": f"x{n // 10}"} if n % 10 > 1 else {}))
        for n, words in enumerate(WORDS)
    ]
    lines[10], lines[20], lines[30], lines[40] = "", "{", '{"tokens": [""]}', '{"tokens": []}'
    path.write_text("\n".join(lines))
    return path


def parquet(path: Path) -> Path:
    columns = {"tokens": [[words] if words else [] for words in WORDS], "n": list(range(60))}
    pq.write_table(pa.table(columns), path, row_group_size=7)
    return path


def damaged(folder: Path) -> None:
    """Writes a table whose middle is damaged."""
    data = parquet(folder / "damaged.parquet").read_bytes()
    (folder / "damaged.parquet").write_bytes(data[:700] + bytes(200) + data[900:])


def same(parted: Path, whole: Path) -> None:
    """Asserts that parts, one after the other, are the JSON lines of a directory, and nothing else is there."""
    left = {str(path.relative_to(parted)) for path in parted.rglob("*") if path.is_file()}
    for path in (path for path in whole.rglob("*") if path.is_file()):
        place = path.relative_to(whole)
        if path.name == "rejects.jsonl":
            names = ["rejects.jsonl"]
        else:
            names = sorted(name for name in left if name.startswith(f"{place.with_suffix('')}-"))
            assert len(names) > 1
        assert b"".join((parted / name).read_bytes() for name in names) == path.read_bytes()
        left -= set(names)
    assert not left


def plain(path: Path) -> Path:
    path.write_text("".join(f"{' '.join(words)}\n" for words in WORDS))
    return path


def dying(log: Path) -> type:
    """Returns a worker that logs its calls and is killed twice: with a task in hand, and with another just written."""

    class Dying(cluster.Worker):
        def __call__(self, task: Any) -> Any:
            node = __import__("ray").get_runtime_context().get_node_id()
            (log / f"call {task['shards'][0]} {os.getpid()} {node}").touch()
            self._die("in hand", task)
            answers = super().__call__(task)
            if (log / "in hand").read_text() != task["shards"][0]:
                self._die("written", task)
            return answers

        def _die(self, when: str, task: Any) -> None:
            try:
                with (log / when).open("x") as stream:
                    stream.write(task["shards"][0])
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

    return Dying


@pytest.mark.usefixtures("nodes", "_small")
def test_a_cluster_whose_workers_die_with_a_block_in_hand_gives_what_this_machine_gives(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, log = tmp_path / "in", tmp_path / "log"
    (inputs / "deep").mkdir(parents=True)
    log.mkdir()
    jsonl(inputs / "a.jsonl"), parquet(inputs / "deep" / "b.parquet"), damaged(inputs)
    job = Job((), model_path, Formats(output_format="jsonl"), on_error="skip")
    expected = on_this_machine(model_path, tmp_path / "local", inputs, job)
    monkeypatch.setattr(cluster, "Worker", dying(log))
    found = cluster.run([str(inputs)], str(tmp_path / "ray"), job)
    same(tmp_path / "ray", tmp_path / "local")
    assert figures(found) == figures(expected)
    assert found.rejected == 3

    calls = [path.name.removeprefix("call ").rsplit(" ", 2) for path in log.glob("call *")]
    assert len({node for _, _, node in calls}) == 2
    for when in ("in hand", "written"):
        task = (log / when).read_text()
        assert len({process for done, process, _ in calls if done == task}) > 1, "the retry"


class InProcess:
    """As much of Ray as the engine uses, in this process."""

    class Dataset:
        def __init__(self, rows: list[dict[str, str]], **_: Any) -> None:
            self.rows, self.context = rows, SimpleNamespace()

        def map_batches(self, worker: type, fn_constructor_args: Any, **_: Any) -> "InProcess.Dataset":
            try:
                self.worker = worker(*fn_constructor_args)
            except Exception as error:
                raise RuntimeError("a long trace") from error
            return self

        def iter_rows(self) -> Iterator[dict[str, str]]:
            for row in reversed(self.rows):  # in no order of its own
                yield {"results": self.worker({"shards": [row["shards"]]})["results"][0]}

    data = SimpleNamespace(from_items=Dataset, ActorPoolStrategy=dict)

    def is_initialized(self) -> bool:
        return True

    def remote(self, **_: Any) -> Any:
        return lambda function: SimpleNamespace(remote=function)

    def get(self, value: Any) -> Any:
        return value

    def put(self, value: Any) -> Any:
        return value

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}


@pytest.fixture
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cluster, worker):
        monkeypatch.setattr(module, "import_ray", InProcess)


@pytest.mark.usefixtures("_in_process", "_small")
@pytest.mark.parametrize(("write", "name"), [(jsonl, "a.jsonl"), (parquet, "a.parquet"), (plain, "a.txt")])
def test_parquet_holds_the_rows_that_this_machine_gives(
    model_path: Path, tmp_path: Path, write: Any, name: str
) -> None:
    path = write(tmp_path / name)
    formats = Formats("lines" if name == "a.txt" else None, "parquet")
    job = Job((), model_path, formats, on_error="skip", rejects=tmp_path / "rejects")
    expected = on_this_machine(model_path, tmp_path / "local", path, job)
    found = cluster.run([str(path)], str(tmp_path / "ray"), job)
    assert figures(found) == figures(expected)
    pieces = [pq.read_table(path) for path in sorted((tmp_path / "ray").iterdir())]
    assert len(pieces) > 2
    assert pa.concat_tables(pieces).equals(pq.read_table(tmp_path / "local" / "a.parquet"))


@pytest.mark.usefixtures("_in_process", "_small")
@pytest.mark.parametrize("uses_document_context", [False, True])
def test_probabilities_are_those_of_this_machine_but_for_their_last_digits(
    model_path: Path, tmp_path: Path, uses_document_context: bool
) -> None:
    if uses_document_context:  # of which each line is one
        model_path = tmp_path / "model"
        model_dir.save(make_model(document_context={"output_dim": 9}), model_path, {})
    path, job = (
        plain(tmp_path / "a.txt"),
        Job((), model_path, Formats("lines", "jsonl"), DecodingOptions(probabilities=True)),
    )
    on_this_machine(model_path, tmp_path / "local", path, job)
    cluster.run([str(path)], str(tmp_path / "ray"), job)
    found, expected = ([json.loads(line) for line in rows(tmp_path / side).splitlines()] for side in ("ray", "local"))
    for one, other in zip(found, expected, strict=True):
        assert one.pop("probabilities") == pytest.approx(other.pop("probabilities"), abs=1e-6)
        one_span, other_span = one.pop("spans"), other.pop("spans")
        assert [span.pop("probability") for span in one_span] == pytest.approx(
            [span.pop("probability") for span in other_span], abs=1e-6
        )
        assert (one, one_span) == (other, other_span)


@pytest.mark.usefixtures("nodes")
def test_workers_import_nothing_from_the_current_directory(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    folder = tmp_path / "work"
    folder.mkdir()
    lay_decoys(folder, *MODULES, "tagger/__init__.py", "ray/__init__.py")
    plain(folder / "in.txt")
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    options = ["--model", str(model_path), "--out", "out", "--from", "lines", "--to", "jsonl", "--device", "cpu"]
    done = start_script(folder, ["tag", "in.txt", *options, "--engine", "ray", "--workers", "1"])
    assert (done.returncode, proofs(folder)) == (0, []), done.stderr
    assert len(rows(folder / "out").splitlines()) == len(WORDS)


@pytest.mark.usefixtures("_in_process", "_small")
def test_a_fault_ends_the_job_as_here_and_it_goes_on_where_it_was(
    model_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path, job = plain(tmp_path / "a.txt"), Job((), model_path, Formats("lines", "jsonl"))
    good = path.read_bytes()
    expected = on_this_machine(model_path, tmp_path / "local", path, job)
    path.write_bytes(good.replace(b"Ada", b"\xffda", 1))
    stamp = path.stat()
    with pytest.raises(DataError, match=r"a\.txt:4: byte 1 is 0xff"):
        cluster.run([str(path)], str(tmp_path / "ray"), replace(job, resume=True))
    notice = f"{tmp_path / 'ray'}: nothing to resume; the job starts from the beginning"
    assert caplog.messages.count(notice) == 1
    before = {one.name: one.stat().st_mtime_ns for one in (tmp_path / "ray").glob("*.jsonl")}
    assert before
    with pytest.raises(StorageError, match=r"is not empty.*`resume=True` continues"):
        cluster.run([str(path)], str(tmp_path / "ray"), job)
    with pytest.raises(StorageError, match="`max_tokens` was None, now 7"):
        cluster.run([str(path)], str(tmp_path / "ray"), replace(job, resume=True, max_tokens=7))
    path.write_bytes(good)
    os.utime(path, ns=(0, 0))
    with pytest.raises(StorageError, match="has changed since"):
        cluster.run([str(path)], str(tmp_path / "ray"), replace(job, resume=True))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    found = cluster.run([str(path)], str(tmp_path / "ray"), replace(job, resume=True))
    assert caplog.messages.count(notice) == 1  # this time there was a job
    same(tmp_path / "ray", tmp_path / "local")
    assert figures(found) == figures(expected)
    after = {one.name: one.stat().st_mtime_ns for one in (tmp_path / "ray").iterdir()}
    assert before.items() <= after.items()
    with pytest.raises(StorageError, match=r"is not empty, and many files are written there; choose another `out`$"):
        cluster.run([str(path)], str(tmp_path / "ray"), job)


@pytest.mark.usefixtures("_in_process", "_small")
def test_a_job_goes_on_only_on_the_device_and_with_the_limits_that_answers_depend_on(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out, job = (
        plain(tmp_path / "a.txt"),
        str(tmp_path / "ray"),
        Job((), model_path, Formats("lines", "jsonl")),
    )

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    def again(**options: Any) -> Summary:
        return cluster.run([str(path)], out, replace(job, resume=True), **options)

    with pytest.raises(Killed):
        cluster.run([str(path)], out, job, limits={"batch_tokens": 100}, callback=kill)
    with monkeypatch.context() as patch:
        patch.setattr(InProcess, "cluster_resources", lambda _: {"CPU": 2.0, "GPU": 1.0})
        with pytest.raises(StorageError, match="another: `device` was 'cpu', now 'cuda'"):
            again()
    with pytest.raises(Killed):
        again(limits={"batch_tokens": 200}, callback=kill)
    monkeypatch.setattr(cluster, "can_cache", lambda *_: False)
    with pytest.raises(StorageError, match="`batch_tokens` was None, now 300"):
        again(limits={"batch_tokens": 300})


@pytest.mark.usefixtures("_in_process", "_small")
@pytest.mark.parametrize("started", ["before", "at once"])
def test_of_two_jobs_that_write_into_one_place_of_a_store_one_goes_on(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: str
) -> None:
    path, job = plain(tmp_path / "a.txt"), Job((), model_path, Formats("lines", "jsonl"))
    on_this_machine(model_path, tmp_path / "local", path, job)
    out, begun = (tmp_path / "ray").as_uri(), []  # an address, where nothing is locked
    honest = InProcess.remote

    def second(*_: object) -> bool:
        if not begun:
            begun.append(out)
            cluster.run([str(path)], out, replace(job, resume=True))
        return True

    if started == "at once":
        monkeypatch.setattr(InProcess, "remote", lambda self, **given: second() and honest(self, **given))
    with pytest.raises(StorageError, match=r"ray: another process is writing here"):
        cluster.run([str(path)], out, job, callback=second)
    assert begun
    same(tmp_path / "ray", tmp_path / "local")


@pytest.mark.usefixtures("_in_process", "_small")
def test_of_two_jobs_that_find_one_place_empty_the_last_to_begin_is_the_one_that_goes_on(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, job = plain(tmp_path / "a.txt"), Job((), model_path, Formats("lines", "jsonl"))
    other, out = replace(job, decoding=DecodingOptions(probabilities=True)), (tmp_path / "ray").as_uri()
    honest, begun = cluster.OutputOwner.claim, []

    class Killed(BaseException):
        pass

    def claim(self: Any, now: Any) -> None:
        honest(self, now)
        begun.append(now)
        if len(begun) == 2:
            raise Killed
        with monkeypatch.context() as patch:
            patch.setattr(cluster.OutputOwner, "list_names", lambda _: set())
            with pytest.raises(Killed):
                cluster.run([str(path)], out, other)

    with monkeypatch.context() as patch:
        patch.setattr(cluster.OutputOwner, "claim", claim)
        with pytest.raises(StorageError, match="ray: another process is writing here"):
            cluster.run([str(path)], out, job)
    with pytest.raises(StorageError, match="another: `probabilities` was True, now False"):
        cluster.run([str(path)], out, replace(job, resume=True))
    cluster.run([str(path)], out, replace(other, resume=True))
    assert all("probabilities" in json.loads(line) for line in rows(tmp_path / "ray").splitlines())


@pytest.mark.usefixtures("_in_process")
def test_a_job_that_could_not_do_anything_leaves_nothing(model_path: Path, tmp_path: Path) -> None:
    path, out, job = tmp_path / "a.jsonl", tmp_path / "ray", Job((), model_path)
    path.write_text("{")
    with pytest.raises(DataError, match=r"a\.jsonl:1"):
        cluster.run([str(path)], str(out), job)
    assert list(out.iterdir()) == []


@pytest.mark.usefixtures("_in_process")
def test_the_command_tells_of_rejects_by_its_exit_code(model_path: Path, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl")
    out = ["--model", str(model_path), "--out", str(tmp_path / "ray"), "--engine", "ray", "--on-error", "skip"]
    done = CliRunner().invoke(app, ["tag", path.as_uri().replace("a.", "b."), *out])
    assert (done.exit_code, "no such file" in done.stderr) == (2, True)
    done = CliRunner().invoke(app, ["tag", path.as_uri(), *out])
    assert done.exit_code == 3, done.stderr
    assert "rejected: 2" in done.stderr
    assert sorted(one.name for one in (tmp_path / "ray").iterdir()) == ["a-00000.jsonl", "rejects.jsonl"]


@pytest.mark.usefixtures("_in_process")
def test_of_many_rejects_the_file_that_holds_them_all_is_named(
    model_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.jsonl").write_text("{\n" * 50)
    cluster.run([str(tmp_path / "a.jsonl")], str(tmp_path / "ray"), Job((), model_path, on_error="skip"))
    assert len((tmp_path / "ray" / "rejects.jsonl").read_text().splitlines()) == 50
    told = [message for message in caplog.messages if message.startswith("more input is rejected")]
    assert told[-1] == f"more input is rejected; see {tmp_path / 'ray' / 'rejects.jsonl'}"


@pytest.mark.usefixtures("_in_process")
def test_a_packed_file_whose_bytes_were_changed_is_set_aside_whole_as_here(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("".join(f"Ada {n * n:x}\n" for n in range(1000)))
    packed = bytearray(gzip.compress((tmp_path / "in" / "a.txt").read_bytes()))
    (tmp_path / "in" / "c.txt.gz").write_bytes(packed[:-1])
    packed[-8] ^= 1  # of the checksum
    (tmp_path / "in" / "b.txt.gz").write_bytes(packed)
    job = Job((), model_path, Formats("lines", "jsonl"), on_error="skip")
    expected = on_this_machine(model_path, tmp_path / "local", tmp_path / "in", job)
    found = cluster.run([str(tmp_path / "in")], str(tmp_path / "ray"), job)
    assert sorted(one.name for one in (tmp_path / "ray").iterdir()) == [
        "a-00000.jsonl",
        "rejects.jsonl",
    ]
    for here, there in (("a", "a-00000"), ("rejects", "rejects")):
        assert (tmp_path / "ray" / f"{there}.jsonl").read_bytes() == (tmp_path / "local" / f"{here}.jsonl").read_bytes()
    assert figures(found) == figures(expected)


@pytest.mark.usefixtures("_in_process")
def test_a_cluster_without_a_gpu_is_told_and_not_waited_for(model_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the Ray cluster has no GPU"):
        cluster.run(
            [str(plain(tmp_path / "a.txt"))],
            str(tmp_path / "ray"),
            Job((), model_path, Formats("lines", "jsonl")),
            device="cuda",
        )


@pytest.mark.parametrize(
    ("there", "device", "computes", "share"),
    [
        ({"CPU": 4.0}, "auto", "cpu", 0),
        ({"CPU": 4.0, "GPU": 2.0}, "auto", "cuda", 1),
        ({"CPU": 4.0, "GPU": 2.0}, "cpu", "cpu", 0),
        ({"CPU": 4.0, "GPU": 2.0}, "cuda", "cuda", 1),
    ],
)
@pytest.mark.usefixtures("_in_process")
def test_each_worker_has_a_gpu_where_the_cluster_has_any_unless_told_otherwise(
    model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: dict[str, float],
    device: str,
    computes: str,
    share: int,
) -> None:
    asked: list[Any] = []
    honest, on_cpu = InProcess.Dataset.map_batches, worker.tagging.load

    def map_batches(self: Any, *given: Any, **options: Any) -> Any:
        asked.append(options["num_gpus"])
        return honest(self, *given, **options)

    def load(path: Any, *, device: str, **options: Any) -> Any:
        asked.append(device)
        return on_cpu(path, device="cpu", **options)

    monkeypatch.setattr(InProcess, "cluster_resources", lambda _: there)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(InProcess.Dataset, "map_batches", map_batches)
    monkeypatch.setattr(worker.tagging, "load", load)
    job = Job((), model_path, Formats("lines", "jsonl"))
    cluster.run([str(plain(tmp_path / "a.txt"))], str(tmp_path / "ray"), job, device=device)  # type: ignore[arg-type]
    assert asked == [share, computes]


@pytest.mark.usefixtures("_in_process")
@pytest.mark.parametrize(
    ("there", "fault"),
    [
        ({"CPU": 2.0, "GPU": 1.0}, "finds no GPU, and the cluster has one; set --device to cpu\n"),
        ({"CPU": 2.0}, "are not finite: the model's weights are damaged or diverged\n"),
    ],
)
def test_a_worker_that_cannot_load_the_model_is_a_fault_in_one_line(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: dict[str, float], fault: str
) -> None:
    model, metrics = model_dir.load(model_path)
    model.network.get_parameter("embedding.characters.embedding.weight").data.fill_(3e38)
    model.network.get_parameter("embedding.characters.convolution.weight").data.fill_(0.5)
    model_dir.save(model, tmp_path / "diverged", metrics)
    monkeypatch.setattr(InProcess, "cluster_resources", lambda _: there)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    options = ["--model", str(tmp_path / "diverged"), "--out", str(tmp_path / "ray"), "--engine", "ray"]
    done = CliRunner().invoke(
        app, ["tag", str(plain(tmp_path / "a.txt")), "--from", "lines", "--to", "jsonl", *options]
    )
    assert (done.exit_code, done.stderr.count("\n"), done.stderr.endswith(fault)) == (2, 1, True), done.stderr


@pytest.mark.usefixtures("_in_process")
def test_inputs_that_would_meet_in_one_output_are_refused(model_path: Path, tmp_path: Path) -> None:
    paths = [str(plain(tmp_path / "a.txt")), str(jsonl(tmp_path / "a.jsonl"))]
    with pytest.raises(DataError, match=r"would both be written to a-00000\.jsonl"):
        cluster.run(paths, str(tmp_path / "ray"), Job((), model_path, Formats("lines", "jsonl")))
    (tmp_path / "b").mkdir()
    paths[1] = str(plain(tmp_path / "b" / "a.txt"))
    with pytest.raises(DataError, match=r"would both be written to a-00000\.jsonl; pass their common folder"):
        cluster.run(paths, str(tmp_path / "other"), Job((), model_path, Formats("lines", "jsonl")))


@pytest.mark.usefixtures("_in_process")
@pytest.mark.parametrize("address", [False, True])
@pytest.mark.parametrize(
    "name", ["a.jsonl", "ray/.tagger.lock", "ray/.tagger-ray-job.json", "ray/a-00001.jsonl", "ray/rejects.jsonl"]
)
def test_the_summary_and_the_rejects_cannot_overwrite_a_file_of_the_job(
    model_path: Path, tmp_path: Path, name: str, address: bool
) -> None:
    path, out, job = jsonl(tmp_path / "a.jsonl"), tmp_path / "ray", Job((), model_path, on_error="skip")
    paths = (path.as_uri(), out.as_uri()) if address else (str(path), str(out))
    before = path.read_bytes()
    with pytest.raises(DataError, match=rf"{name}: is .* `summary` would overwrite it"):
        cluster.run([paths[0]], paths[1], replace(job, summary=tmp_path / name))
    if name != "ray/rejects.jsonl":
        with pytest.raises(DataError, match=rf"{name}: is .* `rejects` would overwrite it"):
            cluster.run([paths[0]], paths[1], replace(job, rejects=tmp_path / name))
    assert (path.read_bytes(), out.exists()) == (before, False)


@pytest.mark.usefixtures("_in_process")
def test_options_that_do_not_fit_are_told_as_here(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, out = [str(plain(tmp_path / "a.txt"))], str(tmp_path / "ray")
    with pytest.raises(ConfigError, match="`token_column` has no effect from lines to jsonl"):
        cluster.run(paths, out, Job((), model_path, Formats("lines", "jsonl", token_column=1)))
    monkeypatch.setattr("tagger.model.TaggerModel.scheme", None)
    with pytest.raises(ConfigError, match="the model's tags are plain; html has spans only"):
        cluster.run(paths, out, Job((), model_path, Formats(output_format="html")))


@pytest.mark.parametrize(
    ("paths", "job", "fault"),
    [
        (["-"], Formats(), "reads files, not the standard input"),
        (["a.txt"], Formats("lines"), "writes jsonl or parquet, not columns; choose with `output_format`"),
        (["a.txt"], Formats("lines", "html"), "not html"),
        (["a.txt"], Formats(), "reads lines, jsonl, parquet, but a.txt is text; choose one with `input_format`"),
        (["a.conllu"], Formats(output_format="jsonl"), "a.conllu is conllu"),
    ],
)
def test_what_the_cluster_cannot_do_is_told_before_it_starts(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str], job: Formats, fault: str
) -> None:
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "a.conllu"):
        Path(name).touch()
    with pytest.raises(ConfigError, match=fault):
        cluster.run(paths, "out", Job((), model_path, job))
    assert not Path("out").exists()


def test_ray_is_named_if_it_is_missing(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "ray"]:
        monkeypatch.delitem(sys.modules, name)
    known = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "ray":
            raise ImportError(name)
        return known(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"pip install 'bilstm-crf-tagger\[ray\]'"):
        cluster.run(["a.txt"], "out", Job((), model_path))


def test_the_command_needs_a_directory(model_path: Path) -> None:
    done = CliRunner().invoke(app, ["tag", "a.txt", "--model", str(model_path), "--engine", "ray"])
    assert (done.exit_code, done.stderr) == (2, "the engine ray writes many files; pass a directory as --out\n")
