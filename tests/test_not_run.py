"""Reports by name what this machine cannot test, and holds the list of slow tests to the files."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import GPU_CASES, SLOW
from tests.serving.browser import CHROMIUM

OPTIONAL = {
    "matplotlib": "plots of trainings and studies, extra [plot]",
    "spacy": "raw text, extra [text]",
    "ray": "tagging on a cluster, extra [ray]",
    "onnx": "export of models to ONNX, extra [onnx]",
    "onnxruntime": "exported models, extra [onnx]",
    "optuna": "the search for settings, extra [tune]",
    "fastapi": "the server, extra [serve]",
    "presidio_analyzer": "the recognizer for Presidio in tagger/integrations/README.md",
    "triton": "GPU kernels under Triton's interpreter, extra [dev]",
    "hatchling": "the wheel and the sdist, extra [dev]",
}


def test_cases_that_need_a_gpu(request: pytest.FixtureRequest) -> None:
    if count := request.config.stash[GPU_CASES]:
        pytest.skip(f"{count} cases that need a GPU were not run: torch finds none here")


@pytest.mark.parametrize("module", OPTIONAL)
def test_parts_that_need_an_optional_dependency(module: str) -> None:
    if find_spec(module) is None:
        pytest.skip(f"not tested, {module} is not installed: {OPTIONAL[module]}")


def test_the_page_of_the_server_in_a_browser() -> None:
    if CHROMIUM is None:
        pytest.skip("not tested, no Chromium is installed: the page of the server")


@pytest.mark.parametrize("path", SLOW)
def test_every_slow_file_or_folder_exists(path: str) -> None:
    assert (Path(__file__).parent / path).exists()
