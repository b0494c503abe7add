"""The Python API of `tagger audit`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tagger.analysis import audit as audits
from tagger.analysis import suspects
from tagger.analysis.audit import Audit, AuditFiles
from tagger.analysis.held_out import HeldOut
from tagger.api import recipe_settings
from tagger.choices import Device, Scheme
from tagger.config import Config
from tagger.config.schema import Data
from tagger.data import reader, schemes
from tagger.data.corpus import Corpus
from tagger.errors import ConfigError, DataError
from tagger.experiments import folds as fold_trainings
from tagger.experiments import processes
from tagger.experiments.folds import FoldOptions
from tagger.training import Callback, corpora


def audit(
    recipe: str | Path | Config,
    *,
    data: str | Path | None = None,
    train: str | Path | None = None,
    dev: str | Path | None = None,
    vectors: str | Path | Sequence[str | Path] = (),
    out: str | Path,
    files: Sequence[str | Path] = (),
    folds: int = 5,
    repeats: int = 2,
    seed: int | None = None,
    entity_disjoint: bool = False,
    settings: Mapping[str, object] | Sequence[str] = (),
    jobs: int = 1,
    device: Device = "auto",
    resume: bool = False,
    callback: Callback = lambda event: None,
) -> Audit:
    """Ranks the annotations of training data by how improbable they are, as `tagger audit` does.

        result = tagger.audit("mine.yaml", out="audit", jobs=2)
        for suspect in result.suspects[:20]:
            print(suspect.file, suspect.line, suspect.text, suspect.annotated_type, suspect.alternative)

    Each annotation is judged by models that were trained without its document. The dev data selects the best epoch, as
    in a training.

    Args:
        recipe: the name of a shipped recipe, a YAML file or a config.
        data: a directory with train and dev files under their usual names, or a saved dataset.
        train: the training file.
        dev: the development file; without one, a part of each model's training data is split off.
        vectors: one or several files of pretrained word vectors.
        out: the directory of the audit: its trainings, suspects.jsonl, weights.jsonl and audit.html.
        files: annotated files to audit too, such as dev and test data, by all models; splits of a dataset by name.
        folds: the number of parts of the training data, each of which is judged by a model trained on the others.
        repeats: how often the data is divided into folds; probabilities are means over the repeats.
        seed: the random seed of the folds and of the first training; None for the recipe's.
        entity_disjoint: train a model without the sentences that share an entity with its fold.
        settings: overrides of the recipe's settings, by dotted name or nested, or as strings `KEY=VALUE`.
        jobs: the number of models to train in parallel, each in a process.
        device: auto, cpu, cuda or cuda:N.
        resume: continue an audit in `out`; finished trainings are not repeated.
        callback: is called with the events of the trainings, if `jobs` is 1.

    Raises:
        ConfigError: the recipe or an option is invalid, or a setting of a resumed audit has changed.
        DataError: a data file cannot be read.
        StorageError: `out` holds another audit, or cannot be written.
        ModelError: the data has changed since the audit began, or a model is damaged.
        TrainingError: trainings have failed; the others are finished.
        Stopped: by a signal, after a checkpoint; `resume=True` continues from there.
    """
    if jobs < 1:
        raise ConfigError(f"`jobs` must be at least 1, got {jobs}")
    tables = [Path(vectors)] if isinstance(vectors, str | Path) else [Path(path) for path in vectors]
    parts = {name: None if path is None else Path(path) for name, path in (("train", train), ("dev", dev))}
    folder = None if data is None else Path(data)
    config = corpora.with_paths(recipe_settings.load(recipe, settings), folder=folder, parts=parts, vectors=tables)
    options = FoldOptions(folds, repeats, config.training.seed if seed is None else seed, entity_disjoint)
    config = processes.with_seed(corpora.without_test(config), options.seed)
    corpus = corpora.read_train(config)
    planned = fold_trainings.plan(corpus.sentences, options)
    judged = _name([corpus, *_read_files(config.data, corpus, files)])
    audit_dir = Path(out)
    with fold_trainings.open_directory(audit_dir, config, corpus, options, resume=resume):
        fold_trainings.train(config, audit_dir, planned, jobs=jobs, device=device, callback=callback)
        findings = {}
        for name, each in judged.items():
            every = None if each is corpus else range(len(each.sentences))
            models = [HeldOut(fold.model_dir(audit_dir), every or fold.held_out) for fold in planned]
            scheme = _find_scheme(each)
            findings[name] = suspects.find_suspects(name, each.sentences, models, scheme=scheme, device=device)
        names = (fold_trainings.SUSPECTS, fold_trainings.WEIGHTS, fold_trainings.PAGE)
        sentences = {name: each.sentences for name, each in judged.items()}
        return audits.build(findings, sentences, AuditFiles(*(audit_dir / name for name in names)), models=len(planned))


def _find_scheme(corpus: Corpus) -> Scheme | None:
    """Returns the scheme of the tags of a corpus, None for plain tags."""
    return schemes.detect([sentence.tags for sentence in corpus.sentences]).scheme


def _read_files(data: Data, corpus: Corpus, files: Sequence[str | Path]) -> list[Corpus]:
    """Returns the annotated files to audit besides the training data, or the splits of its dataset."""
    has_spans = _find_scheme(corpus) is not None
    data = data.model_copy(update={"tag_format": corpus.tag_format})
    parts = []
    for file in files:
        splits = data.splits.model_copy(update={"dev": str(file)})
        part = reader.read_part(
            data.model_copy(update={"dev": str(file), "splits": splits}), "dev", has_spans=has_spans
        )
        assert part is not None
        if (_find_scheme(part) is not None) != has_spans:
            expected = "spans" if has_spans else "plain tags"
            raise DataError(
                f"{part.name}: expected {expected} as in {corpus.name}, found {'plain tags' if has_spans else 'spans'}"
            )
        if data.annotated_types is not None:
            part = part.with_annotated_types(data.annotated_types)
        parts.append(part)
    return parts


def _name(parts: Sequence[Corpus]) -> dict[str, Corpus]:
    """Returns corpora by distinct names."""
    named: dict[str, Corpus] = {}
    for part in parts:
        name, number = part.name, 2
        while name in named:
            name, number = f"{part.name} ({number})", number + 1
        named[name] = part
    return named
