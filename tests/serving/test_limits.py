"""Requests that exceed a limit, are not valid or come from a foreign page are refused by a JSON error."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import resources
from typing import Any

import pytest
from starlette.testclient import TestClient

from tagger.errors import ConfigError
from tagger.serving import app as app_module
from tagger.serving import served_models
from tagger.serving.endpoints import parse_tag
from tagger.serving.limits import Limits, RequestError
from tagger.serving.queries import build_records
from tagger.serving.served_models import ServedModels
from tagger.serving.worker import Call, CallQueue, Worker
from tests.serving.clients import open_client


def refuse(response: Any, status: int) -> str:
    """Checks that a request was refused, and returns the error."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"status", "errors"}
    assert body["status"] == status
    return "; ".join(body["errors"])


@contextmanager
def blocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, list[Call]]]:
    """Lets the worker wait until an event is set, and collects the calls that it takes."""
    release, taken = threading.Event(), list[Call]()
    reply = Worker._reply

    def wait(self: Worker, calls: Any) -> Any:
        taken.extend(calls)
        release.wait(20)
        return reply(self, calls)

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "_reply", wait)
        try:
            yield release, taken
        finally:
            release.set()


def wait_until(condition: Any) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", "the body is not valid: not JSON: Expecting value at character 1"),
        ('{"text": "Ada"', "not JSON: Expecting ',' delimiter at character 15"),
        (b"\xff", "not UTF-8: byte 1"),
        ('{"text": "a", "text": "b"}', "the key 'text' occurs twice"),
        ('{"text": "a", "threshold": NaN}', "NaN is not a JSON number"),
        ("[" * 5000 + "]" * 5000, "nested over 100 levels deep"),
        ("[]", "the body: expected a JSON object, found []"),
        ("{}", "expected one of text, texts and tokens, found none"),
        ('{"text": "a", "texts": []}', "expected one of text, texts and tokens, found text and texts"),
        ('{"text": 3}', "expected a string as 'text', found 3"),
        ('{"text": [null, true, "\\u2028"]}', "expected a string as 'text', found [null, true, \"\\u2028\"]"),
        ('{"text": "a", "nbest": false}', "nbest: expected a valid integer, found false"),
        ('{"text": "a", "probabilities": null}', "probabilities: expected a valid boolean, found null"),
        ('{"texts": "a"}', "expected a list as 'texts'"),
        ('{"texts": ["a", null]}', "the field 'text' is null"),
        ('{"tokens": "a"}', "expected a list as 'tokens'"),
        ('{"tokens": ["a", ""]}', "expected a string that is not empty as token 2"),
        ('{"tokens": [["a"], 3]}', "expected a list of tokens for each sentence, found 3"),
        ('{"text": "a", "treshold": 1}', "unknown field 'treshold'; expected model, probabilities, threshold"),
        ('{"text": "a", "threshold": 2}', "threshold: expected less than or equal to 1, found 2"),
        ('{"text": "a", "threshold": "1"}', 'threshold: expected a valid number, found "1"'),
        ('{"text": "a", "nbest": 101}', "nbest: expected less than or equal to 100, found 101"),
        ('{"text": "a", "nbest": -1}', "nbest: expected greater than or equal to 0, found -1"),
        ('{"text": "a", "newline": "x"}', 'newline: expected "break" or "space", found "x"'),
        ('{"text": "a", "scheme": "x"}', "must be IOB1, IOB2"),
        ('{"text": "a", "language": "qq"}', 'language: expected en or de, found "qq"'),
        ('{"text": "a", "language": "../x"}', 'language: expected en or de, found "../x"'),
        ('{"text": "a", "threshold": 0.5, "precision": 0.5}', "omit `threshold` or `precision`"),
        ('{"text": "a", "precision": 0.5}', "calibrat"),
    ],
)
def test_requests_that_are_not_valid_are_refused(client: TestClient, body: Any, error: str) -> None:
    assert error in refuse(client.post("/tag", content=body), 422)


def test_a_model_that_is_not_served_is_refused_with_the_names_of_the_others(client: TestClient) -> None:
    error = refuse(client.post("/tag", json={"text": "a", "model": "x"}), 404)
    assert error == "no model is called 'x'; the models are first, documents"


