"""Training and tagging on a GPU: the same as on a CPU. Skipped where there is none."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tagger
from tagger import model_dir, training
from tagger.config import Config
from tagger.data.sentence import Sentence
from tagger.tagging import DecodingOptions, Tagger
from tagger.tagging import tagger as tagging
from tagger.training import StepEnd, records
from tests.robustness.runs import changed
from tests.tagging.models import make_model, sentences

pytestmark = pytest.mark.gpu
TEXTS = ["Ada lives in New York .", "Alan", "Grace lives in Paris . Donald lives in Oslo ."] * 50


def with_training(config: Config, **changes: object) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update=changes)})


def test_a_model_gives_the_same_tags_on_gpu_and_cpu(model_path: Path) -> None:
    assert tagger.load(model_path, device="cuda").tag(TEXTS) == tagger.load(model_path, device="cpu").tag(TEXTS)


@pytest.mark.parametrize("document_context", [0, 9])
def test_batches_under_way_at_once_give_what_one_after_another_and_a_cpu_give(
    monkeypatch: pytest.MonkeyPatch, document_context: int
) -> None:
    made = make_model(document_context={"output_dim": document_context})
    given = [replace(one, document=number // 7) for number, one in enumerate(sentences(600))]

    def tagged(device: str) -> list[Sentence]:
        model = Tagger(made, torch.device(device), batch_tokens=500)
        return list(model.stream(given, DecodingOptions(probabilities=True)))

    on_cpu, at_once = tagged("cpu"), [tagged("cuda") for _ in range(2)]
    monkeypatch.setitem(tagging._FEEDERS, "cuda", 1)
    one_by_one = tagged("cuda")
    for found in at_once:
        assert [one.tags for one in found] == [one.tags for one in one_by_one]
        for one, other in zip(found, one_by_one, strict=True):
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
    pairs = [
        pair for sides in zip(on_cpu, one_by_one, strict=True) for pair in zip(*(s.tags for s in sides), strict=True)
    ]
    assert sum(left == right for left, right in pairs) > 0.999 * len(pairs)  # products on a GPU may be in TF32


@pytest.mark.parametrize("own", [False, True])
def test_tagging_on_a_gpu_waits_for_what_was_computed_before_it(own: bool) -> None:
    made, given = make_model(), sentences(200)
    model = Tagger(made, torch.device("cuda"), batch_tokens=500)
    expected = list(model.stream(given))
    weight = made.network.projection.weight
    good, busy = weight.detach().clone(), torch.randn(4000, 4000, device="cuda")
    torch.cuda.synchronize()
    with torch.no_grad(), torch.cuda.stream(torch.cuda.Stream() if own else torch.cuda.default_stream()):
        weight.zero_()
        for _ in range(20):
            busy = busy @ busy / 4000
        weight.copy_(good + 0 * busy[0, 0].nan_to_num(0, 0, 0))
        found = list(model.stream(given))
    assert found == expected


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("document_context", [0, 9])
def test_a_gpu_learns_the_tiny_corpus(tiny_config: Config, tmp_path: Path, mixed: bool, document_context: int) -> None:
    config = changed(tiny_config, f"model.document_context.output_dim={document_context}")
    config = with_training(config, epochs=15, mixed_precision=mixed, average=0.9)
    assert training.fit(config, tmp_path / "run", device="cuda").dev > 99


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("encoder", ["{cell: lstm1997}", "{direction: backward, num_layers: 2}", "{cell: gru}"])
def test_a_gpu_trains_every_encoder_and_looks_into_it(
    tiny_config: Config, tmp_path: Path, mixed: bool, encoder: str
) -> None:
    config = changed(tiny_config, f"model.encoder={encoder}", "training.diagnostics=true")
    config = with_training(config, epochs=15, mixed_precision=mixed)
    assert training.fit(config, tmp_path / "run", device="cuda").dev > 80
    for record in records.read_metrics(tmp_path / "run"):
        assert all(norm > 0 for norm in record["diagnostics"]["norms"].values())
        assert record["diagnostics_seconds"] < record["seconds"]
    for cell in tagger.load(tmp_path / "run" / "model-best").model.network.encoder.layers[0].cells:
        if "1997" in encoder:
            assert (cell.bias_ih_l0[cell.hidden_size : 2 * cell.hidden_size] == 1e4).all()


def test_a_stopped_run_goes_on_on_the_gpu_and_on_the_cpu(tiny_config: Config, tmp_path: Path) -> None:
    config = with_training(tiny_config, epochs=4, checkpoint_steps=3)

    class Killed(BaseException):
        pass

    def kill(event: object) -> None:
        if isinstance(event, StepEnd) and (event.epoch, event.step) == (1, 5):
            raise Killed

    for device in ("cuda", "cpu"):
        run = tmp_path / device
        with pytest.raises(Killed):
            training.fit(config, run, device="cuda", callback=kill)
        assert training.resume(run, device=device).model.is_dir()
        assert model_dir.newest(run).name == "checkpoint-000036"
