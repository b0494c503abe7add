"""The page of a check: self-contained HTML without scripts."""

from collections.abc import Iterator, Sequence

from tagger.analysis.corpus_check import LENGTH_LIMITS, CorpusCheck, PartFigures, figure_rows
from tagger.analysis.findings import Finding
from tagger.choices import counted
from tagger.data.highlighting import escape

_STYLE = """
:root { color-scheme: light dark; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
.error { border-left: .3rem solid hsl(0 70% 50%); padding-left: .8rem; }
.warning { border-left: .3rem solid hsl(40 90% 50%); padding-left: .8rem; }
section { margin: 1.2rem 0; }
h3 { margin: 0; }
ul { margin: .4rem 0; padding-left: 1.2rem; }
li { overflow-wrap: anywhere; unicode-bidi: isolate; }
code { opacity: .75; }
meter { width: 8rem; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def build(check: CorpusCheck, title: str) -> str:
    """Returns the page; `title` is the name of the data."""
    return "".join(_blocks(check, title))


def _blocks(check: CorpusCheck, title: str) -> Iterator[str]:
    name = f"Check of {escape(title)}"
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<title>{name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n"
    yield _table([("", [part.role for part in check.parts]), *figure_rows(check.parts)])
    yield "".join(f"<p>{escape(decision)}</p>\n" for decision in check.decisions)
    for severity in ("error", "warning"):
        findings = [finding for finding in check.findings if finding.severity == severity]
        yield f"<h2>{counted(len(findings), severity)}</h2>\n"
        yield from map(_section, findings)
    yield "<h2>Lengths of sentences</h2>\n"
    yield _length_table(check.parts)
    yield "</body>\n</html>\n"


def _section(finding: Finding) -> str:
    items = "".join(
        f"<li><code>{escape(example.location)}</code> <bdi>{escape(example.text)}</bdi></li>\n"
        for example in finding.examples
    )
    rest = finding.count - len(finding.examples)
    remainder = f"<li>… and {rest:,} more</li>\n" if rest else ""
    heading = f"<h3>{escape(finding.kind)} ({finding.count:,})</h3>\n<p>{escape(finding.message)}</p>\n"
    return f'<section class="{finding.severity}">{heading}<ul>\n{items}{remainder}</ul></section>\n'


def _table(rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Returns a table; the first row is the header."""
    header, *body = rows
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in (header[0], *header[1])) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in (name, *cells)) + "</tr>" for name, cells in body]
    return "<table>\n" + "\n".join(lines) + "\n</table>\n"


def _length_table(parts: Sequence[PartFigures]) -> str:
    """Returns the number of sentences of each length with a bar for its fraction of the part."""
    starts = (1, *(limit + 1 for limit in LENGTH_LIMITS))
    names = [f"{start}–{limit} tokens" for start, limit in zip(starts, LENGTH_LIMITS, strict=False)]
    names.append(f"over {LENGTH_LIMITS[-1]} tokens")
    lines = ["<tr><th></th>" + "".join(f"<th>{escape(part.role)}</th>" for part in parts) + "</tr>"]
    for number, name in enumerate(names):
        counts = [(part.lengths[number], part.sentences) for part in parts]
        cells = (f'<td>{count:,} <meter value="{count / total:.4f}"></meter></td>' for count, total in counts)
        lines.append(f"<tr><td>{name}</td>{''.join(cells)}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>\n"
