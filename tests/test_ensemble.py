"""Ensembles: the mean of the scores of several models, as one model."""

import itertools
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import tagger
from tagger import ensembles, experiments, model_dir, tagging
from tagger.cli import app
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError, ModelError
from tagger.io import manifest
from tagger.nn.model import Ensemble
from tagger.tagging.scorer import TorchScorer
from tests.conftest import parse_tiny_recipe, tiny_corpus

SEEDS = (1, 2, 3)
FEATURES = ("model.document_context.output_dim=4", "model.casing=2", "model.words.frozen_dtype=int8")
TOKENS = ["Ada", "lives", "in", "Paris", ".", "Nobody"]
VECTORS = "\n".join(f"{word} {number} 1.5 -2" for number, word in enumerate(("Ada", "Paris", "Lagos", "Accra")))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three seeds, with frozen word vectors."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "train.conll").write_text(tiny_corpus())
    (folder / "vectors.txt").write_text(VECTORS)
    overrides = ["training.epochs=8", *FEATURES, f"model.words.vectors=[{folder / 'vectors.txt'}]"]
    recipe = parse_tiny_recipe(folder / "train.conll", *overrides)
    return experiments.train(recipe, SEEDS, folder / "run", device="cpu").run_dir


@pytest.fixture(scope="module")
def directory(run: Path) -> Path:
    """The ensemble of the three models."""
    return tagger.ensemble([run], run.parent / "ensemble").model_dir


def members(run: Path) -> list[Path]:
    return [run / f"seed-{seed}" / "model-best" for seed in SEEDS]


def chain_of(model: tagger.Tagger, tokens: list[str]) -> tuple[torch.Tensor, ...]:
    """Returns emissions, transitions, start and end scores of a sentence, by the PyTorch network."""
    pool = TorchScorer(model.model, torch.device("cpu")).prepare([tokens], [0])
    emissions, lengths = pool.score([0])
    chain = model.model.network.head.chain(emissions, lengths)
    return (emissions[0], *chain.scores[1:4])


def log_probabilities(model: tagger.Tagger, tokens: list[str]) -> torch.Tensor:
    """Returns the log probability of each path, by enumeration."""
    emissions, transitions, start, end = chain_of(model, tokens)
    scores = [
        start[path[0]]
        + end[path[-1]]
        + sum(emissions[position, tag] for position, tag in enumerate(path))
        + sum(transitions[left, right] for left, right in itertools.pairwise(path))
        for path in itertools.product(range(len(start)), repeat=len(tokens))
    ]
    return torch.stack(scores).double().log_softmax(0)


def test_the_distribution_is_the_geometric_mean_of_those_of_the_models(run: Path, directory: Path) -> None:
    tokens = TOKENS[3:]
    mean = torch.stack([log_probabilities(tagging.load(path), tokens) for path in members(run)]).mean(0)
    assert torch.allclose(log_probabilities(tagging.load(directory), tokens), mean.log_softmax(0), atol=1e-5)


def test_cached_and_pytorch_scores_agree(directory: Path) -> None:
    model = tagging.load(directory)
    emissions = chain_of(model, TOKENS)[0]
    cached, _ = model.encode([Sentence(tuple(TOKENS))])[0].prepared.score([0])
    assert torch.allclose(cached[0], emissions, atol=1e-5)
    assert not torch.allclose(emissions, chain_of(tagging.load(members(directory.parent / "run")[0]), TOKENS)[0])


def test_a_run_and_its_models_give_the_same_ensemble(run: Path, directory: Path, tmp_path: Path) -> None:
    other = tagger.ensemble(members(run), tmp_path / "new" / "model").model_dir
    assert {path.name: path.read_bytes() for path in other.iterdir()} == {
        path.name: path.read_bytes() for path in directory.iterdir()
    }


def test_an_ensemble_saved_and_loaded_is_the_same_model(directory: Path, tmp_path: Path) -> None:
    model, metrics = model_dir.load(directory)
    model_dir.save(model, tmp_path / "model", metrics, card=model_dir.read_card(directory))
    for path in directory.iterdir():
        assert (tmp_path / "model" / path.name).read_bytes() == path.read_bytes()
    assert isinstance(model.network, Ensemble)
    addresses = {network.embedding.words.frozen.data_ptr() for network in model.network.members}
    assert len(addresses) == 1  # the frozen vectors are in memory once


def test_the_frozen_vectors_are_stored_once(run: Path, directory: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in directory.glob("weights*")}
    frozen = model_dir.load(directory)[0].network.embedding.words.frozen
    assert len(frozen) == 2
    assert set(sizes) == {"weights.safetensors", "weights-2.safetensors", "weights-3.safetensors"}
    assert sizes["weights.safetensors"] > sizes["weights-2.safetensors"] + frozen.nbytes


def test_an_ensemble_is_described_evaluated_calibrated_and_used_like_other_models(
    run: Path, directory: Path, tmp_path: Path
) -> None:
    assert tagger.info(directory)["networks"] == len(SEEDS)
    assert "mean of the scores of 3 networks" in model_dir.read_card(directory).decode()
    data = tmp_path / "dev.conll"  # a quarter of its labels are wrong, so that the model can be calibrated
    data.write_text(re.sub(r"(?m)(Paris|Lagos) B-LOC", r"\1 B-PER", tiny_corpus()))
    calibrated = tmp_path / "calibrated"
    tagger.calibrate(directory, data, out=calibrated)
    assert tagger.evaluate(calibrated, data).f1 == tagger.evaluate(directory, data).f1
    assert model_dir.load(calibrated)[0].calibration != model_dir.load(directory)[0].calibration
    model_dir.check_publishable(calibrated)
    assert {f"weights-{number}.safetensors" for number in (2, 3)} <= model_dir.MAX_PUBLISHED_BYTES.keys()


