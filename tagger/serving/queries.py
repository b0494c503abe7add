"""Requests to tag, as objects: parsed from JSON, checked, and converted to records as files of JSON lines are."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, ValidationError

from tagger.choices import Newline, Scheme
from tagger.data import schemes
from tagger.data.formats import Layout, rows
from tagger.data.formats.reading import ReadOptions
from tagger.data.sentence import Record
from tagger.errors import ConfigError
from tagger.io import json_files
from tagger.serving.limits import MAX_NBEST, MAX_TEXTS, Limits, RequestError
from tagger.serving.served_models import ServedModel
from tagger.tagging import DecodingOptions

_MAX_ERRORS = 5
_LONG_WORD = re.compile(r"\S{100,}")
_MARK = re.compile(r"[\W_]")
_MAX_WORD = 1000  # longer words are divided before they are split
_MAX_WORK = 5_000_000  # marks times characters of long words, about a second
Probability = Annotated[float, Field(ge=0, le=1)]
Tokens = list[str] | list[list[str]]
_Request = TypeVar("_Request", bound=BaseModel)


class Options(BaseModel):
    """The options of a request, which are those of `tagger tag`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(None, description="Name of the model [the first one].")
    probabilities: bool = Field(False, description="Return the exact probability of each tag and span.")
    threshold: Probability | None = Field(None, description="Drop spans with a lower probability.")
    precision: Probability | None = Field(
        None,
        description="Precision to reach with 95 % confidence, by a threshold for each type of a calibrated model.",
    )
    nbest: int = Field(0, ge=0, le=MAX_NBEST, description="Number of most probable tag sequences to return.")
    language: str | None = Field(
        None, description="Language of the texts, an ISO code that the server has loaded [that of the model]."
    )
    newline: Newline = Field("break", description="End a sentence at each newline, or treat newlines as spaces.")
    scheme: str | None = Field(None, description="Scheme of the tags: IOB1, IOB2 or IOBES [that of the model].")


class TextRequest(Options):
    """A text to tag."""

    text: SkipValidation[str] = Field(description="The text.", examples=["Anna Velde lives in Paris."])


class TagRequest(Options):
    """Texts or tokens to tag: exactly one of `text`, `texts` and `tokens`."""

    text: SkipValidation[str] | None = Field(None, description="A text, which is one document.")
    texts: SkipValidation[list[str]] | None = Field(
        None, description="Texts, each a document.", json_schema_extra={"maxItems": MAX_TEXTS}
    )
    tokens: SkipValidation[Tokens] | None = Field(
        None, description="The tokens of a sentence, or of each sentence of a document."
    )


class LabelStudioRequest(BaseModel):
    """A request of Label Studio for predictions. Other fields are ignored."""

    tasks: list[dict[str, Any]] = Field(
        max_length=MAX_TEXTS, examples=[[{"id": 1, "data": {"text": "Anna Velde lives in Paris."}}]]
    )
    label_config: str | None = Field(None, description="The labelling interface, in XML.")


class SetupRequest(BaseModel):
    """A request of Label Studio when it connects. Other fields are ignored."""

    label_schema: str | None = Field(None, alias="schema", description="The labelling interface, in XML.")


@dataclass(frozen=True, slots=True)
class TaggingOptions:
    """How records are tagged; requests with equal options are tagged together."""

    decoding: DecodingOptions
    scheme: Scheme | None = None


class Query(NamedTuple):
    """A request that can be tagged.

    Attributes:
        model: the model.
        options: how to tag.
        records: what to tag.
        write: returns the body of the answer.
    """

    model: ServedModel
    options: TaggingOptions
    records: Sequence[Record]
    write: Callable[[Sequence[Record]], bytes]


def parse_json(body: bytes) -> Any:
    """Returns the value of a body.

    Raises:
        RequestError: the body is not valid JSON.
    """
    try:
        return json_files.parse(body)
    except ValueError as error:
        raise RequestError(422, f"the body is not valid: {error}") from None


