"""Distillation: weights of completions, and trainings that use them."""

import re
from pathlib import Path

import numpy as np
import pytest

import tagger
from tagger import model_dir, training
from tagger.config import Config
from tagger.data.batching import EncodedCorpus
from tagger.data.partial import GoldEncoder
from tagger.data.sentence import Sentence
from tagger.data.vocab import Vocab
from tagger.data.word_arrays import WordEncoder
from tagger.errors import ConfigError
from tagger.training import Event, StepEnd
from tagger.training.distillation import weigh_tags
from tests.robustness.runs import Broken, results

SENTENCES = [
    Sentence(("Ada", "lives", "in", "New", "York"), tags=("O",) * 5, annotated_types=("AGE",)),
    Sentence(("Alan",), tags=("O",), annotated_types=("AGE",)),
]


def test_weights_are_the_marginals_of_the_model_and_those_of_o_for_new_tags(model_path: Path) -> None:
    model = model_dir.load(model_path)[0]
    tags = Vocab((*reversed(model.tags.items), "S-AGE"))
    weights = list(weigh_tags(model, tags, SENTENCES))
    assert [rows.shape for rows in weights] == [(5, len(tags)), (1, len(tags))]
    for sentence, rows in zip(tagger.load(model_path).tag(SENTENCES, probabilities=True), weights, strict=True):
        for tag, probability, row in zip(sentence.tags, sentence.probabilities, rows, strict=True):
            assert row.argmax() == tags[tag]
            assert np.exp(row[tags[tag]]) >= probability - 1e-4  # of the span, which is at most that of its tags
            assert row[tags["S-AGE"]] == row[tags["O"]]
            assert np.exp(row[:-1]).sum() == pytest.approx(1, abs=0.01)


def test_only_tokens_that_may_have_several_tags_are_weighed() -> None:
    tags = Vocab(("O", "N", "V"))
    known, part = Sentence(("a", "b"), tags=("N", "V")), Sentence(("a", "b"), tags=("N", ""))
    corpus = EncodedCorpus(
        [known, part], WordEncoder(Vocab(("", "", "a")), Vocab(("", "", "a"))), GoldEncoder(tags, None)
    )
    weights = np.log(np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], np.float32))
    corpus.weigh([weights, weights])
    gold = corpus.batch([0, 1]).gold
    assert gold is not None
    assert gold.exp().numpy().round(3).tolist() == pytest.approx(
        np.array([[[0, 1, 0], [0, 0, 1]], [[0, 1, 0], [0.1, 0.1, 0.8]]])
    )
    assert corpus.batch([0]).gold.tolist() == [[1, 2]]  # type: ignore[union-attr]


def config_of(tiny_config: Config, model_path: Path, folder: Path, **settings: object) -> Config:
    """Returns a recipe for data that is annotated for a new type, VERB, alone."""
    text = (model_path.parents[1] / "train.conll").read_text()
    (folder / "verbs.conll").write_text(re.sub(r"[BI]-(PER|LOC)", "O", text).replace("lives O", "lives B-VERB"))
    (folder / "whole.conll").write_text(text.replace("lives O", "lives B-VERB"))
    paths = {"train": str(folder / "verbs.conll"), "dev": str(folder / "verbs.conll"), "annotated_types": ("VERB",)}
    changed = tiny_config.training.model_copy(update={"epochs": 6, "distill": True} | settings)
    data = tiny_config.data.model_copy(update=paths)
    return tiny_config.model_copy(update={"data": data, "training": changed})


def test_a_new_type_is_learned_and_the_others_are_kept(tiny_config: Config, model_path: Path, tmp_path: Path) -> None:
    config = config_of(tiny_config, model_path, tmp_path)
    result = training.train(config, tmp_path / "run", device="cpu", init_from=model_path)
    assert tagger.evaluate(result.tagger, tmp_path / "whole.conll").f1 == 100.0


def test_a_resumed_training_ends_like_an_uninterrupted_one(
    tiny_config: Config, model_path: Path, tmp_path: Path
) -> None:
    config = config_of(tiny_config, model_path, tmp_path, epochs=2)
    training.train(config, tmp_path / "whole", device="cpu", init_from=model_path)

    def callback(event: Event) -> None:
        if isinstance(event, StepEnd) and event.epoch == 1:
            raise Broken

    with pytest.raises(Broken):
        training.train(config, tmp_path / "run", device="cpu", init_from=model_path, callback=callback)
    training.resume(tmp_path / "run", device="cpu")
    assert results(tmp_path / "run") == results(tmp_path / "whole")


def test_distillation_without_a_model_is_refused(tiny_config: Config, model_path: Path, tmp_path: Path) -> None:
    config = config_of(tiny_config, model_path, tmp_path)
    with pytest.raises(ConfigError, match=r"training\.distill learns from the model of `init_from`"):
        training.train(config, tmp_path / "run", device="cpu")
