"""brat: texts with files of annotations beside them."""

import json
from pathlib import Path

import pytest

import tagger
from tagger.choices import Misaligned
from tagger.data import corpus_folder, reader
from tagger.data.corpus import Corpus
from tagger.data.formats import Layout
from tagger.data.formats.reading import AnnotationOptions
from tagger.data.guessing import guess_format
from tagger.errors import ConfigError, DataError, StorageError

TEXT = "Ada Quill left Karsk.\r\nShe ran.\n"
SPANS = "T1\tPER 0 9\tAda Quill\nT2\tLOC 15 20\tKarsk\n"
OTHER = "R1\tlives Arg1:T1 Arg2:T2\n#1\tAnnotatorNotes T1\tsure\nE1\tT1 Agent:T2\nA1\tNegated T1\n\n*\tEquiv T1 T2\n"


def fill(folder: Path, annotations: str, text: str = TEXT, name: str = "a") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_bytes(text.encode())
    (folder / f"{name}.ann").write_text(annotations)
    return folder


def read(path: Path, misaligned: Misaligned = "expand") -> Corpus:
    annotations = AnnotationOptions(misaligned=misaligned)
    return reader.read_corpus(path, input_format="brat", layout=Layout(), annotations=annotations)


@pytest.mark.parametrize("name", ["", "a.txt", "a.ann"])
def test_a_folder_a_text_or_its_annotations_are_read(tmp_path: Path, name: str):
    path = fill(tmp_path, SPANS) / name
    assert guess_format(path, tagged=True) == ("brat", "name")
    corpus = read(path)
    assert [sentence.tags for sentence in corpus.sentences] == [("B-PER", "I-PER", "O", "B-LOC", "O"), ("O",) * 3]
    assert not corpus.notices


def test_each_file_of_a_folder_is_a_document(tmp_path: Path):
    fill(fill(tmp_path, SPANS) / "deep", "", "No.", name="b")
    corpus = read(tmp_path)
    assert [sentence.document for sentence in corpus.sentences] == [0, 0, 1]


def test_annotations_that_are_no_spans_are_left_out_and_counted(tmp_path: Path):
    corpus = read(fill(tmp_path, SPANS + OTHER))
    assert corpus.notices.counts == {"annotations of another kind than spans": 5}
    assert f"{tmp_path}/a.ann:3: R1\tlives Arg1:T1 Arg2:T2 is left out" in next(corpus.notices.lines())


@pytest.mark.parametrize(
    ("policy", "tags", "action"),
    [("expand", ("B-PER", "I-PER", "I-PER", "I-PER"), "becomes 0-20"), ("drop", ("O",) * 4, "is dropped")],
)
def test_a_span_in_parts_is_joined_or_dropped_and_reported(
    tmp_path: Path, policy: Misaligned, tags: tuple, action: str
):
    corpus = read(fill(tmp_path, "T1\tPER 0 3;15 20\tAda Karsk\n"), policy)
    assert corpus.sentences[0].tags[:4] == tags
    (line,) = corpus.notices.lines()
    assert line == f"discontinuous spans (1): {tmp_path}/a.ann:1: T1 PER 0 3;15 20 'Ada Karsk' {action}"
    with pytest.raises(DataError, match=r"a\.ann:1: found discontinuous spans: T1 .* choose another `misaligned`"):
        read(tmp_path, "stop")


@pytest.mark.parametrize(
    ("annotations", "fault"),
    [
        ("T1\tPER 0\tAda\n", r"a\.ann:1: expected an identifier, a tab, a type, offsets, a tab and a text, found"),
        ("T1 PER 0 3 Ada\n", r"a\.ann:1: expected an identifier"),
        (SPANS + "T3\tX a b\tAda\n", r"a\.ann:3: expected an identifier"),
    ],
)
def test_an_annotation_that_cannot_be_read_is_an_error_with_file_and_line(tmp_path: Path, annotations: str, fault: str):
    with pytest.raises(DataError, match=fault):
        read(fill(tmp_path, annotations))


