"""The model cards of a training: what its models were trained on, and their scores."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from tagger import model_card
from tagger.choices import Role
from tagger.config import Config
from tagger.config.schema import Data
from tagger.data.corpus import Corpus
from tagger.errors import StorageError
from tagger.evaluation import Evaluation, bootstrap_interval
from tagger.io import regular_file
from tagger.model import TaggerModel
from tagger.model_card import DataPart, PartScores, TrainingFacts
from tagger.training.corpora import Corpora
from tagger.training.epoch_record import EpochRecord


class CardBuilder:
    """Builds the cards of the models of a training; a card names files without their paths.

    Args:
        config: the recipe, with the paths of the data.
        data: the data.
        digests: the hashes of training and dev data, by role.
    """

    def __init__(self, config: Config, data: Corpora, digests: Mapping[str, str]) -> None:
        self._config, self._corpora, self._digests = config, data, digests

    def build(self, model: TaggerModel, epoch: int, scores: Sequence[PartScores]) -> bytes:
        """Returns the card of the model of an epoch."""
        seed = self._config.training.seed
        return model_card.build(model, TrainingFacts(self._parts, self._vectors, seed, epoch, scores))

    @cached_property
    def _parts(self) -> list[DataPart]:
        corpora: dict[Role, Corpus | None] = {
            "train": self._corpora.train,
            "dev": self._corpora.dev,
            "test": self._corpora.test,
        }
        return [
            DataPart(
                role,
                _name(self._config.data, role),
                self._digests.get(role) or corpus.digest(),
                len(corpus.sentences),
                corpus.tokens,
            )
            for role, corpus in corpora.items()
            if corpus is not None
        ]

    @cached_property
    def _vectors(self) -> dict[str, str]:
        return {Path(path).name: _hash_file(path) for path in self._config.model.words.vectors}


def dev_scores(record: EpochRecord) -> PartScores:
    """Returns the scores of an epoch on the dev data."""
    scores = record.dev
    return PartScores("dev", _measures(scores.precision, scores.recall, scores.f1, scores.accuracy))


def part_scores(role: str, evaluation: Evaluation) -> PartScores:
    """Returns the scores of a finished training on the dev or test data."""
    report = evaluation.report
    types = {
        name: (score.precision, score.recall, score.f1, score.gold)
        for name, score in (report.types or report.tags).items()
    }
    measures = _measures(report.precision, report.recall, report.f1, report.accuracy)
    return PartScores(role, measures, bootstrap_interval(evaluation.counts), types)


def _measures(precision: float, recall: float, f1: float, accuracy: float) -> dict[str, float]:
    return {"precision": precision, "recall": recall, "f1": f1, "accuracy": accuracy}


def _name(data: Data, role: Role) -> str:
    """Returns the name of a part of the data, without a path."""
    if data.implied_format == "datasets":
        split = getattr(data.splits, role)
        dataset = Path(data.dataset or "")
        name = dataset.name if dataset.is_absolute() or dataset.exists() else str(dataset)
        return f"{name}, {'split ' + split if split else 'part of split ' + str(data.splits.train)}"
    path = getattr(data, role)
    return Path(path).name if path else f"part of {Path(data.train or '').name}"


def _hash_file(path: str) -> str:
    """Returns the SHA-256 of a file of word vectors, or of the archive in ARCHIVE:MEMBER; "" if it cannot be read."""
    file = Path(path)
    if not file.exists() and ":" in path:
        file = Path(path.rpartition(":")[0])
    try:
        return regular_file.compute_sha256([file])
    except StorageError:
        return ""
