"""Files of spaCy are read as spaCy reads them, whatever they hold."""

import json
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab
from srsly import msgpack_dumps, msgpack_loads

import tagger
from tagger.config import parse
from tagger.data import reader
from tagger.data.formats import Layout, doc_bin
from tagger.data.guessing import guess_format
from tagger.data.notices import Notices
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError, DataError
from tagger.training import corpora

VOCAB = Vocab()


def make(*docs: Doc, **options: Any) -> bytes:
    return DocBin(docs=docs, **options).to_bytes()


def example(**options: Any) -> Doc:
    """Returns two sentences with entities, tags, and white space as a token."""
    words = ["Ada", "Quill", "left", " ", "Karsk", ".", "She", "-", "ran", "!", "\n"]
    spaces = [True, True, True, False, False, True, False, False, False, False, False]
    tags = ["N", "N", "V", "_SP", "N", "", "P", "X", "V", "X", "_SP"]
    doc = Doc(VOCAB, words=words, spaces=spaces, tags=tags, pos=["NOUN"] * 11, **options)
    doc.set_ents([Span(doc, 0, 2, "PER"), Span(doc, 4, 5, "GPE")])
    return doc


def read(data: bytes, tag: int | str = -1) -> tuple[list[Sentence], Notices]:
    notices = Notices()
    sentences = reader.read_sentences(
        BytesIO(data), input_format="spacy", layout=Layout(0, tag), tagged=True, name="a.spacy", notices=notices
    )
    return list(sentences), notices


def change(data: bytes, **parts: Any) -> bytes:
    """Returns a DocBin with other parts."""
    return zlib.compress(msgpack_dumps(msgpack_loads(zlib.decompress(data)) | parts))


def test_entities_tokens_and_offsets_are_those_of_the_file() -> None:
    (first, second), notices = read(make(example()))
    assert first.tokens == ("Ada", "Quill", "left", "Karsk", ".")
    assert first.tags == ("B-PER", "I-PER", "O", "B-GPE", "O")
    assert first.offsets == ((0, 3), (4, 9), (10, 14), (16, 21), (21, 22))
    assert (second.tokens, second.tags) == (("She", "-", "ran", "!"), ("O",) * 4)
    assert not notices


def test_the_sentences_of_the_file_come_before_the_rules_of_texts() -> None:
    starts = [number in (0, 2, 6) for number in range(11)]
    sentences, _ = read(make(example(sent_starts=starts)))
    assert [len(sentence) for sentence in sentences] == [2, 3, 4]


@pytest.mark.parametrize(("column", "tags"), [("tag", "N N V N _"), ("pos", " ".join(["NOUN"] * 5))])
def test_the_tag_column_chooses_the_tags(column: str, tags: str) -> None:
    assert read(make(example()), column)[0][0].tags == tuple(tags.split())


def test_another_column_or_a_missing_attribute_is_named() -> None:
    with pytest.raises(ConfigError, match=r"a\.spacy: expected ents, tag or pos as the column of the tag, found 'x'"):
        read(make(example()), "x")
    with pytest.raises(DataError, match=r"a\.spacy, document 1: expected the attribute ENT_IOB, found ORTH, TAG"):
        read(make(example(), attrs=["TAG"]))


def test_tokens_without_an_entity_are_not_annotated() -> None:
    partly, plain, blocked = Doc(VOCAB, ["a", "b", "c"]), Doc(VOCAB, ["d"]), Doc(VOCAB, ["e", "f"])
    partly.set_ents([Span(partly, 1, 2, "X")], default="missing", outside=[Span(partly, 2, 3)])
    blocked.set_ents([], blocked=[Span(blocked, 0, 1)])
    sentences, notices = read(make(partly, plain, blocked))
    assert [sentence.tags for sentence in sentences] == [("", "B-X", "O"), ("O", "O")]
    assert list(notices.lines()) == [
        "documents that are annotated in part (1): a.spacy, document 1: entities are missing in 1 of 3 tokens",
        "records without an annotation (1): a.spacy, document 2: skipped",
    ]


