"""The web application: its routes, the answers to faulty requests, and the checks before a request is read."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagger import __version__
from tagger.io import json_files
from tagger.serving import api_description, labelling_interface
from tagger.serving.endpoints import Endpoint, parse_doccano, parse_label_studio, parse_tag
from tagger.serving.limits import INTERNAL_ERROR, STOP_SECONDS, Limits, RequestError
from tagger.serving.metrics import CONTENT_TYPE, Metrics
from tagger.serving.queries import SetupRequest, parse_json, validate
from tagger.serving.served_models import ServedModels
from tagger.serving.worker import Call, Reply, Worker

log = logging.getLogger(__name__)

MAX_HELD_BYTES = 1 << 26
"""Bodies that are in memory at once, those of requests that are still arriving included."""
_GRACE = 0.2  # seconds after which an unanswered request is watched for a client that leaves
_DISCARDED = 16  # times the limit of a body: what is read of a larger body, so that the client reads the answer
_PAGE = {
    "index.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_JSON = "application/json"
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]


def create_app(
    models: ServedModels, limits: Limits, *, hosts: Collection[str] = (), metrics: Metrics | None = None
) -> ASGIApp:
    """Returns the application that serves models; its thread runs between the startup and the shutdown of its lifespan.

    Args:
        models: the models.
        limits: the limits of requests.
        hosts: the names that the header Host, and Origin if present, may have; none for any.
        metrics: counts requests; None for those of a server of one process.
    """
    metrics = metrics or Metrics()
    service = _Service(Worker(models, limits, metrics), limits, metrics)
    app = FastAPI(
        title="tagger",
        version=__version__,
        summary="Named entities and other token labels.",
        docs_url=None,  # those pages load scripts from another host
        redoc_url=None,
        default_response_class=Response,
        lifespan=service.lifespan,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.router.route_class = _PlainRoute
    app.add_exception_handler(HTTPException, _convert_http_exception)
    app.add_exception_handler(Exception, _convert_error)
    _add_tagging(app, service)
    _add_information(app, service, models, metrics)
    _add_page(app)
    return _Guard(app, metrics, hosts)


class _PlainRoute(APIRoute):
    """A route whose function takes the request alone; FastAPI only describes it, which saves time."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Returns the function of the route."""
        return partial(_call, self.endpoint)


