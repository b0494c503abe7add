import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from tagger.data import sources
from tagger.data.formats.columns import Layout
from tagger.data.sentence import Sentence, Span
from tagger.data.sinks import SUFFIXES, json_line, writer

COLUMNS = "EU NNP O\nParis NNP O\n\n-DOCSTART- X O\n\nno DT O\n"
REST = "_\tX\tX\t_\t_\t_\t_\tNER=O"
CONLLU = f"# newdoc\n1\tEU\t{REST}\n2\tParis\t{REST}\n\n1\tno\t{REST}\n"
INPUTS = {"lines": "EU Paris\n\nno\n", "columns": COLUMNS, "conllu": CONLLU}
LAYOUT = {"lines": Layout(tag=None), "columns": Layout(), "conllu": Layout(tag="misc:NER")}


def tagged(form: str) -> list[Sentence]:
    found = sources.read(BytesIO(INPUTS[form].encode()), form=form, layout=LAYOUT[form], tagged=False)
    tags = iter(["B-X", "B-Y", "O"])
    return [replace(one, tags=tuple(next(tags) for _ in one.tokens)) for one in found]


@pytest.mark.parametrize("form", ["columns", "conllu"])
def test_the_format_that_was_read_is_written_back_but_for_the_tags(form: str):
    write = writer(form, form=form, layout=LAYOUT[form])
    text = "".join(line for one in tagged(form) for line in write(one))
    old, new = ("NNP O", "NNP {}") if form == "columns" else ("NER=O", "NER={}")
    assert text == INPUTS[form].replace(old, new.format("B-X"), 1).replace(old, new.format("B-Y"), 1)


@pytest.mark.parametrize("form", INPUTS)
@pytest.mark.parametrize("to", SUFFIXES)
def test_every_format_can_be_written_from_every_other_and_read_again(form: str, to: str):
    layout = LAYOUT["conllu"] if to == "conllu" else LAYOUT[form]
    write = writer(to, form=form, layout=layout)
    text = "".join(line for one in tagged(form) for line in write(one))
    if to == "jsonl":
        rows = [json.loads(line) for line in text.splitlines()]
        found = [(tuple(row["tokens"]), tuple(row["tags"])) for row in rows if row["tokens"]]
    else:
        source = BytesIO(text.encode())
        again = sources.read(source, form=to, layout=Layout(tag=layout.tag if to == "conllu" else -1), tagged=True)
        found = [(one.tokens, one.tags) for one in again if one.tokens]
    assert found == [(("EU", "Paris"), ("B-X", "B-Y")), (("no",), ("O",))]


def test_a_sentence_is_one_line_of_json_with_the_text_of_its_spans():
    sentence = Sentence(("New", "York", '"\n\u2028é'), ("B-X", "E-X", "O"), (Span("X", 0, 2),), document=3)
    (line,) = json_line(sentence)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert "é" in line
    assert json.loads(line) == {
        "tokens": ["New", "York", '"\n\u2028é'],
        "tags": ["B-X", "E-X", "O"],
        "spans": [{"type": "X", "start": 0, "end": 2, "text": "New York"}],
        "document": 3,
    }


def test_every_output_format_has_a_suffix_that_is_read_back_as_that_format():
    assert {sources.guess_format(Path(f"a{SUFFIXES[to]}")) for to in ("columns", "conllu")} == {"columns", "conllu"}


def test_a_token_with_a_space_survives_on_its_way_from_conllu_to_columns():
    given = Sentence(("1 000", "men"), ("B-X", "O"))
    text = "".join(writer("columns", form="conllu", layout=Layout())(given))
    assert text == "1 000\tB-X\nmen\tO\n\n"
    (read,) = sources.read(BytesIO(text.encode()), form="columns", layout=Layout(), tagged=True)
    assert (read.tokens, read.tags) == (given.tokens, given.tags)
