"""Checks of tags: kinds, schemes, types and the edges of spans."""

import unicodedata
from collections.abc import Iterator, Sequence

from tagger.analysis.findings import Example, Finding, collect
from tagger.analysis.parts import Located, Part
from tagger.choices import counted
from tagger.data import schemes, tag_formats
from tagger.data.sentence import Span

RARE_SPANS = 10
"""Types with fewer spans in the training data are rare."""
_CLOSING = {
    ")": "(",
    "]": "[",
    "}": "{",
    '"': '"',
    "'": "'",
    "»": "«",
    "”": "“",
    "’": "‘",
    "''": "``",
    "-RRB-": "-LRB-",
}


def check(parts: Sequence[Part]) -> Iterator[Finding]:
    """Yields the findings about the tags of all parts."""
    yield from _check_characters(parts)
    yield from _check_kinds(parts)
    yield from collect(
        "invalid-tag",
        "error",
        "The scheme does not allow the tag after the one before. Training reads such tags by the rules of conlleval.",
        (example for part in parts for example in _invalid_tags(part)),
    )
    yield from _check_schemes(parts)
    yield from _check_unseen(parts)
    yield from _check_types(parts)
    yield from collect(
        "span-edge",
        "warning",
        "The span begins or ends with punctuation.",
        (
            _describe(located, span)
            for part in parts
            for located, span in part.spans
            if span.type != schemes.UNTYPED and _has_edge(located, span)  # spans without a type may be words
        ),
    )


def _first_use(part: Part, tag: str) -> tuple[Located, int]:
    """Returns the first sentence with a tag, and the tag's position."""
    located = next(each for each in part if tag in each.sentence.tags)
    return located, located.sentence.tags.index(tag)


def _tag_examples(part: Part, tags: Sequence[str]) -> Iterator[Example]:
    """Yields the first use of each tag with its number of tokens."""
    for tag in tags:
        located, position = _first_use(part, tag)
        token = located.sentence.tokens[position]
        yield Example(
            located.locate(position),
            f"{tag_formats.describe_tag(tag)} at {token!r}; {counted(part.tags[tag], 'token')} in {part.role}",
        )


def _check_characters(parts: Sequence[Part]) -> Iterator[Finding]:
    yield from collect(
        "control-tag",
        "error",
        "The tag is empty or has a control character. Training refuses it.",
        (example for part in parts for example in _tag_examples(part, schemes.control_tags(part.tags))),
    )


def _check_kinds(parts: Sequence[Part]) -> Iterator[Finding]:
    yield from collect(
        "mixed-tags",
        "error",
        "Most tags encode spans, but this one does not. Training refuses it.",
        (example for part in parts for example in _tag_examples(part, schemes.find_non_span_tags(set(part.tags)))),
    )
    kinds = {part.role: "spans" if part.detected.scheme else "plain tags" for part in parts if not part.only_outside}
    if len(set(kinds.values())) > 1:
        text = ", ".join(f"{role}: {kind}" for role, kind in kinds.items())
        message = "Some parts have spans and some have plain tags. Training refuses them."
        yield Finding("different-kinds", "error", message, 1, (Example("", text),))
    if "spans" in kinds.values():
        yield from collect(
            "no-spans",
            "error",
            "The part has no span, so that no model can be trained or chosen by it.",
            (Example("", part.role) for part in parts if part.only_outside),
        )


def _invalid_tags(part: Part) -> Iterator[Example]:
    scheme = part.detected.scheme
    if scheme is None:
        return
    for located in part:
        for position, fault in schemes.describe_invalid(located.sentence.tags, scheme):
            yield Example(located.locate(position), f"{fault} in {scheme}: {located.text}")


def _check_schemes(parts: Sequence[Part]) -> Iterator[Finding]:
    names = {part.role: part.detected.name for part in parts if part.detected.scheme}
    if len(set(names.values())) > 1:
        text = ", ".join(f"{role}: {name}" for role, name in names.items())
        message = "The parts have different schemes. Scores compare spans, so that this does no harm if it is intended."
        yield Finding("different-schemes", "warning", message, 1, (Example("", text),))


def _check_unseen(parts: Sequence[Part]) -> Iterator[Finding]:
    """Yields types, or for plain tags the tags, of dev and test data that the training data lacks."""
    train = next((part for part in parts if part.role == "train"), None)
    if train is None or train.only_outside:
        return
    scored = [part for part in parts if part is not train]
    if train.detected.scheme is None:
        unseen = ((part, [tag for tag in part.tags if tag not in train.tags]) for part in scored)
        examples = (example for part, tags in unseen for example in _tag_examples(part, tags))
        message = "The tag does not occur in the training data. Each use is scored as an error."
        yield from collect("unseen-tag", "warning", message, examples)
        return
    yield from collect(
        "unseen-type",
        "warning",
        "The type does not occur in the training data. Each of its spans is scored as an error.",
        (
            example
            for part in scored
            for example in _type_examples(part, [kind for kind in part.types if kind not in train.types])
        ),
    )


def _type_examples(part: Part, types: Sequence[str]) -> Iterator[Example]:
    """Yields the first span of each type with the number of its spans."""
    for kind in types:
        located, span = next(each for each in part.spans if each[1].type == kind)
        example = _describe(located, span)
        yield Example(example.location, f"{example.text}; {counted(part.types[kind], 'span')} in {part.role}")


def _describe(located: Located, span: Span) -> Example:
    text = located.sentence.slice(span.start, span.end)
    return Example(located.locate(span.start), f"{span.type}: {text}")


def _check_types(parts: Sequence[Part]) -> Iterator[Finding]:
    for part in parts:
        if part.role == "train":
            rare = [kind for kind, count in part.types.items() if count < RARE_SPANS]
            message = f"The type has fewer than {RARE_SPANS} spans in the training data."
            yield from collect("rare-type", "warning", message, _type_examples(part, rare))
    groups: dict[str, dict[str, Part]] = {}
    for part in parts:
        for kind in part.types:
            groups.setdefault(tag_formats.skeleton(kind).casefold(), {}).setdefault(kind, part)
    yield from collect(
        "similar-types",
        "warning",
        "The types differ only in case or in characters that look alike.",
        (
            Example(next(_type_examples(part, [kind])).location, ", ".join(map(tag_formats.describe_tag, group)))
            for group in groups.values()
            if len(group) > 1
            for kind, part in [list(group.items())[-1]]
        ),
    )


def _has_edge(located: Located, span: Span) -> bool:
    """Returns whether a span begins or ends with punctuation that does not pair with other punctuation in it.

    A full stop after an abbreviation, as in `Inc .`, is part of a name in many corpora and is not reported.
    """
    tokens = located.sentence.tokens[span.start : span.end]
    first, last = tokens[0], tokens[-1]
    if len(tokens) == 1:
        return _is_punctuation(first)
    if first in _CLOSING.values() and any(_CLOSING.get(token) == first for token in tokens[1:]):
        first = "x"
    if last in _CLOSING and _CLOSING[last] in tokens[:-1]:
        last = "x"
    return _is_punctuation(first) or (_is_punctuation(last) and last not in (".", "!", "?"))


def _is_punctuation(token: str) -> bool:
    return all(unicodedata.category(character)[0] == "P" for character in token.strip()) and bool(token.strip())
