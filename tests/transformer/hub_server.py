"""A server on this machine that answers as the Hugging Face Hub does, for one model; it can fail in several ways."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

NAME, COMMIT = "owner/name", "0123456789abcdef" * 2 + "01234567"


class HubServer(ThreadingHTTPServer):
    """Serves the files of a folder as the model NAME at COMMIT, which is also the branch `main`.

    Attributes:
        files: the content of each file.
        truncated: files whose connection is closed after half of the content.
        altered: files with one bit changed, under the hash of the original.
        requests: the paths of the requests.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.truncated: set[str] = set()
        self.altered: set[str] = set()
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self) -> None:
        self.server.requests.append(self.path)
        path = self.path.partition("?")[0]
        if path.startswith(f"/api/models/{NAME}/tree/"):
            sizes = {name: len(data) for name, data in self.server.files.items()}
            return self._send_json(
                [{"type": "file", "path": name, "size": size, "oid": ""} for name, size in sizes.items()]
            )
        if path.startswith(f"/api/models/{NAME}"):
            revision = path.partition("/revision/")[2] or "main"
            listed = [{"rfilename": name} for name in self.server.files]
            found = {"id": NAME, "sha": COMMIT, "siblings": listed, "private": False, "tags": [], "downloads": 0}
            return self._send_json(found) if revision in ("main", COMMIT) else self._fail("RevisionNotFound")
        _, _, rest = path.partition(f"/{NAME}/resolve/")
        revision, _, name = rest.partition("/")
        if not rest:
            return self._fail("RepoNotFound")
        if revision not in ("main", COMMIT):
            return self._fail("RevisionNotFound")
        return self._send_file(name) if name in self.server.files else self._fail("EntryNotFound")

    def _send_json(self, value: object) -> None:
        data = json.dumps(value).encode()
        self._start(200, len(data), {"Content-Type": "application/json"})
        self.wfile.write(data)

    def _fail(self, code: str) -> None:
        self._start(404, 0, {"X-Error-Code": code, "X-Error-Message": code})

    def _send_file(self, name: str) -> None:
        data = bytearray(self.server.files[name])
        digest = sha256(data).hexdigest()
        if name in self.server.altered:
            data[-1] ^= 1
        self._start(200, len(data), {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})
        if self.command == "GET":
            self.wfile.write(data[: len(data) // 2] if name in self.server.truncated else data)

    def _start(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for header, value in {"Content-Length": str(length), "Connection": "close", **headers}.items():
            self.send_header(header, value)
        self.end_headers()


@contextmanager
def serve(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Serves a folder within the block; the Hub's library asks this server, as with HF_ENDPOINT, and uses `cache`."""
    from huggingface_hub import constants

    server = HubServer(folder)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    with monkeypatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", server.address)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + template)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
            server.server_close()
