"""Trainings with a transformer: frozen, trainable, resumed, started from a model; and tagging with what they wrote."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from typer.testing import CliRunner

import tagger
from tagger import model_dir, training
from tagger.cli import app
from tagger.config import Config, dump, load, parse
from tagger.data.formats import Layout
from tagger.data.reader import read_sentences
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError, ModelError
from tagger.experiments import seeds
from tagger.tagging import Tagger
from tagger.tagging.cached_scorer import CachedScorer
from tagger.tagging.decoding import DecodingOptions
from tagger.tagging.scorer import TorchScorer
from tagger.tagging.transformer_runner import TransformerRunner
from tagger.training.events import EpochEnd, Event, StepEnd
from tagger.training.transformer_providers import open_hidden_state_cache
from tagger.transformer import library
from tests.conftest import tiny_corpus
from tests.robustness.test_hostile_tensors import put
from tests.transformer.tiny import write_transformer

RECIPE = """
data: {{columns: [token, ner], token: token, tag: ner, train: {folder}/train.conll, dev: {folder}/train.conll}}
model:
  words: {{embedding_dim: 8, dropout: 0}}
  characters: {{kind: none}}
  transformer: {{name: {folder}/bert, context: 6, output_dim: 12}}
  encoder: {{hidden_size: 8}}
  dropout: {{input: 0.1, output: 0.1}}
training:
  epochs: 2
  batch_size: 8
  optimizer: {{kind: adamw, learning_rate: 0.01}}
"""
TRAINABLE = (
    "model.transformer.trainable=true",
    "model.transformer.layers=last",
    "model.transformer.mix=mean",
    "model.transformer.context_dropout=0.3",
    "training.optimizer.learning_rates={transformer: 0.001}",
)


OVERRIDES = {
    "frozen_run": (),
    "trained_run": TRAINABLE,
    "late_run": (*TRAINABLE, "training.fine_tuning.frozen_epochs=1"),
}
"""The overrides of the fixtures of finished runs."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus and a random transformer."""
    folder = tmp_path_factory.mktemp("transformer")
    (folder / "train.conll").write_text(tiny_corpus())
    write_transformer(folder / "bert")
    write_transformer(folder / "other", seed=1)
    return folder


def recipe(folder: Path, *overrides: str) -> Config:
    has_none = any(part in " ".join(overrides) for part in ("trainable=true", "name: null"))
    cache = () if has_none else (f"training.feature_cache={folder}/cache",)
    return parse(RECIPE.format(folder=folder), "recipe.yaml", overrides=(*cache, *overrides))


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return dict(model_dir.load(directory)[0].network.state_dict())


def sentences(folder: Path) -> list[Sentence]:
    return list(read_sentences(folder / "train.conll", input_format="columns", layout=Layout(), tagged=True))


@pytest.fixture(scope="module")
def frozen_run(folder: Path) -> Path:
    """A finished run with a frozen transformer."""
    return training.train(recipe(folder), folder / "frozen", device="cpu").run_dir


@pytest.fixture(scope="module")
def trained_run(folder: Path) -> Path:
    """A finished run with a trainable transformer."""
    return training.train(recipe(folder, *TRAINABLE), folder / "trained", device="cpu").run_dir


@pytest.fixture(scope="module")
def late_run(folder: Path) -> Path:
    """A finished run with a transformer that is trained from the second epoch on."""
    return training.train(recipe(folder, *OVERRIDES["late_run"]), folder / "late", device="cpu").run_dir


def test_a_frozen_transformer_stays_as_it_is_and_the_model_includes_it(folder: Path, frozen_run: Path) -> None:
    original = library.load(str(folder / "bert")).encoder.state_dict()
    included = model_dir.load(frozen_run / "model-best")[0].transformer
    assert included is not None
    for name, weight in included.encoder.state_dict().items():
        assert torch.equal(weight, original[name]), name
    assert "bert" in (frozen_run / "model-best" / "transformer.json").read_text()
    assert str(folder) not in "".join(path.read_text("latin-1") for path in (frozen_run / "model-best").iterdir())


def test_a_model_tags_without_the_directory_of_its_transformer(folder: Path, frozen_run: Path, tmp_path: Path) -> None:
    model_dir.copy(frozen_run / "model-best", tmp_path / "model")
    tagger = Tagger(model_dir.load(tmp_path / "model")[0], torch.device("cpu"))
    again = Tagger(model_dir.load(frozen_run / "model-best")[0], torch.device("cpu"))
    corpus = sentences(folder)
    assert [each.tags for each in tagger.tag(corpus)] == [each.tags for each in again.tag(corpus)]


