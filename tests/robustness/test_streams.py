"""Standard streams that are closed or full, arguments that make no sense and a directory that is gone cost a line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tagger.cli import app
from tests.robustness.runs import COMMANDS, child, command_with_streams, ended

TAGGER = f"{sys.executable} -P -m tagger"


def shell(command: str, directory: Path, **variables: str) -> tuple[int, str, str]:
    """Runs a line of the shell; returns the exit code and both outputs."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=directory,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert "Exception ignored" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with files to tag and to evaluate."""
    (tmp_path / "a.txt").write_text("Ada lives .\n")
    (tmp_path / "a.conll").write_text("Ada B-PER\n\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ("--help >&-", 2, "the output: bad file descriptor"),
        ("--help > /dev/full", 2, "the output: no space left on device"),
        ("--version 2>&-", 0, ""),
        ("--version >&- 2>&-", 2, ""),
        ("no-such-command 2>&-", 2, ""),
        ("no-such-command 2> /dev/full", 2, ""),
        ("tag a.txt --model {model} > /dev/full", 2, "the output: no space left on device"),
    ],
)
def test_a_stream_that_is_closed_or_full_has_the_right_exit_code_and_no_traceback(
    model_path: Path, folder: Path, arguments: str, code: int, line: str
) -> None:
    found, _, errors = shell(f"{TAGGER} {arguments.format(model=model_path)}", folder)
    assert found == code
    assert errors.splitlines()[-1:] == ([line] if line else [])


@pytest.mark.parametrize(
    ("arguments", "streams", "code", "line"),
    [
        ("info {model}", ("/dev/null", "", "errors"), 2, "the output: bad file descriptor"),
        ("info {model}", ("/dev/null", "/dev/full", "errors"), 2, "the output: no space left on device"),
        ("info {model} --json", ("", "", ""), 2, None),
        ("tag - --model {model}", ("", "/dev/null", "errors"), 2, "standard input: bad file descriptor"),
        ("tag a.txt --model {model}", ("/dev/null", "", "errors"), 2, "the output: bad file descriptor"),
        ("tag a.txt --from lines --model {model} --out out", ("", "", ""), 0, None),
        ("tag none.txt --model {model}", ("/dev/null", "/dev/null", "/dev/full"), 2, None),
        ("evaluate a.conll --model {model}", ("/dev/null", "/dev/full", "errors"), 2, "the output: no space left on "),
    ],
)
def test_a_command_that_loads_a_model_can_have_closed_and_full_streams(
    model_path: Path, folder: Path, arguments: str, streams: tuple[str, str, str], code: int, line: str | None
) -> None:
    process = child(command_with_streams, arguments.format(model=model_path).split(), folder, streams)
    assert ended(process) == code
    if line:
        errors = (folder / "errors").read_text()
        assert errors.splitlines()[-1].startswith(line)
        assert "Traceback" not in errors
    if "--out out" in arguments:
        assert (folder / "out" / "a.conll").read_text() == "Ada S-PER\nlives O\n. O\n\n"


def test_help_into_a_closed_pipe_ends_without_a_message(tmp_path: Path) -> None:
    for command in ("--help", "tag --help", "--version"):
        code, _, errors = shell(f"{TAGGER} {command} | true; exit ${{PIPESTATUS[0]}}", tmp_path)
        assert code in (0, 141)
        assert len(errors.splitlines()) <= 1


def test_a_command_in_a_removed_directory_is_one_error_line(model_path: Path, tmp_path: Path) -> None:
    enter = f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && {TAGGER}"
    (tmp_path / "gone").mkdir()
    assert shell(f"{enter} --version", tmp_path)[0] == 0
    model = str(model_path)
    commands = [["info", model], ["train", "sample", "--out", "x"], ["tag", "a.txt", "--model", model, "--out", "x"]]
    (tmp_path / "commands.py").write_text(COMMANDS.format(commands))
    (tmp_path / "gone").mkdir()
    _, _, errors = shell(f"{enter.removesuffix('-m tagger')} {tmp_path}/commands.py", tmp_path)
    line = "the current directory does not exist any more; change to another directory\n"
    assert errors == f"{line}exit code 2\n" * 3


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_character_missing_from_the_output_encoding_is_escaped(tmp_path: Path, encoding: str) -> None:
    code, _, errors = shell(f"{TAGGER} check 'na\u00efve \u05e9'", tmp_path, PYTHONIOENCODING=encoding)
    assert code == 2
    assert "\\u05e9: no such file or folder" in errors


