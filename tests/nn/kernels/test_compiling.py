"""The cache of compiled code runs no code that is damaged, stale or somebody else's, and fails nobody."""

import errno
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from numba.core import config

from tagger.errors import ConfigError
from tagger.io import ownership
from tagger.nn.crf.kernels import triton_cache
from tagger.nn.kernels import code_cache, compiling
from tests.robustness.runs import SCALE

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


def plus_one(x: int) -> int:
    return x + 1


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that numba is told to store code in, for a process that reported nothing yet."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(code_cache.reports, "_reported", set())
    monkeypatch.setattr(code_cache.reports, "unsafe", "")
    monkeypatch.setattr(code_cache.reports, "unused", "")
    code_cache._prepare.cache_clear()
    return tmp_path / "cache"


def compiled(function: Callable[..., Any] = plus_one) -> Any:
    return compiling.compiled()(function)


def stored(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def hits(function: Any) -> int:
    return sum(function.stats.cache_hits.values())


def test_compiled_code_is_cached_and_loaded_again(folder: Path) -> None:
    assert compiled()(1) == 2
    assert [path.suffix for path in stored(folder)] == [".nbc", ".nbi"]
    again = compiled()
    assert (again(1), hits(again)) == (2, 1)


def test_loading_cached_code_does_not_import_the_compiler(folder: Path, tmp_path: Path) -> None:
    module = tmp_path / "kernels.py"
    module.write_text(
        "import numpy as np\nfrom tagger.nn.kernels.compiling import compiled\n\n\n"
        "@compiled()\ndef total(x):\n    result = 0\n    for value in x:\n        result += value\n"
        "    return result\n\n\n@compiled()\ndef largest(x):\n    return np.max(x)\n"
    )
    program = (
        "import sys, numpy as np, kernels\n"
        "assert kernels.total(np.arange(4)) == 6\n"
        "print('numba.np.arraymath' in sys.modules, sum(kernels.total.stats.cache_hits.values()))\n"
        "assert not sys.argv[1:] or kernels.largest(np.arange(4)) == 3  # compiles after stored code was loaded\n"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", program]
    outputs = [
        subprocess.run([*command, *more], env=environment, capture_output=True, text=True, check=True).stdout.split()
        for more in ((), ("largest",))
    ]
    assert outputs == [["True", "0"], ["False", "1"]]


def damage(path: Path, source: random.Random) -> None:
    data = bytearray(path.read_bytes())
    way = source.randrange(7)
    if way == 0:
        data = bytearray()
    elif way == 1:
        del data[source.randrange(len(data)) :]
    elif way == 2:
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    elif way == 3:
        first = source.randrange(len(data))
        data[first : first + 4096] = bytes(len(data[first : first + 4096]))
    elif way == 4:
        data += b"more"
    elif way == 5:
        data = bytearray(source.randbytes(len(data)))
    path.unlink()
    if way == 6:
        os.mkfifo(path)
    else:
        path.write_bytes(data)


def test_a_damaged_file_is_ignored_and_replaced(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled()(1)
    whole = {path: path.read_bytes() for path in stored(folder)}
    for seed in range(20 if SCALE == 1 else 60 * SCALE):
        source = random.Random(seed)
        monkeypatch.setattr(code_cache.reports, "_reported", set())
        caplog.clear()
        damage(source.choice(sorted(whole)), source)
        function = compiled()
        assert (function(1), hits(function)) == (2, 0)
        assert len([one for one in caplog.messages if "damaged" in one]) <= 1
        again = compiled()
        assert (again(1), hits(again)) == (2, 1), seed
    for path in whole:
        path.write_bytes(b"x")
    monkeypatch.setattr(code_cache.reports, "_reported", set())
    caplog.clear()
    assert compiled()(1) == 2
    assert [one.partition(": ")[2] for one in caplog.messages] == [
        "damaged file of compiled code; it is compiled again, like others of its kind"
    ]


class _Marker:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_a_pickle_without_its_digest_is_not_unpickled(folder: Path, tmp_path: Path) -> None:
    compiled()(1)
    for path in stored(folder):
        path.write_bytes(pickle.dumps(_Marker(tmp_path / "proof")))
    assert compiled()(1) == 2
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o1777])
def test_a_directory_writable_by_other_users_is_not_used_and_is_named(folder: Path, mode: int) -> None:
    compiled()(1)
    (inner,) = folder.iterdir()
    inner.chmod(mode)
    code_cache._prepare.cache_clear()
    function = compiled()
    assert (function(1), hits(function)) == (2, 0)
    reason = f"other users may write to {inner}, so compiled code there is not trusted"
    assert code_cache.reports.unused == reason


def test_a_file_writable_by_other_users_is_not_used(folder: Path) -> None:
    compiled()(1)
    for path in stored(folder):
        path.chmod(0o666)
    function = compiled()
    assert (function(1), hits(function)) == (2, 0)
    assert not any(path.stat().st_mode & 0o022 for path in stored(folder))


def test_new_files_and_directories_are_writable_by_their_owner_only(folder: Path) -> None:
    before = os.umask(0)
    try:
        compiled()(1)
    finally:
        os.umask(before)
    again = compiled()
    assert (again(1), hits(again)) == (2, 1)


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o1777])
def test_a_parent_may_be_writable_by_other_users_only_if_it_is_sticky(tmp_path: Path, mode: int) -> None:
    parent = tmp_path / "parent"
    (parent / "inner").mkdir(parents=True)
    parent.chmod(mode)
    assert ownership.find_unsafe_part(str(parent / "inner" / "missing" / "more")) is None
    parent.chmod(mode & 0o777 | 0o002)
    assert ownership.find_unsafe_part(str(parent / "inner")) == str(parent)


