"""Files that are not ours stay as they are: decoys under every name, links, devices, and a watch over all files opened.

By default some 60 variants; TAGGER_TEST_SCALE=10 makes them 600.
"""

import json
import os
import random
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest

import tagger
from tagger import model_dir
from tagger.errors import DataError, Stopped, StorageError, TaggerError
from tagger.io import directories
from tagger.jobs.job import Formats, Job
from tagger.jobs.local import engine as local
from tagger.jobs.local import folder
from tagger.tagging import Tagger
from tagger.training import run_dir
from tests.conftest import TINY_RECIPE, tiny_corpus
from tests.robustness.runs import SCALE, tree

LINES = "Ada lives in Oslo .\n" * 300


@pytest.fixture(scope="module")
def model(model_path: Path) -> Tagger:
    """The model that has learned the tiny corpus."""
    return tagger.load(model_path, device="cpu")


def tag(model: Tagger, job: Job, *, stop: bool = False) -> None:
    """Does a job, or leaves it after its first pool."""

    def callback(*_: object) -> None:
        if stop:
            raise Stopped(2)

    local.run(model, job, (BytesIO(), BytesIO()), callback=callback)


def put_decoy(path: Path, kind: str, outside: Path) -> None:
    """Puts something of the user's at a path: a file, a folder with a file, or a link to a file or a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (outside / "folder").mkdir(parents=True, exist_ok=True)
    for secret in ("secret", "folder/secret", "folder/part-000000"):
        (outside / secret).write_text("mine")
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
        (path / "mine").write_text("mine")
    else:
        path.symlink_to(outside / ("secret" if kind == "link to a file" else "folder"))


KINDS = ("file", "folder", "link to a file", "link to a folder")


def described(directory: Path) -> dict[str, bytes | str]:
    """Returns all that is in a directory: files with their content, links with where they lead."""
    found: dict[str, bytes | str] = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["a.conll", "rejects.jsonl", "sub", "sub/b.conll", directories.LOCK, folder.JOB_FOLDER, folder.JOURNAL]
)
def test_a_tagging_job_does_not_replace_existing_files(
    model: Tagger, model_path: Path, tmp_path: Path, name: str, kind: str
) -> None:
    source, out, outside = tmp_path / "in", tmp_path / "out", tmp_path / "outside"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text(LINES)
    (source / "sub" / "b.txt").write_text(LINES)
    put_decoy(out / name, kind, outside)
    before = described(out), described(outside)
    job = Job((source,), model_path, Formats("lines"), out=out, on_error="skip")
    if (name, kind) == ("sub", "folder"):
        tag(model, job)
        assert (out / "sub" / "mine").read_text() == "mine"
        return
    with pytest.raises(StorageError) as caught:
        tag(model, job)
    assert all("\n" not in fault for fault in caught.value.faults)
    assert (described(out), described(outside)) == before


def test_overwrite_replaces_only_outputs(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Ada .\n")
    (tmp_path / "secret").write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.conll").symlink_to(tmp_path / "secret")
    (out / "b.conll").write_text("mine")
    job = Job((tmp_path / "a.txt",), model_path, Formats("lines"), out=out, overwrite=True)
    tag(model, job)
    assert not (out / "a.conll").is_symlink()
    assert (out / "a.conll").read_text() == "Ada S-PER\n. O\n\n"
    assert (out / "b.conll").read_text() == (tmp_path / "secret").read_text() == "mine"
    tag(model, job)
    (out / "a.conll").unlink()
    (out / "a.conll").mkdir()
    with pytest.raises(StorageError, match=r"a\.conll: is a folder"):
        tag(model, job)


def test_a_file_created_during_the_job_is_not_replaced(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(LINES)
    out = tmp_path / "out"
    job = Job((tmp_path / "a.txt",), model_path, Formats("lines"), out=out)
    with pytest.raises(Stopped):
        tag(model, job, stop=True)
    (out / "a.conll").write_text("mine")
    with pytest.raises(StorageError, match=r"a\.conll: exists; choose another"):
        tag(model, Job((tmp_path / "a.txt",), model_path, Formats("lines"), out=out, resume=True))
    assert (out / "a.conll").read_text() == "mine"
    (out / "a.conll").unlink()
    tag(model, Job((tmp_path / "a.txt",), model_path, Formats("lines"), out=out, resume=True))
    assert (out / "a.conll").read_text().count("\n\n") == 300


def test_part_files_never_have_the_path_of_an_output(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    names = [".a.conll.part", "a.conll", "part-000000.conll", ".rejects.jsonl.part.conll"]
    for name in names:
        (tmp_path / name).write_text("Ada O\n\n")
    paths = tuple(tmp_path / name for name in names)
    tag(model, Job(paths, model_path, Formats("columns"), out=tmp_path / "out", on_error="skip"))
    assert set(tree(tmp_path / "out")) == {*names, "rejects.jsonl"}


@pytest.mark.parametrize("name", ["part-000000", "rejects"])
def test_a_link_in_place_of_a_part_file_is_not_followed(
    model: Tagger, model_path: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "a.txt").write_text(LINES)
    job = Job((tmp_path / "a.txt",), model_path, Formats("lines"), out=tmp_path / "out", on_error="skip")
    with pytest.raises(Stopped):
        tag(model, job, stop=True)
    part = tmp_path / "out" / folder.JOB_FOLDER / name
    (tmp_path / "secret").write_bytes(part.read_bytes() + b"mine")
    before = (tmp_path / "secret").read_bytes()
    part.unlink()
    part.symlink_to(tmp_path / "secret")
    with pytest.raises(StorageError):
        tag(
            model,
            Job(
                (tmp_path / "a.txt",), model_path, Formats("lines"), out=tmp_path / "out", on_error="skip", resume=True
            ),
        )
    assert (tmp_path / "secret").read_bytes() == before


def test_a_journal_with_paths_outside_the_directory_changes_no_file(
    model: Tagger, model_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text(LINES)
    (tmp_path / "precious.conll").write_text("mine")
    (tmp_path / ".precious.conll.part").write_text("mine")
    out, source = tmp_path / "out", random.Random(4)
    for number in range(20 * SCALE):
        job = Job((tmp_path / "a.txt",), model_path, Formats("lines"), out=out)
        with pytest.raises(Stopped):
            tag(model, job, stop=True)
        journal = out / folder.JOURNAL
        first, *rest = map(json.loads, journal.read_text().splitlines())
        first["inputs"][0]["output"] = source.choice(["../precious.conll", "/etc/passwd", "..", "", "\0", "a/../../x"])
        journal.write_text("".join(json.dumps(line) + "\n" for line in [first, *rest]))
        try:
            tag(model, Job((tmp_path / "a.txt",), model_path, Formats("lines"), out=out, resume=bool(number % 2)))
        except TaggerError as error:
            assert len(error.faults) < 5  # noqa: PT017
        for path in out.glob("*.conll"):
            path.unlink()
        assert (tmp_path / "precious.conll").read_text() == (tmp_path / ".precious.conll.part").read_text() == "mine"


def test_a_file_with_the_name_of_standard_input_is_read_as_a_file(
    model: Tagger, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-").write_text("Ada .\n")
    out = BytesIO()
    local.run(model, Job((Path("./-"),), model_path, Formats("lines")), (BytesIO(b"Oslo\n"), out))
    assert out.getvalue() == b"Ada S-PER\n. O\n\n"
    tag(model, Job((Path(),), model_path, Formats("lines"), out=tmp_path.parent / f"{tmp_path.name}-out", pattern="-"))
    assert tree(tmp_path.parent / f"{tmp_path.name}-out") == {"-.conll": b"Ada S-PER\n. O\n\n"}


def test_a_folder_that_cannot_be_read_is_reported(
    model: Tagger, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in" / "closed").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_text("Ada .\n")
    scan = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(DataError, match="closed: this folder cannot be read: permission denied"):
        tag(model, Job((tmp_path / "in",), model_path, Formats("lines"), out=tmp_path / "out"))
    tag(model, Job((tmp_path / "in",), model_path, Formats("lines"), out=tmp_path / "out", on_error="skip"))
    (row,) = map(json.loads, (tmp_path / "out" / "rejects.jsonl").read_text().splitlines())
    assert (row["file"], row["line"]) == (str(tmp_path / "in" / "closed"), None)
    assert (tmp_path / "out" / "a.conll").exists()


# Runs commands one after the other. For each, reports every file that is opened for writing, made, renamed, linked or
# removed; the first report has what imports do, too.
_WATCH = """
import json, os, sys
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
commands = json.loads(sys.argv[1])
reports = [os.open(os.environ["WATCHED"] + str(n), os.O_WRONLY | os.O_CREAT) for n in range(len(commands))]
report = reports[0]

