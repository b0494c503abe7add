"""The command `tagger evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger import choices
from tagger.cli import options
from tagger.cli.output import print_result


def evaluate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Tagged file.")],
    model: options.Model,
    input_format: Annotated[
        choices.TaggedFormat | None,
        typer.Option("--from", help="Format of the file.", show_default="by the file name"),
    ] = None,
    token_column: options.TokenColumn = None,
    tag_column: options.TagColumn = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on invalid tag sequences.")] = False,
    as_json: options.Json = False,
    device: options.Device = "auto",
) -> None:
    """Score a model on a tagged file."""
    from tagger import evaluation, tagging
    from tagger.data import reader
    from tagger.io import json_files

    tagger = tagging.load(model, device=device)
    data = tagger.model.config.data
    file_format = input_format or reader.guess_tagged_format(file, data)
    token, tag = options.parse_column(token_column), options.parse_column(tag_column)
    layout = reader.find_layout(
        data, file_format, has_spans=tagger.model.scheme is not None, token=token, tag=tag, tagged=True
    )
    limit = data.max_record_bytes
    corpus = reader.read_corpus(file, input_format=file_format, layout=layout, max_record_bytes=limit)
    report = evaluation.evaluate(tagger, corpus, strict=strict)
    print_result(json_files.dump(report.to_json()).decode() if as_json else str(report))
