"""The page in a real browser: typed and clicked on, with texts that try to be markup."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.browser import CHROMIUM, Page, open_page
from tests.serving.processes import start_server

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="not tested, no Chromium is installed")
MARKS = "[...document.querySelectorAll('#output mark')]"
HOSTILE = "Ada lives in <img src=x onerror=alert(1)> <script>alert(2)</script>\u202eOslo\x1b[0m"


@pytest.fixture(scope="module")
def url(model_path: Path, document_model: Path) -> Iterator[str]:
    """The URL of a server with two models."""
    with start_server(f"first={model_path}", f"documents={document_model}") as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser that may read the clipboard."""
    with open_page(tmp_path_factory.mktemp("browser") / "profile", "--window-size=1000,900") as page:
        yield page


@pytest.fixture
def page(browser: Page, url: str) -> Iterator[Page]:
    """The page, freshly opened; the browser reports no problem, and asks nobody but the server."""
    browser.requests.clear()
    browser.problems.clear()
    browser.open(url)
    browser.wait_for("document.querySelectorAll('#legend button').length === 2")
    yield browser
    assert browser.problems == []
    assert all(request.startswith(f"{url}/") for request in browser.requests), browser.requests


def enter(page: Page, text: str, count: int) -> None:
    """Types a text into the empty field, and waits for a number of marks."""
    page.click("#text")
    page.call("Input.insertText", text=text)
    page.wait_for(f"{MARKS}.length === {count}")


def marks(page: Page) -> list[Any]:
    """Returns text and type of each mark."""
    return list(page.evaluate(f"{MARKS}.map(m => [m.children[0].textContent, m.children[1].textContent])"))


def test_entities_are_marked_as_one_types(page: Page) -> None:
    page.click("#text")
    page.type("Ada lives in New York.")
    page.wait_for(f"{MARKS}.length === 2")
    assert marks(page) == [["Ada", "PER"], ["New York", "LOC"]]
    assert page.evaluate("document.querySelector('#status').textContent") == "2 entities in 1 sentence"
    page.type(" Grace lives in Oslo.")
    page.wait_for(f"{MARKS}.length === 4")
    assert page.evaluate("document.querySelector('#status').textContent") == "4 entities in 2 sentences"
    sent = [request for request in page.requests if request.endswith("/tag")]
    assert 2 <= len(sent) < 40  # not one for each character
    assert page.evaluate("document.querySelector('#legend').innerText").split() == ["LOC2", "PER2"]


def test_probabilities_are_shown_to_the_mouse_and_the_keyboard_and_read_aloud(page: Page) -> None:
    enter(page, "Ada lives in New York.", 2)
    width = "document.querySelectorAll('.tip')[{}].getBoundingClientRect().width"
    assert page.evaluate(width.format(0)) <= 1
    page.hover("#output mark")
    page.wait_for(f"{width.format(0)} > 50")
    assert page.evaluate("document.querySelector('.tip').textContent").startswith("probability 0.9")
    page.hover("h1")
    page.wait_for(f"{width.format(0)} <= 1")
    page.evaluate("document.querySelector('#legend li:last-child button').focus()")
    page.press("Tab")
    page.press("ArrowRight")
    page.wait_for(f"{width.format(1)} > 50")
    assert page.evaluate("document.activeElement.children[0].textContent") == "New York"
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    names = {node.get("name", {}).get("value") for node in tree if not node.get("ignored")}
    assert any(str(name).startswith("probability 0.9") for name in names)
    assert {"Text", "Threshold", "Alternatives", "Copy as JSON", "Tagged text"} <= names


def test_the_threshold_and_the_types_hide_entities(page: Page) -> None:
    enter(page, "Ada lives in New York.", 2)
    page.evaluate("document.querySelector('#threshold').focus()")
    page.press("ArrowRight", 100)
    page.wait_for("document.querySelector('#threshold-value').textContent === '1.00'")
    assert marks(page) == []
    assert page.evaluate("document.querySelector('#status').textContent") == "0 entities, 2 hidden in 1 sentence"
    page.press("Home")
    page.wait_for(f"{MARKS}.length === 2")
    page.click("#legend li:first-child button")
    page.wait_for(f"{MARKS}.length === 1")
    assert marks(page) == [["Ada", "PER"]]
    assert page.evaluate("document.querySelector('#legend button').getAttribute('aria-pressed')") == "false"
    page.press("Enter")  # the focus is still on the button
    page.wait_for(f"{MARKS}.length === 2")


def test_alternatives_and_models_can_be_chosen(page: Page) -> None:
    enter(page, "Ada lives in New York.", 2)
    page.evaluate("document.querySelector('#nbest').focus()")
    page.press("ArrowDown", 2)
    page.wait_for("document.querySelectorAll('#sentences li').length === 3")
    assert page.evaluate("document.querySelector('#sentences li div').textContent") == "AdaPER lives in New YorkLOC."
    page.evaluate("document.querySelector('#model').focus()")
    page.press("ArrowDown")
    page.wait_for("document.querySelector('#command').textContent.includes('documents')")
    page.wait_for(f"{MARKS}.length === 2")


def test_the_result_is_copied_as_json(page: Page, url: str) -> None:
    page.call("Browser.grantPermissions", origin=url, permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    enter(page, "Ada lives in New York.", 2)
    page.click("#copy")
    page.wait_for("document.querySelector('#status').textContent === 'Copied.'")
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert [span["text"] for span in copied["spans"]] == ["Ada", "New York"]
    assert copied["text"] == "Ada lives in New York."


def test_markup_and_control_characters_in_a_text_are_inert(page: Page) -> None:
    page.click("#text")
    page.call("Input.insertText", text=HOSTILE)
    shown = page.wait_for("document.querySelector('#output').textContent")
    assert "<script>alert(2)</script>\ufffd" in shown.replace("PER", "").replace("LOC", "")
    assert page.evaluate("document.querySelectorAll('#output img, #output script').length") == 0


def test_each_line_has_its_own_direction(page: Page) -> None:
    page.click("#text")
    page.call("Input.insertText", text="שלום Ada.\nAda lives in Oslo.")
    page.wait_for("document.querySelectorAll('#output p').length === 2")
    directions = "[...document.querySelectorAll('#output p')].map(p => getComputedStyle(p).direction)"
    assert page.evaluate(directions) == ["rtl", "ltr"]


def test_offsets_count_code_points(page: Page) -> None:
    page.click("#text")
    page.call("Input.insertText", text="\U0001f600\U0001f600. Ada lives in New York.")
    page.wait_for(f"{MARKS}.length >= 2")
    assert marks(page)[-1] == ["New York", "LOC"]


def test_an_error_of_the_server_is_shown_without_the_last_result(page: Page) -> None:
    enter(page, "Ada lives in New York.", 2)
    page.call("Input.insertText", text="a " * 20_001)
    page.wait_for("document.querySelector('#status').className === 'error'")
    assert page.evaluate("document.querySelector('#status').textContent").startswith("over 20,000 tokens")
    assert page.evaluate("document.querySelector('#output').textContent") == ""
    assert page.evaluate("document.querySelector('#copy').disabled")
    page.problems.clear()  # the browser logs the status 422
