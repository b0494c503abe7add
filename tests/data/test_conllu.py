import random
import re
from dataclasses import replace
from io import BytesIO

import pytest

from tagger.data import reader
from tagger.data.formats import Layout, conllu
from tagger.data.sentence import Reject, Sentence
from tagger.errors import ConfigError, DataError
from tagger.io import line_reader
from tagger.io.line_reader import LineRun
from tests.robustness.runs import SCALE

FILE = """\
# newdoc id = one
# sent_id = 1
1\tSue\tSue\tPROPN\tNNP\t_\t2\tnsubj\t_\tSpaceAfter=No|NER=B-PER
2-3\tdidn't\t_\t_\t_\t_\t_\t_\t_\tNER=ignored
2\tdid\tdo\tAUX\tVBD\t_\t0\troot\t_\t_
3\tn't\tnot\tPART\tRB\tPolarity=Neg\t2\tadvmod\t_\tNER=O|X=1
3.1\tlike\tlike\tVERB\tVB\t_\t_\t_\t2:conj\t_

# sent_id = 2
#\t9\tcolumns\tand\ttabs\tin\ta\tcomment\tare\tno row
1\tNew York\tNew York\tPROPN\tNNP\t_\t0\troot\t_\tXNER=B-LOC


# newdoc id = two
1\tn\u00b0 7\tno\tNOUN\tNN\t_\t0\troot\t_\t_

"""


def read(data: str | bytes, tag: str = "upos", *, tagged: bool = True) -> list[Sentence]:
    raw = data.encode() if isinstance(data, str) else data
    found = reader.read_sentences(
        BytesIO(raw), input_format="conllu", layout=Layout(tag=tag), tagged=tagged, name="x.conllu"
    )
    return list(found)


def written(sentences: list[Sentence], tag: str) -> str:
    return "".join(line for sentence in sentences for line in conllu.write(sentence, tag))


@pytest.mark.parametrize(
    ("tag", "tags"),
    [
        ("upos", [("PROPN", "AUX", "PART"), ("PROPN",), ("NOUN",)]),
        ("xpos", [("NNP", "VBD", "RB"), ("NNP",), ("NN",)]),
        ("misc:NER", [("B-PER", "O", "O"), ("O",), ("O",)]),
        ("misc:X", [("O", "O", "1"), ("O",), ("O",)]),
    ],
)
def test_only_words_are_tokens_and_the_tag_is_upos_xpos_or_a_key_of_misc(tag: str, tags: list):
    sentences = read(FILE, tag)
    assert [sentence.tokens for sentence in sentences] == [("Sue", "did", "n't"), ("New York",), ("n\u00b0 7",)]
    assert [sentence.tags for sentence in sentences] == tags
    assert [(sentence.document, sentence.line) for sentence in sentences] == [(0, 3), (0, 11), (1, 15)]
    assert [sentence.tags for sentence in read(FILE, tag, tagged=False)] == [()] * 3


@pytest.mark.parametrize("tag", ["upos", "xpos"])
@pytest.mark.parametrize(
    "change", [str, lambda text: text.replace("\n", "\r\n"), lambda text: f"\ufeff{text.rstrip()}"]
)
def test_written_lines_differ_from_read_lines_only_in_the_tags(tag: str, change):
    text = change(FILE)
    sentences = read(text, tag)
    assert written(sentences, tag) == text
    column, expected = {"upos": 3, "xpos": 4}[tag], []
    for line in text.split("\n"):
        row = line.split("\t")
        if row[0].lstrip("\ufeff").isdigit():
            row[column] = "NEW"
        expected.append("\t".join(row))
    assert written([replace(sentence, tags=("NEW",) * len(sentence)) for sentence in sentences], tag) == "\n".join(
        expected
    )


def test_a_key_of_misc_is_replaced_or_becomes_the_last_item():
    lines = written(
        [replace(sentence, tags=("NEW",) * len(sentence)) for sentence in read(FILE, "misc:NER")], "misc:NER"
    ).split("\n")
    misc = [line.split("\t")[9] for line in lines if "\t_\t" in line]
    assert misc == [
        "SpaceAfter=No|NER=NEW",
        "NER=ignored",
        "NER=NEW",
        "NER=NEW|X=1",
        "_",
        "XNER=B-LOC|NER=NEW",
        "NER=NEW",
    ]
    assert [line for line in lines if "NER" not in line] == [
        line for line in FILE.split("\n") if line.startswith(("#", "3.1")) or not line
    ]


