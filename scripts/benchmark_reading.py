"""Measures how fast annotated text is read for training, beside raw text that is split, tagged with O and written.

    python scripts/benchmark_reading.py [--corpus FILE] [--tokens 500000] [--rounds 5] [--json FILE]

The texts are the sentences of a tagged file, joined by spaces, ten to a record, with their spans as character offsets.
Both measurements are medians over alternating rounds, in tokens per second:

    training    JSON lines with offsets -> tagged sentences, as `tagger train` reads them
    tagging     raw text -> sentences -> JSON lines, as `tagger tag` does without its network
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tagger.data import reader, schemes
from tagger.data.formats import Layout
from tagger.data.formats.writing import WriteOptions
from tagger.data.sentence import Record, Sentence
from tagger.data.writer import make_sink

SAMPLE = Path(__file__).parents[1] / "configs" / "sample" / "train.txt"
SENTENCES = 10  # in a record
T = TypeVar("T")


def main() -> None:
    """Runs the benchmark and prints a row for each measurement, and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=SAMPLE, help="Tagged file in columns.")
    parser.add_argument("--tokens", type=int, default=500_000, help="Number of tokens to read.")
    parser.add_argument("--rounds", type=int, default=5, help="Number of rounds.")
    parser.add_argument("--json", type=Path, help="File for the figures.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        annotated, raw = Path(folder, "a.jsonl"), Path(folder, "a.txt")
        write_inputs(options.corpus, options.tokens, annotated, raw)
        rows = measure({"training": lambda: read_training(annotated), "tagging": lambda: tag_text(raw)}, options.rounds)
    rows["ratio"] = rows["training"] / rows["tagging"]
    for name, value in rows.items():
        print(f"{name:10} {value:12,.2f}" if name == "ratio" else f"{name:10} {value:12,.0f} tokens/s")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def write_inputs(corpus: Path, tokens: int, annotated: Path, raw: Path) -> None:
    """Writes about `tokens` tokens of a corpus as JSON lines with offsets, and as raw text."""
    sentences = reader.read_corpus(corpus, input_format="columns", layout=Layout()).sentences
    count, rows, lines = 0, [], []
    for group in batches(itertools.cycle(sentences), SENTENCES):
        text, spans = annotate(group)
        rows.append(json.dumps({"text": text, "label": spans}, ensure_ascii=False) + "\n")
        lines.append(text + "\n")
        count += sum(map(len, group))
        if count >= tokens:
            break
    annotated.write_text("".join(rows), encoding="utf-8")
    raw.write_text("".join(lines), encoding="utf-8")


def annotate(sentences: Sequence[Sentence]) -> tuple[str, list[tuple[int, int, str]]]:
    """Returns the text of sentences, and the start, end and type of each span."""
    pieces, spans, start = [], [], 0
    for sentence in sentences:
        offsets = []
        for token in sentence.tokens:
            offsets.append((start, start + len(token)))
            pieces.append(token)
            start += len(token) + 1
        for span in schemes.tags_to_spans(sentence.tags):
            spans.append((offsets[span.start][0], offsets[span.end - 1][1], span.type))
    return " ".join(pieces), spans


def batches(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Yields `size` items at a time; the last batch may have fewer."""
    iterator = iter(items)
    return iter(lambda: tuple(itertools.islice(iterator, size)), ())


def measure(tasks: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Returns the median tokens per second of each task, which returns its number of tokens."""
    speeds: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()  # fills the caches of the tokenizer
    for name, task in [*tasks.items()] * rounds:
        start = time.perf_counter()
        tokens = task()
        speeds[name].append(tokens / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in speeds.items()}


def read_training(path: Path) -> int:
    """Reads a file for training; returns the number of tokens."""
    return reader.read_corpus(path, input_format="jsonl", layout=Layout()).tokens


def tag_text(path: Path) -> int:
    """Splits a raw text, tags each token with O and formats JSON lines; returns the number of tokens."""
    records = tag_outside(reader.read_records(path, input_format="text", layout=Layout()))
    sink = make_sink("jsonl", WriteOptions(input_format="text", layout=Layout()))
    tokens = 0
    for group in batches(records, 100):
        sink.write(group)
        tokens += sum(len(sentence) for record in group for sentence in record.sentences)
    return tokens


def tag_outside(records: Iterator[Record]) -> Iterator[Record]:
    """Yields records whose tokens have the tag O."""
    for record in records:
        tagged = (replace(sentence, tags=("O",) * len(sentence)) for sentence in record.sentences)
        yield replace(record, sentences=tuple(tagged))


if __name__ == "__main__":
    main()
