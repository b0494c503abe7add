import random
from dataclasses import replace
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagger.data import reader
from tagger.data.formats import Layout, columns
from tagger.data.formats.writing import WriteOptions
from tagger.data.sentence import Record, Reject, Sentence
from tagger.errors import ConfigError, DataError
from tagger.io import line_reader
from tests.robustness.runs import SCALE


def read(data: str | bytes, layout: Layout | None = None, *, tagged: bool = True) -> list[Sentence]:
    raw = data.encode() if isinstance(data, str) else data
    return list(
        reader.read_sentences(
            BytesIO(raw), input_format="columns", layout=layout or Layout(), tagged=tagged, name="x.conll"
        )
    )


def written(sentences: list[Sentence], layout: Layout | None = None) -> str:
    return "".join(line for sentence in sentences for line in columns.write(sentence, layout or Layout()))


def content(sentences: list[Sentence]) -> list[tuple]:
    return [
        (sentence.tokens, sentence.tags, sentence.document, sentence.line) for sentence in sentences if sentence.tokens
    ]


WORD = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=" \t\r\n\0\ufeff")
    | st.sampled_from("\u2028\u0085\xa0\x0b-O"),
    min_size=1,
    max_size=4,
)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, str, list[list[str]], Layout]:
    """Draws a file, what it must be once every tag is NEW, its tokens, and its layout."""
    tabs, width = draw(st.booleans()), draw(st.integers(2, 4))
    field = st.lists(WORD, min_size=1, max_size=2).map(" ".join) if tabs else WORD
    gap = st.just("\t") if tabs else st.text(" ", min_size=1, max_size=3)
    edge = st.just("") if tabs else st.text(" ", max_size=2)
    end = st.sampled_from(["\n", "\r\n"])
    token, tag = draw(st.permutations(range(width)))[:2]
    before = after = draw(st.sampled_from(["", "\ufeff"]))
    tokens: list[list[str]] = []
    for _ in range(draw(st.integers(1, 3))):
        tokens.append([])
        for _ in range(draw(st.integers(1, 3))):
            fields, gaps = draw(st.tuples(*[field] * width)), draw(st.tuples(*[gap] * (width - 1)))
            left, right, close = draw(edge), draw(edge), draw(end)
            tokens[-1].append(fields[token])
            changed = [*fields[:tag], "NEW", *fields[tag + 1 :]]
            before += left + "".join(a + b for a, b in zip(fields, (*gaps, ""), strict=True)) + right + close
            after += left + "".join(a + b for a, b in zip(changed, (*gaps, ""), strict=True)) + right + close
        blank = "".join(draw(st.lists(st.builds(str.__add__, st.text(" \t", max_size=2), end), min_size=1, max_size=3)))
        before, after = before + blank, after + blank
    if draw(st.booleans()):
        before, after = before.rstrip("\r\n"), after.rstrip("\r\n")
    return before, after, tokens, Layout(token, tag - width if draw(st.booleans()) else tag)


@settings(deadline=None)
@given(documents())
def test_written_lines_differ_from_read_lines_only_in_the_tags(drawn: tuple):
    before, after, tokens, layout = drawn
    sentences = read(before, layout)
    assert [list(sentence.tokens) for sentence in sentences] == tokens
    assert written(sentences, layout) == before
    assert written([replace(sentence, tags=("NEW",) * len(sentence)) for sentence in sentences], layout) == after


@settings(deadline=None, max_examples=100 * SCALE)
@given(documents())
def test_line_ends_a_byte_order_mark_and_a_missing_last_line_end_do_not_change_the_data(drawn: tuple):
    before, _, _, layout = drawn
    clean = before.removeprefix("\ufeff").replace("\r\n", "\n")
    expected = content(read(clean, layout))
    for variant in ("\ufeff" + clean, clean.replace("\n", "\r\n"), clean.rstrip("\n"), clean + "\n \n"):
        assert content(read(variant, layout)) == expected


