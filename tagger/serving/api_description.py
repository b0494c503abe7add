"""The description of each path in the OpenAPI document: what it takes and returns, with examples."""

from typing import Any

from pydantic import BaseModel

from tagger.serving.queries import LabelStudioRequest, SetupRequest, TagRequest, TextRequest

_TEXT = "Anna Velde lives in Paris."
_SPANS = [
    {"type": "PER", "start": 0, "end": 10, "text": "Anna Velde"},
    {"type": "LOC", "start": 20, "end": 25, "text": "Paris"},
]
_DOCUMENT = {
    "text": _TEXT,
    "document": 0,
    "tokens": ["Anna", "Velde", "lives", "in", "Paris", "."],
    "tags": ["B-PER", "I-PER", "O", "O", "B-LOC", "O"],
    "spans": _SPANS,
    "offsets": [[0, 4], [5, 10], [11, 16], [17, 19], [20, 25], [25, 26]],
    "sentences": [[0, 6]],
}
_MODEL = {
    "name": "news",
    "version": "news-1f0c3a9be77d",
    "scheme": "IOB2",
    "types": ["LOC", "ORG", "PER"],
    "tags": ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"],
    "language": "en",
    "reads": "documents",
    "calibrated": False,
    "colours": {"LOC": 4, "ORG": 1, "PER": 7},
}
_INTERFACE = (
    '<View><Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)
_RESULT = {
    "id": "span-0",
    "from_name": "label",
    "to_name": "text",
    "type": "labels",
    "score": 0.99,
    "value": {"start": 0, "end": 10, "text": "Anna Velde", "labels": ["PER"]},
}
_ERRORS = {
    404: ("No model has this name.", "no model is called 'x'; the models are news"),
    408: ("The request took too long.", "the request was not complete and answered within 30 seconds"),
    413: ("The body is too large.", "the body is larger than 1,048,576 bytes; send several requests"),
    422: ("The request is not valid, or has too many tokens.", "threshold: expected less than or equal to 1, found 2"),
    429: ("Too many requests are waiting.", "too many requests are waiting; send the request again later"),
}


def _content(example: object, kind: str = "application/json") -> dict[str, Any]:
    return {kind: {"example": example}}


def _describe(summary: str, example: object, *, tag: str, kind: str = "application/json") -> dict[str, Any]:
    """Returns the description of a path without a body."""
    responses = {200: {"description": "Successful.", "content": _content(example, kind)}}
    return {"summary": summary, "tags": [tag], "responses": responses}


def _describe_post(
    summary: str, request: type[BaseModel], examples: dict[str, object], result: object, *, tag: str
) -> dict[str, Any]:
    """Returns the description of a path with a body."""
    schema = request.model_json_schema(by_alias=True)
    content = {"schema": schema, "examples": {name: {"value": value} for name, value in examples.items()}}
    described = _describe(summary, result, tag=tag)
    described["responses"] |= {
        status: {"description": text, "content": _content({"status": status, "errors": [error]})}
        for status, (text, error) in _ERRORS.items()
    }
    body = {"required": True, "content": {"application/json": content}}
    return described | {"openapi_extra": {"requestBody": body}, "description": request.__doc__}


TAG = _describe_post(
    "Tag texts or tokens",
    TagRequest,
    {
        "text": {"text": _TEXT, "probabilities": True},
        "texts": {"texts": [_TEXT, "Norvex Bank opens in Harwick."], "threshold": 0.5},
        "tokens": {"tokens": [["Anna", "Velde", "lives", "in", "Paris", "."]], "nbest": 3},
    },
    {"model": "news", "documents": [_DOCUMENT]},
    tag="tagging",
)
DOCCANO = _describe_post(
    "Label a text for doccano",
    TextRequest,
    {"text": {"text": _TEXT}},
    [{"label": span["type"], "start_offset": span["start"], "end_offset": span["end"]} for span in _SPANS],
    tag="annotation tools",
)
PREDICT = _describe_post(
    "Predict the annotations of tasks of Label Studio",
    LabelStudioRequest,
    {"tasks": {"tasks": [{"id": 1, "data": {"text": _TEXT}}], "label_config": _INTERFACE}},
    {"results": [{"result": [_RESULT], "score": 0.99, "model_version": _MODEL["version"]}]},
    tag="annotation tools",
)
SETUP = _describe_post(
    "Connect a project of Label Studio",
    SetupRequest,
    {"project": {"project": "1.1700000000", "schema": _INTERFACE}},
    {"model_version": _MODEL["version"]},
    tag="annotation tools",
)
MODELS = _describe("List the models", {"models": [_MODEL]}, tag="server")
HEALTH = _describe("Return whether the server runs", {"status": "UP"}, tag="server")
READY = _describe("Return whether the server takes requests", {"status": "ready"}, tag="server")
METRICS = _describe(
    "Return metrics for Prometheus", 'tagger_tokens_total{model="news"} 6.0\n', tag="server", kind="text/plain"
)


def _by_name(described: dict[str, Any]) -> dict[str, Any]:
    """Returns the description of the path that names a model."""
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}, "example": _MODEL["name"]}
    extra = described.get("openapi_extra", {}) | {"parameters": [name]}
    return described | {"summary": f"{described['summary']}, by the name of a model", "openapi_extra": extra}


PREDICT_BY_NAME, SETUP_BY_NAME, HEALTH_BY_NAME = map(_by_name, (PREDICT, SETUP, HEALTH))
