"""Selected items as input of annotation tools, with the model's spans as pre-annotations.

- doccano: JSON lines with `text` and `label`
- label-studio: an array of tasks, one per line, with `predictions`; the labelling interface has a `Labels` element
  `label` for a `Text` element `text` with the value `$text`
- prodigy: JSON lines with `text`, `tokens`, `spans` and `meta`
- jsonl: JSON lines of this toolkit: `text`, or `tokens` and `sentences` if the source has tokens, and `spans`; for
  plain tags `tokens`, `sentences` and `tags`

A plain tag is a span of one token in the other formats. Each has the score, the file, the line and the document of the
item. Offsets count code points. A corrected task is training data as it is; Label Studio and Prodigy export annotations
of their own.
"""

from collections.abc import Iterable
from itertools import accumulate, chain, pairwise
from typing import Any

from tagger.analysis.selection import SelectedItem
from tagger.choices import AnnotationTool
from tagger.data.formats import doccano, jsonl, label_studio, prodigy
from tagger.data.formats.text_spans import TextWithSpans
from tagger.data.sentence import Record


def dump(items: Iterable[SelectedItem], tool: AnnotationTool) -> bytes:
    """Returns the input of a tool."""
    build = {"doccano": _for_doccano, "label-studio": _for_label_studio, "prodigy": _for_prodigy, "jsonl": _for_jsonl}
    rows = [jsonl.dump(build[tool](item)) for item in items]
    if tool == "label-studio":
        separator = label_studio.SEPARATOR.encode()
        return label_studio.HEAD.encode() + separator.join(rows) + b"\n" + label_studio.FOOT.encode()
    return b"".join(row + b"\n" for row in rows)


def _for_doccano(item: SelectedItem) -> dict[str, Any]:
    return doccano.build_task(_text_spans(item), item.location())


def _for_label_studio(item: SelectedItem) -> dict[str, Any]:
    prediction = {"result": label_studio.build_results(_text_spans(item))}
    return {"data": {"text": item.text} | item.location(), "predictions": [prediction]}


def _for_prodigy(item: SelectedItem) -> dict[str, Any]:
    return prodigy.build_task(_text_spans(item), {"meta": item.location(), "document": item.document})


def _text_spans(item: SelectedItem) -> TextWithSpans:
    bounds = chain.from_iterable(sentence.offsets for sentence in item.sentences)
    return TextWithSpans(item.text, list(bounds), item.spans())


def _for_jsonl(item: SelectedItem) -> dict[str, Any]:
    if item.has_spans and not item.is_tokenized:
        return {"text": item.text, "spans": item.spans()} | item.location()
    tokens = list(chain.from_iterable(sentence.tokens for sentence in item.sentences))
    bounds = list(pairwise(accumulate(map(len, item.sentences), initial=0)))
    if not item.has_spans:
        tags = list(chain.from_iterable(sentence.tags for sentence in item.sentences))
        return {"tokens": tokens, "sentences": bounds, "tags": tags} | item.location()
    spans = Record(item.sentences).spans_to_dicts(probabilities=True)
    return {"tokens": tokens, "sentences": bounds, "spans": spans} | item.location()
