"""The command line: each command parses its arguments, calls one function and prints the result.

Results go to stdout, everything else to stderr. The commands import what needs torch, numpy or pydantic when they run,
so that `--help` is fast.
"""

import sys
from typing import Annotated, Any

import typer

from tagger import __version__, streams
from tagger.cli import (
    audit,
    calibrate,
    check,
    compare,
    convert,
    ensemble,
    evaluate,
    export,
    info,
    init,
    push,
    score,
    select,
    serve,
    settings,
    split,
    tag,
    train,
    tune,
)
from tagger.cli.errors import Command, CommandGroup

app = typer.Typer(
    name="tagger",
    cls=CommandGroup,
    help="Train, evaluate and use BiLSTM-CRF taggers.",
    add_completion=False,
    add_help_option=False,  # _show_version_or_help has one: typer's own loads pydantic before it shows the help
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _command in (
    init.init,
    train.train,
    tune.tune,
    evaluate.evaluate,
    score.score,
    compare.compare,
    ensemble.ensemble,
    calibrate.calibrate,
    tag.tag,
    serve.serve,
    check.check,
    audit.audit,
    select.select,
    convert.convert,
    split.split,
    export.export,
    settings.settings,
    info.info,
    push.push,
):
    app.command(cls=Command)(_command)


@app.callback(invoke_without_command=True)
def _show_version_or_help(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    help_: Annotated[bool, typer.Option("--help", help="Show this message.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    if help_ or context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit


def main() -> None:
    """Runs the command line."""
    streams.open_closed_streams()
    streams.escape_unencodable()
    code: Any = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    if error := streams.flush_output():
        code = code or (141 if isinstance(error, BrokenPipeError) else 2)
        streams.print_error(f"the output: {(error.strerror or str(error)).lower()}")
    sys.exit(code)
