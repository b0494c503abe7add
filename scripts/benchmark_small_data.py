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
import gzip
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmark_systems import Result, describe_run

Tagged = tuple[list[str], list[str]]
"""Tokens and tags of a sentence, in IOB2."""
Spans = list[list[list[Any]]]
"""For each sentence type, start and end of each span."""
SYSTEMS = ("tagger", "spacy", "flair", "flair-characters")


def read_documents(path: Path) -> list[list[Tagged]]:
    """Returns the documents of a file in columns."""
    from tagger.data import reader, schemes
    from tagger.data.formats import Layout

    documents: dict[int, list[Tagged]] = {}
    for sentence in reader.read_sentences(path, input_format="columns", layout=Layout(), tagged=True):
        if sentence.tokens:
            tags = schemes.spans_to_tags(schemes.tags_to_spans(sentence.tags), len(sentence), "IOB2")
            documents.setdefault(sentence.document, []).append((list(sentence.tokens), list(tags)))
    return list(documents.values())


def draw(documents: Sequence[list[Tagged]], size: int, seed: int) -> list[list[Tagged]]:
    """Returns shuffled documents with `size` sentences in total; the last document may be truncated."""
    drawn: list[list[Tagged]] = []
    for document in random.Random(seed).sample(documents, len(documents)):
        if size > 0:
            drawn.append(document[:size])
            size -= len(document)
    return drawn


def write_columns(documents: Sequence[list[Tagged]], path: Path) -> None:
    """Writes documents as two columns."""
    with path.open("w", encoding="utf-8") as stream:
        for document in documents:
            stream.write("-DOCSTART- O\n\n")
            for tokens, tags in document:
                stream.writelines(f"{token} {tag}\n" for token, tag in zip(tokens, tags, strict=True))
                stream.write("\n")


def spans_of(tags: Sequence[str]) -> list[list[Any]]:
    """Returns type, start and end of the spans of tags in IOB2.

    >>> spans_of(["B-LOC", "I-LOC", "B-LOC", "O"])
    [['LOC', 0, 2], ['LOC', 2, 3]]
    """
    spans: list[list[Any]] = []
    for index, tag in enumerate(tags):
        if tag.startswith("B-"):
            spans.append([tag[2:], index, index + 1])
        elif tag.startswith("I-"):
            spans[-1][2] = index + 1
    return spans


def f1(gold: Spans, predicted: Spans) -> float:
    """Returns the F1 of spans over all sentences, in percent."""
    sets = [({*map(tuple, one)}, {*map(tuple, other)}) for one, other in zip(gold, predicted, strict=True)]
    correct = sum(len(one & other) for one, other in sets)
    return 200 * correct / max(1, sum(len(one) + len(other) for one, other in sets))


def train_tagger(folder: Path, vectors: Path) -> Result:
    """Trains with this toolkit on the files of a folder."""
    recipe, run = folder / "mine.yaml", folder / "run"
    start = time.perf_counter()
    data = [str(folder / "train.txt"), str(folder / "dev.txt")]
    run_command("init", *data, "--out", str(recipe), "--vectors", str(vectors))
    run_command("train", str(recipe), "--out", str(run), "--device", "cpu")
    seconds = time.perf_counter() - start
    lines = run_command(
        "tag", str(folder / "dev.txt"), "--from", "columns", "--to", "jsonl", "--model", str(run / "model-best")
    )
    rows = [json.loads(line) for line in lines.splitlines()]
    predicted = [[[span["type"], span["start"], span["end"]] for span in row["spans"]] for row in rows]
    return {"predicted": predicted, "seconds": seconds}