@pytest.mark.parametrize("headers", [{}, {"expect": "100-continue"}])
def test_a_body_that_is_too_large_is_refused(models: ServedModels, headers: dict[str, str]) -> None:
    with open_client(models, Limits(max_body_bytes=100)) as client:
        response = client.post("/tag", json={"text": "a" * 100}, headers=headers)
        assert refuse(response, 413) == "the body is larger than 100 bytes; send several requests"
        assert response.headers["connection"] == "close"
        chunks = (b"x" * 50 for _ in range(100))
        assert refuse(client.post("/tag", content=chunks), 413)
        assert refuse(client.post("/setup", json={"schema": "a" * 100}), 413)
        assert client.post("/tag", json={"text": "a"}).status_code == 200


@pytest.mark.parametrize(
    "body", [{"text": "a " * 50}, {"text": "a, " * 30}, {"texts": ["a"] * 30}, {"tokens": [["a"]] * 30}]
)
def test_a_request_with_too_many_tokens_is_refused(models: ServedModels, body: dict[str, Any]) -> None:
    with open_client(models, Limits(max_request_tokens=49)) as client:
        error = refuse(client.post("/tag", json=body), 422)
        assert error == "over 49 tokens, the limit of this request; send several requests"


def test_alternatives_are_found_for_fewer_tokens(models: ServedModels) -> None:
    with open_client(models, Limits(max_request_tokens=50)) as client:
        assert client.post("/tag", json={"text": "a " * 20, "nbest": 2}).status_code == 200
        error = refuse(client.post("/tag", json={"text": "a " * 20, "nbest": 10}), 422)
        assert error == "over 10 tokens, the limit of this request; send several requests, or lower nbest"


def test_too_many_texts_are_refused(client: TestClient) -> None:
    error = refuse(client.post("/tag", json={"texts": [""] * 1001}), 422)
    assert error == "1,001 texts; the limit is 1,000 in a request"
    assert refuse(client.post("/predict", json={"tasks": [{}] * 1001}), 422).startswith("tasks: expected ")
    assert refuse(client.post("/predict", json={"tasks": [3]}), 422) == "tasks.0: expected a JSON object, found 3"


@pytest.mark.parametrize("text", ["!" * 6000, "a,\U0001f600" * 4000, ("('" * 500 + " ") * 11])
def test_a_text_that_takes_long_to_split_is_refused(models: ServedModels, text: str) -> None:
    with pytest.raises(RequestError, match="too many punctuation marks"):
        build_records([{"text": "Ada"}, {"text": text}], models.find(None), Limits())


def test_long_words_of_usual_texts_are_accepted(models: ServedModels) -> None:
    text = "https://example.org/a/b?c=d-e&f=" + "g" * 100 + " " + "\U0001f600" * 300 + "\u4e00" * 1000
    assert len(build_records([{"text": text}], models.find(None), Limits())) == 1


