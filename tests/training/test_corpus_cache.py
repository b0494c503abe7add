"""Training from a cache of the training data gives the weights of training in memory, bit for bit."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tagger
from tagger import training
from tagger.config import Config
from tagger.errors import ConfigError, ModelError, StorageError
from tagger.io import directories
from tagger.training import corpora
from tests.conftest import tiny_corpus
from tests.robustness.runs import Broken, break_at, changed, results
from tests.robustness.test_crash_while_saving import small_disk

CONTEXT = "model.document_context.output_dim=6"
CASES = {
    "document context": ((CONTEXT, "training.max_batch_tokens=20"), {}),
    "random batches": (("training.bucket_size=1", "data.scheme=IOB2"), {}),
    "unknown tags": (("data.unknown_tag='?'", CONTEXT), {"lives O": "lives ?", "York I-LOC": "York ?"}),
    "annotated types": (("data.annotated_types=[LOC]",), {}),
    "sentence weights": (("training.sentence_weights=WEIGHTS",), {}),
    "plain tags": ((), {"B-": "", "I-": ""}),
}


def cached(config: Config, tmp_path: Path) -> Config:
    """Returns a config that trains from a cache."""
    return changed(config, f"training.corpus_cache={tmp_path / 'cache'}")


@contextmanager
def no_encoding(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Checks that no corpus is encoded within the block."""
    caplog.set_level(logging.INFO)
    caplog.clear()
    yield
    assert "is read from" in caplog.text
    assert "is encoded into" not in caplog.text


@pytest.fixture(params=CASES)
def config(request: pytest.FixtureRequest, tiny_config: Config, corpus_file: Path, tmp_path: Path) -> Config:
    """A recipe of one epoch."""
    overrides, replacements = CASES[request.param]
    content = tiny_corpus()
    for old, new in replacements.items():
        content = content.replace(old, new)
    corpus_file.write_text(content)
    weights = tmp_path / "weights.jsonl"
    weights.write_text("".join(f"{json.dumps(number / 9)}\n" for number in range(36)))
    overrides = tuple(override.replace("WEIGHTS", str(weights)) for override in overrides)
    return changed(tiny_config, "training.epochs=1", "training.checkpoint_steps=2", *overrides)


def test_weights_are_those_of_training_in_memory(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = results(training.train(config, tmp_path / "memory", device="cpu").run_dir)
    first = training.train(cached(config, tmp_path), tmp_path / "first", device="cpu")
    with no_encoding(caplog):
        second = training.train(cached(config, tmp_path), tmp_path / "second", device="cpu")
    assert results(first.run_dir) == results(second.run_dir) == expected


@pytest.mark.parametrize("config", ["document context", "unknown tags"], indirect=True)
def test_a_training_resumes_exactly_with_the_cache_without_it_and_after_its_loss(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = changed(config, "training.epochs=2")
    expected = results(training.train(config, tmp_path / "memory", device="cpu").run_dir)
    stored = cached(config, tmp_path)
    for number, (started, resumed) in enumerate([(stored, None), (stored, config), (config, stored)]):
        run = tmp_path / str(number)
        with pytest.raises(Broken):
            training.train(started, run, device="cpu", callback=break_at(5))
        if resumed is None:
            with no_encoding(caplog):
                training.resume(run, device="cpu")
        else:
            training.resume(run, device="cpu", config=resumed)
        assert results(run) == expected
    moved = changed(config, f"training.corpus_cache={tmp_path / 'other'}", "training.epochs=3")
    training.resume(run, device="cpu", config=moved)


def test_data_that_changed_since_the_training_began_are_refused(
    tiny_config: Config, corpus_file: Path, tmp_path: Path
) -> None:
    config = cached(tiny_config, tmp_path)
    with pytest.raises(Broken):
        training.train(config, tmp_path / "run", device="cpu", callback=break_at(2))
    corpus_file.write_text(tiny_corpus().replace("Oslo", "Olso"))
    with pytest.raises(ModelError, match="the train data has changed since the training began"):
        training.resume(tmp_path / "run", device="cpu")


def test_a_full_disk_is_one_line_and_nothing_is_left_to_trust(tiny_config: Config, tmp_path: Path) -> None:
    config = cached(changed(tiny_config, CONTEXT, "training.epochs=1"), tmp_path)
    for size in (100, 500, 700):
        with small_disk(size), pytest.raises(StorageError, match=r"cache: cannot be written: .+") as raised:
            training.train(config, tmp_path / f"run-{size}", device="cpu")
        assert len(raised.value.faults) == 1
        assert not list((tmp_path / "cache").glob(".*.new"))
    result = training.train(config, tmp_path / "run", device="cpu")
    memory = training.train(changed(config, "training.corpus_cache=null"), tmp_path / "memory", device="cpu")
    assert results(result.run_dir) == results(memory.run_dir)


def test_the_cache_in_the_directory_of_the_training_is_refused(tiny_config: Config, tmp_path: Path) -> None:
    config = changed(tiny_config, f"training.corpus_cache={tmp_path / 'run'}", "training.epochs=1")
    with pytest.raises(ConfigError, match=r"training\.corpus_cache is the directory of the training"):
        training.train(config, tmp_path / "run" / ".." / "run", device="cpu")
    with directories.claim(tmp_path / "run", lambda _: False), pytest.raises(StorageError, match="of a training"):
        training.train(config, tmp_path / "other", device="cpu")


def test_the_cache_is_no_part_of_the_model(tiny_config: Config, tmp_path: Path) -> None:
    config = cached(changed(tiny_config, "training.epochs=1"), tmp_path)
    result = training.train(config, tmp_path / "run", device="cpu")
    assert "corpus_cache: null" in (result.model_dir / "config.yaml").read_text()
    assert str(tmp_path / "cache") in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.parametrize("setting", ["model.transformer.name=bert", "training.distill=true"])
def test_what_needs_all_sentences_in_memory_is_refused_in_the_recipe(setting: str, tiny_config: Config) -> None:
    name = setting.split("=")[0].removesuffix(".name")
    with pytest.raises(ConfigError, match=rf"training\.corpus_cache cannot be used with {name}, which needs all"):
        changed(tiny_config, "training.corpus_cache=cache", setting)


def test_an_audit_and_dev_data_that_are_split_off_are_refused(tiny_config: Config, tmp_path: Path) -> None:
    config = cached(tiny_config, tmp_path)
    with pytest.raises(ConfigError, match=r"training\.corpus_cache cannot be used with an audit"):
        tagger.audit(config, out=tmp_path / "audit")
    with pytest.raises(ConfigError, match=r"training\.corpus_cache cannot be used with dev data that is split off"):
        corpora.load(changed(config, "data.dev=null"))
    assert not (tmp_path / "cache").exists()


def test_a_cache_is_advised_for_a_large_file(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    advice = "training.corpus_cache=DIR keeps it on disk"
    corpora.load(tiny_config)
    assert advice not in caplog.text
    monkeypatch.setattr(corpora, "_LARGE_BYTES", 1)
    corpora.load(cached(tiny_config, tmp_path))
    assert advice not in caplog.text
    corpora.load(tiny_config)
    assert advice in caplog.text
