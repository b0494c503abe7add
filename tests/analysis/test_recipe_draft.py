import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import tagger
from tagger import config, model_dir
from tagger.cli import app
from tagger.config import Config, presets
from tagger.errors import ConfigError, DataError, StorageError
from tagger.training import transfer
from tests.analysis.corpora import write

GOOD = " | ".join(["Ada/B-PER lives/O in/O York/B-LOC", "York/B-LOC is/O old/O"] * 4)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["init", *map(str, arguments)])


def test_the_recipe_of_a_folder_is_short_and_says_why(tmp_path: Path) -> None:
    write(tmp_path / "data", train=GOOD, dev=GOOD)
    done = run(tmp_path / "data", "--out", tmp_path / "mine.yaml")
    assert done.exit_code == 0, done.stderr
    text = (tmp_path / "mine.yaml").read_text()
    assert done.stdout == text
    assert text.startswith(
        f"# Drafted by `tagger init`. Train it: tagger train {tmp_path}/mine.yaml\n"
        "# train: 8 sentences, 6 distinct words\n"
        "# dev: 8 sentences, 6 distinct words\n"
        "data:\n"
        "  format: columns\n"
        "  token: 0  # such as Ada, lives, in\n"
        "  tag: 1  # spans in IOB2: LOC, PER\n"
        "  train: data/train.txt\n"
        "  dev: data/dev.txt\n"
        "model:\n"
    )
    assert "  epochs: 60  # the epoch with the best dev score is used\n  batch_size: 4\n" in text
    assert len(text.splitlines()) < 30


@pytest.mark.parametrize("kind", ["columns", "suffix", "types", "numbered", "treebank"])
def test_the_recipe_trains_as_it_is(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "columns": "Ada\tN\tB-PER\nsleeps\tV\tO\n\n",
        "suffix": "Ada\tPER_B\nLee\tPER_I\nsleeps\tO\n\n",
        "types": "Ada\tPER\nLee\tPER\nsleeps\tO\nnow\tO\n\n",
        "numbered": "1\tAda\tB-PER\n2\tsleeps\tO\n\n",
        "treebank": "1\tAda\t_\tN" + "\t_" * 5 + "\tner=B-PER\n2\tsleeps\t_\tV" + "\t_" * 6 + "\n\n",
    }
    path = tmp_path / "data" / ("all.conllu" if kind == "treebank" else "all.tsv")
    path.parent.mkdir()
    path.write_text(texts[kind] * 10)
    monkeypatch.chdir(tmp_path)
    tagger.init(Path("data") / path.name, out="recipes/mine.yaml")
    monkeypatch.chdir(tmp_path / "data")
    result = tagger.train(tmp_path / "recipes" / "mine.yaml", out=tmp_path / "run", settings={"training.epochs": 1})
    assert result.tagger.model.scheme == "IOBES"
    assert {span.type for span in result.tagger.tag([["Ada"]])[0].spans} <= {"PER"}


@pytest.mark.parametrize(
    ("sentences", "documents", "expected"),
    [
        (50, 1, (4, 60, 0.99, 0)),
        (1000, 100, (8, 40, 0.99, 0)),
        (1001, 1001, (16, 40, 0.99, 0)),
        (3000, 300, (16, 40, 0.99, 100)),
        (14_041, 946, (32, 30, 0.999, 100)),
    ],
)
def test_the_amount_of_data_decides_batches_epochs_average_and_document_context(
    sentences: int, documents: int, expected: tuple[object, ...]
) -> None:
    settings = Config.model_validate(presets.choose(sentences, documents, has_spans=True))
    training = settings.training
    context = settings.model.document_context.output_dim
    assert (training.batch_size, training.epochs, training.ema_decay, context) == expected


def test_much_data_gets_the_settings_of_the_shipped_recipes() -> None:
    for name, has_spans in (("ner-conll2003", True), ("pos-ewt", False)):
        settings = Config.model_validate(presets.choose(14_041, 946, has_spans=has_spans))
        shipped = config.load(name)
        assert (settings.model, settings.training) == (shipped.model, shipped.training)


