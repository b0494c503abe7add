"""CSV and TSV: separator, quotes, header and sentences are read as a spreadsheet or pandas wrote them."""

import copy
import csv as standard
from io import BytesIO, StringIO
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
    source = BytesIO(text.encode())
    layout = layout or Layout()
    sentences = reader.read_sentences(source, input_format="csv", layout=layout, tagged=tagged, name="x.csv")
    return [sentence for sentence in sentences if sentence.tokens]


def rows(sentences: list[Sentence]) -> list[list[tuple[str, str]]]:
    return [list(zip(sentence.tokens, sentence.tags, strict=True)) for sentence in sentences]


EXPECTED = [[("Ada", "B-PER"), (",", "O")], [('"', "O"), ("ran", "O")]]


@pytest.mark.parametrize(
    "text",
    [
        'Ada,B-PER\n",",O\n\n"""",O\nran,O\n',
        'token,tag\nAda,B-PER\n",",O\n\n"""",O\nran,O\n',
        'Word;POS;Tag\nAda;NNP;B-PER\n,;,;O\n;;\n"""";``;O\nran;VBD;O\n',
        'token\ttag\nAda\tB-PER\n,\tO\n\n"\tO\nran\tO\n',
        '\ufeffSentence #,Word,POS,Tag\r\n1,Ada,NNP,B-PER\r\n,",",",",O\r\n2,"""",``,O\r\n,ran,VBD,O\r\n',
        'sentence_id,tag,token\n7,B-PER,Ada\n7,O,","\n8,O,""""\n8,O,ran\n',
    ],
    ids=["no header", "commas", "semicolons", "tabs", "empty ids", "repeated ids"],
)
def test_separator_header_and_sentences_are_found(text: str) -> None:
    assert rows(read(text)) == EXPECTED


def test_columns_are_chosen_by_name_or_number() -> None:
    text = "id,token,ner,pos\n1,Ada,B-PER,NNP\n"
    assert rows(read(text)) == [[("Ada", "NNP")]]  # the last column with the name of a tag
    assert rows(read(text, Layout("token", "ner"))) == [[("Ada", "B-PER")]]
    assert rows(read(text, Layout(1, 2))) == [[("Ada", "B-PER")]]
    assert rows(read("a,b\nAda,NNP\n", Layout("a", "b"))) == [[("Ada", "NNP")]]
    assert read("word\nAda\nran\n", tagged=False)[0].tokens == ("Ada", "ran")


@pytest.mark.parametrize(
    ("text", "layout", "message"),
    [
        ("token,tag\nAda,O,x\n", Layout(), r"x\.csv:2: expected 2 columns as above, found 3 in 'Ada,O,x'"),
        ('token,tag\n"Ada,O\nran,O\n', Layout(), r"x\.csv:2: unexpected end of data in '\"Ada,O'"),
        ("token,tag\n,O\n", Layout(), r"x\.csv:2: expected a token and a tag, found none in ',O'"),
        (
            "token,tag\nAda,O\n",
            Layout("word", "tag"),
            r"x\.csv:1: no column is called 'word'; the header has token, tag",
        ),
        ("Ada\nran\n", Layout(), r"x\.csv:1: expected token and tag in different columns"),
        ("token,tag\nAda,O\n", Layout(0, 5), r"x\.csv:1: expected a column 5, found 2"),
    ],
)
def test_a_fault_is_an_error_with_file_and_line(text: str, layout: Layout, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(text, layout)


def test_a_sentence_with_a_fault_is_rejected_as_a_whole() -> None:
    text = b"token,tag\nAda,O\nran,O,x\n\nEve,O\n\nup,\xff\n\nOslo,O\n"
    rejects: list[Reject] = []
    records = reader.read_records(
        BytesIO(text), input_format="csv", layout=Layout(), name="x.csv", reject=rejects.append
    )
    assert [record.sentences[0].tokens for record in records] == [("Eve",), ("Oslo",)]
    assert [(reject.line, reject.raw) for reject in rejects] == [(2, "Ada,O\nran,O,x\n"), (7, "up,\udcff\n")]


def test_sentences_without_an_end_are_too_large() -> None:
    text = "token,tag\n" + "Ada,O\n" * 1000
    with pytest.raises(DataError, match=r"x\.csv:168: a sentence of over 1,000 bytes; expected a blank line"):
        list(
            reader.read_sentences(
                BytesIO(text.encode()),
                input_format="csv",
                layout=Layout(),
                tagged=True,
                name="x.csv",
                max_record_bytes=1000,
            )
        )


TOKEN = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="\ufeff"), min_size=1
)