def test_an_ensemble_is_neither_trained_nor_exported_nor_part_of_another(
    run: Path, directory: Path, tmp_path: Path
) -> None:
    recipe = parse_tiny_recipe(run.parent / "train.conll", *FEATURES)
    with pytest.raises(ConfigError, match="is an ensemble, which can only tag"):
        experiments.train(recipe, 1, tmp_path / "new", device="cpu", init_from=directory)
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConfigError, match="is an ensemble, which can only tag"):
        tagger.export_model(directory, tmp_path / "onnx")
    with pytest.raises(ConfigError, match="ensemble: an ensemble cannot be part of an ensemble"):
        tagger.ensemble([members(run)[0], directory], tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_models_that_cannot_be_averaged_are_refused(run: Path, model_path: Path, tmp_path: Path) -> None:
    first, second, _ = members(run)
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="2 to 20 models, got 1"):
        tagger.ensemble([first], out)
    with pytest.raises(ConfigError, match=r"seed-1.*: is given twice"):
        tagger.ensemble([first, second, run], out)
    model_dir.save(model_dir.load(first)[0], tmp_path / "copy", {"calibrated": True})
    with pytest.raises(ConfigError, match=r"copy: has the same weights as .*seed-1"):
        tagger.ensemble([first, tmp_path / "copy"], out)
    with pytest.raises(ConfigError, match=r"checkpoint-\d+: is a checkpoint of a training"):
        tagger.ensemble([first, *(run / "seed-2").glob("checkpoint-*")][:2], out)
    with pytest.raises(ConfigError, match=r"has other settings in model than .*seed-1"):
        tagger.ensemble([first, model_path], out)
    model, metrics = model_dir.load(second)
    with torch.no_grad():
        model.network.embedding.words.frozen += 1
    model_dir.save(model, tmp_path / "changed", metrics)
    with pytest.raises(ConfigError, match=r"changed: has other frozen word vectors than .*seed-1"):
        tagger.ensemble([first, tmp_path / "changed"], out)
    with pytest.raises(ModelError, match="no such model directory"):
        tagger.ensemble([first, tmp_path / "missing"], out)
    assert not out.exists()


@pytest.mark.parametrize("name", ["", "seed-1", "seed-1/model-best", "model-best", "new"])
def test_no_model_is_replaced_by_its_ensemble(run: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="`out` would replace"):
        tagger.ensemble([run], run / name)
    with pytest.raises(ConfigError, match="`out` would replace"):
        tagger.ensemble(members(run), run / "seed-1" / "model-best" / name)
    assert all(path.is_dir() for path in members(run))


def test_only_finished_seeds_of_a_run_are_used(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unfinished = Path(shutil.copytree(run, tmp_path / "run"))
    (unfinished / "seed-2" / "counts.json").unlink()
    assert len(tagger.ensemble(str(unfinished), tmp_path / "model").members) == 2
    assert "run: 2 of 3 seeds are finished" in caplog.text
    for seed in (1, 3):
        (unfinished / f"seed-{seed}" / "counts.json").unlink()
    with pytest.raises(ConfigError, match="run: no seed of the run is finished"):
        tagger.ensemble([unfinished], tmp_path / "other")


def test_the_command_prints_the_model(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["ensemble", str(run), "--out", str(tmp_path / "model"), "--json"])
    assert json.loads(done.stdout) == {"model": str(tmp_path / "model"), "members": list(map(str, members(run)))}
    failed = CliRunner().invoke(app, ["ensemble", str(run / "seed-1" / "model-best"), "--out", str(tmp_path / "other")])
    assert failed.exit_code == 2
    assert "an ensemble has 2 to 20 models, got 1" in failed.stderr


def test_a_move_to_another_device_keeps_the_frozen_vectors_once(directory: Path) -> None:
    network = model_dir.load(directory)[0].network
    network._apply(torch.Tensor.clone)  # as a move to a GPU does
    assert len({id(member.embedding.words.frozen) for member in network.members}) == 1
    assert len({id(member.embedding.words.weight) for member in network.members}) == len(SEEDS)


def test_an_ensemble_is_no_larger_than_a_model_may_be(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = {str(path): model_dir.load(path)[0] for path in members(run)}
    weights = sum(
        tensor.nbytes for each in ensembles.list_weights(ensembles.build(models).network) for tensor in each.values()
    )
    monkeypatch.setattr(ensembles, "MAX_WEIGHT_BYTES", weights)
    ensembles.build(models)
    monkeypatch.setattr(ensembles, "MAX_WEIGHT_BYTES", weights - 1)
    with pytest.raises(ConfigError, match="the ensemble has 0 MiB of weights; at most 0 MiB"):
        ensembles.build(models)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda files: files.pop("weights-2.safetensors"),
            r"holds weights-3.safetensors, but not weights-2.safetensors",
        ),
        (lambda files: files.update({"weights-3.safetensors": files["weights.safetensors"]}), r"weights-3.safetensors"),
        (lambda files: files.update({"weights-3.safetensors": b"x"}), r"weights-3.safetensors"),
    ],
)
def test_damaged_ensembles_are_refused(directory: Path, tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    files = {
        path.name: path.read_bytes() for path in directory.iterdir() if path.name not in {"README.md", "MANIFEST.json"}
    }
    change(files)
    for name, data in {**files, "MANIFEST.json": manifest.build_manifest(files)}.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelError, match=message):
        model_dir.load(tmp_path)
