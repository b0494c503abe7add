"""The model card: README.md of a model directory, in Markdown with YAML front matter, as the Hugging Face Hub reads it.

The manifest does not list the card, so that a user may edit it without making the model corrupt. Two parts lie between
comments, so that they stay true: the calibration, and how to use the model by its name.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tagger import __version__
from tagger.choices import counted
from tagger.data.calibration import Calibration
from tagger.data.vocab import SPECIAL
from tagger.model import TaggerModel

_PUNCTUATION = re.compile(r"[!-+/:-@\[-`{-~]")  # of ASCII, but for comma, hyphen and full stop
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MAX_NAMES, _MAX_LENGTH = 200, 200
_LIBRARY = "bilstm-crf-tagger"
_PLACEHOLDER = "MODEL"
_EXPLANATION = (
    f"{_PLACEHOLDER} stands for the directory of this model, or for its name on the Hub such as hub:USER/NAME."
)
_COLUMNS = {"precision": "precision", "recall": "recall", "f1": "F1", "accuracy": "accuracy"}


@dataclass(frozen=True)
class DataPart:
    """A part of the data: its role (train, dev or test), name without path, hash of tokens and tags, and size."""

    role: str
    name: str
    digest: str
    sentences: int
    tokens: int


@dataclass(frozen=True)
class PartScores:
    """The scores of the model on a part of the data, in percent.

    Attributes:
        role: dev or test.
        scores: precision, recall, f1 and accuracy.
        interval: the 95 % interval of F1, or for plain tags of the accuracy, over the choice of the sentences.
        types: by type or plain tag, precision, recall, F1 and the number of gold spans or tokens.
    """

    role: str
    scores: Mapping[str, float]
    interval: tuple[float, float] | None = None
    types: Mapping[str, tuple[float, float, float, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingFacts:
    """What a card says about the training of a model.

    Attributes:
        data: the parts of the data.
        vectors: the SHA-256 of each file of word vectors by its name without path; "" if it is not known.
        seed: the random seed.
        epoch: the epoch of the model.
        scores: the scores of the model.
    """

    data: Sequence[DataPart]
    vectors: Mapping[str, str]
    seed: int
    epoch: int
    scores: Sequence[PartScores]


def build(model: TaggerModel, facts: TrainingFacts | None = None) -> bytes:
    """Returns the card of a model; without facts for one whose training is not known."""
    has_spans = model.scheme is not None
    trained = [] if facts is None else ["## Training", *_training(model, facts), "## Scores"]
    trained += [] if facts is None else [*_scores(facts, has_spans=has_spans), _block("seeds", "")]
    sections = [
        "\n".join(_front_matter(model, facts)),
        "# BiLSTM-CRF tagger",
        _describe(model),
        "## Use",
        _block("use", f"{_EXPLANATION}\n\n{_usage(model, _PLACEHOLDER)}"),
        *trained,
        "## Calibration",
        _block("calibration", _calibration(model.calibration)),
        "## Labels",
        _labels(model),
        "## Limits",
        "\n".join(f"- {line}" for line in _limits(model)),
    ]
    return ("\n\n".join(sections) + "\n").encode()


def with_calibration(card: bytes, calibration: Calibration) -> bytes:
    """Returns a card with the description of a calibration; unchanged if a user has removed this part."""
    return _replace_block(card, "calibration", _calibration(calibration))


def with_name(card: bytes, model: TaggerModel, name: str) -> bytes:
    """Returns a card that shows how to use a model by its name; unchanged if a user has removed this part."""
    return _replace_block(card, "use", _usage(model, name))


def with_seeds(card: bytes, lines: Sequence[str]) -> bytes:
    """Returns a card with lines about the scores of several seeds, the last of which says which seed this model is."""
    return _replace_block(card, "seeds", "\n".join(lines))


def names_license(card: bytes) -> bool:
    """Returns whether the front matter of a card names a licence."""
    front = card.decode(errors="replace").partition("\n---")[0]
    return re.search(r"^license:\s*\S", front, re.MULTILINE) is not None


def escape(text: str) -> str:
    r"""Returns text that Markdown and HTML show as it is, on one line.

    >>> print(escape("[a](b) <i> B-PER"))
    \[a\]\(b\) &lt;i&gt; B-PER
    """
    printable = _printable(text)
    return _PUNCTUATION.sub(lambda match: _ENTITIES.get(match[0], f"\\{match[0]}"), printable)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "\ufffd" for character in text[:_MAX_LENGTH])


def _quoted(text: str) -> str:
    """Returns text as a string of YAML."""
    return json.dumps(_printable(text), ensure_ascii=False)


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: written by the tool -->", f"<!-- end of {name} -->"


def _block(name: str, text: str) -> str:
    start, end = _marks(name)
    return "\n".join(filter(None, (start, text, end)))


def _replace_block(card: bytes, name: str, text: str) -> bytes:
    start, end = _marks(name)
    head, opened, rest = card.decode(errors="replace").partition(start)
    _, closed, tail = rest.partition(end)
    return f"{head}{_block(name, text)}{tail}".encode() if opened and closed else card


def _front_matter(model: TaggerModel, facts: TrainingFacts | None) -> Iterator[str]:
    has_spans = model.scheme is not None
    yield from ("---", f"library_name: {_LIBRARY}", "pipeline_tag: token-classification")
    # The language of a model that was trained on tokens is not known.
    data = model.config.data
    yield f"language: {_quoted(data.language)}" if data.tokenizer else "# language: fill in, such as en"
    yield "# license: fill in, such as mit"
    yield "tags:"
    yield from (f"- {tag}" for tag in ("sequence-labelling", "bilstm-crf", *(["named-entity-recognition"] * has_spans)))
    measures = ("precision", "recall", "f1", "accuracy") if has_spans else ("accuracy",)
    yield "metrics:"
    yield from (f"- {measure}" for measure in measures)
    if facts is not None:
        yield from _model_index(facts, measures)
    yield "---"


def _model_index(facts: TrainingFacts, measures: Sequence[str]) -> Iterator[str]:
    yield from ("model-index:", f"- name: {_LIBRARY}", "  results:")
    names = {part.role: part.name for part in facts.data}
    for part in facts.scores:
        yield from ("  - task:", "      type: token-classification", "    dataset:")
        yield from (f"      name: {_quoted(names[part.role])}", "      type: text", f"      split: {part.role}")
        yield "    metrics:"
        for measure in measures:
            yield from (f"    - type: {measure}", f"      value: {part.scores[measure] / 100:.4f}")


def _describe(model: TaggerModel) -> str:
    names = _names(model)
    settings = model.config.model
    reads = "whole documents" if settings.reads_documents else "single sentences"
    task = (
        f"Finds spans of {counted(len(names), 'type')}"
        if model.scheme
        else f"Gives each token a tag out of {len(names)}"
    )
    count = len(model.network.members)
    network = [f"{settings.encoder.cell} layers"] if settings.encoder.num_layers else []
    if model.transformer is not None:
        origin = model.transformer.origin
        name = f"{origin.name}@{origin.revision}" if origin.revision else Path(origin.name).name
        kind = "trained" if settings.transformer.trainable else "frozen"
        network.append(f"the {kind} transformer {escape(name)} (SHA-256 of its weights {origin.digest})")
    head = "best path of a CRF (Viterbi)" if settings.head.kind == "crf" else "softmax"
    valid = f", only valid sequences of {model.scheme}" if model.scheme else ""
    layers = f"Network: {' and '.join(network)}. " if network else ""
    layers += f"Ensemble: the mean of the scores of {count} networks. " if count > 1 else ""
    return f"{task}. Reads {reads}. {layers}Decoding: {head}{valid}. Written by {_LIBRARY} {__version__}."


def _names(model: TaggerModel) -> list[str]:
    """Returns the types of spans, or the plain tags."""
    if model.scheme is None:
        return list(model.tags.items)
    return sorted({tag.partition("-")[2] for tag in model.tags.items if "-" in tag} or {"span"})


def _usage(model: TaggerModel, name: str) -> str:
    language = model.config.data.language
    return f"""\
