"""The command `tagger select`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tagger import choices, streams
from tagger.cli import options
from tagger.cli.output import print_report
from tagger.cli.progress import tagging_progress
from tagger.io import line_reader


def select(
    paths: options.Paths,
    model: options.Model,
    count: Annotated[int, typer.Option(metavar="N", min=1, help="Number of sentences or documents to select.")],
    by: Annotated[
        choices.Uncertainty,
        typer.Option(
            help="Measure of uncertainty: `errors` is the expected number of wrong and missed spans, `entropy` the mean"
            " per token, `least-confidence` is length-normalised, `margin` is that of the two best tag sequences."
        ),
    ] = "errors",
    unit: Annotated[choices.SelectionUnit, typer.Option(help="Select sentences or whole documents.")] = "sentence",
    seen: options.Seen = None,
    similarity: Annotated[
        float,
        typer.Option(metavar="P", help="Jaccard similarity of token trigrams from which items are near-duplicates."),
    ] = 0.5,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File for the selected items.", show_default="stdout")
    ] = None,
    output_format: Annotated[choices.AnnotationTool, typer.Option("--to", help="Output format.")] = "doccano",
    input_format: options.InputFormat = None,
    pattern: options.Pattern = None,
    token_column: options.TokenColumn = None,
    language: options.ModelLanguage = None,
    newline: options.Newline = "break",
    max_tokens: options.MaxTokens = 1000,
    max_record_bytes: options.MaxRecordBytes = line_reader.MAX_RECORD_BYTES,
    batch_tokens: options.BatchTokens = 4096,
    workers: options.Workers = None,
    on_error: options.OnError = "stop",
    rejects: Annotated[Path | None, typer.Option(metavar="FILE", help="File for skipped input.")] = None,
    as_json: options.Json = False,
    device: options.Device = "auto",
) -> None:
    """Select what to annotate next, by uncertainty.

    Writes the most uncertain sentences or documents for doccano, Label Studio or Prodigy, with the model's spans.
    Near-duplicates are skipped, also of the data that --seen names.
    """
    from tagger.analysis import annotation_tasks
    from tagger.api import selection
    from tagger.device import relaxed_garbage_collection
    from tagger.errors import ConfigError

    if as_json and out is None:
        raise ConfigError(
            "`as_json` prints the result in place of a table, so the selected items need a file; pass `out`"
        )
    with relaxed_garbage_collection(), tagging_progress(into_files=out is not None) as callback:
        result = selection.select(
            model,
            paths,
            count=count,
            by=by,
            unit=unit,
            seen=seen or (),
            similarity=similarity,
            out=out,
            output_format=output_format,
            input_format=input_format,
            pattern=pattern,
            token_column=options.parse_column(token_column),
            language=language,
            newline=newline,
            max_tokens=max_tokens,
            max_record_bytes=max_record_bytes,
            batch_tokens=batch_tokens,
            workers=workers,
            on_error=on_error,
            rejects=rejects,
            device=device,
            stdin=sys.stdin.buffer,
            callback=callback,
        )
    if out is not None:
        print_report(result, as_json=as_json)
        return
    output: Any = streams.TerminalWriter(sys.stdout.buffer) if sys.stdout.isatty() else sys.stdout.buffer
    output.write(annotation_tasks.dump(result.items, output_format))
    output.flush()
    streams.print_error(str(result).splitlines()[0])