@pytest.mark.parametrize("width", range(1, 13))
def test_rows_of_any_length_are_read_and_a_row_of_another_length_is_reported(width: int):
    row = " ".join(f"field{number}" for number in range(width))
    assert read(f"{row}\n{row}\n", tagged=False)[0].tokens == ("field0", "field0")
    if width > 1:
        assert read(row)[0].tags == (f"field{width - 1}",)
        with pytest.raises(DataError, match=rf"^x.conll:3: expected {width} columns as above, found {width - 1} in "):
            read(f"{row}\n\n{row.rsplit(' ', 1)[0]}", tagged=False)
    with pytest.raises(DataError, match=rf"^x.conll:2: expected {width} columns as above, found {width + 1} in "):
        read(f"{row}\n{row} more\n", tagged=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("codes\n", r"x.conll:1: expected at least 2 columns, found 1 in 'codes'. Are the token and tag columns"),
        ("a X\n\nb  X  Y\n", r"x.conll:3: expected 2 columns as above, found 3 in 'b  X  Y'. Are sentences separated"),
        ("a X\nb\tX\n", r"x.conll:2: expected spaces between columns as above, found a tab in 'b\\tX'"),
        ("a\tX\nb X\n", r"x.conll:2: expected 2 columns as above, found 1 in 'b X'"),
        ("a\tX\nb\t\n", r"x.conll:2: expected a value in column -1, found none in 'b\\t'"),
        ("\tX\n", r"x.conll:1: expected a value in column 0, found none in '\\tX'"),
        (f"a X\n{'b' * 70}\n", rf"x.conll:2: .* found 1 in '{'b' * 60}…'"),
    ],
)
def test_an_invalid_row_is_reported_with_line_and_expected_value(text: str, message: str):
    with pytest.raises(DataError, match=f"^{message}"):
        read(text)


@pytest.mark.parametrize(
    ("layout", "tagged", "message"),
    [
        (
            Layout(0, 3),
            True,
            r"expected at least 4 columns, found 2 in 'EU NNP'. Are the token and tag columns the right",
        ),
        (Layout(0, -2), True, r"expected token and tag in different columns, found one in 'EU NNP'"),
        (
            Layout(0, 3, fixed=True),
            False,
            r"tags cannot be written to column 3 of 'EU NNP'; expected a column other than",
        ),
        (
            Layout(0, 0, fixed=True),
            False,
            r"tags cannot be written to column 0 of 'EU NNP'; expected a column other than",
        ),
    ],
)
def test_columns_that_do_not_fit_the_first_row_are_reported_with_its_line(layout: Layout, tagged: bool, message: str):
    with pytest.raises(DataError, match=rf"^x.conll:1: {message}"):
        read("EU NNP\n", layout, tagged=tagged)


@pytest.mark.parametrize(
    ("layout", "token", "tag"),
    [
        (Layout(), "EU", "I-NP"),
        (Layout(0, 1), "EU", "NNP"),
        (Layout(-2, -3), "NNP", "EU"),
        (Layout("word", "pos", ("word", "pos", "chunk")), "EU", "NNP"),
    ],
)
def test_a_column_is_a_number_a_number_from_the_end_or_a_name(layout: Layout, token: str, tag: str):
    assert content(read("EU NNP I-NP\n", layout)) == [((token,), (tag,), 0, 1)]


def test_a_missing_column_is_an_error():
    with pytest.raises(ConfigError, match="no column is called 'ner'; the columns are word, pos"):
        read("EU NNP\n", Layout("word", "ner", ("word", "pos")))
    with pytest.raises(ConfigError, match=r"the columns are none: name them in data\.columns"):
        read("EU NNP\n", Layout(0, "ner"))
    with pytest.raises(ConfigError, match="without a tag column"):
        read("EU NNP\n", Layout(tag=None))
    with pytest.raises(DataError, match=r"x\.conll:1: expected at least 4 columns, found 2"):
        read("EU NNP\n", Layout(0, 3))


DOCUMENTS = "-DOCSTART- -X- O\n\nEU B-X\nsays O\n-DOCSTART- O\n\nno O\n\n-DOCSTART-\n\nyes O\n\nno O\n"


def test_document_starts_separate_sentences_and_are_written_back():
    sentences = read(DOCUMENTS)
    assert [(sentence.document, sentence.line, sentence.tokens) for sentence in sentences] == [
        (0, 3, ("EU", "says")),
        (1, 7, ("no",)),
        (2, 11, ("yes",)),
        (2, 13, ("no",)),
    ]
    assert written(sentences) == DOCUMENTS


