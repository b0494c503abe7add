"""Draws panels with lines and points as a PNG in a separate process, so that no setting or fault affects the caller.

matplotlib reads a `matplotlibrc` in the current directory and the backend in MPLBACKEND; the process ignores both.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from tempfile import TemporaryFile
from threading import Timer
from typing import Any, Literal

from tagger import import_path

_PROGRAM = "from tagger import plotting; plotting.main()"
_SECONDS, _MAX_BYTES, _MAX_REASON = 60.0, 1 << 26, 200
_COLUMNS = 3

Numbers = Sequence[float | None]
Style = Literal["line", "dashed", "bold", "faint", "points", "faint-points"]


@dataclass(frozen=True, slots=True)
class Series:
    """A line or points.

    Attributes:
        x: the horizontal positions.
        y: the values; None for a gap.
        name: the name in the legend, empty for none.
        style: how they are drawn; a `faint` line is behind others, `points` and `faint-points` have no line.
    """

    x: Numbers
    y: Numbers
    name: str = ""
    style: Style = "line"


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel of a plot.

    Attributes:
        title: the title.
        series: the lines and points.
        x_label: the name of the horizontal axis.
        x_ticks: the names of the horizontal positions 0, 1, ...; empty for numbers.
        x_logarithmic: whether the horizontal axis is logarithmic.
        y_logarithmic: whether the vertical axis is logarithmic, if any value is positive.
        y_low: the lowest value of the vertical axis; None for that of the series.
    """

    title: str
    series: Sequence[Series]
    x_label: str = "epoch"
    x_ticks: Sequence[str] = ()
    x_logarithmic: bool = False
    y_logarithmic: bool = False
    y_low: float | None = None


class PlotError(Exception):
    """A plot that could not be drawn; the message is one line."""


def draw_png(panels: Sequence[Panel]) -> bytes:
    """Returns a PNG of panels.

    Raises:
        PlotError: matplotlib fails or is missing.
    """
    request = json.dumps([asdict(panel) for panel in panels], allow_nan=False)
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


_STYLES: dict[str, dict[str, Any]] = {
    "line": {"linestyle": "-", "marker": "."},
    "dashed": {"linestyle": "--", "marker": "."},
    "bold": {"linestyle": "-", "marker": ".", "linewidth": 2.5, "color": "black", "zorder": 4},
    "faint": {"linestyle": "-", "marker": "x", "markersize": 4, "color": "tab:gray", "alpha": 0.4, "zorder": 1},
    "points": {"linestyle": "", "marker": "o", "markersize": 5},
    "faint-points": {"linestyle": "", "marker": "x", "markersize": 5, "color": "tab:gray", "alpha": 0.4},
}


def main() -> None:
    """Draws the panels that stdin holds in JSON and writes the PNG to stdout."""
    from matplotlib.figure import Figure

    panels = json.load(sys.stdin.buffer)
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(3 * _COLUMNS, 3 * rows), layout="constrained")
    for index, panel in enumerate(panels, 1):
        _draw(figure.add_subplot(rows, _COLUMNS, index), panel)
    figure.savefig(sys.stdout.buffer, format="png", dpi=120)


def _draw(axes: Any, panel: Mapping[str, Any]) -> None:
    for series in panel["series"]:
        values = [float("nan") if value is None else value for value in series["y"]]
        axes.plot(series["x"], values, label=series["name"], **_STYLES[series["style"]])
    axes.set_title(panel["title"], fontsize=9)
    axes.set_xlabel(panel["x_label"])
    axes.grid(alpha=0.3)
    _draw_ticks(axes, panel)
    if panel["y_logarithmic"] and any(value and value > 0 for series in panel["series"] for value in series["y"]):
        axes.set_yscale("log")
    if panel["y_low"] is not None:
        axes.set_ylim(bottom=panel["y_low"])
    if sum(bool(series["name"]) for series in panel["series"]) > 1:
        axes.legend(fontsize=6)


def _draw_ticks(axes: Any, panel: Mapping[str, Any]) -> None:
    """Labels the horizontal axis: names, whole numbers for integers, or 1, 2 and 5 of each power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if panel["x_ticks"]:
        axes.set_xticks(range(len(panel["x_ticks"])), panel["x_ticks"], fontsize=7)
        axes.set_xlim(-0.5, len(panel["x_ticks"]) - 0.5)
    elif panel["x_logarithmic"]:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="x", labelsize=7)
    elif all(isinstance(value, int) for series in panel["series"] for value in series["x"]):
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