@pytest.mark.parametrize("change", [lambda text: f"\ufeff{text}", lambda text: text.replace("\n", "\r\n"), str.rstrip])
def test_line_ends_a_byte_order_mark_and_a_missing_last_line_end_do_not_change_the_data(change):
    def content(text: str) -> list[tuple]:
        return [
            (sentence.tokens, sentence.tags, sentence.document, sentence.line) for sentence in read(text, "misc:NER")
        ]

    assert content(change(FILE)) == content(FILE)


def test_sentences_before_the_first_newdoc_are_a_document():
    assert [sentence.document for sentence in read(FILE.removeprefix("# newdoc id = sentence\n"))] == [0, 0, 1]


def test_lines_without_a_word_form_a_sentence_without_tokens():
    for text in ("\n\n", "# text\n", "# newdoc\n\n", "\ufeff"):
        (only,) = read(text)
        assert only.tokens == ()
        assert written([only], "upos") == text
    assert read("") == []


@pytest.mark.parametrize(("tag", "place"), [("upos", 3), ("xpos", 4), ("misc:NER", 9)])
def test_sentences_of_other_formats_are_written_as_new_lines(tag: str, place: int):
    sentence = Sentence(("EU", "says"), tags=("B-X", "O"), raw=("EU says\n",))
    text = "".join(conllu.write_new(sentence, tag, [False, False]))
    comment, *rows = [line.split("\t") for line in text.removesuffix("\n\n").split("\n")]
    assert comment == ["# text = EU says"]
    assert [row[:2] for row in rows] == [["1", "EU"], ["2", "says"]]
    outside = "_" if tag == "misc:NER" else "O"  # a missing key is read as O
    assert [row[place].removeprefix("NER=") for row in rows] == ["B-X", outside]
    assert all(row.count("_") >= 7 and len(row) == 10 for row in rows)
    assert read(text, tag)[0].tags == ("B-X", "O")


ROW = "1\tSue\tSue\tPROPN\tNNP\t_\t0\troot\t_\t_"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1 Sue PROPN", r"expected 10 columns separated by tabs, found 1 in '1 Sue PROPN'"),
        (f"{ROW}\t_", "expected 10 columns separated by tabs, found 11 in"),
        (ROW.replace("1", "one"), "expected a word's id such as 3, 3-4 or 3.1, found 'one'"),
        (ROW.replace("1", ""), "expected a word's id such as 3, 3-4 or 3.1, found ''"),
        (ROW.replace("PROPN", ""), "column 3 is empty; expected _ for an empty column"),
        (f"{ROW[:-1]}X=1|NER=", "expected a value of misc:NER, found none in 'X=1|NER='"),
    ],
)
def test_an_invalid_row_is_reported_with_its_line(row: str, message: str):
    with pytest.raises(DataError, match=rf"^x\.conllu:4: {message}"):
        read(f"# text\n{ROW}\n\n{row}\n", "misc:NER")


@pytest.mark.parametrize("tag", ["ner", "-1", "misc:", "misc", "misc:a|b", "misc:a=b", "misc:a b"])
def test_a_tag_field_that_conllu_does_not_have_is_an_error(tag: str):
    with pytest.raises(
        ConfigError, match=re.escape(f"expected upos, xpos or misc:KEY as the tag of CoNLL-U, found '{tag}'")
    ):
        read(FILE, tag)


def test_random_bytes_are_written_back_unchanged_or_refused():
    row, draw, kept = ROW.encode(), random.Random(4), 0
    pieces = [row, row, row + b"\n", b"\n", b"\r\n", b"# newdoc\n", b"#", b"\xef\xbb\xbf", b"\xff", b"\0", b"\xc2\x85"]
    pieces += [row.replace(b"1", b"1-2") + b"\n", row.replace(b"1", b"1.1") + b"\n", b"\t", b" ", b"\xe2\x80\xa8"]
    for _ in range(3000 * SCALE):
        data = b"".join(draw.choices(pieces, k=draw.randint(0, 8)))
        try:
            sentences = read(data)
        except DataError:
            continue
        kept += any(sentence.tokens for sentence in sentences)
        assert written(sentences, "upos").encode() == data
        anew = written([replace(sentence, tags=("NEW",) * len(sentence)) for sentence in sentences], "upos")
        assert anew.count("NEW") == sum(map(len, sentences))
    assert kept > 200


