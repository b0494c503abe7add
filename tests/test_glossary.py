"""No identifier, setting, option or help text of the package uses a word that the glossary retired."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

import tagger
from tagger.cli import app
from tagger.config import Config

PACKAGE = Path(tagger.__file__).parent

# Refused as a part of an identifier: `kept` refuses `kept_rows` and `KeptRows`, not `keptness`.
PARTS = {
    "answer": "prediction",
    "answers": "DecodingOptions or predictions",
    "answering": "Decoder",
    "aside": "rejected",
    "begun": "started",
    "beside": "document_context, next_to or the exact relation",
    "broken": "invalid or damaged",
    "bundle": "model (TaggerModel)",
    "capitals": "casing",
    "cut": "split, truncated or shortened",
    "elsewhere": "document_context",
    "fitting": "the exact noun",
    "found": "the name of the value",
    "fresh": "new, or build_model",
    "given": "the name of the value",
    "its": "the name of the value",
    "kept": "stored, cached, frozen or retained: whichever it is",
    "learnt": "cached or trained",
    "legal": "valid",
    "lexicon": "WordEncoder",
    "listen": "callback",
    "mend": "repair",
    "more": "the name of the value",
    "outcome": "TrainingResult",
    "own": "the name of the owner or the value",
    "place": "index, row, path, device, key, position or occurrence: whichever it is",
    "places": "indices, rows, paths, devices, keys, positions or occurrences: whichever they are",
    "remembered": "cached",
    "remembering": "CachedScorer, word_cache",
    "said": "the name of the text",
    "settle": "flush",
    "settled": "flushed or published",
    "share": "fraction",
    "shares": "weights or fractions",
    "spelling": "scheme, form or characters",
    "spelt": "encoded",
    "spoilt": "failed",
    "stray": "invalid",
    "stretch": "byte_range, span or passage",
    "stretches": "byte_ranges, spans or passages",
    "survey": "scan",
    "tally": "EpochStats",
    "tell": "report or return",
    "tells": "reports or returns",
    "tidy": "clean_up",
    "told": "reported or the name of the value",
    "turned": "reversed",
    "turning": "reversal",
}
# Refused as a whole identifier only: as a part they have a standard meaning (`hit_rate`, `one_hot`, `keep_alive`).
WHOLE = {
    "around": "neighbours",
    "average": "ema_decay or mean",
    "between": "on_batch or the name of the range",
    "beyond": "the name of the value",
    "checked": "on_batch or the name of the value",
    "enter": "input_gate",
    "form": "input_format",
    "full": "shuffled_batches or the name of the value",
    "keep": "max_frozen_words or the name of the condition",
    "leave": "output_gate",
    "not_finite": "on_nonfinite",
    "of": "a verb",
    "one": "the name of the value",
    "others": "the name of the values",
    "portable": "torch (the kernel)",
    "rate": "learning_rate",
    "rates": "learning_rates",
    "says": "the name of the text",
    "shown": "hidden or the name of the value",
    "stopped": "interrupted",
    "to": "output_format or the name of the value",
    "width": "dim, hidden_size, embedding_dim or output_dim",
    "give_up": "rollback",
    "take_up": "resume_from",
}
# Refused in modules that handle a transformer, where these words would be ambiguous.
TRANSFORMER_MODULES = (
    *sorted(PACKAGE.glob("transformer/*.py")),
    *(PACKAGE / "nn" / name for name in ("inputs.py", "packing.py", "transformer.py")),
    *(PACKAGE / name for name in ("data/batching.py", "model.py")),
    *(PACKAGE / name for name in ("tagging/transformer_runner.py", "training/transformer_providers.py")),
)
TRANSFORMER_WORDS = {
    r"(?<!hidden_)(?<!hidden )(?<!hidden)(?<!\.)states?(?!_dict)": "hidden states: a transformer's output per layer",
    r"sources?": "provider, which reads parts of batches; origin, where a transformer comes from; or the exact noun",
}
# Refused as words of help texts and of descriptions of settings.
PROSE = {
    word: PARTS[word]
    for word in (
        *("aside", "begun", "beside", "bundle", "capitals", "elsewhere", "learnt", "lexicon", "remembered", "settled"),
        *("spelt", "stray", "survey", "tally", "told", "tells", "turned"),
    )
} | {
    "aside": "split off or rejected",
    "stands": "is, or the exact verb",
    "goes on": "continues",
    "go on": "continue",
    "taken up": "resumed",
}


def parts_of(name: str) -> list[str]:
    """Returns the words of an identifier.

    >>> parts_of("_kept_rows"), parts_of("LazyRows2")
    (['kept', 'rows'], ['lazy', 'rows', '2'])
    """
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def faults_of(name: str) -> Iterator[str]:
    """Yields what to write in place of an identifier that uses a retired word."""
    if name.startswith("__"):
        return  # Python's own names, such as `__enter__`
    if (whole := name.strip("_")) in WHOLE:
        yield f"`{name}`: write {WHOLE[whole]}"
    else:
        yield from (f"`{name}`: for `{part}` write {PARTS[part]}" for part in parts_of(name) if part in PARTS)


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields the line and the name of everything that a module defines or assigns."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield line, node.name
        elif isinstance(node, ast.arg):
            yield line, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield line, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield line, node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield line, node.asname
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield line, node.name


def module_faults(path: Path) -> list[str]:
    """Returns the retired words of a module's name and identifiers, with line and replacement."""
    name = path.relative_to(PACKAGE)
    of_name = [f"{name}: {fault}" for part in name.with_suffix("").parts for fault in faults_of(part)]
    found = {(line, fault) for line, each in identifiers(ast.parse(path.read_text())) for fault in faults_of(each)}
    return of_name + [f"{name}:{line}: {fault}" for line, fault in sorted(found)]


