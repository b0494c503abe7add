"""The Python API of `tagger calibrate`."""

from collections.abc import Sequence
from pathlib import Path

from tagger import model_dir, model_names, tagging
from tagger.analysis import calibrator
from tagger.analysis.calibrator import CalibrationResult
from tagger.choices import Device, Misaligned, TagFormat, TaggedFormat, check_choices
from tagger.data import tagged_files
from tagger.data.tagged_files import FileOptions
from tagger.errors import ConfigError


def calibrate(
    model: str | Path,
    data: str | Path,
    *,
    out: str | Path | None = None,
    precisions: Sequence[float] = (0.9, 0.95, 0.99),
    input_format: TaggedFormat | None = None,
    token_column: int | str | None = None,
    tag_column: int | str | None = None,
    tag_format: TagFormat | None = None,
    misaligned: Misaligned | None = None,
    device: Device = "auto",
) -> CalibrationResult:
    """Fits a model's probabilities to annotated data and stores the calibration in the model.

    Args:
        model: a model directory, or `hub:USER/NAME` or `hub:USER/NAME@REVISION` for a model of the Hub.
        data: a tagged file that the model was not trained on, such as the dev data.
        out: the directory of the calibrated copy; None to store the calibration in the model directory itself.
        precisions: the precisions for which the result shows thresholds; a tagger can be asked for any other.
        input_format: as for `evaluate`.
        token_column: as for `evaluate`.
        tag_column: as for `evaluate`.
        tag_format: as for `evaluate`.
        misaligned: as for `evaluate`.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        ConfigError: an option does not fit the model or the file, or a precision is not in [0, 1].
        DataError: the data cannot be read, or holds too few predictions.
        StorageError: the directory of the result cannot be written, or is not a model.
        ModelError: the model is missing or damaged.
    """
    check_choices(tag_format=(tag_format, TagFormat), misaligned=(misaligned, Misaligned))
    for precision in precisions:
        if not 0 <= precision <= 1:
            raise ConfigError(f"`precisions` must be from 0 to 1, got {precision}")
    if out is None and model_names.parse(model) is not None:
        raise ConfigError(f"{model}: a model of the Hub is not changed; pass `out` for a calibrated copy")
    directory = model_names.find(model)
    target = directory if out is None else Path(out)
    model_dir.check_target(target)
    tagger = tagging.load(directory, device=device)
    options = FileOptions(input_format, token_column, tag_column, tag_format, misaligned)
    has_spans = tagger.model.scheme is not None
    corpus = tagged_files.read_file(Path(data), tagger.model.config.data, options, has_spans=has_spans)
    result = calibrator.fit(tagger, corpus, precisions=precisions)
    model_dir.add_calibration(directory, result.calibration, target)
    return result
