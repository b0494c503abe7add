"""Runs the application with uvicorn: the socket, connections with limits, and the end by a signal."""

import asyncio
import ipaddress
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tagger.errors import ConfigError, Stopped
from tagger.io import json_files
from tagger.serving.limits import STOP_SECONDS, Limits
from tagger.signals import StopRequest

_MAX_HEADER_BYTES = 1 << 16
_KEEP_ALIVE = 20  # seconds that an idle connection stays open
_LAST_REQUESTS = 0.2  # seconds in which a request that is on its way is accepted after the signal to stop
_BACKLOG = 2048
_BALANCES = sys.platform == "linux"  # whether SO_REUSEPORT spreads connections


def bind(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """Returns a socket that has an address, and does not listen yet: clients are refused while models load.

    Args:
        host: the address.
        port: the port; 0 picks a free one.
        is_shared: whether `bind_to_same_address` may give other sockets the same address.

    Raises:
        ConfigError: the address cannot be used.
    """
    with _address_errors(host, port):
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_shared and _BALANCES:
                with socket.socket(family, socket.SOCK_STREAM) as other:  # fails if another server has the address
                    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    other.bind(address)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
        return listener


def bind_to_same_address(listener: socket.socket) -> socket.socket:
    """Returns the socket with which one of several processes listens, given a shared socket of `bind`.

    Linux spreads connections over sockets of the same address. From one socket, whichever process wakes first would
    take nearly all connections of a burst. Elsewhere the processes listen with the shared socket.
    """
    if not _BALANCES:
        return listener
    with listener:
        separate = socket.socket(listener.family, socket.SOCK_STREAM)
        separate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        separate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        separate.bind(listener.getsockname())
        return separate


@contextmanager
def _address_errors(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot listen at {host}, port {port}: {reason.lower()}; choose `host` and `port`") from None


def format_url(listener: socket.socket) -> str:
    """Returns the URL of a socket's address."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_local(listener: socket.socket) -> bool:
    """Returns whether only this machine can connect to a socket."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def run(app: Any, listener: socket.socket, limits: Limits, on_start: Callable[[], None]) -> None:
    """Serves an application until SIGINT or SIGTERM, then waits up to `STOP_SECONDS` for the requests in flight.

    Args:
        app: the application.
        listener: a socket of `bind`; it is closed at the end.
        limits: the limits of requests.
        on_start: is called when the server accepts requests.

    Raises:
        Stopped: by a signal.
    """
    _allow_many_connections()
    protocol = type("_LimitedConnection", (_Connection,), {"timeout": limits.timeout})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=STOP_SECONDS,
        workers=1,
    )
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    with StopRequest() as stop:
        _Server(config, stop, on_start).run(sockets=[listener])
        if stop.signum:
            raise Stopped(stop.signum, saved=False)


class _Server(uvicorn.Server):
    """A server that a `StopRequest` ends."""

    def __init__(self, config: uvicorn.Config, stop: StopRequest, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop, self._on_start = stop, on_start

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to the `StopRequest`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to accept requests."""
        (listener,) = sockets or []
        with _address_errors(*listener.getsockname()[:2]):  # another process may listen by now
            await super().startup(sockets=sockets)
        self._on_start()

    async def on_tick(self, counter: int) -> bool:
        """Returns whether the server ends; called ten times a second."""
        return await super().on_tick(counter) or bool(self._stop.signum)


class _Connection(HttpToolsProtocol):
    """A connection with limits for headers and for the time of a request.

    Attributes:
        timeout: seconds in which a request must be complete; it is then refused by 408, or the connection is closed
            after twice this time if the client does not read the answer.
    """

    timeout: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the time limit of the first request."""
        super().connection_made(transport)
        self._is_stopping, self._header_bytes = False, 0
        self._has_headers = self._has_progress = False
        self._timer = self.loop.call_later(self.timeout, self._end_late_request)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the time limit."""
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Receives a part of a request; refuses headers, and trailers after a body, that are too large."""
        self._has_progress = False
        super().data_received(data)
        if not (self._has_headers and self._has_progress) and not self.transport.is_closing():
            self._header_bytes += len(data)
            if self._header_bytes > _MAX_HEADER_BYTES:
                self._refuse(431, f"the headers are larger than {_MAX_HEADER_BYTES:,} bytes")

    def send_400_response(self, msg: str) -> None:
        """Refuses a request that is not HTTP."""
        self._refuse(400, msg)

    def on_message_begin(self) -> None:
        """Starts the time limit of a request."""
        super().on_message_begin()
        self._has_headers, self._header_bytes = False, 0
        if self._is_idle():  # else the timer is that of the request in flight
            self._restart_timer(self.timeout, self._end_late_request)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Receives a header; drops trailers, which must not replace headers."""
        if not self._has_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Starts to handle a request, whose time limit the application has from now on."""
        self._has_headers = True
        self._count_progress()
        if self._is_idle():
            self._restart_timer(2 * self.timeout, self._abort)
        super().on_headers_complete()
        if self._is_stopping:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Receives a part of a body."""
        self._count_progress()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends a request."""
        self._count_progress()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Starts the time limit of what follows: a pipelined request, the rest of its headers, or silence."""
        super().on_response_complete()
        if not self._is_idle():
            self._restart_timer(2 * self.timeout, self._abort)
        elif not self._has_headers:
            self._restart_timer(self.timeout, self._end_late_request)
        else:
            self._restart_timer(_KEEP_ALIVE, self._close_if_idle)

    def shutdown(self) -> None:
        """Ends the connection after the request in flight, or soon if no request arrives."""
        self._is_stopping = True
        if self._is_idle():
            self.loop.call_later(_LAST_REQUESTS, self._close_if_idle)
        else:
            self.cycle.keep_alive = False

    def _count_progress(self) -> None:
        """Notes that the data received now are not only headers or trailers."""
        self._has_progress, self._header_bytes = True, 0

    def _restart_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        self._timer.cancel()
        self._timer = self.loop.call_later(seconds, callback)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

    def _end_late_request(self) -> None:
        if self._is_idle():
            self._refuse(408, f"no request was complete within {self.timeout:g} seconds")

    def _abort(self) -> None:
        self.transport.abort()

    def _refuse(self, status: int, message: str) -> None:
        """Answers by an error and closes the connection, unless an answer is being written."""
        if self._is_idle() and not self.transport.is_closing():
            body = json_files.dump({"status": status, "errors": [message]})
            head = f"HTTP/1.1 {status} \r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            self.transport.write(f"{head}connection: close\r\n\r\n".encode() + body)
        self.transport.close()


def _allow_many_connections() -> None:
    """Raises the limit of open files of this process as far as it may."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # missing on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 1 << 16 if hard == resource.RLIM_INFINITY else min(hard, 1 << 16)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