@as_root
def test_directories_of_other_users_are_unsafe(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "link").symlink_to("own/../own")
    assert ownership.find_unsafe_part(str(tmp_path / "link")) is None
    os.chown(tmp_path / "own", 65534, 0)
    assert ownership.find_unsafe_part(str(tmp_path / "link")) == str(tmp_path / "own")
    os.chown(tmp_path / "own", 0, 0)
    os.lchown(tmp_path / "link", 65534, 0)
    assert ownership.find_unsafe_part(str(tmp_path / "link")) == str(tmp_path / "link")


@as_root
def test_directories_writable_by_a_foreign_group_are_unsafe(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o770)
    assert ownership.find_unsafe_part(str(tmp_path / "shared")) is None
    os.chown(tmp_path / "shared", 0, 100)
    assert ownership.find_unsafe_part(str(tmp_path / "shared")) == str(tmp_path / "shared")


def test_circular_links_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="too many symbolic links"):
        ownership.find_unsafe_part(str(tmp_path / "a"))


def test_a_change_of_any_source_of_the_package_compiles_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_cache, "_FOLDER", f"{tmp_path / 'nn'}{os.sep}")
    shutil.copytree(Path(code_cache.__file__).parents[1], tmp_path / "nn", ignore=shutil.ignore_patterns("__pycache__"))
    actual = []
    for text in ("", "", "\n"):
        with (tmp_path / "nn" / "crf" / "kernels" / "loops.py").open("a") as stream:
            stream.write(text)
        code_cache._sources.cache_clear()
        code_cache._stamp.cache_clear()
        function = compiled()
        function(1)
        actual.append(hits(function))
    code_cache._sources.cache_clear()
    code_cache._stamp.cache_clear()
    assert actual == [0, 1, 0]


def test_code_that_does_not_match_its_index_after_a_crash_is_not_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled()(1)
    monkeypatch.setattr(code_cache, "_stamp", lambda _: b"other sources")
    monkeypatch.setattr(code_cache._Files, "_save_data", lambda *_: None)  # it dies before
    compiled()(1)
    monkeypatch.undo()
    monkeypatch.setattr(config, "CACHE_DIR", str(folder))
    monkeypatch.setattr(code_cache, "_stamp", lambda _: b"other sources")
    function = compiled()
    assert (function(1), hits(function)) == (2, 0)


def test_a_full_disk_gives_one_log_line_and_leaves_no_file(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(code_cache.os, "fsync", full)
    assert (compiled()(1), compiled()(2)) == (2, 3)
    assert not stored(folder)
    assert [one.partition(": ")[2] for one in caplog.messages] == [
        "compiled code cannot be stored and is compiled at each start: No space left on device"
    ]


def test_an_unsupported_numba_compiles_without_a_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_cache.caching.Cache, "__init__", lambda *_: None)
    assert compiled()(1) == 2
    assert "is not supported" in code_cache.reports.unused


def test_a_call_is_rejected_when_compilation_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "DISABLE_JIT", 1)
    function = compiled()
    with pytest.raises(ConfigError, match=r"^NUMBA_DISABLE_JIT is set, but the toolkit needs compiled functions"):
        function(1)


PROGRAM = """
from tagger.nn.kernels.compiling import compiled
from tagger.nn.kernels.activations import tanh
assert abs(tanh(1.0) - 0.76159) < 1e-4
from numba.core import config
print(config.DISABLE_JIT, config.CACHE_DIR)
"""


def run(folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    kept |= {"PYTHONPATH": str(Path(__file__).parents[3]), **environment}
    return subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM],
        cwd=folder,
        env=kept,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=100,
    )


@pytest.mark.parametrize("value", ["file", "missing/inner", "\udcff"])
def test_any_directory_for_code_works(tmp_path: Path, value: str) -> None:
    (tmp_path / "file").touch()
    done = run(tmp_path, NUMBA_CACHE_DIR=value)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert len(done.stderr.splitlines()) <= 1


def test_a_numba_configuration_file_in_the_current_directory_is_ignored(tmp_path: Path) -> None:
    (tmp_path / ".numba_config.yaml").write_text("cache_dir: theirs\ndisable_jit: 1\nbroken: [")
    assert run(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "own")).stdout == f"0 {tmp_path / 'own'}\n"
    assert not (tmp_path / "theirs").exists()


@pytest.mark.parametrize(("name", "value"), [("NUMBA_OPT", "foo"), ("NUMBA_NUM_THREADS", "0")])
def test_an_invalid_setting_of_numba_is_reported(tmp_path: Path, name: str, value: str) -> None:
    done = run(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "own"), **{name: value})
    error = "tagger.errors.ConfigError: numba rejects a NUMBA_ environment variable"
    assert name in done.stderr if done.returncode == 0 else done.stderr.splitlines()[-1].startswith(error)


def test_triton_gets_a_private_directory_where_other_users_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared").mkdir()
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "shared"))
    triton_cache.check()
    assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / "shared")
    (tmp_path / "shared").chmod(0o777)
    triton_cache.check()
    assert Path(os.environ["TRITON_CACHE_DIR"]).stat().st_mode & 0o777 == 0o700