def test_a_token_with_a_line_break_is_an_error() -> None:
    doc = Doc(VOCAB, ["a", "b\nc"])
    doc.set_ents([])
    with pytest.raises(DataError, match=r"a\.spacy, document 1: the token 'b\\nc' has a line break; expected words"):
        read(make(doc))


def test_span_groups_are_left_out_with_a_notice() -> None:
    doc = example()
    doc.spans["sc"] = [Span(doc, 0, 1, "Z")]
    sentences, notices = read(make(doc, example()))
    assert sentences[0].tags == ("B-PER", "I-PER", "O", "B-GPE", "O")
    assert notices.counts == {"documents with span groups, which are left out": 1}


@st.composite
def docs(draw: st.DrawFn) -> Doc:
    word = st.text("aé😀.-", min_size=1, max_size=3) | st.sampled_from([" ", "  ", "\n", "a b"])
    words = draw(st.lists(word, min_size=1, max_size=12))
    spaces = draw(st.none() | st.lists(st.booleans(), min_size=len(words), max_size=len(words)))
    doc = Doc(VOCAB, words=words, spaces=spaces)
    edges = sorted(draw(st.sets(st.integers(0, len(words)), max_size=6)))
    spans = [Span(doc, start, end, draw(st.sampled_from("AB"))) for start, end in pairwise(edges)]
    doc.set_ents([span for span in spans if not any(token.text.isspace() for token in span)])
    return doc


@settings(max_examples=60, deadline=None)
@given(st.lists(docs(), min_size=1, max_size=4))
def test_any_documents_have_the_texts_tokens_and_entities_that_spacy_reads(expected: list[Doc]) -> None:
    data = make(*expected)
    sentences, notices = read(data)
    options = {"input_format": "spacy", "layout": Layout(), "name": "a.spacy"}
    assert [record.text for record in reader.read_records(BytesIO(data), **options)] == [doc.text for doc in expected]
    assert notices.counts.keys() <= {"spans across sentences"}
    for number, doc in enumerate(DocBin().from_bytes(data).get_docs(VOCAB)):
        own = [sentence for sentence in sentences if sentence.document == number]
        tokens = [pair for each in own for pair in zip(each.tokens, each.offsets, strict=True)]
        assert tokens == [(t.text, (t.idx, t.idx + len(t))) for t in doc if not t.text.isspace()]
        spans = [
            (span.type, each.offsets[span.start][0], each.offsets[span.end - 1][1])
            for each in own
            for span in tagger.data.schemes.tags_to_spans(each.tags)
        ]
        assert spans == [(span.label_, span.start_char, span.end_char) for span in doc.ents]


def test_user_data_is_not_decoded() -> None:
    doc = example()
    doc.user_data["x"] = 1
    data = change(make(doc, store_user_data=True), user_data=[b"\xc1 no MessagePack"])
    assert len(read(data)[0]) == 2


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "another file": lambda data: b"PK" + data,
    "empty": lambda data: b"",
    "incomplete": lambda data: data[:-9],
    "no map": lambda data: zlib.compress(b"\x90"),
    "more data": lambda data: zlib.compress(zlib.decompress(data) + b"\0"),
    "no tokens": lambda data: zlib.compress(msgpack_dumps({"attrs": []})),
    "tokens of another type": lambda data: change(data, tokens="text"),
    "too few tokens": lambda data: change(data, tokens=b""),
    "negative length": lambda data: change(data, lengths=struct.pack("<2i", 12, -1)),
    "strings missing": lambda data: change(data, strings=[]),
    "nested strings": lambda data: change(data, strings=[[]]),
    "no texts": lambda data: change(data, attrs=list(range(1, 14))),
    "numpy object": lambda data: change(data, flags=[{"nd": True, "type": "O", "kind": "O", "data": [b"x"]}]),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_one_error_with_its_name(name: str) -> None:
    with pytest.raises(DataError, match=r"^a\.spacy(: cannot be read as a DocBin of spaCy: |, document 1: ).+"):
        read(DAMAGES[name](make(example())))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_changed_byte_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(zlib.decompress(CONTENT))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(zlib.compress(bytes(content)))
    except DataError as error:
        assert str(error).startswith("a.spacy")  # noqa: PT017  # most changes are no error