class _Service:
    """Reads requests, queues them for the worker and waits for the answers."""

    def __init__(self, worker: Worker, limits: Limits, metrics: Metrics) -> None:
        self.worker, self._limits, self._metrics = worker, limits, metrics
        self._held_bytes = 0

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Runs the worker's thread."""
        self.worker.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self.worker.stop, STOP_SECONDS)

    @property
    def is_ready(self) -> bool:
        """Whether a request would be tagged now."""
        return self.worker.is_alive and len(self.worker.queue) < self._limits.max_queue

    async def reply(self, request: Request, endpoint: Endpoint, model: str | None = None) -> Response:
        """Returns the answer to a request that tags.

        Raises:
            RequestError: the request exceeds a limit, or is not valid.
        """
        start = time.monotonic()
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.timeout):
                await self._read(request, body)
                reply = await self._tag(request, endpoint, bytes(body), model)
        except TimeoutError:
            seconds = f"{self._limits.timeout:g} seconds"
            raise RequestError(408, f"the request was not complete and answered within {seconds}") from None
        finally:
            self._held_bytes -= len(body)
        self._metrics.observe_seconds(time.monotonic() - start)
        if reply.status != 200:
            raise RequestError(reply.status, *reply.errors)
        return Response(reply.body, media_type=_JSON)

    async def read(self, request: Request) -> bytes:
        """Returns the body of a request that does not tag; see `reply` for errors."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.timeout):
                await self._read(request, body)
        except TimeoutError:
            raise RequestError(408, "the request did not arrive in time") from None
        finally:
            self._held_bytes -= len(body)
        return bytes(body)

    async def _read(self, request: Request, body: bytearray) -> None:
        """Appends the body of a request, counted in `_held_bytes`."""
        limit = self._limits.max_body_bytes
        length = request.headers.get("content-length", "")
        is_too_large = length.isdecimal() and (len(length) > 18 or int(length) > limit)
        if is_too_large and "expect" in request.headers:  # the client waits for leave to send the body
            raise _too_large(limit)
        discarded = 0
        async for chunk in request.stream():
            if is_too_large or len(body) + len(chunk) > limit:
                is_too_large = True
                discarded += len(chunk)
                if discarded > _DISCARDED * limit:
                    break
                continue
            if self._held_bytes + len(chunk) > MAX_HELD_BYTES:
                raise _overloaded()
            self._held_bytes += len(chunk)
            body += chunk
        if is_too_large:
            raise _too_large(limit)

    async def _tag(self, request: Request, endpoint: Endpoint, body: bytes, model: str | None) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        call = Call(endpoint, body, model, future)
        if not self.worker.queue.put(call):
            raise _overloaded()
        watch = _DisconnectWatch(request.receive, future)
        try:
            return await future
        except BaseException:  # the client has left or has waited too long
            self.worker.queue.remove(call)
            raise
        finally:
            watch.stop()


class _DisconnectWatch:
    """Ends the wait for an answer by an error if the client closes the connection.

    A request that is answered soon is not watched: a task for each request would take longer than all else that the
    server does before a text is tagged.
    """

    def __init__(self, receive: Receive, future: "asyncio.Future[Reply]") -> None:
        self._receive, self._future = receive, future
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_GRACE, self._start)

    def stop(self) -> None:
        """Ends the watch."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        self._task = asyncio.ensure_future(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._future.done():
            self._future.set_exception(_ClientLeftError())


class _ClientLeftError(RequestError):
    """The client has closed the connection: nobody reads the answer. The status is the one that nginx logs."""

    def __init__(self) -> None:
        super().__init__(499, "the client has left")


def _too_large(limit: int) -> RequestError:
    return RequestError(413, f"the body is larger than {limit:,} bytes; send several requests")


def _overloaded() -> RequestError:
    return RequestError(429, "too many requests are waiting; send the request again later")


def _add_tagging(app: FastAPI, service: _Service) -> None:
    @app.post("/tag", **api_description.TAG)
    async def tag(request: Request) -> Response:
        return await service.reply(request, parse_tag)

    @app.post("/doccano", **api_description.DOCCANO)
    async def label_for_doccano(request: Request) -> Response:
        return await service.reply(request, parse_doccano)

    @app.post("/predict", **api_description.PREDICT)
    @app.post("/models/{name}/predict", **api_description.PREDICT_BY_NAME)
    async def predict_for_label_studio(request: Request) -> Response:
        return await service.reply(request, parse_label_studio, _model_name(request))


def _add_information(app: FastAPI, service: _Service, models: ServedModels, metrics: Metrics) -> None:
    @app.post("/setup", **api_description.SETUP)
    @app.post("/models/{name}/setup", **api_description.SETUP_BY_NAME)
    async def set_up_label_studio(request: Request) -> Response:
        setup = validate(SetupRequest, parse_json(await service.read(request)))
        labelling_interface.parse(setup.label_schema)
        return _json({"model_version": models.find(_model_name(request)).version})

    @app.get("/models", **api_description.MODELS)
    async def list_models(_: Request) -> Response:
        return _json({"models": models.describe()})

    @app.get("/health", **api_description.HEALTH)
    @app.get("/models/{name}/health", **api_description.HEALTH_BY_NAME)
    async def check_health(request: Request) -> Response:
        models.find(_model_name(request))
        return _json({"status": "UP"})

    @app.get("/ready", **api_description.READY)
    async def check_readiness(_: Request) -> Response:
        if not service.is_ready:
            raise RequestError(503, "the server does not take requests now")
        return _json({"status": "ready"})

    @app.get("/metrics", **api_description.METRICS)
    async def show_metrics(_: Request) -> Response:
        return Response(metrics.render(), headers={"content-type": CONTENT_TYPE})


