"""Fixtures of the server's tests: an application in this process, with a client that sends requests to it."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tagger import tagging, training
from tagger.tagging import Tagger
from tests.conftest import parse_tiny_recipe, tiny_corpus

if find_spec("fastapi") is None or find_spec("uvicorn") is None:  # tests/test_not_run.py reports it
    collect_ignore_glob = ["test_*.py"]
else:
    from starlette.testclient import TestClient

    from tagger.serving.served_models import ServedModel, ServedModels
    from tests.serving.clients import open_client


def train_tiny(folder: Path, *overrides: str) -> Path:
    """Returns the directory of a model of the tiny corpus."""
    (folder / "train.conll").write_text(tiny_corpus())
    config = parse_tiny_recipe(folder / "train.conll", *overrides)
    return training.train(config, folder / "run", device="cpu").model_dir


@pytest.fixture(scope="session")
def tagger(model_path: Path) -> Tagger:
    """A tagger of single sentences."""
    return tagging.load(model_path, device="cpu")


@pytest.fixture(scope="session")
def document_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a model that reads documents."""
    folder = tmp_path_factory.mktemp("documents")
    return train_tiny(folder, "training.epochs=6", "model.document_context.output_dim=8")


@pytest.fixture(scope="session")
def models(tagger: Tagger, document_model: Path) -> "ServedModels":
    """The default model, which is called first, and one that reads documents."""
    documents = tagging.load(document_model, device="cpu")
    served = [ServedModel("first", tagger, "first-1"), ServedModel("documents", documents, "documents-1")]
    return ServedModels(served, ["de"])


@pytest.fixture(scope="module")
def client(models: "ServedModels") -> Iterator["TestClient"]:
    """A client of a server with the usual limits."""
    with open_client(models) as client:
        yield client