@pytest.mark.parametrize("run", ["frozen_run", "trained_run"])
def test_tags_and_probabilities_do_not_depend_on_batches_and_threads(
    folder: Path, run: str, request: pytest.FixtureRequest
) -> None:
    model = model_dir.load(request.getfixturevalue(run) / "model-best")[0]
    corpus = sentences(folder)
    reference = Tagger(model, torch.device("cpu"), workers=1).tag(corpus, probabilities=True)
    for options in ({"batch_tokens": 1}, {"batch_tokens": 20, "workers": 3}):
        tagged = Tagger(model, torch.device("cpu"), **options).tag(corpus, probabilities=True)
        assert [each.tags for each in tagged] == [each.tags for each in reference]
        for one, other in zip(tagged, reference, strict=True):
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_the_network_gives_the_scores_that_the_cached_kernels_give(folder: Path, frozen_run: Path) -> None:
    model, device = model_dir.load(frozen_run / "model-best")[0], torch.device("cpu")
    tokens = [each.tokens for each in sentences(folder)]
    passages = [number // 12 for number in range(len(tokens))]
    order = sorted(range(len(tokens)), key=lambda position: -len(tokens[position]))
    runners = [TransformerRunner(model, device, None, threads=1) for _ in range(2)]
    kernels, network = CachedScorer(model, transformer=runners[0]), TorchScorer(model, device, runners[1])
    ours, lengths = kernels.prepare(tokens, passages).score(order)
    theirs, _ = network.prepare(tokens, passages).score(order)
    is_token = torch.arange(ours.shape[1]) < lengths[:, None]
    assert torch.allclose(ours[is_token], theirs[is_token], atol=1e-4)
    assert float(theirs[is_token].std()) > 0.1


def test_the_other_sentences_of_a_document_change_the_scores_and_other_documents_do_not(
    folder: Path, frozen_run: Path
) -> None:
    tagger = Tagger(model_dir.load(frozen_run / "model-best")[0], torch.device("cpu"))
    assert tagger.uses_document_context
    first, second = (Sentence(("Ada", "lives", "in", "Oslo")), Sentence(("Grace", "lives", "in", "New", "York")))

    def probabilities(*documents: int) -> tuple[float, ...]:
        corpus = [replace(each, document=number) for each, number in zip((first, second), documents, strict=False)]
        return tagger.tag(corpus, probabilities=True)[0].probabilities

    assert probabilities(0, 1) == pytest.approx(probabilities(0), abs=1e-6)
    assert probabilities(0, 0) != pytest.approx(probabilities(0), abs=1e-6)


def test_a_trainable_transformer_is_trained_and_stored_with_the_network(folder: Path, trained_run: Path) -> None:
    original = library.load(str(folder / "bert")).encoder.state_dict()
    trained = weights(trained_run / "model-best")
    prefix = "embedding.transformer.reader.encoder."
    assert {name.removeprefix(prefix) for name in trained if name.startswith(prefix)} >= set(original)
    changed = [name for name in original if not torch.equal(original[name], trained[prefix + name])]
    assert len(changed) > len(original) / 2
    assert not (trained_run / "model-best" / "transformer.safetensors").exists()


class _StopAfter:
    """Stops a training after a number of steps, as a signal does."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepEnd):
            self.steps -= 1
            if not self.steps:
                raise KeyboardInterrupt


@pytest.mark.parametrize(("run", "steps"), [("frozen_run", 7), ("trained_run", 3), ("late_run", 3), ("late_run", 7)])
def test_a_resumed_training_ends_with_the_same_weights(
    folder: Path, tmp_path: Path, run: str, steps: int, request: pytest.FixtureRequest
) -> None:
    whole = request.getfixturevalue(run)
    config = recipe(folder, *OVERRIDES[run], "training.checkpoint_steps=1")
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path / "part", device="cpu", callback=_StopAfter(steps))
    training.resume(tmp_path / "part", device="cpu")
    ours, theirs = weights(tmp_path / "part" / "model-best"), weights(whole / "model-best")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_finished_training_resumes_without_its_transformer(folder: Path, tmp_path: Path) -> None:
    transformer = write_transformer(tmp_path / "removed")
    config = recipe(folder, f"model.transformer.name={transformer}", "training.epochs=1")
    result = training.train(config, tmp_path / "run", device="cpu")
    shutil.rmtree(transformer)
    assert training.resume(tmp_path / "run", device="cpu") == result
    longer = parse(dump(config), "recipe.yaml", overrides=["training.epochs=2"])
    with pytest.raises(ConfigError, match="removed: no such directory"):
        training.resume(tmp_path / "run", device="cpu", config=longer)


@pytest.mark.parametrize("overrides", [(), TRAINABLE])
def test_layers_above_those_that_are_read_are_neither_trained_nor_stored(
    folder: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    deep = write_transformer(tmp_path / "deep", num_hidden_layers=4)
    layers = ("model.transformer.layers=[0, -3]", f"model.transformer.name={deep}", "training.checkpoint_steps=1")
    cache = () if overrides else (f"training.feature_cache={tmp_path}/cache",)
    config = recipe(folder, *overrides, *layers, *cache)
    whole = training.train(config, tmp_path / "whole", device="cpu").model_dir
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path / "part", device="cpu", callback=_StopAfter(7))
    part = training.resume(tmp_path / "part", device="cpu").model_dir
    prefix, file = ("embedding.transformer.reader.encoder.", "weights") if overrides else ("", "transformer")
    stored, resumed = (load_file(path / f"{file}.safetensors") for path in (whole, part))
    assert stored.keys() == resumed.keys()
    assert all(torch.equal(stored[name], resumed[name]) for name in stored)
    assert {name.split(".layer.")[1][0] for name in stored if f"{prefix}encoder.layer." in name} == {"0", "1"}
    tagger = Tagger(model_dir.load(whole)[0], torch.device("cpu"))
    assert all(each.tags for each in tagger.tag(sentences(folder)[:3]))


def test_a_transformer_is_frozen_in_the_first_epochs(folder: Path, tmp_path: Path) -> None:
    before = library.load(str(folder / "bert")).encoder.state_dict()
    config = recipe(folder, *TRAINABLE, "training.fine_tuning.frozen_epochs=1", "training.keep_checkpoints=9")
    run = training.train(config, tmp_path / "run", device="cpu").run_dir
    checkpoints = [weights(path) for path in model_dir.list_checkpoints(run)]
    prefix = "embedding.transformer.reader.encoder."
    is_changed = [
        any(not torch.equal(weight, checkpoint[prefix + name]) for name, weight in before.items())
        for checkpoint in checkpoints
    ]
    assert is_changed == [False, False, True]
    assert not torch.equal(checkpoints[0]["projection.weight"], checkpoints[1]["projection.weight"])


def test_learning_rates_by_layer_are_refused_for_layers_that_share_their_weights(folder: Path, tmp_path: Path) -> None:
    albert = write_transformer(tmp_path / "albert", "albert")
    decay = (*TRAINABLE, f"model.transformer.name={albert}", "training.fine_tuning.layer_decay=0.9")
    with pytest.raises(
        ConfigError, match=r"layer_decay has no effect on the transformer .*/albert, whose layers share"
    ):
        training.train(recipe(folder, *decay), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("overrides", [(), TRAINABLE[:1] + TRAINABLE[1:3]])
def test_parts_of_a_batch_give_the_gradient_of_the_whole_batch(
    folder: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    exact = ("model.words.dropout=0", "model.dropout={input: 0, output: 0}", "model.transformer.dropout=0")
    sgd = ("training.optimizer={kind: sgd, learning_rate: 0.1}", "training.epochs=1")
    results = []
    for parts in (1, 3):
        config = recipe(folder, *overrides, *exact, *sgd, f"training.accumulation_steps={parts}")
        library_config = training.train(config, tmp_path / str(parts), device="cpu")
        results.append(weights(library_config.run_dir / "model-best"))
    if overrides:
        return  # the transformer's own dropout differs between the parts
    for name, weight in results[0].items():
        assert torch.allclose(weight.float(), results[1][name].float(), atol=1e-5), name


def test_checkpointed_activations_change_no_weight(folder: Path, tmp_path: Path, trained_run: Path) -> None:
    config = recipe(folder, *TRAINABLE, "training.fine_tuning.gradient_checkpointing=true")
    run = training.train(config, tmp_path / "run", device="cpu").run_dir
    ours, theirs = weights(run / "model-best"), weights(trained_run / "model-best")
    assert all(torch.allclose(ours[name].float(), theirs[name].float(), atol=1e-6) for name in ours)


def test_a_second_training_reads_all_features_from_the_cache(
    folder: Path, frozen_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run = training.train(recipe(folder), tmp_path / "again", device="cpu").run_dir
    assert "features:" not in caplog.text
    ours, theirs = weights(run / "model-best"), weights(frozen_run / "model-best")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert len(list((folder / "cache").glob("*.states"))) == 3
    training.train(recipe(folder, "training.feature_cache=false"), tmp_path / "none", device="cpu")
    assert "features: 3 passages" in caplog.text


def test_a_model_that_only_names_its_transformer_refuses_other_weights(
    folder: Path, tmp_path: Path, frozen_run: Path
) -> None:
    model = model_dir.load(frozen_run / "model-best")[0]
    assert model.transformer is not None
    named = replace(model.transformer, origin=replace(model.transformer.origin, revision="c0ffee" + "0" * 34))
    model_dir.save(replace(model, transformer=named), tmp_path / "model", {})
    assert not (tmp_path / "model" / "transformer.safetensors").exists()
    assert model_dir.load(tmp_path / "model", transformer=named)[0].transformer is named
    with pytest.raises(ModelError, match="has other weights than the model was trained with"):
        model_dir.load(tmp_path / "model", transformer=library.load(str(folder / "other")))


def test_a_checkpoint_names_no_directory_and_is_refused_in_one_line(frozen_run: Path) -> None:
    checkpoint = model_dir.find_newest_checkpoint(frozen_run)
    assert not (checkpoint / "transformer.safetensors").exists()
    with pytest.raises(ModelError, match="is known to its training only; use model-best"):
        model_dir.load(checkpoint)


def test_a_transformer_from_a_directory_is_always_included(folder: Path, tmp_path: Path) -> None:
    config = recipe(folder, "model.transformer.include_weights=false")
    with pytest.raises(ConfigError, match="always includes a transformer from a directory"):
        training.train(config, tmp_path / "run", device="cpu")
    with pytest.raises(ConfigError, match="has no effect on a directory"):
        training.train(recipe(folder, "model.transformer.revision=main"), tmp_path / "run", device="cpu")


def test_the_scores_of_a_training_are_those_of_its_model(folder: Path, frozen_run: Path) -> None:
    """Features from the cache are in half precision, and dropout is off."""
    model = model_dir.load(frozen_run / "model-best")[0]
    corpus = sentences(folder)
    with open_hidden_state_cache(recipe(folder)) as cache:
        assert cache is not None
        cached = Tagger(model, torch.device("cpu"), hidden_state_cache=cache).tag(corpus, probabilities=True)
        model.network.train()
        again = Tagger(model, torch.device("cpu"), hidden_state_cache=cache).tag(corpus, probabilities=True)
    computed = Tagger(model, torch.device("cpu")).tag(corpus, probabilities=True)
    for one, other, third in zip(cached, again, computed, strict=True):
        assert one == other
        assert one.tags == third.tags
        assert one.probabilities == pytest.approx(third.probabilities, abs=0.01)


def test_a_training_starts_from_a_model_with_the_same_transformer(
    folder: Path, tmp_path: Path, frozen_run: Path
) -> None:
    model = frozen_run / "model-best"
    training.train(recipe(folder, "training.epochs=1"), tmp_path / "run", device="cpu", init_from=model)
    for name, fault in (
        (f"{folder}/other", "its transformer is bert, the recipe names"),
        ("null", "it has a transformer, and"),
    ):
        overrides = [f"model.transformer={{name: {name}}}", "training.epochs=1"]
        with pytest.raises(ConfigError, match=fault):
            training.train(recipe(folder, *overrides), tmp_path / "other", device="cpu", init_from=model)


@pytest.mark.parametrize("run", ["frozen_run", "trained_run"])
def test_a_training_learns_from_the_marginals_of_a_model_with_a_transformer(
    folder: Path, tmp_path: Path, run: str, request: pytest.FixtureRequest
) -> None:
    teacher = request.getfixturevalue(run) / "model-best"
    config = recipe(folder, *OVERRIDES[run], "training.distill=true", "data.annotated_types=[]")
    whole = training.train(config, tmp_path / "whole", device="cpu", init_from=teacher).model_dir
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path / "part", device="cpu", init_from=teacher, callback=_StopAfter(7))
    part = training.resume(tmp_path / "part", device="cpu").model_dir
    known = library.load(str(folder / "bert"))
    ours, theirs = (dict(model_dir.load(each, transformer=known)[0].network.state_dict()) for each in (part, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("overrides", [(), TRAINABLE])
def test_each_of_several_seeds_starts_from_the_pretrained_weights(
    folder: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    config = recipe(folder, *overrides, "training.epochs=1")
    seeds.train(config, (1, 2), tmp_path / "both", device="cpu")
    seeds.train(config, 2, tmp_path / "second", device="cpu")
    first, second = (weights(tmp_path / "both" / f"seed-{seed}" / "model-best") for seed in (1, 2))
    alone = weights(tmp_path / "second" / "model-best")
    assert all(torch.equal(second[name], alone[name]) for name in alone)
    assert not torch.equal(first["projection.weight"], second["projection.weight"])


def test_a_model_that_lies_about_its_transformer_does_not_change_the_cached_states(
    folder: Path, tmp_path: Path, frozen_run: Path
) -> None:
    """A model that includes other weights than it names is started from with those of the recipe."""
    model = tmp_path / "model"
    model_dir.copy(frozen_run / "model-best", model)
    tensors = load_file(model / "transformer.safetensors")
    put(model, save({name: -tensor for name, tensor in tensors.items()}), "transformer.safetensors")
    config = recipe(folder, "training.epochs=1", f"training.feature_cache={tmp_path}/cache")
    lied, true = (
        training.train(config, tmp_path / name, device="cpu", init_from=start).model_dir
        for name, start in (("lied", model), ("true", frozen_run / "model-best"))
    )
    ours, theirs = weights(lied), weights(true)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("extra", [(), ("model.transformer.mix=concat", "model.transformer.output_dim=0")])
def test_a_head_can_read_the_token_vectors_directly(folder: Path, tmp_path: Path, extra: tuple[str, ...]) -> None:
    config = recipe(folder, "model.encoder={num_layers: 0}", "model.dropout={input: 0.1}", "training.epochs=1", *extra)
    result = training.train(config, tmp_path / "run", device="cpu")
    tagged = Tagger(model_dir.load(result.model_dir)[0], torch.device("cpu")).tag(sentences(folder)[:3])
    assert all(each.tags for each in tagged)


def test_diagnostics_and_several_epochs_work_as_without_a_transformer(folder: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    config = recipe(folder, "training.diagnostics=true", "training.ema_decay=0.9")
    training.train(config, tmp_path / "run", device="cpu", callback=events.append)
    assert [event.record.epoch for event in events if isinstance(event, EpochEnd)] == [1, 2]
    config = recipe(folder, *TRAINABLE, "training.diagnostics=true", "training.ema_decay=0.9", "training.epochs=1")
    result = training.train(config, tmp_path / "trained", device="cpu")
    diagnostics = result.history[0].diagnostics
    assert diagnostics is not None
    assert set(diagnostics.norms) == {"words", "encoder", "transformer", "head"}


def test_options_of_the_command_become_settings(folder: Path, tmp_path: Path) -> None:
    recipe_file = tmp_path / "mine.yaml"
    recipe_file.write_text(RECIPE.format(folder=folder).replace(f"name: {folder}/bert, ", "name: nowhere, "))
    arguments = [
        "train",
        str(recipe_file),
        "--out",
        str(tmp_path / "run"),
        "--set",
        "training.epochs=1",
        "--device",
        "cpu",
    ]
    options = ["--transformer", str(folder / "bert"), "--include-weights", "--feature-cache", "none"]
    done = CliRunner().invoke(app, [*arguments, *options])
    assert done.exit_code == 0, done.output
    stored = load(str(tmp_path / "run" / "config.yaml"))
    assert stored.model.transformer.name == str(folder / "bert")
    assert (stored.model.transformer.include_weights, stored.training.feature_cache) == (True, False)


def test_an_audit_trains_a_model_with_a_transformer_for_each_fold(folder: Path, tmp_path: Path) -> None:
    config = recipe(folder, "training.epochs=1")
    audit = tagger.audit(config, out=tmp_path / "audit", folds=2, repeats=1, device="cpu")
    assert "2 models" in str(audit)
    for number in (1, 2):
        assert (tmp_path / "audit" / f"fold-1-{number}" / "model-best" / "transformer.safetensors").exists()


@pytest.mark.parametrize("run", ["frozen_run", "trained_run"])
def test_a_tagger_uses_changed_weights_after_an_update(run: str, folder: Path, request: pytest.FixtureRequest) -> None:
    model = model_dir.load(request.getfixturevalue(run) / "model-best")[0]
    tagger, corpus = Tagger(model, torch.device("cpu")), sentences(folder)
    pools = tagger.encode(corpus)
    options = DecodingOptions(probabilities=True)
    before = [each for pool in tagger.tag_encoded(pools, options) for each in pool]
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if name.startswith("embedding.transformer."):
                parameter *= 1.5
    tagger.update_weights()
    after = [each for pool in tagger.tag_encoded(pools, options) for each in pool]
    fresh = Tagger(model, torch.device("cpu")).tag(corpus, probabilities=True)
    assert [each.probabilities for each in after] == [each.probabilities for each in fresh]
    assert [each.probabilities for each in after] != [each.probabilities for each in before]
    assert model.network.training
