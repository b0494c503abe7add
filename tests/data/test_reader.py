import gzip
import lzma
import random
from collections import Counter
from io import BytesIO
from pathlib import Path

import pytest
import zstandard

from tagger.data import corpus_folder, reader, splitting
from tagger.data.corpus import Corpus
from tagger.data.formats import Layout, lines
from tagger.data.sentence import Record, Reject, Sentence
from tagger.errors import ConfigError, DataError
from tagger.io import line_reader
from tests.robustness.runs import SCALE


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text("a O\n")
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("train.txt", "valid.txt", "test.txt"),
        ("train", "dev", "test"),
        ("train.conll", "dev.conll", "test.conll"),
        ("eng.train", "eng.testa", "eng.testb"),
        ("esp.train", "esp.testa", "esp.testb"),
        ("eng.train.txt", "eng.testa.txt", "eng.testb.txt"),
        ("train.txt", "testa.txt", "testb.txt"),
        ("train.tsv", "validation.tsv", "test.tsv"),
        ("en_ewt-ud-train.conllu", "en_ewt-ud-dev.conllu", "en_ewt-ud-test.conllu"),
        ("ner_train.iob", "ner_dev.iob", "ner_test.iob"),
        ("wnut.train.bio", None, None),
        ("en-train.conllu", None, "en-test.conllu"),
    ],
)
def test_corpus_files_are_found_by_their_usual_names(tmp_path: Path, names: tuple):
    fill(tmp_path, "README.md", "train.md", "latest.zip", *filter(None, names))
    (tmp_path / "dev").mkdir() if "dev" not in names else None
    found = {role: path.name for role, path in corpus_folder.find_corpus_files(tmp_path).items()}
    assert found == {role: name for role, name in zip(("train", "dev", "test"), names, strict=True) if name}


def test_compressed_files_are_found(tmp_path: Path):
    found = corpus_folder.find_corpus_files(fill(tmp_path, "train.txt.gz", "en-dev.conllu.gz"))
    assert {role: path.name for role, path in found.items()} == {"train": "train.txt.gz", "dev": "en-dev.conllu.gz"}


def test_the_raw_text_of_a_treebank_is_ignored(tmp_path: Path):
    names = [f"fr_gsd-ud-{role}.{kind}" for role in ("train", "dev", "test") for kind in ("conllu", "txt")]
    found = corpus_folder.find_corpus_files(fill(tmp_path, *names))
    assert {role: path.name for role, path in found.items()} == {
        "train": "fr_gsd-ud-train.conllu",
        "dev": "fr_gsd-ud-dev.conllu",
        "test": "fr_gsd-ud-test.conllu",
    }


@pytest.mark.parametrize(
    ("names", "role"),
    [
        (("train.conll", "train.txt"), "train"),
        (("de-train.conllu", "en-train.conllu"), "train"),
        (("eng.train", "a-dev.conll", "b-dev.conll"), "dev"),
    ],
)
def test_two_files_for_one_role_are_an_error(tmp_path: Path, names: tuple, role: str):
    with pytest.raises(DataError, match=f"{names[-2]} and {names[-1]} may each be `{role}`; name one$"):
        corpus_folder.find_corpus_files(fill(tmp_path, *names))


def test_a_missing_folder_or_training_file_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match="found no training file such as"):
        corpus_folder.find_corpus_files(fill(tmp_path, "dev.txt", "corpus.txt"))
    with pytest.raises(DataError, match="none: no such folder"):
        corpus_folder.find_corpus_files(tmp_path / "none")


def documents(*sizes: int) -> list[Sentence]:
    return [
        Sentence((f"{document}.{number}",), document=document)
        for document, size in enumerate(sizes)
        for number in range(size)
    ]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("sizes", [(1, 5), (3,) * 10, (2, 1, 9, 4), (2,), (30,)])
