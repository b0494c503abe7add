"""Exported models compute what PyTorch computes, and nothing is written otherwise."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import tagger
from tagger.choices import VectorDtype
from tagger.cli import app
from tagger.data.calibration import Calibration
from tagger.data.sentence import Sentence
from tagger.data.vocab import Vocab
from tagger.errors import ConfigError, ModelError, StorageError
from tagger.model import TaggerModel
from tagger.nn.embeddings import WordEmbedding
from tagger.tagging import Tagger
from tests.robustness.runs import tree
from tests.tagging import models

if find_spec("onnx") is None or find_spec("onnxruntime") is None:
    pytest.skip("needs the extra [onnx]", allow_module_level=True)

from tagger.export.onnx import OnnxTagger, chain, exporter, graph, network
from tests.export.models import calibrated, documents, export_in_memory

needs_spacy = pytest.mark.skipif(find_spec("spacy") is None, reason="needs the extra [text]")
TINY: dict[str, Any] = {"hidden_size": 6}
LAYERS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "gru": {"encoder": TINY | {"cell": "gru", "merge": "mean", "num_layers": 2}},
    "rnn": {"encoder": TINY | {"cell": "rnn", "merge": "sum"}},
    "lstm1997": {"encoder": TINY | {"cell": "lstm1997", "direction": "backward", "num_layers": 2}},
    "forward": {"encoder": TINY | {"cell": "gru", "direction": "forward"}},
    "attention": {"encoder": TINY | {"attention_heads": 3}, "casing": 3},
    "no layers": {"encoder": {"num_layers": 0}},
    "character LSTM": {"characters": {"kind": "lstm", "embedding_dim": 4, "output_dim": 6}},
    "no words": {"words": {"embedding_dim": 0}, "characters": {"kernel_size": 5}},
    "words alone": {"characters": {"kind": "none"}, "scheme": "IOB1"},
    "documents": {"document_context": {"output_dim": 5}, "casing": 2, "scheme": "IOB2"},
    "softmax": {"head": {"kind": "softmax"}},
    "plain softmax": {"head": {"kind": "softmax"}, "plain": 5},
    "plain tags": {"plain": 5},
}


def assert_equal(actual: Sequence[Sentence], expected: Sequence[Sentence]) -> None:
    """Holds sentences to others: the same fields, and probabilities but for rounding."""
    assert [one.tags for one in actual] == [one.tags for one in expected]
    assert [[span.key for span in one.spans] for one in actual] == [
        [span.key for span in one.spans] for one in expected
    ]
    assert [(one.document, one.line) for one in actual] == [(one.document, one.line) for one in expected]
    for left, right in zip(actual, expected, strict=True):
        np.testing.assert_allclose(left.probabilities, right.probabilities, atol=2e-5)
        numbers = [[span.probability or -1.0 for span in one.spans] for one in (left, right)]
        np.testing.assert_allclose(*numbers, atol=2e-5)


def fraction_of_equal_tags(actual: Sequence[Sentence], expected: Sequence[Sentence]) -> float:
    tags = zip(*([tag for one in sentences for tag in one.tags] for sentences in (actual, expected)), strict=True)
    return float(np.mean([left == right for left, right in tags]))


@pytest.mark.parametrize("kind", LAYERS)
def test_an_exported_model_tags_as_pytorch_does(kind: str) -> None:
    model = calibrated(models.make_model(**LAYERS[kind]), 1.0 if kind == "lstm" else 1.7)
    exported, expected = export_in_memory(model), models.tagger(model)
    for sentences in (documents(), documents()[:1], documents()[2:5], [documents()[-1]]):
        assert_equal(exported.tag(sentences), expected.tag(sentences))
        assert_equal(exported.tag(sentences, probabilities=True), expected.tag(sentences, probabilities=True))


@pytest.fixture(scope="module")
def model() -> TaggerModel:
    return calibrated(models.make_model(document_context={"output_dim": 5}, casing=2), 1.3, PER=2.0)


@pytest.fixture(scope="module")
def exported(model: TaggerModel) -> OnnxTagger:
    return export_in_memory(model)


@pytest.fixture(scope="module")
def expected(model: TaggerModel) -> Tagger:
    return models.tagger(model)


def test_batches_of_any_size_give_the_same_tags(model: TaggerModel, exported: OnnxTagger) -> None:
    small = export_in_memory(model, batch_tokens=1)
    assert_equal(small.tag(documents(), probabilities=True), exported.tag(documents(), probabilities=True))


@pytest.mark.parametrize("scheme", ["IOBES", "IOB1"])
def test_a_threshold_removes_the_same_spans(scheme: str) -> None:
    model = calibrated(models.make_model(scheme=scheme), 1.0, LOC=0.5)
    for threshold in (0.0, 0.4, 1.0):
        options = {"threshold": threshold, "probabilities": True}
        assert_equal(
            export_in_memory(model).tag(documents(), **options), models.tagger(model).tag(documents(), **options)
        )


THRESHOLDS = {"PER": ((0.05, 400, 300), (0.3, 300, 290), (0.6, 200, 199)), "LOC": ((0.1, 500, 450), (0.5, 300, 299))}


@pytest.mark.parametrize("scheme", ["IOBES", "IOB2"])
def test_a_precision_removes_the_same_spans(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    model = replace(models.make_model(scheme=scheme), calibration=Calibration(1.2, {"LOC": 0.5}, THRESHOLDS))
    exported, expected = export_in_memory(model), models.tagger(model)
    counts = set()
    for precision in (0.0, 0.7, 0.85, 0.9, 0.95, 1.0):
        options = {"precision": precision, "probabilities": True}
        caplog.clear()
        actual = exported.tag(documents(), **options)
        log = caplog.messages.copy()
        caplog.clear()
        assert_equal(actual, expected.tag(documents(), **options))
        assert log == caplog.messages
        caplog.clear()
        exported.tag(documents(), **options)
        assert not caplog.messages  # once for each precision
        counts.add(sum(len(sentence.spans) for sentence in actual))
    assert len(counts) > 3


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"nbest": 2}, "an exported model has the best tags only, no n-best; use `tagger.load` for `nbest`"),
        ({"threshold": 2}, "`threshold` must be from 0 to 1, got 2"),
        ({"precision": -1}, "`precision` must be from 0 to 1, got -1"),
        ({"threshold": 0.5, "precision": 0.5}, "omit `threshold` or `precision`"),
        ({"precision": 0.5}, "`precision` needs a calibrated model; run `tagger calibrate` .*, and export it again"),
    ],
)
def test_an_option_that_the_export_cannot_have_is_refused(
    options: dict[str, Any], error: str, exported: OnnxTagger
) -> None:
    with pytest.raises(ConfigError, match=error):
        exported.tag([], **options)
    with pytest.raises(ConfigError, match=error):
        exported.tag_text([], **options)


def test_plain_tags_have_no_threshold_and_no_precision() -> None:
    exported = export_in_memory(models.make_model(plain=5))
    for name in ("threshold", "precision"):
        with pytest.raises(ConfigError, match=f"a {name} removes spans; the model's tags are plain"):
            exported.tag(["ba0"], **{name: 0.5})


@needs_spacy
def test_texts_are_split_and_tagged_as_by_the_tagger(exported: OnnxTagger, expected: Tagger) -> None:
    texts = ["ba0 Ce1, DI2\nü3 (9)! ba0", "", "Ce1 ba0 " * 30]
    options = {"probabilities": True, "threshold": 0.2}
    for newline in ("break", "space"):
        actual, wanted = (each.tag_text(texts, newline=newline, **options) for each in (exported, expected))
        assert [one.text for one in actual] == texts
        for left, right in zip(actual, wanted, strict=True):
            assert_equal(left.sentences, right.sentences)
            assert [one.offsets for one in left.sentences] == [one.offsets for one in right.sentences]
    single = exported.tag_text(texts[0], language="de")
    assert_equal(single.sentences, expected.tag_text(texts[0], language="de").sentences)
    with pytest.raises(TypeError, match="a text is a string, got 7"):
        exported.tag_text([7])  # type: ignore[list-item]


def test_spans_without_a_type_have_tags_without_one() -> None:
    model = models.make_model(types=("_",))
    assert_equal(export_in_memory(model).tag(documents()), models.tagger(model).tag(documents()))


@pytest.mark.parametrize("dtype", ["float16", "int8", "product"])
@pytest.mark.parametrize("quantize", [False, True])
def test_frozen_word_vectors_are_read(dtype: VectorDtype, quantize: bool) -> None:
    model = models.make_model(document_context={"output_dim": 5})
    frozen = tuple(word for word in models.NAMES if word not in model.words)
    words = model.network.embedding.words
    assert words is not None
    vectors = torch.randn(len(frozen), 10, generator=torch.Generator().manual_seed(1))
    model.network.embedding.words = WordEmbedding(words.weight.detach(), vectors, frozen_dtype=dtype)
    model = replace(model, frozen_words=Vocab(frozen))
    expected = models.tagger(model).tag(documents())
    actual = export_in_memory(model, quantize=quantize).tag(documents())
    if not quantize:
        assert_equal(actual, expected)
    assert fraction_of_equal_tags(actual, expected) > 0.95


def test_tokens_and_texts_are_taken_as_by_the_tagger(exported: OnnxTagger, expected: Tagger) -> None:
    sentences = ["ba0 Ce1  DI2", ["ü3", "9"], Sentence(("ba0",), document=7)]
    assert_equal(exported.tag(sentences), expected.tag(sentences))
    for wrong, error in (("ba0", TypeError), ([7], TypeError), ([["a", ""]], ValueError)):
        with pytest.raises(error):
            exported.tag(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="from 0 to 1"):
        exported.tag(["ba0"], threshold=2)


def test_a_quantized_model_is_smaller_and_nearly_agrees(model: TaggerModel, expected: Tagger) -> None:
    quantized = export_in_memory(model, quantize=True)
    assert fraction_of_equal_tags(quantized.tag(documents()), expected.tag(documents())) > 0.95


def test_an_export_is_complete_and_describes_itself(expected: Tagger, tmp_path: Path) -> None:
    result = exporter.export(expected, tmp_path / "new" / "onnx", sentences=30)
    assert sorted(path.name for path in result.directory.iterdir()) == [
        *("MANIFEST.json", "golden.json", "model.onnx", "preprocessing.json")
    ]
    assert result.agreement.different_tags == 0
    assert "0 tags differ" in str(result)
    restored = OnnxTagger(result.directory)
    assert restored.span_types == expected.span_types
    golden = json.loads((result.directory / "golden.json").read_text())
    for document in golden["documents"]:
        tagged = restored.tag([Sentence(tuple(row["tokens"])) for row in document], probabilities=True)
        assert [list(sentence.tags) for sentence in tagged] == [row["tags"] for row in document]


def swap_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    (cell, name, gates), *rest = network._OPERATORS
    monkeypatch.setattr(network, "_OPERATORS", ((cell, name, gates[::-1]), *rest))


def reverse_transitions(monkeypatch: pytest.MonkeyPatch) -> None:
    convert = chain.ChainParameters.to_float64

    def convert_wrongly(self: chain.ChainParameters, *, is_tempered: bool) -> tuple[Any, ...]:
        transitions, start, end = convert(self, is_tempered=is_tempered)
        return transitions.T, start, end

    monkeypatch.setattr(chain.ChainParameters, "to_float64", convert_wrongly)


def forget_the_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    convert = chain.ChainParameters.to_float64
    monkeypatch.setattr(chain.ChainParameters, "to_float64", lambda self, is_tempered: convert(self, is_tempered=False))


@pytest.mark.parametrize("sabotage", [swap_gates, reverse_transitions, forget_the_temperature])
def test_a_sabotaged_export_writes_nothing(
    sabotage: Any, expected: Tagger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch)
    with pytest.raises(ModelError, match="disagrees with the model in PyTorch, nothing is written"):
        exporter.export(expected, tmp_path / "onnx", sentences=20)
    assert not list(tmp_path.iterdir())


def test_a_sabotaged_quantization_writes_nothing(
    expected: Tagger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantize = network.quantize_rows
    monkeypatch.setattr(network, "quantize_rows", lambda weights: (quantize(weights)[0], 3 * quantize(weights)[1]))
    with pytest.raises(ModelError, match="after quantization"):
        exporter.export(expected, tmp_path / "onnx", quantize=True, sentences=20)
    assert not list(tmp_path.iterdir())


def test_the_comparison_has_a_thousand_sentences_of_every_length(model: TaggerModel) -> None:
    sample = exporter.sample_sentences(model, exporter.SENTENCES)
    assert len(sample) == 1000
    assert {len(sentence) for sentence in sample} == set(range(1, 201))
    assert len({sentence.document for sentence in sample}) == 200


@pytest.fixture(scope="module")
def directory(expected: Tagger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an export; read it, never write into it."""
    return exporter.export(expected, tmp_path_factory.mktemp("export") / "onnx", sentences=20).directory


