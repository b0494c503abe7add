"""brat: texts with files of annotations beside them."""

from pathlib import Path

import pytest

from tagger.choices import Misaligned
from tagger.data import reader
from tagger.data.formats import Layout
from tagger.data.formats.reading import AnnotationOptions
from tagger.data.guessing import guess_format
from tagger.data.reader import Corpus
from tagger.errors import DataError

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
    found = reader.find_corpus_files(tmp_path)
    assert found == {"train": tmp_path / "train", "dev": tmp_path / "dev.ann"}


def test_a_wrong_text_beside_the_offsets_is_reported(tmp_path: Path):
    corpus = read(fill(tmp_path, "T1\tPER 0 9\tAda Quell\n"))
    assert "spans that cover another text than annotated" in corpus.notices.counts