def test_a_missing_text_is_an_error(tmp_path: Path):
    fill(tmp_path, SPANS)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(DataError, match=r"a\.ann: has no text a\.txt beside it"):
        read(tmp_path)


def test_the_parts_of_a_corpus_may_be_folders_or_pairs_of_files(tmp_path: Path):
    fill(tmp_path / "train", SPANS)
    fill(tmp_path, SPANS, name="dev")
    found = corpus_folder.find_corpus_files(tmp_path)
    assert found == {"train": tmp_path / "train", "dev": tmp_path / "dev.ann"}


def test_a_wrong_text_beside_the_offsets_is_reported(tmp_path: Path):
    corpus = read(fill(tmp_path, "T1\tPER 0 9\tAda Quell\n"))
    assert "spans that cover another text than annotated" in corpus.notices.counts


TEXTS = [
    "Ada\nQuill left.\r\nEve\u2028Karr ran.\n",
    "  \U0001f600 Ada\u00a0Quill",
    "\ufeffAda Quill\tleft",
    "no span",
    "",
]
LABELS = [[[0, 9, "PER"], [17, 25, "PER"]], [[4, 13, "PER X"]], [[0, 10, "PER"]], [], []]


def test_texts_and_spans_of_rows_are_those_of_the_pairs(tmp_path: Path):
    ids = ["../up/x", ".a", "same", "same", ""]
    rows = [{"id": name, "text": text, "label": label} for name, text, label in zip(ids, TEXTS, LABELS, strict=True)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tagger.convert(tmp_path / "in.jsonl", tmp_path / "out", output_format="brat")
    names = ["up_x", "a", "same", "same-000004", "in-000005"]
    texts = {path.name: path.read_bytes().decode() for path in (tmp_path / "out").glob("*.txt")}
    assert texts == {f"{name}.txt": text for name, text in zip(names, TEXTS, strict=True)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out"]
    assert (tmp_path / "out" / "up_x.ann").read_text() == "T1\tPER 0 3;4 9\tAda Quill\nT2\tPER 17 20;21 25\tEve Karr\n"
    assert "PER\nPER\\x20X\n" in (tmp_path / "out" / "annotation.conf").read_text()
    tagger.convert(tmp_path / "out", tmp_path / "back.jsonl", output_format="doccano")
    back = {row["text"]: row["label"] for row in map(json.loads, (tmp_path / "back.jsonl").read_bytes().splitlines())}
    assert back == dict(zip(TEXTS, LABELS, strict=True))
    tagger.convert(tmp_path / "out", tmp_path / "again", output_format="brat")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()
    }


def test_sentences_are_the_lines_of_their_document(tmp_path: Path):
    (tmp_path / "a.conll").write_text("Ada B-PER\nran O\n\nEve B-PER\n\n-DOCSTART- O\n\nno O\n")
    tagger.convert(tmp_path / "a.conll", tmp_path / "out", output_format="brat")
    texts = [path.read_text() for path in sorted((tmp_path / "out").glob("*.txt"))]
    assert texts == ["Ada ran\nEve\n", "no\n"]
    assert (tmp_path / "out" / "a-000001.ann").read_text() == "T1\tPER 0 3\tAda\nT2\tPER 8 11\tEve\n"


def test_a_folder_with_files_is_never_filled_and_a_fault_leaves_nothing(tmp_path: Path):
    (tmp_path / "a.conll").write_text("Ada B-PER\n\nran B-PER O\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(StorageError, match="out: exists"):
        tagger.convert(tmp_path / "a.conll", tmp_path / "out", output_format="brat")
    with pytest.raises(DataError, match=r"a\.conll:3"):
        tagger.convert(tmp_path / "a.conll", tmp_path / "new", output_format="brat")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.conll", "mine", "out"]
    (tmp_path / "a.conll").write_text("Ada NNP\n")
    with pytest.raises(ConfigError, match="the tags are plain tags; brat has spans only"):
        tagger.convert(tmp_path / "a.conll", tmp_path / "new", output_format="brat")
