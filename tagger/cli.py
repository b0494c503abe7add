"""The command line: parses, calls one function, prints.

Results go to stdout, everything else to stderr. What needs torch, numpy or pydantic loads within the commands, so that
help comes at once.
"""

import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec

import typer
from typer.core import TyperGroup

from tagger import __version__, choices, streams
from tagger.errors import ConfigError, Stopped, TaggerError, TrainingError

if TYPE_CHECKING:
    from tagger.jobs.local import engine as jobs
    from tagger.jobs.summary import Summary
    from tagger.training import Callback, Event


class _Commands(TyperGroup):
    """The commands, whose faults of usage are a line like all others."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **kwargs: Any) -> Any:
        with _in_one_line():
            _check_arguments(args)
            return super().make_context(info_name, args, *rest, **kwargs)

    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        with _in_one_line():
            return super().invoke(*args, **kwargs)


@contextmanager
def _in_one_line() -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        _leave(2, error.format_message().replace("Value error, ", ""))
    except OSError as error:
        _leave_after(error)


def _check_arguments(arguments: Sequence[str]) -> None:
    """Refuses an empty argument, which as a path would mean the current directory."""
    for before, argument in zip(("", *arguments), arguments, strict=False):
        option = re.fullmatch(r"(--[a-z-]+)=", argument)
        if not argument or option:
            name = option[1] if option else before if before.startswith("-") else "an argument"
            _leave(2, f"{name}: an empty string was given; expected a value")


_UsageError: Any = typer.BadParameter.__base__  # whether typer uses click or, since 0.26, a copy of it

app = typer.Typer(
    name="tagger",
    cls=_Commands,
    help="Train, evaluate and use BiLSTM-CRF taggers.",
    add_completion=False,
    add_help_option=False,  # _options has one: typer's own loads pydantic before a command's help is shown
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Device = Annotated[choices.Device, typer.Option(help="Where to compute; auto takes a GPU if there is one.")]
ModelDirectory = Annotated[Path, typer.Option("--model", metavar="MODEL", help="Model directory.")]
TokenColumn = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Column of the token: a number from 0 or a name.")
]
TagColumn = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Column of the tag: a number or a name; upos, xpos or misc:KEY.")
]


P = ParamSpec("P")
_LARGEST = 2**63 - 1  # that torch and numpy take as a seed


def _guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Returns a command that ends with a line on stderr and an exit code: 2 for each fault that is the user's."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        _log_to_stderr()
        try:
            Path.cwd()  # Intel's library ends the process where the current directory is gone
            command(*args, **kwargs)
        except TaggerError as error:
            _leave(2, *error.faults)
        except Stopped as stopped:
            streams.discard_output()  # what is left in a pipe that nobody reads must not hold it up
            _leave(stopped.exit_code, str(stopped))
        except KeyboardInterrupt:
            _leave(130, "interrupted")
        except MemoryError:
            _leave(2, "not enough memory")
        except OSError as error:
            _leave_after(error)

    return run


def _leave_after(error: OSError) -> NoReturn:
    """Ends the command after a fault of the system that no other part has turned into a line."""
    streams.discard_output()
    if isinstance(error, BrokenPipeError):
        _leave(141, "the output was closed before all was written")
    if isinstance(error, FileNotFoundError) and error.filename is None:
        _leave(2, "the current directory does not exist any more; change to another directory")
    _leave(2, f"{error.filename or 'the output'}: {(error.strerror or str(error)).lower()}")


def _leave(code: int, *faults: str) -> NoReturn:
    for fault in faults:
        streams.print_error(fault)
    raise typer.Exit(code)


class _Stderr(logging.Handler):
    """Prints notices on whatever stderr is now: a progress bar puts its own in place."""

    def emit(self, record: logging.LogRecord) -> None:
        streams.print_error(record.getMessage())


def _log_to_stderr() -> None:
    logger = logging.getLogger("tagger")
    logger.handlers = [handler for handler in logger.handlers if not isinstance(handler, _Stderr)] + [_Stderr()]
    logger.setLevel(logging.INFO)


@app.callback(invoke_without_command=True)
def _options(
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


@app.command()
@_guarded
def train(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A shipped recipe's name, a YAML file, or with --resume a run.")
    ],
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with train, dev and test files.")] = None,
    train: Annotated[Path | None, typer.Option(metavar="FILE", help="Training file.")] = None,
    dev: Annotated[Path | None, typer.Option(metavar="FILE", help="Development file.")] = None,
    test: Annotated[Path | None, typer.Option(metavar="FILE", help="Test file, scored once at the end.")] = None,
    vectors: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Table of word vectors; may be given again.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Directory for the run; runs/RECIPE if not given.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", min=0, max=_LARGEST, help="Random seed.")] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="LIST", help="Train with each of these seeds, such as 1,2,3 or 1-5.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=1000, help="Seeds trained at a time, in processes that share the CPU."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Put in place of the recipe's; may be given again."),
    ] = None,
    init_from: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="Model directory whose weights to start from.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run where it stopped.")] = False,
    device: Device = "auto",
) -> None:
    """Train a tagger from RECIPE, or go on with a run."""
    from tagger import config, experiments
    from tagger.training import corpora, run_dir

    if seed is not None and seeds is not None:
        raise ConfigError("--seed and --seeds exclude each other; give one of them")
    listed = None if seeds is None else experiments.parse_seeds(seeds)
    several = listed is not None or (resume and experiments.runs.has_seed_dirs(Path(recipe)))
    if jobs is not None and not several:
        raise ConfigError("--jobs says how many of --seeds to train at a time; give them, too")
    places = {"train": train, "dev": dev, "test": test}
    with _progress(shown=jobs in (None, 1)) as callback:
        if resume and listed is None:
            fixed = {"--vectors": vectors, "--out": out, "--seed": seed, "--init-from": init_from}
            if refused := [name for name, option in fixed.items() if option is not None and option != []]:
                raise ConfigError(
                    f"--resume goes on with the run as it is, without {', '.join(refused)}; it takes --device, --jobs,"
                    " other paths of the same data, and --set training.epochs=N"
                )
            run = Path(recipe)
            run_dir.check_is_run(run)
            settings = config.load(str(run / run_dir.CONFIG), set_ or ())
            settings = corpora.with_paths(settings, folder=data, parts=places, vectors=())
            result = experiments.resume(run, jobs=jobs or 1, device=device, callback=callback, config=settings)
        else:
            seeded = [] if seed is None else [f"training.seed={seed}"]
            settings = config.load(recipe, [*(set_ or ()), *seeded])
            settings = corpora.with_paths(settings, folder=data, parts=places, vectors=vectors or ())
            run = out or Path("runs") / Path(recipe).stem
            result = experiments.train(
                settings,
                listed,
                run,
                jobs=jobs or 1,
                device=device,
                init_from=init_from,
                resume=resume,
                callback=callback,
            )
    _print(str(result))
    if result.failures:
        raise TrainingError(*(f"seed {seed}: {fault}" for seed, faults in result.failures.items() for fault in faults))


@app.command()
@_guarded
def evaluate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Tagged file.")],
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
    from tagger.data import reader
    from tagger.io import json_files
    from tagger.jobs import job

    tagger = tagging.load(model, device=device)
    form = from_ or job.tagged_format(tagger.bundle, file)
    layout = job.layout(tagger.bundle, form, token=_column(token_column), tag=_column(tag_column), tagged=True)
    limit = tagger.bundle.config.data.max_record_bytes
    corpus = reader.corpus(file, form=form, layout=layout, max_record_bytes=limit)
    report = evaluation.evaluate(tagger, corpus, strict=strict)
    _print(json_files.dump(report.to_json()).decode() if as_json else str(report))


@app.command()
@_guarded
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a training with several seeds, or one.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another, scored on the same data.")],
    on: Annotated[choices.Scored, typer.Option(help="The part of the data.")] = "test",
    samples: Annotated[
        int, typer.Option(metavar="N", min=1, max=1_000_000, help="Resamples of sentences and seeds.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=_LARGEST, help="Random seed of the resampling.")] = 0,
    json_: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures as JSON, too.")
    ] = None,
) -> None:
    """Tell by how much the second RUN is better, with a 95 % interval and a p-value by a paired bootstrap."""
    from tagger import experiments
    from tagger.io import atomic, json_files

    if json_ is not None and any(json_.resolve().is_relative_to(run.resolve()) for run in (first, second)):
        raise ConfigError(f"--json {json_}: lies within a run that is compared; choose another file")
    found = experiments.compare(first, second, on=on, samples=samples, seed=seed)
    if json_ is not None:
        atomic.write_output(json_, json_files.dump(found.to_json(), indent=1) + b"\n")
    _print(str(found))


@app.command()
@_guarded
def tag(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Files, folders or globs to tag; - for standard input.")
    ],
    model: ModelDirectory,
    from_: Annotated[
        choices.InputFormat | None,
        typer.Option("--from", help="Format of the input; guessed from the names if not given."),
    ] = None,
    to: Annotated[
        choices.OutputFormat | None,
        typer.Option(help="Format of the output; if not given that of the input, columns for lines, jsonl for text."),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Directory for one output per file; stdout if not given.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Which files of a folder to tag; all that are not hidden.")
    ] = None,
    scheme: Annotated[
        choices.Scheme | None, typer.Option(help="Spell spans in a scheme; in that of the training if not given.")
    ] = None,
    token_column: TokenColumn = None,
    tag_column: TagColumn = None,
    language: Annotated[str | None, typer.Option(metavar="CODE", help="Language of raw text; en if not given.")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Give the exact probability of each tag and span.")
    ] = False,
    threshold: Annotated[
        float | None, typer.Option(metavar="P", min=0, max=1, help="Leave out spans less probable than this.")
    ] = None,
    nbest: Annotated[int, typer.Option(metavar="N", min=0, max=1000, help="Give the N most probable taggings.")] = 0,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=10**6, help="Longest sentence tagged in one piece, in tokens; 1000 if not given."
        ),
    ] = None,
    max_record_bytes: Annotated[
        int,
        typer.Option(metavar="N", min=1000, max=1 << 30, help="Largest line, row or sentence that is read, in bytes."),
    ] = 1 << 23,
    batch_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=10**7, help="Tokens computed on at once, padding counted; 4096 if not given."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=1000, help="Threads that tag on a CPU; with --engine ray, processes."),
    ] = None,
    on_error: Annotated[
        choices.OnError, typer.Option(help="What to do with what cannot be read: stop, or set it aside and go on.")
    ] = "stop",
    rejects: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What is set aside; rejects.jsonl in --out if not given.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the same job stopped or was killed.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist in --out.")] = False,
    summary: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the summary as JSON, too.")] = None,
    engine: Annotated[choices.Engine, typer.Option(help="This machine, or a Ray cluster.")] = "local",
    device: Annotated[
        choices.Device,
        typer.Option(help="Where to compute; auto takes a GPU, with --engine ray one a worker, if there is one."),
    ] = "auto",
) -> None:
    """Tag files with a model; the exit code is 3 if something could not be read and was set aside."""
    from tagger import tagging
    from tagger.device import relaxed_garbage_collection
    from tagger.io import atomic, json_files
    from tagger.jobs.inputs import STDIN
    from tagger.jobs.job import Formats, Job
    from tagger.jobs.local import engine as local

    job = Job(
        paths=tuple(path if path == STDIN else Path(path) for path in paths),
        model=model,
        formats=Formats(from_, to, _column(token_column), _column(tag_column), scheme, language),
        answers=tagging.DecodingOptions(probabilities, threshold, nbest),
        out=None if out is None else Path(out),
        pattern=pattern,
        on_error=on_error,
        rejects=rejects,
        summary=summary,
        resume=resume,
        overwrite=overwrite,
        max_tokens=max_tokens,
        max_record_bytes=max_record_bytes,
    )
    limits = {"batch_tokens": batch_tokens, "max_tokens": max_tokens}
    given = {name: value for name, value in limits.items() if value is not None}
    if summary is not None:
        atomic.check_writable(summary)
    if engine == "ray":
        if out is None:
            raise ConfigError("the engine ray writes many files; give a directory with --out")
        from tagger.jobs.ray import engine as cluster

        with _tagging_progress(into_files=True) as callback:
            done = cluster.run(paths, out, job, device=device, workers=workers, limits=given, callback=callback)
    else:
        tagger = tagging.load(model, device=device, workers=workers, **given)
        with relaxed_garbage_collection(), _tagging_progress(into_files=out is not None) as callback:
            output: Any = sys.stdout.buffer
            if out is None and sys.stdout.isatty():
                output = streams.TerminalWriter(output)
            done = local.run(tagger, job, (sys.stdin.buffer, output), callback=callback)
    if summary is not None:
        atomic.write_output(summary, json_files.dump(done.to_json(), indent=1) + b"\n")
    for line in str(done).splitlines():
        streams.print_error(line)
    if done.rejected:
        raise typer.Exit(3)


@app.command()
@_guarded
def info(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what a model is: its shape, tags, words, size and scores."""
    from tagger import model_dir
    from tagger.io import json_files

    card = model_dir.card(model)
    _print(json_files.dump(card).decode() if as_json else "\n".join(f"{key}: {_plain(card[key])}" for key in card))