def test_sentences_before_the_first_document_start_are_a_document():
    assert [sentence.document for sentence in read(DOCUMENTS.split("\n\n", 1)[1])] == [0, 1, 2, 2]


@pytest.mark.parametrize(
    "text", ["\n", "\r\n \n\t\n", "\ufeff", "\ufeff\n", "-DOCSTART- O\n", "\ufeff-DOCSTART-\tO\n\n\n"]
)
def test_lines_outside_sentences_form_a_sentence_without_tokens(text: str):
    (only,) = read(text)
    assert (only.tokens, only.tags, only.line) == ((), (), 0)
    assert written([only]) == text


def test_an_empty_file_has_no_sentences():
    assert read("") == []


@pytest.mark.parametrize(
    ("layout", "before", "after"),
    [
        (Layout(), "EU\nsays \n", "EU NEW\nsays NEW \n"),
        (Layout(), "\ufeffEU\r\n", "\ufeffEU NEW\r\n"),
        (Layout(tag=None), "EU  NNP\n", "EU  NNP  NEW\n"),
        (Layout(tag=None), "EU\tNNP", "EU\tNNP\tNEW"),
        (Layout(0, 3), "EU NNP I-NP\n", "EU NNP I-NP NEW\n"),
        (Layout(1, -2), " a b", " NEW b"),
        (Layout(tag=None), "a b \n", "a b NEW \n"),
        (Layout(), "\ufeff\ufeff\nb\n", "\ufeff\ufeff NEW\nb NEW\n"),
        (Layout(1, 0), "\ufeffa b\n", "\ufeffNEW b\n"),
        (Layout(tag=None), "a X\n\n\ufeff-DOCSTART- Y\nb Z\n", "a X NEW\n\n\ufeff-DOCSTART- Y NEW\nb Z NEW\n"),
        (Layout(tag=None), "a\n\n\ufeff\nb\n", "a NEW\n\n\ufeff NEW\nb NEW\n"),
    ],
)
def test_a_file_without_a_tag_column_gets_one_at_the_end(layout: Layout, before: str, after: str):
    sentences = read(before, layout, tagged=False)
    assert [sentence.tags for sentence in sentences if sentence.tags] == []
    assert written([replace(sentence, tags=("NEW",) * len(sentence)) for sentence in sentences], layout) == after


def test_a_sentence_of_another_format_is_written_as_token_and_tag():
    lines = columns.write_new(Sentence(("EU", "says"), tags=("B-X", "O"), raw=("EU says\n",)), " ")
    assert "".join(lines) == "EU B-X\nsays O\n\n"


PIECES = [
    b" ",
    b" ",
    b"\t",
    b"\n",
    b"\n",
    b"\r\n",
    b"a",
    b"B-X",
    b"O",
    b"-DOCSTART-",
    b"a O\n",
    b"b O\n",
    b"\0",
    b"\xff",
]
PIECES += ["\ufeff".encode(), "\u2028".encode(), "\x85\xa0é".encode(), b"\n\n"]


def test_random_bytes_are_written_back_unchanged_or_refused():
    draw, kept = random.Random(3), 0
    for _ in range(4000 * SCALE):
        data = b"".join(draw.choices(PIECES, k=draw.randint(0, 12)))
        layout, tagged = draw.choice([Layout(), Layout(0, 1), Layout(tag=None), Layout(-1, 0)]), draw.random() < 0.5
        try:
            sentences = read(data, layout, tagged=tagged and layout.tag is not None)
        except DataError:
            continue
        assert "".join("".join(sentence.raw) for sentence in sentences).encode() == data
        tagged_anew = [replace(sentence, tags=("NEW",) * len(sentence)) for sentence in sentences]
        again = read(written(tagged_anew, layout), tagged=False)
        assert [len(one) for one in again] == [len(one) for one in sentences]
        assert written(tagged_anew, layout).count("NEW") == sum(map(len, sentences))
        kept += any(sentence.tokens for sentence in sentences)
    assert kept > 500


