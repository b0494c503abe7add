import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import datasets
import pytest

from tagger.data import reader
from tagger.data.formats import Layout, hub
from tagger.data.formats.reading import AnnotationOptions, Fields, ReadOptions
from tagger.data.sentence import Sentence
from tagger.errors import DataError
from tests.robustness.runs import SCALE, child, ended

NAMED = datasets.Features(
    {
        "id": datasets.Value("string"),
        "tokens": datasets.List(datasets.Value("string")),
        "ner_tags": datasets.List(datasets.ClassLabel(names=["O", "B-PER", "I-PER"])),
    }
)
ROWS = {"id": ["1", "2"], "tokens": [["Ada", "Lovelace"], ["no"]], "ner_tags": [[1, 2], [0]]}
EXPECTED = [
    Sentence(("Ada", "Lovelace"), tags=("B-PER", "I-PER"), line=1),
    Sentence(("no",), tags=("O",), document=1, line=2),
]


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def made(rows: dict = ROWS, features: datasets.Features | None = NAMED) -> datasets.Dataset:
    return datasets.Dataset.from_dict(rows, features)


def read(path: Path, split: str = "train", tag: str = "ner_tags") -> list[Sentence]:
    annotations = AnnotationOptions(Fields(tokens="tokens", tags=tag, spans=tag))
    options = ReadOptions(f"{path}, split {split}", Layout(), annotations=annotations)
    records = hub.read_tagged_records(str(path), split, None, options)
    return [sentence for record in records for sentence in record.sentences]


def parquet(folder: Path, name: str, dataset: datasets.Dataset) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    dataset.to_parquet(folder / name)


@pytest.mark.parametrize("pattern", ["{}.parquet", "{}-00000-of-00001.parquet", "data/{}-0.parquet", "{}/0000.parquet"])
def test_parquet_files_are_read_by_the_split_in_their_name(tmp_path: Path, pattern: str):
    folder = tmp_path / "corpus"
    parquet(folder, pattern.format("train"), made())
    parquet(folder, pattern.format("validation"), made().select([1]))
    assert read(folder) == EXPECTED
    assert [sentence.tokens for sentence in read(folder, "validation")] == [("no",)]
    with pytest.raises(DataError, match=r"corpus: no split 'test'; it has train, validation$"):
        read(folder, "test")


def test_the_shards_of_a_split_are_read_in_order(tmp_path: Path):
    for shard in range(3):
        row = {"id": ["x"], "tokens": [[f"token{shard}"]], "ner_tags": [[0]]}
        parquet(tmp_path / "corpus", f"train-0000{shard}-of-00003.parquet", made(row))
    assert [sentence.tokens for sentence in read(tmp_path / "corpus")] == [("token0",), ("token1",), ("token2",)]


def test_a_single_parquet_file_is_any_split(tmp_path: Path):
    parquet(tmp_path, "some.parquet", made())
    assert read(tmp_path / "some.parquet", "test") == EXPECTED


def test_a_saved_dataset_and_a_saved_dict_of_splits_are_read(tmp_path: Path):
    made().save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": made(), "dev": made().select([1])}).save_to_disk(tmp_path / "dict")
    assert read(tmp_path / "one") == read(tmp_path / "dict") == EXPECTED
    with pytest.raises(DataError, match=r"dict: no split 'test'; it has train, dev$"):
        read(tmp_path / "dict", "test")


def test_tags_may_be_strings(tmp_path: Path):
    made({"tokens": [["a", "b"]], "pos": [["NN", "VB"]]}, None).save_to_disk(tmp_path / "one")
    assert read(tmp_path / "one", tag="pos")[0].tags == ("NN", "VB")