def test_the_tagger_imports_no_torch_and_no_pydantic(directory: Path) -> None:
    program = (
        "import sys\n"
        "from tagger.export.onnx import OnnxTagger\n"
        f"OnnxTagger({str(directory)!r}).tag(['Ada lives in Oslo .'], probabilities=True)\n"
        "print(sorted({'torch', 'onnx', 'pydantic', 'numba', 'scipy', 'pyarrow', 'spacy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_golden_examples_have_a_threshold_and_a_precision(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = replace(models.make_model(), calibration=Calibration(1.2, {"LOC": 0.5}, THRESHOLDS))
    exporter.export(models.tagger(model), tmp_path / "onnx", sentences=20)
    assert caplog.messages == []
    golden = json.loads((tmp_path / "onnx" / "golden.json").read_text())
    restored = OnnxTagger(tmp_path / "onnx")
    for name in ("threshold", "precision"):
        counts = [0, 0]
        for document in golden["documents"]:
            tagged = restored.tag([Sentence(tuple(row["tokens"])) for row in document], **{name: golden[name]})
            assert [list(sentence.tags) for sentence in tagged] == [row[f"with_{name}"]["tags"] for row in document]
            counts[0] += sum(len(row["spans"]) for row in document)
            counts[1] += sum(len(row[f"with_{name}"]["spans"]) for row in document)
        assert 0 < counts[1] < counts[0], name


@pytest.mark.parametrize("name", ["model.onnx", "preprocessing.json", "MANIFEST.json"])
def test_a_damaged_export_is_refused(name: str, directory: Path, tmp_path: Path) -> None:
    for path in directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelError, match="is corrupt"):
        OnnxTagger(tmp_path)