def test_documents_or_else_sentences_are_split_off(sizes: tuple, share: float):
    sentences = documents(*sizes)
    train, dev = (
        [sentences[position] for position in part] for part in splitting.split_off_dev(sentences, share, seed=1)
    )
    assert train and dev  # noqa: PT018
    assert Counter(train + dev) == Counter(sentences)
    for part in (train, dev):
        assert part == sorted(part, key=sentences.index)
    units = len(sizes) if len(sizes) > 1 else sizes[0]
    taken = len({one.document for one in dev}) if len(sizes) > 1 else len(dev)
    assert abs(taken - share * units) <= 1
    if len(sizes) > 1:
        assert not {one.document for one in train} & {one.document for one in dev}


def test_the_split_depends_on_the_seed():
    sentences = documents(40)
    found = [splitting.split_off_dev(sentences, 0.2, seed)[1] for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


def test_a_single_sentence_cannot_be_split():
    with pytest.raises(DataError, match="a single sentence cannot be split"):
        splitting.split_off_dev(documents(1), 0.5, seed=1)


def corpus(text: str, input_format: str = "columns", tag: int | str = -1) -> Corpus:
    found = reader.read_sentences(
        BytesIO(text.encode()), input_format=input_format, layout=Layout(tag=tag), tagged=True
    )
    return Corpus("x", tuple(one for one in found if one.tokens))


def test_the_digest_of_a_corpus_depends_on_tokens_tags_and_sentences_but_not_on_the_format():
    digest = corpus("a X\nb Y\n\nc X\n").digest()
    assert len(digest) == 64
    rows = "1\ta\t_\tX\t_\t_\t_\t_\t_\t_\n2\tb\t_\tY\t_\t_\t_\t_\t_\t_\n\n# text\n1\tc\t_\tX\t_\t_\t_\t_\t_\t_\n"
    for same in ("-DOCSTART- O\r\n\r\na\t_\tX\r\nb\t_\tY\r\n\r\n\r\nc\t_\tX", "\ufeffa  X\n b  Y\n \nc X\n\n\n"):
        assert corpus(same).digest() == digest
    assert corpus(rows, "conllu", "upos").digest() == digest
    for other in ("a X\n\nb Y\n\nc X\n", "a X\nb X\n\nc X\n", "A X\nb Y\n\nc X\n", "c X\n\na X\nb Y\n"):
        assert corpus(other).digest() != digest


def test_a_corpus_excludes_empty_sentences_and_counts_tokens(tmp_path: Path):
    path = tmp_path / "a.conll.gz"
    path.write_bytes(gzip.compress(b"-DOCSTART- O\n\na X\nb X\n\n\nc X\n\n-DOCSTART- O\n"))
    found = reader.read_corpus(path, input_format="columns", layout=Layout())
    assert (found.name, found.tokens, [len(one) for one in found.sentences]) == ("a.conll.gz", 3, [2, 1])


@pytest.mark.parametrize("text", ["", "\n\n", "-DOCSTART- -X- O O\n\n"])
def test_a_corpus_without_a_sentence_is_an_error(tmp_path: Path, text: str):
    (tmp_path / "dev.conll").write_text(text)
    with pytest.raises(DataError, match=r"dev\.conll: holds no sentence$"):
        reader.read_corpus(tmp_path / "dev.conll", input_format="columns", layout=Layout())


def test_plain_lines_have_no_tags():
    (first, second) = reader.read_records(BytesIO(b"a b\n\n"), input_format="lines", layout=Layout())
    assert [first.sentences[0].tokens, second.sentences[0].tokens] == [("a", "b"), ()]
    with pytest.raises(ConfigError, match="standard input: lines holds no tags; expected the format columns, "):
        reader.read_sentences(BytesIO(b"a b\n"), input_format="lines", layout=Layout(), tagged=True)


@pytest.mark.parametrize("tag", ["misc:NER", "upos"])
def test_a_treebank_without_the_requested_tag_is_an_error(tmp_path: Path, tag: str):
    (tmp_path / "a.conllu").write_text("1\tAda\t_\t_\tNNP\t_\t_\t_\t_\tNE=B-X\n\n")
    with pytest.raises(DataError, match=f"no token has a tag in {tag}"):
        reader.read_corpus(tmp_path / "a.conllu", input_format="conllu", layout=Layout(tag=tag))
    assert reader.read_corpus(tmp_path / "a.conllu", input_format="conllu", layout=Layout(tag="misc:NE")).tokens == 1


ROW = "1\t{}\t_\t_\t_\t_\t_\t_\t_\t_\n"
CLEAN = {
    "lines": "Ada met Bob\n\nin Oslo\n",
    "columns": "Ada X\nmet O\n\nBob X\n",
    "conllu": ROW.format("Ada") + "\n" + ROW.format("Bob") + "\n",
}


def records(data: bytes | str, input_format: str, **options: object) -> list[Record]:
    data = data.encode() if isinstance(data, str) else data
    layout = Layout(tag="upos" if input_format == "conllu" else -1)
    return list(reader.read_records(BytesIO(data), input_format=input_format, layout=layout, name="a.x", **options))


def tokens(found: list[Record]) -> list[tuple[str, ...]]:
    return [sentence.tokens for record in found for sentence in record.sentences if sentence.tokens]


@pytest.mark.parametrize("input_format", CLEAN)
def test_the_records_of_a_corpus_and_of_lines_are_its_sentences(input_format: str):
    found = records(CLEAN[input_format], input_format)
    layout = Layout(tag="upos" if input_format == "conllu" else -1)
    source = BytesIO(CLEAN[input_format].encode())
    if input_format == "lines":
        read = lines.read(line_reader.read_lines(source, "x"))
    else:
        read = reader.read_sentences(source, input_format=input_format, layout=layout, tagged=False)
    assert [record.sentences for record in found] == [(sentence,) for sentence in read]
    assert [record.line for record in found] == [record.sentences[0].line for record in found]


def test_each_line_and_each_document_of_a_corpus_is_a_document():
    assert [record.document for record in records("a\n\nb", "lines")] == [0, 1, 2]
    assert [record.document for record in records("a O\n\n-DOCSTART- O\n\nb O\n", "columns")] == [0, 1]


@pytest.mark.parametrize("input_format", CLEAN)
@pytest.mark.parametrize("change", ["CRLF", "mark", "end"])
def test_line_ends_and_a_byte_order_mark_do_not_change_tokens(input_format: str, change: str):
    clean = CLEAN[input_format]
    changed = {"CRLF": clean.replace("\n", "\r\n"), "mark": "\ufeff" + clean, "end": clean.removesuffix("\n")}[change]
    assert tokens(records(changed, input_format)) == tokens(records(clean, input_format))


@pytest.mark.parametrize("input_format", CLEAN)
@pytest.mark.parametrize("space", ["\u2028", "\u0085", "\u00a0", "\u200b", "\x0c"])
def test_in_formats_with_tokens_unusual_white_space_is_part_of_a_token(input_format: str, space: str):
    changed = CLEAN[input_format].replace("Ada", f"A{space}da")
    assert tokens(records(changed, input_format))[0][0] == f"A{space}da"
    assert len(tokens(records(changed, input_format))) == len(tokens(records(CLEAN[input_format], input_format)))


class BreakingOff(BytesIO):
    """A stream that the system cannot read to its end."""

    def read1(self, size: int | None = -1) -> bytes:
        if data := super().read1(size or -1):
            return data
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("input_format", "row", "cut"),
    [("columns", "a O\n", "b O\n"), ("conllu", "1\ta" + "\t_" * 8 + "\n", "# b\n"), ("lines", "a\n", "")],
)
@pytest.mark.parametrize("skip", [False, True])
def test_every_complete_sentence_of_a_truncated_file_is_read_and_the_last_is_rejected(
    input_format: str, row: str, cut: str, skip: bool
):
    for end in {"", cut}:
        data = BreakingOff((f"{row}\n" * 3 + end).encode())
        found: list[str] = []
        aside: list[Reject] = []
        with pytest.raises(DataError, match=r"input/output error; read up to line 6$") as caught:
            found.extend(
                "".join(record.sentences[0].raw)
                for record in reader.read_records(
                    data, input_format=input_format, layout=Layout(tag="upos"), reject=aside.append if skip else None
                )
            )
        assert "".join(found) == f"{row}\n" * 3
        assert aside == [Reject(str(caught.value), 7, end)] * bool(skip and end)