def watch(event, arguments):
    paths = []
    if event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[2] & WRITING:
        paths = arguments[:1]
    elif event in ("os.rename", "os.link", "os.symlink"):
        paths = arguments[:2]
    elif event in ("os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.utime",
                   "shutil.rmtree", "os.mkfifo"):
        paths = arguments[:1]
    folder = arguments[-1] if event in ("os.remove", "os.rmdir", "os.mkdir") else -1  # a descriptor, or -1
    for path in paths:
        if not isinstance(path, int):
            start = os.readlink(f"/proc/self/fd/{folder}") if folder >= 0 else os.getcwd()
            os.write(report, os.path.join(start, os.fsdecode(path)).encode("utf-8", "surrogateescape") + b"\\n")

sys.addaudithook(watch)
from tagger.cli import main
for arguments, report in zip(commands, reports):
    sys.argv = ["tagger", *arguments]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


def watch(tmp_path: Path, commands: list[tuple[list[str], Path]]) -> None:
    """Runs commands in a directory of decoys; asserts that each touches no path outside of the one allowed to it."""
    (tmp_path / "temporary").mkdir()
    report, temporary = str(tmp_path / "watched"), str(tmp_path / "temporary")
    done = subprocess.run(
        [sys.executable, "-P", "-c", _WATCH, json.dumps([arguments for arguments, _ in commands])],
        cwd=tmp_path / "here",
        env=os.environ | {"WATCHED": report, "OMP_NUM_THREADS": "1", "TMPDIR": temporary},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    caches = ("__pycache__", "/.cache/", "/.config/", "/dev/", "/torchinductor_")  # of numba, matplotlib and torch
    for number, (arguments, allowed) in enumerate(commands):
        for path in Path(f"{report}{number}").read_text(errors="surrogateescape").splitlines():
            is_ours = path.startswith((str(allowed), temporary)) or path == str(allowed.parent)
            assert is_ours or any(part in path for part in caches), (arguments, path)


def test_no_command_changes_a_file_of_the_user(tmp_path: Path) -> None:
    here, data, out = tmp_path / "here", tmp_path / "data", tmp_path / "made"
    for directory in (here, data, out):
        directory.mkdir()
    for name in ("train.txt", "valid.txt"):
        (data / name).write_text(tiny_corpus())
    names = ["metrics.jsonl", "LATEST", "config.yaml", ".lock", ".journal.jsonl", "a.conll", ".a.conll.part", "run"]
    names += ["matplotlibrc", "seeds.json", ".run.old", ".run.new", "model-best", "summary.json", "train.log"]
    for name in names:
        put_decoy(here / name, "file", tmp_path / "outside")
    before = described(here), described(data), described(tmp_path / "outside")
    recipe = out / "mine.yaml"
    recipe.write_text(TINY_RECIPE.format(train="x", dev="x").replace("train: x, dev: x", "").replace("ner,", "ner"))
    run, none, model = out / "run", out / "none", str(out / "run" / "model-best")
    tagging = ["tag", str(data), "--from", "columns", "--model", model]
    watch(
        tmp_path,
        [
            (["train", str(recipe), "--data", str(data), "--out", str(run)], run),
            (["info", model], none),
            (["evaluate", str(data / "valid.txt"), "--model", model], none),
            (["compare", str(run), str(run), "--on", "dev", "--json"], none),
            ([*tagging, "--out", str(out / "tagged")], out / "tagged"),
            (tagging, none),
        ],
    )
    assert (described(here), described(data), described(tmp_path / "outside")) == before


def test_a_model_does_not_replace_a_directory_that_is_not_a_model(model_path: Path, tmp_path: Path) -> None:
    model, _ = model_dir.load(model_path)
    for kind in KINDS:
        target = tmp_path / kind / "model"
        put_decoy(target, kind, tmp_path / "outside")
        before = described(tmp_path)
        with pytest.raises(StorageError, match="exists and was not made by this tool"):
            model_dir.save(model, target, {})
        assert described(tmp_path) == before


def test_random_files_of_the_user_in_a_run_directory_stay(tmp_path: Path) -> None:
    source = random.Random(7)
    parts = ["", ".", "model-best", "checkpoint-", "000001", "seed-", "1", "config", ".yaml", ".old", ".new", "LATEST"]
    refused = 0
    for number in range(40 * SCALE):
        run = tmp_path / str(number)
        name = "".join(source.choices(parts, k=source.randint(1, 4))).strip("/") or "x"
        if name in (".", ".."):
            continue
        put_decoy(run / name, source.choice(KINDS), tmp_path / "outside")
        before = described(run)
        try:
            with run_dir.lock_run_dir(run):
                pass
        except StorageError:
            refused += 1
            assert described(run) == before
        else:
            assert {key: value for key, value in described(run).items() if key in before} == before
    assert 0 < refused < 40 * SCALE


@pytest.mark.parametrize("name", ["part-000000", "journal.jsonl", "rejects", "new"])
@pytest.mark.parametrize("option", ["rejects", "summary"])
def test_no_output_is_written_inside_the_hidden_folder_of_the_job(
    model: Tagger, model_path: Path, tmp_path: Path, option: str, name: str
) -> None:
    (tmp_path / "a.txt").write_bytes(b"Ada .\n\xff\n")
    out = tmp_path / "out"
    named = {option: out / folder.JOB_FOLDER / name}
    with pytest.raises(DataError, match="is written by the job itself"):
        tag(model, Job((tmp_path / "a.txt",), model_path, Formats("lines"), out=out, on_error="skip", **named))  # type: ignore[arg-type]
    assert not out.exists()


def test_an_empty_journal_does_not_mark_a_folder_with_files_of_the_user(
    model: Tagger, model_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("Ada .\n")
    own = tmp_path / "out" / folder.JOB_FOLDER
    own.mkdir(parents=True)
    for name, text in (("journal.jsonl", ""), ("rejects", "mine"), ("part-000000", "mine")):
        (own / name).write_text(text)
    before = described(tmp_path)
    with pytest.raises(StorageError, match="was not made by a tagging job"):
        tag(model, Job((tmp_path / "a.txt",), model_path, Formats("lines"), out=tmp_path / "out"))
    assert described(tmp_path) == before


def test_an_output_never_replaces_a_pipe_or_a_link_to_a_device(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Ada .\n")
    path = tmp_path / "out" / "a.conll"
    path.parent.mkdir()
    for make in (lambda: os.mkfifo(path), lambda: path.symlink_to("/dev/null")):
        make()
        for overwrite in (False, True):
            with pytest.raises(StorageError, match=r"a device or a pipe|exists and is not an output"):
                tag(
                    model,
                    Job((tmp_path / "a.txt",), model_path, Formats("lines"), out=tmp_path / "out", overwrite=overwrite),
                )
        assert path.is_fifo() or path.is_symlink()
        path.unlink()


def test_a_journal_that_counts_more_bytes_than_the_files_have_is_refused(
    model: Tagger, model_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text(LINES)
    job = Job((tmp_path / "a.txt",), model_path, Formats("lines"), out=tmp_path / "out", on_error="skip")
    with pytest.raises(Stopped):
        tag(model, job, stop=True)
    journal = tmp_path / "out" / folder.JOURNAL
    first, *_, last = map(json.loads, journal.read_text().splitlines())
    last["rejects"] = [10**10, 1]
    journal.write_text("".join(json.dumps(line) + "\n" for line in (first, last)))
    with pytest.raises(StorageError, match="rejects: has fewer bytes than the journal says"):
        tag(
            model,
            Job(
                (tmp_path / "a.txt",), model_path, Formats("lines"), out=tmp_path / "out", on_error="skip", resume=True
            ),
        )


def test_starting_an_unfinished_job_again_says_how_to_resume(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(LINES)
    job = Job((tmp_path / "a.txt", tmp_path / "b.txt"), model_path, Formats("lines"), out=tmp_path / "out")
    pools = []

    def listen(*_: object) -> None:
        pools.append(1)
        if len(pools) > 2 or (tmp_path / "out" / "a.conll").exists():
            raise Stopped(2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "COMMIT_SECONDS", 0)
        patch.setattr(folder, "_COMMIT_INTERVAL_RATIO", 0)
        with pytest.raises(Stopped):
            local.run(model, job, (BytesIO(), BytesIO()), callback=listen)
    assert (tmp_path / "out" / "a.conll").exists()
    with pytest.raises(StorageError, match="has an unfinished job; `resume=True` continues it"):
        tag(model, job)
