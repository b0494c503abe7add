"""A server on this machine that answers as the Hugging Face Hub does; it can fail in several ways."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

NAME, COMMIT = "owner/name", "0123456789abcdef" * 2 + "01234567"
WRITER, READER = "hf_writer", "hf_reader"
"""Tokens: of a user who may write to the repositories of `owner`, and of one who may not."""


@dataclass
class Repository:
    """Branches and tags by name, and the files of each commit."""

    refs: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {COMMIT: {}})
    private: bool = False

    def find(self, revision: str) -> str | None:
        commit = self.refs.get(revision, revision)
        return commit if commit in self.commits else None


class HubServer(ThreadingHTTPServer):
    """Serves the files of a folder as the model NAME at COMMIT, which is also the branch `main`; accepts uploads.

    Attributes:
        repositories: the repositories by name.
        uploaded: the content of large files by SHA-256.
        truncated: files whose connection is closed after half of the content.
        altered: files with one bit changed, under the hash of the original.
        unsized: files whose size is not reported.
        failure: the status of each answer; None to answer as usual.
        requests: the paths of the requests.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = {NAME: Repository()}
        self.files.update({path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()})
        self.uploaded: dict[str, bytes] = {}
        self.truncated: set[str] = set()
        self.altered: set[str] = set()
        self.unsized: set[str] = set()
        self.failure: int | None = None
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def files(self) -> dict[str, bytes]:
        """The content of each file of NAME at COMMIT."""
        return self.repositories[NAME].commits[COMMIT]


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        data = self._read_body()
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in (WRITER, READER):
            return self._fail(401, "", "Invalid username or password.")
        path = self.path.partition("?")[0]
        if path == "/api/validate-yaml":
            return self._send_json({"errors": [], "warnings": []})
        if path == "/lfs/verify":
            return self._send_json({})
        if path == "/api/repos/create":
            return self._create(json.loads(data), token)
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._send_batch(json.loads(data))
        owner, name, action, revision = path.removeprefix("/api/models/").split("/", 3)
        repository = self.server.repositories[f"{owner}/{name}"]
        if token != WRITER:
            return self._fail(403, "", "You don't have the rights")
        actions = {"preupload": self._send_modes, "branch": self._create_branch, "commit": self._commit}
        return actions[action](repository, unquote(revision), data)

    def do_PUT(self) -> None:
        data = self._read_body()
        self.server.uploaded[sha256(data).hexdigest()] = data
        self._start(200, 0, {})

    def log_message(self, *_: Any) -> None:
        pass

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self) -> None:
        self.server.requests.append(self.path)
        if self.server.failure is not None:
            return self._fail(self.server.failure, "")
        parts = self.path.partition("?")[0].removeprefix("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        owner, name, *rest = parts[2:] if is_api else parts
        action, revision, *file = [*rest, *(("revision", "main") if not rest else ())]
        repository = self.server.repositories.get(f"{owner}/{name}")
        if repository is None:
            return self._fail(404, "RepoNotFound")
        commit = repository.find(unquote(revision))
        if commit is None:
            return self._fail(404, "RevisionNotFound")
        files = repository.commits[commit]
        if not is_api:
            return self._send_file(file[0], files, commit)
        if action == "tree":
            return self._send_json(
                [{"type": "file", "path": name, "size": len(data), "oid": ""} for name, data in files.items()]
            )
        unsized = self.server.unsized
        listed = [{"rfilename": name, "size": None if name in unsized else len(data)} for name, data in files.items()]
        described = {"id": f"{owner}/{name}", "sha": commit, "siblings": listed, "private": repository.private}
        return self._send_json(described | {"tags": [], "downloads": 0})

    def _create(self, wanted: dict[str, Any], token: str) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if token != WRITER:
            return self._fail(403, "", "You don't have the rights")
        if name in self.server.repositories:
            return self._fail(409, "", "You already created this model repo")
        repository = Repository(private="private" in (wanted.get("visibility"), wanted.get("private") and "private"))
        repository.commits[COMMIT][".gitattributes"] = b"*.safetensors filter=lfs\n"
        self.server.repositories[name] = repository
        return self._send_json({"url": f"{self.server.address}/{name}"})

    def _create_branch(self, repository: Repository, branch: str, data: bytes) -> None:
        repository.refs[branch] = json.loads(data)["startingPoint"]
        self._send_json({})

    def _send_modes(self, repository: Repository, revision: str, data: bytes) -> None:
        paths = [file["path"] for file in json.loads(data)["files"]]
        modes = {path: "lfs" if path.endswith(".safetensors") else "regular" for path in paths}
        self._send_json(
            {"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]}
        )

    def _send_batch(self, wanted: dict[str, Any]) -> None:
        upload = {"href": f"{self.server.address}/lfs/object"}
        verify = {"href": f"{self.server.address}/lfs/verify"}
        objects = [{**each, "actions": {"upload": upload, "verify": verify}} for each in wanted["objects"]]
        self._send_json({"transfer": "basic", "objects": objects})

    def _commit(self, repository: Repository, branch: str, data: bytes) -> None:
        header, *operations = [json.loads(line) for line in data.splitlines()]
        base = repository.refs[branch]
        if header["value"].get("parentCommit") not in (None, base):
            return self._fail(412, "", "A commit has happened since")
        files = dict(repository.commits[base])
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "deletedFile":
                del files[value["path"]]
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.server.uploaded[value["oid"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        commit = sha1(data).hexdigest()
        repository.commits[commit] = files
        repository.refs[branch] = commit
        name = "/".join(self.path.split("/")[3:5])
        address = f"{self.server.address}/{name}/commit/{commit}"
        return self._send_json({"success": True, "commitOid": commit, "commitUrl": address})

    def _send_json(self, value: object) -> None:
        data = json.dumps(value).encode()
        self._start(200, len(data), {"Content-Type": "application/json"})
        self.wfile.write(data)

    def _fail(self, status: int, code: str, message: str = "") -> None:
        self._start(status, 0, {"X-Error-Code": code, "X-Error-Message": message or code})

    def _send_file(self, name: str, files: dict[str, bytes], commit: str) -> None:
        if name not in files:
            return self._fail(404, "EntryNotFound")
        data = bytearray(files[name])
        digest = sha256(data).hexdigest()
        if name in self.server.altered:
            data[-1] ^= 1
        self._start(200, len(data), {"ETag": f'"{digest}"', "X-Repo-Commit": commit})
        if self.command == "GET":
            self.wfile.write(data[: len(data) // 2] if name in self.server.truncated else data)
        return None

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
        patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
        patch.delenv("HF_TOKEN", raising=False)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
            server.server_close()
