"""The endpoints that tag: each parses the body of a request, and writes the body of the answer.

`/tag` has documents as JSON lines have them, `/doccano` labels for doccano, `/predict` predictions for Label Studio.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from tagger.data.formats import Layout, jsonl, label_studio
from tagger.data.formats.text_spans import find_text_spans
from tagger.data.formats.writing import WriteOptions
from tagger.data.sentence import Record
from tagger.io import json_files
from tagger.serving import labelling_interface
from tagger.serving.labelling_interface import LabellingInterface
from tagger.serving.limits import Limits, RequestError
from tagger.serving.queries import (
    LabelStudioRequest,
    Query,
    TaggingOptions,
    TagRequest,
    TextRequest,
    build_records,
    choose_options,
    parse_json,
    validate,
)
from tagger.serving.served_models import ServedModel, ServedModels
from tagger.tagging import DecodingOptions

Endpoint = Callable[[bytes, str | None, ServedModels, Limits], Query]
"""Returns the query of a body, given the name of the model in the path, if any; see `parse_tag` for errors."""


def parse_tag(body: bytes, name: str | None, models: ServedModels, limits: Limits) -> Query:
    """Returns the query of a request for documents.

    Raises:
        RequestError: the request is not valid, exceeds a limit, or names an unknown model.
        ConfigError: options contradict the model or one another.
    """
    request = validate(TagRequest, parse_json(body))
    model = models.find(name or request.model)
    options = choose_options(request, model)
    records = build_records(
        _list_documents(request),
        model,
        limits,
        nbest=request.nbest,
        language=models.check_language(request.language),
        newline=request.newline,
    )
    return Query(model, options, records, partial(_write_documents, model.name, options.decoding))


def _list_documents(request: TagRequest) -> list[dict[str, Any]]:
    inputs = {"text": request.text, "texts": request.texts, "tokens": request.tokens}
    present = [name for name, value in inputs.items() if value is not None]
    if len(present) != 1:
        raise RequestError(422, f"expected one of text, texts and tokens, found {' and '.join(present) or 'none'}")
    if request.texts is None:
        return [{present[0]: inputs[present[0]]}]
    if not isinstance(request.texts, list):
        raise RequestError(422, "expected a list as 'texts'; a single text is given as 'text'")
    return [{"text": text} for text in request.texts]


def _write_documents(name: str, decoding: DecodingOptions, records: Sequence[Record]) -> bytes:
    write = _document_writer(decoding.probabilities, decoding.nbest > 0)
    documents = ",\n".join([write(record).removesuffix("\n") for record in records])
    text = f'{{"model": {json_files.dump(name).decode()}, "documents": [\n{documents}\n]}}\n'
    return text.encode("utf-8", "backslashreplace")  # escapes lone surrogates, as files do


@lru_cache
def _document_writer(probabilities: bool, alternatives: bool) -> jsonl.Writer:
    return jsonl.Writer(WriteOptions("jsonl", Layout(), probabilities=probabilities, alternatives=alternatives))


def parse_doccano(body: bytes, name: str | None, models: ServedModels, limits: Limits) -> Query:
    """Returns the query of a request of doccano for the labels of a text; see `parse_tag` for errors."""
    request = validate(TextRequest, parse_json(body))
    model = models.find(name or request.model)
    _require_spans(model)
    records = build_records(
        [{"text": request.text}],
        model,
        limits,
        nbest=request.nbest,
        language=models.check_language(request.language),
        newline=request.newline,
    )
    return Query(model, choose_options(request, model), records, _write_labels)


def _write_labels(records: Sequence[Record]) -> bytes:
    (record,) = records
    labels = [
        {"label": span["type"], "start_offset": span["start"], "end_offset": span["end"]}
        for span in record.spans_to_dicts(probabilities=False)
    ]
    return jsonl.dump(labels)


def parse_label_studio(body: bytes, name: str | None, models: ServedModels, limits: Limits) -> Query:
    """Returns the query of a request of Label Studio for the predictions of tasks; see `parse_tag` for errors."""
    request = validate(LabelStudioRequest, parse_json(body))
    model = models.find(name)
    _require_spans(model)
    interface = labelling_interface.parse(request.label_config)
    texts = [{"text": _find_text(task, interface, number)} for number, task in enumerate(request.tasks, 1)]
    records = build_records(texts, model, limits)
    options = TaggingOptions(DecodingOptions(probabilities=True))
    return Query(model, options, records, partial(_write_predictions, interface, model.version))


def _find_text(task: Mapping[str, Any], interface: LabellingInterface, number: int) -> str:
    """Returns the text of a task of Label Studio.

    Raises:
        RequestError: the task has none.
    """
    data = task.get("data")
    values = data if isinstance(data, Mapping) else {}
    strings = [value for value in values.values() if isinstance(value, str)]
    text = values.get(
        interface.text_field or "text", strings[0] if not interface.text_field and len(strings) == 1 else None
    )
    if not isinstance(text, str):
        raise RequestError(422, f"task {number}: expected a text as {interface.text_field or 'text'!r} in its data")
    return text


def _write_predictions(interface: LabellingInterface, version: str, records: Sequence[Record]) -> bytes:
    predictions = []
    for record in records:
        annotated = find_text_spans(record, probabilities=True)
        results = [] if annotated is None else label_studio.build_results(annotated)
        results = labelling_interface.select_labels(interface, results)
        scores = [result["score"] for result in results if "score" in result]
        predictions.append({"result": results, "score": min(scores, default=1.0), "model_version": version})
    return jsonl.dump({"results": predictions})


def _require_spans(model: ServedModel) -> None:
    if model.tagger.model.scheme is None:
        raise RequestError(422, f"the tags of the model {model.name} are plain; annotation tools take spans")