@pytest.mark.parametrize(("input_format", "row"), [("columns", "a O\n"), ("conllu", "1\ta" + "\t_" * 8 + "\n")])
def test_a_complete_sentence_is_read_before_the_fault_of_the_next_line(input_format: str, row: str):
    source = BytesIO(f"{row}\n".encode() * 3 + b"\xff\n")
    found = reader.read_records(source, input_format=input_format, layout=Layout(tag="upos"))
    assert [next(found).line for _ in range(3)] == [1, 3, 5]
    with pytest.raises(DataError, match=":7: byte 1 is 0xff"):
        next(found)


@pytest.mark.parametrize("skip", [False, True])
def test_no_sentence_of_a_file_truncated_in_its_first_sentence_is_read(skip: bool):
    data = BreakingOff(b"-DOCSTART- O\n\na O\n")
    aside: list[Reject] = []
    found: list[Record] = []
    with pytest.raises(DataError, match=r"; read up to line 2$"):
        found.extend(
            reader.read_records(data, input_format="columns", layout=Layout(), reject=aside.append if skip else None)
        )
    assert [line for one in found for line in one.sentences[0].raw] == ["-DOCSTART- O\n", "\n"]
    assert [(one.line, one.raw) for one in aside] == [(3, "a O\n")] * skip
    with pytest.raises(DataError, match=r"input/output error$"):
        list(reader.read_records(BreakingOff(b"a O\n"), input_format="columns", layout=Layout()))


