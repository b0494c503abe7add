"""HTML pages of texts with highlighted entities, self-contained and without scripts.

The legend of a page counts the entities of each type by CSS counters: it stands after the records, so that a page can
be written as a stream, and is shown before them.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from urllib.parse import quote

from tagger.data.formats.writing import Sink, TextSink, WriteOptions, skip_empty
from tagger.data.highlighting import NUM_COLOURS, Attributes, Mark, assign_colours, colour, escape, highlight
from tagger.data.sentence import Record

_STYLE = """
:root { color-scheme: light dark; }
body { max-width: 50rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.9 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.4rem; line-height: 1.3; overflow-wrap: anywhere; }
"""
_PAGE_STYLE = """
body { display: flex; flex-direction: column; gap: 1rem; }
main { min-width: 0; }
footer { order: -1; border-bottom: 1px solid #8886; padding-bottom: .5rem; }
h1 { order: -2; }
article { margin: 0 0 1rem; white-space: pre-wrap; overflow-wrap: anywhere; }
header { font-weight: bold; }
mark, li > span { padding: .15em .3em; border-radius: .3em; color: inherit; background: #8884; unicode-bidi: isolate; }
mark > bdi { margin-inline-start: .4em; font-size: .7em; font-weight: bold; opacity: .75; }
ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: 0; padding: 0; list-style: none; }
"""
_INDEX_STYLE = """
table { border-collapse: collapse; width: 100%; margin-top: 1rem; }
th, td { padding: .1rem .5rem; text-align: end; border-bottom: 1px solid #8886; }
th:first-child, td:first-child { text-align: start; overflow-wrap: anywhere; }
"""
_ARTICLE = re.compile(rb'<article dir="auto" data-sentences="(\d+)">')
_MARK = b"<mark "


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of a page. Rows are shown with the document's id as a header."""
    has_header = options.has_rows or (options.marks_starts and options.input_format == "brat")
    attributes = class_attributes(options.types)
    return TextSink(
        skip_empty(lambda record: block(record, attributes, has_header=has_header), options),
        head(options.name, options.types),
        foot(options.types),
    )


def head(title: str, types: Sequence[str]) -> str:
    """Returns the page before its first record."""
    colours = (
        f".c{number} {{ background: hsl({number * 360 // NUM_COLOURS} 75% 55% / 35%); }}"
        for number in range(NUM_COLOURS)
    )
    counters = (
        f"article .t{number} {{ counter-increment: t{number}; }}\n"
        f"li.t{number}::after {{ content: ' ' counter(t{number}); }}\n"
        f"body:not(:has(article .t{number})) li.t{number} {{ display: none; }}"
        for number in range(len(types))
    )
    names = " ".join(f"t{number}" for number in range(len(types)))
    reset = [f"body {{ counter-reset: {names}; }}"] if types else []
    return _begin(title, _PAGE_STYLE + "\n".join((*colours, *reset, *counters))) + "<main>\n"


def foot(types: Sequence[str]) -> str:
    """Returns the page after its last record, with the legend."""
    colours = assign_colours(types)
    entries = (
        f'<li class="t{number}"><span class="c{colours[kind]}" dir="auto">{escape(kind)}</span></li>\n'
        for number, kind in enumerate(types)
    )
    legend = f"<footer>\n<ul>\n{''.join(entries)}</ul>\n</footer>\n" if types else ""
    return f"</main>\n{legend}</body>\n</html>\n"


def _begin(title: str, style: str) -> str:
    return (
        '<!DOCTYPE html>\n<html>\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{style}\n</style>\n</head>\n<body>\n"
        f'<h1 dir="auto">{escape(title)}</h1>\n'
    )


def class_attributes(types: Sequence[str]) -> Attributes:
    """Returns the attributes for a page with a legend of types: a class for the colour, and one for the type."""
    colours = assign_colours(types)
    classes = {kind: f'class="c{colours[kind]} t{number}"' for number, kind in enumerate(types)}
    return lambda kind: (classes.get(kind) or f'class="c{colour(kind)}"', "")


def block(record: Record, attributes: Attributes, *, has_header: bool) -> str:
    """Returns the HTML of a tagged record: its text, else one line of tokens per sentence."""
    header = f'<header dir="auto">{escape(str(record.document))}</header>' if has_header else ""
    if record.text is None:
        body = "\n".join(sentence.highlight(attributes) for sentence in record.sentences)
    else:
        body = "".join(highlight(record.text, _text_marks(record), attributes))
    count = sum(1 for sentence in record.sentences if sentence.tokens)
    return f'<article dir="auto" data-sentences="{count}">{header}{body}</article>\n'


def index(title: str, pages: Iterable[tuple[PurePath, Path]]) -> Iterator[bytes]:
    """Yields a page with a link to each page of a folder, and the numbers of sentences and entities on it.

    Args:
        title: the title of the page.
        pages: the path of each page relative to the folder, and its file.
    """
    yield _encode(_begin(title, _INDEX_STYLE) + "<table>\n")
    yield _encode(_row("th", "page", "sentences", "entities"))
    totals = [0, 0]
    for relative_path, path in pages:
        counts = _count(path)
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        link = f'<a dir="auto" href="{quote(os.fsencode(relative_path))}">{escape(str(relative_path))}</a>'
        yield _encode(_row("td", link, *(f"{count:,}" for count in counts)))
    yield _encode(_row("th", "total", *(f"{total:,}" for total in totals)) + "</table>\n</body>\n</html>\n")


def _row(cell: str, *values: str) -> str:
    return f"<tr>{''.join(f'<{cell}>{value}</{cell}>' for value in values)}</tr>\n"


def _count(path: Path) -> tuple[int, int]:
    """Returns the numbers of sentences and entities on a page of `make_sink`."""
    sentences = entities = 0
    with path.open("rb") as lines:
        for line in lines:
            if match := _ARTICLE.match(line):
                sentences += int(match[1])
            entities += line.count(_MARK)
    return sentences, entities


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _text_marks(record: Record) -> Iterator[Mark]:
    for sentence in record.sentences:
        for span in sentence.spans:
            start, end = sentence.offsets[span.start][0], sentence.offsets[span.end - 1][1]
            yield Mark(start - record.start, end - record.start, span.type, span.probability)
