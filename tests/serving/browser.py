"""A headless Chromium that tests click and type in, driven through a pipe by the DevTools protocol."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_TIMEOUT = 30  # seconds; the first page of a new profile is slow on a busy machine
_ARGUMENTS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
]


class Page:
    """The only page of a browser.

    Attributes:
        requests: the URLs that the page asked for.
        problems: what the browser reported: errors of scripts, and violations of the Content-Security-Policy.
    """

    def __init__(self, commands: Any, events: Any) -> None:
        self._commands, self._events = commands, events
        self._count, self._session = 0, ""
        self.requests: list[str] = []
        self.problems: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Returns the result of a command."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while True:
            received = self._receive()
            if received.get("id") == self._count:
                if "error" in received:
                    raise RuntimeError(f"{method}: {received['error']}")
                return dict(received["result"])

    def _receive(self) -> dict[str, Any]:
        data = bytearray()
        while (byte := self._events.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser has ended")
            data += byte
        message: dict[str, Any] = json.loads(data)
        parameters = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(str(parameters["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(parameters["entry"]["text"])
        elif message.get("method") == "Page.javascriptDialogOpening":
            self.problems.append("a dialog was opened")
        return message

    def open(self, url: str) -> None:
        """Opens a URL and waits until it is loaded."""
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Returns the value of a JavaScript expression."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Waits until an expression is true, and returns its value."""
        end = time.monotonic() + _TIMEOUT
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < end, f"never true: {expression}; {self.problems}"
            time.sleep(0.02)
        return value

    def click(self, selector: str) -> None:
        """Clicks at the middle of an element."""
        x, y = self._find_middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def hover(self, selector: str) -> None:
        """Moves the mouse to the middle of an element."""
        x, y = self._find_middle(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def _find_middle(self, selector: str) -> tuple[float, float]:
        box = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        return box[0], box[1]

    def type(self, text: str) -> None:
        """Types text, character by character."""
        for character in text:
            self.call("Input.insertText", text=character)

    def press(self, key: str, count: int = 1) -> None:
        """Presses a key, such as Tab or ArrowRight."""
        codes = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36}
        text = {"text": "\r"} if key == "Enter" else {}
        for _ in range(count):
            for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
                event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
                self.call("Input.dispatchKeyEvent", **event, **text)

    def screenshot(self, path: Path) -> None:
        """Saves the page as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))


@contextmanager
def open_page(profile: Path, *arguments: str) -> Iterator[Page]:
    """Starts a browser with an empty profile, and yields its page."""
    assert CHROMIUM is not None
    command_read, command_write = os.pipe()
    event_read, event_write = os.pipe()
    command = [CHROMIUM, *_ARGUMENTS, *arguments, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
    # The browser reads commands from descriptor 3 and writes events to descriptor 4.
    shell = ["bash", "-c", f'exec "$@" 3<&{command_read} 4>&{event_write}', "bash", *command]
    with (profile.parent / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            shell, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(command_read, event_write)
        )
    os.close(command_read)
    os.close(event_write)
    try:
        with os.fdopen(command_write, "wb") as commands, os.fdopen(event_read, "rb") as events:
            page = Page(commands, events)
            yield page
            page.call("Browser.close")
            process.wait(_TIMEOUT)
    finally:
        process.kill()
        process.wait()
