"""The command line: parses, calls one function, prints.

Results go to stdout, everything else to stderr. What needs torch, numpy or pydantic loads within the commands, so that
help comes at once.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from tagger import __version__, choices
from tagger.errors import ConfigError, Stopped, TaggerError

if TYPE_CHECKING:
    from tagger.training import Event, Listener, Outcome

app = typer.Typer(
    name="tagger",
    help="Train, evaluate and use BiLSTM-CRF taggers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Device = Annotated[choices.Device, typer.Option(help="Where to compute; auto takes a GPU if there is one.")]
ModelDirectory = Annotated[Path, typer.Option("--model", help="Model directory.")]
TokenColumn = Annotated[str | None, typer.Option(help="Column of the token: a number from 0 or a name.")]
TagColumn = Annotated[str | None, typer.Option(help="Column of the tag: a number or a name; upos, xpos or misc:KEY.")]


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, a YAML file, or with --resume a run.")],
    data: Annotated[Path | None, typer.Option(help="Folder with train, dev and test files.")] = None,
    train: Annotated[Path | None, typer.Option(help="Training file.")] = None,
    dev: Annotated[Path | None, typer.Option(help="Development file.")] = None,
    test: Annotated[Path | None, typer.Option(help="Test file, scored once at the end.")] = None,
    vectors: Annotated[list[Path] | None, typer.Option(help="Table of word vectors; may be given again.")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory for the run; runs/RECIPE if not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE over the recipe's; may be given again.")
    ] = None,
    init_from: Annotated[Path | None, typer.Option(help="Model directory whose weights to start from.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run where it stopped.")] = False,
    device: Device = "auto",
) -> None:
    """Train a tagger from RECIPE, or go on with a run."""
    from tagger import config, training
    from tagger.training import corpora

    places = {"train": train, "dev": dev, "test": test}
    with _progress() as listen:
        if resume:
            changed = [data, *places.values(), vectors, out, seed, set_, init_from]
            if any(option is not None and option != [] for option in changed):
                raise ConfigError("--resume goes on with the run as it is; the only other option it takes is --device")
            outcome = training.resume(Path(recipe), device=device, listen=listen)
        else:
            seeded = [] if seed is None else [f"training.seed={seed}"]
            settings = config.load(recipe, [*(set_ or ()), *seeded])
            settings = corpora.placed(settings, folder=data, parts=places, vectors=vectors or ())
            run = out or Path("runs") / Path(recipe).stem
            outcome = training.fit(settings, run, device=device, init_from=init_from, listen=listen)
    typer.echo(_summary(outcome))


def _summary(outcome: "Outcome") -> str:
    lines = [f"best epoch {outcome.epoch}, dev {outcome.dev:.2f}"]
    if outcome.test is not None:
        lines.append(f"test, by the best model on dev:\n{outcome.test}")
    return "\n".join([*lines, f"model: {outcome.model}"])


@app.command()
def evaluate(
    file: Annotated[Path, typer.Argument(help="Tagged file.")],
    model: ModelDirectory,
    from_: Annotated[choices.TaggedFormat | None, typer.Option("--from", help="Format of the file.")] = None,
    token_column: TokenColumn = None,
    tag_column: TagColumn = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse tags that break their scheme.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; scores are in percent.")] = False,
    device: Device = "auto",
) -> None:
    """Score a model on FILE."""
    from tagger import evaluation, tagging
    from tagger.data import sources
    from tagger.jobs import local

    tagger = tagging.load(model, device=device)
    form = from_ or local.tagged_format(tagger.bundle, file)
    layout = local.layout(tagger.bundle, form, token=_column(token_column), tag=_column(tag_column), tagged=True)
    corpus = sources.corpus(file, form=form, layout=layout)
    report = evaluation.evaluate(tagger, corpus, strict=strict)
    typer.echo(json.dumps(report.to_json(), ensure_ascii=False) if as_json else str(report))


@app.command()
def tag(
    files: Annotated[list[Path], typer.Argument(help="Files to tag; - for standard input.")],
    model: ModelDirectory,
    from_: Annotated[
        choices.InputFormat | None,
        typer.Option("--from", help="Format of the input; guessed from the names if not given."),
    ] = None,
    to: Annotated[
        choices.OutputFormat | None, typer.Option(help="Format of the output; that of the input if not given.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory for one output per file; stdout if not given.")] = None,
    token_column: TokenColumn = None,
    tag_column: TagColumn = None,
    device: Device = "auto",
) -> None:
    """Tag FILES with a model."""
    from tagger import tagging
    from tagger.jobs import local

    tagger = tagging.load(model, device=device)
    count = local.tag_files(
        tagger,
        files,
        form=from_,
        to=to,
        out=out,
        streams=(sys.stdin.buffer, sys.stdout.buffer),
        token=_column(token_column),
        tag=_column(tag_column),
    )
    if out is not None:
        typer.echo(f"{count} sentences tagged into {out}", err=True)


@app.command()
def info(
    model: Annotated[Path, typer.Argument(help="Model directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what a model is: its recipe, tags, words, size and scores."""
    from tagger import checkpoint

    card = checkpoint.card(model)
    typer.echo(
        json.dumps(card, ensure_ascii=False) if as_json else "\n".join(f"{key}: {_plain(card[key])}" for key in card)
    )


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _column(text: str | None) -> int | str | None:
    if text is None:
        return None
    return int(text) if text.lstrip("-").isdecimal() else text


@contextmanager
def _progress() -> "Iterator[Listener]":
    """Yields a listener that draws a bar with the time left in the epoch, if stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from tagger.training import StepEnd

    console = Console(stderr=True)
    loss = TextColumn("loss {task.fields[loss]:.3f}", markup=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), loss, TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None, loss=0.0)

        def listen(event: "Event") -> None:
            if isinstance(event, StepEnd):
                name = f"epoch {event.epoch + 1}"
                bar.update(task, description=name, total=event.steps, completed=event.step, loss=event.loss)

        yield listen


def main() -> None:
    """Runs the command line; a user's fault is a line on stderr and exit code 2."""
    _log_to_stderr()
    try:
        code = app(standalone_mode=False)
    except TaggerError as error:
        _complain(*error.faults)
        code = 2
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except Stopped as stopped:
        _complain(f"{stopped}; go on with --resume")
        code = stopped.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        _complain("the output was closed before all was written")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python fails again at its exit
        code = 141
    sys.exit(code)


def _complain(*faults: str) -> None:
    for fault in faults:
        typer.echo(_printable(fault), err=True)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _log_to_stderr() -> None:
    logger = logging.getLogger("tagger")
    logger.addHandler(_Stderr())
    logger.setLevel(logging.INFO)


class _Stderr(logging.Handler):
    """Prints notices on whatever stderr is now: a progress bar puts its own in place."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(_printable(record.getMessage()), err=True)