def test_a_corpus_is_named_after_dataset_and_split_and_must_have_a_sentence(tmp_path: Path):
    made().save_to_disk(tmp_path / "conll")
    layout = Layout("tokens", "ner_tags")
    found = reader.read_dataset(str(tmp_path / "conll"), "train", layout=layout, revision=None)
    assert (found.name, found.tokens) == ("conll:train", 3)
    made({"id": [""], "tokens": [[]], "ner_tags": [[]]}).save_to_disk(tmp_path / "empty")
    with pytest.raises(DataError, match=r"empty, split train: holds no sentence$"):
        reader.read_dataset(str(tmp_path / "empty"), "train", layout=layout, revision=None)


def test_a_missing_column_is_reported_with_the_existing_columns(tmp_path: Path):
    made().save_to_disk(tmp_path / "one")
    with pytest.raises(DataError, match=r"one: no column 'tag' in split 'train'; it has id, tokens, ner_tags$"):
        read(tmp_path / "one", tag="tag")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            {"tokens": [["a"], ["a", "b"]], "ner_tags": [["O"], ["O"]]},
            "row 1: expected 2 tags in 'ner_tags', one per token, found 1",
        ),
        ({"tokens": ["a b"], "ner_tags": ["O O"]}, "row 0: expected a list as 'tokens', found \"a b\""),
        ({"tokens": [["a", ""]], "ner_tags": [["O", "O"]]}, "row 0: expected a string that is not empty as token 2"),
        ({"tokens": [["a", "\n"]], "ner_tags": [["O", "O"]]}, r"row 0: the token '\\n' has a line break"),
        ({"tokens": [[1]], "ner_tags": [["O"]]}, "row 0: expected a string that is not empty as token 1, found 1"),
        ({"tokens": [["a"]], "ner_tags": [[3]]}, "row 0: the tag 3 in 'ner_tags' has no name"),
        (
            {"tokens": [["a", "b"]], "ner_tags": [["O", None]]},
            "row 0: expected a string as a tag in 'ner_tags', found null",
        ),
        ({"tokens": [["a"]], "ner_tags": [[""]]}, "row 0: expected a string as a tag in 'ner_tags', found \"\""),
    ],
)
def test_a_row_that_is_not_a_tagged_sentence_is_reported(tmp_path: Path, rows: dict, message: str):
    made(rows, None).save_to_disk(tmp_path / "bad")
    with pytest.raises(DataError, match=f"bad, split train, {message}"):
        read(tmp_path / "bad")


def empty(path: Path) -> None:
    path.mkdir()


def damaged(path: Path) -> None:
    path.mkdir()
    (path / "train.parquet").write_bytes(b"PAR1 no parquet")