def _model_name(request: Request) -> str | None:
    name: str | None = request.path_params.get("name")
    return name


def _add_page(app: FastAPI) -> None:
    folder = resources.files("tagger.serving") / "page"
    for name, kind in _PAGE.items():
        path = "/" if name == "index.html" else f"/{name}"
        app.add_api_route(path, _send(folder.joinpath(name).read_bytes(), kind), include_in_schema=False)


def _send(content: bytes, kind: str) -> Callable[[Request], Any]:
    async def send_file(_: Request) -> Response:
        return Response(content, media_type=f"{kind}; charset=utf-8", headers={"cache-control": "no-cache"})

    return send_file


def _json(value: object, status: int = 200, **headers: str) -> Response:
    return Response(json_files.dump(value), status, headers, _JSON)


def _json_error(status: int, *errors: str) -> Response:
    headers = {"retry-after": "1"} if status in (429, 503) else {}
    if status in (408, 413):
        headers["connection"] = "close"  # the rest of the body is not read
    return _json({"status": status, "errors": errors}, status, **headers)


async def _call(handler: Callable[[Request], Coroutine[Any, Any, Response]], request: Request) -> Response:
    try:
        return await handler(request)
    except Exception as error:
        return await _convert_error(request, error)


async def _convert_error(_: Request, error: Exception) -> Response:
    if isinstance(error, ClientDisconnect):  # while it sent the body
        error = _ClientLeftError()
    if isinstance(error, RequestError):
        return _json_error(error.status, *error.errors)
    log.error("a request failed", exc_info=error)
    return _json_error(500, INTERNAL_ERROR)


async def _convert_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    messages = {
        404: f"there is nothing at {request.url.path[:100]!r}; /openapi.json describes the paths",
        405: f"{request.method} is not a method of {request.url.path[:100]!r}",
    }
    response = _json_error(error.status_code, messages.get(error.status_code, str(error.detail)))
    response.headers.update(error.headers or {})
    return response


class _Guard:
    """Refuses requests that a page of another host makes, adds headers to answers, and counts them.

    A page of a foreign host can make a browser send requests to a server on the same machine: directly, with its own
    name in the header Origin, or by a name that it lets point to the machine (DNS rebinding), with that name in Host.
    """

    def __init__(self, app: FastAPI, metrics: Metrics, hosts: Collection[str]) -> None:
        self._app, self._metrics = app, metrics
        self._hosts = {host.lower() for host in hosts}
        self._paths = {getattr(route, "path", "") for route in app.routes}
        self._handlers = {
            (method, route.path): route.endpoint
            for route in app.routes
            if isinstance(route, _PlainRoute) and "{" not in route.path
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        label = path if path in self._paths else "/models/…" if path.startswith("/models/") else "other"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in message["headers"]}
                message["headers"] += [header for header in _RAW_HEADERS if header[0] not in names]
                self._metrics.count_request(label, message["status"])
            await send(message)

        response = self._find_refusal(scope)
        handler = self._handlers.get((scope["method"], path))
        if response is None and handler is not None:
            # The way through the framework to the same function takes longer than all else before a text is tagged.
            response = await _call(handler, Request(scope, receive))
        await (response or self._app)(scope, receive, send_with_headers)

    def _find_refusal(self, scope: Scope) -> Response | None:
        if not self._hosts:
            return None
        headers = dict(scope["headers"])
        host = _host_name(b"//" + headers.get(b"host", b""))
        if host not in self._hosts:
            return _json_error(421, f"this server does not accept the Host {host[:100]!r}; its operator can allow it")
        origin = headers.get(b"origin")
        if origin is not None and _host_name(origin) not in self._hosts:
            return _json_error(403, "requests of pages of other hosts are refused")
        return None


@lru_cache
def _host_name(url: bytes) -> str:
    try:
        return urlsplit(url.decode("latin-1")).hostname or ""
    except ValueError:
        return ""
