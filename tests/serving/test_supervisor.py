"""The processes of a server: restarted when they die, ended together; most tests run tiny programs in their place."""

import errno
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tagger import import_path
from tagger.errors import ConfigError, Stopped, TaggerError
from tagger.io import temporary as temporary_directory
from tagger.serving import process, server, supervisor
from tagger.serving.limits import Limits
from tests.serving.processes import start_server

SETTINGS = process.Settings((("first", "model"),), (), (), Limits(), {"workers": 1})
MARKER = (".tagger-serve", b"bilstm-crf-tagger server\n")
PROGRAM = """
import json, os, sys
task = json.loads(sys.stdin.readline())
with open({path!r}, "a") as file: print(os.getpid(), file=file)
{code}
print("ready", flush=True)
sys.stdin.read(){end}
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket at a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def use_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Replaces the processes by a program; returns a function that does it and returns the file of their ids."""

    def use(*, code: str = "", end: str = "") -> Path:
        path = tmp_path / "ids"
        program = PROGRAM.format(path=str(path), code=code, end=end)
        monkeypatch.setattr(process, "_PROGRAM", f"exec({program!r})")
        monkeypatch.setattr(supervisor, "_PAUSE_SECONDS", 0)
        return path

    return use


def wait_until(condition: Callable[[], object]) -> None:
    """Waits until a condition holds, 20 seconds at most."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def read_ids(path: Path) -> list[int]:
    """Returns the ids of the processes that were started, in order."""
    return list(map(int, path.read_text().split())) if path.exists() else []


def is_running(pid: int) -> bool:
    """Returns whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def run_until(listener: socket.socket, act: Callable[[], None], *, processes: int = 2) -> None:
    """Runs a server in this process, acts when it has started, and then stops it by SIGTERM."""

    has_ended = threading.Event()

    def act_and_stop() -> None:
        try:
            act()
        finally:
            if not has_ended.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=act_and_stop)
    try:
        with pytest.raises(Stopped, match="SIGTERM"):
            supervisor.run(SETTINGS, listener, processes, thread.start)
    finally:
        has_ended.set()
    thread.join()


