"""The command `tagger serve`."""

from typing import Annotated

import typer

from tagger import streams
from tagger.cli import options


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help=f"{options.MODEL_HELP} NAME=MODEL names it for requests; the first is the default.",
        ),
    ],
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on; 0.0.0.0 for all interfaces.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="Port; 0 picks a free one.")] = 8000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Additional Host name to accept (repeatable).",
            show_default="at 127.0.0.1 only names of this machine, else any",
        ),
    ] = None,
    allow_language: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CODE",
            help="Additional language that requests may choose for raw text (repeatable).",
            show_default="those of the models",
        ),
    ] = None,
    max_body_bytes: Annotated[
        int, typer.Option(metavar="N", min=1000, max=1 << 26, help="Maximum request size in bytes.")
    ] = 1 << 20,
    max_request_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, max=10**6, help="Maximum tokens of a request.")
    ] = 20_000,
    max_queue: Annotated[int, typer.Option(metavar="N", min=1, max=10**6, help="Maximum queue length.")] = 2000,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=3600, help="Maximum time to receive and answer a request.")
    ] = 30.0,
    batch_wait: Annotated[
        float,
        typer.Option(metavar="MS", min=0, max=1000, help="Milliseconds to wait for requests to be tagged together."),
    ] = 2.0,
    processes: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=256,
            help="Number of processes that answer requests; each loads the models and has a queue.",
        ),
    ] = 1,
    max_tokens: options.MaxTokens = 1000,
    batch_tokens: options.BatchTokens = 4096,
    workers: options.Workers = None,
    device: options.Device = "auto",
) -> None:
    """Serve models over HTTP, with a page to try them.

    POST /tag tags texts and tokens; /openapi.json describes all paths. After SIGTERM, the server waits
    up to 3 seconds for the requests in flight. With several processes, --workers counts the threads of each;
    they share the CPU cores by default.
    """
    from tagger.serving.limits import Limits
    from tagger.serving.serve import serve as run

    run(
        models,
        host=host,
        port=port,
        allow_host=allow_host or (),
        languages=allow_language or (),
        limits=Limits(max_body_bytes, max_request_tokens, timeout, max_queue, batch_wait / 1000),
        processes=processes,
        max_tokens=max_tokens,
        batch_tokens=batch_tokens,
        workers=workers,
        device=device,
        on_start=lambda url: streams.print_error(f"serving at {url}"),
    )
