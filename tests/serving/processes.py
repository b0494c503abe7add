"""A server in a process of its own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from tagger.errors import Stopped
from tests.robustness.runs import child


def run_server(sender: Connection, models: list[str], options: dict[str, Any]) -> None:
    """Serves models at a free port, whose URL is sent; ends as the command does."""
    from tagger.serving.serve import serve

    logging.disable(logging.WARNING)
    try:
        serve(models, port=0, on_start=sender.send, device="cpu", workers=1, **options)
    except Stopped as error:
        raise SystemExit(error.exit_code) from error


@contextmanager
def start_server(*models: Path | str, **options: Any) -> Iterator[tuple[str, ForkServerProcess]]:
    """Starts a server and yields its URL and its process."""
    receiver, sender = Pipe(duplex=False)
    process = child(run_server, sender, [str(model) for model in models], options)
    sender.close()
    try:
        yield receiver.recv(), process
    finally:
        process.kill()
        process.join()
        receiver.close()
