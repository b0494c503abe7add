"""The data of a recipe: its parts, their kinds of tags, and their columns."""

import logging
import re
from pathlib import Path

import pytest

from tagger.config import Config, loader, parse
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
    with pytest.raises(DataError, match=r"train\.conll:11: 'I-PER' after 'O' breaks IOB2"):
        corpora.load(strict)


def test_single_files_for_a_dataset_are_refused() -> None:
    hub = parse("data: {format: datasets, dataset: x, token: tokens, tag: tags}", "recipe.yaml")
    with pytest.raises(ConfigError, match="the recipe reads a dataset"):
        corpora.with_paths(hub, folder=None, parts={"train": Path("a.conll")}, vectors=())


def test_the_model_learns_the_number_of_its_columns(tmp_path: Path) -> None:
    wide = config(tmp_path, train="Ada NNP B-PER\nran VBD O\n", dev="Ada NNP B-PER\n")
    known = corpora.with_resolved_columns(wide, corpora.load(wide).train)
    assert (known.data.token, known.data.tag) == (0, 2)


def test_columns_by_name_become_numbers_too(tmp_path: Path) -> None:
    named = config(tmp_path, train="NNP Ada B-PER x\n", dev="NNP Ada B-PER x\n")
    names = {"columns": ("pos", "token", "ner", "rest"), "token": "token", "tag": "ner"}
    named = named.model_copy(update={"data": named.data.model_copy(update=names)})
    known = corpora.with_resolved_columns(named, corpora.load(named).train)
    assert (known.data.token, known.data.tag) == (1, 2)


def test_the_tag_format_of_the_training_data_holds_for_all_parts_and_is_stored(tmp_path: Path) -> None:
    untyped = config(tmp_path, train="a B\nb I\nc O\n\nd B\n", dev="a B\nb O\n", test="a O\nb B\n")
    loaded = corpora.load(untyped)
    assert loaded.train.sentences[0].tags == ("B-_", "E-_", "O")
    assert loaded.dev.sentences[0].tags == ("B-_", "O")  # alone it would be read as plain tags
    assert loaded.test is not None
    assert loaded.test.sentences[0].tags == ("O", "B-_")
    assert corpora.with_resolved_columns(untyped, loaded.train).data.tag_format == "untyped"


def test_tags_with_an_underscore_are_refused_until_the_recipe_says_what_they_are(tmp_path: Path) -> None:
    underscores = config(tmp_path, train="a B_PER\nb I_PER\nc O\n", dev="a B_PER\n")
    with pytest.raises(DataError, match=r"set data\.tag_format to prefix"):
        corpora.load(underscores)
    for tag_format, expected in (("prefix", ("B-PER", "E-PER", "O")), ("plain", ("B_PER", "I_PER", "O"))):
        data = underscores.data.model_copy(update={"tag_format": tag_format})
        assert corpora.load(underscores.model_copy(update={"data": data})).train.sentences[0].tags == expected


def test_plain_is_refused_for_tags_that_are_spans(tmp_path: Path) -> None:
    spans = config(tmp_path, train=SPANS, dev=SPANS)
    spans = spans.model_copy(update={"data": spans.data.model_copy(update={"tag_format": "plain"})})
    with pytest.raises(DataError, match=r"omit data\.tag_format plain"):
        corpora.load(spans)


def test_a_letter_of_another_script_is_named_with_its_line_and_code_point(tmp_path: Path) -> None:
    cyrillic = config(tmp_path, train="a B-PER\nb I-PER\n\nc O\nd \u041e\n", dev=SPANS)
    with pytest.raises(DataError, match=r"train\.conll:5: .* found '\u041e' \(U\+041E\); it looks like 'O'"):
        corpora.load(cyrillic)


PARTIAL = "Ada B-PER\nsaw ?\nOslo ?\n\nAlan B-PER\nBoole I-PER\nran O\n\n"


def test_sentences_with_unknown_tags_keep_their_scheme(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = config(tmp_path, train=PARTIAL, dev=SPANS)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"unknown_tag": "?"})})
    with caplog.at_level(logging.INFO, logger="tagger"):
        loaded = corpora.load(recipe)
    assert [sentence.tags for sentence in loaded.train.sentences] == [("B-PER", "", ""), ("B-PER", "E-PER", "O")]
    assert loaded.source == "IOB2"
    assert "train.conll: unknown tags, which may be any: 2 tokens" in caplog.text