def test_a_model_that_was_not_exported_is_refused(model_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no model\.onnx; is it the right directory\?"):
        OnnxTagger(model_path)


def test_files_of_the_user_stay(expected: Tagger, model_path: Path, tmp_path: Path, directory: Path) -> None:
    export = tmp_path / "export"
    export.mkdir()
    for path in directory.iterdir():
        (export / path.name).write_bytes(path.read_bytes())
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.onnx").write_text("mine")
    (tmp_path / "link").symlink_to(export)
    (tmp_path / "model").symlink_to(model_path)
    with_a_file = tmp_path / "with a file"
    with_a_file.mkdir()
    for path in directory.iterdir():
        (with_a_file / path.name).write_bytes(path.read_bytes())
    (with_a_file / "notes.txt").write_text("mine")
    before = tree(tmp_path)
    for name in ("file", "folder", "link", "model", "with a file"):
        with pytest.raises(StorageError, match="exists and was not made by this tool"):
            exporter.export(expected, tmp_path / name, overwrite=True, sentences=20)
    with pytest.raises(StorageError, match="exists already; choose another directory, or pass `overwrite=True`"):
        exporter.export(expected, export, sentences=20)
    assert tree(tmp_path) == before
    exporter.export(expected, export, overwrite=True, sentences=20)
    assert OnnxTagger(export).tag(["ba0"])


def test_a_model_with_a_transformer_is_refused(model: TaggerModel, tmp_path: Path) -> None:
    class WithTransformer:
        model = type("Model", (), {"transformer": object()})

    with pytest.raises(ConfigError, match="a model with a transformer cannot be exported to ONNX"):
        exporter.export(WithTransformer(), tmp_path / "onnx")  # type: ignore[arg-type]


def test_a_graph_that_is_larger_than_a_file_can_be_is_refused(
    expected: Tagger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "_MAX_CONSTANT_BYTES", 1000)
    with pytest.raises(ConfigError, match="whose graph has more than 2 GB cannot be exported to ONNX"):
        exporter.export(expected, tmp_path / "onnx", sentences=20)
    assert not list(tmp_path.iterdir())


def test_the_command_exports_a_model(model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter.export, "__kwdefaults__", {"quantize": False, "overwrite": False, "sentences": 20})
    out = tmp_path / "onnx"
    arguments = ["export", str(model_path), "--to", "onnx", "--out", str(out), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["agreement"]["different_tags"] == 0
    text = ["Ada lives in New York ."]
    assert OnnxTagger(out).tag(text) == tagger.load(model_path, device="cpu").tag(text)
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert "pass --overwrite" in again.stderr
