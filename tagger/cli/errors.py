"""Errors of the command line: a user's error is one line on stderr and exit code 2."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from tagger import streams
from tagger.choices import listed
from tagger.cli.output import exit_with_errors, log_to_stderr
from tagger.errors import Stopped, TaggerError

_UsageError: Any = typer.BadParameter.__base__  # whether typer uses click or, since 0.26, a copy of it
_BACKQUOTED = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`]*))?`")


class CommandGroup(TyperGroup):
    """The command `tagger`; an error of usage is one line on stderr."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **kwargs: Any) -> Any:
        """Parses the arguments."""
        with _usage_errors_as_lines():
            _check_arguments(args)
            return super().make_context(info_name, args, *rest, **kwargs)

    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        """Runs a command."""
        with _usage_errors_as_lines():
            return super().invoke(*args, **kwargs)


class Command(TyperCommand):
    """A command that turns a user's error into lines on stderr, which name options in place of parameters."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        translate = partial(name_options, options=option_names(self))
        log_to_stderr(translate)
        with _errors_as_lines(translate):
            Path.cwd()  # MKL ends the process if the current directory does not exist
            return super().invoke(ctx)


@contextmanager
def _usage_errors_as_lines() -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        message = _explain_training_usage(error) or error.format_message().replace("Value error, ", "")
        exit_with_errors(2, message)
    except OSError as error:
        _exit_after(error)


def _explain_training_usage(error: Any) -> str:
    """Returns a message for a missing recipe and for a setting given as an option or argument of `tagger train`."""
    context = getattr(error, "ctx", None)
    if context is None or context.info_name != "train":
        return ""
    from tagger.config import loader, setting_names  # load pydantic

    parameter, option = getattr(error, "param", None), getattr(error, "option_name", None)
    if type(error).__name__ == "MissingParameter" and parameter is not None and parameter.name == "recipe":
        names = ", ".join(loader.shipped())
        return f"RECIPE is missing; shipped are {names}; `tagger init DATA --out mine.yaml` drafts one for your data"
    match = re.search(r"unexpected extra arguments?(?:\(s\))? \(([^= ]+)=", error.format_message())
    is_unknown = type(error).__name__ == "NoSuchOption"
    name = str(option).lstrip("-") if is_unknown else match[1] if match else ""
    if settings := setting_names.find(name):
        options = listed(tuple(f"--set {setting}=VALUE" for setting in settings[:3]))
        return f"{option if is_unknown else name} is not an option of train; give the setting as {options}"
    return ""


def _check_arguments(arguments: Sequence[str]) -> None:
    """Refuses an empty argument, which as a path would mean the current directory."""
    for previous, argument in zip(("", *arguments), arguments, strict=False):
        option = re.fullmatch(r"(--[a-z-]+)=", argument)
        if not argument or option:
            name = option[1] if option else previous if previous.startswith("-") else "an argument"
            exit_with_errors(2, f"{name}: an empty string was given; expected a value")


@contextmanager
def _errors_as_lines(translate: Callable[[str], str]) -> Iterator[None]:
    """Ends the command with lines on stderr and an exit code if the block raises an error that a user can cause."""
    try:
        yield
    except TaggerError as error:
        exit_with_errors(2, *map(translate, error.faults))
    except Stopped as error:
        streams.discard_output()  # a pipe that nobody reads must not block the exit
        exit_with_errors(error.exit_code, translate(str(error)))
    except KeyboardInterrupt:
        exit_with_errors(130, "interrupted")
    except MemoryError:
        exit_with_errors(2, "not enough memory")
    except OSError as error:
        _exit_after(error)


def _exit_after(error: OSError) -> None:
    """Ends the command after a system error that no other code has turned into a TaggerError."""
    streams.discard_output()
    if isinstance(error, BrokenPipeError):
        exit_with_errors(141, "the output was closed before all was written")
    if isinstance(error, FileNotFoundError) and error.filename is None:
        exit_with_errors(2, "the current directory does not exist any more; change to another directory")
    exit_with_errors(2, f"{error.filename or 'the output'}: {(error.strerror or str(error)).lower()}")


def option_names(command: Any) -> dict[str, str]:
    """Returns the option, or for an argument the metavar, of each parameter of a command."""
    return {
        parameter.name: parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar
        for parameter in command.params
        if parameter.param_type_name == "option" or parameter.metavar
    }


def name_options(message: str, options: Mapping[str, str]) -> str:
    """Returns a message of the library with backquoted parameters replaced by options; other words stay.

    >>> name_options("lower `max_tokens`, or pass `resume=True`", {"max_tokens": "--max-tokens", "resume": "--resume"})
    'lower --max-tokens, or pass --resume'
    """

    def replace(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        if name not in options:
            return match[0]
        return options[name] if value in (None, "True") else f"{options[name]} {value.strip(chr(34) + chr(39))}"

    return _BACKQUOTED.sub(replace, message)
