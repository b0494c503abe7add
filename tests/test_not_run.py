"""Reports what this machine cannot test."""

import pytest

from tests.conftest import GPU_CASES


def test_cases_that_need_a_gpu(request: pytest.FixtureRequest) -> None:
    if count := request.config.stash[GPU_CASES]:
        pytest.skip(f"{count} cases that need a GPU were not run: torch finds none here")