FIELD = st.sampled_from(["EU", "B-X", "O", "\xa0", "\u2028", "é", "\\", "\x0b"])
PLAIN = st.lists(st.lists(st.tuples(FIELD, FIELD, FIELD, st.sampled_from(["O", "B-X"])), min_size=1, max_size=4))
LAYOUTS = [Layout(), Layout(0, 3), Layout(1, 2), Layout(3, 0), Layout(tag=None), Layout(0, 7), Layout(-2, -4)]


@settings(deadline=None, max_examples=100 * SCALE)
@given(PLAIN, st.sampled_from(LAYOUTS), st.sampled_from(" \t"))
def test_simple_rows_are_read_and_tagged_like_all_rows(given_rows: list, layout: Layout, gap: str):
    text = "".join("".join(gap.join(row) + "\n" for row in rows) + "\n" for rows in given_rows)
    twin = text.replace("\n", "\r\n") if gap == "\t" else text.replace(" ", "  ").replace("\n", " \n")
    sentences, others = read(text, layout, tagged=False), read(twin, layout, tagged=False)
    assert [sentence.tokens for sentence in sentences] == [
        tuple(row[layout.token] for row in rows) for rows in given_rows
    ]
    assert content(sentences) == content(others)
    tagged, twins = ([replace(one, tags=("NEW",) * len(one)) for one in found] for found in (sentences, others))
    back = written(twins, layout)
    assert written(tagged, layout) == (
        back.replace("\r", "") if gap == "\t" else back.replace("  ", " ").replace(" \n", "\n")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a X\n\n b\n", r"x.conll:3: expected 2 columns as above, found 1 in ' b'"),
        ("a X\n\nb \n", r"x.conll:3: expected 2 columns as above, found 1 in 'b '"),
        ("a b X\n\nb  X\n", r"x.conll:3: expected 3 columns as above, found 2 in 'b  X'"),
        ("a X\n\nb X\nc X Y\n", r"x.conll:4: expected 2 columns as above, found 3 in 'c X Y'"),
        ("a X\n\nb\tX Y\n", r"x.conll:3: expected spaces between columns as above, found a tab in 'b\\tX Y'"),
        ("a\tX\n\n\tX\n", r"x.conll:3: expected a value in column 0, found none in '\\tX'"),
        ("a\tX\n\nb\t\n", r"x.conll:3: expected a value in column -1, found none in 'b\\t'"),
    ],
)
def test_an_invalid_row_is_reported_in_later_sentences_too(text: str, message: str):
    with pytest.raises(DataError, match=f"^{message}"):
        read(text)


def test_a_document_start_with_as_many_columns_as_a_row_is_not_a_token():
    sentences = read("a X\n\n-DOCSTART- X\nb Y\n\nc Y\n-DOCSTART- X\n")
    assert content(sentences) == [(("a",), ("X",), 0, 1), (("b",), ("Y",), 1, 4), (("c",), ("Y",), 1, 6)]


def read_with_rejects(data: str | bytes, layout: Layout | None = None) -> tuple[list[Sentence], list[Reject]]:
    rejects: list[Reject] = []
    runs = line_reader.read_runs(
        BytesIO(data.encode() if isinstance(data, str) else data), "x.conll", line_reader.Unreadable
    )
    found = columns.read(runs, "x.conll", layout or Layout(), tagged=True, reject=rejects.append)
    return list(found), rejects


def test_unreadable_blocks_are_rejected_and_reading_continues():
    data = b"-DOCSTART- O\n\na O\n\nb O\nc\nd O\n\n\ne O\n\nf O\n-DOCSTART- O\ng\xff O\n \nh O\n"
    sentences, rejects = read_with_rejects(data)
    assert content(sentences) == [(("a",), ("O",), 0, 3), (("e",), ("O",), 0, 10), (("h",), ("O",), 1, 16)]
    assert [(reject.line, reject.raw) for reject in rejects] == [
        (5, "b O\nc\nd O\n\n\n"),
        (12, "f O\n-DOCSTART- O\ng\udcff O\n \n"),
    ]
    assert rejects[0].fault.startswith("x.conll:6: expected 2 columns as above, found 1 in 'c'")
    assert rejects[1].fault.startswith("x.conll:14: byte 2 is 0xff")
    _, rejects = read_with_rejects(b"a O\n\nb O\n\xe9 O\n\nc\0 O\n")
    assert [reject.raw for reject in rejects] == ["b O\n\udce9 O\n\n", "c\0 O\n"]