CONTENT = make(example())


def test_a_file_that_grows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doc_bin.reading, "MAX_BYTES", 1 << 16)
    with pytest.raises(DataError, match=r"over 65,536 bytes; store its documents in several files"):
        read(zlib.compress(bytes(1 << 17)))


def test_a_file_of_spacy_is_trained_evaluated_checked_tagged_and_converted(model_path: Path, tmp_path: Path) -> None:
    words = ["Ada", "lives", "in", "New", "York", "."]
    doc = Doc(VOCAB, words=words, spaces=[True] * 4 + [False] * 2)
    doc.set_ents([Span(doc, 0, 1, "PER"), Span(doc, 3, 5, "LOC")])
    path = tmp_path / "a.spacy"
    DocBin(docs=[doc, doc]).to_disk(path)
    assert guess_format(path) == guess_format(path, tagged=True) == ("spacy", "name")
    data = corpora.load(parse(f"data: {{train: {path}, dev: {path}}}", "recipe.yaml"))
    assert data.train.sentences[1].tags == ("S-PER", "O", "O", "B-LOC", "E-LOC", "O")
    assert not data.train.is_split_text  # by this toolkit's tokenizer
    assert tagger.evaluate(model_path, path).f1 == 100
    assert tagger.check(path).parts[0].types == {"PER": 2, "LOC": 2}
    tagger.tag_files(model_path, path, out=tmp_path / "out")
    tagger.convert(path, tmp_path / "b.jsonl", output_format="doccano")
    tagger.convert(tmp_path / "b.jsonl", tmp_path / "c.conll")
    row = json.loads((tmp_path / "out" / "a.jsonl").read_text().splitlines()[0])
    assert (row["text"], row["tokens"], row["offsets"][4]) == ("Ada lives in New York.", words, [17, 21])
    assert [(span["type"], span["text"]) for span in row["spans"]] == [("PER", "Ada"), ("LOC", "New York")]
    assert "New\tB-LOC\nYork\tI-LOC\n.\tO\n" in (tmp_path / "c.conll").read_text()