@pytest.mark.parametrize(
    ("input_format", "data", "line", "raw"),
    [
        ("lines", b"a\nb\xff\nc\n", 2, "b\udcff\n"),
        ("columns", b"a O\n\nb O\nx\n\nc O\n", 3, "b O\nx\n\n"),
        ("columns", b"a O\n\nb O\n\xff O\n\nc O\n", 3, "b O\n\udcff O\n\n"),
        ("conllu", (ROW.format("a") + "\nx\n\n" + ROW.format("c")).encode(), 3, "x\n\n"),
        ("jsonl", b'{"text": "a"}\nx\n{"text": "c"}\n', 2, "x\n"),
    ],
)
def test_unreadable_input_is_rejected_with_its_line_and_reading_continues(
    input_format: str, data: bytes, line: int, raw: str
):
    aside: list[Reject] = []
    assert tokens(records(data, input_format, reject=aside.append)) == [("a",), ("c",)]
    assert [(one.line, one.raw) for one in aside] == [(line, raw)]
    with pytest.raises(DataError) as caught:
        records(data, input_format)
    assert str(caught.value) == aside[0].fault
    assert aside[0].fault.startswith("a.x:")


@pytest.mark.parametrize("input_format", ["columns", "conllu"])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("long", ["# " + "b" * 8000, " " * 8000, "\t" * 8000, "b" * 8000, "b O" + " " * 8000])
def test_a_line_that_is_too_long_rejects_its_block(
    monkeypatch: pytest.MonkeyPatch, input_format: str, place: int, long: str
):
    monkeypatch.setattr(line_reader, "_BLOCK_BYTES", 1000)
    row = {"columns": "{} O\n", "conllu": ROW}[input_format]
    before, after = row.format("a") + "\n", row.format("c")
    lines = [row.format("b"), f"{long}\n"][:: 1 if place else -1]
    aside: list[Reject] = []
    found = records(before + "".join(lines) + "\n" + after, input_format, reject=aside.append, max_record_bytes=5000)
    assert tokens(found) == [("a",), ("c",)]
    assert "".join(line for record in found for line in record.sentences[0].raw) == before + after
    assert [(one.line, row.format("b") in one.raw, len(one.raw) < 3000) for one in aside] == [(3, True, True)]
    assert aside[0].fault.startswith(f"a.x:{3 + place}: a line of over")
    with pytest.raises(DataError, match=f"a.x:{3 + place}: a line of over"):
        records(before + "".join(lines) + "\n" + after, input_format, max_record_bytes=5000)