def _print(text: str) -> None:
    typer.echo(streams.printable(text))
    sys.stdout.flush()  # here, where a full disk is still a fault that can be told


def _plain(value: object) -> str:
    """Returns a value for people; of what is in another, only what there is."""
    if isinstance(value, dict):
        return ", ".join(
            f"{key} ({_plain(inner)})" if isinstance(inner, dict) else f"{key} {_plain(inner)}"
            for key, inner in value.items()
            if inner is not None
        )
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _column(text: str | None) -> int | str | None:
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]+", text):
        return text
    if len(text) > 6:
        raise ConfigError(f"column {text[:20]}: expected a number of at most 5 digits")
    return int(text)


@contextmanager
def _progress(*, shown: bool) -> "Iterator[Callback]":
    """Yields a listener that draws a bar with the time left, if it is to be shown and stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from tagger.training import Start, StepEnd

    console = Console(stderr=True)
    figures = TextColumn("loss {task.fields[loss]:.3f}, dev {task.fields[dev]:.2f}", markup=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), figures, TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal), transient=True) as bar:
        task = bar.add_task("", total=None, loss=0.0, dev=0.0)
        epochs = 1

        def callback(event: "Event") -> None:
            nonlocal epochs
            if isinstance(event, Start):
                epochs = event.epochs
                bar.reset(task, loss=0.0, dev=0.0)
            elif isinstance(event, StepEnd):
                name, done = f"epoch {event.epoch + 1} of {epochs}", event.epoch * event.steps + event.step
                bar.update(task, description=name, total=epochs * event.steps, completed=done, loss=event.loss)
            else:
                bar.update(task, dev=event.record.dev.score)

        yield callback


@contextmanager
def _tagging_progress(*, into_files: bool) -> "Iterator[jobs.Callback]":
    """Yields a listener that shows how far a job is, if stderr is a terminal on which no output appears."""
    if not sys.stderr.isatty() or not (into_files or not sys.stdout.isatty()):
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    text = TextColumn("{task.description}", markup=False)
    with Progress(SpinnerColumn(), text, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")

        def callback(done: "Summary", finished: int, inputs: int) -> None:
            speed = f"{done.tokens_per_second:,.0f} tokens/s"
            bar.update(task, description=f"{finished:,} of {inputs:,} inputs, {done.tokens:,} tokens, {speed}")

        yield callback


def main() -> None:
    """Runs the command line."""
    streams.open_closed_streams()
    streams.escape_unencodable()
    code: Any = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    if fault := streams.flush_output():
        code = code or (141 if isinstance(fault, BrokenPipeError) else 2)
        streams.print_error(f"the output: {(fault.strerror or str(fault)).lower()}")
    sys.exit(code)