def run_command(*arguments: str) -> str:
    """Runs a command of the toolkit; returns its standard output."""
    done = subprocess.run([sys.executable, "-m", "tagger", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"tagger {arguments[0]} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def train_spacy(data: dict[str, list[Tagged]], vectors: Path, folder: Path) -> Result:
    """Trains spaCy's NER; the vectors are converted before the time is measured."""
    import spacy
    from spacy.cli.init_config import init_config
    from spacy.cli.train import train
    from spacy.tokens import Doc, DocBin, Span
    from spacy.training.initialize import convert_vectors

    blank = spacy.blank("en")
    attribute = "ORTH" if any(word != word.lower() for word, _ in read_vectors(vectors)) else "LOWER"
    convert_vectors(blank, vectors, truncate=0, prune=-1, attr=attribute)
    blank.to_disk(folder / "vectors")
    for part, sentences in data.items():
        docs = DocBin()
        for tokens, tags in sentences:
            doc = Doc(blank.vocab, words=tokens, sent_starts=[True] + [False] * (len(tokens) - 1))
            doc.ents = [Span(doc, start, end, label=kind) for kind, start, end in spans_of(tags)]
            docs.add(doc)
        docs.to_disk(folder / f"{part}.spacy")
    config = init_config(lang="en", pipeline=["ner"], optimize="efficiency", gpu=False)
    config["components"]["tok2vec"]["model"]["embed"]["include_static_vectors"] = True
    for part in data:
        config["paths"][part] = str(folder / f"{part}.spacy")
        config["corpora"][part]["gold_preproc"] = True
    config["paths"]["vectors"] = str(folder / "vectors")
    config.to_disk(folder / "config.cfg")
    start = time.perf_counter()
    train(folder / "config.cfg", folder / "model")
    seconds = time.perf_counter() - start
    pipeline = spacy.load(folder / "model" / "model-best")
    docs = pipeline.pipe(Doc(pipeline.vocab, words=tokens) for tokens, _ in data["dev"])
    return {"predicted": [[[ent.label_, ent.start, ent.end] for ent in doc.ents] for doc in docs], "seconds": seconds}


def train_flair(data: dict[str, list[Tagged]], vectors: Path, folder: Path, *, has_characters: bool) -> Result:
    """Trains Flair's BiLSTM-CRF; the vectors are read before the time is measured."""
    import numpy as np
    import torch
    from flair.data import Corpus, Dictionary, Sentence
    from flair.datasets import FlairDatapointDataset
    from flair.embeddings import CharacterEmbeddings, StackedEmbeddings, WordEmbeddings
    from flair.models import SequenceTagger
    from flair.trainers import ModelTrainer

    table = dict(read_vectors(vectors))
    matrix = np.array([numbers.split(" ") for numbers in table.values()], np.float32)
    vocab = {word: index for index, word in enumerate(table)}
    words = WordEmbeddings(None, vocab=vocab, embedding_length=matrix.shape[1], name="table")
    words.embedding.weight.data[:-1] = torch.from_numpy(matrix)
    characters = Dictionary()
    for character in sorted({character for tokens, _ in data["train"] for token in tokens for character in token}):
        characters.add_item(character)
    start = time.perf_counter()
    parts: dict[str, Any] = {}
    for part, sentences in data.items():
        parts[part] = []
        for tokens, tags in sentences:
            sentence = Sentence(tokens)
            for kind, first, last in spans_of(tags):
                sentence[first:last].add_label("ner", kind)
            parts[part].append(sentence)
    corpus = Corpus(*(FlairDatapointDataset(parts[part]) for part in ("train", "dev")), sample_missing_splits=False)
    embeddings = StackedEmbeddings([words, CharacterEmbeddings(characters)] if has_characters else [words])
    tags = corpus.make_label_dictionary("ner", add_unk=False)
    ModelTrainer(SequenceTagger(embeddings, tags, "ner"), corpus).train(folder / "model", save_final_model=False)
    seconds = time.perf_counter() - start
    best = SequenceTagger.load(folder / "model" / "best-model.pt")
    sentences = [Sentence(tokens) for tokens, _ in data["dev"]]
    best.predict(sentences, label_name="predicted")
    predicted = [
        [[span.tag, span[0].idx - 1, span[-1].idx] for span in sentence.get_spans("predicted")]
        for sentence in sentences
    ]
    return {"predicted": predicted, "seconds": seconds}


def read_vectors(path: Path) -> Iterator[tuple[str, str]]:
    """Yields the words of a text table and their numbers; a header line is skipped."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for line in lines:
            word, _, numbers = line.rstrip("\n ").partition(" ")
            if " " in numbers:
                yield word, numbers


def serve(system: str, vectors: str, folder: str) -> None:
    """Trains another system on the data of a folder and writes its result there."""
    data = json.loads((Path(folder) / "data.json").read_text())
    if system == "spacy":
        result = train_spacy(data, Path(vectors), Path(folder))
    else:
        result = train_flair(data, Path(vectors), Path(folder), has_characters=system == "flair-characters")
    (Path(folder) / "result.json").write_text(json.dumps(result))


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
            command = [python, __file__, "--serve", system, str(arguments.vectors.resolve()), str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode:
                sys.exit(f"{system} failed:\n{done.stdout[-3000:]}")
            result = json.loads((folder / "result.json").read_text())
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
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        main()
