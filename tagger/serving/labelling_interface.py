"""The labelling interface of a Label Studio project: where the text of a task is, and the names of labels."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from tagger.serving.limits import RequestError

_VARIABLE = re.compile(r"\$([A-Za-z0-9_]+)")
_DECLARATION = re.compile("<!(?!--)")


@dataclass(frozen=True, slots=True)
class LabellingInterface:
    """The parts of a labelling interface that predictions refer to.

    Attributes:
        labels_name: the name of the element `Labels`.
        text_name: the name of the element `Text`.
        text_field: the field of a task's data that has the text; None for `text` or the only field that is a string.
        labels: the label that stands for each type, by type; empty if the types are the labels.
    """

    labels_name: str = "label"
    text_name: str = "text"
    text_field: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def parse(config: str | None) -> LabellingInterface:
    """Returns the interface that a project's configuration describes; without a configuration, the usual names.

    A label stands for the type that its attribute `value` names, and for those of `predicted_values`.

    Raises:
        RequestError: the configuration is not valid, or has no element `Labels` for an element `Text`.
    """
    if not (config or "").strip():
        return LabellingInterface()
    assert config is not None
    if _DECLARATION.search(config):  # entities may grow without limit
        raise RequestError(422, "the labelling interface has a declaration (<!); expected elements and comments")
    try:
        root = ElementTree.fromstring(config)
    except (ElementTree.ParseError, ValueError) as error:
        raise RequestError(422, f"the labelling interface is not valid XML: {error}") from None
    texts = {element.get("name"): element for element in root.iter("Text")}
    for labels in root.iter("Labels"):
        text = texts.get(labels.get("toName"))
        if text is not None and labels.get("name"):
            variable = _VARIABLE.fullmatch(text.get("value", ""))
            names = dict(pair for label in labels.iter("Label") for pair in _name_types(label.attrib))
            return LabellingInterface(
                str(labels.get("name")), str(text.get("name")), variable[1] if variable else None, names
            )
    raise RequestError(422, "expected an element Labels with toName of an element Text in the labelling interface")


def _name_types(label: Mapping[str, str]) -> list[tuple[str, str]]:
    """Returns the types that a label stands for, each with the label as annotations have it."""
    value, label_name = label.get("value", ""), label.get("alias") or label.get("value", "")
    predicted = (name.strip() for name in label.get("predicted_values", "").split(","))
    return [(name, label_name) for name in (value, *predicted) if name]


def select_labels(interface: LabellingInterface, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns results in the names of an interface, without those whose type it has no label for."""
    named = []
    for result in results:
        (kind,) = result["value"]["labels"]
        label = interface.labels.get(kind) if interface.labels else kind
        if label is not None:
            names = {"from_name": interface.labels_name, "to_name": interface.text_name}
            named.append(result | names | {"value": result["value"] | {"labels": [label]}})
    return named