@pytest.mark.parametrize("tag", ["upos", "misc:NER"])
def test_a_block_of_words_is_read_like_a_block_with_other_rows(tag: str):
    plain = "".join(line + "\n" for line in FILE.split("\n")[:-1] if not line.startswith(("2-3", "3.1")))
    assert [(sentence.tokens, sentence.tags) for sentence in read(plain, tag)] == [
        (sentence.tokens, sentence.tags) for sentence in read(FILE, tag)
    ]
    assert [(sentence.document, sentence.line) for sentence in read(plain, tag)] == [(0, 3), (0, 9), (1, 13)]


def test_unreadable_blocks_are_rejected_and_reading_continues():
    other = ROW.replace("Sue", "Ann")
    bad = f"# newdoc\n{ROW}\n2\tno row\n\n".encode()
    data = f"{ROW}\n\n".encode() + bad + b"# \xff\n" + ROW.encode() + f"\n\n\n{other}\n".encode()
    rejects: list[Reject] = []
    runs = line_reader.read_runs(BytesIO(data), "x", line_reader.Unreadable)
    found = list(conllu.read(runs, "x", "upos", tagged=True, reject=rejects.append))
    assert [(one.tokens, one.document, one.line) for one in found] == [(("Sue",), 0, 1), (("Ann",), 1, 11)]
    assert [(reject.line, reject.raw) for reject in rejects] == [(3, bad.decode()), (7, f"# \udcff\n{ROW}\n\n\n")]
    assert rejects[0].fault.startswith("x:5: expected 10 columns separated by tabs, found 2")
    assert rejects[1].fault.startswith("x:7: byte 3 is 0xff")


def test_probabilities_are_an_item_of_misc():
    row = ROW.replace("root\t_\t_", "root\t_\tProb=1|A=2")
    (sentence,) = read(f"{ROW}\r\n{row}\n")
    lines = list(conllu.write(replace(sentence, tags=("A", "B")), "xpos", probabilities=(0.5, 0.25)))
    assert [line.rpartition("\t")[2] for line in lines] == ["Prob=0.500000\r\n", "Prob=0.250000|A=2\n"]
    _, row, _ = conllu.write_new(Sentence(("a",), tags=("O",)), "misc:NER", [False], probabilities=(0.5,))
    assert row.rpartition("\t")[2] == "Prob=0.500000\n"


MISPLACED = "1\ta\t_\t_\t_\t_\t_\t_\t_\tname=B-X\n2\tb\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No name=I-X\n\n"


@pytest.mark.parametrize("tagged", [True, False])
def test_an_item_of_misc_after_a_space_is_an_error_with_file_and_line(tagged: bool) -> None:
    runs = [LineRun(1, MISPLACED.splitlines(keepends=True))]
    with pytest.raises(DataError, match=r"x\.conllu:2: expected \| between the items of MISC, found a space"):
        list(conllu.read(runs, "x.conllu", "misc:name", tagged=tagged))


def test_an_item_of_misc_after_a_space_is_no_error_for_other_fields() -> None:
    runs = [LineRun(1, MISPLACED.splitlines(keepends=True))]
    assert len(list(conllu.read(runs, "x.conllu", "xpos", tagged=True))) == 1
    assert len(list(conllu.read(runs, "x.conllu", "misc:me", tagged=True))) == 1


@pytest.mark.parametrize("tag", ["misc:NER", "xpos"])
def test_tags_with_bars_spaces_and_equals_signs_are_read_back(tag: str) -> None:
    tags = ("B-a|b c", "I-x=y", "B-\u2009", r"B-\d", "O")
    written = "".join(conllu.write_new(Sentence(tags, tags=tags), tag, [False] * len(tags)))
    runs = [LineRun(1, written.splitlines(keepends=True))]
    assert [one.tags for one in conllu.read(runs, "x", tag, tagged=True)] == [tags]
