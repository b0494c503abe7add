"""The Python API of `tagger ensemble`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagger import ensembles, model_card, model_dir, model_names, streams
from tagger.errors import ConfigError
from tagger.experiments import runs
from tagger.model import TaggerModel


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
        ConfigError: the models cannot be averaged, or one is given twice.
        ModelError: a model is missing or damaged.
        StorageError: `out` cannot be written, or is not a model.
    """
    target = Path(out)
    model_dir.check_target(target)
    loaded: dict[Path, tuple[TaggerModel, model_dir.Metrics]] = {}
    transformer = None
    members: dict[str, Path] = {}  # by digest
    for directory in (directory for model in models for directory in _find(model)):
        loaded[directory] = model_dir.load(directory, transformer=transformer)
        transformer = transformer or loaded[directory][0].transformer  # is read once
        digest = model_dir.compute_digest(directory)
        if digest in members:
            raise ConfigError(f"{directory}: is the same model as {members[digest]}; expected different seeds")
        members[digest] = directory
    merged = ensembles.build({str(path): model for path, (model, _) in loaded.items()})
    metrics = {"members": [metrics for _, metrics in loaded.values()]}
    model_dir.save(merged, target, metrics, card=model_card.build(merged))
    return EnsembleResult(target, tuple(loaded))


def _find(model: str | Path) -> Iterator[Path]:
    """Yields the directory of a model, or of the best model of each finished seed of a run."""
    if model_names.parse(model) is None and runs.has_seed_dirs(Path(model)):
        seeds, init_from = runs.read_seeds(Path(model))
        for result in runs.collect_results(Path(model), seeds, init_from).results:
            yield result.model_dir
    else:
        yield model_names.find(model)
