"""One direction or two, and how two are merged: scores, significance, time and size.

    python scripts/studies/directions.py --ner DIR --upos DIR --vectors TABLE --runs DIR --out DIR

Each encoder is trained on each corpus, with a CRF and with a softmax head, with characters and with words only:
forward, backward, and both merged by concat, sum and mean, all at one width; forward and backward also as
wide as makes them as large as both. (Sum and mean are, but for half a percent of weights in the projection.)
Differences and p-values are those to concat on test, or of two that differ in one thing, as `tagger compare` has them,
each by itself: of so many, a few are below .05 by chance, and three seeds are too sure of themselves
(`tagger/experiments/comparison.py`). What an encoder takes is measured alone, in turns with the others and in one
thread: a pass forward and back over 32 sentences.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import grid
import torch
import writing
from grid import Corpus, Variation
from writing import Row

from tagger import config, experiments
from tagger.data import vectors
from tagger.device import single_torch_thread
from tagger.nn.encoder import Encoder

CONCAT = "concat"
WORDS = "words only"
FEATURES = {"words and characters": (), WORDS: ("model.characters={kind: none}", "model.casing=0")}
HEADS = ("crf", "softmax")
SINGLE = ("forward", "backward")
AS_LARGE = ", as large"
NAMES = (CONCAT, "sum", "mean", *SINGLE, *(name + AS_LARGE for name in SINGLE))
PAIRS = (
    *((("crf", name), ("softmax", name)) for name in (CONCAT, *SINGLE)),
    *(((head, "backward"), (head, "forward")) for head in HEADS),
    *(((head, name + AS_LARGE), (head, name)) for head in HEADS for name in SINGLE),
)
"""Heads and encoders that differ in one thing."""
ROUNDS = 15


@dataclass(frozen=True)
class Shape:
    """An encoder: its name, its settings but for the width, and its width in each direction."""

    name: str
    settings: tuple[str, ...]
    width: int


def shapes(input_size: int, width: int) -> list[Shape]:
    """Returns the encoders to compare, over vectors of so many numbers."""
    merged = [Shape(merge, (f"model.encoder.merge={merge}",), width) for merge in (CONCAT, "sum", "mean")]
    alone = as_large(input_size, width)
    return merged + [
        Shape(name + suffix, (f"model.encoder.direction={direction}",), its)
        for suffix, its in (("", width), (AS_LARGE, alone))
        for name, direction in zip(SINGLE, ("forward", "backward"), strict=True)
    ]


def as_large(input_size: int, width: int) -> int:
    """Returns the width by which one direction has as many weights as two of a width.

    >>> as_large(200, 200)
    313
    """
    wanted = 2 * width * (input_size + width + 2)  # of each gate: inputs, states and two biases
    return min(range(width, 2 * width + 1), key=lambda alone: abs(alone * (input_size + alone + 2) - wanted))


@dataclass(frozen=True)
class Arm:
    """A training of the grid, where it stands in it, and the width of what its encoder reads."""

    features: str
    head: str
    shape: Shape
    variation: Variation
    input_size: int


@cache
def width_of(table: Path) -> int:
    """Returns how many numbers a vector of a table has."""
    return vectors.read(table, wanted=(), max_frozen_words=1).dim


def arms(corpus: Corpus, runs: Path, *, features: Sequence[str], heads: Sequence[str]) -> list[Arm]:
    """Returns a corpus' trainings, those with some features and heads."""
    found = []
    tables = sum(map(width_of, corpus.vectors))
    for each in features:
        without = FEATURES[each]
        model = config.load(corpus.recipe, [*corpus.settings, *without]).model
        characters = 0 if model.characters.kind == "none" else model.characters.output_dim
        input_size = (
            (tables or model.words.embedding_dim) + characters + model.casing + model.document_context.output_dim
        )
        for head in heads:
            for shape in shapes(input_size, model.encoder.hidden_size):
                run = grid.place(runs, corpus.name, each, head, shape.name)
                own = (*without, f"model.head.kind={head}", *shape.settings, f"model.encoder.hidden_size={shape.width}")
                found.append(Arm(each, head, shape, Variation(corpus, own, run), input_size))
    return found


def table(found: Sequence[Arm]) -> list[Row]:
    """Returns a row for each training that has a finished seed."""
    of_concat = {(arm.features, arm.head): arm.variation for arm in found if arm.shape.name == CONCAT}
    return [
        {"features": arm.features, "head": arm.head, "encoder": arm.shape.name, "width": arm.shape.width} | scores
        for arm in found
        if (scores := grid.scored(arm.variation, of_concat[arm.features, arm.head]))
    ]


def pairs(found: Sequence[Arm]) -> list[Row]:
    """Returns a row for each two trainings of PAIRS that are finished."""
    finished = {(arm.features, arm.head, arm.shape.name): arm.variation for arm in found if arm.variation.results()}
    return [
        {"features": features, "encoder": ", ".join(one), "than": ", ".join(other)}
        | grid.compared(finished[features, *one], finished[features, *other])
        for features in FEATURES
        for one, other in PAIRS
        if {(features, *one), (features, *other)} <= finished.keys()
    ]


