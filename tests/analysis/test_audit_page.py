"""The page of an audit: marks of both readings, everything escaped, a script that only its own policy allows."""

import base64
import hashlib
import html
import json
import re

from tagger.analysis import audit_page
from tagger.analysis.suspects import Suspect
from tagger.data.sentence import Sentence, Span

TEXT = Sentence(("Ada", "saw", "New", "York"), tags=("B-PER", "O", "O", "B-LOC"), line=1)
MOVED = Suspect("boundary", 3.0, "a.txt", 0, TEXT, 3, 4, "LOC", 0.05, Span("LOC", 2, 4), 0.9)
MISSING = Suspect("missing", 1.0, "a.txt", 0, TEXT, 1, 2, None, 0.3, Span("LOC", 1, 2), 0.6)


def page(*suspects: Suspect, sentences: tuple[Sentence, ...] = (TEXT,)) -> str:
    return audit_page.build(suspects, {suspect.file: sentences for suspect in suspects}, "a.txt")


def plain(text: str) -> list[str]:
    """Returns the sentences of the page, marks in brackets with their classes."""
    lines = re.findall(r'<dd dir="auto">(.*?)</dd>', text)
    marked = (re.sub(r'<mark class="([^"]*)".*?>(.*?)<bdi>(.*?)</bdi></mark>', r"[\2|\3|\1]", line) for line in lines)
    return [re.sub(r"c\d+", "c", html.unescape(line)) for line in marked]


def test_each_suspect_has_both_readings_with_the_other_annotations() -> None:
    assert plain(page(MOVED, MISSING)) == [
        "[Ada|PER|c] saw New [York|LOC|c focus]",
        "[Ada|PER|c] saw [New York|LOC|c focus]",
        "[Ada|PER|c] [saw|no entity|none focus] New [York|LOC|c]",
        "[Ada|PER|c] [saw|LOC|c focus] New [York|LOC|c]",
    ]


def test_what_is_exported_identifies_the_suspect() -> None:
    (data,) = re.findall(r'data-suspect="(.*?)"', page(MOVED))
    assert json.loads(html.unescape(data)) | {"document": 0} == {
        name: value for name, value in MOVED.to_json(1).items() if name not in ("tokens", "score")
    }


def test_hostile_text_types_and_names_are_escaped() -> None:
    evil = '"><script>alert(1)</script>\x1b[0m'
    sentence = Sentence((evil, "x"), tags=("O", "O"), line=1)
    suspect = Suspect("missing", 1.0, evil, 0, sentence, 0, 1, None, 0.1, Span(evil, 0, 1), 0.9)
    text = audit_page.build([suspect], {evil: [sentence]}, evil)
    assert text.count("<script>") == 1
    assert "\x1b" not in text
    assert text.count("&lt;script&gt;alert") >= 6


def test_the_policy_allows_only_the_script_of_the_page_and_no_network() -> None:
    text = page(MOVED)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', text)
    assert policy.startswith("default-src 'none';")
    assert policy.endswith(f"script-src 'sha256-{digest}'")
    assert "://" not in text


def test_a_long_sentence_is_shortened_and_neighbours_are_shown_within_the_document() -> None:
    words = tuple(f"w{number}" for number in range(200))
    sentences = (
        Sentence(("before",), tags=("O",), document=0),
        Sentence(words, tags=("O",) * 200, document=0, line=3),
        Sentence(("other", "document"), tags=("O", "O"), document=1),
    )
    suspect = Suspect("missing", 1.0, "a.txt", 1, sentences[1], 100, 101, None, 0.1, Span("PER", 100, 101), 0.9)
    text = page(suspect, sentences=sentences)
    for line in plain(text):
        assert line.startswith("… w75 ")
        assert line.endswith(" w125 …")
    assert '<p class="near" dir="auto">before</p>' in text
    assert "other document" not in text


def test_the_page_shows_a_limited_number_of_suspects() -> None:
    text = page(*[MOVED] * (audit_page.MAX_SUSPECTS + 1))
    assert text.count("<article") == audit_page.MAX_SUSPECTS
    assert "The page shows the first 2,000 of 2,001; suspects.jsonl has all." in text
    assert "The models find no annotation improbable." in audit_page.build([], {"a.txt": [TEXT]}, "a.txt")


def test_a_plain_tag_is_shown_without_the_tags_of_other_tokens() -> None:
    tagged = Sentence(("Ada", "often", "runs"), tags=("NOUN", "ADV", "NOUN"), line=1)
    suspect = Suspect("tag", 1.0, "a.txt", 0, tagged, 2, 3, "NOUN", 0.2, Span("VERB", 2, 3), 0.7)
    sentences = plain(page(suspect, sentences=(tagged,)))
    assert sentences == ["Ada often [runs|NOUN|c focus]", "Ada often [runs|VERB|c focus]"]
