"""The Python API of `tagger serve`."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tagger.choices import Device
from tagger.device import relaxed_garbage_collection
from tagger.errors import ConfigError
from tagger.serving import served_models
from tagger.serving.limits import Limits
from tagger.serving.served_models import ServedModel, ServedModels
from tagger.tagging.tagger import BATCH_TOKENS, MAX_TOKENS

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
# Python's default of 5 ms is what a thread that reads and writes waits, again and again, while another one tags.
_SWITCH_SECONDS = 0.0002
log = logging.getLogger(__name__)


def serve(
    models: str | Path | Iterable[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    allow_host: Iterable[str] = (),
    languages: Iterable[str] = (),
    limits: Limits | None = None,
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
        limits: the limits of requests.
        max_tokens: split sentences with more tokens into overlapping windows.
        batch_tokens: the maximum number of tokens per batch, padding included.
        workers: the number of CPU threads; None for all CPU cores.
        device: auto, cpu, cuda or cuda:N.
        on_start: is called with the URL when the server accepts requests.

    Raises:
        ConfigError: an option does not fit, or the extra `[serve]` is not installed.
        ModelError: a model is missing or damaged.
        Stopped: by a signal, after the requests in flight were answered or `STOP_SECONDS` have passed.
    """
    try:
        from tagger.serving import app, server
    except ImportError as error:
        raise ConfigError("the server needs FastAPI: pip install 'bilstm-crf-tagger[serve]'") from error

    limits = limits or Limits()
    paths = [models] if isinstance(models, str | Path) else list(models)
    options = {"max_tokens": max_tokens, "batch_tokens": batch_tokens, "workers": workers, "device": device}
    listener = server.bind(host, port)
    with listener:
        served = ServedModels((served_models.load(str(path), options) for path in paths), languages)
        for model in served:
            _warm_up(model)
        names = {*allow_host, *((host, *_LOCAL_NAMES) if server.is_local(listener) else ())}
        url = server.format_url(listener)
        with _process_settings(), relaxed_garbage_collection():
            server.run(app.create_app(served, limits, hosts=names), listener, limits, lambda: on_start(url))


@contextmanager
def _process_settings() -> Iterator[None]:
    """Runs the block with threads that wait less for one another, and without notices about single texts."""
    interval, logger = sys.getswitchinterval(), logging.getLogger("tagger.tagging")
    level = logger.level
    sys.setswitchinterval(_SWITCH_SECONDS)
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        logger.setLevel(level)


def _warm_up(model: ServedModel) -> None:
    """Loads what the first requests would wait for: the tokenizer and compiled kernels."""
    try:
        model.tagger.tag_text("A first sentence.", probabilities=True)
    except ConfigError as error:
        log.warning("the model %s tags tokens, but no texts: %s", model.name, error)
    model.tagger.tag([["A", "sentence"]], probabilities=True, nbest=2)
