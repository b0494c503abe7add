"""Tagging of texts from Python: the documents hold what the command writes for the same text."""

import io
import json
from itertools import accumulate
from pathlib import Path

import pytest

import tagger
from tagger.errors import ConfigError
from tagger.tagging.texts import split_texts

pytest.importorskip("spacy")

TEXT = "Ada lives in New York. Alan lives in Oslo!\r\n\n\tGrace  lives in\nParis, and Edsger in Lima.\n"


@pytest.fixture(scope="module")
def model(model_path: Path) -> tagger.Tagger:
    return tagger.load(model_path)


def rows_of_command(model_path: Path, path: Path, text: str, **options: object) -> list[dict[str, object]]:
    path.write_bytes(text.encode())
    output = io.BytesIO()
    streams = (io.BytesIO(), output)
    options |= {"input_format": "text", "output_format": "jsonl", "streams": streams}
    tagger.tag_files(model_path, path, **options)  # type: ignore[arg-type]
    return [json.loads(line) for line in output.getvalue().decode().splitlines()]


@pytest.mark.parametrize(
    "options", [{}, {"probabilities": True, "nbest": 3}, {"probabilities": True, "threshold": 0.9}]
)
@pytest.mark.parametrize("text", [TEXT, "\ufeff" + TEXT, "", " \n ", "x" * 5000 + TEXT, TEXT * 300])
def test_a_document_holds_what_the_command_writes(
    model: tagger.Tagger, model_path: Path, tmp_path: Path, text: str, options: dict[str, object]
) -> None:
    rows = rows_of_command(model_path, tmp_path / "a.txt", text, **options)
    document = model.tag_text(text, **options)  # type: ignore[call-overload]
    found = json.loads(json.dumps(document.to_dict()))
    assert found.pop("text") == text
    for name in found.keys() - {"sentences"}:
        assert found[name] == [value for row in rows for value in row[name]], name
    starts = accumulate((len(row["tokens"]) for row in rows), initial=0)  # type: ignore[arg-type]
    shifted = [
        [first + start, end + start]
        for row, start in zip(rows, starts, strict=False)
        for first, end in row["sentences"]  # type: ignore[attr-defined]
    ]
    assert found["sentences"] == shifted
    if rows:
        assert found.keys() == rows[0].keys() - {"document"}


def test_spans_are_offsets_into_the_text(model: tagger.Tagger) -> None:
    document = model.tag_text(TEXT)
    assert document.spans
    for span in document.spans:
        assert TEXT[span.start_char : span.end_char] == span.text
    assert [span.text for span in document.spans][:2] == ["Ada", "New York"]


def test_several_texts_give_the_documents_that_each_gives_by_itself(model: tagger.Tagger) -> None:
    texts = [TEXT, "", "Alan lives in Cairo."]
    documents = model.tag_text(iter(texts))
    assert [document.to_dict() for document in documents] == [model.tag_text(text).to_dict() for text in texts]
    assert [sentence.document for sentence in documents[2].sentences] == [2]


def test_a_text_is_a_document_and_long_ones_are_several_passages() -> None:
    split = split_texts(["Ada ran. Alan ran.", "One.", "A b c.\n" * 2000], "en")
    numbers = [[sentence.document for sentence in sentences] for _, sentences in split]
    assert (numbers[0], numbers[1], numbers[2][0], numbers[2][-1]) == ([0, 0], [1], 2, 3)


def test_a_notebook_shows_the_text_with_its_entities(model: tagger.Tagger) -> None:
    html = model.tag_text("Ada lives in <b>Paris</b>.")._repr_html_()
    assert ">Ada<bdi" in html
    assert "&lt;b&gt;" in html


def test_what_is_no_text_is_refused(model: tagger.Tagger) -> None:
    with pytest.raises(TypeError, match="a text is a string, got 3"):
        model.tag_text([TEXT, 3])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="language 'qq'"):
        model.tag_text(TEXT, language="qq")