def validate(kind: type[_Request], value: Any) -> _Request:
    """Returns a JSON value as a request.

    Raises:
        RequestError: the value does not fit.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        faults = [_describe(fault, kind) for fault in error.errors(include_url=False)[:_MAX_ERRORS]]
        raise RequestError(422, *faults) from None


def _describe(fault: Mapping[str, Any], kind: type[BaseModel]) -> str:
    """Returns a fault that pydantic found, in one line."""
    path = ".".join(str(part)[:60] for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown field {path!r}; expected {', '.join(kind.model_fields)}"
    value = "" if isinstance(fault["input"], dict) else f", found {json_files.describe(fault['input'])}"
    message = fault["msg"].removeprefix("Input should be ").replace("Field required", "a value")
    if fault["type"] == "literal_error":
        message = message.replace("'", '"')
    if fault["type"] in ("model_type", "dict_type"):
        message = "a JSON object"
    return f"{path or 'the body'}: expected {message}{value}"


def choose_options(request: Options, model: ServedModel) -> TaggingOptions:
    """Returns how the records of a request are tagged.

    Raises:
        ConfigError: options contradict the model or one another.
    """
    scheme = schemes.parse_scheme(request.scheme)
    if scheme is not None and model.tagger.model.scheme is None:
        raise ConfigError(f"the model's tags are plain; they cannot be encoded in {scheme}")
    decoding = DecodingOptions(request.probabilities, request.threshold, request.nbest, precision=request.precision)
    return TaggingOptions(decoding, scheme)


def build_records(
    documents: Sequence[Mapping[str, Any]],
    model: ServedModel,
    limits: Limits,
    *,
    nbest: int = 0,
    language: str | None = None,
    newline: Newline = "break",
) -> list[Record]:
    """Returns a record for each document, as lines of JSON lines are read.

    Args:
        documents: each has a text or tokens.
        model: the model that will tag them.
        limits: the limits of tokens, of all documents together.
        nbest: the number of alternatives that the request asks for.
        language: the language of texts; None for that of the model.
        newline: whether a newline in a text ends a sentence.

    Raises:
        RequestError: there are too many documents or tokens, or the tokens are not valid.
        ConfigError: texts of the language cannot be split.
    """
    if len(documents) > MAX_TEXTS:
        raise RequestError(422, f"{len(documents):,} texts; the limit is {MAX_TEXTS:,} in a request")
    options = ReadOptions(
        "request", Layout(), language=language or model.tagger.model.config.data.language, newline=newline
    )
    records, count = [], 0
    _check_work(documents)
    for number, document in enumerate(documents, 1):
        limits.check_tokens(count + _count_at_least(document), nbest)  # before it is split, which takes long
        try:
            record = rows.record(document, number, options)
        except ValueError as error:
            raise RequestError(422, str(error)) from None
        count += sum(map(len, record.sentences)) + len(record.sentences) + 1
        limits.check_tokens(count, nbest)
        records.append(record)
    return records


def _count_at_least(document: Mapping[str, Any]) -> int:
    """Returns a number that the tokens of a document reach or exceed."""
    text, tokens = document.get("text"), document.get("tokens")
    if isinstance(text, str):
        return len(text.split())
    return len(tokens) if isinstance(tokens, list) else 0


def _check_work(documents: Sequence[Mapping[str, Any]]) -> None:
    """Raises RequestError if the texts would take seconds to split.

    The tokenizer splits marks off a word one by one, and reads the rest of the word again after each of them.
    """
    texts = (document.get("text") for document in documents)
    words = (word for text in texts if isinstance(text, str) for word in _LONG_WORD.findall(text))
    if sum(len(_MARK.findall(word)) * min(len(word), _MAX_WORD) for word in words) > _MAX_WORK:
        raise RequestError(422, "words of over 100 characters have too many punctuation marks; separate them by spaces")