def test_a_rejected_block_does_not_set_the_column_count_but_counts_documents():
    sentences, rejects = read_with_rejects("a b O\nc O\n\n-DOCSTART-\n\nd\tO\n\ne\tO\n")
    assert content(sentences) == [(("d",), ("O",), 1, 6), (("e",), ("O",), 1, 8)]
    assert [reject.raw for reject in rejects] == ["a b O\nc O\n\n"]


def test_sentences_and_rejects_together_are_the_file():
    draw, several = random.Random(4), 0
    for _ in range(2000 * SCALE):
        data = b"".join(draw.choices(PIECES, k=draw.randint(0, 16)))
        sentences, rejects = read_with_rejects(data)
        raw = "".join(line for one in sentences for line in one.raw) + "".join(one.raw for one in rejects)
        assert sorted(raw) == sorted(data.decode(errors="surrogateescape"))
        assert all(reject.fault.startswith("x.conll:") for reject in rejects)
        several += len(sentences) > 1 and bool(rejects)
    assert several > 20


@pytest.mark.parametrize(
    ("text", "layout", "expected"),
    [
        ("a O\nb O\n\n", Layout(), "a X 0.250000\nb Y 1.000000\n\n"),
        ("a O\nb O\n\n", Layout(tag=None), "a O X 0.250000\nb O Y 1.000000\n\n"),
        ("a\tO\tZ\r\nb\tO\tZ", Layout(0, 1), "a\tX\tZ\t0.250000\r\nb\tY\tZ\t1.000000"),
        ("a\tO\tZ\nb\tO\tZ\n", Layout(0, 1), "a\tX\tZ\t0.250000\nb\tY\tZ\t1.000000\n"),
        ("a\nb  \n", Layout(tag=None), "a X 0.250000\nb Y 1.000000  \n"),
    ],
)
def test_probabilities_become_the_last_column(text: str, layout: Layout, expected: str):
    (sentence,) = read(text, layout, tagged=False)
    tagged = replace(sentence, tags=("X", "Y"))
    assert "".join(columns.write(tagged, layout, probabilities=(0.25, 1.0))) == expected
    anew = "".join(columns.write_new(tagged, "\t", probabilities=(0.25, 1.0)))
    assert anew == "a\tX\t0.250000\nb\tY\t1.000000\n\n"


@pytest.mark.parametrize(("width", "patterns"), [(100, 1), (101, 0), (300_000, 0)])
def test_rows_of_many_columns_are_read_without_a_pattern(monkeypatch: pytest.MonkeyPatch, width: int, patterns: int):
    made: list[int] = []
    honest = columns._row_pattern
    monkeypatch.setattr(columns, "_row_pattern", lambda *given, **more: (made.append(1), honest(*given, **more))[1])
    row = "a " * (width - 1) + "O\n\n"
    assert content(read(row * 3)) == [(("a",), ("O",), 0, line) for line in (1, 3, 5)]
    assert len(made) == patterns


COMMENTS = {
    "ids": "# id 0000\nAda _ B-PER\nran _ O\n\n# id 0001\n# 1 O\nsold _ O\n\n#tag _ O\n\n",
    "tabs": "#\thttp://example.org [2009]\n1\tAda\tB-PER\n2\tran\tO\n\n#\tx y\n1\t#\tO\n2\tsold\tO\n\n1\t#tag\tO\n\n",
}


