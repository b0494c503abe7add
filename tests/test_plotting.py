"""A plot is drawn in a separate process, so that neither settings nor failures affect the training."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tagger import plotting
from tagger.evaluation import Scores
from tagger.plotting import Panel, Series
from tagger.training import EpochRecord, records

pytestmark = pytest.mark.usefixtures("real_plots")
needs_matplotlib = pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs the extra [plot]")
EPOCHS = [1, 2, 3]
PANELS = [
    Panel("loss", [Series(EPOCHS, [1.0, None, 0.5])]),
    Panel("norm", [Series(EPOCHS, EPOCHS, "a"), Series(EPOCHS, [None] * 3, "b", "dashed")], y_logarithmic=True),
    Panel("points", [Series([0, 1], [2.0, 3.0], style="points")], "cell", ["lstm", "gru"]),
]
RECORDS = [
    EpochRecord(
        epoch=1,
        steps=1,
        loss=float("inf"),
        gradient_norm=0.0,
        clipped_fraction=0.0,
        skipped=0,
        learning_rate=0.1,
        dev=Scores(1.0, "accuracy", 0.0, 0.0, 0.0, 0.0, 1.0, ""),
        best=True,
        seconds=1.0,
        dev_seconds=1.0,
    )
]


@needs_matplotlib
def test_settings_in_the_current_directory_and_the_backend_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = plotting.draw_png(PANELS)
    (tmp_path / "matplotlibrc").write_text("figure.facecolor: black\nbackend: none such\naxes.grid: what?\n\0")
    (tmp_path / "matplotlib.py").write_text(f"open({str(tmp_path / 'proof')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    monkeypatch.setenv("MPLBACKEND", "module://none.such")
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", "")
    assert plotting.draw_png(PANELS) == expected
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise ValueError('no' * 500)", "matplotlib failed: ValueError: no"),
        ("print('no picture')", "matplotlib failed: exit code 0"),
        ("import os; os.kill(os.getpid(), 9)", "matplotlib failed: exit code -9"),
        ("import os; os.write(1, b'\\x89PNG' + bytes(10**6)); os._exit(1)", "matplotlib failed: exit code 1"),
        ("import os, time; os.close(0); time.sleep(600)", "matplotlib failed: exit code -9"),
        ("import sys\nwhile True: sys.stdout.write('x' * 10000)", "matplotlib failed: "),
    ],
)
def test_a_plot_that_fails_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, program: str, reason: str
) -> None:
    monkeypatch.setattr(plotting, "_PROGRAM", f"exec({program!r})")
    monkeypatch.setattr(plotting, "_SECONDS", 1.0)
    monkeypatch.setattr(plotting, "_MAX_BYTES", 10**7)
    monkeypatch.setattr(records, "find_spec", lambda _: True)
    with caplog.at_level(logging.WARNING):
        records.plot(tmp_path, RECORDS)
    (line,) = caplog.messages
    assert line.startswith(f"no training.png: {reason}")
    assert len(line) < 300
    assert not list(tmp_path.iterdir())


def test_a_plot_that_cannot_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(plotting, "draw_png", lambda *_, **__: b"\x89PNG")
    monkeypatch.setattr(records, "find_spec", lambda _: True)
    records.plot(tmp_path / "missing", RECORDS)
    assert caplog.messages == ["no training.png: it cannot be written: No such file or directory"]


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Restores the handler of interrupts, which a shell's background processes ignore."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("_interruptible")
def test_an_interrupt_ends_the_drawing_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "pid"
    program = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    monkeypatch.setattr(plotting, "_PROGRAM", program)

    def interrupt() -> None:
        while not (mark.exists() and mark.read_text()):
            time.sleep(0.01)
        is_interrupted = False
        while not is_interrupted:  # a callback of the garbage collector may swallow an interrupt
            os.kill(os.getpid(), signal.SIGINT)
            is_interrupted = ended.wait(10)

    ended = threading.Event()
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        plotting.draw_png(PANELS)
    ended.set()
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
