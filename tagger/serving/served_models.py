"""The models of a server, by name."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagger import model_dir, model_names, tagging
from tagger.choices import listed
from tagger.data.formats.text import splitter
from tagger.data.highlighting import assign_colours
from tagger.errors import ConfigError
from tagger.io import json_files
from tagger.serving.limits import RequestError
from tagger.tagging import Tagger
from tagger.tagging.texts import check_tokenizer

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_GENERIC = ("model-best", "model", "model-last")  # names of directories that say nothing about the model


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model with the name that requests use.

    Attributes:
        name: the name.
        tagger: its tagger.
        version: identifies the exact model: its name and the beginning of a hash.
    """

    name: str
    tagger: Tagger
    version: str

    def describe(self) -> dict[str, Any]:
        """Returns what a client needs to know of the model."""
        model, types = self.tagger.model, list(self.tagger.span_types)
        return {
            "name": self.name,
            "version": self.version,
            "scheme": model.scheme,
            "types": types,
            "tags": list(model.tags.items),
            "language": model.config.data.language,
            "reads": "documents" if self.tagger.uses_document_context else "sentences",
            "calibrated": not model.calibration.is_identity,
            "colours": assign_colours(types or model.tags.items),
        }


class ServedModels:
    """Several models by name; the first is the default.

    Args:
        models: the models.
        languages: additional languages that requests may choose; those of the models are always accepted.

    Raises:
        ConfigError: there is no model, two have the same name, or texts of a language cannot be split.
    """

    def __init__(self, models: Iterable[ServedModel], languages: Iterable[str] = ()) -> None:
        additional = tuple(languages)
        for language in additional:
            splitter(language)  # loads the language
        self._models: dict[str, ServedModel] = {}
        for model in models:
            if model.name in self._models:
                raise ConfigError(f"two models are called {model.name!r}; name one of them: NAME=MODEL")
            self._models[model.name] = model
        if not self._models:
            raise ConfigError("no model was given")
        of_models = (model.tagger.model.config.data.language for model in self)
        self._languages = tuple(dict.fromkeys((*of_models, *additional)))

    def find(self, name: str | None) -> ServedModel:
        """Returns a model by its name; the first one for None.

        Raises:
            RequestError: no model has this name.
        """
        if name is None:
            return next(iter(self._models.values()))
        if name not in self._models:
            raise RequestError(404, f"no model is called {name[:100]!r}; the models are {', '.join(self._models)}")
        return self._models[name]

    def check_language(self, language: str | None) -> str | None:
        """Returns the language of a request.

        Raises:
            RequestError: the server has not loaded the language, which takes a second.
        """
        if language is not None and language not in self._languages:
            raise RequestError(
                422, f"language: expected {listed(self._languages)}, found {json_files.describe(language)}"
            )
        return language

    def describe(self) -> list[dict[str, Any]]:
        """Returns the descriptions of all models, that of the default first."""
        return [model.describe() for model in self._models.values()]

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())


def split_name(model: str) -> tuple[str, str]:
    """Returns the name of a model for requests, and its path or name on the Hub; the model may be given as NAME=PATH.

    >>> split_name("runs/news/model-best"), split_name("news=runs/1"), split_name("hub:someone/ner-model@v1")
    (('news', 'runs/news/model-best'), ('news', 'runs/1'), ('ner-model', 'hub:someone/ner-model@v1'))

    Raises:
        ConfigError: the name has characters that a name in a URL should not have.
    """
    name, separator, rest = model.partition("=")
    if separator and "/" not in name and not Path(model).exists():
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{model}: expected a name of letters, digits, dots, hyphens and underscores before =")
        return name, rest
    plain = model if Path(model).exists() else model.removeprefix(model_names.PREFIX).partition("@")[0]
    parts = [part for part in Path(plain).absolute().parts if part not in _GENERIC]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", parts[-1]).strip("-.")
    return (name or "model")[:100], model


def find(model: str) -> tuple[str, Path]:
    """Returns the name of a model for requests, and its directory, which is downloaded if it is on the Hub.

    Args:
        model: as for `split_name`.

    Raises:
        ConfigError: the name is not valid.
        ModelError: the model is missing or damaged.
    """
    name, path = split_name(model)
    return name, model_names.find(path)


def load(name: str, directory: Path, options: Mapping[str, Any]) -> ServedModel:
    """Returns the model of a directory under a name.

    Args:
        name: the name for requests.
        directory: the model directory.
        options: those of `tagger.load`.

    Raises:
        ConfigError: an option does not fit.
        ModelError: the model is missing or damaged.
    """
    tagger = tagging.load(directory, **options)
    check_tokenizer(tagger.model.config.data.tokenizer, tagger.model.config.data.language)
    return ServedModel(name, tagger, f"{name}-{model_dir.compute_digest(directory)[:12]}")
