"""The data of a recipe: its parts, their kinds of tags, and their columns."""

import logging
from pathlib import Path

import pytest

from tagger.config import Config, parse
from tagger.errors import ConfigError, DataError
from tagger.training import corpora

SPANS = "Ada B-PER\nran O\n\n"


def config(folder: Path, **parts: str) -> Config:
    """Returns a recipe whose data files have these contents."""
    for role, text in parts.items():
        (folder / f"{role}.conll").write_text(text)
    lines = "".join(f"  {role}: {folder / role}.conll\n" for role in parts)
    return parse(f"data:\n{lines}", "recipe.yaml")


def test_only_training_tags_are_converted_to_the_scheme_of_the_model(tmp_path: Path) -> None:
    loaded = corpora.load(config(tmp_path, train=SPANS, dev=SPANS, test=SPANS))
    assert loaded.train.sentences[0].tags == ("S-PER", "O")
    assert loaded.dev.sentences[0].tags == ("B-PER", "O")
    assert loaded.test is not None


@pytest.mark.parametrize("part", ["dev", "test"])
def test_a_part_without_spans_is_valid(tmp_path: Path, part: str) -> None:
    loaded = corpora.load(config(tmp_path, **{"train": SPANS, "dev": SPANS, part: "it O\nran O\n"}))
    assert loaded.train.sentences[0].tags == ("S-PER", "O")


@pytest.mark.parametrize(("train", "dev"), [(SPANS, "Ada NNP\nran VBD\n"), ("Ada NNP\nran VBD\n", SPANS)])
def test_parts_with_different_kinds_of_tags_are_refused(tmp_path: Path, train: str, dev: str) -> None:
    with pytest.raises(DataError, match="the dev or test data does not"):
        corpora.load(config(tmp_path, train=train, dev=dev))


def test_invalid_tags_are_logged_and_refused_with_strict(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    invalid = config(tmp_path, train=SPANS * 3 + "Ada O\nran I-PER\n", dev=SPANS)
    with caplog.at_level(logging.INFO, logger="tagger"):
        corpora.load(invalid)
    assert "1 tags are invalid in IOB2 and are read by the rules of conlleval" in caplog.text
    strict = invalid.model_copy(update={"data": invalid.data.model_copy(update={"strict": True})})
    with pytest.raises(DataError, match="line 10: 'I-PER' after 'O' breaks IOB2"):
        corpora.load(strict)


def test_single_files_for_a_dataset_are_refused() -> None:
    hub = parse("data: {format: datasets, dataset: x, token: tokens, tag: tags}", "recipe.yaml")
    with pytest.raises(ConfigError, match="the recipe reads a dataset"):
        corpora.with_paths(hub, folder=None, parts={"train": Path("a.conll")}, vectors=())


def test_the_model_learns_the_number_of_its_columns(tmp_path: Path) -> None:
    wide = config(tmp_path, train="Ada NNP B-PER\nran VBD O\n", dev="Ada NNP B-PER\n")
    known = corpora.with_data_layout(wide, corpora.load(wide).train)
    assert (known.data.token, known.data.tag) == (0, 2)


def test_columns_by_name_become_numbers_too(tmp_path: Path) -> None:
    named = config(tmp_path, train="NNP Ada B-PER x\n", dev="NNP Ada B-PER x\n")
    names = {"columns": ("pos", "token", "ner", "rest"), "token": "token", "tag": "ner"}
    named = named.model_copy(update={"data": named.data.model_copy(update=names)})
    known = corpora.with_data_layout(named, corpora.load(named).train)
    assert (known.data.token, known.data.tag) == (1, 2)
