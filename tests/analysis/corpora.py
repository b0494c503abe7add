"""Corpora and findings for the tests of this folder."""

from pathlib import Path

import tagger
from tagger.analysis.corpus_check import CorpusCheck
from tagger.analysis.findings import Finding


def write(folder: Path, **parts: str) -> Path:
    """Writes each part as columns: sentences separated by `|`, tokens by spaces, a token's tag after a slash."""
    folder.mkdir(exist_ok=True)
    for role, text in parts.items():
        sentences = (sentence.split(" ") for sentence in text.split(" | "))
        rows = ("".join("\t".join(token.rsplit("/", 1)) + "\n" for token in tokens) for tokens in sentences)
        (folder / f"{role}.txt").write_text("\n".join(rows))
    return folder


def check(folder: Path, **parts: str) -> CorpusCheck:
    return tagger.check(write(folder, **parts))


def findings(result: CorpusCheck, kind: str) -> list[Finding]:
    return [finding for finding in result.findings if finding.kind == kind]


def examples(result: CorpusCheck, kind: str) -> list[tuple[str, str]]:
    """Returns location and text of the examples of a kind of finding, which must be reported at most once."""
    found = findings(result, kind)
    assert len(found) <= 1
    return [(example.location, example.text) for finding in found for example in finding.examples]
