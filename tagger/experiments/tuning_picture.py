"""The picture of a search: the dev curves of all trials, and their scores by the value of each setting."""

import logging
import statistics
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from tagger import plotting
from tagger.config.search_space import Choices, Range, SearchSpace
from tagger.experiments.trials import Trial, TuningResult, format_value, shorten_name
from tagger.io import atomic
from tagger.plotting import Panel, PlotError, Series, Style

log = logging.getLogger(__name__)

_STYLES: tuple[Style, ...] = ("faint", "line", "bold")


def draw(result: TuningResult, space: SearchSpace) -> None:
    """Draws the picture of a search, if matplotlib is installed (extra `[plot]`) and a trial has a score.

    A failure to draw or to write is logged as a warning.
    """
    if find_spec("matplotlib") is None:
        log.warning("%s needs matplotlib, the extra [plot]", result.picture.name)
        return
    trials = [trial for trial in result.trials if trial.curve]
    if not trials:
        return
    try:
        atomic.replace(result.picture, plotting.draw_png(list_panels(result, space)))
    except PlotError as error:
        log.warning("no %s: %s", result.picture.name, error)
    except OSError as error:
        log.warning("no %s: it cannot be written: %s", result.picture.name, error.strerror or error)


def list_panels(result: TuningResult, space: SearchSpace) -> list[Panel]:
    """Returns the panel of the dev curves, and one for each setting with the scores of the better half of trials."""
    trials = [trial for trial in result.trials if trial.curve]
    groups = {
        "pruned or failed": [trial for trial in trials if trial.score is None],
        "finished": [trial for trial in trials if trial.score is not None and trial != result.best],
        f"best, trial {result.best.number}" if result.best else "": [trial for trial in trials if trial == result.best],
    }
    curves = [
        Series(list(range(1, len(trial.curve) + 1)), trial.curve, "" if number else name, style)
        for (name, group), style in zip(groups.items(), _STYLES, strict=True)
        for number, trial in enumerate(group)
    ]
    scores = [trial.best_score or 0.0 for trial in trials]
    low = None if max(scores) == min(scores) else statistics.median_low(scores)
    settings = []
    for name, values in space.settings.items():
        chosen = [(trial.settings[name], trial) for trial in trials if name in trial.settings]
        settings.append(_draw_setting(name, values, chosen, low))
    return [Panel(f"dev {result.score_name} by epoch, first seed", curves), *settings]


def _draw_setting(name: str, values: Choices | Range, trials: Sequence[tuple[Any, Trial]], low: float | None) -> Panel:
    """Returns the panel with the score of each trial by the value of a setting, from a lowest score on."""
    ticks = [format_value(value) for value in values.values] if isinstance(values, Choices) else []
    series = []
    styles: dict[Style, bool] = {"faint-points": False, "points": True}
    for style, is_finished in styles.items():
        chosen = [(value, trial) for value, trial in trials if (trial.score is not None) == is_finished]
        x = [values.values.index(value) if isinstance(values, Choices) else value for value, _ in chosen]
        y = [trial.best_score for _, trial in chosen]
        series.append(Series(x, y, style=style))
    is_logarithmic = isinstance(values, Range) and values.log
    return Panel(f"score by {shorten_name(name)}", series, name, ticks, x_logarithmic=is_logarithmic, y_low=low)
