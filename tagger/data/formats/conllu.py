"""CoNLL-U: the tag is UPOS, XPOS or a key of MISC; multiword ranges, empty nodes and comments stay as they are."""

from collections.abc import Iterable, Iterator

from tagger.data.sentence import Sentence
from tagger.errors import ConfigError, DataError

_WIDTH, _FORM, _MISC = 10, 1, 9
_COLUMNS = {"upos": 3, "xpos": 4}
_OUTSIDE = "O"


def check_tag(tag: str) -> None:
    """Raises ConfigError unless a tag's place is upos, xpos or misc:KEY."""
    if tag not in _COLUMNS and not (tag.startswith("misc:") and len(tag) > len("misc:")):
        raise ConfigError(f"in CoNLL-U the tag must be upos, xpos or misc:KEY, got {tag!r}")


def read(source: Iterable[tuple[int, str]], name: str, tag: str, *, tagged: bool) -> Iterator[Sentence]:
    """Yields the sentences of a file with all their lines; a token without the MISC key that is asked for has tag O.

    Raises:
        DataError: a row has not ten columns, an id is none, or a field that is needed is empty.
    """
    check_tag(tag)
    raw: list[str] = []
    rows: list[list[str]] = []
    first, document, begun, closed = 0, 0, False, False
    for number, line in source:
        text = _text(line.removeprefix("\ufeff") if number == 1 else line)
        if not text.strip():
            closed = True
        elif closed:
            yield _sentence(raw, rows, first, document, tag, tagged=tagged)
            raw, rows, first, closed = [], [], 0, False
        if text.startswith(("# newdoc", "#newdoc")):
            document += begun  # the first newdoc in a file may follow its first sentences
        elif text.strip() and not text.startswith("#"):
            row = _row(text, f"{name}:{number}")
            if row[0].isdecimal():
                if tagged and not _get(row, tag):
                    raise DataError(f"{name}:{number}: {tag} has no value in {row[_MISC]!r}")
                rows.append(row)
                first, begun = first or number, True
        raw.append(line)
    if raw:
        yield _sentence(raw, rows, first, document, tag, tagged=tagged)


def _sentence(raw: list[str], rows: list[list[str]], first: int, document: int, tag: str, *, tagged: bool) -> Sentence:
    tokens = tuple(row[_FORM] for row in rows)
    tags = tuple(_get(row, tag) for row in rows) if tagged else ()
    return Sentence(tokens, tags, (), document, first, tuple(raw))


def _row(text: str, place: str) -> list[str]:
    row = text.split("\t")
    if len(row) != _WIDTH:
        shown = repr(text if len(text) <= 60 else f"{text[:60]}…")
        raise DataError(f"{place}: expected {_WIDTH} columns separated by tabs, found {len(row)} in {shown}")
    if not row[0].replace("-", "", 1).replace(".", "", 1).isdecimal():
        raise DataError(f"{place}: expected a word's id such as 3, 3-4 or 3.1, found {row[0]!r}")
    if not all(row):
        raise DataError(f"{place}: column {row.index('')} is empty; CoNLL-U writes _ there")
    return row


def _get(row: list[str], tag: str) -> str:
    if tag in _COLUMNS:
        return row[_COLUMNS[tag]]
    key = f"{tag.removeprefix('misc:')}="
    return next((item.removeprefix(key) for item in row[_MISC].split("|") if item.startswith(key)), _OUTSIDE)


def tagged(sentences: Iterable[Sentence], tag: str) -> bool:
    """Tells whether any token of sentences that were read has something in a tag's place."""
    if tag in _COLUMNS:
        return any(found != "_" for sentence in sentences for found in sentence.tags)
    key = f"{tag.removeprefix('misc:')}="
    return any(key in line.rpartition("\t")[2] for sentence in sentences for line in sentence.raw)


def write(sentence: Sentence, tag: str, *, as_read: bool) -> Iterator[str]:
    """Yields the lines of a sentence with its tags put in; as it was read, or made anew from its tokens."""
    check_tag(tag)
    if not as_read:
        for number, (token, value) in enumerate(zip(sentence.tokens, sentence.tags, strict=True), 1):
            row = [str(number), token, *"_" * (_WIDTH - 2)]
            yield "\t".join(_set(row, tag, value)) + "\n"
        yield "\n"
        return
    tags = iter(sentence.tags)
    for line in sentence.raw:
        text = _text(line)
        row = text.split("\t")
        if len(row) == _WIDTH and row[0].removeprefix("\ufeff").isdecimal():
            yield "\t".join(_set(row, tag, next(tags))) + line[len(text) :]
        else:
            yield line


def _set(row: list[str], tag: str, value: str) -> list[str]:
    if tag in _COLUMNS:
        row[_COLUMNS[tag]] = value
        return row
    key = f"{tag.removeprefix('misc:')}="
    items = [] if row[_MISC] == "_" else row[_MISC].split("|")
    places = [place for place, item in enumerate(items) if item.startswith(key)]
    if places:
        items[places[0]] = key + value
    elif value != _OUTSIDE:  # which is what a missing key is read as
        items.append(key + value)
    row[_MISC] = "|".join(items) or "_"
    return row


def _text(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")
