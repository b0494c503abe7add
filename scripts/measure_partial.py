"""Measures training on data that is annotated in part: a new type for a model, and spans with unknown tags.

    python scripts/measure_partial.py DATA --vectors TABLE... [--epochs N] [--only full,first,...] [--json FILE]

DATA is a folder with train.txt and valid.txt of CoNLL-2003. Each row is a training of `ner-conll2003-fast`; its scores
are those of the best epoch on all of valid.txt, with all four types.

    full        all training data, fully annotated
    first       the same without the annotation of MISC
    continued   starts from `first`; the second half of the training documents, annotated for MISC alone
                (`data.annotated_types`)
    distilled   the same with `training.distill`
    unstated    as `continued`, without `data.annotated_types`: all other tokens are O
    unknown     all training data; 30 % of the tokens in spans, drawn at random, have the tag ? (`data.unknown_tag`)
    outside     the same tokens have the tag O
"""

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import tagger
from tagger.data import schemes
from tagger.data.sentence import Sentence

TRAININGS = ("full", "first", "continued", "distilled", "unstated", "unknown", "outside")
NEW = "MISC"
HIDDEN = 0.3


def main() -> None:
    """Runs the trainings and prints a row for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="Folder with train.txt and valid.txt of CoNLL-2003.")
    parser.add_argument("--vectors", type=Path, nargs="+", required=True, help="Tables of word vectors.")
    parser.add_argument("--epochs", type=int, default=20, help="Number of epochs of each training.")
    parser.add_argument("--only", default=",".join(TRAININGS), help="Trainings to run, in this order.")
    parser.add_argument("--out", type=Path, help="Directory of the runs; a temporary one by default.")
    parser.add_argument("--json", type=Path, help="File for the scores.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        prepare(read_sentences(options.data / "train.txt"), read_sentences(options.data / "valid.txt"), folder)
        scores = {}
        for name in options.only.split(","):
            scores[name] = measure(name, folder, options.vectors, options.epochs)
            print(name, json.dumps(scores[name]), flush=True)
        if options.json:
            options.json.write_text(json.dumps(scores, indent=1) + "\n")


def read_sentences(path: Path) -> list[Sentence]:
    """Returns the sentences of a file in columns, with tags in IOB2."""
    from tagger.data import reader
    from tagger.data.formats import Layout

    sentences = reader.read_sentences(path, input_format="columns", layout=Layout(), tagged=True)
    return [
        Sentence(each.tokens, tags=schemes.convert(each.tags, "IOB2"), document=each.document)
        for each in sentences
        if each.tokens
    ]


def prepare(train: Sequence[Sentence], dev: Sequence[Sentence], folder: Path) -> None:
    """Writes the training and dev files of all trainings into a folder."""
    middle = len({sentence.document for sentence in train}) // 2
    later = [sentence for sentence in train if sentence.document >= middle]
    draw = random.Random(1)
    hidden = [[tag != "O" and draw.random() < HIDDEN for tag in sentence.tags] for sentence in train]
    tags = [list(sentence.tags) for sentence in train]
    write(train, tags, folder / "full.conll")
    write(dev, [list(sentence.tags) for sentence in dev], folder / "dev.conll")
    write(train, keep_types(train, lambda kind: kind != NEW), folder / "first.conll")
    write(dev, keep_types(dev, lambda kind: kind != NEW), folder / "first-dev.conll")
    write(later, keep_types(later, lambda kind: kind == NEW), folder / "continued.conll")
    for name, tag in (("unknown", "?"), ("outside", "O")):
        replaced = [
            [tag if is_hidden else known for known, is_hidden in zip(*pair, strict=True)]
            for pair in zip(tags, hidden, strict=True)
        ]
        write(train, replaced, folder / f"{name}.conll")


def keep_types(sentences: Sequence[Sentence], is_kept: Callable[[str], bool]) -> list[list[str]]:
    """Returns the tags of sentences, O for spans of other types."""
    return [[tag if tag == "O" or is_kept(tag[2:]) else "O" for tag in sentence.tags] for sentence in sentences]


def write(sentences: Sequence[Sentence], tags: Sequence[Sequence[str]], path: Path) -> None:
    """Writes sentences with these tags as columns, with a line before each document."""
    document = None
    with path.open("w", encoding="utf-8") as stream:
        for sentence, row in zip(sentences, tags, strict=True):
            if sentence.document != document:
                document = sentence.document
                stream.write("-DOCSTART- O\n\n")
            stream.writelines(f"{token} {tag}\n" for token, tag in zip(sentence.tokens, row, strict=True))
            stream.write("\n")


def measure(name: str, folder: Path, vectors: Sequence[Path], epochs: int) -> dict[str, float]:
    """Returns the scores of a training on all dev data: F1 over all types and of each type."""
    is_continued = name in ("continued", "distilled", "unstated")
    settings: dict[str, object] = {"data.columns": ["token", "ner"], "training.epochs": epochs}
    if name in ("continued", "distilled"):
        settings["data.annotated_types"] = [NEW]
        settings["training.distill"] = name == "distilled"
    if name == "unknown":
        settings["data.unknown_tag"] = "?"
    result = tagger.train(
        "ner-conll2003-fast",
        train=folder / ("continued.conll" if is_continued else f"{name}.conll"),
        dev=folder / ("first-dev.conll" if name == "first" else "dev.conll"),
        vectors=() if is_continued else vectors,
        out=folder / f"run-{name}",
        settings=settings,
        init_from=folder / "run-first" / "model-best" if is_continued else None,
    )
    report = tagger.evaluate(result.tagger, folder / "dev.conll")
    seconds = sum(record.seconds + record.dev_seconds for record in result.history)
    types = {kind: round(score.f1, 2) for kind, score in report.types.items()}
    return {
        "f1": round(report.f1, 2),
        **types,
        "epochs": len(result.history),
        "seconds": round(seconds),
    }


if __name__ == "__main__":
    main()
