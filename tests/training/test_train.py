"""The files of a training, the input that it refuses, and how it resumes."""

import json
import logging
import random
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import tagger
from tagger import model_dir, training
from tagger.config import Config, dump, load, parse
from tagger.data import word_arrays, word_encoding
from tagger.data.vocab import Vocab
from tagger.errors import ConfigError, ModelError, StorageError, TaggerError
from tagger.evaluation import Report
from tagger.io import atomic
from tagger.io.manifest import serialize
from tagger.tagging import cached_scorer
from tagger.training import EpochEnd, Event, Start, StepEnd, TrainingResult, optimizers, records, run_dir
from tagger.training.dev_scorer import DevScorer
from tests.robustness.runs import timeless, tree

Train = Callable[..., TrainingResult]
STILL = "training.optimizer.learning_rates={words: 0, characters: 0, encoder: 0, head: 0}"
"""A setting that leaves the initial weights unchanged."""


@pytest.fixture(autouse=True)
def _no_plot(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "plot" not in request.node.name:
        monkeypatch.setattr(records, "plot", lambda *_: None)  # drawing takes longer than the training


@pytest.fixture
def train(tiny_config: Config, tmp_path: Path) -> Train:
    """Trains the tiny recipe with overrides for an epoch in the folder `run`."""

    def trained(*overrides: str, run: str = "run", **options: object) -> TrainingResult:
        settings = parse(dump(tiny_config), "tiny.yaml", overrides=["training.epochs=1", *overrides])
        return training.train(settings, tmp_path / run, device="cpu", **options)  # type: ignore[arg-type]

    return trained


def lines(run: Path) -> list[dict[str, object]]:
    """Returns the lines of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(model: Path) -> dict[str, torch.Tensor]:
    """Returns the tensors of a model, by name."""
    return model_dir.load(model)[0].network.state_dict()


def test_each_epoch_is_recorded(train: Train, tmp_path: Path) -> None:
    result = train(
        "training.epochs=2", f"data.test={tmp_path / 'train.conll'}", "training.optimizer.learning_rates={words: 0}"
    )
    first, second, last = lines(tmp_path / "run")
    keys = (
        "epoch steps loss gradient_norm clipped_fraction skipped learning_rate dev best seconds dev_seconds diagnostics"
    )
    assert list(first) == list(second) == keys.split()
    assert (first["epoch"], first["steps"], first["best"], first["learning_rate"]) == (1, 9, True, 0.01)
    assert (second["epoch"], second["steps"], second["skipped"]) == (2, 18, 0)
    assert list(last) == ["test", "epoch"]
    assert result.test is not None
    assert last["test"]["score"] == result.test.score  # type: ignore[index]
    assert result.dev.score == max(first["dev"]["score"], second["dev"]["score"])  # type: ignore[index]


def test_lazy_updates_of_word_vectors_end_like_full_updates(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("training.epochs=3", "training.optimizer.kind=sgd", "training.optimizer.learning_rate=0.05")
    by_rows = train(*options, "training.ema_decay=0.9", run="rows").model_dir
    monkeypatch.setattr(optimizers, "create_lazy_rows", lambda *_: None)
    of_all = train(*options, "training.ema_decay=0.9", run="all").model_dir
    for name, weight in weights(by_rows).items():
        torch.testing.assert_close(weight, weights(of_all)[name], atol=1e-4, rtol=1e-3, msg=name)


def test_the_counts_of_each_sentence_are_stored(train: Train, tmp_path: Path) -> None:
    result = train("training.epochs=4", f"data.test={tmp_path / 'train.conll'}")
    counts = records.read_counts(tmp_path / "run")
    assert list(counts) == ["dev", "test"]
    assert result.test is not None
    for part, score in (("dev", result.dev.score), ("test", result.test.score)):
        correct, predicted, gold = map(sum, zip(*counts[part].rows, strict=True))
        assert score == pytest.approx(200 * correct / (predicted + gold))
        assert len(counts[part].rows) == 36
    assert list(records.read_counts(train(run="without_test").model_dir.parent)) == ["dev"]


def test_resuming_a_finished_run_without_counts_writes_them(train: Train, tmp_path: Path) -> None:
    train()
    path = tmp_path / "run" / "counts.json"
    before = path.read_bytes()
    path.unlink()
    training.resume(tmp_path / "run", device="cpu")
    assert path.read_bytes() == before


@pytest.mark.parametrize("heads", [0, 4], ids=["cached", "torch"])
def test_dev_words_are_encoded_once_per_training(train: Train, monkeypatch: pytest.MonkeyPatch, heads: int) -> None:
    def count_calls(epochs: int) -> int:
        calls = []
        original = word_encoding.encode_words

        def encode(words: Collection[str], *vocabs: Vocab) -> word_encoding.EncodedWords:
            calls.append(words)
            return original(words, *vocabs)

        with monkeypatch.context() as patch:
            patch.setattr(cached_scorer, "encode_words", encode)
            patch.setattr(word_arrays, "encode_words", encode)
            train(f"model.encoder.attention_heads={heads}", f"training.epochs={epochs}", run=f"run{epochs}")
        return len(calls)

    assert count_calls(1) == count_calls(3)


def moved(tmp_path: Path, text: str | None = None) -> Config:
    """Moves the data of a run, or replaces it by a text; returns the run's config with the new paths."""
    source = tmp_path / "train.conll"
    target = tmp_path / "moved.conll"
    target.write_text(text or source.read_text())
    source.unlink()
    overrides = [f"data.train={target}", f"data.dev={target}"]
    return load(str(tmp_path / "run" / "config.yaml"), overrides)


def test_a_run_resumes_with_data_at_another_path(train: Train, tmp_path: Path) -> None:
    expected = weights(train("training.epochs=2").model_dir)
    settings = moved(tmp_path)
    with pytest.raises(TaggerError, match=r"train\.conll: no such file"):
        training.resume(tmp_path / "run", device="cpu")
    again = training.resume(tmp_path / "run", device="cpu", config=settings)
    torch.testing.assert_close(weights(again.model_dir), expected, atol=0, rtol=0)
    training.resume(tmp_path / "run", device="cpu")  # it has noted where they are now


def test_a_run_does_not_resume_with_other_data(train: Train, tmp_path: Path) -> None:
    train()
    settings = moved(tmp_path, "Ada B-PER\n\nAlan B-PER\n")
    before = tree(tmp_path / "run")
    with pytest.raises(ModelError, match="the train data has changed since the training began"):
        training.resume(tmp_path / "run", device="cpu", config=settings)
    after = tree(tmp_path / "run")
    assert {name for name in after if after[name] != before.get(name)} <= {"train.log"}


def test_a_finished_run_resumed_for_more_epochs_equals_one_longer_run(train: Train, tmp_path: Path) -> None:
    at_once = train("training.epochs=4", run="at_once")
    train("training.epochs=2")
    settings = load(str(tmp_path / "run" / "config.yaml"), ["training.epochs=4"])

    def look(event: Event) -> None:
        assert isinstance(event, Start) or not (tmp_path / "run" / "counts.json").exists()

    longer = training.resume(tmp_path / "run", device="cpu", config=settings, callback=look)
    assert timeless(lines(tmp_path / "run")) == timeless(lines(tmp_path / "at_once"))
    torch.testing.assert_close(weights(longer.model_dir), weights(at_once.model_dir), atol=0, rtol=0)
    assert model_dir.load(longer.model_dir)[0].config == model_dir.load(at_once.model_dir)[0].config


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("training.optimizer.learning_rate=0.5", "training.optimizer.learning_rate was 0.01, now 0.5"),
        ("training.seed=9", "training.seed was 1, now 9"),
        ("model.encoder.hidden_size=4", "model.encoder.hidden_size was 16, now 4"),
        ("model.words.embedding_dim=4", "model.words.embedding_dim was 16, now 4"),
        ("data.scheme=IOB2", "data.scheme was 'IOBES', now 'IOB2'"),
    ],
)
def test_any_other_edited_setting_is_refused_by_name(train: Train, tmp_path: Path, setting: str, fault: str) -> None:
    train()
    run = tmp_path / "run"
    edited = load(str(run / "config.yaml"), [setting])
    for settings in (edited, None):
        with pytest.raises(ConfigError, match=f"{fault}; a resumed training may change training.epochs and"):
            training.resume(run, device="cpu", config=settings)
        (run / "config.yaml").write_text(dump(edited))  # by hand


