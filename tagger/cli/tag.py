"""The command `tagger tag`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tagger import choices, streams
from tagger.cli import options
from tagger.cli.progress import tagging_progress
from tagger.io import line_reader


def tag(
    paths: options.Paths,
    model: options.Model,
    input_format: options.InputFormat = None,
    output_format: Annotated[
        choices.OutputFormat | None,
        typer.Option(
            "--to",
            help="Output format.",
            show_default="as the input; jsonl if it is text, json or spacy, columns if it is lines",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Directory for one output file per input file.", show_default="stdout"),
    ] = None,
    pattern: options.Pattern = None,
    scheme: Annotated[
        str | None,
        typer.Option(
            metavar="SCHEME",
            help=options.SCHEME_HELP,
            show_default="the scheme of the model",
        ),
    ] = None,
    token_column: options.TokenColumn = None,
    tag_column: options.TagColumn = None,
    language: options.ModelLanguage = None,
    newline: options.Newline = "break",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write the exact probability of each tag and span.")
    ] = False,
    threshold: Annotated[
        float | None, typer.Option(metavar="P", min=0, max=1, help="Drop spans with a lower probability.")
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0,
            max=1,
            help=options.PRECISION_HELP,
        ),
    ] = None,
    nbest: Annotated[
        int, typer.Option(metavar="N", min=0, max=1000, help="Write the N most probable tag sequences.")
    ] = 0,
    max_tokens: options.MaxTokens = 1000,
    max_record_bytes: options.MaxRecordBytes = line_reader.MAX_RECORD_BYTES,
    batch_tokens: options.BatchTokens = 4096,
    workers: options.Workers = None,
    on_error: options.OnError = "stop",
    rejects: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File for skipped input.", show_default="rejects.jsonl in --out"),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Read stdin and write each record's output as soon as the record is complete."),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted job.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files in --out.")] = False,
    summary: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the summary to a JSON file as well.")
    ] = None,
    engine: Annotated[choices.Engine, typer.Option(help="Run on this machine or on a Ray cluster.")] = "local",
    device: options.Device = "auto",
) -> None:
    """Tag files with a model.

    The tagged text goes to stdout or --out, the summary to stderr. The exit code is 3 if unreadable input was skipped.
    """
    from tagger.api import batch
    from tagger.device import relaxed_garbage_collection

    output: Any = sys.stdout.buffer
    if out is None and sys.stdout.isatty():
        output = streams.TerminalWriter(output)
    with relaxed_garbage_collection(), tagging_progress(into_files=out is not None) as callback:
        result = batch.tag_files(
            model,
            paths,
            out=out,
            input_format=input_format,
            output_format=output_format,
            pattern=pattern,
            scheme=scheme,
            token_column=options.parse_column(token_column),
            tag_column=options.parse_column(tag_column),
            language=language,
            newline=newline,
            probabilities=probabilities,
            threshold=threshold,
            precision=precision,
            nbest=nbest,
            max_tokens=max_tokens,
            max_record_bytes=max_record_bytes,
            batch_tokens=batch_tokens,
            workers=workers,
            on_error=on_error,
            rejects=rejects,
            stream=stream,
            resume=resume,
            overwrite=overwrite,
            summary=summary,
            engine=engine,
            device=device,
            streams=(sys.stdin.buffer, output),
            callback=callback,
        )
    for line in str(result).splitlines():
        streams.print_error(line)
    if result.rejected:
        raise typer.Exit(3)
