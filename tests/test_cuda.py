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
def test_parallel_batches_give_the_tags_of_sequential_batches_and_of_a_cpu(
    monkeypatch: pytest.MonkeyPatch, document_context: int
) -> None:
    random_model = make_model(document_context={"output_dim": document_context})
    inputs = [replace(one, document=number // 7) for number, one in enumerate(sentences(600))]

    def tagged(device: str) -> list[Sentence]:
        model = Tagger(random_model, torch.device(device), batch_tokens=500)
        return list(model.stream(inputs, DecodingOptions(probabilities=True)))

    on_cpu, at_once = tagged("cpu"), [tagged("cuda") for _ in range(2)]
    monkeypatch.setitem(tagging._FEEDERS, "cuda", 1)
    one_by_one = tagged("cuda")
    for actual in at_once:
        assert [one.tags for one in actual] == [one.tags for one in one_by_one]
        for one, other in zip(actual, one_by_one, strict=True):
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
    pairs = [
        pair for sides in zip(on_cpu, one_by_one, strict=True) for pair in zip(*(s.tags for s in sides), strict=True)
    ]
    assert sum(left == right for left, right in pairs) > 0.999 * len(pairs)  # products on a GPU may be in TF32


@pytest.mark.parametrize("use_stream", [False, True])
def test_tagging_on_a_gpu_waits_for_earlier_work(use_stream: bool) -> None:
    random_model, inputs = make_model(), sentences(200)
    model = Tagger(random_model, torch.device("cuda"), batch_tokens=500)
    expected = list(model.stream(inputs))
    weight = random_model.network.projection.weight
    good, busy = weight.detach().clone(), torch.randn(4000, 4000, device="cuda")
    torch.cuda.synchronize()
    with torch.no_grad(), torch.cuda.stream(torch.cuda.Stream() if use_stream else torch.cuda.default_stream()):
        weight.zero_()
        for _ in range(20):
            busy = busy @ busy / 4000
        weight.copy_(good + 0 * busy[0, 0].nan_to_num(0, 0, 0))
        actual = list(model.stream(inputs))
    assert actual == expected


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("document_context", [0, 9])
def test_a_gpu_learns_the_tiny_corpus(tiny_config: Config, tmp_path: Path, mixed: bool, document_context: int) -> None:
    config = changed(tiny_config, f"model.document_context.output_dim={document_context}")
    config = with_training(config, epochs=15, mixed_precision=mixed, ema_decay=0.9)
    assert training.train(config, tmp_path / "run", device="cuda").dev.score > 99


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("encoder", ["{cell: lstm1997}", "{direction: backward, num_layers: 2}", "{cell: gru}"])
def test_a_gpu_trains_every_encoder_with_diagnostics(
    tiny_config: Config, tmp_path: Path, mixed: bool, encoder: str
) -> None:
    config = changed(tiny_config, f"model.encoder={encoder}", "training.diagnostics=true")
    config = with_training(config, epochs=15, mixed_precision=mixed)
    assert training.train(config, tmp_path / "run", device="cuda").dev.score > 80
    for record in records.read_metrics(tmp_path / "run")[0]:
        assert record.diagnostics is not None
        assert all(norm > 0 for norm in record.diagnostics.norms.values())
        assert record.diagnostics.seconds < record.seconds
    for cell in tagger.load(tmp_path / "run" / "model-best").model.network.encoder.layers[0].cells:
        if "1997" in encoder:
            assert (cell.bias_ih_l0[cell.hidden_size : 2 * cell.hidden_size] == 1e4).all()


def test_an_interrupted_run_resumes_on_the_gpu_and_on_the_cpu(tiny_config: Config, tmp_path: Path) -> None:
    config = with_training(tiny_config, epochs=4, checkpoint_steps=3)

    class Killed(BaseException):
        pass

    def kill(event: object) -> None:
        if isinstance(event, StepEnd) and (event.epoch, event.step) == (1, 5):
            raise Killed

    for device in ("cuda", "cpu"):
        run = tmp_path / device
        with pytest.raises(Killed):
            training.train(config, run, device="cuda", callback=kill)
        assert training.resume(run, device=device).model_dir.is_dir()
        assert model_dir.find_newest_checkpoint(run).name == "checkpoint-000036"
