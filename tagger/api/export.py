"""The Python API of `tagger export`."""

from pathlib import Path

from tagger import tagging
from tagger.choices import ExportFormat, check_choices
from tagger.export.onnx import exporter
from tagger.export.onnx.exporter import ExportResult


def export_model(
    model: str | Path,
    out: str | Path,
    *,
    output_format: ExportFormat = "onnx",
    quantize: bool = False,
    overwrite: bool = False,
) -> ExportResult:
    """Writes a model in a format that other programs run, as `tagger export` does.

        tagger.export_model("runs/mine/model-best", "onnx/")

        from tagger.export.onnx import OnnxTagger
        OnnxTagger("onnx/").tag(["Ada lives in Oslo ."])

    The exported model tags random sentences first. If a tag differs from that of the model in PyTorch, nothing is
    written.

    Args:
        model: a model directory, or a name on the Hugging Face Hub.
        out: the directory to write.
        output_format: the format; onnx is the only one.
        quantize: store word vectors and the weights of LSTMs over tokens as int8. The files are smaller, tagging is
            faster, and a few tags change.
        overwrite: replace an export that `out` holds.

    Raises:
        ConfigError: the model cannot be exported, such as one with a transformer; or a library is not installed.
        ModelError: the model is missing or damaged, or the exported one gives other tags.
        StorageError: `out` exists already or cannot be written.
    """
    check_choices(output_format=(output_format, ExportFormat))
    exporter.check_output(Path(out), overwrite=overwrite)
    return exporter.export(tagging.load(model, device="cpu"), Path(out), quantize=quantize, overwrite=overwrite)
