"""The result of an audit: suspects by rank, sentence weights, and the files that hold them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagger import streams
from tagger.analysis import audit_page, suspects
from tagger.analysis.suspects import Findings, Suspect
from tagger.choices import SuspectKind, counted, options
from tagger.data.formats.reading import shorten
from tagger.data.sentence import Sentence
from tagger.io import atomic, json_files
from tagger.training import sentence_weights

_MAX_LISTED = 10
_MAX_TEXT = 40
_WEAK = 0.3  # disagreement of models that know too little; wrong labels are seldom a tenth


@dataclass(frozen=True)
class AuditFiles:
    """The files that an audit writes.

    Attributes:
        suspects: a row of JSON for each suspect, by rank.
        weights: the weight of each training sentence, for `training.sentence_weights`.
        page: a page on which a person goes through the suspects.
    """

    suspects: Path
    weights: Path
    page: Path


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        suspects: the suspects of all files, by rank.
        weights: the weight of each training sentence.
        annotations: the number of annotations by file: spans, or plain tags.
        unjudged: the number of annotations that no model could judge, because their type is in one fold only, or they
            are cut by windows, or not annotated completely.
        models: the number of models.
        files: the files with the results.
    """

    suspects: tuple[Suspect, ...]
    weights: tuple[float, ...]
    annotations: Mapping[str, int]
    unjudged: int
    models: int
    files: AuditFiles

    def counts(self) -> dict[str, int]:
        """Returns the number of suspects by kind whose alternative is more probable than the annotation."""
        counts = Counter[str](suspect.kind for suspect in self.suspects if suspect.is_improbable)
        return {kind: counts[kind] for kind in options(SuspectKind) if counts[kind]}

    @property
    def disagreement(self) -> float:
        """The fraction of the judged annotations whose alternative is more probable."""
        improbable = sum(count for kind, count in self.counts().items() if kind != "missing")
        return improbable / max(sum(self.annotations.values()) - self.unjudged, 1)

    def to_json(self) -> dict[str, Any]:
        """Returns the figures and the files; the suspects are in the file `suspects`."""
        return {
            "models": self.models,
            "annotations": dict(self.annotations),
            "unjudged": self.unjudged,
            "suspects": len(self.suspects),
            "improbable": self.counts(),
            "lowered_weights": sum(weight < 1 for weight in self.weights),
            "files": {name: str(path) for name, path in vars(self.files).items()},
        }

    def __str__(self) -> str:
        total = sum(self.annotations.values())
        improbable = self.counts()
        lines = [
            f"{counted(total, 'annotation')}, {counted(self.models, 'model')};"
            f" the alternative is more probable for {sum(improbable.values()):,}:"
        ]
        lines += [f"{kind:<18}{count:>8,}" for kind, count in improbable.items()]
        if self.unjudged:
            lines.append(f"{counted(self.unjudged, 'annotation')} could not be judged")
        if self.disagreement > _WEAK:
            lines.append(
                f"the models disagree with {100 * self.disagreement:.0f} % of the annotations, too many to find errors;"
                " train more epochs, or on more data"
            )
        lines.append("")
        lines += [_describe(suspect, rank) for rank, suspect in enumerate(self.suspects[:_MAX_LISTED], 1)]
        return "\n".join([*lines, "", *(streams.escape_line(str(path)) for path in vars(self.files).values())])


def _describe(suspect: Suspect, rank: int) -> str:
    annotated = suspect.annotated_type or "no entity"
    alternative = suspect.alternative
    suggested = "no entity" if alternative is None else alternative.type
    if alternative is not None and (alternative.start, alternative.end) != (suspect.start, suspect.end):
        suggested += f" {shorten(suspect.alternative_text, _MAX_TEXT)!r}"
    change = f"{annotated} ({suspect.probability:.1%}) -> {suggested} ({suspect.alternative_probability:.1%})"
    return f"{rank:>3} {suspect.file}:{suspect.line} {shorten(suspect.text, _MAX_TEXT)!r}: {change}"


def build(
    findings: Mapping[str, Findings], corpora: Mapping[str, Sequence[Sentence]], files: AuditFiles, *, models: int
) -> Audit:
    """Returns the result of an audit and writes its files.

    Args:
        findings: those of each file; the first is the training data.
        corpora: the sentences of each file.
        files: the files to write.
        models: the number of models.

    Raises:
        StorageError: a file cannot be written.
    """
    ranked = sorted(
        (suspect for each in findings.values() for suspect in each.suspects), key=lambda suspect: -suspect.score
    )
    train, *_ = findings.values()
    sentences, *_ = corpora.values()
    weights = suspects.weigh(train.disagreements)
    rows = (json_files.dump(suspect.to_json(rank)) + b"\n" for rank, suspect in enumerate(ranked, 1))
    page = audit_page.build(ranked, corpora, ", ".join(corpora))
    with atomic.wrap_os_errors(files.suspects.parent):
        atomic.replace(files.suspects, b"".join(rows))
        atomic.replace(files.weights, sentence_weights.dump(sentences, weights))
        atomic.replace(files.page, page.encode("utf-8", "replace"))
    return Audit(
        tuple(ranked),
        weights,
        {name: each.annotations for name, each in findings.items()},
        sum(each.unjudged for each in findings.values()),
        models,
        files,
    )
