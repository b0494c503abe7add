"""A directory that another process claims at the same time is not refused as foreign."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tagger.io import directories
from tagger.transformer.hidden_state_cache import CacheOptions, open_cache


@pytest.fixture
def after_first_look(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Returns a function that sets what happens after the first marker is read or the first directory is listed."""
    actions: list[Callable[[], Any]] = []

    def act() -> None:
        if actions:
            actions.pop()()

    def has_content(path: Path, content: bytes, original: Any = directories.has_content) -> bool:
        result: bool = original(path, content)
        act()
        return result

    def iterdir(path: Path, original: Any = Path.iterdir) -> Iterator[Path]:
        paths = list(original(path))
        act()
        return iter(paths)

    monkeypatch.setattr(directories, "has_content", has_content)
    monkeypatch.setattr(Path, "iterdir", iterdir)
    return actions.append


def test_a_cache_that_another_training_creates_meanwhile_is_shared(
    tmp_path: Path, after_first_look: Callable[[Callable[[], Any]], None]
) -> None:
    with ExitStack() as other:
        after_first_look(lambda: other.enter_context(open_cache(CacheOptions(tmp_path))))
        with open_cache(CacheOptions(tmp_path)) as cache:
            assert cache.location == str(tmp_path)
            assert len(list(tmp_path.glob("*.lease"))) == 2


def test_a_run_directory_that_another_training_claims_meanwhile_is_no_foreign_directory(
    tmp_path: Path, after_first_look: Callable[[Callable[[], Any]], None]
) -> None:
    def train() -> None:
        with directories.claim(tmp_path, is_ours):
            (tmp_path / "config.yaml").touch()

    def is_ours(name: str) -> bool:
        return name == "config.yaml"

    after_first_look(train)
    with directories.claim(tmp_path, is_ours):
        assert (tmp_path / "config.yaml").exists()