@pytest.mark.parametrize("text", COMMENTS.values(), ids=COMMENTS)
def test_comments_at_the_start_of_sentences_are_no_tokens_and_hashtags_are(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    layout = Layout(1 if "\t" in text else 0, -1)
    with caplog.at_level("INFO", logger="tagger"):
        sentences = read(text, layout)
    assert [sentence.tokens for sentence in sentences] == [("Ada", "ran"), ("#", "sold"), ("#tag",)]
    assert [sentence.line for sentence in sentences] == [2, 6, 9]
    assert sentences[0].tags == ("B-PER", "O")
    assert written(sentences, layout) == text
    assert columns.count_columns(sentences[0]) == 3
    assert caplog.text.count("x.conll:1: lines such as '#") == 1
    renamed = [replace(sentence, tags=("X",) * len(sentence)) for sentence in sentences]
    assert written(renamed, layout).count("X\n") == 5


def test_comments_start_as_the_setting_says() -> None:
    text = "% made by hand\n\n% one\n# O\nAda B-PER\n\n"
    sentences = read(text, Layout(comments="%"))
    assert [sentence.tokens for sentence in sentences] == [("#", "Ada")]
    assert written(sentences) == text


def test_without_comments_each_line_is_a_token() -> None:
    assert read("# id O\nAda _ O\n\n", Layout(comments="none"))[0].tokens == ("#", "Ada")


def test_rows_of_the_same_number_of_columns_that_start_with_a_hash_are_tokens() -> None:
    assert [sentence.tokens for sentence in read("# O\n1 O\n\n# O\n\n#id O\na O\n")] == [
        ("#", "1"),
        ("#",),
        ("#id", "a"),
    ]
    assert read("# id = 5\tO\nrun\tO\n")[0].tokens == ("# id = 5", "run")


def test_a_new_document_starts_at_a_comment() -> None:
    text = "# newdoc id = a\nAda O\n\nran O\n\n# newdoc\n# id 5\nEve O\n\n"
    sentences = read(text)
    assert [(sentence.tokens[0], sentence.document) for sentence in sentences] == [("Ada", 0), ("ran", 0), ("Eve", 1)]
    assert written(sentences) == text


CONLL_2012 = """\
#begin document (x/y/00); part 000
x/y   0   0   Ada     NNP   (S(NP*   run   (PERSON*   (ARG0*   -
x/y   0   1   Lovel   NNP   *)       -     *)         *)       -
x/y   0   2   ran     VBD   *)       -     *          (V*)     -

x/y   0   0   .       .     (S*)     -     *   -

#end document
#begin document (x/y/01); part 000
x/y   0   0   Oslo    NNP   (S*)     -     (GPE)   -
#end document
"""


def test_documents_of_conll_2012_have_rows_of_several_lengths_and_begin_and_end_lines() -> None:
    layout = Layout(3, 7)
    sentences = [sentence for sentence in read(CONLL_2012, layout) if sentence.tokens]
    assert [sentence.tokens for sentence in sentences] == [("Ada", "Lovel", "ran"), (".",), ("Oslo",)]
    assert [sentence.tags for sentence in sentences] == [("(PERSON*", "*)", "*"), ("*",), ("(GPE)",)]
    assert [sentence.document for sentence in sentences] == [0, 0, 1]
    assert [sentence.line for sentence in sentences] == [2, 6, 10]
    assert written(read(CONLL_2012, layout), layout) == CONLL_2012


def test_a_header_line_is_an_error_that_names_it() -> None:
    with pytest.raises(DataError, match=r"x.conll:1: found the header line 'token\\ttag'; remove it, or .* csv"):
        read("token\ttag\nAda\tB-PER\n")
    assert read("text NN\ntoken NN\n")[0].tokens == ("text", "token")


def test_a_file_whose_lines_end_with_carriage_returns_alone_is_an_error() -> None:
    with pytest.raises(DataError, match=r"x\.conll:1: found lines that end with carriage returns alone"):
        read("Ada B-PER\rran O\r\rEve B-PER\r")


@pytest.mark.parametrize(("has_spaces", "separator"), [(True, "\t"), (False, " ")])
def test_new_columns_of_tags_with_spaces_have_tabs_and_are_read_back(has_spaces: bool, separator: str) -> None:
    tags = ("B-Titre 1", "O") if has_spaces else ("B-Titre", "O")
    options = WriteOptions("lines", Layout(0, None), has_spaces=has_spaces)
    text = columns.make_sink(options).write([Record((Sentence(("Ada", "ran"), tags=tags),))]).decode()
    assert text == f"Ada{separator}{tags[0]}\nran{separator}O\n\n"
    assert [sentence.tags for sentence in read(text)] == [tags]


def test_a_tag_with_a_space_written_into_columns_with_spaces_is_read_back() -> None:
    tags = ("B-Titre 1", "O")
    (sentence,) = read("Ada _\nran _\n\n")
    (again,) = read(written([replace(sentence, tags=tags)]))
    assert again.tags == tags
