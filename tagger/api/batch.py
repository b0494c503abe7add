"""The Python API of `tagger tag`."""

import sys
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from tagger import model_names, tagging
from tagger.choices import Device, Engine, InputFormat, Newline, OnError, OutputFormat
from tagger.data import schemes
from tagger.errors import ConfigError
from tagger.io import atomic, json_files, line_reader
from tagger.jobs import inputs
from tagger.jobs.inputs import STDIN
from tagger.jobs.job import Formats, Job
from tagger.jobs.local import engine as local
from tagger.jobs.local.engine import Callback
from tagger.jobs.summary import Summary
from tagger.tagging import DecodingOptions
from tagger.tagging.tagger import BATCH_TOKENS, MAX_TOKENS


def tag_files(
    model: str | Path,
    paths: str | Path | Iterable[str | Path],
    *,
    out: str | Path | None = None,
    input_format: InputFormat | None = None,
    output_format: OutputFormat | None = None,
    pattern: str | None = None,
    scheme: str | None = None,
    token_column: int | str | None = None,
    tag_column: int | str | None = None,
    language: str | None = None,
    newline: Newline = "break",
    probabilities: bool = False,
    threshold: float | None = None,
    precision: float | None = None,
    nbest: int = 0,
    max_tokens: int = MAX_TOKENS,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
    batch_tokens: int = BATCH_TOKENS,
    workers: int | None = None,
    on_error: OnError = "stop",
    rejects: str | Path | None = None,
    stream: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    summary: str | Path | None = None,
    engine: Engine = "local",
    device: Device = "auto",
    streams: tuple[BinaryIO, BinaryIO] | None = None,
    callback: Callback = lambda *_: None,
) -> Summary:
    """Tags files as `tagger tag` does, and returns the numbers of documents, sentences, tokens and spans.

    Args:
        model: a model directory, or `hub:USER/NAME` or `hub:USER/NAME@REVISION` for a model of the Hub.
        paths: files, folders or globs; the string "-" is standard input.
        out: the directory for one output file per input file; None writes all output to standard output.
        input_format: the format of the files; None for the format that name and content show, text by default.
        output_format: the format of the outputs; None for the input format, jsonl for text, json and spacy,
            or columns for lines.
        pattern: a glob for the files of a folder; None for all that are not hidden.
        scheme: the scheme of the output tags, IOB1, IOB2 (BIO) or IOBES (BIOES); None for the scheme of the training.
        token_column: the column of the token, by number from 0 or by name; None for the column used in training.
        tag_column: likewise the column of the tag; in CoNLL-U upos, xpos or misc:KEY.
        language: the ISO code of the language of raw text; None for that of the model.
        newline: break ends a sentence of raw text at each newline; space only at blank lines, for hard-wrapped text.
        probabilities: whether to write the exact probability of each tag and span.
        threshold: drop spans with a lower probability.
        precision: drop spans below the threshold of their type that has at least this precision, with 95 % confidence
            on the data that the model was calibrated on.
        nbest: the number of most probable tag sequences to write for each sentence.
        max_tokens: split sentences with more tokens into overlapping windows.
        max_record_bytes: the maximum size of a line, row or sentence in bytes.
        batch_tokens: the maximum number of tokens per batch, padding included.
        workers: the number of CPU cores to use, by threads, or by processes with the engine ray and for large inputs
            on Linux; None for all.
        on_error: stop at unreadable input, or skip it and write it to `rejects`.
        rejects: the file for skipped input; None for rejects.jsonl in `out`.
        stream: read standard input, and write and flush the output of each record as soon as the record is complete.
            Each record is tagged alone, without the other records of its document.
        resume: continue an interrupted job with the same arguments.
        overwrite: replace existing files in `out`.
        summary: a JSON file to write the returned summary to.
        engine: local for this machine, ray for a Ray cluster.
        device: auto, cpu, cuda or cuda:N.
        streams: binary input and output in place of standard input and output.
        callback: is called after each pool of records with the summary so far, the number of finished inputs and the
            number of all inputs.

    Raises:
        ConfigError: options do not fit the model or one another.
        DataError: an input cannot be read.
        StorageError: a file or directory is missing or cannot be written, or `out` holds another job.
        ModelError: the model directory is damaged.
        Stopped: by a signal; with `out` and `resume=True` the job continues.
    """
    directory = model_names.find(model)
    path_list = [paths] if isinstance(paths, str | Path) else list(paths)
    job = Job(
        paths=inputs.parse_paths(path_list),
        model=directory,
        formats=Formats(
            input_format, output_format, token_column, tag_column, schemes.parse_scheme(scheme), language, newline
        ),
        decoding=DecodingOptions(probabilities, threshold, nbest, precision=precision),
        out=None if out is None else Path(out),
        pattern=pattern,
        on_error=on_error,
        rejects=None if rejects is None else Path(rejects),
        summary=None if summary is None else Path(summary),
        stream=stream,
        resume=resume,
        overwrite=overwrite,
        max_tokens=max_tokens,
        max_record_bytes=max_record_bytes,
    )
    limits = {"batch_tokens": batch_tokens, "max_tokens": max_tokens}
    if job.summary is not None:
        atomic.check_writable(job.summary)
    if engine == "ray":
        if stream:
            raise ConfigError("the engine ray writes files; `stream` is for the engine local")
        if newline != "break":
            raise ConfigError("the engine ray divides files at newlines; `newline` is for the engine local")
        if out is None:
            raise ConfigError("the engine ray writes many files; pass a directory as `out`")
        from tagger.jobs.ray import engine as ray  # loads Ray, so only when it is used

        uris = [str(path) for path in path_list]
        result = ray.run(uris, str(out), job, device=device, workers=workers, limits=limits, callback=callback)
    else:
        tagger = tagging.load(
            directory, device=device, workers=workers, batch_tokens=batch_tokens, max_tokens=max_tokens
        )
        result = local.run(tagger, job, streams or _standard_streams(job), callback=callback)
    if job.summary is not None:
        atomic.write_output(job.summary, json_files.dump(result.to_json(), indent=1) + b"\n")
    return result


def _standard_streams(job: Job) -> tuple[BinaryIO, BinaryIO]:
    """Returns binary standard input and output, which notebooks and some GUIs do not have.

    Raises:
        ConfigError: the job needs one of them, and it does not exist.
    """
    stdin, stdout = getattr(sys.stdin, "buffer", None), getattr(sys.stdout, "buffer", None)
    if stdin is None and STDIN in job.paths:
        raise ConfigError("standard input cannot be read here; pass files or `streams`")
    if stdout is None and job.out is None:
        raise ConfigError("standard output cannot be written here; pass `out` or `streams`")
    return stdin or BytesIO(), stdout or BytesIO()
