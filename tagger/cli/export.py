"""The command `tagger export`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger import choices
from tagger.cli import options
from tagger.cli.output import print_report


def export(
    model: options.NamedModel,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory to write.")],
    output_format: Annotated[choices.ExportFormat, typer.Option("--to", help="Output format.")] = "onnx",
    quantize: Annotated[
        bool, typer.Option("--quantize", help="Store word vectors and LSTM weights as int8; a few tags change.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files in --out.")] = False,
    as_json: options.Json = False,
) -> None:
    """Export a model to ONNX, to run it without PyTorch.

    Both models tag 1,000 random sentences first. Nothing is written if the exact export disagrees, except for ties,
    or if quantization changes more than 2 % of the tags.

    The directory gets the graph (model.onnx), vocabularies and rules (preprocessing.json) and examples (golden.json).
    `tagger.export.onnx.OnnxTagger` runs it in Python. Models with a transformer cannot be exported.
    """
    from tagger.api import export as api

    result = api.export_model(model, out, output_format=output_format, quantize=quantize, overwrite=overwrite)
    print_report(result, as_json=as_json)
