"""A real server: parallel, slow, broken and leaving clients on loopback, and its end by a signal."""

import asyncio
import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from tagger.cli import app
from tagger.serving.limits import STOP_SECONDS, Limits
from tests.robustness.runs import SCALE
from tests.serving.processes import start_server

TEXT = "Ada lives in New York."


@pytest.fixture(scope="module")
def address(model_path: Path) -> Iterator[tuple[str, int]]:
    """Host and port of a server whose requests may take a second."""
    with start_server(f"first={model_path}", limits=Limits(timeout=1.5)) as (url, _):
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        yield parts.hostname, parts.port


def build_request(body: bytes, *, length: int | None = None) -> bytes:
    """Returns a request to tag as bytes."""
    head = f"POST /tag HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
    return head.encode() + body


async def exchange(address: tuple[str, int], data: bytes, *, wait: float = 0) -> tuple[int, Any]:
    """Sends bytes, after half of them a wait, and returns the status and the JSON of the answer."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        half = len(data) // 2 if wait else 0
        writer.write(data[:half])
        await asyncio.sleep(wait)
        writer.write(data[half:])
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        return int(head.split()[1]), json.loads(await reader.readexactly(length))
    finally:
        writer.close()


async def leave(address: tuple[str, int], data: bytes) -> None:
    """Sends bytes and closes the connection."""
    _, writer = await asyncio.open_connection(*address)
    writer.write(data)
    await writer.drain()
    writer.close()


def test_faulty_and_slow_clients_do_not_affect_others(address: tuple[str, int]) -> None:
    names = ("Ada", "Grace", "Alan", "Edsger")
    count = 60 * SCALE

    async def run() -> list[Any]:
        tasks = []
        for number in range(count):
            body = json.dumps({"text": f"{names[number % 4]} lives in Oslo."}).encode()
            tasks += [
                exchange(address, build_request(body)),
                exchange(address, build_request(b'{"text": ')),
                leave(address, build_request(body)),
                leave(address, build_request(body, length=1000)),
            ]
            if number % 10 == 0:
                tasks += [
                    exchange(address, build_request(body), wait=0.3),
                    exchange(address, build_request(body, length=1000)),
                    exchange(address, b"POST /tag HTTP/1.1\r\nHost: local"),
                    exchange(address, b"GARBAGE\r\n\r\n"),
                    exchange(address, b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000),
                ]
        return await asyncio.gather(*tasks)

    results = iter(asyncio.run(run()))
    for number in range(count):
        status, answer = next(results)
        assert status == 200
        assert answer["documents"][0]["spans"][0]["text"] == names[number % 4]
        assert next(results)[0] == 422
        assert (next(results), next(results)) == (None, None)
        if number % 10 == 0:
            assert [next(results)[0] for _ in range(5)] == [200, 408, 408, 400, 431]


def test_idle_connections_are_closed_in_time(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=20) as idle:
        assert b" 408 " in idle.recv(1000)
        assert idle.recv(1000) == b""


def test_several_requests_share_a_connection(address: tuple[str, int]) -> None:
    connection = http.client.HTTPConnection(*address, timeout=20)
    for _ in range(3):
        connection.request("POST", "/tag", json.dumps({"text": TEXT}))
        assert connection.getresponse().read().startswith(b'{"model": "first"')
    connection.close()


def test_pipelined_requests_are_all_answered(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(build_request(json.dumps({"text": TEXT}).encode()) * 3)
        data = b""
        while data.count(b'"model": "first"') < 3:
            part = connection.recv(10_000)
            assert part
            data += part
    assert data.count(b"HTTP/1.1 200 ") == 3


def test_trailers_are_dropped_and_have_a_limit(address: tuple[str, int]) -> None:
    body = json.dumps({"text": TEXT}).encode()
    head = b"POST /tag HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n"
    assert asyncio.run(exchange(address, head + chunks + b"Host: evil.example\r\n\r\n"))[0] == 200
    with socket.create_connection(address, timeout=20) as connection:
        start = time.monotonic()
        connection.sendall(head + chunks)
        with suppress(ConnectionError):
            while time.monotonic() - start < 1:  # less than the time limit of a request
                connection.sendall(b"X: " + b"y" * 20_000 + b"\r\n")
                time.sleep(0.02)
        assert time.monotonic() - start < 1


def test_the_help_names_the_seconds_for_requests_in_flight() -> None:
    text = " ".join(CliRunner().invoke(app, ["serve", "--help"]).stdout.split())
    assert f"waits up to {STOP_SECONDS} seconds for the requests in flight" in text


def test_sigterm_finishes_requests_in_flight_and_refuses_new_ones(model_path: Path) -> None:
    with start_server(model_path) as (url, process):
        parts = urlsplit(url)
        counts, faults = [0] * 6, list[str]()

        def ask(number: int) -> None:
            connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
            while True:
                try:
                    connection.request("POST", "/tag", json.dumps({"text": TEXT}))
                    response = connection.getresponse()
                except (ConnectionError, http.client.RemoteDisconnected):
                    connection.close()  # refused: no part of an answer has arrived
                    return
                body = response.read()  # raises IncompleteRead if the answer is cut off
                if response.status != 200 or json.loads(body)["documents"][0]["spans"][0]["text"] != "Ada":
                    faults.append(f"{response.status} {body!r}")
                counts[number] += 1

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(counts))]
        for thread in threads:
            thread.start()
        while min(counts) < 3:
            time.sleep(0.01)
        long_request = socket.create_connection((str(parts.hostname), parts.port), timeout=20)
        long_request.sendall(build_request(json.dumps({"text": "Ada lives in Oslo. " * 2000}).encode()))
        time.sleep(0.05)
        assert process.pid is not None
        start = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)
        process.join(20)
        assert process.exitcode == 143
        assert time.monotonic() - start < 5
        for thread in threads:
            thread.join(20)
        assert faults == []
        with long_request, long_request.makefile("rb") as stream:
            assert stream.readline().startswith(b"HTTP/1.1 200 ")
            assert stream.read().endswith(b"}\n]}\n")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((str(parts.hostname), parts.port), timeout=5)


def run(*arguments: object) -> tuple[int, str]:
    """Returns the exit code and the errors of `tagger serve`."""
    done = CliRunner().invoke(app, ["serve", *map(str, arguments)])
    return done.exit_code, done.stderr


def test_a_port_in_use_is_an_error_of_one_line(model_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, errors = run(model_path, "--port", port)
    assert code == 2
    assert errors == (f"cannot listen at 127.0.0.1, port {port}: address already in use; choose --host and --port\n")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["{tmp}/none"], "no such model directory"),
        (["a=b c=d"], "no such model directory"),
        (["owner/name"], "owner/name: no such model directory; for a model of the Hub, write hub:owner/name"),
        (["a b=c"], "expected a name of letters, digits, dots, hyphens and underscores before ="),
        (["{tmp}", "--host", "256.256.256.256"], "cannot listen at 256.256.256.256"),
        (["{tmp}", "--allow-language", "qq"], "language 'qq': spaCy does not support it"),
        (["{tmp}", "--timeout", "0"], "Invalid value for '--timeout'"),
        (["{tmp}", "--processes", "0"], "Invalid value for '--processes'"),
        ([], "Missing argument 'MODEL'"),
    ],
)
def test_faults_of_a_user_are_errors_of_one_line(tmp_path: Path, arguments: list[str], error: str) -> None:
    code, errors = run(
        *(argument.format(tmp=tmp_path) for argument in arguments), *["--port", "0"][: 2 * bool(arguments)]
    )
    assert code == 2
    assert error in errors
    assert errors.count("\n") == 1


def test_several_processes_need_a_system_that_lets_them_share_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagger.serving.serve.os", SimpleNamespace(name="nt"))
    code, errors = run(tmp_path, "--processes", 2)
    assert code == 2
    assert errors == "several --processes cannot share a socket on Windows; start the server with one\n"


def test_a_missing_extra_is_an_error_of_one_line(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("app", "process", "supervisor"):
        monkeypatch.delitem(sys.modules, f"tagger.serving.{name}", raising=False)
        monkeypatch.delattr(f"tagger.serving.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert run(model_path) == (2, "the server needs FastAPI: pip install 'bilstm-crf-tagger[serve]'\n")
