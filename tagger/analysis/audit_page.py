"""The page of an audit: a person goes through the suspects and decides about each. It works without a network.

Decisions are stored in the browser, by the content of the page, and exported as JSON.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tagger.analysis.suspects import Suspect
from tagger.choices import SuspectKind
from tagger.data import schemes
from tagger.data.formats.reading import shorten
from tagger.data.highlighting import NUM_COLOURS, Mark, assign_colours, escape, highlight
from tagger.data.sentence import Sentence, Span
from tagger.io import json_files

MAX_SUSPECTS = 2_000
"""The number of suspects on the page."""
_MAX_TOKENS = 25  # of the sentence before and after a suspect
_MAX_NEIGHBOUR = 160  # characters of a neighbouring sentence
_LABELS: Mapping[SuspectKind, str] = {
    "type": "other type",
    "boundary": "other boundary",
    "type and boundary": "other type and boundary",
    "spurious": "not an entity",
    "missing": "missing entity",
    "tag": "other tag",
}
_STYLE = """
:root { color-scheme: light dark; }
* { box-sizing: border-box; }
body { max-width: 62rem; margin: 0 auto; padding: 0 1rem 40vh; font: 1rem/1.5 system-ui, sans-serif; }
h1 { margin: 1rem 0 .3rem; font-size: 1.4rem; overflow-wrap: anywhere; }
nav { position: sticky; top: 0; z-index: 1; padding: .6rem 0; background: Canvas; }
nav, article { border: 1px solid #8886; }
nav { border-width: 0 0 1px; }
nav div { display: flex; flex-wrap: wrap; gap: .4rem 1rem; align-items: center; }
nav label, .keys { font-size: .9rem; }
.keys, .near, footer { opacity: .75; }
select, button { font: inherit; font-size: .9rem; padding: .2rem .6rem; }
button { border: 1px solid #8886; border-radius: .4rem; background: #8882; color: inherit; }
button { cursor: pointer; }
article button { margin-top: .4rem; }
progress { width: 8rem; }
#export { margin-inline-start: auto; }
article { margin: 1rem 0; padding: .7rem 1rem; border-inline-start: .35rem solid #8888;
  border-radius: .5rem; scroll-margin: 8rem 0 2rem; content-visibility: auto; contain-intrinsic-size: auto 11rem; }
article.current { outline: .15rem solid Highlight; }
article[data-decision="keep"] { border-inline-start-color: hsl(150 60% 40%); }
article[data-decision="change"] { border-inline-start-color: hsl(30 90% 50%); }
article[data-decision]:not(.current) { opacity: .6; }
article header { display: flex; flex-wrap: wrap; gap: .2rem .8rem; font-size: .9rem; }
article header b { font-size: 1rem; }
.where { margin-inline-start: auto; opacity: .75; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: 8.5rem 1fr; gap: .3rem .6rem; margin: .5rem 0; }
dt { font-size: .85rem; }
dt small { display: block; opacity: .75; }
dd { margin: 0; min-width: 0; line-height: 1.9; white-space: pre-wrap; overflow-wrap: anywhere; }
.near { margin: .2rem 0; font-size: .85rem; overflow-wrap: anywhere; }
mark { padding: .1em .3em; border-radius: .3em; color: inherit; background: #8882; unicode-bidi: isolate; }
mark > bdi { margin-inline-start: .4em; font-size: .7em; font-weight: bold; opacity: .8; }
mark.focus { outline: .12rem solid currentColor; outline-offset: .05rem; }
mark.none { background: none; outline-style: dashed; outline-color: #888; }
mark.none > bdi { font-weight: normal; }
button[aria-pressed="true"][value="keep"] { background: hsl(150 60% 40%); color: #fff; }
button[aria-pressed="true"][value="change"] { background: hsl(30 90% 50%); color: #000; }
kbd { padding: 0 .35em; border: 1px solid #8886; border-radius: .25em; font-size: .85em; }
[hidden] { display: none !important; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } }
"""
_SCRIPT = """
"use strict";
const articles = [...document.querySelectorAll("article")];
const suspects = articles.map((article) => JSON.parse(article.dataset.suspect));
const byId = (id) => document.getElementById(id);
const filters = ["kind", "type", "file", "decision"].map(byId).filter(Boolean);
const store = "tagger-audit-" + document.body.dataset.key;
let decisions = {};
let current = -1;
try { decisions = JSON.parse(localStorage.getItem(store)) || {}; } catch { byId("unstored").hidden = false; }

const decisionOf = (index) => decisions[suspects[index].rank] || "";
const matches = {
  kind: (suspect, value) => suspect.kind === value,
  type: (suspect, value) => suspect.given === value || (suspect.alternative || {}).type === value,
  file: (suspect, value) => suspect.file === value,
  decision: (suspect, value) => (decisions[suspect.rank] || "none") === value,
};

function showDecision(index) {
  const decision = decisionOf(index);
  if (decision) articles[index].dataset.decision = decision; else delete articles[index].dataset.decision;
  for (const button of articles[index].querySelectorAll("button"))
    button.setAttribute("aria-pressed", String(button.value === decision));
}

function showCounts() {
  const done = suspects.filter((_, index) => decisionOf(index)).length;
  byId("done").textContent = `${done} of ${suspects.length} decided`;
  byId("progress").value = done;
}

function filter() {
  let count = 0;
  articles.forEach((article, index) => {
    article.hidden = !filters.every((each) => !each.value || matches[each.id](suspects[index], each.value));
    count += !article.hidden;
  });
  byId("count").textContent = `${count} shown`;
  if (current < 0 || articles[current].hidden) select(next(-1, 1));
}

function next(from, step, isWanted = () => true) {
  for (let index = from + step; index >= 0 && index < articles.length; index += step)
    if (!articles[index].hidden && isWanted(index)) return index;
  return -1;
}

function select(index, scroll = false) {
  if (index < 0) return;
  if (current >= 0) {
    articles[current].classList.remove("current");
    articles[current].removeAttribute("aria-current");
  }
  current = index;
  articles[index].classList.add("current");
  articles[index].setAttribute("aria-current", "true");
  if (scroll) { articles[index].focus({ preventScroll: true }); articles[index].scrollIntoView({ block: "nearest" }); }
}

function decide(index, decision) {
  if (index < 0 || articles[index].hidden) return;
  if (decision) decisions[suspects[index].rank] = decision; else delete decisions[suspects[index].rank];
  try { localStorage.setItem(store, JSON.stringify(decisions)); } catch { byId("unstored").hidden = false; }
  showDecision(index);
  showCounts();
  if (decision) select(next(index, 1, (other) => !decisionOf(other)), true);
}

byId("export").addEventListener("click", () => {
  const rows = suspects.filter((_, index) => decisionOf(index));
  const decided = rows.map((suspect) => ({ ...suspect, decision: decisions[suspect.rank] }));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(decided, null, 1) + "\\n"], { type: "application/json" }));
  link.download = "audit-decisions.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
filters.forEach((each) => each.addEventListener("change", filter));
document.querySelector("main").addEventListener("click", (event) => {
  const article = event.target.closest("article");
  if (!article) return;
  const index = articles.indexOf(article);
  select(index);
  const button = event.target.closest("button");
  if (button) decide(index, button.value === decisionOf(index) ? "" : button.value);
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return;
  const key = event.key.toLowerCase();
  if (key === "arrowdown" || key === "n") select(next(current, 1), true);
  else if (key === "arrowup" || key === "p") select(next(current, -1), true);
  else if (key === "k") decide(current, "keep");
  else if (key === "c") decide(current, "change");
  else if (key === "u") decide(current, "");
  else return;
  event.preventDefault();
});
articles.forEach((_, index) => { if (decisionOf(index)) showDecision(index); });
showCounts();
filter();
"""
_SCRIPT_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline';"
    f" script-src 'sha256-{_SCRIPT_HASH}'"
)


class _Highlight(NamedTuple):
    """Tokens [start, end) of a sentence to highlight; the suspect itself or another annotation."""

    start: int
    end: int
    label: str
    is_suspect: bool


def build(suspects: Sequence[Suspect], corpora: Mapping[str, Sequence[Sentence]], title: str) -> str:
    """Returns the page.

    Args:
        suspects: by rank; the page shows the first `MAX_SUSPECTS`.
        corpora: the sentences of each file by its name.
        title: the names of the data.
    """
    return "".join(_blocks(suspects, corpora, title))


def _blocks(suspects: Sequence[Suspect], corpora: Mapping[str, Sequence[Sentence]], title: str) -> Iterator[str]:
    listed = suspects[:MAX_SUSPECTS]
    rows = [json_files.dump(_exported(suspect, rank)).decode() for rank, suspect in enumerate(listed, 1)]
    key = hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]
    types = sorted({kind for suspect in listed for kind in _types(suspect)})
    neighbours = {mark.label for suspect in listed for mark in _other_marks(suspect, None)}
    colours = assign_colours([*types, *sorted(neighbours.difference(types))])
    name = f"Label audit of {escape(title)}"
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<title>{name}</title>\n<style>{_STYLE}"
    for number in range(NUM_COLOURS):
        yield f"mark.c{number} {{ background: hsl({number * 360 // NUM_COLOURS} 75% 55% / 35%); }}\n"
    yield f'</style>\n</head>\n<body data-key="{key}">\n<h1>{name}</h1>\n<p>{_introduction(len(suspects))}</p>\n'
    yield _navigation(listed, types)
    yield "<main>\n"
    for rank, (suspect, row) in enumerate(zip(listed, rows, strict=True), 1):
        yield _article(suspect, rank, row, corpora[suspect.file], colours)
    yield f"</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"


def _introduction(count: int) -> str:
    if not count:
        return "The models find no annotation improbable."
    limit = f"The page shows the first {MAX_SUSPECTS:,} of {count:,}; suspects.jsonl has all. "
    return (
        "Each annotation below is improbable under models that were not trained on it; the most improbable is first. "
        + limit * (count > MAX_SUSPECTS)
        + "<b>Keep</b> an annotation that is right, <b>change</b> one for which the suggestion is right."
    )


def _navigation(suspects: Sequence[Suspect], types: Sequence[str]) -> str:
    kinds: dict[str, str] = {
        kind: label for kind, label in _LABELS.items() if any(each.kind == kind for each in suspects)
    }
    files = dict.fromkeys(suspect.file for suspect in suspects)
    states = {"none": "undecided", "keep": "keep", "change": "change"}
    selects = _select("kind", "Kind", kinds) + _select("type", "Type", {kind: kind for kind in types})
    if len(files) > 1:
        selects += _select("file", "File", {file: file for file in files})
    selects += _select("decision", "Decision", states)
    keys = "<kbd>↓</kbd> <kbd>↑</kbd> next, previous · <kbd>K</kbd> keep · <kbd>C</kbd> change · <kbd>U</kbd> undo"
    return (
        f'<nav aria-label="Filters"><div>{selects}<span id="count" role="status"></span>'
        '<button id="export">Export decisions</button></div>\n'
        f'<div><progress id="progress" max="{max(len(suspects), 1)}" value="0"></progress> <span id="done"></span>'
        f'<span class="keys">{keys}</span></div>\n'
        '<p id="unstored" hidden>The browser does not store decisions for this page: export them before you close it.'
        "</p></nav>\n"
    )


def _select(name: str, label: str, values: Mapping[str, str]) -> str:
    choices = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in values.items())
    return f'<label>{label} <select id="{name}"><option value="">all</option>{choices}</select></label>'


def _exported(suspect: Suspect, rank: int) -> dict[str, object]:
    """Returns what an exported decision says about its suspect."""
    return {name: value for name, value in suspect.to_json(rank).items() if name not in ("tokens", "score")}


def _types(suspect: Suspect) -> list[str]:
    return [kind for kind in (suspect.annotated_type, suspect.alternative and suspect.alternative.type) if kind]


def _article(suspect: Suspect, rank: int, row: str, sentences: Sequence[Sentence], colours: Mapping[str, int]) -> str:
    where = f"{escape(suspect.file)}:{suspect.line}"
    before, after = (_neighbour(suspect, sentences, step) for step in (-1, 1))
    lines = "".join(
        f"<dt>{name} <small>{probability:.2%}</small></dt>"
        f'<dd dir="auto">{_line(suspect.sentence, marks, colours)}</dd>\n'
        for name, probability, marks in (
            ("Given", suspect.probability, _annotated_marks(suspect)),
            ("Suggested", suspect.alternative_probability, _suggested_marks(suspect)),
        )
    )
    buttons = "".join(
        f'<button value="{value}" aria-pressed="false">{name} <kbd>{name[0]}</kbd></button> '
        for value, name in (("keep", "Keep"), ("change", "Change"))
    )
    return (
        f'<article tabindex="-1" data-suspect="{escape(row)}">\n'
        f"<header><b>{rank}</b><span>{_LABELS[suspect.kind]}</span>"
        f'<span class="where">{where}</span></header>\n{before}<dl>{lines}</dl>\n{after}{buttons}</article>\n'
    )


def _neighbour(suspect: Suspect, sentences: Sequence[Sentence], step: int) -> str:
    """Returns the sentence before or after that of a suspect in its document, shortened."""
    number = suspect.number + step
    if not 0 <= number < len(sentences) or sentences[number].document != suspect.sentence.document:
        return ""
    text = sentences[number].text
    short = shorten(text, _MAX_NEIGHBOUR) if step > 0 else shorten(text[::-1], _MAX_NEIGHBOUR)[::-1]
    return f'<p class="near" dir="auto">{escape(short)}</p>\n'


def _annotated_marks(suspect: Suspect) -> list[_Highlight]:
    return [
        *_other_marks(suspect, None),
        _Highlight(suspect.start, suspect.end, suspect.annotated_type or "", is_suspect=True),
    ]


def _suggested_marks(suspect: Suspect) -> list[_Highlight]:
    alternative = suspect.alternative
    if alternative is None:
        return [*_other_marks(suspect, None), _Highlight(suspect.start, suspect.end, "", is_suspect=True)]
    mark = _Highlight(alternative.start, alternative.end, alternative.type, is_suspect=True)
    return [*_other_marks(suspect, alternative), mark]


def _other_marks(suspect: Suspect, alternative: Span | None) -> Iterator[_Highlight]:
    """Yields the other annotations of the sentence that do not overlap the alternative."""
    if suspect.kind == "tag":
        return
    bounds = {(suspect.start, suspect.end)} if alternative is None else {(alternative.start, alternative.end)}
    bounds.add((suspect.start, suspect.end))
    for span in schemes.tags_to_spans(suspect.sentence.tags):
        if not any(span.start < end and start < span.end for start, end in bounds):
            yield _Highlight(span.start, span.end, span.type, is_suspect=False)


def _line(sentence: Sentence, marks: Sequence[_Highlight], colours: Mapping[str, int]) -> str:
    """Returns the text near the suspect, with highlights."""
    suspect = next(mark for mark in marks if mark.is_suspect)
    first, stop = max(0, suspect.start - _MAX_TOKENS), min(len(sentence), suspect.end + _MAX_TOKENS)
    text, bounds = sentence.text, sentence.token_bounds()
    pieces = ["… " * (first > 0)]
    end = bounds[first][0]
    for mark in sorted(marks):
        if first <= mark.start and mark.end <= stop:
            start = bounds[mark.start][0]
            pieces += [escape(text[end:start]), _mark(text[start : bounds[mark.end - 1][1]], mark, colours)]
            end = bounds[mark.end - 1][1]
    return "".join([*pieces, escape(text[end : bounds[stop - 1][1]]), " …" * (stop < len(sentence))])


def _mark(text: str, mark: _Highlight, colours: Mapping[str, int]) -> str:
    colour = f"c{colours[mark.label]}" if mark.label else "none"
    attributes = f'class="{colour}' + " focus" * mark.is_suspect + '"'
    return "".join(highlight(text, [Mark(0, len(text), mark.label or "no entity")], lambda _: (attributes, "")))