def costs(found: Sequence[Shape], input_size: int) -> list[Row]:
    """Returns what each encoder has and takes over inputs of a width."""
    encoders = {}
    for shape in found:
        own = config.parse("{}", shape.name, overrides=shape.settings).model.encoder
        encoders[shape] = Encoder(input_size, shape.width, direction=own.direction, merge=own.merge)
    with single_torch_thread():
        taken = microseconds(encoders, input_size)
    of_concat = next(time_ for shape, time_ in taken.items() if shape.name == CONCAT)
    return [
        {
            "encoder": shape.name,
            "width": shape.width,
            "weights": sum(weight.numel() for weight in encoder.parameters()),
            "microseconds a token": taken[shape],
            "of concat's time": taken[shape] / of_concat,
        }
        for shape, encoder in encoders.items()
    ]


def microseconds(encoders: Mapping[Shape, Encoder], input_size: int) -> dict[Shape, float]:
    """Returns what a pass forward and back takes for each token: medians over rounds in which all take turns."""
    random = torch.Generator().manual_seed(0)
    lengths = torch.randint(5, 30, (32,), generator=random).sort(descending=True).values
    inputs = torch.randn(32, int(lengths[0]), input_size, generator=random)
    times: dict[Shape, list[float]] = {shape: [] for shape in encoders}
    for turn in range(ROUNDS + 2):
        for shape, encoder in encoders.items():
            began = time.perf_counter()
            encoder(inputs, lengths).sum().backward()
            if turn > 1:  # the first turns compile
                times[shape].append(1e6 * (time.perf_counter() - began) / int(lengths.sum()))
    return {shape: statistics.median(found) for shape, found in times.items()}


def groups(rows: Sequence[Row]) -> dict[tuple[str, ...], dict[str, Row]]:
    """Returns rows by features and head, then by encoder."""
    return grid.grouped(rows, by=("features", "head"), then="encoder")


def gains(rows: Sequence[Row], suffix: str) -> list[float]:
    """Returns what two directions score above the better single one, for each features and head that have both."""
    single = [name + suffix for name in SINGLE]
    return [
        by_name[CONCAT]["test"] - max(by_name[name]["test"] for name in single)
        for by_name in groups(rows).values()
        if {CONCAT, *single} <= by_name.keys()
    ]


def between(values: Sequence[float]) -> str:
    """Returns the least and the largest value, or the only one.

    >>> between([1.0, 0.5]), between([0.25])
    ('0.50 to 1.00', '0.25')
    """
    ends = (min(values), max(values))
    return " to ".join(f"{end:.2f}" for end in (ends if len(values) > 1 else ends[:1]))


def verdict(tables: Mapping[str, Sequence[Row]]) -> str:
    """Returns what two directions gain, what the merge matters, and what becomes of the claim of 5 to 10 F1."""
    parts = []
    for title, rows in tables.items():
        found = {"at equal width": gains(rows, ""), "at equal size": gains(rows, AS_LARGE)}
        said = [f"{between(each)} {what}" for what, each in found.items() if each]
        part = (
            f"on {title} two directions score {' and '.join(said) or '(not compared yet)'} above the better single one"
        )
        if title == grid.NER and any(found.values()):
            claim = "holds" if min(map(min, filter(None, found.values()))) >= 5 else "fails"
            part += f", so that the claim of 5 to 10 F1 {claim}"
        told = [row for row in rows if row["encoder"] in ("sum", "mean") and row["p"] is not None]
        if told:
            apart = sum(row["p"] < 0.05 for row in told)
            most = max(abs(row["difference"]) for row in told)
            part += f", and sum and mean are within {most:.2f} of concat, {apart} of {len(told)} at p < .05"
        parts.append(part)
    return writing.sentence(parts)


def main() -> None:
    parser = grid.parser(__doc__, NAMES)
    parser.add_argument("--words-seeds", type=experiments.parse_seeds, help="of words only, if fewer")
    parser.add_argument("--features", action="append", choices=list(FEATURES), help="only these")
    parser.add_argument("--head", action="append", choices=HEADS, help="only these")
    options = parser.parse_args()
    began = time.monotonic()
    features, heads = options.features or list(FEATURES), options.head or HEADS
    found = {
        corpus.name: arms(corpus, options.runs, features=features, heads=heads) for corpus in grid.corpora(options)
    }
    if not options.no_train:
        names = options.only or NAMES
        wanted = [arm for each in found.values() for arm in each if arm.shape.name in names]
        wanted.sort(key=lambda arm: (features.index(arm.features), heads.index(arm.head)))
        words = options.words_seeds or options.seeds
        grid.train(
            {arm.variation: words if arm.features == WORDS else options.seeds for arm in wanted}, jobs=options.jobs
        )
    tables = grid.finished({name: table(each) for name, each in found.items()})
    in_pairs = {f"{name}, one thing changed": rows for name, each in found.items() if (rows := pairs(each))}
    (corpus, first), *_ = found.items()
    input_size = first[0].input_size
    alike = [arm for arm in first if (arm.features, arm.head) == (first[0].features, first[0].head)]
    of_costs = costs([arm.shape for arm in alike], input_size)
    writing.write(
        "directions",
        options.out,
        tables=tables
        | in_pairs
        | {f"A pass forward and back over inputs of {input_size} numbers, as of {corpus}": of_costs},
        figure=grid.picture(tables, by=("features", "head"), then="encoder"),
        verdict=verdict(tables),
        seconds=time.monotonic() - began,
    )


if __name__ == "__main__":
    grid.run(main)
