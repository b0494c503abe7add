"""The Python API of `tagger export`."""

from pathlib import Path

from tagger import model_names, tagging
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

    Both models tag random sentences first. Nothing is written if the exact export disagrees, except for ties, or if
    quantization changes more than 2 % of the tags.

    Args:
        model: a model directory, or `hub:USER/NAME` or `hub:USER/NAME@REVISION` for a model of the Hub.
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
    return exporter.export(
        tagging.load(model_names.find(model), device="cpu"), Path(out), quantize=quantize, overwrite=overwrite
    )
