"""The Python API of `tagger select`."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from tagger import model_names, tagging
from tagger.analysis import annotation_tasks, selection
from tagger.analysis.selection import SelectionOptions, SelectionResult
from tagger.choices import (
    AnnotationTool,
    Device,
    InputFormat,
    Newline,
    OnError,
    SelectionUnit,
    Uncertainty,
    check_choices,
)
from tagger.data.formats import brat
from tagger.io import atomic, line_reader
from tagger.jobs import inputs
from tagger.jobs.job import Formats, Job
from tagger.jobs.local import engine
from tagger.jobs.local.engine import Callback
from tagger.tagging import DecodingOptions
from tagger.tagging.tagger import BATCH_TOKENS, MAX_TOKENS


def select(
    model: str | Path,
    paths: str | Path | Iterable[str | Path],
    *,
    count: int,
    by: Uncertainty = "errors",
    unit: SelectionUnit = "sentence",
    seen: str | Path | Sequence[str | Path] = (),
    similarity: float = 0.5,
    out: str | Path | None = None,
    output_format: AnnotationTool = "doccano",
    input_format: InputFormat | None = None,
    pattern: str | None = None,
    token_column: int | str | None = None,
    language: str | None = None,
    newline: Newline = "break",
    max_tokens: int = MAX_TOKENS,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
    batch_tokens: int = BATCH_TOKENS,
    workers: int | None = None,
    on_error: OnError = "stop",
    rejects: str | Path | None = None,
    device: Device = "auto",
    stdin: BinaryIO | None = None,
    callback: Callback = lambda *_: None,
) -> SelectionResult:
    """Selects the sentences or documents that are most worth annotating, as `tagger select` does.

        result = tagger.select("runs/mine/model-best", "unlabelled.txt", count=200, seen="train.conll")
        for item in result.items[:20]:
            print(item.score, item.file, item.line, item.text, item.spans())

    Near-duplicates of what is selected or seen are skipped: two items are similar by the Jaccard similarity of their
    token trigrams, in lower case and with all numbers equal.

    Args:
        model: a model directory, or `hub:USER/NAME` or `hub:USER/NAME@REVISION` for a model of the Hub.
        paths: unlabelled files, folders or globs; the string "-" is standard input.
        count: the number of sentences or documents to select.
        by: the measure of uncertainty: `errors`, the expected number of wrong spans, `entropy` per token,
            `least-confidence` (1 − p(y1) ** (1 / T)), or `margin` (1 − (p(y1) − p(y2))); see
            `tagger.tagging.uncertainty`.
        unit: sentence or document.
        seen: files or folders of annotated data, brat among them, whose near-duplicates are skipped.
        similarity: the similarity from which an item is a near-duplicate of another, above 0; 1 for equal trigrams.
        out: a file for the selected items with the model's spans; None to write nothing.
        output_format: doccano, label-studio, prodigy or jsonl.
        input_format: the format of the files; None for the format that name and content show, text by default.
        pattern: a glob for the files of a folder; None for all that are not hidden.
        token_column: the column of the token, by number from 0 or by name; None for the column used in training.
        language: the ISO code of the language of raw text; None for that of the model.
        newline: break ends a sentence of raw text at each newline; space only at blank lines, for hard-wrapped text.
        max_tokens: split sentences with more tokens into overlapping windows, whose uncertainties are added.
        max_record_bytes: the maximum size of a line, row or sentence in bytes.
        batch_tokens: the maximum number of tokens per batch, padding included.
        workers: the number of CPU threads; None for all CPU cores.
        on_error: stop at unreadable input, or skip it and write it to `rejects`.
        rejects: the file for skipped input.
        device: auto, cpu, cuda or cuda:N.
        stdin: binary input in place of standard input.
        callback: is called after each pool of records, as that of `tagger.tag_files`.

    Raises:
        ConfigError: an option is unknown, or does not fit the model or another option.
        DataError: an input cannot be read, or an output would replace it.
        StorageError: a file is missing or cannot be written.
        ModelError: the model directory is damaged.
    """
    check_choices(by=(by, Uncertainty), unit=(unit, SelectionUnit), output_format=(output_format, AnnotationTool))
    options = SelectionOptions(count, by, unit, similarity)
    directory = model_names.find(model)
    job = Job(
        paths=inputs.parse_paths(paths),
        model=directory,
        formats=Formats(input_format, token_column=token_column, language=language, newline=newline),
        decoding=DecodingOptions(probabilities=True, uncertainty=by),
        pattern=pattern,
        on_error=on_error,
        rejects=None if rejects is None else Path(rejects),
        max_tokens=max_tokens,
        max_record_bytes=max_record_bytes,
    )
    target = None if out is None else Path(out)
    named = [seen] if isinstance(seen, str | Path) else seen
    seen_paths = tuple(dict.fromkeys(brat.find_text(Path(path)) for path in named))
    inputs.check_extra_outputs({"out": target, "rejects": job.rejects}, seen_paths, None, lambda path: False)
    if target is not None:
        atomic.check_writable(target)
    tagger = tagging.load(directory, device=device, workers=workers, batch_tokens=batch_tokens, max_tokens=max_tokens)
    source = stdin or getattr(sys.stdin, "buffer", None) or BytesIO()
    seen_job = Job(seen_paths, job.model, max_record_bytes=max_record_bytes)
    seen_records = engine.read_records(tagger, seen_job) if seen_paths else ()
    records = engine.tag_records(tagger, job, source, outputs={"out": target}, callback=callback)
    result = selection.select(records, options, seen_records)
    if tagger.model.scheme is None:
        result = replace(result, items=tuple(replace(item, has_spans=False) for item in result.items))
    if target is not None:
        atomic.write_output(target, annotation_tasks.dump(result.items, output_format))
    return result
