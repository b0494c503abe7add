"""The label audit: planted errors rank first, models judge what they were not trained on, and an audit resumes."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tagger
from tagger.analysis.audit import Audit
from tagger.cli import app
from tagger.config import Config, dump
from tagger.errors import ConfigError, DataError, ModelError, StorageError
from tagger.experiments import folds, processes
from tagger.experiments.folds import FoldOptions
from tagger.experiments.processes import Task
from tagger.training import Event, StepEnd, corpora, records, sentence_weights
from tests.conftest import parse_tiny_recipe, tiny_corpus
from tests.robustness.runs import changed, results, tree

SETTINGS = ["training.epochs=3", "training.batch_size=1", "training.optimizer.learning_rate=0.03"]
PLANTED = [
    ("Ada", 1, "Oslo B-LOC", "Oslo B-PER"),
    ("Alan", 3, "New B-LOC\nYork I-LOC", "New O\nYork B-LOC"),
    ("Alan", 4, "Cairo B-LOC", "Cairo O"),
    ("Donald", 2, "lives O", "lives B-LOC"),
]
"""The first name of a sentence, a number of sentences after the first with it, the right tags and the wrong ones."""


@pytest.fixture(autouse=True, scope="module")
def _no_plot() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "plot", lambda *_: None)
        yield


def planted(text: str) -> str:
    sentences = text.split("\n\n")
    for name, offset, right, wrong in PLANTED:
        index = offset + next(number for number, each in enumerate(sentences) if each.startswith(name))
        assert right in sentences[index]
        sentences[index] = sentences[index].replace(right, wrong)
    return "\n\n".join(sentences)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("data")
    (folder / "train.conll").write_text(planted(tiny_corpus()))
    (folder / "dev.conll").write_text(tiny_corpus())
    return parse_tiny_recipe(folder / "train.conll", *SETTINGS, dev=folder / "dev.conll")


@pytest.fixture(scope="module")
def result(recipe: Config, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return tagger.audit(recipe, out=tmp_path_factory.mktemp("audit") / "out", folds=3, repeats=1, device="cpu")


@pytest.fixture
def copied(result: Audit, tmp_path: Path) -> Path:
    """The directory of the finished audit, to be changed."""
    return Path(shutil.copytree(result.files.page.parent, tmp_path / "out"))


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_planted_errors_are_the_first_suspects_with_their_corrections(result: Audit) -> None:
    first = {
        (row["kind"], row["line"], row["text"], row["given"], json.dumps(row["alternative"]))
        for row in rows(result.files.suspects)[:4]
    }
    assert first == {
        ("type", 12, "Oslo", "PER", '{"type": "LOC", "start": 3, "end": 4, "text": "Oslo"}'),
        ("boundary", 101, "York", "LOC", '{"type": "LOC", "start": 3, "end": 5, "text": "New York"}'),
        ("missing", 107, "Cairo", None, '{"type": "LOC", "start": 3, "end": 4, "text": "Cairo"}'),
        ("spurious", 205, "lives", "LOC", "null"),
    }


def test_models_that_disagree_with_too_many_annotations_are_named(result: Audit) -> None:
    wrong = sum(suspect.is_improbable and suspect.kind != "missing" for suspect in result.suspects)
    weak = replace(result, annotations={"train.conll": 2 * wrong + result.unjudged})
    strong = replace(result, annotations={"train.conll": 5 * wrong + result.unjudged})
    assert "the models disagree with 50 % of the annotations" in str(weak)
    assert "disagree" not in str(strong)


def test_a_row_of_a_suspect_says_where_it_is_and_how_probable(result: Audit) -> None:
    (row,) = [row for row in rows(result.files.suspects) if row["line"] == 12]
    assert row["tokens"] == ["Ada", "lives", "in", "Oslo", "."]
    assert (row["file"], row["document"], row["sentence"], row["start"], row["end"]) == ("train.conll", 0, 1, 3, 4)
    assert 0 <= float(str(row["probability"])) < 0.2
    assert 0.5 < float(str(row["alternative_probability"])) <= 1
    ranks = [(row["rank"], row["score"]) for row in rows(result.files.suspects)]
    assert ranks == sorted(ranks, key=lambda pair: (-float(str(pair[1])), pair[0]))


def test_weights_are_lower_for_sentences_that_a_model_contradicts_and_fit_the_training_data(
    result: Audit, recipe: Config
) -> None:
    corpus = corpora.read_train(recipe)
    assert tuple(sentence_weights.read(result.files.weights, corpus)) == result.weights
    assert [row["line"] for row in rows(result.files.weights)] == [sentence.line for sentence in corpus.sentences]
    assert [result.weights[number] for number in (1, 15, 16, 32)] == [0.7] * 4
    assert sum(weight < 1 for weight in result.weights) < 12
    weighted = changed(recipe, f"training.sentence_weights={result.files.weights}")
    assert tuple(corpora.load(weighted).weights) == result.weights


def test_each_document_is_judged_by_a_model_that_did_not_train_on_it(result: Audit, recipe: Config) -> None:
    sentences = corpora.read_train(recipe).sentences
    planned = json.loads((result.files.page.parent / "folds.json").read_text())
    assert [(each["repeat"], each["fold"]) for each in planned] == [(1, 1), (1, 2), (1, 3)]
    for each in planned:
        held_out, train = ({sentences[position].document for position in each[name]} for name in ("held_out", "train"))
        assert not held_out & train
        log = (result.files.page.parent / f"fold-1-{each['fold']}" / "train.log").read_text()
        assert "LOC        " in log
        best = tagger.load(result.files.page.parent / f"fold-1-{each['fold']}" / "model-best")
        words = {token for position in each["train"] for token in sentences[position].tokens}
        assert set(best.model.words.items[2:]) == words


def test_other_files_are_judged_by_all_models(recipe: Config, copied: Path, tmp_path: Path) -> None:
    file = tmp_path / "test.conll"
    file.write_text("Grace O\nlives O\nin O\nOslo B-LOC\n. O\n\nBarbara B-PER\nlives O\nin O\nLima B-LOC\n. O\n")
    again = tagger.audit(recipe, out=copied, folds=3, repeats=1, files=[file], resume=True, device="cpu")
    assert again.annotations == {"train.conll": 72, "test.conll": 3}
    (found,) = [each for each in again.suspects if each.file == "test.conll" and each.is_improbable]
    assert (found.kind, found.line, found.text, found.alternative) == ("missing", 1, "Grace", tagger.Span("PER", 0, 1))
    assert len(again.weights) == 36
    plain = tmp_path / "plain.conll"
    plain.write_text("Grace NOUN\nruns VERB\n")
    with pytest.raises(DataError, match=r"plain.conll: expected spans as in train.conll, found plain tags"):
        tagger.audit(recipe, out=copied, folds=3, repeats=1, files=[plain], resume=True)


def test_a_finished_audit_is_resumed_without_a_training(
    recipe: Config, result: Audit, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(copied)
    monkeypatch.setattr(processes, "run_task", None)
    assert tagger.audit(recipe, out=copied, folds=3, repeats=1, resume=True, device="cpu").suspects == result.suspects
    assert tree(copied) == before


def test_an_audit_is_resumed_only_with_its_own_arguments_and_data(recipe: Config, copied: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="already holds an audit; pass `resume=True` or choose another `out`"):
        tagger.audit(recipe, out=copied, folds=3, repeats=1)
    with pytest.raises(StorageError, match="`repeats` was 1, now 2; resume the audit without this change"):
        tagger.audit(recipe, out=copied, folds=3, repeats=2, resume=True)
    with pytest.raises(ConfigError, match=r"training.epochs was 3, now 2; resume the audit without this change"):
        tagger.audit(changed(recipe, "training.epochs=2"), out=copied, folds=3, repeats=1, resume=True)
    other = tmp_path / "train.conll"
    other.write_text(tiny_corpus())
    with pytest.raises(ModelError, match="the data has changed since the audit began"):
        tagger.audit(recipe, train=other, out=copied, folds=3, repeats=1, resume=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "audit.html").write_text("mine")
    with pytest.raises(StorageError, match=r"holds audit.html and was not made by a training"):
        tagger.audit(recipe, out=tmp_path / "mine", folds=3, repeats=1)


def test_an_interrupted_audit_resumes_and_equals_an_uninterrupted_one(recipe: Config, tmp_path: Path) -> None:
    short, seen = changed(recipe, "training.epochs=1", "training.batch_size=4"), 0

    class Interruption(BaseException):
        """An interruption that a training cannot catch."""

    def interrupt(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, StepEnd)
        if seen > 7:  # within the second training
            raise Interruption

    options = {"folds": 2, "repeats": 1, "device": "cpu", "resume": True}
    with pytest.raises(Interruption):
        tagger.audit(short, out=tmp_path / "out", callback=interrupt, **options)  # type: ignore[arg-type]
    finished = (tmp_path / "out" / "fold-1-1" / "counts.json").stat().st_mtime_ns
    assert not (tmp_path / "out" / "fold-1-2" / "counts.json").exists()
    resumed = tagger.audit(short, out=tmp_path / "out", **options)  # type: ignore[arg-type]
    assert (tmp_path / "out" / "fold-1-1" / "counts.json").stat().st_mtime_ns == finished
    whole = tagger.audit(short, out=tmp_path / "whole", **options)  # type: ignore[arg-type]
    assert resumed.suspects == whole.suspects
    for number in (1, 2):
        assert results(tmp_path / "out" / f"fold-1-{number}") == results(tmp_path / "whole" / f"fold-1-{number}")


def test_a_task_in_a_process_trains_on_the_sentences_of_its_positions(recipe: Config, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(dump(changed(recipe, "training.epochs=1")))
    task = Task("a", str(tmp_path / "run"), 1, str(tmp_path / "recipe.yaml"), "cpu", None, 1, (0, 1, 13))
    processes.run_task(Task(**json.loads(json.dumps(asdict(task)))))
    words = tagger.load(tmp_path / "run" / "model-best").model.words.items[2:]
    assert set(words) == {"Ada", "lives", "in", "Paris", "Oslo", "Alan", "."}


def test_plain_tags_are_audited(tmp_path: Path) -> None:
    names, verbs = ("Ada", "Bo", "Cy", "Di"), ("runs", "sits", "naps", "sings")
    lines = [f"{name} NOUN\n{verb} VERB\n. PUNCT\n" for name in names for verb in verbs]
    lines[6] = lines[6].replace("naps VERB", "naps NOUN")
    (tmp_path / "train.conll").write_text("\n".join(lines))
    config = parse_tiny_recipe(tmp_path / "train.conll", *SETTINGS)
    result = tagger.audit(config, out=tmp_path / "out", folds=2, repeats=1, device="cpu")
    row = rows(result.files.suspects)[0]
    assert (row["kind"], row["line"], row["text"], row["given"]) == ("tag", 26, "naps", "NOUN")
    assert row["alternative"] == {"type": "VERB", "start": 1, "end": 2, "text": "naps"}
    assert result.annotations == {"train.conll": 48}
    with pytest.raises(ConfigError, match="`entity_disjoint` compares the entities of sentences"):
        tagger.audit(config, out=tmp_path / "disjoint", entity_disjoint=True)


def test_the_command_prints_the_first_suspects_or_figures_in_json(recipe: Config, copied: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(dump(recipe))
    command = ["audit", str(tmp_path / "recipe.yaml"), "--out", str(copied), "--folds", "3", "--repeats", "1"]
    done = CliRunner().invoke(app, [*command, "--resume", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "72 annotations, 3 models" in done.stdout
    assert "train.conll:205 'lives': LOC" in done.stdout
    done = CliRunner().invoke(app, [*command, "--resume", "--json", "--device", "cpu"])
    figures = json.loads(done.stdout)
    assert figures["annotations"] == {"train.conll": 72}
    assert set(figures["improbable"]) >= {"type", "boundary", "missing", "spurious"}
    assert figures["files"]["weights"] == str(copied / "weights.jsonl")
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2
    assert "already holds an audit; pass --resume or choose another --out" in refused.stderr


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"folds": 1}, "`folds` must be from 2 to 100, got 1"),
        ({"repeats": 0}, "`repeats` must be from 1 to 100, got 0"),
        ({"jobs": 0}, "`jobs` must be at least 1, got 0"),
        ({"folds": 4}, "3 documents cannot be divided into 4 folds; lower `folds`"),
        ({"seed": -1}, "`seed` must be at least 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, int], fault: str, recipe: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=fault):
        tagger.audit(recipe, out=tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_entity_disjoint_folds_share_no_entity_with_the_sentences_trained_on(recipe: Config) -> None:
    sentences = tuple(
        tagger.Sentence((name, "ran"), tags=("B-PER", "O"), document=n) for n, name in enumerate("ABCABD")
    )
    for fold in folds.plan(sentences, FoldOptions(folds=3, repeats=2, entity_disjoint=True)):
        names = {sentences[position].tokens[0] for position in fold.held_out}
        others = set(range(6)) - set(fold.held_out)
        assert set(fold.train) == {position for position in others if sentences[position].tokens[0] not in names}
    same = tuple(tagger.Sentence(("A",), tags=("B-PER",), document=n) for n in range(4))
    with pytest.raises(DataError, match="every sentence shares an entity with the fold; omit `entity_disjoint`"):
        folds.plan(same, FoldOptions(folds=2, entity_disjoint=True))