@given(st.lists(st.lists(st.tuples(TOKEN, TOKEN), min_size=1), min_size=1), st.sampled_from(",;\t"))
def test_what_the_standard_library_writes_is_read(sentences: list[list[tuple[str, str]]], delimiter: str) -> None:
    file = StringIO()
    writer = standard.writer(file, delimiter=delimiter, lineterminator="\n", quoting=standard.QUOTE_ALL)
    writer.writerow(["sentence_id", "token", "tag"])
    for number, sentence in enumerate(sentences):
        writer.writerows([number, *row] for row in sentence)
    assert rows(read(file.getvalue())) == sentences


WORDS = st.text("aé\",;|\t\u3000 '", min_size=1, max_size=4).filter(str.strip)


def written(sentences: list[Sentence]) -> str:
    """Returns sentences of JSON lines as CSV."""
    sink = make_sink("csv", WriteOptions("jsonl", Layout()))
    records = [Record((sentence,), number, number + 1) for number, sentence in enumerate(sentences)]
    return (sink.begin() + sink.write(records) + sink.end()).decode()


@given(st.lists(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4), min_size=1, max_size=4))
def test_any_words_and_tags_are_written_as_the_standard_library_reads_them(pairs: list[list[tuple[str, str]]]) -> None:
    sentences = [
        Sentence(tuple(token for token, _ in each), tags=tuple(tag for _, tag in each), line=1) for each in pairs
    ]
    text = written(sentences)
    table = [row[2:] for row in standard.reader(StringIO(text)) if row]
    assert table == [["token", "tag"], *([token, tag] for each in pairs for token, tag in each)]
    assert rows(read(text)) == pairs
    assert [sentence.document for sentence in read(text)] == list(range(len(pairs)))


def test_what_a_field_cannot_hold_is_escaped() -> None:
    (sentence,) = read(written([Sentence(("a\nb\0", "", " ", "\ufeff"), tags=("\u2003", "O", "O", "O"))]))
    assert sentence.tokens == ("a\\nb\\0", "_", "\\x20", "\\ufeff")
    assert sentence.tags[0] == "\u2003"


def test_a_file_keeps_everything_but_its_tags(tmp_path: Path) -> None:
    text = '\ufeffSentence #;Word;Tag;"a ""b"" c"\r\n1;Ada;B-PER;"x; y"\r\n;";";O;""\r\n\r\n2;"""";B-LOC;z\r\n;ran;O;'
    (tmp_path / "a.csv").write_text(text, newline="")
    tagger.convert(tmp_path / "a.csv", tmp_path / "b.csv", scheme="IOBES", types="LOC=a;b")
    expected = text.replace("B-PER", "S-PER").replace("B-LOC", '"S-a;b"')
    assert (tmp_path / "b.csv").read_bytes().decode() == expected


@pytest.mark.parametrize(
    ("text", "layout", "expected"),
    [
        ("word;x\nAda;1\n\nran;2", Layout(tag=None), "word;x;tag;probability\nAda;1;B-X;.5\n\nran;2;B-X;.5"),
        ("word,tag\nAda,O\n", Layout(tag=None), "word,tag,predicted_tag,probability\nAda,O,B-X,.5\n"),
        ("word,tag\nAda,O\n", Layout(), "word,tag,probability\nAda,B-X,.5\n"),
        ("word,tag\nAda,O\n", Layout(tag="ner", fixed=True), "word,tag,ner,probability\nAda,O,B-X,.5\n"),
        ("Ada\tO\n", Layout(tag=1), "Ada\tB-X\t.5\n"),
    ],
)
def test_tags_of_a_model_go_into_their_column_or_a_new_one(text: str, layout: Layout, expected: str) -> None:
    records = tagged(reader.read_records(BytesIO(text.encode()), input_format="csv", layout=layout, name="x"))
    sink = make_sink("csv", WriteOptions("csv", layout, probabilities=True))
    assert sink.write(copy.deepcopy(records)).decode() == expected.replace(".5", "0.500000")


def test_a_column_that_does_not_exist_is_an_error() -> None:
    layout = Layout(tag=7, fixed=True)
    with pytest.raises(DataError, match=r"x:1: tags cannot be written to column 7 of 2 in"):
        list(reader.read_records(BytesIO(b"word,tag\nAda,O\n"), input_format="csv", layout=layout, name="x"))
