"""Draws lines by epoch as a PNG in a separate process, so that neither settings nor faults affect the caller.

matplotlib reads a `matplotlibrc` in the current directory and the backend in MPLBACKEND; the process ignores both.
"""

import json
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from threading import Timer

from tagger import import_path

_PROGRAM = "from tagger import plotting; plotting.main()"
_SECONDS, _MAX_BYTES, _MAX_REASON = 60.0, 1 << 26, 200

Panels = Mapping[str, Mapping[str, Sequence[float | None]]]


class PlotError(Exception):
    """A plot that could not be drawn; the message is one line."""


def draw_png(panels: Panels, epochs: Sequence[int], *, logarithmic: Collection[str] = ()) -> bytes:
    """Returns a PNG of panels with lines.

    Args:
        panels: the lines of each panel by title and name; a line has one value per epoch, None for a gap.
        epochs: the epochs on the horizontal axis.
        logarithmic: titles of panels with a logarithmic axis, if any of their values is positive.

    Raises:
        PlotError: matplotlib fails or is missing.
    """
    request = json.dumps({"panels": panels, "epochs": epochs, "logarithmic": list(logarithmic)}, allow_nan=False)
    environment = import_path.environment()
    for name in ("MPLBACKEND", "MATPLOTLIBRC"):
        environment.pop(name, None)
    try:
        with TemporaryFile() as errors:
            code, picture = _run(request.encode(), environment, errors.fileno())
            if code == 0 and picture.startswith(b"\x89PNG") and len(picture) <= _MAX_BYTES:
                return picture
            errors.seek(0)
            lines = errors.read(1 << 16).decode("utf-8", "replace").split("\n")
    except OSError as error:
        raise PlotError(f"matplotlib cannot be started: {error.strerror or error}") from error
    last = next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {code}")
    raise PlotError(f"matplotlib failed: {last[:_MAX_REASON]}")


def _run(request: bytes, environment: Mapping[str, str], errors: int) -> tuple[int, bytes]:
    """Returns the exit code and the output of the drawing process, which is killed after some time."""
    with subprocess.Popen(
        import_path.command(_PROGRAM),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        cwd="/",
        env=environment,
        process_group=0,  # a terminal's Ctrl-C reaches the caller only
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        timer = Timer(_SECONDS, child.kill)
        timer.start()
        try:
            with suppress(BrokenPipeError), child.stdin as stream:
                stream.write(request)
            picture = child.stdout.read(_MAX_BYTES + 1)
            child.stdout.close()  # a larger picture ends the process here
            return child.wait(), picture
        finally:
            timer.cancel()
            if sys.exc_info()[0] is not None:
                child.kill()


def main() -> None:
    """Draws the panels that stdin holds in JSON and writes the PNG to stdout."""
    from matplotlib.figure import Figure

    request = json.load(sys.stdin.buffer)
    panels, epochs = request["panels"], request["epochs"]
    rows = -(-len(panels) // 3)
    figure = Figure(figsize=(9, 3 * rows), layout="constrained")
    for index, (title, lines) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, 3, index)
        for name, values in lines.items():
            numbers = [float("nan") if value is None else value for value in values]
            axes.plot(epochs, numbers, "--" if name.endswith(" closed") else "-", marker=".", label=name)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        if title in request["logarithmic"] and any(value and value > 0 for line in lines.values() for value in line):
            axes.set_yscale("log")
        if len(lines) > 1:
            axes.legend(fontsize=6)
    figure.savefig(sys.stdout.buffer, format="png", dpi=120)
