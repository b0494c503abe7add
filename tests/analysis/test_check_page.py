from html.parser import HTMLParser
from pathlib import Path

import pytest

import tagger
from tagger.errors import StorageError
from tests.analysis.corpora import write

HOSTILE = "<script>alert(1)<script>\"'&"


class Page(HTMLParser):
    """Collects the elements, the attributes and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_data_is_text_on_a_page_without_scripts_and_links(tmp_path: Path) -> None:
    folder = write(tmp_path / HOSTILE, train=f"a/O {HOSTILE}/I-{HOSTILE} | b/O \x1b[0m/B-PER c/B-PER")
    report = tmp_path / "report.html"
    tagger.check(folder, report=report)
    page = Page(report.read_text())
    assert HOSTILE in page.text
    assert not page.elements & {"script", "a", "link", "img", "iframe", "object", "form", "base"}
    assert {name for name, _ in page.attributes} <= {
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "value",
    }
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes
    assert "\x1b" not in report.read_text()


def test_the_page_shows_figures_findings_and_lengths(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    tagger.check(write(tmp_path, train="a/O b/I-PER | c/B-PER d/O e/O f/O g/O h/O"), report=report)
    text = Page(report.read_text()).text
    for part in ("sentences2", "invalid-tag (1)", "train.txt:2", "'I-PER' after 'O' in IOB2: a b", "6–10 tokens1 "):
        assert part in text, part


def test_a_page_that_cannot_be_written_is_an_error_before_the_data_is_read(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        tagger.check(tmp_path / "nothing", report=tmp_path)
