"""Measures an exported model: tags, F1, sizes, time for a sentence, and the time until the first tag.

    python scripts/benchmark_onnx.py FILE --model DIR [--sentences 300] [--rounds 5] [--json FILE]

The model is exported with and without `--quantize`, without the comparison that `tagger export` makes.

    differ     tags of the file that differ from those of PyTorch
    f1         span F1 of the file (accuracy of plain tags)
    size       MB of the graph
    sentence   milliseconds for one sentence of 15 to 25 tokens from Python: by the PyTorch network, by `Tagger` with
               its compiled kernels, and by `OnnxTagger`, alternately. The least of all rounds for each sentence,
               because other processes can only add to it; then the median over the sentences
    first tag  seconds of a new process that imports OnnxTagger, loads the model and tags a sentence, beyond those of an
               empty process; the least of all rounds
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from benchmark_systems import Result, describe_run

import tagger
from tagger.data import schemes, tagged_files
from tagger.data.sentence import Sentence
from tagger.data.tagged_files import FileOptions
from tagger.export.onnx import OnnxTagger, builder, exporter, files
from tagger.tagging import Tagger
from tagger.tagging.scorer import TorchScorer

FIRST_TAG = "from tagger.export.onnx import OnnxTagger; OnnxTagger({!r}).tag(['Ada lives in Oslo .'])"
Tag = Callable[[list[Sentence]], object]


def write_exports(model: Tagger, folder: Path) -> dict[str, Path]:
    """Writes both exports and returns their directories."""
    directories = {"onnx": folder / "float32", "onnx-int8": folder / "int8"}
    for name, directory in directories.items():
        contents = {
            files.GRAPH: builder.build_graph(model.model, quantize=name == "onnx-int8"),
            files.PREPROCESSING: exporter.describe_preprocessing(model.model).to_bytes(),
            files.GOLDEN: b"{}",
        }
        files.write(directory, contents, overwrite=False)
    return directories


def measure_tags(model: Tagger, systems: dict[str, OnnxTagger], corpus: list[Sentence]) -> list[Result]:
    """Returns the number of different tags and the score of each system."""
    rows: list[Result] = []
    expected = model.tag(corpus)
    reference = [tag for sentence in expected for tag in sentence.tags]
    results = {"pytorch": expected} | {name: system.tag(corpus) for name, system in systems.items()}
    for name, tagged in results.items():
        tags = [tag for sentence in tagged for tag in sentence.tags]
        different = sum(left != right for left, right in zip(tags, reference, strict=True))
        rows.append({"row": f"differ {name}", "unit": f"of {len(tags)}", "value": different})
        value = score(corpus, tagged, has_spans=model.model.scheme is not None)
        rows.append({"row": f"f1 {name}", "unit": "%", "value": value})
    return rows


def measure_sentences(systems: dict[str, Tag], sentences: Sequence[Sentence], rounds: int) -> list[Result]:
    """Returns the milliseconds for a sentence by each system."""
    least: dict[str, list[float]] = {name: [float("inf")] * len(sentences) for name in systems}
    for _ in range(rounds + 1):  # the first one fills caches
        for number, sentence in enumerate(sentences):
            for name, tag in systems.items():
                start = time.perf_counter()
                tag([sentence])
                least[name][number] = min(least[name][number], time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in least.items()}
    rows = [{"row": f"sentence {name}", "unit": "ms", "value": 1000 * value} for name, value in medians.items()]
    for other in ("network", "kernels"):
        row = {"row": f"onnx / {other}", "unit": "x", "value": medians["onnx"] / medians[other]}
        rows.append(row)
    return rows


def seconds_of(program: str) -> float:
    """Returns the seconds of a new process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return time.perf_counter() - start


def measure(model: Tagger, corpus: list[Sentence], folder: Path, options: argparse.Namespace) -> list[Result]:
    """Returns all rows."""
    directories = write_exports(model, folder)
    systems = {name: OnnxTagger(directory) for name, directory in directories.items()}
    rows = measure_tags(model, systems, corpus)
    for name, directory in directories.items():
        rows.append({"row": f"size {name}", "unit": "MB", "value": (directory / files.GRAPH).stat().st_size / 1e6})
    network = tagger.load(options.model, device="cpu", workers=1)
    network._scorer = TorchScorer(network.model, torch.device("cpu"))
    timed: dict[str, Tag] = {"network": network.tag, "kernels": model.tag}
    timed |= {name: system.tag for name, system in systems.items()}
    usual = [sentence for sentence in corpus if 15 <= len(sentence) <= 25] or corpus
    rows += measure_sentences(timed, usual[: options.sentences], options.rounds)
    for name, directory in directories.items():
        seconds = [seconds_of(FIRST_TAG.format(str(directory))) - seconds_of("") for _ in range(options.rounds)]
        rows.append({"row": f"first tag {name}", "unit": "s", "value": min(seconds), "rounds": seconds})
    return rows


def score(gold: Sequence[Sentence], predicted: Sequence[Sentence], *, has_spans: bool) -> float:
    """Returns the span F1, or the accuracy of plain tags, in percent."""
    if not has_spans:
        tags = [[tag for sentence in sentences for tag in sentence.tags] for sentences in (gold, predicted)]
        return 100 * sum(left == right for left, right in zip(*tags, strict=True)) / len(tags[0])
    expected, found = map(span_keys, (gold, predicted))
    return 200 * len(expected & found) / (len(expected) + len(found))


def span_keys(sentences: Sequence[Sentence]) -> set[tuple[int, str, int, int]]:
    """Returns sentence, type and bounds of each span."""
    return {
        (number, *span.key)
        for number, sentence in enumerate(sentences)
        for span in schemes.tags_to_spans(sentence.tags)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="Tagged file in the format of the model's training data.")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="Model directory.")
    parser.add_argument("--sentences", type=int, default=300, help="Sentences whose time is measured [300].")
    parser.add_argument("--rounds", type=int, default=5, help="Number of rounds [5].")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the results as JSON.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = tagger.load(options.model, device="cpu", workers=1)
    has_spans = model.model.scheme is not None
    corpus = tagged_files.read_file(options.file, model.model.config.data, FileOptions(), has_spans=has_spans)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(model, list(corpus.sentences), Path(folder), options)
    for row in rows:
        print(f"{row['row']:22} {row['value']:10.3f} {row['unit']}")
    if options.json:
        options.json.write_text(json.dumps(describe_run("benchmark_onnx.py") | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
