"""Lines whose tokens carry their tags after a bar."""

from io import BytesIO

import pytest

from tagger.data import reader
from tagger.data.formats import Layout
from tagger.data.sentence import Reject, Sentence
from tagger.errors import DataError


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
    assert [(record.sentences[0].tokens, record.document) for record in records] == [(("Ada",), 0), (("Eve",), 2)]
    assert [(reject.line, reject.raw) for reject in rejects] == [(2, "ran\n")]