def test_a_long_text_is_refused_before_it_is_split(models: ServedModels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagger.serving.queries.rows.record", lambda *_: pytest.fail("was split"))
    with pytest.raises(RequestError, match="over 10 tokens"):
        build_records([{"text": "a " * 11}], models.find(None), Limits(max_request_tokens=10))


def test_requests_beyond_the_queue_are_refused_and_can_be_sent_again(
    models: ServedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"text": "Ada lives in Oslo."}
    limits = Limits(max_queue=2, batch_wait=0)
    with (
        blocked(monkeypatch) as (release, taken),
        ThreadPoolExecutor(4) as threads,
        open_client(models, limits) as client,
    ):
        first = threads.submit(client.post, "/tag", json=body)
        wait_until(lambda: taken)
        others = [threads.submit(client.post, "/tag", json=body) for _ in range(2)]
        wait_until(lambda: "tagger_queue_length 2.0" in client.get("/metrics").text)
        response = client.post("/tag", json=body)
        assert refuse(response, 429) == "too many requests are waiting; send the request again later"
        assert response.headers["retry-after"] == "1"
        assert refuse(client.get("/ready"), 503)
        assert client.get("/health").status_code == 200
        release.set()
        assert [each.result().status_code for each in (first, *others)] == [200, 200, 200]
        assert client.post("/tag", json=body).status_code == 200


def test_bodies_in_memory_are_limited_together(models: ServedModels, monkeypatch: pytest.MonkeyPatch) -> None:
    with blocked(monkeypatch) as (release, taken), ThreadPoolExecutor(1) as threads, open_client(models) as client:
        monkeypatch.setattr(app_module, "MAX_HELD_BYTES", 1000)
        first = threads.submit(client.post, "/tag", json={"text": "a" * 600})
        wait_until(lambda: taken)
        assert refuse(client.post("/tag", json={"text": "a" * 600}), 429)
        release.set()
        assert first.result().status_code == 200
        assert client.post("/tag", json={"text": "a" * 600}).status_code == 200


def test_a_request_that_waits_too_long_is_refused_and_not_tagged(
    models: ServedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(timeout=0.5, batch_wait=0)
    with (
        blocked(monkeypatch) as (release, taken),
        ThreadPoolExecutor(1) as threads,
        open_client(models, limits) as client,
    ):
        first = threads.submit(client.post, "/tag", json={"text": "first"})
        wait_until(lambda: taken)
        late = client.post("/tag", json={"text": "second"})
        assert refuse(late, 408) == "the request was not complete and answered within 0.5 seconds"
        assert late.headers["connection"] == "close"
        assert refuse(first.result(), 408)
        release.set()
        assert client.post("/tag", json={"text": "third"}).status_code == 200
    assert [json.loads(call.body)["text"] for call in taken] == ["first", "third"]


def test_a_request_whose_client_has_left_is_not_tagged(models: ServedModels, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_module.create_app(models, Limits(batch_wait=0))
    sent: list[Any] = []

    async def request(text: str, leave: asyncio.Event) -> None:
        messages = iter([{"type": "http.request", "body": json.dumps({"text": text}).encode(), "more_body": False}])

        async def receive() -> Any:
            if message := next(messages, None):
                return message
            await leave.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/tag", "headers": [], "query_string": b"", "app": app}
        await app(scope | {"server": ("x", 1), "root_path": ""}, receive, send)

    async def run(release: threading.Event, taken: list[Call]) -> None:
        leaves, stays = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(request("first", stays))
        await asyncio.to_thread(wait_until, lambda: taken)
        second, third = asyncio.create_task(request("second", leaves)), asyncio.create_task(request("third", stays))
        await asyncio.sleep(0.2)
        leaves.set()
        await second
        release.set()
        await asyncio.gather(first, third)

    with blocked(monkeypatch) as (release, taken), TestClient(app) as client:
        assert client.portal is not None
        client.portal.call(run, release, taken)
    assert [json.loads(call.body)["text"] for call in taken] == ["first", "third"]
    statuses = [message["status"] for message in sent if message["type"] == "http.response.start"]
    assert sorted(statuses) == [200, 200, 499]


def test_requests_that_waited_too_long_leave_the_queue(models: ServedModels, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(timeout=0.2, batch_wait=0, max_queue=1)
    with (
        blocked(monkeypatch) as (_, taken),
        ThreadPoolExecutor(1) as threads,
        open_client(models, limits) as client,
    ):
        first = threads.submit(client.post, "/tag", json={"text": "first"})
        wait_until(lambda: taken)
        for _ in range(2):
            refuse(client.post("/tag", json={"text": "next"}), 408)  # not 429: the one before has left the queue
        assert "\ntagger_queue_length 0.0\n" in client.get("/metrics").text
        assert client.get("/ready").status_code == 200
        refuse(first.result(), 408)


def test_a_queue_whose_calls_were_removed_waits_for_others() -> None:
    loop = asyncio.new_event_loop()
    first, second, third = (Call(parse_tag, b"x" * 50_000, None, loop.create_future()) for _ in range(3))
    queue = CallQueue(2, 0.1)
    with ThreadPoolExecutor(1) as threads:
        batch = threads.submit(queue.take)
        assert queue.put(first)
        time.sleep(0.03)  # the queue waits for others now
        queue.remove(first)
        queue.remove(first)  # has no effect
        time.sleep(0.15)
        assert not batch.done()
        assert queue.put(second)
        assert batch.result(20) == [second]
    queue.remove(second)  # was taken
    assert queue.put(first)
    assert queue.put(third)
    queue.remove(first)
    assert (queue.take(), len(queue)) == ([third], 0)
    loop.close()


@pytest.mark.parametrize("path", ["/tag", "/setup", "/models/first/predict"])
def test_a_client_that_leaves_while_it_sends_is_no_fault_of_the_server(
    models: ServedModels, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_module.create_app(models, Limits())
    sent: list[Any] = []

    async def run() -> None:
        messages = iter([{"type": "http.request", "body": b'{"text', "more_body": True}, {"type": "http.disconnect"}])

        async def receive() -> Any:
            return next(messages)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b"", "app": app}
        await app(scope | {"server": ("x", 1), "root_path": ""}, receive, send)

    with TestClient(app) as client:
        assert client.portal is not None
        client.portal.call(run)
    assert [message["status"] for message in sent if message["type"] == "http.response.start"] == [499]
    assert caplog.records == []


def test_a_batch_ends_at_its_limits() -> None:
    queue = CallQueue(1000, 60.0)
    loop = asyncio.new_event_loop()
    calls = [Call(lambda *_: None, b"x" * 30_000, None, loop.create_future()) for _ in range(5)]  # type: ignore[arg-type,return-value]
    assert all(map(queue.put, calls))
    assert [len(queue.take()), len(queue.take())] == [2, 2]  # without waiting: the next would exceed 64 KB
    queue.close()
    assert (len(queue.take()), queue.take(), queue.put(calls[0])) == (1, [], False)
    loop.close()


HOSTS = ("127.0.0.1", "localhost", "::1")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:8000"}, 200),
        ({"host": "LOCALHOST"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "127.0.0.1", "origin": "http://localhost:3000"}, 200),
        ({"host": "evil.example"}, 421),
        ({"host": "evil.example:8000"}, 421),
        ({"host": ""}, 421),
        ({"host": "[::1"}, 421),
        ({"host": "localhost@evil.example"}, 421),
        ({"host": "127.0.0.1", "origin": "https://evil.example"}, 403),
        ({"host": "127.0.0.1", "origin": "null"}, 403),
    ],
)
def test_pages_of_other_hosts_cannot_use_a_local_server(
    models: ServedModels, headers: dict[str, str], status: int
) -> None:
    with open_client(models, hosts=HOSTS) as client:
        response = client.post("/tag", json={"text": "Ada"}, headers=headers)
    assert response.status_code == status
    if status != 200:
        assert "allow_host" not in refuse(response, status)


def test_the_page_and_its_parts_come_from_the_package_and_nothing_else_is_served(client: TestClient) -> None:
    folder = resources.files("tagger.serving") / "page"
    for path, name in (
        ("/", "index.html"),
        ("/page.css", "page.css"),
        ("/page.js", "page.js"),
        ("/icon.svg", "icon.svg"),
    ):
        response = client.get(path)
        assert response.content == folder.joinpath(name).read_bytes()
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
    for path in (
        "/index.html",
        "/page",
        "/../pyproject.toml",
        "/%2e%2e/pyproject.toml",
        "/docs",
        "/redoc",
        "/page.js/",
    ):
        assert "/openapi.json describes the paths" in refuse(client.get(path, follow_redirects=False), 404)
    assert refuse(client.get("/tag"), 405) == "GET is not a method of '/tag'"
    assert refuse(client.post("/tag/"), 404)


@pytest.mark.parametrize("path", ["/models", "/models/first/health", "/openapi.json"])
def test_a_fault_of_the_server_is_a_json_error_and_is_logged(
    models: ServedModels, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ServedModels, "describe", lambda _: 1 / 0)
    monkeypatch.setattr(ServedModels, "find", lambda *_: 1 / 0)
    monkeypatch.setattr("fastapi.applications.get_openapi", lambda **_: 1 / 0)
    with open_client(models) as client:
        assert refuse(client.get(path), 500) == "internal error; the log of the server has the details"
    (record,) = caplog.records
    assert (record.name, record.message) == ("tagger.serving.app", "a request failed")
    assert "ZeroDivisionError" in str(record.exc_text)


@pytest.mark.parametrize(
    "limits",
    [{"max_body_bytes": 0}, {"max_request_tokens": 0}, {"timeout": 0.0}, {"max_queue": 0}, {"batch_wait": -1.0}],
)
def test_limits_that_are_not_positive_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(limits))):
        Limits(**limits)


def test_models_have_names_from_their_paths_or_given_ones() -> None:
    assert served_models.split_name("a=b=c") == ("a", "b=c")
    assert served_models.split_name("./model") != ("model", "./model")
    with pytest.raises(ConfigError, match="expected a name of letters"):
        served_models.split_name("a b=c")


def test_two_models_of_one_name_are_refused(models: ServedModels) -> None:
    with pytest.raises(ConfigError, match="two models are called 'first'; name one of them"):
        ServedModels([models.find(None)] * 2)
    with pytest.raises(ConfigError, match="no model was given"):
        ServedModels([])
