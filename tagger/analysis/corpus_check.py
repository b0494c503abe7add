"""Checks a corpus: its figures by part, and its faults."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median_low
from typing import Any

from tagger import streams
from tagger.analysis import overlap_checks, tag_checks, word_checks
from tagger.analysis.findings import Example, Finding
from tagger.analysis.parts import Part
from tagger.choices import Severity, counted

LENGTH_LIMITS = (5, 10, 20, 40, 80, 160, 320)
"""The longest sentences, in tokens, of all groups of the length distribution but the last."""
MIN_COVERAGE = 80
"""Percentage of the training tokens below which a vector table causes a warning."""
_MAX_LISTED = 10  # examples of a printed finding; a page shows all that a finding holds
_MAX_ROWS = 30  # of types or tags in the printed table


@dataclass(frozen=True)
class PartFigures:
    """The figures of a part.

    Attributes:
        role: train, dev or test.
        files: the names of its files.
        sentences, tokens, documents: their numbers.
        words: the number of distinct words.
        spans: the number of spans.
        scheme: the usual name of the scheme, or plain tags.
        types: the number of spans of each type; empty for plain tags.
        tags: the number of tokens with each tag.
        unknown: the number of tokens that were not annotated.
        shortest, median, longest: lengths of sentences in tokens.
        lengths: the number of sentences by length: up to each of `LENGTH_LIMITS`, and the longer ones.
        coverage: percentage of the tokens with a vector; None without vectors.
    """

    role: str
    files: tuple[str, ...]
    sentences: int
    tokens: int
    documents: int
    words: int
    spans: int
    scheme: str
    types: dict[str, int]
    tags: dict[str, int]
    unknown: int
    shortest: int
    median: int
    longest: int
    lengths: tuple[int, ...]
    coverage: float | None


@dataclass(frozen=True)
class CorpusCheck:
    """The result of a check.

    Attributes:
        parts: the figures of each part.
        findings: the findings, errors first.
        decisions: the settings that the data suggested, with what else they could be; empty with a recipe.
    """

    parts: tuple[PartFigures, ...]
    findings: tuple[Finding, ...]
    decisions: tuple[str, ...] = ()

    def with_severity(self, severity: Severity) -> tuple[Finding, ...]:
        """Returns the errors or the warnings."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    @property
    def has_errors(self) -> bool:
        """Whether any finding is an error."""
        return bool(self.with_severity("error"))

    def to_json(self) -> dict[str, Any]:
        """Returns the parts and the findings as JSON has them."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(
            [
                *figures_table(self.parts),
                *([""] * bool(self.decisions)),
                *map(streams.escape_line, self.decisions),
                *_list(self.with_severity("error"), "error"),
                *_list(self.with_severity("warning"), "warning"),
            ]
        )


def check(
    parts: Sequence[Part],
    unreadable: Sequence[Finding] = (),
    vectors: Sequence[Path] = (),
    decisions: Sequence[str] = (),
) -> CorpusCheck:
    """Returns the figures and findings of the parts of a corpus.

    Args:
        parts: the parts that could be read, the training data first.
        unreadable: findings about the other parts.
        vectors: files of word vectors whose coverage to compute.
        decisions: the settings that the data suggested.

    Raises:
        DataError: a file of vectors cannot be read.
    """
    coverages = _coverages(parts, vectors)
    findings = [
        *unreadable,
        *tag_checks.check(parts),
        *overlap_checks.check(parts),
        *word_checks.check(parts),
        *_check_coverage(coverages),
    ]
    findings.sort(key=lambda finding: finding.severity != "error")
    return CorpusCheck(
        tuple(figures(part, coverages.get(part.role)) for part in parts), tuple(findings), tuple(decisions)
    )


def figures(part: Part, coverage: float | None = None) -> PartFigures:
    """Returns the figures of a part."""
    lengths = sorted(map(len, part.sentences))
    groups = Counter(
        next((n for n, limit in enumerate(LENGTH_LIMITS) if length <= limit), len(LENGTH_LIMITS)) for length in lengths
    )
    return PartFigures(
        role=part.role,
        files=tuple(corpus.name for corpus in part.corpora),
        sentences=len(part.sentences),
        tokens=sum(lengths),
        documents=len(part.documents),
        words=len(part.words),
        spans=len(part.spans),
        scheme=part.detected.name,
        types=dict(part.types),
        tags=dict(part.tags),
        unknown=sum(lengths) - part.tags.total(),
        shortest=lengths[0],
        median=median_low(lengths),
        longest=lengths[-1],
        lengths=tuple(groups[number] for number in range(len(LENGTH_LIMITS) + 1)),
        coverage=coverage,
    )


def _coverages(parts: Sequence[Part], paths: Sequence[Path]) -> dict[str, float]:
    """Returns the percentage of tokens with a vector in any table, by role."""
    if not paths:
        return {}
    from tagger.data import vector_files, vectors  # load numpy
    from tagger.data.vocab import forms

    wanted = {variant for part in parts for word in part.words for variant in forms(word)}
    tables = [vector_files.read(path, wanted=wanted, max_frozen_words=0) for path in paths]
    coverages = {part.role: vectors.coverage(tables, part.words) for part in parts}
    return {role: 100 * each.covered_tokens / max(each.tokens, 1) for role, each in coverages.items()}


def _check_coverage(coverages: dict[str, float]) -> Iterator[Finding]:
    for role, coverage in coverages.items():
        if coverage < MIN_COVERAGE:
            message = f"Less than {MIN_COVERAGE} % of the tokens have a vector. Do language and casing fit?"
            yield Finding("low-coverage", "warning", message, 1, (Example("", f"{role}: {coverage:.1f} %"),))


def figure_rows(parts: Sequence[PartFigures]) -> list[tuple[str, list[str]]]:
    """Returns the rows of the table of figures: a name, and a cell for each part."""
    rows: list[tuple[str, list[str]]] = [
        (name, [f"{getattr(part, name):,}" for part in parts]) for name in ("sentences", "tokens", "documents", "words")
    ]
    rows.append(("tokens per sentence", [f"{part.shortest}–{part.longest}, median {part.median}" for part in parts]))
    if any(part.coverage is not None for part in parts):
        rows.append(("tokens with a vector", [f"{part.coverage or 0:.1f} %" for part in parts]))
    if any(part.unknown for part in parts):
        rows.append(("tokens not annotated", [f"{part.unknown:,}" for part in parts]))
    rows.append(("scheme", [part.scheme for part in parts]))
    if any(part.types for part in parts):
        rows.append(("spans", [f"{part.spans:,}" for part in parts]))
        return rows + _count_rows([part.types for part in parts])
    return rows + _count_rows([part.tags for part in parts])


def _count_rows(counts: Sequence[dict[str, int]]) -> list[tuple[str, list[str]]]:
    """Returns a row for each type or tag, the most frequent first."""
    totals = Counter({name: 0 for each in counts for name in each})
    for each in counts:
        totals.update(each)
    rows = [(f"  {name}", [f"{each.get(name, 0):,}" for each in counts]) for name, _ in totals.most_common(_MAX_ROWS)]
    if len(totals) > _MAX_ROWS:
        rows.append((f"  … and {len(totals) - _MAX_ROWS:,} more", [""] * len(counts)))
    return rows


def figures_table(parts: Sequence[PartFigures]) -> Iterator[str]:
    """Yields the lines of the table of figures."""
    rows = [("", [part.role for part in parts]), *figure_rows(parts)] if parts else []
    for name, *cells in ([name, *cells] for name, cells in rows):
        first = max(len(name) for name, _ in rows)
        sizes = [max(map(len, column)) for column in zip(*(cells for _, cells in rows), strict=True)]
        padded = (cell.rjust(size) for cell, size in zip(cells, sizes, strict=True))
        yield "  ".join([name.ljust(first), *padded])


def _list(findings: Sequence[Finding], severity: str) -> Iterator[str]:
    """Yields the lines of all findings of a severity."""
    yield ""
    yield counted(len(findings), severity)
    for finding in findings:
        yield f"  {finding.kind} ({finding.count:,}): {finding.message}"
        for example in finding.examples[:_MAX_LISTED]:
            text = f"{example.location}: {example.text}" if example.location else example.text
            yield f"    {streams.escape_line(text)}"
        if finding.count > _MAX_LISTED:
            yield f"    … and {finding.count - _MAX_LISTED:,} more"
