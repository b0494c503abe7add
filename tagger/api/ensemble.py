"""The Python API of `tagger ensemble`."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tagger import ensembles, model_card, model_dir, model_names, streams
from tagger.errors import ConfigError
from tagger.experiments import runs
from tagger.io import atomic
from tagger.model import TaggerModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EnsembleResult:
    """An ensemble that was built.

    Attributes:
        model_dir: its directory.
        members: the directories of the models that it was built from.
    """

    model_dir: Path
    members: tuple[Path, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns its values as JSON has them."""
        return {"model": str(self.model_dir), "members": list(map(str, self.members))}

    def __str__(self) -> str:
        return f"model: {streams.escape_line(str(self.model_dir))}, of {len(self.members)} models"


def ensemble(models: Sequence[str | Path], out: str | Path) -> EnsembleResult:
    """Builds a model whose scores are the means of those of several models.

        tagger.train("ner-conll2003", seeds=[1, 2, 3], out="runs/mine", jobs=2)
        tagger.ensemble(["runs/mine"], "runs/mine-ensemble")

    Args:
        models: model directories, or `hub:USER/NAME` or `hub:USER/NAME@REVISION` for models of the Hub; or runs
            of several seeds, for the best model of each finished seed. All are of one recipe and the same data.
        out: the directory of the new model, which is not calibrated.

    Raises:
        ConfigError: the models cannot be averaged, one is given twice or is a checkpoint, a run has no finished seed,
            or `out` is in one of the models or runs, or holds one.
        ModelError: a model is missing or damaged.
        StorageError: `out` cannot be written, or is not a model.
    """
    target = Path(out)
    models = [models] if isinstance(models, str | Path) else models
    directories = [directory for model in models for directory in _find(model)]
    for source in (*directories, *(Path(model) for model in models if model_names.parse(model) is None)):
        _check_apart(target, source)
    ensembles.check_count(len(directories))
    if repeated := [path for path, count in Counter(directories).items() if count > 1]:
        raise ConfigError(f"{repeated[0]}: is given twice; expected models with different seeds")
    model_dir.check_target(target)
    loaded: dict[str, TaggerModel] = {}
    metrics: list[model_dir.Metrics] = []
    for directory in directories:
        model_dir.refuse_checkpoint(directory, "use the model-best of its run")
        model, values = model_dir.load(directory)
        if loaded and model.transformer is not None:
            shared = next(iter(loaded.values())).transformer
            is_same = shared is not None and shared.origin.digest == model.transformer.origin.digest
            model = replace(model, transformer=shared) if is_same else model  # keeps one copy in memory
        loaded[str(directory)] = model
        metrics.append({name: value for name, value in values.items() if not name.startswith("diagnostics")})
    merged = ensembles.build(loaded)
    with atomic.wrap_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    model_dir.save(merged, target, {"members": metrics}, card=model_card.build(merged))
    return EnsembleResult(target, tuple(directories))


def _find(model: str | Path) -> list[Path]:
    """Returns the directory of a model, or those of the best models of the finished seeds of a run."""
    if model_names.parse(model) is not None or not runs.has_seed_dirs(Path(model)):
        return [model_names.find(model)]
    run = runs.read_results(Path(model))
    finished, started = len(run.results), len(run.seeds)
    if not finished:
        raise ConfigError(f"{model}: no seed of the run is finished")
    if finished < started:
        log.warning("%s: %d of %d seeds are finished; the ensemble has these", model, finished, started)
    return [result.model_dir for result in run.results]


def _check_apart(target: Path, source: Path) -> None:
    """Raises ConfigError if writing the target would change a source."""
    first, second = target.resolve(), source.resolve()
    if first.is_relative_to(second) or second.is_relative_to(first):
        raise ConfigError(f"{target}: `out` would replace {source} or a part of it; choose another directory")