def test_dev_data_is_also_annotated_for_the_types_in_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = config(tmp_path, train=SPANS, dev=SPANS.replace("PER", "LOC"))
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"annotated_types": ("PER",)})})
    with caplog.at_level(logging.INFO, logger="tagger"):
        loaded = corpora.load(recipe)
    assert loaded.train.sentences[0].annotated_types == ("PER",)
    assert loaded.dev.sentences[0].annotated_types == ("LOC", "PER")
    assert "dev.conll is scored on spans of these types: LOC, PER" in caplog.text


@pytest.mark.parametrize(
    ("settings", "train", "message"),
    [
        ("data: {annotated_types: [NN]}", "Ada NNP\nran VBD\n", "annotated types are types of spans, but train.conll"),
        ("data: {unknown_tag: '?'}\nmodel: {head: {tag_weights: {PER: 2}}}", PARTIAL, "tag_weights needs a known tag"),
        ("data: {unknown_tag: '?', scheme: IOB1}", PARTIAL, "data.scheme must be IOB2 or IOBES"),
        ("data: {unknown_tag: '?'}", "Ada ?\nran ?\n", r"train.conll: every tag is '\?'"),
    ],
)
def test_partial_annotation_that_cannot_be_trained_is_refused(
    tmp_path: Path, settings: str, train: str, message: str
) -> None:
    recipe = parse(settings, "recipe.yaml")
    (tmp_path / "train.conll").write_text(train)
    path = str(tmp_path / "train.conll")
    data = recipe.data.model_copy(update={"train": path, "dev": path})
    with pytest.raises((ConfigError, DataError), match=message):
        corpora.load(recipe.model_copy(update={"data": data}))


@pytest.mark.parametrize("setting", ["unknown_tag: O", "{unknown_tag: '?', tag_format: types}"])
def test_settings_that_contradict_an_unknown_tag_are_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="unknown_tag"):
        parse(f"data: {setting}" if setting[0] == "{" else f"data:\n  {setting}", "recipe.yaml")


def test_the_digest_depends_on_the_annotated_types(tmp_path: Path) -> None:
    whole = config(tmp_path, train=SPANS, dev=SPANS)
    part = whole.model_copy(update={"data": whole.data.model_copy(update={"annotated_types": ("PER",)})})
    assert corpora.load(whole).digests()["train"] != corpora.load(part).digests()["train"]


@pytest.mark.parametrize(
    ("file_format", "train"),
    [("csv", "Word,Tag\nAda,B-PER\nran,O\n\nEve,B-PER\n"), ("pipes", "Ada|B-PER ran|O\nEve|B-PER\n")],
)
def test_tables_and_lines_with_bars_are_training_data(tmp_path: Path, file_format: str, train: str) -> None:
    named = config(tmp_path, train=train, dev=train)
    loaded = corpora.load(named.model_copy(update={"data": named.data.model_copy(update={"format": file_format})}))
    assert [sentence.tags for sentence in loaded.train.sentences] == [("S-PER", "O"), ("S-PER",)]


ROW = '{"text": "Ada Quill ran.", "label": [[1, 9, "PER"]]}\n'


def recipe(folder: Path, settings: str = "", **contents: str) -> Config:
    """Returns a recipe whose parts are files with these names and contents."""
    lines = []
    for (name, text), role in zip(contents.items(), ("train", "dev"), strict=False):
        (folder / name.replace("_", ".")).write_text(text)
        lines.append(f"  {role}: {folder / name.replace('_', '.')}\n")
    return parse(f"data:\n{''.join(lines)}{settings}", "recipe.yaml")


def test_each_part_is_read_in_the_format_of_its_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mixed = recipe(tmp_path, train_jsonl=ROW, dev_conll=SPANS)
    loaded = corpora.load(mixed)
    assert loaded.train.sentences[0].tags == ("B-PER", "E-PER", "O", "O")
    assert loaded.dev.sentences[0].tags == ("B-PER", "O")
    assert "misaligned spans (1): " in caplog.text
    assert "train.jsonl:1: PER 1-9 'da Quill' becomes 0-9" in caplog.text


