"""Progress on stderr: a bar for training, a counter for tagging; nothing if stderr is not a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tagger.jobs.local import engine
    from tagger.jobs.summary import Summary
    from tagger.training import Callback, Event


@contextmanager
def training_progress(*, enabled: bool) -> "Iterator[Callback]":
    """Yields a callback that draws a bar with the time left, if `enabled` and stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from tagger.training import Start, StepEnd

    console = Console(stderr=True)
    figures = TextColumn("loss {task.fields[loss]:.3f}, {task.fields[dev]}", markup=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), figures, TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not (enabled and console.is_terminal), transient=True) as bar:
        task = bar.add_task("", total=None, loss=0.0, dev="")
        epochs = 1

        def callback(event: "Event") -> None:
            nonlocal epochs
            if isinstance(event, Start):
                epochs = event.epochs
                bar.reset(task, loss=0.0, dev="")
            elif isinstance(event, StepEnd):
                name, completed = f"epoch {event.epoch + 1} of {epochs}", event.epoch * event.steps + event.step
                bar.update(task, description=name, total=epochs * event.steps, completed=completed, loss=event.loss)
            else:
                scores = event.record.dev
                bar.update(task, dev=f"dev {scores.name} {scores.score:.2f}")

        yield callback


@contextmanager
def tagging_progress(*, into_files: bool) -> "Iterator[engine.Callback]":
    """Yields a callback that shows how far a job is, if stderr is a terminal to which no output is written."""
    if not sys.stderr.isatty() or not (into_files or not sys.stdout.isatty()):
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    text = TextColumn("{task.description}", markup=False)
    with Progress(SpinnerColumn(), text, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")

        def callback(summary: "Summary", finished: int, inputs: int) -> None:
            speed = f"{summary.tokens_per_second:,.0f} tokens/s"
            bar.update(task, description=f"{finished:,} of {inputs:,} inputs, {summary.tokens:,} tokens, {speed}")

        yield callback
