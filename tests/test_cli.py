"""The command line: what is printed where, and with which exit code it ends."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from tagger import __version__, model_dir
from tagger.cli import app, errors
from tagger.tagging.tagger import BATCH_TOKENS, MAX_TOKENS
from tagger.training import run_dir
from tests.conftest import TINY_RECIPE, tiny_corpus
from tests.robustness.runs import child, command_with_streams, ended

SENTENCE = "Ada lives in New York .\n"


def run(*arguments: object, text: str | bytes = "") -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=text)


def test_the_version_is_printed() -> None:
    assert run("--version").stdout.strip() == __version__


def test_the_help_shows_the_default_limits() -> None:
    text = " ".join(run("tag", "--help").stdout.split())
    assert f"overlapping windows. [default: {MAX_TOKENS}; " in text
    assert f"padding included. [default: {BATCH_TOKENS}; " in text


def commands() -> dict[str, Any]:
    return typer.main.get_command(app).commands  # type: ignore[attr-defined,no-any-return]


def test_the_help_shows_a_complete_summary_of_each_command() -> None:
    lines = run("--help").stdout.splitlines()
    summaries = [line.split(maxsplit=1) for line in lines[lines.index("Commands:") + 1 :]]
    assert [name for name, _ in summaries] == list(commands())
    for name, summary in summaries:
        assert summary == commands()[name].help.splitlines()[0]
        assert summary.endswith(".")
        assert not summary.endswith("...")


@pytest.mark.parametrize("name", ["train", "evaluate", "compare", "check", "info"])  # tag prints the tagged text
def test_json_is_a_switch_of_every_command_that_prints_a_result(name: str) -> None:
    (option,) = (parameter for parameter in commands()[name].params if "--json" in parameter.opts)
    assert option.is_flag
    assert option.help == "Print the result as JSON."


def test_an_option_means_the_same_in_every_command() -> None:
    helps: dict[str, set[str]] = {}
    for name, command in commands().items():
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name not in ("input_format", "out", "resume"):
                helps.setdefault(parameter.opts[0], set()).add(parameter.help)
        assert {parameter.name for parameter in command.params} >= {"as_json"} or name in ("tag", "serve")
    assert {name for name, texts in helps.items() if len(texts) > 1} == set()


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("lower `max_tokens`", "lower --max-tokens"),
        ("pass `resume=True`, or another `out`", "pass --resume, or another --out"),
        ("choose an `output_format` or `input_format`", "choose an --to or --from"),
        ("set `on_error='skip'` or `device=cpu`", "set --on-error skip or --device cpu"),
        ("`paths` and `pattern` fit no file", "PATH and --pattern fit no file"),
        ("the word `tokens` and `seed` stay", "the word `tokens` and `seed` stay"),
    ],
)
def test_errors_name_the_options_of_the_command_in_place_of_parameters(message: str, shown: str) -> None:
    assert errors.name_options(message, errors.option_names(commands()["tag"])) == shown


def test_train_evaluate_tag_and_info_work_together(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("train.txt", "valid.txt", "test.txt"):
        (tmp_path / "data" / name).write_text(tiny_corpus())
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(TINY_RECIPE.format(train="null", dev="null"))
    out = tmp_path / "run"
    done = run("train", recipe, "--data", tmp_path / "data", "--out", out, "--seed", 3, "--set", "training.epochs=4")
    assert done.exit_code == 0, done.stderr
    assert "test scores of the best model:" in done.stdout
    assert "epoch 4 of 4" in done.stderr
    assert str(tmp_path) not in (out / "model-best" / "config.yaml").read_text()
    report = json.loads(run("evaluate", tmp_path / "data" / "test.txt", "--model", out / "model-best", "--json").stdout)
    assert report["sentences"] == 36
    card = json.loads(run("info", out / "model-best", "--json").stdout)
    shown = run("info", out / "model-best").stdout.splitlines()
    assert [line.partition(":")[0] for line in shown if line[0] != " "] == list(card)
    assert "metrics:" in shown
    assert f"  epoch: {card['metrics']['epoch']}" in shown
    assert f"    score: {card['metrics']['dev']['score']:.4g}" in shown
    again = run("train", out, "--resume")
    assert again.exit_code == 0
    assert run("train", recipe, "--data", tmp_path / "data", "--out", out).exit_code == 2


def test_several_seeds_are_trained_resumed_compared_and_used(tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_text(tiny_corpus())
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(TINY_RECIPE.format(train="train.conll", dev="train.conll") + "  patience: 1\n")
    options = ["--test", tmp_path / "train.conll", "--seeds", "1-2", "--out", tmp_path / "run"]
    done = run("train", recipe, *options)
    assert done.exit_code == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["seed", "dev", "test", "epochs", "seconds"]
    assert [(row[0], row[3]) for row in rows[1:3]] == [("1", "3"), ("2", "3")]
    assert rows[3][:5] == ["dev", "F1,", "mean", "±", "sd:"]
    assert rows[-1][:2] == ["model:", f"{tmp_path}/run/model-best,"]
    told = [line for line in done.stderr.splitlines() if line.startswith("seed ") and ": dev" in line]
    assert [line.split(",")[2] for line in told] == [" 3 epochs", " 3 epochs"]
    for again in ([recipe, *options], [tmp_path / "run"]):
        assert run("train", *again, "--resume", "--jobs", 2).stdout == done.stdout
    assert "pass --resume to continue it" in run("train", tmp_path / "run").stderr
    compared = "compare", tmp_path / "run", tmp_path / "run" / "seed-1", "--on", "dev"
    found = run(*compared)
    assert found.exit_code == 0, found.stderr
    assert f"{tmp_path}/run/seed-1 has one seed" in found.stdout
    figures = json.loads(run(*compared, "--json").stdout)
    seeds = figures["baseline"]["seeds"], figures["differences"][0]["system"]["seeds"]
    assert (*seeds, figures["on"]) == ([1, 2], [1], "dev")
    assert run("tag", "-", "--model", tmp_path / "run" / "model-best", text=SENTENCE).stdout.startswith('{"document"')
    assert f"did you mean {tmp_path}/run/model-best?" in run("info", tmp_path / "run").stderr


def test_a_failed_seed_is_reported_after_the_table_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_text(tiny_corpus())
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(TINY_RECIPE.format(train="train.conll", dev="train.conll"))
    with run_dir.lock_run_dir(tmp_path / "run"):
        (tmp_path / "run" / "seed-5").touch()
    done = run("train", recipe, "--seeds", "5,6", "--out", tmp_path / "run", "--set", "training.epochs=1")
    assert done.exit_code == 2
    assert done.stdout.splitlines()[1].split()[:3:2] == ["6", "-"]
    assert done.stderr.splitlines()[-1] == f"seed 5: {tmp_path}/run/seed-5: cannot be written: Not a directory"


def test_tagging_a_pipe_writes_one_result_per_line_and_nothing_else_to_stdout(model_path: Path) -> None:
    done = run("tag", "-", "--model", model_path, "--from", "lines", "--to", "jsonl", text=SENTENCE + "\nAlan\n")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["tokens"] for row in rows] == [SENTENCE.split(), [], ["Alan"]]
    assert rows[0]["spans"][1] == {"type": "LOC", "start": 3, "end": 5, "text": "New York"}


def test_files_are_tagged_into_a_directory_in_their_own_format(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(SENTENCE)
    (tmp_path / "b.conll").write_text("Ada\tX\tO\nlives\tX\tO\n\n")
    out = tmp_path / "out"
    assert run("tag", tmp_path / "a.txt", tmp_path / "b.conll", "--model", model_path, "--out", out).exit_code == 0
    assert [span["text"] for span in json.loads((out / "a.jsonl").read_text())["spans"]] == ["Ada", "New York"]
    assert (out / "b.conll").read_text() == "Ada\tS-PER\tO\nlives\tO\tO\n\n"


def test_tagged_columns_keep_all_but_the_tag_column(model_path: Path, tmp_path: Path) -> None:
    text = tiny_corpus().replace(" B-", " ?-").replace("\n", "\r\n")
    (tmp_path / "in.conll").write_bytes(text.encode())
    run("tag", tmp_path / "in.conll", "--model", model_path, "--out", tmp_path / "out")
    found = (tmp_path / "out" / "in.conll").read_bytes().decode()
    assert [line.split(" ")[0] for line in found.split("\r\n")] == [line.split(" ")[0] for line in text.split("\r\n")]
    assert "Ada S-PER\r\n" in found
    assert "-DOCSTART- O\r\n" in found


def user_errors() -> list[tuple[str, list[str], str]]:
    return [
        ("missing file", ["tag", "{tmp}/none.txt", "--model", "{model}"], "none.txt: no such file"),
        ("missing model", ["tag", "-", "--model", "{tmp}/none"], "no such model directory"),
        ("not a model", ["info", "{tmp}"], "no model here"),
        ("the run", ["info", "{model}/.."], "model-best?"),
        ("a file as model", ["info", "{tmp}/a.txt"], "it is a file"),
        ("a run as recipe", ["train", "{model}/.."], "pass --resume to continue it"),
        ("a folder as recipe", ["train", "{tmp}"], "pass a recipe, and the folder as --data"),
        (
            "same column",
            ["evaluate", "{tmp}/ragged.conll", "--model", "{model}", "--tag-column", "0"],
            "expected token and tag in different columns",
        ),
        (
            "odd column",
            ["tag", "-", "--model", "{model}", "--from", "columns", "--token-column=--1"],
            "no column is called",
        ),
        ("ragged", ["evaluate", "{tmp}/ragged.conll", "--model", "{model}"], "ragged.conll:2: expected 2 columns"),
        ("no tags", ["evaluate", "{tmp}/words.conll", "--model", "{model}"], "words.conll:1: expected at least 2"),
        ("empty", ["evaluate", "{tmp}/empty.conll", "--model", "{model}"], "holds no sentence"),
        ("stray tag", ["train", "sample", "--train", "{tmp}/stray.conll", "--out", "{tmp}/run"], "found 'PER'"),
        ("no data", ["train", "ner-conll2003", "--out", "{tmp}/run"], "names no training data"),
        ("empty data", ["train", "sample", "--train", "{tmp}/empty.conll", "--out", "{tmp}/run"], "holds no sentence"),
        ("no such command", ["tga"], "No such command 'tga'"),
        ("no such option", ["--nope"], "No such option: --nope"),
        ("option of a command", ["tag", "-", "--nope", "--model", "{model}"], "No such option: --nope"),
        ("no path", ["tag", "--model", "{model}"], "Missing argument 'PATH'"),
        ("no number", ["tag", "-", "--model", "{model}", "--nbest", "x"], "Invalid value for '--nbest': "),
        ("too small", ["tag", "-", "--model", "{model}", "--workers", "0"], "Invalid value for '--workers': "),
        ("no format", ["tag", "-", "--model", "{model}", "--to", "pdf"], "value for '--to': 'pdf' is not one of"),
        (
            "no language",
            ["tag", "{tmp}/a.txt", "--model", "{model}", "--from", "text", "--language", "qq"],
            "language 'qq': spaCy does not support it",
        ),
        ("typo", ["train", "smaple"], "did you mean 'sample'"),
        ("override", ["train", "sample", "--set", "training.epoch=1"], "did you mean 'epochs'"),
        (
            "resume nothing",
            ["train", "{tmp}", "--resume"],
            "found no config.yaml; expected the directory of a training run",
        ),
        (
            "resume and set",
            ["train", "{tmp}", "--resume", "--seed", "1"],
            "a resumed run keeps its --seed; it takes only --device",
        ),
        (
            "resume and seeds",
            ["train", "{model}/..", "--resume", "--seeds", "1,2"],
            "a resumed run keeps its --seeds; it takes only --device",
        ),
        (
            "fewer epochs",
            ["train", "{model}/..", "--resume", "--set", "training.epochs=1"],
            "epochs are finished; training.epochs must be at least",
        ),
        ("seed and seeds", ["train", "sample", "--seed", "1", "--seeds", "1,2"], "exclude each other"),
        ("no seeds", ["train", "sample", "--seeds", ","], "expected numbers such as 1,2,3"),
        ("a seed twice", ["train", "sample", "--seeds", "1-3,2", "--out", "{tmp}/run"], "--seeds repeats 2"),
        ("jobs of what", ["train", "sample", "--jobs", "2"], "pass --seeds, too"),
        ("jobs of one", ["train", "{model}/..", "--resume", "--jobs", "2"], "pass --seeds, too"),
        ("seeds over one", ["train", "sample", "--seeds", "1,2", "--out", "{model}/.."], "already holds a training"),
        ("compare nothing", ["compare", "{tmp}", "{model}/.."], "holds no finished training to compare"),
        ("compare models", ["compare", "{model}", "{model}"], "expected the directory of a finished training run"),
        ("no test scores", ["compare", "{model}/..", "{model}/.."], "without test data"),
        ("own output", ["tag", "{tmp}/words.conll", "--model", "{model}", "--out", "{tmp}"], "own output"),
        (
            "one name",
            ["tag", "{tmp}/x/a.txt", "{tmp}/a.txt", "--model", "{model}", "--out", "{tmp}/o"],
            "both be written",
        ),
        ("empty folder", ["tag", "{tmp}/empty", "--model", "{model}"], "no file in this folder"),
        ("no such glob", ["tag", "{tmp}/*.none", "--model", "{model}"], "*.none: no such file"),
        ("a file twice", ["tag", "{tmp}/a.txt", "{tmp}/./a.txt", "--model", "{model}"], "a.txt: given twice"),
        ("out within in", ["tag", "{tmp}/x", "--model", "{model}", "--out", "{tmp}/x/o"], "choose another --out"),
        ("resume what", ["tag", "-", "--model", "{model}", "--resume"], "pass --out, too"),
        ("rejects where", ["tag", "-", "--model", "{model}", "--on-error", "skip"], "pass --rejects or --out"),
        ("rejects for what", ["tag", "-", "--model", "{model}", "--rejects", "{tmp}/r"], "pass both or neither"),
        ("pattern of what", ["tag", "-", "--model", "{model}", "--pattern", "*"], "no folder is given"),
        ("parquet to stdout", ["tag", "-", "--model", "{model}", "--to", "parquet"], "pass a directory as --out"),
        (
            "two formats in one stream",
            ["tag", "{tmp}/words.conll", "{tmp}/empty.conllu", "--model", "{model}"],
            "words.conll as columns and",
        ),
        ("file as out", ["tag", "{tmp}/a.txt", "--model", "{model}", "--out", "{tmp}/a.txt"], "a.txt"),
        ("no place to write", ["tag", "{tmp}/a.txt", "--model", "{model}", "--out", "/proc/none"], "cannot be written"),
        (
            "no place for the summary",
            ["tag", "{tmp}/a.txt", "--model", "{model}", "--out", "{tmp}/run", "--summary", "/proc/none/s.json"],
            "/proc/none/s.json: cannot be written",
        ),
        (
            "a folder as summary",
            ["tag", "{tmp}/a.txt", "--model", "{model}", "--summary", "{tmp}/x"],
            "x: cannot be written: Is a directory",
        ),
        ("an input as summary", ["tag", "{tmp}/a.txt", "--model", "{model}", "--summary", "{tmp}/a.txt"], "an input"),
        *(
            (
                f"{name} as summary",
                ["tag", "{tmp}/a.txt", "--model", "{model}", "--out", "{tmp}/run", "--summary", f"{{tmp}}/run/{name}"],
                f"{name}: is written by the job itself, and --summary would overwrite it",
            )
            for name in ("a.jsonl", ".tagger.lock", ".tagger-job")
        ),
        (
            "a summary in a new folder, and another fault",
            ["tag", "{tmp}/none.txt", "--model", "{model}", "--summary", "{tmp}/run/s.json"],
            "no such file",
        ),
        ("file as run", ["train", "sample", "--out", "{tmp}/a.txt"], "a.txt"),
        ("no gpu", ["tag", "-", "--model", "{model}", "--device", "cuda"], "finds no GPU"),
        (
            "bad column",
            ["tag", "{tmp}/words.conll", "--model", "{model}", "--token-column", "form"],
            "no column is called",
        ),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"), [case[1:] for case in user_errors()], ids=[case[0] for case in user_errors()]
)
def test_a_user_error_is_one_line_with_exit_code_2(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (tmp_path / "x").mkdir()
    (tmp_path / "empty").mkdir()
    for name, text in {
        "ragged.conll": "a O\nb\n",
        "words.conll": "Ada\n",
        "empty.conll": "",
        "empty.conllu": "",
        "stray.conll": "Ada x x B-PER\nin x x B-LOC\nAlan x x PER\n",
        "a.txt": SENTENCE,
        "x/a.txt": "",
    }.items():
        (tmp_path / name).write_text(text)
    done = run(*(argument.format(tmp=tmp_path, model=model_path) for argument in arguments))
    assert done.exit_code == 2
    assert message in done.stderr.splitlines()[-1]
    if arguments[0] != "train":
        assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "text"), [("a.txt", ""), ("a.conll", "\n-DOCSTART- O\n\n"), ("a.conllu", "# none\n\n")]
)
@pytest.mark.parametrize("to", ["jsonl", "columns", "conllu"])
def test_an_input_without_sentences_gives_an_empty_output(
    model_path: Path, tmp_path: Path, name: str, text: str, to: str
) -> None:
    (tmp_path / name).write_text(text)
    options = ["--model", model_path, "--to", to, "--out", tmp_path / "out"]
    options += ["--from", "lines"] if name == "a.txt" else []
    assert run("tag", tmp_path / name, *options).exit_code == 0
    (found,) = (tmp_path / "out").iterdir()
    assert found.read_text() == (text if found.name == name else "")


def test_an_invalid_input_leaves_only_the_state_to_resume_from(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(SENTENCE.encode() * 100 + b"\xff\n")
    done = run("tag", tmp_path / "bad.txt", "--model", model_path, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "bad.txt:101: byte 1 is 0xff" in done.stderr
    assert "fix the file and continue with --resume" in done.stderr
    assert all(path.name.startswith(".") for path in (tmp_path / "out").iterdir())
    (tmp_path / "bad.txt").write_text(SENTENCE * 101)
    assert run("tag", tmp_path / "bad.txt", "--model", model_path, "--out", tmp_path / "out", "--resume").exit_code == 0
    (found,) = (tmp_path / "out").iterdir()
    assert found.read_text().count("S-PER") == 101


def test_an_input_that_is_invalid_near_its_start_leaves_no_files(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(SENTENCE.encode() * 10 + b"\xff\n")
    assert run("tag", tmp_path / "bad.txt", "--model", model_path, "--out", tmp_path / "out").exit_code == 2
    assert list((tmp_path / "out").iterdir()) == []


def test_unreadable_input_is_rejected_and_reported_with_exit_code_3(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(SENTENCE.encode() + b"\xff\n" + SENTENCE.encode())
    options = [
        "--model",
        model_path,
        "--on-error",
        "skip",
        "--rejects",
        tmp_path / "rejects",
        "--summary",
        tmp_path / "s",
    ]
    done = run("tag", tmp_path / "bad.txt", *options)
    assert done.exit_code == 3
    assert done.stdout.count("S-PER") == 2
    assert "bad.txt:2: byte 1 is 0xff" in done.stderr
    row = json.loads((tmp_path / "rejects").read_text())
    assert (row["file"], row["line"], row["raw"][-1]) == (str(tmp_path / "bad.txt"), 2, "\n")
    summary = json.loads((tmp_path / "s").read_text())
    assert (summary["sentences"], summary["tokens"], summary["rejected"]) == (2, 12, 1)
    assert summary["spans"] == {"LOC": 2, "PER": 2}


@pytest.mark.parametrize("weight", ["projection.weight", "embedding.characters.embedding.weight"])
def test_a_model_with_non_finite_scores_is_an_error_in_one_line(model_path: Path, tmp_path: Path, weight: str) -> None:
    model, metrics = model_dir.load(model_path)
    model.network.get_parameter(weight).data.fill_(3e38)
    model.network.get_parameter("embedding.characters.convolution.weight").data.fill_(0.5)
    model_dir.save(model, tmp_path / "diverged", metrics)
    done = run("tag", "-", "--model", tmp_path / "diverged", text=SENTENCE)
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.search(r" not finite: (its|the model's) weights are damaged or diverged\n$", done.stderr)
    assert done.stderr.count("\n") == 1


def test_the_summary_file_may_be_in_the_new_output_directory(model_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("tag", "-", "--model", model_path, "--out", out, "--summary", out / "deep" / "s.json", text=SENTENCE)
    assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["deep", "stdin.jsonl"]
    assert json.loads((out / "deep" / "s.json").read_text())["tokens"] == 6


def test_the_summary_is_printed_on_stderr(model_path: Path) -> None:
    done = run("tag", "-", "--model", model_path, text=SENTENCE)
    assert done.stderr.splitlines()[0].startswith("1 document, 1 sentence, 6 tokens in ")
    assert done.stderr.splitlines()[1] == "spans: LOC 1, PER 1"


def test_a_folder_is_tagged_into_the_same_tree_of_subfolders(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("b.txt", "a.txt", "sub/a.txt", "sub/no.log"):
        (tmp_path / "in" / name).write_text(SENTENCE)
    options = ["--model", model_path, "--to", "jsonl", "--pattern", "*.txt", "--out", tmp_path / "out"]
    assert run("tag", tmp_path / "in", *options).exit_code == 0
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert found == ["a.jsonl", "b.jsonl", "sub/a.jsonl"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("command", ["tag {text}", "evaluate {gold} --json", "info"])
def test_a_full_disk_behind_stdout_is_one_line_with_exit_code_2(model_path: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "text").write_text(SENTENCE)
    (tmp_path / "gold").write_text(tiny_corpus())
    arguments = command.format(text=tmp_path / "text", gold=tmp_path / "gold").split()
    model = [str(model_path)] if command == "info" else ["--model", str(model_path)]
    streams = ("/dev/null", "/dev/full", "errors")
    assert ended(child(command_with_streams, [*arguments, *model], tmp_path, streams)) == 2
    errors = (tmp_path / "errors").read_text()
    assert errors.splitlines()[-1] == "the output: no space left on device"
    assert "Traceback" not in errors


def test_control_characters_are_escaped_in_errors() -> None:
    done = run("train", "no\x1b[31msuch")
    assert "\x1b" not in done.stderr
    assert r"\x1b[31m" in done.stderr


@pytest.mark.parametrize("token", ["<script>", "[/b]", "[red]", "\x1b[2J"])
def test_markup_in_a_token_is_written_unchanged(model_path: Path, token: str) -> None:
    done = run("tag", "-", "--model", model_path, "--from", "lines", "--to", "jsonl", text=f"{token}\n")
    assert json.loads(done.stdout)["tokens"] == [token]
    assert "\x1b" not in done.stdout


def test_a_closed_output_is_one_line_with_exit_code_141(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text(SENTENCE * 3000)
    os.mkfifo(tmp_path / "pipe")
    arguments = ["tag", str(tmp_path / "many.txt"), "--model", str(model_path)]
    process = child(command_with_streams, arguments, tmp_path, ("/dev/null", "pipe", "errors"))
    with (tmp_path / "pipe").open() as pipe:
        pipe.readline()
    assert ended(process) == 141
    assert (tmp_path / "errors").read_text().splitlines()[-1] == "the output was closed before all was written"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_is_a_user_error(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(SENTENCE)
    (tmp_path / "locked").mkdir(mode=0o500)
    done = run("tag", tmp_path / "a.txt", "--model", model_path, "--out", tmp_path / "locked")
    assert done.exit_code == 2
    assert "permission denied" in done.stderr.lower()
