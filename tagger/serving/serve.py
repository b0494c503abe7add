"""The Python API of `tagger serve`."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from tagger.choices import Device
from tagger.device import count_processors
from tagger.errors import ConfigError
from tagger.serving import served_models
from tagger.serving.limits import Limits
from tagger.tagging.tagger import BATCH_TOKENS, MAX_TOKENS

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def serve(
    models: str | Path | Iterable[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    allow_host: Iterable[str] = (),
    languages: Iterable[str] = (),
    limits: Limits | None = None,
    processes: int = 1,
    max_tokens: int = MAX_TOKENS,
    batch_tokens: int = BATCH_TOKENS,
    workers: int | None = None,
    device: Device = "auto",
    on_start: Callable[[str], None] = lambda _: None,
) -> None:
    """Serves models over HTTP until SIGINT or SIGTERM.

    Args:
        models: model directories or `hub:USER/NAME`, each optionally as NAME=MODEL; requests that name no model use
            the first.
        host: the address to listen on.
        port: the port; 0 picks a free one.
        allow_host: additional names that the header Host of requests may have. At an address that only this machine can
            reach, the default names are `host`, localhost, 127.0.0.1 and ::1; else any name is allowed without this
            option.
        languages: additional languages that requests may choose, as ISO codes; those of the models are always accepted.
        limits: the limits of requests; each process has a queue of its own.
        processes: the number of processes that answer requests; each one loads the models. A process that dies is
            restarted, up to 3 times in a row.
        max_tokens: split sentences with more tokens into overlapping windows.
        batch_tokens: the maximum number of tokens per batch, padding included.
        workers: the number of CPU threads of each process; None to share all CPU cores among the processes.
        device: auto, cpu, cuda or cuda:N.
        on_start: is called with the URL when all processes accept requests.

    Raises:
        ConfigError: an option does not fit, or the extra `[serve]` is not installed.
        ModelError: a model is missing or damaged.
        TaggerError: a process dies again and again.
        Stopped: by a signal, after the requests in flight were answered or `STOP_SECONDS` have passed.
    """
    try:
        from tagger.serving import process, server, supervisor
    except ImportError as error:
        raise ConfigError("the server needs FastAPI: pip install 'bilstm-crf-tagger[serve]'") from error

    if processes < 1:
        raise ConfigError(f"`processes` must be at least 1, got {processes}")
    if processes > 1 and os.name != "posix":
        raise ConfigError("several `processes` cannot share a socket on Windows; start the server with one")
    workers = workers or max(1, count_processors() // processes)
    options = {"max_tokens": max_tokens, "batch_tokens": batch_tokens, "workers": workers, "device": device}
    paths = [models] if isinstance(models, str | Path) else list(models)
    listener = server.bind(host, port, is_shared=processes > 1)
    with listener:
        directories = (served_models.find(str(path)) for path in paths)
        settings = process.Settings(
            models=tuple((name, str(directory)) for name, directory in directories),
            languages=tuple(languages),
            hosts=(*allow_host, *((host, *_LOCAL_NAMES) if server.is_local(listener) else ())),
            limits=limits or Limits(),
            options=options,
        )
        url = server.format_url(listener)
        if processes == 1:
            process.run(settings, listener, lambda: on_start(url))
        else:
            supervisor.run(settings, listener, processes, lambda: on_start(url))