def test_what_was_not_annotated_is_marked_in_other_formats(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    doc = Doc(VOCAB, ["a", "b"])
    doc.set_ents([Span(doc, 1, 2, "X")], default="missing")
    DocBin(docs=[doc]).to_disk(tmp_path / "a.spacy")
    tagger.convert(tmp_path / "a.spacy", tmp_path / "b.conll", scheme="IOBES")
    assert (tmp_path / "b.conll").read_text().endswith("a\t_\nb\tS-X\n\n")
    assert "tokens that were not annotated get the tag _; to read it, set data.unknown_tag" in caplog.text


def load(path: Path) -> list[Doc]:
    return list(DocBin().from_disk(path).get_docs(Vocab()))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(expected=st.lists(docs(), min_size=1, max_size=4))
def test_spacy_reads_texts_tokens_and_entities_that_were_written(expected: list[Doc], tmp_path: Path) -> None:
    (tmp_path / "a.spacy").write_bytes(make(*expected))
    tagger.convert(tmp_path / "a.spacy", tmp_path / "b.spacy")
    expected = [doc for doc in expected if doc.text.strip()]
    written = load(tmp_path / "b.spacy")
    assert [doc.text for doc in written] == [doc.text for doc in expected]
    for doc, other in zip(written, expected, strict=True):
        words, other_words = (
            [(token.idx, token.text) for token in each if token.text.strip()] for each in (doc, other)
        )
        assert words == other_words
        assert [(e.start_char, e.end_char, e.label_) for e in doc.ents] == [
            (e.start_char, e.end_char, e.label_) for e in other.ents
        ]


def test_sentences_become_documents_of_spacy_as_in_the_file(tmp_path: Path) -> None:
    first, second = "Ada B-PER\nran O\n\nEve B-PER\n\n", "no O\n"
    (tmp_path / "a.conll").write_text(first)
    (tmp_path / "b.conll").write_text(f"{first}-DOCSTART- O\n\n{second}")
    for name in "ab":
        tagger.convert(tmp_path / f"{name}.conll", tmp_path / f"{name}.spacy")
    assert [[token.text for token in doc] for doc in load(tmp_path / "a.spacy")] == [["Ada", "ran"], ["Eve"]]
    docs = load(tmp_path / "b.spacy")
    assert [[token.text for token in doc] for doc in docs] == [["Ada", "ran", "Eve"], ["no"]]
    assert [sentence.text.split() for sentence in docs[0].sents] == [["Ada", "ran"], ["Eve"]]
    assert [(entity.text, entity.label_) for entity in docs[0].ents] == [("Ada", "PER"), ("Eve", "PER")]
    assert docs[0].has_unknown_spaces


def test_plain_tags_spaces_and_missing_entities_are_written(tmp_path: Path) -> None:
    row = "1\tAda\t_\tX\tNNP\t_\t_\t_\t_\tSpaceAfter=No\n2\t.\t_\tX\t.\t_\t_\t_\t_\t_\n\n"
    (tmp_path / "a.conllu").write_text(row)
    tagger.convert(tmp_path / "a.conllu", tmp_path / "a.spacy", tag_column="xpos")
    (doc,) = load(tmp_path / "a.spacy")
    assert ([token.tag_ for token in doc], doc.text, doc.has_unknown_spaces) == (["NNP", "."], "Ada. ", False)
    assert reader.read_corpus(tmp_path / "a.spacy", input_format="spacy", layout=Layout(0, "tag")).tokens == 2
    partly = Doc(VOCAB, ["a", "b", "c"])
    partly.set_ents([Span(partly, 1, 2, "X")], default="missing", outside=[Span(partly, 2, 3)])
    DocBin(docs=[partly]).to_disk(tmp_path / "b.spacy")
    tagger.convert(tmp_path / "b.spacy", tmp_path / "c.spacy")
    assert [token.ent_iob_ for token in load(tmp_path / "c.spacy")[0]] == ["", "B", "O"]


def test_parts_hold_the_documents_with_all_that_spacy_stored(tmp_path: Path) -> None:
    docs = []
    for number in range(10):
        doc = example(sent_starts=[index in (0, 6) for index in range(11)])
        doc.cats, doc.user_data["n"] = {"c": number}, number
        doc.spans["sc"] = [Span(doc, 0, 1, "Z")]
        docs.append(doc)
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "all.spacy")
    result = tagger.split(tmp_path / "all.spacy", out=tmp_path / "parts", fractions=(70, 30))
    parts = [load(file) for file in result.files]
    assert [len(part) for part in parts] == [7, 3]
    for doc in parts[0] + parts[1]:
        number = doc.user_data["n"]
        assert (doc.cats, doc.text, len(doc.spans["sc"])) == ({"c": number}, docs[number].text, 1)
    assert sorted(doc.user_data["n"] for part in parts for doc in part) == list(range(10))
    data = parse(f"data: {{train: {result.files[0]}, dev: {result.files[1]}}}", "recipe.yaml")
    assert len(corpora.load(data).train.sentences) == 14


def test_a_file_too_large_to_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doc_bin.reading, "MAX_BYTES", 1 << 10)
    (tmp_path / "a.conll").write_text("Ada B-PER\n\n" * 100)
    with pytest.raises(DataError, match=r"a file of spaCy of over 1,024 bytes; write several files"):
        tagger.convert(tmp_path / "a.conll", tmp_path / "b.spacy")
    assert [path.name for path in tmp_path.iterdir()] == ["a.conll"]