```sh
pip install '{_LIBRARY}[text]'
echo "Text to tag." | tagger tag - --model {name} --from text --to jsonl
```

```python
import tagger

document = tagger.load("{name}").tag_text("Text to tag.")
print(document.to_dict())
```

```python
import spacy

nlp = spacy.blank("{language}")
nlp.add_pipe("bilstm_crf_tagger", config={{"model": "{name}"}})
print(nlp("Text to tag.").ents)
```"""


def _training(model: TaggerModel, facts: TrainingFacts) -> Iterator[str]:
    yield _table(
        ("part", "data", "sentences", "tokens", "SHA-256 of tokens and tags"),
        [(part.role, escape(part.name), f"{part.sentences:,}", f"{part.tokens:,}", part.digest) for part in facts.data],
    )
    settings = model.config.training
    epochs = counted(settings.epochs, "epoch")
    yield f"Seed {facts.seed}, at most {epochs}. Epoch {facts.epoch} is the best on the dev data."
    if facts.vectors:
        yield "Word vectors:"
        yield _table(
            ("file", "SHA-256"),
            [(escape(name), digest or "not known") for name, digest in facts.vectors.items()],
        )
    if model.config.model.words.embedding_dim:
        words = len(model.words) - len(SPECIAL)
        yield f"Words with vectors: {words:,} trained, {len(model.frozen_words):,} frozen."


def _scores(facts: TrainingFacts, *, has_spans: bool) -> Iterator[str]:
    chosen = _COLUMNS if has_spans else {"accuracy": "accuracy"}
    score = "F1" if has_spans else "accuracy"
    rows = []
    for part in facts.scores:
        interval = f"{part.interval[0]:.2f} to {part.interval[1]:.2f}" if part.interval else ""
        rows.append((part.role, *(f"{part.scores[name]:.2f}" for name in chosen), interval))
    yield _table(("part", *chosen.values(), f"95 % interval of {score}"), rows)
    yield (
        f"In percent, with seed {facts.seed}. The interval covers the choice of the sentences (bootstrap), not the"
        " variation between trainings. The dev data selected the epoch, so its scores are optimistic."
    )
    last = facts.scores[-1]
    if last.types:
        listed = list(last.types.items())[:_MAX_NAMES]
        yield f"By {'type' if has_spans else 'tag'}, on {last.role}:"
        yield _table(
            ("name", "precision", "recall", "F1", "spans" if has_spans else "tokens"),
            [(escape(name), *(f"{value:.2f}" for value in row[:3]), f"{row[3]:,}") for name, row in listed],
        )


def _calibration(calibration: Calibration) -> str:
    if calibration.is_identity:
        return "The probabilities are not calibrated: `tagger calibrate MODEL DEV` fits them to tagged data."
    lines = [
        f"Calibrated on data with the SHA-256 {escape(calibration.data)}: temperature {calibration.temperature:.3f}."
    ]
    if calibration.type_temperatures:
        rows = [(escape(name), f"{value:.3f}") for name, value in calibration.type_temperatures.items()]
        lines.append(_table(("type", "temperature"), rows))
    return "\n\n".join(lines)


def _labels(model: TaggerModel) -> str:
    names = _names(model)
    rest = f" and {len(names) - _MAX_NAMES:,} more" * (len(names) > _MAX_NAMES)
    return f"{'Types' if model.scheme else 'Tags'}: {', '.join(map(escape, names[:_MAX_NAMES]))}{rest}."


def _limits(model: TaggerModel) -> Iterator[str]:
    if model.scheme:
        yield "Spans neither overlap nor nest, and each has one type."
    yield "Scores hold for texts like the test data; on other texts, topics or times they are lower. Test it on yours."
    yield "Text in another letter case than the training data, without accents, or from speech is tagged worse."
    if model.config.data.tokenizer:
        yield f"Texts were split by {escape(model.config.data.tokenizer)}."
    else:
        yield "It was trained on tokens: texts that are split in another way are tagged worse."
    if model.config.model.reads_documents:
        yield "It reads documents: a sentence without its document is tagged worse."
    yield "Do not decide about people by its results alone."


def _table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(heading)
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows))
