"""The Python API of `tagger ensemble`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tagger import ensembles, model_card, model_dir, model_names
from tagger.errors import ConfigError
from tagger.experiments import runs
from tagger.model import TaggerModel


def ensemble(models: Sequence[str | Path], out: str | Path) -> Path:
    """Builds a model whose scores are the means of those of several models, and returns its directory.

        tagger.train("ner-conll2003", seeds=[1, 2, 3], out="runs/mine", jobs=2)
        tagger.ensemble(["runs/mine"], "runs/mine-ensemble")

    Args:
        models: model directories, or `hub:USER/NAME` or `hub:USER/NAME@REVISION` for models of the Hub; the run of
            several seeds stands for the best model of each finished seed. All are of one recipe and the same data.
        out: the directory of the new model, which is not calibrated.

    Raises:
        ConfigError: the models cannot be averaged, or one is given twice.
        ModelError: a model is missing or damaged.
        StorageError: `out` cannot be written, or is not a model.
    """
    target = Path(out)
    model_dir.check_target(target)
    loaded: dict[str, tuple[TaggerModel, model_dir.Metrics]] = {}
    names: dict[str, str] = {}  # by digest
    for directory in (directory for model in models for directory in _find(model)):
        name = str(directory)
        loaded[name] = model_dir.load(directory)
        digest = model_dir.compute_digest(directory)
        if digest in names:
            raise ConfigError(f"{name}: is the same model as {names[digest]}; expected models with different seeds")
        names[digest] = name
    merged = ensembles.build({name: model for name, (model, _) in loaded.items()})
    metrics = {"members": [metrics for _, metrics in loaded.values()]}
    model_dir.save(merged, target, metrics, card=model_card.build(merged))
    return target


def _find(model: str | Path) -> Iterator[Path]:
    """Yields the directory of a model, or of the best model of each finished seed of a run."""
    if model_names.parse(model) is None and runs.has_seed_dirs(Path(model)):
        seeds, init_from = runs.read_seeds(Path(model))
        for result in runs.collect_results(Path(model), seeds, init_from).results:
            yield result.model_dir
    else:
        yield model_names.find(model)