def prose_faults(text: str) -> list[str]:
    """Returns the retired words of a text, with the replacement."""
    plain = " ".join(re.findall(r"[\w`'.-]+", re.sub(r"\[/?[a-z ]+\]", "", text))).lower()
    return [f"{text!r}: for '{word}' write {PROSE[word]}" for word in PROSE if re.search(rf"\b{word}\b", plain)]


def ambiguous_words(text: str) -> list[str]:
    """Returns the words of a transformer's module that could mean several things, with the replacement."""
    return [
        f"`{match[0]}`: write {replacement}"
        for word, replacement in TRANSFORMER_WORDS.items()
        for match in re.finditer(
            rf"(?<![a-z]){word}(?![a-z])", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text), re.IGNORECASE
        )
    ]


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields the dotted name and the description of each setting."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", field.description or ""
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings(field.annotation, f"{prefix}{name}.")


def commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    return {"tagger": group, **group.commands}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_identifiers_use_no_retired_word(path: Path) -> None:
    faults = module_faults(path)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("path", TRANSFORMER_MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_hidden_states_providers_and_origins_of_transformers_have_one_name_each(path: Path) -> None:
    assert not ambiguous_words(path.name)
    for number, line in enumerate(path.read_text().splitlines(), 1):
        assert not ambiguous_words(line), f"line {number}"


def test_settings_use_no_retired_word() -> None:
    for name, description in settings(Config):
        assert not [*faults_of(name.rpartition(".")[2]), *prose_faults(description)], name


@pytest.mark.parametrize("name", commands())
def test_options_and_help_use_no_retired_word(name: str) -> None:
    command = commands()[name]
    assert not prose_faults(command.help or "")
    assert not prose_faults(command.short_help or "")
    for parameter in command.params:
        for option in parameter.opts:
            assert not list(faults_of(option.lstrip("-").replace("-", "_"))) or option == "--to", option
        assert not prose_faults(getattr(parameter, "help", None) or ""), parameter.name


def test_the_check_finds_retired_words() -> None:
    tree = ast.parse("def f(kept_rows, *, to): self.place = one = 1\nfor rate, hit_rate in x: pass")
    faults = [fault for _, name in identifiers(tree) for fault in faults_of(name)]
    assert sorted(fault.split("`")[1] for fault in faults) == ["kept_rows", "one", "place", "rate", "to"]
    assert prose_faults("where the word is spelt elsewhere")
    assert not prose_faults("Number of seeds to train in parallel.")
    ambiguous = "StateReader state_cache _states: the states of `TransformerSource` open_source"
    assert len(ambiguous_words(ambiguous)) == 6
    assert not ambiguous_words(
        "HiddenStateReader hidden_state_cache hidden_states: hidden states, encoder.state_dict()"
    )


if __name__ == "__main__":  # a report for the owners of the folders
    for path in sorted(PACKAGE.rglob("*.py")):
        print(*module_faults(path), sep="\n", end="\n" if module_faults(path) else "")