def test_options_choose_columns_and_vectors(tmp_path: Path) -> None:
    path = tmp_path / "all.txt"
    path.write_text("B-PER Ada X\nO sleeps Y\n\n" * 5)
    (tmp_path / "vec tors.txt").write_text("Ada 1 2\n")
    done = run(path, "--token-column", 1, "--tag-column", 0, "--vectors", tmp_path / "vec tors.txt", "--json")
    settings = json.loads(done.stdout)
    relative = os.path.relpath(tmp_path)
    assert settings["data"] == {
        "format": "columns",
        "token": 1,
        "tag": 0,
        "train": f"{relative}/all.txt",
        "dev_fraction": 0.2,
    }
    assert settings["model"]["words"] == {"vectors": [f"{relative}/vec tors.txt"]}


def test_hostile_names_and_tags_cannot_add_settings(tmp_path: Path) -> None:
    folder = tmp_path / "a: b # c"
    folder.mkdir()
    path = folder / "x\ny: 1 é.txt"
    path.write_text("a\u2028b B-\u2028q\nb O\n\n" * 3)
    tagger.init(path, out=tmp_path / "mine.yaml")
    assert config.load(str(tmp_path / "mine.yaml")).data.train == str(path)


def test_an_existing_file_is_never_replaced(tmp_path: Path) -> None:
    write(tmp_path / "data", train=GOOD)
    (tmp_path / "mine.yaml").write_text("mine")
    with pytest.raises(StorageError, match=r"mine\.yaml: exists already; choose another `out`"):
        tagger.init(tmp_path / "data", out=tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text() == "mine"


def test_what_cannot_be_a_recipe_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, a=GOOD, b=GOOD, dev=GOOD)
    with pytest.raises(ConfigError, match=r"^a\.txt and b\.txt are each the train data by their names"):
        tagger.init([tmp_path / "a.txt", tmp_path / "b.txt"])
    with pytest.raises(DataError, match=r"dev\.txt: found no training data"):
        tagger.init(tmp_path / "dev.txt")
    (tmp_path / "train.txt").write_text("a O\nb\n")
    with pytest.raises(DataError, match=r"train\.txt:2: expected 2 columns"):
        tagger.init(tmp_path / "train.txt")
    with pytest.raises(ConfigError, match="`data` names a recipe"):
        tagger.init("sample")


def test_a_folder_in_brat_is_training_data(tmp_path: Path) -> None:
    (tmp_path / "ann").mkdir()
    for number in range(3):
        (tmp_path / "ann" / f"{number}.txt").write_text("Ada ran.\n")
        (tmp_path / "ann" / f"{number}.ann").write_text("T1\tPER 0 3\tAda\n")
    data = json.loads(run(tmp_path / "ann", "--json").stdout)["data"]
    assert data["format"] == "brat"
    assert Path(data["train"]).name == "ann"


def test_a_chosen_column_of_a_table_is_in_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text("word,pos,ner\nAda,N,B-PER\nran,V,O\n\nAda,N,B-PER\nran,V,O\n")
    assert json.loads(run(path, "--tag-column", "pos", "--json").stdout)["data"]["tag"] == "pos"


def test_the_recipe_of_texts_has_their_language_and_decisions_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text('{"text": "Ada ran.", "label": [[1, 3, "PER"]]}\n' * 3)
    text = tagger.init(path, settings={"data.misaligned": "contract"}, language="de").text
    assert "  language: de  # of the texts, as an ISO 639 code; it decides" in text
    assert "  misaligned: contract\n" in text
    assert f"{path}:1: PER 1-3 'da' is dropped" in caplog.text
    (tmp_path / "all.conll").write_text("Ada B-PER\nran O\n\n" * 3)
    assert "language" not in tagger.init(tmp_path / "all.conll").text


def test_a_recipe_that_starts_from_a_model_has_the_settings_of_its_network(tmp_path: Path, model_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "Ada ran.", "label": [[0, 3, "PER"]]}\n' * 3)
    draft = tagger.init(tmp_path / "train.jsonl", out=tmp_path / "mine.yaml", init_from=model_path)
    model = model_dir.load(model_path)[0]
    transfer.check_settings(model, config.load(str(tmp_path / "mine.yaml")))
    assert draft.config.model.encoder.hidden_size == 16
    assert draft.text.splitlines()[1] == f"# Start it from {model_path}: the network is the same."
    with pytest.raises(ConfigError, match="pass either `init_from` or `vectors`"):
        tagger.init(tmp_path / "train.jsonl", init_from=model_path, vectors="a.vec")
