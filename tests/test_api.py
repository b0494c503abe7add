"""The Python API: one call does what a command does, with the same scores and the same bytes."""

import io
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tagger
from tagger import config
from tagger.cli import app
from tagger.config.overrides import list_overrides
from tagger.errors import ConfigError, DataError
from tests.conftest import TINY_RECIPE, tiny_corpus


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


def test_info_gives_the_description_of_the_command(model_path: Path) -> None:
    assert json.loads(run("info", model_path, "--json")) == json.loads(json.dumps(tagger.info(model_path)))


def test_evaluate_takes_sentences(model_path: Path, corpus_file: Path) -> None:
    blocks = [block.splitlines() for block in tiny_corpus().split("\n\n") if block.strip()]
    rows = [[line.split(" ") for line in block if not line.startswith("-DOCSTART-")] for block in blocks]
    sentences = [
        tagger.Sentence(tuple(token for token, _ in row), tags=tuple(tag for _, tag in row)) for row in rows if row
    ]
    of_file = tagger.evaluate(model_path, corpus_file)
    assert tagger.evaluate(model_path, sentences).signature == of_file.signature


def test_evaluate_scores_the_types_that_the_data_was_annotated_for(model_path: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.conll"
    part.write_text(tiny_corpus().replace("B-LOC", "O").replace("I-LOC", "O"))
    assert tagger.evaluate(model_path, part).precision < 100
    report = tagger.evaluate(model_path, part, annotated_types=["PER"])
    assert (report.f1, report.accuracy, list(report.left_out.types)) == (100, 100, ["LOC"])
    printed = json.loads(run("evaluate", part, "--model", model_path, "--annotated-types", "PER", "--json"))
    assert without_times(json.loads(json.dumps(report.to_json()))) == without_times(printed)


def test_evaluate_refuses_sentences_without_tags(model_path: Path) -> None:
    with pytest.raises(DataError, match="sentence 0 of `data` has 1 tokens and 0 tags; expected a tag for each"):
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
    assert capfdbinary.readouterr().out.startswith(b'{"document": ')


def test_compare_gives_the_figures_of_the_command(model_path: Path) -> None:
    training = model_path.parent
    printed = json.loads(run("compare", training, training, "--on", "dev", "--samples", 100, "--json"))
    result = tagger.compare(training, str(training), on="dev", samples=100)
    assert json.loads(json.dumps(result.to_json())) == printed


@pytest.fixture
def recipe(tmp_path: Path, corpus_file: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(TINY_RECIPE.format(train=corpus_file, dev="null"))
    return path


def weights(model_dir: Path) -> bytes:
    return (model_dir / "weights.safetensors").read_bytes()


def test_train_makes_the_model_and_the_scores_of_the_command(tmp_path: Path, recipe: Path, corpus_file: Path) -> None:
    flags = ["--dev", corpus_file, "--test", corpus_file, "--seed", 7, "--set", "training.epochs=2"]
    printed = json.loads(run("train", recipe, "--out", tmp_path / "command", *flags, "--json"))
    options = {"dev": corpus_file, "test": str(corpus_file), "seed": 7}
    for name, settings in (("dotted", {"training.epochs": 2}), ("nested", {"training": {"epochs": 2}})):
        result = tagger.train(recipe, out=tmp_path / name, settings=settings, **options)  # type: ignore[arg-type]
        assert weights(result.model_dir) == weights(tmp_path / "command" / "model-best")
        assert without_times(json.loads(json.dumps(result.to_json()))["test"]) == without_times(printed["test"])
    assert len(result.history) == 2
    assert result.dev is not None
    assert result.test is not None
    assert result.best is not None
    assert (result.dev.sd, result.dev.mean) == (None, result.best.dev.score)
    assert result.best.test is not None
    assert result.test.mean == result.best.test.f1
    assert tagger.evaluate(result.tagger, corpus_file).signature == result.best.test.signature
    assert result.tagger is result.tagger


def test_train_takes_a_config(tmp_path: Path, recipe: Path, corpus_file: Path) -> None:
    loaded = config.load(str(recipe))
    options = {"dev": corpus_file, "settings": ["training.epochs=1"]}
    result = tagger.train(loaded, out=tmp_path / "config", **options)  # type: ignore[arg-type]
    of_file = tagger.train(str(recipe), out=tmp_path / "file", **options)  # type: ignore[arg-type]
    assert weights(result.model_dir) == weights(of_file.model_dir)
    with pytest.raises(ConfigError, match="a config has no name for the directory of the run; pass `out`"):
        tagger.train(loaded)


def test_train_with_several_seeds_gives_the_result_of_each_with_mean_and_deviation(
    tmp_path: Path, recipe: Path, corpus_file: Path
) -> None:
    options = {"dev": corpus_file, "settings": {"training.epochs": 1}, "out": tmp_path / "run"}
    result = tagger.train(recipe, seeds=[1, 2], **options)  # type: ignore[arg-type]
    scores = [each.dev.score for each in result.results]
    assert result.dev is not None
    assert (result.dev.mean, result.dev.sd) == (statistics.fmean(scores), statistics.stdev(scores))
    assert [each.seed for each in result.results] == [1, 2]
    resumed = tagger.train(tmp_path / "run", resume=True)
    assert str(resumed) == str(result)


def test_train_resumes_the_run_that_the_command_began(tmp_path: Path, recipe: Path, corpus_file: Path) -> None:
    run("train", recipe, "--dev", corpus_file, "--out", tmp_path / "run", "--set", "training.epochs=1")
    result = tagger.train(tmp_path / "run", resume=True, settings={"training.epochs": 2})
    assert [record.epoch for record in result.history] == [1, 2]
    again = tagger.train(recipe, dev=corpus_file, out=tmp_path / "run", resume=True, settings={"training.epochs": 2})
    assert str(again) == str(result)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1, "seeds": [1, 2]}, "`seed` and `seeds` exclude each other"),
        ({"jobs": 2}, "`jobs` is the number of `seeds` to train in parallel; pass `seeds`, too"),
        ({"jobs": 0}, "`jobs` must be at least 1, got 0"),
        ({"settings": {"training.epoch": 1}}, "did you mean 'epochs'"),
        ({"settings": {"training": {"epochs": "many"}}}, "training.epochs should be a valid integer, got 'many'"),
    ],
)
def test_train_refuses_options_that_do_not_fit(recipe: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tagger.train(recipe, **options)  # type: ignore[arg-type]


def test_files_are_tagged_where_standard_streams_have_no_bytes(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.txt").write_text("Ada lives in Paris .\n")
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # as in a notebook
    assert tagger.tag_files(model_path, tmp_path / "in.txt", out=tmp_path / "out").tokens == 5
    with pytest.raises(ConfigError, match="standard output cannot be written here; pass `out`"):
        tagger.tag_files(model_path, tmp_path / "in.txt")
    with pytest.raises(ConfigError, match="standard input cannot be read here"):
        tagger.tag_files(model_path, "-", out=tmp_path / "other")


@pytest.mark.parametrize(
    ("settings", "override"),
    [
        ({"data.train": "\U0001f600.txt"}, r'data.train="\U0001f600.txt"'),
        ({"model": {"head": {"tag_weights": {"a.b": 2}}}}, 'model.head.tag_weights={"a.b": 2}'),
        ({"model.head": {"kind": "softmax"}}, 'model.head.kind="softmax"'),
    ],
)
def test_settings_become_overrides_of_whole_values(settings: dict[str, object], override: str) -> None:
    assert list_overrides(settings) == [override]


def test_an_unknown_format_is_an_error_that_lists_the_formats(model_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`output_format` must be columns, .* or html, got 'xml'"):
        tagger.tag_files(model_path, "a.txt", out=tmp_path, output_format="xml")  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"seeds": "1-2"}, {"seed": 1.5}])
def test_seeds_that_are_not_integers_are_an_error(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="`seed` is an integer and `seeds` a list of integers, got"):
        tagger.train("sample", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("epochs", r"pass settings=\{'training\.epochs': 3\}"),
        ("lr", r"pass settings=\{'training\.optimizer\.learning_rate': 3\}"),
        ("hiden_size", r"settings are passed in `settings`; did you mean 'model\.encoder\.hidden_size'\?"),
    ],
)
def test_a_setting_as_an_argument_of_train_is_an_error_that_says_where_it_belongs(name: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is not a parameter of train; {advice}"):
        tagger.train("sample", **{name: 3})