@pytest.mark.parametrize("input_format", ["text", *CLEAN, "jsonl"])
def test_random_bytes_are_records_or_data_errors(input_format: str):
    draw, read, faults = random.Random(13), 0, []
    for _ in range(300 * SCALE):
        data = bytes(draw.choices(b'a b\t\n\r_1.-{}[]":,\xc3\xa9\xff\0\\', k=draw.randint(0, 30)))
        data = draw.choice(
            [data, data.replace(b"\xff", b"").replace(b"\0", b""), data.decode(errors="ignore").encode()]
        )
        try:
            records(data, input_format)
            read += 1
        except DataError as error:
            faults += error.faults
    assert read > 3
    assert len(faults) > 10
    assert all(fault.startswith("a.x:") for fault in faults)


@pytest.mark.parametrize("data", [b"", b"\n", b"\n \n\n", b"\xef\xbb\xbf", b"\r\n"])
@pytest.mark.parametrize("input_format", ["text", *CLEAN, "jsonl"])
def test_an_empty_or_blank_source_has_no_tokens(input_format: str, data: bytes):
    assert tokens(records(data, input_format)) == []


def test_document_starts_without_sentences_have_no_tokens():
    found = records("-DOCSTART- O\n\n-DOCSTART- O\n", "columns")
    assert tokens(found) == []
    assert "".join(line for record in found for line in record.sentences[0].raw) == "-DOCSTART- O\n\n-DOCSTART- O\n"


@pytest.mark.parametrize("input_format", ["text", "jsonl", "lines"])
def test_compressed_files_are_read_like_plain_files(input_format: str, tmp_path: Path):
    data = (b'{"text": "Ada met Bob"}' if input_format == "jsonl" else b"Ada met Bob") + b"\n"
    (tmp_path / "a.gz").write_bytes(gzip.compress(data))
    (tmp_path / "a.zst").write_bytes(zstandard.compress(data))
    (tmp_path / "a.xz").write_bytes(lzma.compress(data))
    for name in ("a.gz", "a.zst", "a.xz"):
        found = list(reader.read_records(tmp_path / name, input_format=input_format, layout=Layout()))
        assert tokens(found) == [("Ada", "met", "Bob")]


def test_a_sentence_of_conllu_belongs_to_the_document_of_the_last_newdoc_line(tmp_path: Path) -> None:
    row = "1\tEU" + 8 * "\t_" + "\n\n"
    begun = ["", "# newdoc id = a b \n", "# text = newdoc id = x\n", "# newdoc\n", "#newdoc id=ß\n"]
    (tmp_path / "a.conllu").write_text("".join(line + row for line in begun), encoding="utf-8")
    found = list(reader.read_records(tmp_path / "a.conllu", input_format="conllu", layout=Layout(0, "xpos")))
    assert [(one.document, one.numbered) for one in found] == [
        (0, True),
        ("a b", False),
        ("a b", False),
        (2, True),
        ("ß", False),
    ]


def test_a_document_has_its_id_after_a_byte_order_mark_and_if_its_first_sentence_is_rejected(tmp_path: Path) -> None:
    row = "1\tEU" + 8 * "\t_" + "\n\n"
    text = f"\ufeff# newdoc id = a\n{row}# newdoc id = b\n1\tno row\n\n{row}"
    (tmp_path / "a.conllu").write_text(text, encoding="utf-8")
    rejects: list[Reject] = []
    layout = Layout(0, "xpos")
    found = reader.read_records(tmp_path / "a.conllu", input_format="conllu", layout=layout, reject=rejects.append)
    assert [one.document for one in found] == ["a", "b"]
    assert len(rejects) == 1
