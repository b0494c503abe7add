"""Lines whose tokens carry their tags after a bar."""

import copy
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tagger
from tagger.data import reader
from tagger.data.formats import Layout
from tagger.data.formats.writing import WriteOptions
from tagger.data.sentence import Record, Reject, Sentence
from tagger.data.writer import make_sink
from tagger.errors import DataError
from tests.data.tagged import tagged


def read(text: str, layout: Layout | None = None, *, tagged: bool = True) -> list[Sentence]:
    source, layout = BytesIO(text.encode()), layout or Layout()
    return list(reader.read_sentences(source, input_format="pipes", layout=layout, tagged=tagged, name="x.txt"))


def test_a_line_is_a_sentence_of_tokens_with_fields() -> None:
    first, empty, second = read("\ufeffAda|NNP|B-PER  ran|VBD|O\n\n||SYM|O a|b|NN|O\r\n")
    assert (first.tokens, first.tags, first.line) == (("Ada", "ran"), ("B-PER", "O"), 1)
    assert empty.tokens == ()
    assert (second.tokens, second.tags, second.line) == (("|", "a|b"), ("O", "O"), 3)


def test_token_and_tag_are_chosen_by_number_or_name() -> None:
    assert read("NNP|Ada|x\n", Layout(1, 0))[0].tags == ("NNP",)
    assert read("NNP|Ada|x\n", Layout("word", "pos", ("pos", "word", "rest")))[0].tokens == ("Ada",)
    assert read("Ada ran\n", tagged=False)[0].tokens == ("Ada", "ran")


@pytest.mark.parametrize("text", ["Ada|O\nran|O up\n", "Ada|O\nran|\n", "Ada|O\n|O\n"])
def test_an_item_without_its_fields_is_an_error_with_its_line(text: str) -> None:
    with pytest.raises(DataError, match=r"x\.txt:2: expected 2 fields separated by '\|'"):
        read(text)


def test_lines_without_bars_hold_no_tags() -> None:
    with pytest.raises(DataError, match=r"x\.txt:1: expected a token and a tag separated by '\|', found 'Ada'"):
        read("Ada ran\n")


def test_a_line_with_a_fault_is_rejected() -> None:
    rejects: list[Reject] = []
    records = reader.read_records(
        BytesIO(b"Ada|O\nran\nEve|O\n"), input_format="pipes", layout=Layout(), name="x", reject=rejects.append
    )
    assert [(record.sentences[0].tokens, record.document) for record in records] == [(("Ada",), 0), (("Eve",), 0)]
    assert [(reject.line, reject.raw) for reject in rejects] == [(2, "ran\n")]


WORDS = st.text("aé| \u3000\u2028'", min_size=1, max_size=4)


@given(st.lists(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4), min_size=1, max_size=4))
def test_any_words_and_tags_are_read_as_they_were(pairs: list[list[tuple[str, str]]]) -> None:
    sentences = [Sentence(tuple(token for token, _ in each), tags=tuple(tag for _, tag in each)) for each in pairs]
    sink = make_sink("pipes", WriteOptions("jsonl", Layout()))
    text = sink.write([Record((sentence,)) for sentence in sentences]).decode()
    assert text.count("\n") == len(pairs)
    assert [list(zip(each.tokens, each.tags, strict=True)) for each in read(text)] == pairs


def test_lines_keep_everything_but_their_tags(tmp_path: Path) -> None:
    text = "\ufeff Ada|NNP|B-PER  a|b|NN|O\t\r\n\nEve|NNP|B-PER"
    (tmp_path / "a.pipes").write_text(text, newline="")
    tagger.convert(tmp_path / "a.pipes", tmp_path / "b.pipes", types="PER=X Y")
    assert (tmp_path / "b.pipes").read_bytes().decode() == text.replace("PER", "X\\x20Y")


@pytest.mark.parametrize(
    ("tag", "expected"),
    [(None, "Ada|NNP|B-X|0.500000 ran|VBD|I-X|0.500000\n"), (-1, "Ada|B-X|0.500000 ran|I-X|0.500000\n")],
)
def test_tags_of_a_model_go_into_their_field_or_a_new_one(tag: int | None, expected: str) -> None:
    layout = Layout(tag=tag)
    source = BytesIO(b"Ada|NNP ran|VBD\n")
    records = tagged(reader.read_records(source, input_format="pipes", layout=layout, name="x"))
    sink = make_sink("pipes", WriteOptions("pipes", layout, probabilities=True))
    assert sink.write(copy.deepcopy(records)).decode() == expected


def test_a_field_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(DataError, match=r"x\.txt:1: tags cannot be written to field 7 of 'Ada\|NNP'"):
        read("Ada|NNP\n", Layout(tag=7, fixed=True), tagged=False)
