#!/usr/bin/env python3
"""Compares the speed of the spaCy component with that of `tagger tag` from raw text to JSON lines.

Runs alternate, so that both see the same machine. The ratio of the medians should be at least 0.5.

    scripts/benchmark_spacy.py runs/ner-conll2003/model-best texts.txt --rounds 5
"""

import argparse
import statistics
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import tagger
from tagger.integrations import spacy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="model directory")
    parser.add_argument("text", type=Path, help="file of raw text; blank lines separate the documents of spaCy")
    parser.add_argument("--rounds", type=int, default=5, help="number of runs of each [5]")
    parser.add_argument("--probabilities", action="store_true", help="compute probabilities in both")
    arguments = parser.parse_args()
    texts = [text for text in arguments.text.read_text("utf-8").split("\n\n") if text.strip()]
    pipelines = {"spaCy, tokenizer of tagger": spacy.create_blank(), "spaCy's tokenizer": spacy.blank("en")}
    for nlp in pipelines.values():
        config = {"model": arguments.model, "device": "cpu", "probabilities": arguments.probabilities}
        nlp.add_pipe("bilstm_crf_tagger", config=config).initialize(list)
    loaded = tagger.load(arguments.model, device="cpu")
    tokens = sum(len(sentence) for document in loaded.tag_text(texts) for sentence in document.sentences)

    def write_json_lines() -> None:
        tagger.tag_files(
            arguments.model,
            arguments.text,
            probabilities=arguments.probabilities,
            device="cpu",
            streams=(BytesIO(), BytesIO()),
        )

    def load_model() -> None:
        tagger.load(arguments.model, device="cpu")

    runs: dict[str, Callable[[], None]] = {"text to JSON lines": write_json_lines, "loading": load_model}
    for name, nlp in pipelines.items():
        runs[name] = lambda nlp=nlp: [None for _ in nlp.pipe(texts)] and None  # type: ignore[misc]
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(arguments.rounds + 1):  # the first one warms up
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    loading = medians.pop("loading")
    medians["text to JSON lines"] -= loading  # `tag_files` loads the model, too
    reference = medians["text to JSON lines"]
    for name, median in medians.items():
        print(f"{name:28}{tokens / median:12,.0f} tokens/s{reference / median:8.2f} of text to JSON lines")


if __name__ == "__main__":
    main()