HUGE = "9" * 30


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            ["tag", "a.txt", "--model", "m", option, value]
            for option in ("--max-tokens", "--batch-tokens", "--workers", "--nbest", "--token-column", "--tag-column")
            for value in (HUGE, "-" + HUGE, "9" * 5000)
        ),
        ["tag", "a.txt", "--model", "m", "--threshold", "nan"],
        ["tag", "a.txt", "--model", "m", "--threshold", "1e999"],
        ["train", "sample", "--seed", HUGE],
        ["train", "sample", "--seed", "-1"],
        ["train", "sample", "--seeds", HUGE],
        ["train", "sample", "--seeds", f"1-{HUGE}"],
        ["train", "sample", "--seeds", "1,2", "--jobs", HUGE],
        ["train", "sample", "--set", f"training.epochs={HUGE}"],
        ["train", "sample", "--set", f"training.seed={HUGE}"],
        ["train", "sample", "--set", f"model.encoder.hidden_size={HUGE}"],
        ["train", "sample", "--set", f"training.clip_norm={'9' * 400}"],
        ["compare", "a", "b", "--samples", "10000000000"],
        ["compare", "a", "b", "--seed", HUGE],
    ],
    ids=lambda arguments: " ".join(argument[:12] for argument in arguments[3:]),
)
def test_an_absurd_number_is_one_error_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2, done.output
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["tag", "", "--model", "m"], "an argument"),
        (["tag", "a.txt", "--model", ""], "--model"),
        (["tag", "a.txt", "--model=", "m"], "--model"),
        (["tag", "a.txt", "--model", "m", "--out", ""], "--out"),
        (["tag", "a.txt", "--model", "m", "--pattern", ""], "--pattern"),
        (["tag", "a.txt", "--model", "m", "--summary", ""], "--summary"),
        (["tag", "a.txt", "--model", "m", "--language", ""], "--language"),
        (["train", ""], "an argument"),
        (["train", "sample", "--data", ""], "--data"),
        (["train", "sample", "--vectors", ""], "--vectors"),
        (["evaluate", "", "--model", "m"], "an argument"),
        (["info", ""], "an argument"),
        (["compare", "", ""], "an argument"),
        ([""], "an argument"),
    ],
)
def test_an_empty_string_is_one_error_line(arguments: list[str], name: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert done.stderr == f"{name}: an empty string was given; expected a value\n"


def test_a_line_break_in_a_file_name_does_not_break_a_line_of_an_error(model_path: Path, tmp_path: Path) -> None:
    name = str(tmp_path / "a\nfatal: all is lost\x1b[31m\u202e.conll")
    Path(name).write_text("Ada\n\nAlan x y\n")
    for arguments in (["tag", name, "--model", str(model_path)], ["info", name], ["train", name]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2
        (line,) = done.stderr.splitlines()
        assert r"a\nfatal: all is lost\x1b[31m\u202e" in line


@pytest.mark.parametrize("summary", ["/dev/null", "/dev/stdout", "fifo"])
def test_devices_can_be_summary_and_rejects(model_path: Path, tmp_path: Path, summary: str) -> None:
    (tmp_path / "a.txt").write_bytes(b"Ada .\n\xff\n")
    for name in ("fifo", "output"):
        os.mkfifo(tmp_path / name)
    options = f"--model {model_path} --on-error skip --rejects /dev/null --out out --summary {summary}"
    streams = ("/dev/null", "output", "/dev/null")
    process = child(command_with_streams, f"tag a.txt {options}".split(), tmp_path, streams)
    with (tmp_path / "output").open() as output:
        text = (tmp_path / "fifo").read_text() if summary == "fifo" else ""
        text += output.read()
    assert ended(process) == 3
    assert ('"sentences": 1' in text) == (summary != "/dev/null")
    assert (tmp_path / "fifo").is_fifo()
    assert Path("/dev/null").is_char_device()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jsonl"]
