"""Writes a model as ONNX after a comparison with the model in PyTorch."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tagger.choices import counted
from tagger.errors import ConfigError
from tagger.export.onnx import builder, files, golden, graph, session, verification
from tagger.export.onnx.preprocessing import Preprocessing
from tagger.export.onnx.runtime import OnnxTagger
from tagger.export.onnx.samples import sample_sentences
from tagger.export.onnx.session import GraphSession
from tagger.export.onnx.verification import Agreement
from tagger.model import TaggerModel
from tagger.tagging import Tagger

SENTENCES = 1000
"""Number of sentences that both models tag before an export is written."""


@dataclass(frozen=True)
class ExportResult:
    """An export that was written.

    Attributes:
        directory: its directory.
        quantized: whether it is quantized.
        megabytes: the size of its graph.
        agreement: how far it agrees with the model in PyTorch.
    """

    directory: Path
    quantized: bool
    megabytes: float
    agreement: Agreement

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as JSON has them."""
        return asdict(self) | {"directory": str(self.directory)}

    def __str__(self) -> str:
        agreement = self.agreement
        tokens = f"{counted(agreement.sentences, 'random sentence')} ({counted(agreement.tokens, 'token')})"
        return (
            f"{self.directory}: {files.GRAPH} has {self.megabytes:.1f} MB\n"
            f"compared with PyTorch on {tokens}: {counted(agreement.different_tags, 'tag')} differ,"
            f" probabilities by at most {agreement.max_difference:.1g}"
        )


def export(
    tagger: Tagger, directory: Path, *, quantize: bool = False, overwrite: bool = False, sentences: int = SENTENCES
) -> ExportResult:
    """Writes the model of a tagger to a directory as ONNX, if both give the same tags to random sentences.

    Args:
        tagger: a tagger on the CPU.
        directory: the directory to write.
        quantize: whether word vectors and the weights of LSTMs over tokens are stored as int8; the model that is not
            quantized is compared first.
        overwrite: whether an export in the directory is replaced.
        sentences: number of random sentences.

    Raises:
        ConfigError: the model cannot be exported, or a library is not installed.
        ModelError: the exported model disagrees with the model in PyTorch; nothing is written.
        StorageError: the directory cannot be written, or may not be replaced.
    """
    model = tagger.model
    _check_exportable(model)
    check_output(directory, overwrite=overwrite)
    sample = sample_sentences(model, sentences)
    preprocessing = describe_preprocessing(model)
    data = builder.build_graph(model)
    verification.check_outputs(model, GraphSession(data, files.GRAPH), preprocessing, sample)
    exported = OnnxTagger.from_contents(data, preprocessing.to_bytes())
    agreement = verification.check_tags(tagger, exported, sample)
    if quantize:
        data = builder.build_graph(model, quantize=True)
        exported = OnnxTagger.from_contents(data, preprocessing.to_bytes())
        agreement = verification.check_quantized_tags(tagger, exported, sample)
    contents = {
        files.GRAPH: data,
        files.PREPROCESSING: preprocessing.to_bytes(),
        files.GOLDEN: golden.to_bytes(model, preprocessing, (exported if quantize else tagger).tag),
    }
    files.write(directory, contents, overwrite=overwrite)
    return ExportResult(directory, quantize, len(data) / 1e6, agreement)


def check_output(directory: Path, *, overwrite: bool) -> None:
    """Checks that the libraries are installed and that an export can be written to a directory.

    Raises:
        ConfigError: a library is not installed.
        StorageError: the directory cannot be written, or may not be replaced.
    """
    graph.check_library()
    session.check_library()
    files.check_writable(directory, overwrite=overwrite)


def _check_exportable(model: TaggerModel) -> None:
    """Raises ConfigError if a graph cannot hold a model."""
    if model.transformer is not None:
        raise ConfigError("a model with a transformer cannot be exported to ONNX; export a model without one")


def describe_preprocessing(model: TaggerModel) -> Preprocessing:
    """Returns what the inputs and outputs of the graph of a model mean."""
    return Preprocessing(
        inputs=builder.list_input_names(model),
        tags=model.tags.items,
        scheme=model.scheme,
        words=model.known_words,
        characters=model.characters,
        temperature=model.calibration.temperature,
        type_temperatures=model.calibration.type_temperatures,
        thresholds=model.calibration.list_threshold_steps(),
        language=model.config.data.language,
        tokenizer=model.config.data.tokenizer,
    )
