"""Where tagged sentences go: CoNLL columns, CoNLL-U or JSON lines."""

import json
from collections.abc import Callable, Iterator

from tagger.choices import InputFormat, OutputFormat
from tagger.data.formats import columns, conllu
from tagger.data.formats.columns import Layout
from tagger.data.sentence import Sentence

SUFFIXES: dict[OutputFormat, str] = {"columns": ".conll", "conllu": ".conllu", "jsonl": ".jsonl"}

Write = Callable[[Sentence], Iterator[str]]


def writer(to: OutputFormat, *, form: InputFormat, layout: Layout) -> Write:
    """Returns the function that gives the lines of a sentence in a format, after it was read from the format `form`.

    What was read in the same format is written back as it stood but for the tags.
    """
    if to == "jsonl":
        return json_line
    if to == "conllu":
        return lambda sentence: conllu.write(sentence, str(layout.tag), as_read=form == "conllu")
    if form == "columns":
        return lambda sentence: columns.write(sentence, layout)
    # A token of CoNLL-U may hold spaces, never a tab.
    return lambda sentence: columns.write_anew(sentence, "\t" if form == "conllu" else " ")


def json_line(sentence: Sentence) -> Iterator[str]:
    """Yields a sentence as one line of JSON: tokens, tags, spans (type, start, end in tokens) and document."""
    spans = [
        {
            "type": span.type,
            "start": span.start,
            "end": span.end,
            "text": " ".join(sentence.tokens[span.start : span.end]),
        }
        for span in sentence.spans
    ]
    row = {"tokens": sentence.tokens, "tags": sentence.tags, "spans": spans, "document": sentence.document}
    yield json.dumps(row, ensure_ascii=False) + "\n"
