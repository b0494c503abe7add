"""Tag formats: each is read as tags such as B-PER; tags that only look like spans are refused or noticed."""

import logging
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.choices import TagFormat
from tagger.data import schemes, tag_formats
from tagger.data.sentence import Sentence, Span
from tagger.data.tag_formats import TagReader
from tagger.errors import DataError

READ: list[tuple[TagFormat, str, str, str]] = [
    ("prefix", "O", "B_PER I_PER O B-LOC", "B-PER I-PER O B-LOC"),
    ("prefix", "o", "b-per i-per o", "B-per I-per O"),
    ("prefix", "OUT", "B_unit_title I_unit_title OUT", "B-unit_title I-unit_title O"),
    ("suffix", "O", "PER-B PER_I O unit-title-B", "B-PER I-PER O B-unit-title"),
    ("suffix", "_", "PER-U _ LOC-B LOC-L", "U-PER O B-LOC L-LOC"),
    ("types", "O", "PER PER O LOC PER PER", "B-PER I-PER O B-LOC B-PER I-PER"),
    ("types", "-", "PER - - PER", "B-PER O O B-PER"),
    ("untyped", "O", "B I O S B M E", "B-_ I-_ O S-_ B-_ M-_ E-_"),
    ("brackets", "O", "(PERSON* *) * (GPE) (ORG* * *)", "B-PERSON I-PERSON O B-GPE B-ORG I-ORG I-ORG"),
    ("plain", "O", "B_PER O NN", "B_PER O NN"),
    ("auto", "-", "B-PER - I-PER", "B-PER O I-PER"),
]


@pytest.mark.parametrize(("tag_format", "outside", "read", "expected"), READ)
def test_each_format_is_read_as_tags_with_a_prefix(tag_format: TagFormat, outside: str, read: str, expected: str):
    assert TagReader(tag_format, outside).read_tags(read.split()) == tuple(expected.split())


REFUSED: list[tuple[TagFormat, str, str]] = [
    ("prefix", "B-PER PER", r"x.txt:8: found the tag 'PER' with data.tag_format prefix; expected 'B-PER' or 'B_PER'"),
    ("suffix", "PER-B B-PER", r"x.txt:8: found the tag 'B-PER'"),
    ("types", "PER B-PER", r"x.txt:8: found the tag 'B-PER'"),
    ("untyped", "B \u041e", r"x.txt:8: found the tag '\u041e' \(U\+041E\)"),
    ("brackets", "* (PER", r"x.txt:8: the span \(PER is not closed in its sentence"),
    ("brackets", "(PER) *)", r"x.txt:8: found the tag '\*\)'"),
]


@pytest.mark.parametrize(("tag_format", "tags", "message"), REFUSED)
def test_a_tag_of_another_form_is_an_error_with_its_line(tag_format: TagFormat, tags: str, message: str) -> None:
    sentence = Sentence(("a", "b"), tags=tuple(tags.split()), line=7, raw=("a x\n", "b y\n", "\n"))
    with pytest.raises(DataError, match=message):
        tag_formats.read_all([sentence], "x.txt", tag_format)


def test_the_line_of_a_word_of_conllu_skips_ranges_and_comments() -> None:
    raw = ("# id\n", "1\ta\n", "2-3\tbc\n", "2\tb\n", "3\tc\n", "\n")
    assert tag_formats.find_line(Sentence(("a", "b", "c"), line=10, raw=raw), 2) == 13


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(("PER", "X_Y", "a-b"))), max_size=5), st.randoms())
def test_brackets_around_random_spans_are_read_as_these_spans(gaps: list[tuple[int, str]], draw: random.Random) -> None:
    tags: list[str] = []
    spans = []
    for gap, kind in gaps:
        tags += ["*"] * gap
        length = draw.randint(1, 3)
        spans.append(Span(kind, len(tags), len(tags) + length))
        inner = [f"({kind}*", *["*"] * (length - 2), "*)"] if length > 1 else [draw.choice([f"({kind})", f"({kind}*)"])]
        tags += inner
    assert schemes.tags_to_spans(TagReader("brackets").read_tags(tags)) == tuple(spans)


