"""Clients of an application in this process."""

from typing import Any

from starlette.testclient import TestClient

from tagger.serving.app import create_app
from tagger.serving.limits import Limits
from tagger.serving.served_models import ServedModels


def open_client(models: ServedModels, limits: Limits | None = None, **options: Any) -> TestClient:
    """Returns a client of an application, to be used in a `with` block."""
    return TestClient(create_app(models, limits or Limits(), **options), raise_server_exceptions=False)
