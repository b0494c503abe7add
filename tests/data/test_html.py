import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path, PurePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagger.data import reader
from tagger.data.formats import Layout, html
from tagger.data.formats.writing import WriteOptions
from tagger.data.highlighting import NUM_COLOURS, assign_colours, colour
from tagger.data.sentence import Record, Sentence
from tagger.data.writer import make_sink
from tests.data.tagged import tagged
from tests.robustness.runs import SCALE

HOSTILE = [
    "<script>alert(1)</script>",
    "</mark>",
    "[/b]",
    "\x1b[31m",
    "\u202e",
    "&lt;",
    '"><b x="',
    "\0",
    "\x85",
    "-->",
    "]]>",
]
TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "main", "article", "header", "mark", "bdi"}
TAGS |= {"footer", "ul", "li", "span"}


class Page(HTMLParser):
    """What a browser makes of a page: the text of its records, of its headers and of its marks."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.records: list[str] = []
        self.headers: list[str] = []
        self.marks: list[tuple[str, str, str]] = []
        self.title = self.heading = ""
        self.legend: dict[str, str] = {}
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert all(
            name in ("charset", "name", "content", "dir", "class", "title", "data-sentences") for name, _ in attrs
        )
        self.open += [tag] if tag != "meta" else []
        self.classes = dict(attrs).get("class") or ""
        if tag == "article":
            self.records.append("")
        if tag == "mark":
            self.marks.append(("", "", dict(attrs)["title"]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["bdi"]:
            text, kind, title = self.marks[-1]
            self.marks[-1] = (text, kind + data, title)
        elif self.open[-1:] == ["header"]:
            self.headers.append(data)
        elif self.open[-1:] == ["title"]:
            self.title += data
        elif self.open[-1:] == ["h1"]:
            self.heading += data
        elif self.open[-2:] == ["li", "span"]:
            self.legend[data] = self.classes
        elif "article" in self.open:
            self.records[-1] += data
            if self.open[-1] == "mark":
                text, kind, title = self.marks[-1]
                self.marks[-1] = (text + data, kind, title)


def page(data: bytes, input_format: str, kind: str = "X") -> Page:
    writer = make_sink("html", WriteOptions(input_format=input_format, layout=Layout(tag=None), name="<title> é"))
    records = tagged(
        reader.read_records(BytesIO(data), input_format=input_format, layout=Layout(tag=None), name="a"), kind
    )
    return Page((writer.begin() + writer.write(records) + writer.end()).decode())


def visible(text: str) -> str:
    """What is to be seen of a text: no control character, nothing that turns the order of characters."""
    return "".join(
        chr(0x2400 + ord(one)) if one < " " and one not in "\t\n"
        else "\u2421" if one == "\x7f"
        else "\ufffd" if "\x80" <= one < "\xa0" or one in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
        else one
        for one in text
    )  # fmt: skip


def test_a_page_shows_a_text_with_its_white_space_and_marked_entities():
    found = page("\ufeff Ada  met\tBob. She  ran\r\n\r\n<b > x\n".encode(), "text")
    assert found.title == "<title> é"
    assert found.records == [" Ada  met\tBob. She  ran", "<b > x"]
    assert found.marks == [("Ada  met", "X", "X 0.2500"), ("She  ran", "X", "X 0.2500"), ("<b", "X", "X 0.2500")]
    assert found.headers == []


def test_rows_have_the_document_id_as_header_and_one_line_per_sentence():
    found = page(b'{"tokens": [["a", "b", "c"], ["d"]], "id": "<i>"}\n{"text": ""}\n', "jsonl")
    assert found.headers == ["<i>", "1"]
    assert found.records == ["a b c\nd", ""]


def test_every_line_is_on_the_page_except_separators_of_a_corpus():
    assert page(b"a b c d\n\ne\n", "lines").records == ["a b c d", "", "e"]
    assert page(b"-DOCSTART- O\n\na O\nb O\n\n\nc O\n", "columns").records == ["a b", "c"]
    assert page(b"", "lines").records == []


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("place", ["token", "text", "type", "id"])
def test_markup_and_control_characters_are_escaped(hostile: str, place: str):
    token = Record((Sentence(("a", hostile, "c")),), hostile if place == "id" else 0)
    text = Record((Sentence((hostile,), offsets=((3, 3 + len(hostile)),)),), text=f"a {hostile} c", start=1)
    (record,) = tagged([text if place == "text" else token], hostile if place == "type" else "X")
    writer = make_sink("html", WriteOptions(input_format="jsonl", layout=Layout(), name=hostile))
    raw = (writer.begin() + writer.write([record]) + writer.end()).decode()
    assert hostile not in raw or hostile in ("</mark>", "[/b]")
    found = Page(raw)
    assert found.records == [f"a {visible(hostile)} c"]
    assert found.headers == [visible(str(record.document))]
    assert found.marks[0][1] == visible(record.sentences[0].spans[0].type)
    assert found.title == visible(hostile)


@given(
    st.text(st.characters(exclude_characters="\0") | st.sampled_from("<>&\"'\x1b\u202e\u2068\r\x85")),
    st.text(min_size=1),
)
@settings(max_examples=100 * SCALE, deadline=None)
def test_the_text_of_a_page_is_the_input_text(text: str, kind: str):
    writer = make_sink("html", WriteOptions(input_format="jsonl", layout=Layout()))
    sentence = Sentence((text,), offsets=((0, len(text)),)) if text else Sentence(())
    raw = writer.write(tagged([Record((sentence,), text=text)], kind))
    raw.decode()
    surrogates = {one: "\ufffd" for one in text + kind if "\ud800" <= one <= "\udfff"}
    clean = str.maketrans(surrogates)
    found = Page(raw.decode())
    assert found.records == [visible(text.translate(clean))]
    assert [mark[1] for mark in found.marks] == [visible(kind.translate(clean))] * bool(text)


def test_a_page_is_self_contained():
    head = html.head("a", ["PER"]) + html.foot(["PER"])
    assert not any(word in head for word in ("http:", "https:", "url(", "<script", "<link", "@import"))
    assert 'charset="utf-8"' in head


def test_a_type_has_the_same_colour_everywhere():
    (one,), (other,) = tagged([Record((Sentence(("a",)),))], "PER"), tagged([Record((Sentence(("b", "c")),))], "PER")
    attributes = html.class_attributes(["LOC", "PER"])
    blocks = [html.block(record, attributes, has_header=False) for record in (one, other)]
    colours = [block.split('class="')[1].split('"')[0] for block in blocks]
    assert colours == ["c7 t1", "c7 t1"]
    assert ".c7 {" in html.head("", [])


def test_the_usual_entity_types_have_different_colours() -> None:
    assert len({colour(kind) for kind in ("PER", "ORG", "LOC", "MISC")}) == 4
    assert all(0 <= colour(kind) < NUM_COLOURS for kind in ("PER", "PRODUCT", "\ud800"))


def test_the_types_of_a_model_have_different_colours_as_long_as_there_are_enough() -> None:
    types = [f"T{number}" for number in range(NUM_COLOURS - 2)] + ["PER", "ORG"]
    colours = assign_colours(types)
    assert sorted(colours.values()) == list(range(NUM_COLOURS))
    assert (colours["PER"], colours["ORG"]) == (colour("PER"), colour("ORG"))
    assert set(assign_colours([*types, "Z"])) == {*types, "Z"}


def test_a_page_has_a_heading_and_a_legend_with_the_colours_of_its_marks() -> None:
    options = WriteOptions(input_format="lines", layout=Layout(tag=None), name="a <b>", types=("LOC", "<X>"))
    sink = make_sink("html", options)
    records = tagged(reader.read_records(BytesIO(b"a b c\nd\n"), input_format="lines", layout=Layout()), "<X>")
    raw = (sink.begin() + sink.write(records) + sink.end()).decode()
    found = Page(raw)
    assert (found.heading, found.legend) == ("a <b>", {"LOC": "c4", "<X>": f"c{assign_colours(['LOC', '<X>'])['<X>']}"})
    assert raw.count(f'<mark class="{found.legend["<X>"]} t1"') == 2
    assert raw.index("<footer>") > raw.rindex("</article>")  # the counters have their values after all marks
    for rule in ("counter-reset: t0 t1;", "article .t1 { counter-increment: t1; }", "counter(t1)"):
        assert rule in raw


def test_the_index_links_pages_with_their_numbers_of_sentences_and_entities(tmp_path: Path) -> None:
    pages = []
    for name, data in (
        ("a.html", b"a b c\nd\n\n<mark class='x'> e\n"),
        ("sub/b & c#.html", b""),
        ("\udcff.html", b"f\n"),
    ):
        options = WriteOptions(input_format="lines", layout=Layout(tag=None), name=name, types=("X", "Y"))
        sink = make_sink("html", options)
        records = tagged(reader.read_records(BytesIO(data), input_format="lines", layout=Layout()))
        pages.append((PurePath(name), tmp_path / str(len(pages))))
        pages[-1][1].write_bytes(sink.begin() + sink.write(records) + sink.end())
    found = b"".join(html.index("out", pages)).decode()
    rows = re.findall(r"<t[hd]>(.*?)</t[hd]>", found)
    assert rows[3:] == [
        '<a dir="auto" href="a.html">a.html</a>', "3", "3",
        '<a dir="auto" href="sub/b%20%26%20c%23.html">sub/b &amp; c#.html</a>', "0", "0",
        '<a dir="auto" href="%FF.html">\ufffd.html</a>', "1", "1",
        "total", "4", "4",
    ]  # fmt: skip
