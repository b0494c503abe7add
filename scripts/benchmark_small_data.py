"""Trains this toolkit, spaCy and Flair on the first sentences of a corpus: dev F1 and seconds by amount of data.

    python scripts/benchmark_small_data.py TRAIN DEV --vectors TABLE [--sizes 50,300,1000] [--draws 3] [--json FILE]

TRAIN and DEV are files in columns with spans and -DOCSTART- lines. A draw shuffles the training documents; the first
sentences of the shuffled documents are the training data. All systems get the same sentences, dev data and vectors.

    tagger     `tagger init` and `tagger train` with the drafted recipe
    spacy      NER of `spacy init config --optimize efficiency`, with static vectors and gold tokens
    flair      SequenceTagger with WordEmbeddings, a BiLSTM-CRF, trained with the defaults of ModelTrainer
    flair-characters  the same with CharacterEmbeddings, as in Lample et al. (2016)

Each system selects its best epoch by dev F1 and stops by its own rule. Values of a row:

    f1               dev F1 of spans, in percent, computed by this script from the predicted spans
    seconds          of `tagger init` and `tagger train` as commands; of the training alone for the others
    process_seconds  of the whole process: imports, vectors, training and tagging of the dev data
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmark_systems import Result, describe_run
from peers import Tagged, draw, f1, peer_process, predict_spans, read_documents, run_command, spans_of

SYSTEMS = ("tagger", "spacy", "flair", "flair-characters")


def write_columns(documents: Sequence[list[Tagged]], path: Path) -> None:
    """Writes documents as two columns."""
    with path.open("w", encoding="utf-8") as stream:
        for document in documents:
            stream.write("-DOCSTART- O\n\n")
            for tokens, tags in document:
                stream.writelines(f"{token} {tag}\n" for token, tag in zip(tokens, tags, strict=True))
                stream.write("\n")


def train_tagger(folder: Path, vectors: Path) -> Result:
    """Trains with this toolkit on the files of a folder."""
    recipe, run = folder / "mine.yaml", folder / "run"
    start = time.perf_counter()
    data = [str(folder / "train.txt"), str(folder / "dev.txt")]
    run_command("init", *data, "--out", str(recipe), "--vectors", str(vectors))
    run_command("train", str(recipe), "--out", str(run), "--device", "cpu")
    seconds = time.perf_counter() - start
    predicted = predict_spans(run / "model-best", folder / "dev.txt")
    return {"predicted": predicted, "seconds": seconds}


def measure(system: str, train: list[list[Tagged]], dev: list[list[Tagged]], arguments: argparse.Namespace) -> Result:
    """Trains a system once; returns dev F1 and seconds."""
    gold = [spans_of(tags) for document in dev for _, tags in document]
    with tempfile.TemporaryDirectory() as name:
        folder, start = Path(name), time.perf_counter()
        if system == "tagger":
            write_columns(train, folder / "train.txt")
            write_columns(dev, folder / "dev.txt")
            result = train_tagger(folder, arguments.vectors.resolve())
        else:
            data = {"train": [one for document in train for one in document], "dev": [one for d in dev for one in d]}
            (folder / "data.json").write_text(json.dumps(data))
            python = sys.executable if system == "spacy" else str(arguments.flair_python)
            peer = peer_process(python, system, folder, arguments.vectors)
            peer.call("prepare")
            result = {"seconds": peer.call("train")["value"]}
            peer.call("load")
            result["predicted"] = peer.call("predict", "dev")["spans"]
            peer.close()
        process_seconds = time.perf_counter() - start
    return {"f1": f1(gold, result["predicted"]), "seconds": result["seconds"], "process_seconds": process_seconds}


def print_table(rows: Sequence[Result], sizes: Sequence[int], systems: Sequence[str]) -> None:
    """Prints the mean F1 with its range, and the mean seconds, for each system and size."""
    print("| system | " + " | ".join(f"{size} sentences | seconds" for size in sizes) + " |")
    print("|---|" + "---|---|" * len(sizes))
    for system in systems:
        cells = []
        for size in sizes:
            chosen = [row for row in rows if (row["system"], row["sentences"]) == (system, size)]
            scores = [row["f1"] for row in chosen]
            cells.append(f"{statistics.mean(scores):.1f} ({min(scores):.1f}–{max(scores):.1f})")
            cells.append(f"{statistics.mean(row['seconds'] for row in chosen):.0f}")
        print(f"| {system} | " + " | ".join(cells) + " |")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="training file in columns")
    parser.add_argument("dev", type=Path, help="development file in columns")
    parser.add_argument("--vectors", type=Path, required=True, help="text table of word vectors, plain or .gz")
    parser.add_argument("--sizes", default="50,300,1000", help="numbers of training sentences")
    parser.add_argument("--draws", type=int, default=3, help="draws of each size")
    parser.add_argument("--systems", default="tagger,spacy,flair", help=f"some of {', '.join(SYSTEMS)}")
    parser.add_argument("--flair-python", type=Path, default=Path(sys.executable), help="Python that has Flair")
    parser.add_argument("--json", type=Path, help="file for all results")
    arguments = parser.parse_args()
    sizes, systems = [int(size) for size in arguments.sizes.split(",")], arguments.systems.split(",")
    if unknown := {*systems} - {*SYSTEMS}:
        parser.error(f"unknown system {min(unknown)}; expected some of {', '.join(SYSTEMS)}")
    documents, dev = read_documents(arguments.train), read_documents(arguments.dev)
    rows: list[Result] = []
    for size in sizes:
        for number in range(1, arguments.draws + 1):
            train = draw(documents, size, number)
            for system in systems:
                row = {"system": system, "sentences": size, "draw": number} | measure(system, train, dev, arguments)
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
                if arguments.json:
                    results = {"run": describe_run(Path(__file__).name), "rows": rows}
                    arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print_table(rows, sizes, systems)


if __name__ == "__main__":
    main()
