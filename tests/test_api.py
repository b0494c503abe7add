"""The Python API: one call does what a command does, with the same scores and the same bytes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tagger
from tagger.cli import app
from tagger.errors import DataError
from tests.conftest import tiny_corpus


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def without_times(report: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in report.items() if not name.startswith("se") or name == "sentences"}


def test_every_public_name_loads() -> None:
    for name in tagger.__all__:
        assert getattr(tagger, name) is not None
    assert dir(tagger) == sorted(tagger.__all__)


def test_importing_the_package_does_not_import_torch_numpy_or_pydantic() -> None:
    program = "import sys, tagger; print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'tagger' has no attribute 'tarin'"):
        tagger.tarin  # type: ignore[attr-defined]  # noqa: B018


def test_evaluate_gives_the_scores_of_the_command(model_path: Path, corpus_file: Path) -> None:
    printed = json.loads(run("evaluate", corpus_file, "--model", model_path, "--json"))
    for model in (model_path, str(model_path), tagger.load(model_path)):
        report = tagger.evaluate(model, corpus_file)
        assert without_times(json.loads(json.dumps(report.to_json()))) == without_times(printed)


def test_evaluate_takes_sentences(model_path: Path, corpus_file: Path) -> None:
    blocks = [block.splitlines() for block in tiny_corpus().split("\n\n") if block.strip()]
    rows = [[line.split(" ") for line in block if not line.startswith("-DOCSTART-")] for block in blocks]
    sentences = [
        tagger.Sentence(tuple(token for token, _ in row), tags=tuple(tag for _, tag in row)) for row in rows if row
    ]
    of_file = tagger.evaluate(model_path, corpus_file)
    assert tagger.evaluate(model_path, sentences).signature == of_file.signature


def test_evaluate_refuses_sentences_without_tags(model_path: Path) -> None:
    with pytest.raises(DataError, match="sentence 0 of `data` has 1 tokens and 0 tags; expected a gold tag for each"):
        tagger.evaluate(model_path, [tagger.Sentence(("Ada",))])
    with pytest.raises(DataError, match="`data` holds no sentence with tokens"):
        tagger.evaluate(model_path, [])


@pytest.mark.parametrize("options", [{}, {"output_format": "jsonl", "probabilities": True, "nbest": 2}])
def test_tag_files_writes_the_bytes_of_the_command(
    model_path: Path, tmp_path: Path, options: dict[str, object]
) -> None:
    (tmp_path / "a.txt").write_text("Ada lives in New York .\n\nAlan\n")
    (tmp_path / "b.conll").write_text(tiny_corpus())
    flags = ["--to", "jsonl", "--probabilities", "--nbest", "2"] if options else []
    run("tag", tmp_path / "a.txt", tmp_path / "b.conll", "--model", model_path, "--out", tmp_path / "command", *flags)
    paths = [tmp_path / "a.txt", str(tmp_path / "b.conll")]
    summary = tagger.tag_files(model_path, paths, out=tmp_path / "python", **options)  # type: ignore[arg-type]
    names = sorted(path.name for path in (tmp_path / "command").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "python").iterdir())
    for name in names:
        assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()
    assert (summary.sentences, summary.tokens) == (38, 7 + tagger.evaluate(model_path, tmp_path / "b.conll").tokens)


def test_tag_files_writes_to_standard_output_without_a_directory(
    model_path: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "a.txt").write_text("Ada lives in New York .\n")
    tagger.tag_files(model_path, tmp_path / "a.txt")
    sys.stdout.flush()
    assert capfdbinary.readouterr().out.startswith(b"Ada S-PER\n")


def test_compare_gives_the_figures_of_the_command(model_path: Path) -> None:
    training = model_path.parent
    printed = json.loads(run("compare", training, training, "--on", "dev", "--samples", 100, "--json"))
    result = tagger.compare(training, str(training), on="dev", samples=100)
    assert json.loads(json.dumps(result.to_json())) == printed