def cut_short(path: Path) -> None:
    parquet(path, "train.parquet", made())
    data = (path / "train.parquet").read_bytes()
    (path / "train.parquet").write_bytes(data[: len(data) // 2] + data[-400:])


def unlike(path: Path) -> None:
    parquet(path, "train-0.parquet", made())
    parquet(path, "train-1.parquet", made({"words": ["a"]}, None))


def without_state(path: Path) -> None:
    made().save_to_disk(path)
    (path / "dataset_info.json").unlink()


def with_half_a_table(path: Path) -> None:
    made().save_to_disk(path)
    (table,) = path.glob("*.arrow")
    table.write_bytes(table.read_bytes()[:300])


def with_an_empty_state(path: Path) -> None:
    made().save_to_disk(path)
    (path / "state.json").write_text("{}")


FAULTS = [empty, damaged, cut_short, unlike, without_state, with_half_a_table, with_an_empty_state, lambda path: None]


@pytest.mark.parametrize("make", FAULTS)
def test_the_error_for_a_path_without_a_dataset_is_one_line(tmp_path: Path, make: Callable[[Path], None]):
    make(tmp_path / "no corpus")
    with pytest.raises(
        DataError, match=r"no corpus: (expected Parquet files or a saved|cannot be read as a dataset: .)"
    ) as caught:
        read(tmp_path / "no corpus")
    assert "\n" not in str(caught.value)


VALUES: list[Any] = [None, [], {}, "", -1, 1e300, 10**30, "x" * 100, [[]], {"a": 1}, "/etc/passwd", "../..", True]


def spoil(path: Path, random: Random) -> None:
    """Damages a file: JSON keeps its syntax half of the time."""
    data = bytearray(path.read_bytes())
    way = random.choice(["value", "value", "cut", "bytes", "random", "deep", "gone"])
    if way == "value" and path.suffix == ".json":
        found = json.loads(data)
        inner = found
        while isinstance(inner, dict | list) and inner:
            key = random.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
            if not isinstance(inner[key], dict | list) or not inner[key] or random.random() < 0.3:
                inner[key] = random.choice(VALUES)
                break
            inner = inner[key]
        data = bytearray(json.dumps(found).encode())
    elif way == "cut":
        del data[random.randrange(len(data)) :]
    elif way == "random":
        data = bytearray(random.randbytes(random.randrange(300)))
    elif way == "deep":
        data = bytearray(b"[" * 100_000)
    else:
        for _ in range(random.choice([1, 5, 50])):
            data[random.randrange(len(data))] = random.randrange(256)
    path.unlink()
    if way != "gone":
        path.write_bytes(data)


def read_spoilt(folder: Path, seeds: range) -> None:
    """Reads spoilt copies of a saved dataset and of a Parquet file; raises what is no DataError of one line."""
    logging.disable(logging.CRITICAL)
    datasets.disable_progress_bars()
    datasets.config.HF_DATASETS_CACHE, datasets.config.HF_HUB_OFFLINE = folder / "cache", True
    rows = {"id": ["1", "2"] * 50, "tokens": [["Ada", "Lovelace"], ["no"]] * 50, "ner_tags": [[1, 2], [0]] * 50}
    datasets.DatasetDict({"train": made(rows), "dev": made()}).save_to_disk(folder / "saved")
    parquet(folder / "parquet", "train.parquet", made(rows))
    for seed in seeds:
        random, work = Random(seed), folder / "work"
        shutil.copytree(folder / random.choice(["saved", "saved", "saved", "parquet"]), work)
        spoil(random.choice(sorted(path for path in work.rglob("*") if path.is_file())), random)
        faults: tuple[str, ...] = ()
        try:
            read(work)
        except DataError as error:
            faults = error.faults
        assert len(faults) <= 1
        assert not any("\n" in fault for fault in faults)
        shutil.rmtree(work)


def test_a_damaged_dataset_is_refused_in_one_line_without_a_crash(tmp_path: Path):
    process = child(read_spoilt, tmp_path, range(50 * SCALE))  # which dies if damaged memory is read
    assert ended(process, 100) == 0


def test_a_saved_dataset_with_a_fifo_or_a_device_is_refused(tmp_path: Path):
    for number, make in enumerate([os.mkfifo, lambda path: path.symlink_to("/dev/zero")]):
        made().save_to_disk(tmp_path / f"{number}")
        (tmp_path / f"{number}" / "dataset_info.json").unlink()
        make(tmp_path / f"{number}" / "dataset_info.json")
        with pytest.raises(DataError, match=r"dataset_info.json: expected a regular file in a saved dataset$"):
            read(tmp_path / f"{number}")


def test_columns_that_are_not_read_do_not_open_files(tmp_path: Path):
    picture = tmp_path / "picture.png"
    picture.touch()
    rows = ROWS | {"picture": [str(picture)] * 2}
    made(rows, datasets.Features(NAMED | {"picture": datasets.Image()})).save_to_disk(tmp_path / "one")
    picture.unlink()
    assert read(tmp_path / "one") == EXPECTED


@pytest.mark.parametrize("name", ["corpus", "./corpus", "corpus/corpus.py"])
def test_a_loading_script_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.chdir(tmp_path)
    Path("corpus").mkdir()
    for script in ("corpus/corpus.py", "corpus.py", "corpus/__init__.py"):
        Path(script).write_text(f"open({str(tmp_path / 'proof')!r}, 'w')\nimport datasets\n")
    with pytest.raises(DataError, match="corpus"):
        read(Path(name))
    assert not Path("proof").exists()
