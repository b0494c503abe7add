from importlib import import_module
from pathlib import Path

import pytest

from tagger.choices import CorpusFormat, InputFormat, OutputFormat, TaggedFormat, options
from tagger.data import formats
from tagger.data.formats import FORMATS, names_of
from tagger.data.guessing import guess_format
from tagger.io.line_reader import COMPRESSED_SUFFIXES


def test_the_types_of_choices_name_the_formats_of_the_table():
    assert options(InputFormat) == names_of("reads")
    assert options(OutputFormat) == names_of("writes")
    assert options(TaggedFormat) == tuple(name for name in names_of("is_training_data") if name != "datasets")
    assert options(CorpusFormat) == names_of("is_training_data")


def test_every_module_of_a_format_implements_what_its_row_says():
    for name, row in FORMATS.items():
        module = import_module(f"tagger.data.formats.{row.module}")
        assert hasattr(module, "read_records") == row.reads, name
        assert hasattr(module, "read_tagged") == row.is_corpus, name
        assert hasattr(module, "read_tagged_records") == (row.is_training_data and not row.is_corpus), name
        assert hasattr(module, "make_sink") == row.writes, name


def test_every_module_is_a_format_or_shared():
    shared = {
        "__init__",
        "annotated_sentences",
        "annotations",
        "blocks",
        "escapes",
        "fields",
        "headers",
        "reading",
        "rows",
        "spacy_library",
        "text_spans",
        "writing",
    }
    folder = Path(formats.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert modules - shared == {row.module for row in FORMATS.values()}


def test_formats_that_are_written_have_a_suffix_and_hold_tags_or_spans():
    for name in names_of("writes"):
        row = FORMATS[name]
        assert row.suffixes, name
        assert row.holds_tags or row.holds_spans, name


@pytest.mark.parametrize("packed", ["", *COMPRESSED_SUFFIXES])
@pytest.mark.parametrize("name", names_of("reads"))
def test_a_format_is_guessed_from_each_of_its_suffixes(name: str, packed: str):
    for suffix in FORMATS[name].suffixes:
        assert guess_format(Path(f"a.b{suffix}{packed}")) == (name, "name")


def test_no_suffix_suggests_two_input_formats():
    suffixes = [suffix for name in names_of("reads") for suffix in FORMATS[name].suffixes]
    assert len(set(suffixes)) == len(suffixes)
