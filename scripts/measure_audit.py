"""Measures a label audit: how many of the labels that it corrupts are among the first suspects.

    python scripts/measure_audit.py DATA --vectors TABLE... [--folds 5] [--repeats 2] [--jobs N] [--set KEY=VALUE]...

DATA is a folder with train and dev files under their usual names. A fraction of the entities of the training data (5 %)
is corrupted, a quarter of them in each way:

    type        another type of the data
    boundary    one bound moved by a token, inwards or outwards
    removed     the entity is no entity any more
    invented    one to three tokens outside of entities become an entity

The audit ranks suspects. A suspect holds a corruption if its span is the corrupted one; for a removed entity, if it has
no annotation and overlaps the entity. The table has precision and recall of the first suspects, and recall by kind;
N is the number of corruptions.

If cleanlab is installed (`pip install cleanlab`), its ranking of the same probabilities is measured, too: the label
quality of each token, from the mean marginals of the same models. The tokens of an annotation, and a run of tokens that
the models put into one entity, are one item, ranked by its worst token.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import tagger
from tagger.analysis.audit import Audit
from tagger.data import corpus_folder, reader, schemes
from tagger.data.sentence import Sentence, Span

KINDS = ("type", "boundary", "removed", "invented")
FRACTIONS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)


class Corruption(NamedTuple):
    """A corrupted annotation: its kind, its sentence, and the span as it is now or, if removed, as it was."""

    kind: str
    sentence: int
    start: int
    end: int


class Item(NamedTuple):
    """An item of a ranking: its sentence, its span, and whether the span is annotated."""

    sentence: int
    start: int
    end: int
    is_annotated: bool


def main() -> None:
    """Corrupts the data, runs the audit and prints the tables."""
    options = parse_options()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        files = corpus_folder.find_corpus_files(options.data)
        sentences = read_sentences(files["train"], options.sentences)
        corrupted, corruptions = corrupt(sentences, options.fraction, options.seed)
        write(corrupted, folder / "train.conll")
        write(read_sentences(files["dev"], options.sentences), folder / "dev.conll")
        started = time.perf_counter()
        audit = run_audit(folder, options)
        seconds = time.perf_counter() - started
        items = [Item(each.number, each.start, each.end, each.annotated_type is not None) for each in audit.suspects]
        rankings = {"tagger audit": items}
        if find_spec("cleanlab") is not None:
            rankings["cleanlab"] = rank_by_cleanlab(corrupted, folder / "audit")
        figures = {name: measure(ranking, corruptions) for name, ranking in rankings.items()}
    counts = {kind: sum(each.kind == kind for each in corruptions) for kind in KINDS}
    print(f"{len(corruptions)} corruptions (seed {options.seed}): {json.dumps(counts)}; audit: {seconds:.0f} s")
    for name, rows in figures.items():
        print(f"\n{name}\n{format_table(rows)}")
    if options.json:
        result = {"corruptions": counts, "seed": options.seed, "seconds": round(seconds), "rankings": figures}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def parse_options() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="Folder with train and dev files in columns, the tag in the last one.")
    parser.add_argument("--vectors", type=Path, nargs="+", default=[], help="Tables of word vectors.")
    parser.add_argument("--recipe", default="ner-conll2003-fast", help="Recipe of the models.")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="Override a setting (repeatable).")
    parser.add_argument("--epochs", type=int, help="Number of epochs of each training; the recipe's by default.")
    parser.add_argument("--folds", type=int, default=5, help="Number of folds.")
    parser.add_argument("--repeats", type=int, default=2, help="How often the data is divided into folds.")
    parser.add_argument("--entity-disjoint", action="store_true", help="As of `tagger audit`.")
    parser.add_argument("--jobs", type=int, default=1, help="Number of models to train in parallel.")
    parser.add_argument("--fraction", type=float, default=0.05, help="Fraction of the entities to corrupt.")
    parser.add_argument("--seed", type=int, default=1, help="Random seed of the corruptions and of the audit.")
    parser.add_argument("--sentences", type=int, help="Number of sentences of each file to use; all by default.")
    parser.add_argument("--out", type=Path, help="Directory of data and audit, to resume; a temporary one by default.")
    parser.add_argument("--json", type=Path, help="File for the figures.")
    return parser.parse_args()


def run_audit(folder: Path, options: argparse.Namespace) -> Audit:
    """Returns the audit of the corrupted data; one that is in the folder already is resumed."""
    columns = ["data.columns=[token, ner]", "data.token=token", "data.tag=ner"]
    epochs = [] if options.epochs is None else [f"training.epochs={options.epochs}"]
    return tagger.audit(
        options.recipe,
        train=folder / "train.conll",
        dev=folder / "dev.conll",
        vectors=options.vectors,
        out=folder / "audit",
        folds=options.folds,
        repeats=options.repeats,
        seed=options.seed,
        entity_disjoint=options.entity_disjoint,
        settings=[*columns, *epochs, *options.settings],
        jobs=options.jobs,
        resume=True,
    )


def read_sentences(path: Path, limit: int | None) -> list[Sentence]:
    """Returns the first sentences of a file in columns, with tags in IOB2."""
    from tagger.data.formats import Layout

    sentences = reader.read_sentences(path, input_format="columns", layout=Layout(), tagged=True)
    read = [each for each in sentences if each.tokens][:limit]
    return [Sentence(each.tokens, tags=schemes.convert(each.tags, "IOB2"), document=each.document) for each in read]


def write(sentences: Sequence[Sentence], path: Path) -> None:
    """Writes sentences as columns of tokens and tags, with a line before each document."""
    document = None
    with path.open("w", encoding="utf-8") as stream:
        for sentence in sentences:
            if sentence.document != document:
                document = sentence.document
                stream.write("-DOCSTART- O\n\n")
            stream.writelines(f"{token} {tag}\n" for token, tag in zip(sentence.tokens, sentence.tags, strict=True))
            stream.write("\n")


def corrupt(sentences: Sequence[Sentence], fraction: float, seed: int) -> tuple[list[Sentence], list[Corruption]]:
    """Returns the sentences with a fraction of their entities corrupted, and the corruptions."""
    draw = random.Random(seed)
    spans = [list(schemes.tags_to_spans(sentence.tags)) for sentence in sentences]
    types = sorted({span.type for row in spans for span in row})
    targets = [(number, span) for number, row in enumerate(spans) for span in row]
    draw.shuffle(targets)
    count = round(fraction * len(targets))
    corruptions: list[Corruption] = []
    for number, span in targets:
        kind = KINDS[len(corruptions) % len(KINDS)]
        if len(corruptions) == count:
            break
        if kind == "invented":
            corruptions.append(invent(spans, sentences, draw.choice(types), draw))
            continue
        rest = [other for other in spans[number] if other != span]
        changed = [] if kind == "removed" else change(span, kind, types, rest, len(sentences[number]))
        if changed or kind == "removed":  # otherwise no bound of the span can be moved
            new = draw.choice(changed) if changed else None
            spans[number] = [*rest, new] if new else rest
            corruptions.append(Corruption(kind, number, (new or span).start, (new or span).end))
    corrupted = [
        Sentence(sentence.tokens, tags=schemes.spans_to_tags(row, len(sentence), "IOB2"), document=sentence.document)
        for sentence, row in zip(sentences, spans, strict=True)
    ]
    return corrupted, corruptions


def change(span: Span, kind: str, types: Sequence[str], rest: Sequence[Span], length: int) -> list[Span]:
    """Returns the spans that a span may become: of other types, or with a bound moved by one token."""
    if kind == "type":
        return [Span(other, span.start, span.end) for other in types if other != span.type]
    moves = ((-1, 0), (1, 0), (0, -1), (0, 1))
    moved = [Span(span.type, span.start + start, span.end + end) for start, end in moves]
    return [each for each in moved if 0 <= each.start < each.end <= length and is_free(each, rest)]


def invent(spans: Sequence[list[Span]], sentences: Sequence[Sentence], kind: str, draw: random.Random) -> Corruption:
    """Adds a span of a type over one to three tokens that are in no span; returns the corruption."""
    while True:
        number, size = draw.randrange(len(sentences)), draw.choice((1, 1, 2, 3))
        if len(sentences[number]) < size:
            continue
        start = draw.randrange(len(sentences[number]) - size + 1)
        span = Span(kind, start, start + size)
        if is_free(span, spans[number]):
            spans[number].append(span)
            return Corruption("invented", number, span.start, span.end)


def is_free(span: Span, others: Sequence[Span]) -> bool:
    """Returns whether a span overlaps no other one."""
    return all(span.end <= other.start or other.end <= span.start for other in others)


def rank_by_cleanlab(sentences: Sequence[Sentence], audit_dir: Path) -> list[Item]:
    """Returns the items of the sentences by the label quality of their worst token, the worst first."""
    from cleanlab.rank import get_label_quality_scores

    names, marginals = mean_marginals(sentences, audit_dir)
    tags = [schemes.convert(sentence.tags, "IOBES") for sentence in sentences]
    labels = np.array([names.index(tag) for row in tags for tag in row])
    scores = get_label_quality_scores(labels, np.concatenate(marginals), adjust_pred_probs=False)
    items, first = [], 0
    for number, (row, probabilities) in enumerate(zip(tags, marginals, strict=True)):
        quality = scores[first : first + len(row)]
        first += len(row)
        predicted = [names[tag] for tag in probabilities.argmax(1)]
        annotated = schemes.tags_to_spans(row)
        outside = ["O" if tag != "O" else other for tag, other in zip(row, predicted, strict=True)]
        for is_annotated, group in ((True, annotated), (False, schemes.tags_to_spans(outside))):
            for span in group:
                items.append((quality[span.start : span.end].min(), Item(number, span.start, span.end, is_annotated)))
    return [item for _, item in sorted(items, key=lambda pair: pair[0])]


def mean_marginals(sentences: Sequence[Sentence], audit_dir: Path) -> tuple[list[str], list[NDArray[np.float64]]]:
    """Returns the tags in IOBES, and for each sentence (T, K) their mean probabilities under the held-out models."""
    kinds = sorted({span.type for sentence in sentences for span in schemes.tags_to_spans(sentence.tags)})
    names = schemes.tag_set(kinds, "IOBES")
    totals = [np.zeros((len(sentence), len(names))) for sentence in sentences]
    folds = json.loads((audit_dir / "folds.json").read_text())
    for fold in folds:
        path = audit_dir / f"fold-{fold['repeat']}-{fold['fold']}" / "model-best"
        selected = [sentences[position] for position in fold["held_out"]]
        for position, values in zip(fold["held_out"], marginals_of(path, selected, names), strict=True):
            totals[position] += values
    repeats = max(fold["repeat"] for fold in folds)
    return names, [total / repeats for total in totals]


def marginals_of(path: Path, sentences: Sequence[Sentence], names: Sequence[str]) -> Iterator[NDArray[np.float64]]:
    """Yields for each sentence (T, K) the probabilities of tags, 0 for tags that the model lacks."""
    import torch

    model = tagger.load(path, device="cpu").model
    encoded = model.encode(sentences)
    model.network.eval()
    for start in range(0, len(sentences), 32):
        positions = range(start, min(start + 32, len(sentences)))
        with torch.no_grad():
            batch = encoded.batch(positions)
            known = model.network.head.chain(model.network(batch), batch.lengths).marginals().double().numpy()
        for position, rows in zip(positions, known, strict=True):
            values = np.zeros((len(sentences[position]), len(names)))
            for column, name in enumerate(names):
                if name in model.tags.ids:
                    values[:, column] = rows[: len(values), model.tags.ids[name]]
            yield values


def measure(ranking: Sequence[Item], corruptions: Sequence[Corruption]) -> list[dict[str, float]]:
    """Returns a row for each fraction of N: precision and recall of as many first items, and recall by kind."""
    by_sentence: dict[int, list[int]] = {}
    for index, corruption in enumerate(corruptions):
        by_sentence.setdefault(corruption.sentence, []).append(index)
    hits: list[int | None] = []  # of each item, the corruption that it is the first to hold
    seen: set[int] = set()
    for item in ranking:
        candidates = [index for index in by_sentence.get(item.sentence, ()) if index not in seen]
        hit = next((index for index in candidates if holds(item, corruptions[index])), None)
        hits.append(hit)
        seen |= set() if hit is None else {hit}
    rows = []
    for fraction in FRACTIONS:
        count = max(1, round(fraction * len(corruptions)))
        found = [corruptions[index].kind for index in hits[:count] if index is not None]
        row = {"fraction": fraction, "precision": len(found) / count, "recall": len(found) / len(corruptions)}
        for kind in KINDS:
            total = sum(each.kind == kind for each in corruptions)
            row[kind] = found.count(kind) / total if total else 0.0
        rows.append({name: round(value, 4) for name, value in row.items()})
    return rows


def holds(item: Item, corruption: Corruption) -> bool:
    """Returns whether an item of the same sentence is the corrupted annotation, or overlaps the removed one."""
    if corruption.kind == "removed":
        return not item.is_annotated and item.start < corruption.end and corruption.start < item.end
    return item.is_annotated and (item.start, item.end) == (corruption.start, corruption.end)


def format_table(rows: Sequence[Mapping[str, float]]) -> str:
    """Returns the rows as a table in percent, by the number of first suspects."""
    lines = ["suspects" + "".join(f"{name:>11}" for name in list(rows[0])[1:])]
    for row in rows:
        figures = "".join(f"{value:>11.1%}" for name, value in row.items() if name != "fraction")
        label = f"{row['fraction']:g} N"
        lines.append(f"{label:>8}{figures}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
