"""HTML pages of texts with highlighted entities, self-contained and without scripts."""

from collections.abc import Iterator

from tagger.data.formats.writing import Sink, TextSink, WriteOptions, skip_empty
from tagger.data.highlighting import NUM_COLOURS, Mark, class_attributes, escape, highlight
from tagger.data.sentence import Record

_STYLE = """
body { max-width: 50rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.9 system-ui, sans-serif; }
article { margin: 0 0 1rem; white-space: pre-wrap; overflow-wrap: anywhere; }
header { font-weight: bold; }
mark { padding: .15em .3em; border-radius: .3em; color: inherit; unicode-bidi: isolate; }
mark > bdi { margin-inline-start: .4em; font-size: .7em; font-weight: bold; opacity: .75; }
:root { color-scheme: light dark; }
"""


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of a page. Rows are shown with the document's id as a header."""
    has_header = options.read_as.holds_fields
    return TextSink(
        skip_empty(lambda record: block(record, has_header=has_header), options), head(options.name), foot()
    )


def head(title: str) -> str:
    """Returns the page before its first record."""
    colours = "".join(
        f"mark.c{number} {{ background: hsl({number * 360 // NUM_COLOURS} 75% 55% / 35%); }}\n"
        for number in range(NUM_COLOURS)
    )
    return (
        '<!DOCTYPE html>\n<html>\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{colours}</style>\n</head>\n<body>\n"
    )


def foot() -> str:
    """Returns the page after its last record."""
    return "</body>\n</html>\n"


def block(record: Record, *, has_header: bool) -> str:
    """Returns the HTML of a tagged record: its text, else one line of tokens per sentence."""
    header = f'<header dir="auto">{escape(str(record.document))}</header>' if has_header else ""
    if record.text is None:
        body = "\n".join(sentence.highlight(class_attributes) for sentence in record.sentences)
    else:
        body = "".join(highlight(record.text, _text_marks(record), class_attributes))
    return f'<article dir="auto">{header}{body}</article>\n'


def _text_marks(record: Record) -> Iterator[Mark]:
    for sentence in record.sentences:
        for span in sentence.spans:
            start, end = sentence.offsets[span.start][0], sentence.offsets[span.end - 1][1]
            yield Mark(start - record.start, end - record.start, span.type, span.probability)