def test_a_process_that_is_killed_is_restarted_and_all_end_together(
    listener: socket.socket, use_program: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = use_program()

    def kill_one() -> None:
        os.kill(read_ids(path)[0], signal.SIGKILL)
        wait_until(lambda: len(read_ids(path)) == 3)

    run_until(listener, kill_one)
    assert not any(map(is_running, read_ids(path)))
    assert [message.partition(": ")[2] for message in caplog.messages] == ["killed by SIGKILL; restart 1 of at most 3"]
    assert listener.fileno() == -1


def test_a_server_whose_process_dies_again_and_again_ends_with_an_error(
    listener: socket.socket, use_program: Callable[..., Path]
) -> None:
    path = use_program(code="if task['is_quiet']: sys.exit(3)")
    with pytest.raises(TaggerError, match=r"^process 2 was restarted 3 times and died again: ended with exit code 3$"):
        supervisor.run(SETTINGS, listener, 2, lambda: pytest.fail("has started"))
    assert len(read_ids(path)) == 5
    assert not any(map(is_running, read_ids(path)))


def test_a_process_that_has_served_for_long_may_be_restarted_again(
    listener: socket.socket, use_program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_STABLE_SECONDS", 0)
    path = use_program()

    def kill_five_times() -> None:
        for count in range(1, 6):
            wait_until(lambda count=count: len(read_ids(path)) == count)
            time.sleep(0.1)  # the program is ready soon after it has written its id
            os.kill(read_ids(path)[-1], signal.SIGKILL)
        wait_until(lambda: len(read_ids(path)) == 6)

    run_until(listener, kill_five_times, processes=1)


def test_the_faults_of_a_process_that_cannot_start_are_those_of_the_server(
    listener: socket.socket, use_program: Callable[..., Path]
) -> None:
    path = use_program(code="print(json.dumps(['no model', 'no language']), flush=True); sys.exit(2)")
    with pytest.raises(TaggerError) as caught:
        supervisor.run(SETTINGS, listener, 2, lambda: pytest.fail("has started"))
    assert caught.value.faults == ("no model", "no language")
    assert not any(map(is_running, read_ids(path)))


def test_a_restart_that_cannot_be_counted_does_not_end_the_server(
    listener: socket.socket, use_program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = use_program()

    def fail(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def kill_one() -> None:
        os.kill(read_ids(path)[0], signal.SIGKILL)
        wait_until(lambda: len(read_ids(path)) == 2)

    monkeypatch.setattr(supervisor, "count_restart", fail)
    run_until(listener, kill_one, processes=1)


def test_a_process_that_does_not_end_in_time_is_killed(
    listener: socket.socket, use_program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0)
    monkeypatch.setattr(supervisor, "_KILL_SECONDS", 0.1)
    path = use_program(
        code="import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)", end="; import time; time.sleep(60)"
    )
    run_until(listener, lambda: None, processes=1)
    assert not any(map(is_running, read_ids(path)))


def test_what_a_process_logs_is_logged_with_its_number(
    listener: socket.socket, use_program: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    use_program(code="print('a request failed', file=sys.stderr, flush=True)")
    caplog.set_level("INFO", "tagger")
    run_until(listener, lambda: None)
    assert sorted(caplog.messages) == ["process 1: a request failed", "process 2: a request failed"]


def test_the_next_server_removes_the_folder_of_one_that_was_killed(
    listener: socket.socket, use_program: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_program()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (temporary / "tagger-serve-abcdefgh").mkdir()  # not ours: it has no marker
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with temporary_directory.open_directory("tagger-serve-", *MARKER) as running:
        program = (
            "import os, time, tempfile; from tagger.io import temporary; "
            f"tempfile.tempdir = {str(temporary)!r}; "
            f"opened = temporary.open_directory('tagger-serve-', *{MARKER!r}); print(opened.__enter__(), flush=True); "
            "time.sleep(60)"
        )
        with subprocess.Popen(import_path.command(program), stdout=subprocess.PIPE, text=True) as killed:
            assert killed.stdout is not None
            abandoned = Path(killed.stdout.readline().strip())
            killed.kill()
        assert abandoned.is_dir()
        run_until(listener, lambda: None)
        assert set(temporary.iterdir()) == {running, temporary / "tagger-serve-abcdefgh"}


def test_a_process_ends_with_its_parent() -> None:
    program = "from tagger.signals import stop_with_parent; print(flush=True); stop_with_parent()"
    command = import_path.command(program)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        child.stdin.close()
        assert child.wait(20) == -signal.SIGTERM


def test_several_processes_answer_as_one_server(model_path: Path) -> None:
    requests = 'tagger_requests_total{path="/tag",status="200"}'
    with start_server(f"first={model_path}", processes=2) as (url, parent):

        def ask(number: int) -> str:
            body = json.dumps({"text": f"Ada lives in Oslo {number}."}).encode()
            with urllib.request.urlopen(f"{url}/tag", body, timeout=20) as response:
                document = json.load(response)["documents"][0]
            return f"{document['text']} {document['spans'][0]['text']}"

        def read_metric(name: str) -> float:
            with urllib.request.urlopen(f"{url}/metrics", timeout=20) as response:
                metrics = dict(line.rsplit(" ", 1) for line in response.read().decode().splitlines())
            return float(metrics[name])

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(ask, range(40))) == [f"Ada lives in Oslo {n}. Ada" for n in range(40)]
        assert {read_metric(requests) for _ in range(6)} == {40.0}
        assert read_metric("tagger_process_restarts_total") == 0
        assert parent.pid is not None
        first, second = list_children(parent.pid)
        resident = sum(map(read_resident_bytes, (first, second)))
        assert read_metric("process_resident_memory_bytes") == pytest.approx(resident, rel=0.2)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: first not in list_children(int(parent.pid or 0)))
        assert [ask(number) for number in range(6)] == [f"Ada lives in Oslo {n}. Ada" for n in range(6)]
        assert {read_metric(requests) for _ in range(6)} == {46.0}
        assert read_metric("tagger_queue_length") == 0
        assert read_metric("tagger_process_restarts_total") == 1
        os.kill(parent.pid, signal.SIGTERM)
        parent.join(20)
        assert parent.exitcode == 143
        assert not is_running(second)
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(url)


def list_children(pid: int) -> list[int]:
    """Returns the ids of the child processes of a process, oldest first."""
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat")]
    return sorted(int(stat.split()[0]) for stat in stats if stat.rpartition(")")[2].split()[1] == str(pid))


def read_resident_bytes(pid: int) -> int:
    """Returns the resident memory of a process."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_the_address_of_another_server_of_several_processes_is_refused() -> None:
    with server.bind("127.0.0.1", 0, is_shared=True) as first:
        port = first.getsockname()[1]
        with server.bind_to_same_address(first) as process:
            process.listen()
            with pytest.raises(ConfigError, match="address already in use"):
                server.bind("127.0.0.1", port, is_shared=True)