def test_a_directory_that_is_no_run_is_unchanged(train: Train, tmp_path: Path) -> None:
    names = ["config.yaml", "metrics.jsonl", "counts.json", "LATEST", "train.log", "checkpoint-000001", "seed-3"]
    for name in names:
        run = tmp_path / name
        run.mkdir()
        (run / name).write_text("mine")
        with pytest.raises(StorageError, match=f"holds {name} and was not made by a training"):
            train(run=name)
        assert tree(run) == {name: b"mine"}
    with pytest.raises(StorageError, match=r"found no \.tagger-run, so that it was not created by a training"):
        training.resume(tmp_path / "config.yaml", device="cpu")


def test_files_of_the_user_in_a_run_are_unchanged(train: Train, tmp_path: Path) -> None:
    mine = ["notes.txt", ".notes.old/a", ".notes.new", ".a.abc.new", "checkpoint-mine/a", "seed-x/a", "model-best.old"]
    for name in mine:
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("mine")
    train("training.epochs=4", "training.keep_checkpoints=2")
    training.resume(tmp_path / "run", device="cpu")
    files = tree(tmp_path / "run")
    assert all(files[name] == b"mine" for name in mine)


def test_a_log_that_is_a_link_is_not_followed(train: Train, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    with run_dir.lock_run_dir(tmp_path / "run"):
        (tmp_path / "run" / "train.log").symlink_to(tmp_path / "secret")
    with pytest.raises(StorageError, match="cannot be written: Too many levels of symbolic links"):
        train()
    assert (tmp_path / "secret").read_text() == "mine"


def test_the_callback_is_called_for_every_step_and_epoch(train: Train, tmp_path: Path) -> None:
    heard: list[Event] = []
    train("training.epochs=2", callback=heard.append)
    assert heard[0] == Start(0, 2, 0)
    steps = [(event.epoch, event.step, event.steps) for event in heard if isinstance(event, StepEnd)]
    assert steps == [(epoch, step, 9) for epoch in (0, 1) for step in range(1, 10)]
    assert [event.record.to_json() for event in heard if isinstance(event, EpochEnd)] == lines(tmp_path / "run")


def test_the_log_describes_the_data_and_each_epoch(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tagger"):  # as the command line does
        train()
    log = (tmp_path / "run" / "train.log").read_text()
    assert "36 sentences, 186 tokens, 3 documents; spans in IOB2, trained in IOBES" in log
    assert "epoch 1 of 1: loss " in log


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs the extra [plot]")
@pytest.mark.usefixtures("real_plots")
def test_a_plot_is_drawn(train: Train, tmp_path: Path) -> None:
    train()
    picture = (tmp_path / "run" / "training.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 1000


def test_training_ends_when_patience_is_exhausted(train: Train, tmp_path: Path) -> None:
    slow = "training.optimizer.learning_rate=1e-9"  # nothing is learned, so that no epoch is better than the first
    result = train("training.epochs=20", "training.patience=2", slow)
    assert [record["best"] for record in lines(tmp_path / "run")] == [True, False, False]
    assert result.best.epoch == 1


def test_without_dev_data_a_part_is_split_off_and_logged(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tagger"):
        train("data.dev=null")
    assert "no dev data: 12 training sentences are split off as dev data" in caplog.text
    assert "dev" in lines(tmp_path / "run")[0]


@pytest.mark.parametrize("part", ["words", "characters", "encoder", "head"])
def test_a_part_with_learning_rate_0_does_not_change(train: Train, part: str) -> None:
    trained = weights(train(f"training.optimizer.learning_rates={{{part}: 0}}", "training.epochs=1").model_dir)
    initial = weights(train(STILL, run="fresh").model_dir)
    for name, value in trained.items():
        still = part == optimizers.part_of(name) or not value.numel()
        assert torch.equal(value, initial[name]) == still, name


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """A vector table with one word of the corpus and one other word."""
    path = tmp_path / "vectors.txt"
    path.write_text("oslo 0.5 0.25\nreykjavik 1 2\n")
    return path


@pytest.mark.parametrize("trainable", ["false", "true"])
def test_only_trainable_vectors_change(train: Train, vectors: Path, trainable: str) -> None:
    model, _ = model_dir.load(train(f"model.words={{vectors: [{vectors}], trainable: {trainable}}}").model_dir)
    words = model.network.embedding.words
    known = model.known_words
    index = known.lookup("Oslo")
    vectors = words(torch.tensor([index, known.lookup("reykjavik")])).detach()
    assert vectors[1].tolist() == [1.0, 2.0]
    assert (vectors[0].tolist() == [0.5, 0.25]) == (trainable == "false")


@pytest.mark.parametrize(
    ("override", "error"),
    [("data.train=no-such-file", TaggerError), ("data.train=null", ConfigError), ("data.tag=9", TaggerError)],
)
def test_invalid_input_leaves_no_directory(
    train: Train, tmp_path: Path, override: str, error: type[TaggerError]
) -> None:
    with pytest.raises(error):
        train(override)
    assert not (tmp_path / "run").exists()


def test_a_directory_that_holds_a_training_is_refused(train: Train, tmp_path: Path) -> None:
    train()
    before = lines(tmp_path / "run")
    with pytest.raises(StorageError, match="already holds a training; pass `resume=True` or choose another `out`"):
        train()
    assert lines(tmp_path / "run") == before


def test_a_run_does_not_resume_with_fewer_epochs_than_it_has_started(train: Train, tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, StepEnd) and event.epoch == 1 and event.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("training.epochs=3", "training.checkpoint_steps=1", callback=interrupt)
    shorter = load(str(tmp_path / "run" / "config.yaml"), ["training.epochs=1"])
    with pytest.raises(ConfigError, match=r"epoch 2 has started; training\.epochs must be at least 2, got 1"):
        training.resume(tmp_path / "run", device="cpu", config=shorter)


def test_a_run_whose_data_has_changed_is_refused(train: Train, tmp_path: Path) -> None:
    train()
    with (tmp_path / "train.conll").open("a") as stream:
        stream.write("\nmore O\n")
    with pytest.raises(ModelError, match="the train data has changed since the training began"):
        training.resume(tmp_path / "run", device="cpu")


def test_an_invalid_state_is_refused(train: Train, tmp_path: Path) -> None:
    train()
    newest = model_dir.find_newest_checkpoint(tmp_path / "run")
    model, metrics = model_dir.load(newest)
    for progress in ({}, {"data": {}}, [], {**model_dir.load_state(newest).progress, "more": 1}):
        model_dir.save(model, newest, metrics, model_dir.State(progress, {}))  # type: ignore[arg-type]
        with pytest.raises(ModelError, match=r"(the state of the training|state\.json) is refused"):
            training.resume(tmp_path / "run", device="cpu")


def test_resuming_a_finished_run_changes_nothing(train: Train, tmp_path: Path) -> None:
    result = train()
    before = lines(tmp_path / "run")
    assert training.resume(tmp_path / "run", device="cpu") == result
    assert lines(tmp_path / "run") == before


def test_a_directory_without_a_run_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"found no config\.yaml; expected the directory of a training run"):
        training.resume(tmp_path, device="cpu")


def test_training_does_not_change_the_random_state_of_torch(train: Train) -> None:
    before = torch.get_rng_state()
    train()
    assert torch.equal(before, torch.get_rng_state())


def test_a_log_that_cannot_be_written_hides_no_other_fault(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(atomic, "open_log", lambda _: Path("/dev/full").open("wb"))  # noqa: SIM115
    assert train().best.epoch == 1
    assert "Logging error" not in capsys.readouterr().err


def test_dev_tags_that_the_training_data_lacks_are_logged_and_scored_as_wrong(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "dev.conll").write_text("Ada B-PER\nlives O\n\nMars B-PLANET\n")
    with caplog.at_level(logging.INFO, logger="tagger"):
        result = train("training.epochs=6", f"data.dev={tmp_path / 'dev.conll'}")
    assert "dev.conll has types that the training data lacks: PLANET (1)" in caplog.text
    assert result.dev.score < 100


def test_the_log_file_does_not_depend_on_the_log_level_of_the_caller(train: Train, tmp_path: Path) -> None:
    before = logging.getLogger("tagger").level
    logging.getLogger("tagger").setLevel(logging.CRITICAL)
    try:
        train()
    finally:
        logging.getLogger("tagger").setLevel(before)
    text = (tmp_path / "run" / "train.log").read_text()
    assert "36 sentences, 186 tokens, 3 documents; spans in IOB2" in text
    assert "epoch 1 of 1" in text


def test_metrics_with_too_many_lines_are_refused_before_parsing(train: Train, tmp_path: Path) -> None:
    train()
    for line in ("\n", "{}\n", "\r"):
        (tmp_path / "run" / "metrics.jsonl").write_text(line * 20_000)
        with pytest.raises(ModelError, match="has over 10001 lines"):
            records.read_metrics(tmp_path / "run")


def test_a_state_far_larger_than_the_model_is_not_hashed(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train("training.epochs=2")
    run = tmp_path / "run"
    newest = model_dir.find_newest_checkpoint(run)
    with (newest / "state.safetensors").open("r+b") as stream:
        stream.truncate(1 << 32)  # sparse
    path = newest / model_dir.MANIFEST
    manifest = json.loads(path.read_bytes())
    manifest["files"]["state.safetensors"]["size"] = 1 << 32
    del manifest["sha256"]
    path.write_bytes(serialize(manifest))
    started = time.thread_time()
    assert model_dir.find_newest_checkpoint(run) != newest
    assert time.thread_time() - started < 5
    assert "state.safetensors is refused: it has 4294967296 bytes" in caplog.text


ONLY_O = "It O\nran O\n. O\n\n"


def test_the_last_epoch_is_kept_and_patience_waits_if_dev_has_no_spans(train: Train, tmp_path: Path) -> None:
    (tmp_path / "outside.conll").write_text(ONLY_O)
    result = train(f"data.dev={tmp_path / 'outside.conll'}", "training.epochs=4", "training.patience=1")
    assert [record.best for record in result.history] == [True] * 4
    assert result.best.epoch == 4
    same = weights(result.model_dir)
    assert all(
        torch.equal(weight, same[name]) for name, weight in weights(tmp_path / "run" / "checkpoint-000036").items()
    )


def test_epochs_that_score_zero_do_not_use_up_patience(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.0, 0.0, 0.0, 50.0, 40.0, 45.0, 60.0])
    score = DevScorer.score

    def scored(self: DevScorer) -> Report:
        report = score(self)
        assert report is not None
        return replace(report, f1=next(scores))

    monkeypatch.setattr(DevScorer, "score", scored)
    result = train("training.epochs=7", "training.patience=2")
    assert [record.dev.score for record in result.history] == [0, 0, 0, 50, 40, 45]
    assert [record.best for record in result.history] == [True, True, True, True, False, False]


def test_the_best_epoch_is_selected_by_the_score_of_the_recipe(train: Train) -> None:
    for selection, name in (("macro_f1", "macro F1"), ("accuracy", "accuracy")):
        result = train(f"training.selection={selection}", run=selection)
        assert result.dev.score == getattr(result.dev, selection)
        assert f"dev {name} {result.dev.score:.2f}" in (result.run_dir / "train.log").read_text()
        assert f"dev {name}, %" in records.panels(result.history)


@pytest.mark.parametrize("head", ["crf", "softmax"])
def test_a_model_learns_from_tokens_of_which_many_have_no_tag(train: Train, tmp_path: Path, head: str) -> None:
    draw = random.Random(1)
    for part in ("train", "dev"):
        lines = (tmp_path / "train.conll").read_text().splitlines()
        hidden = [line if draw.random() < 0.7 or not line else f"{line.split()[0]} ?" for line in lines]
        (tmp_path / f"{part}.part").write_text("\n".join(hidden) + "\n")
    data = [f"data.{part}={tmp_path / part}.part" for part in ("train", "dev")]
    result = train("training.epochs=12", f"model.head.kind={head}", "data.unknown_tag='?'", *data, run="part")
    assert result.tagger.model.tags.items == train(run="whole").tagger.model.tags.items
    assert result.dev.score == 100.0
    whole = tagger.evaluate(result.tagger, tmp_path / "train.conll")
    assert whole.f1 == 100.0