def test_of_nested_brackets_the_outermost_is_kept_and_the_others_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    tags = ("(ORG(GPE)", "*", "(PER(X*)", "*))", "(A(B)", "*)")
    with caplog.at_level(logging.WARNING, logger="tagger"):
        read, _ = tag_formats.read_all([Sentence(tags, tags=tags)], "x.txt", "auto")
    assert schemes.tags_to_spans(read[0].tags) == (Span("ORG", 0, 4), Span("A", 4, 6))
    assert "x.txt: 4 nested spans are left out; the outermost are kept" in caplog.text


def sentences(*lines: str) -> list[Sentence]:
    return [Sentence(tuple(line.split()), tags=tuple(line.split())) for line in lines]


@pytest.mark.parametrize(
    ("lines", "advice"),
    [
        (["B_PER I_PER O"], "'B_PER' look like spans; set data.tag_format to prefix, or to plain"),
        (["PER-B O"], "'PER-B' look like spans; set data.tag_format to suffix, or to plain"),
        (["PER_B PER_I - -"], "'PER_B' look like spans; set data.tag_format to suffix and data.outside_tag to '-'"),
        (["B-PER I-PER OUT"], "'B-PER' look like spans; set data.tag_format to prefix and data.outside_tag to 'OUT'"),
        (["b-per i-per o"], "'b-per' look like spans; set data.tag_format to prefix and data.outside_tag to 'o'"),
    ],
)
def test_tags_that_look_like_spans_are_refused_with_the_setting_to_give(lines: list[str], advice: str) -> None:
    with pytest.raises(DataError, match=f"x.txt: tags such as {advice}"):
        tag_formats.read_all(sentences(*lines), "x.txt", "auto")


def test_types_without_prefix_are_noticed_and_stay_plain(caplog: pytest.LogCaptureFixture) -> None:
    data = sentences("PER PER O O ORG ORG O O", "LOC O O O")
    with caplog.at_level(logging.WARNING, logger="tagger"):
        read, tag_format = tag_formats.read_all(data, "x.txt", "auto")
    assert list(read) == data
    assert tag_format == "plain"  # so that the notice is not repeated for the dev data
    assert "x.txt: tags such as 'PER' may be types of spans" in caplog.text
    assert "Set data.tag_format to types" in caplog.text


@pytest.mark.parametrize(
    "lines",
    [
        ["DT NN NN VBD O", "NNP NNP VBZ"],  # parts of speech, one of them O
        ["O O O P O O C O O O P"],  # punctuation: equal tags never follow each other
        ["N V A B I S O X"],  # parts of speech that are single letters
        ["B O O B O"],  # beginnings of sections
        ["O O O"],
    ],
)
def test_plain_tags_are_neither_changed_nor_noticed(lines: list[str], caplog: pytest.LogCaptureFixture) -> None:
    data = sentences(*lines)
    read, tag_format = tag_formats.read_all(data, "x.txt", "auto")
    assert (list(read), tag_format, caplog.text) == (data, "auto", "")


@pytest.mark.parametrize("line", ["B I O O B", "B M E S B E", "B I E S O", "B I L O U", "B I B B I"])
def test_single_letters_of_a_scheme_are_spans_without_a_type(line: str) -> None:
    read, tag_format = tag_formats.read_all(sentences(line), "x.txt", "auto")
    assert tag_format == "untyped"
    assert read[0].tags == tuple(tag if tag == "O" else f"{tag}-_" for tag in line.split())
    assert schemes.detect([read[0].tags]).scheme
    assert {span.type for span in schemes.tags_to_spans(read[0].tags)} == {"_"}


def test_single_letters_in_impossible_sequences_are_plain_tags_with_a_notice(caplog: pytest.LogCaptureFixture) -> None:
    data = sentences("O I B O I O B I O I")
    read, tag_format = tag_formats.read_all(data, "x.txt", "auto")
    assert (list(read), tag_format) == (data, "plain")
    assert "the tags B, I, O are plain tags, because as spans 1 of them were invalid" in caplog.text
    assert tag_formats.read_all(data, "x.txt", "untyped")[0][0].tags[1] == "I-_"


@pytest.mark.parametrize(
    ("left", "right"), [("O", "\u041e"), ("PER", "P\u0415R"), ("A", "A\u200b"), ("B-x", "B\u2010x"), ("O", "\uff2f")]
)
def test_tags_that_look_the_same_have_the_same_skeleton(left: str, right: str) -> None:
    assert tag_formats.skeleton(left) == tag_formats.skeleton(right)
    assert "U+" in tag_formats.describe_tag(right)
    assert "U+" not in tag_formats.describe_tag(left)
