"""A page of text with its entities marked: readable by itself, without scripts, whatever the text holds."""

import html
from collections.abc import Iterator
from zlib import crc32

from tagger.data.sentence import Record, Sentence, Span

_COLOURS = 12
_STYLE = """
body { max-width: 50rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.9 system-ui, sans-serif; }
article { margin: 0 0 1rem; white-space: pre-wrap; overflow-wrap: anywhere; }
header { font-weight: bold; }
mark { padding: .15em .3em; border-radius: .3em; color: inherit; unicode-bidi: isolate; }
mark > bdi { margin-inline-start: .4em; font-size: .7em; font-weight: bold; opacity: .75; }
:root { color-scheme: light dark; }
"""
# Pictures of the control characters; those without one, and those that turn the order of what follows, as U+FFFD.
_SHOWN = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
_SHOWN |= dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)
_SHOWN |= dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)


def head(title: str) -> str:
    """Returns the page up to its first record."""
    colours = "".join(
        f"mark.c{number} {{ background: hsl({number * 360 // _COLOURS} 75% 55% / 35%); }}\n"
        for number in range(_COLOURS)
    )
    return (
        '<!DOCTYPE html>\n<html>\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{shown(title)}</title>\n<style>{_STYLE}{colours}</style>\n</head>\n<body>\n"
    )


def foot() -> str:
    """Returns the page's end."""
    return "</body>\n</html>\n"


def block(record: Record, *, titled: bool) -> str:
    """Returns a tagged record: its text, or its tokens with spaces between, and the id of its document if titled.

    White space between tokens stays as it was where there is a text, else a line holds a sentence.
    """
    header = f'<header dir="auto">{shown(str(record.document))}</header>' if titled else ""
    if record.text is None:
        body = "\n".join("".join(_of_tokens(sentence)) for sentence in record.sentences)
    else:
        body = "".join(_of_text(record, record.text))
    return f'<article dir="auto">{header}{body}</article>\n'


def shown(text: str) -> str:
    r"""Returns a text such that a page shows it and obeys nothing in it.

    >>> shown("<b>\x1b[0m")
    '&lt;b&gt;␛[0m'
    """
    return html.escape(text.translate(_SHOWN))


def _of_text(record: Record, text: str) -> Iterator[str]:
    before = 0
    for sentence in record.sentences:
        for span in sentence.spans:
            start = sentence.offsets[span.start][0] - record.start
            end = sentence.offsets[span.end - 1][1] - record.start
            yield shown(text[before:start])
            yield _mark(text[start:end], span)
            before = end
    yield shown(text[before:])


def _of_tokens(sentence: Sentence) -> Iterator[str]:
    before = 0
    for span in sentence.spans:
        if span.start > before:
            yield shown(" ".join(sentence.tokens[before : span.start])) + " "
        yield _mark(" ".join(sentence.tokens[span.start : span.end]), span)
        if span.end < len(sentence):
            yield " "
        before = span.end
    yield shown(" ".join(sentence.tokens[before:]))


def _mark(text: str, span: Span) -> str:
    kind = shown(span.type)
    title = kind if span.probability is None else f"{kind} {span.probability:.4f}"
    colour = crc32(span.type.encode("utf-8", "backslashreplace")) % _COLOURS
    return f'<mark class="c{colour}" title="{title}" dir="auto">{shown(text)}<bdi>{kind}</bdi></mark>'