def test_the_model_learns_format_and_tokenizer_of_texts_alone(tmp_path: Path) -> None:
    texts = recipe(tmp_path, train_jsonl=ROW, dev_conll=SPANS)
    data = corpora.with_resolved_columns(texts, corpora.load(texts).train).data
    assert data.format == "jsonl"
    assert re.fullmatch(r"spacy [0-9.]+, en, no hyphen infix", data.tokenizer or "")
    tokens = config(tmp_path, train=SPANS, dev=SPANS)
    data = corpora.with_resolved_columns(tokens, corpora.load(tokens).train).data
    assert (data.format, data.tokenizer) == ("columns", None)


@pytest.mark.parametrize(
    ("name", "settings", "fault"),
    [
        ("train_conllu", "  columns: [token, ner]\n", r"train\.conllu: is conllu by its name, but .* describe columns"),
        ("train_jsonl", "  columns: [token, ner]\n", r"train\.jsonl: is jsonl by its content, but .* describe columns"),
        ("train_conllu", "", r"train\.conllu: is conllu; set data\.tag to upos, xpos or misc:KEY"),
        ("train_conll", "  tag: upos\n", r"train\.conll: is columns by its name, but .* describe conllu"),
        ("train_jsonl", "  format: columns\n", r"train\.jsonl: is jsonl by its content, but data\.format is columns"),
    ],
)
def test_a_file_that_contradicts_the_recipe_is_refused(tmp_path: Path, name: str, settings: str, fault: str) -> None:
    contents = {"train_conllu": "1\tda\tda\tADP\t_\t_\t0\troot\t_\t_\n", "train_jsonl": ROW, "train_conll": SPANS}
    with pytest.raises(ConfigError, match=fault):
        corpora.load(recipe(tmp_path, settings, **{name: contents[name]}))


def test_a_format_that_the_recipe_names_is_read_whatever_the_name_of_the_file(tmp_path: Path) -> None:
    named = recipe(tmp_path, "  format: columns\n", train_conllu=SPANS, dev_jsonl=SPANS)
    assert corpora.load(named).train.sentences[0].tags == ("S-PER", "O")


def test_misaligned_spans_stop_the_training_if_the_recipe_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.jsonl:1: found misaligned spans: PER 1-9 'da Quill'"):
        corpora.load(recipe(tmp_path, "  misaligned: stop\n", train_jsonl=ROW, dev_conll=SPANS))


def test_a_folder_with_a_saved_dataset_is_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "state.json").touch()
    data = corpora.with_paths(Config(), folder=tmp_path, parts={"train": None}, vectors=()).data
    assert (data.format, data.dataset) == ("datasets", str(tmp_path))


@pytest.mark.parametrize(("copies", "is_logged"), [(2, True), (1, False)])
def test_a_document_of_dev_in_the_training_data_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, copies: int, is_logged: bool
) -> None:
    sentences = ["".join(f"w{number}{letter} B-PER\n" for letter in "abcdefghijkl") + "\n" for number in range(4)]
    dev = "".join([*sentences[:copies], *sentences[3:]][:2])
    shared = config(tmp_path, train=f"-DOCSTART- O\n\n{SPANS}-DOCSTART- O\n\n{''.join(sentences[:3])}", dev=dev)
    with caplog.at_level(logging.INFO, logger="tagger"):
        corpora.load(shared)
    text = "1 document of dev and test data is in an earlier part too, so that scores are too high; the first: "
    assert (text + "dev.conll:1 as train.conll:8" in caplog.text) == is_logged


def test_training_data_in_another_format_than_a_recipe_describes_is_refused_with_advice_that_helps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, columns = tmp_path / "rows.jsonl", tmp_path / "words.csv"
    rows.write_text('{"text": "Ada ran.", "label": [[0, 3, "PER"]]}\n')
    columns.write_text("token,tag\nAda,B-PER\n")
    other = ", leave these settings out, or set data.format=columns"
    for path, ending in ((rows, ""), (columns, other)):
        recipe = corpora.with_paths(loader.load("sample"), folder=None, parts={"train": path}, vectors=())
        message = f"settings describe columns; draft a recipe for this data with `tagger init`{ending}$"
        with pytest.raises(ConfigError, match=message):
            corpora.load(recipe)
    assert caplog.messages[0] == "the dev and test data of the recipe remain; pass others as `dev` and `test`"
    parts = dict.fromkeys(("train", "dev", "test"), rows)
    caplog.clear()
    corpora.with_paths(loader.load("sample"), folder=None, parts=parts, vectors=())
    assert not caplog.messages
