"""Compares one direction with two, and the ways to merge two: scores, significance, time and size.

    python scripts/studies/directions.py --ner DIR --upos DIR --vectors TABLE --runs DIR --out DIR

Each encoder is trained on each corpus, with a CRF and with a softmax head, with word and character features and with
words only: forward, backward, and both directions merged by concat, sum and mean, all with the same hidden size.
Forward and backward are also trained with a hidden size at which they have as many weights as two directions. (The
projection of sum and mean has fewer weights: half a percent of the total.)

Differences and p-values compare test scores with concat, or two trainings that differ in one setting, as
`tagger compare` does. Each p-value is for one pair: of many pairs, some have p < .05 by chance, and p-values from three
seeds are too small (`tagger/experiments/significance.py`). The time of an encoder is that of a forward and backward
pass over 32 sentences in one thread; all encoders run alternately.
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
from writing import Row, Tables

from tagger import config, experiments
from tagger.data import vector_files
from tagger.device import single_torch_thread
from tagger.nn.encoder import Encoder

CONCAT = "concat"
WORDS = "words only"
FEATURES = {"words and characters": (), WORDS: ("model.characters={kind: none}", "model.casing=0")}
HEADS = ("crf", "softmax")
SINGLE = ("forward", "backward")
AS_MANY_WEIGHTS = ", as many weights"
NAMES = (CONCAT, "sum", "mean", *SINGLE, *(name + AS_MANY_WEIGHTS for name in SINGLE))
PAIRS = (
    *((("crf", name), ("softmax", name)) for name in (CONCAT, *SINGLE)),
    *(((head, "backward"), (head, "forward")) for head in HEADS),
    *(((head, name + AS_MANY_WEIGHTS), (head, name)) for head in HEADS for name in SINGLE),
)
"""Pairs of head and encoder that differ in one setting."""
ROUNDS, WARM_UP_ROUNDS = 15, 2


@dataclass(frozen=True)
class Shape:
    """An encoder: its name, its settings and its hidden size in each direction."""

    name: str
    settings: tuple[str, ...]
    hidden_size: int


def list_shapes(input_size: int, hidden_size: int) -> list[Shape]:
    """Returns the encoders to compare."""
    merged = [Shape(merge, (f"model.encoder.merge={merge}",), hidden_size) for merge in (CONCAT, "sum", "mean")]
    sizes = {"": hidden_size, AS_MANY_WEIGHTS: equal_weights_size(input_size, hidden_size)}
    return merged + [
        Shape(direction + suffix, (f"model.encoder.direction={direction}",), size)
        for suffix, size in sizes.items()
        for direction in SINGLE
    ]


def equal_weights_size(input_size: int, hidden_size: int) -> int:
    """Returns the hidden size at which one direction has as many weights as two directions of `hidden_size`.

    >>> equal_weights_size(200, 200)
    313
    """
    weights = 2 * hidden_size * (input_size + hidden_size + 2)  # per gate: inputs, hidden states and two biases
    sizes = range(hidden_size, 2 * hidden_size + 1)
    return min(sizes, key=lambda size: abs(size * (input_size + size + 2) - weights))


@dataclass(frozen=True)
class Arm:
    """A training of the study: its features, head and encoder, and the encoder's input size."""

    features: str
    head: str
    shape: Shape
    variation: Variation
    input_size: int


@cache
def read_vector_dim(table: Path) -> int:
    """Returns the dimension of the vectors of a table."""
    return vector_files.read(table, wanted=(), max_frozen_words=1).dim


def list_arms(corpus: Corpus, runs: Path, *, features: Sequence[str], heads: Sequence[str]) -> list[Arm]:
    """Returns the trainings of a corpus with the selected features and heads."""
    arms = []
    vector_dim = sum(map(read_vector_dim, corpus.vectors))
    for name in features:
        model = config.load(corpus.recipe, [*corpus.settings, *FEATURES[name]]).model
        character_dim = 0 if model.characters.kind == "none" else model.characters.output_dim
        word_dim = vector_dim or model.words.embedding_dim
        input_size = word_dim + character_dim + model.casing + model.document_context.output_dim
        for head in heads:
            for shape in list_shapes(input_size, model.encoder.hidden_size):
                run = grid.name_run(runs, corpus.title, name, head, shape.name)
                settings = (*FEATURES[name], f"model.head.kind={head}", *shape.settings)
                settings += (f"model.encoder.hidden_size={shape.hidden_size}",)
                arms.append(Arm(name, head, shape, Variation(corpus, settings, run), input_size))
    return arms


def make_table(arms: Sequence[Arm]) -> list[Row]:
    """Returns a row for each training with a finished seed."""
    references = {(arm.features, arm.head): arm.variation for arm in arms if arm.shape.name == CONCAT}
    return [
        {"features": arm.features, "head": arm.head, "encoder": arm.shape.name, "hidden size": arm.shape.hidden_size}
        | scores
        for arm in arms
        if (scores := grid.score_columns(arm.variation, references[arm.features, arm.head]))
    ]


def compare_pairs(arms: Sequence[Arm]) -> list[Row]:
    """Returns a row for each of PAIRS of which both trainings are finished."""
    finished = {(arm.features, arm.head, arm.shape.name): arm.variation for arm in arms if arm.variation.results()}
    return [
        {"features": features, "encoder": ", ".join(first), "compared with": ", ".join(second)}
        | grid.compare(finished[features, *first], finished[features, *second])
        for features in FEATURES
        for first, second in PAIRS
        if {(features, *first), (features, *second)} <= finished.keys()
    ]


def measure_costs(shapes: Sequence[Shape], input_size: int) -> list[Row]:
    """Returns the number of weights and the time per token of each encoder."""
    encoders = {}
    for shape in shapes:
        settings = config.parse("{}", shape.name, overrides=shape.settings).model.encoder
        encoders[shape] = Encoder(input_size, shape.hidden_size, direction=settings.direction, merge=settings.merge)
    with single_torch_thread():
        times = measure_microseconds(encoders, input_size)
    reference = next(time_ for shape, time_ in times.items() if shape.name == CONCAT)
    return [
        {
            "encoder": shape.name,
            "hidden size": shape.hidden_size,
            "weights": sum(weight.numel() for weight in encoder.parameters()),
            "microseconds per token": times[shape],
            "relative to concat": times[shape] / reference,
        }
        for shape, encoder in encoders.items()
    ]


def measure_microseconds(encoders: Mapping[Shape, Encoder], input_size: int) -> dict[Shape, float]:
    """Returns the time per token of a forward and backward pass: medians over rounds in which encoders alternate."""
    random = torch.Generator().manual_seed(0)
    lengths = torch.randint(5, 30, (32,), generator=random).sort(descending=True).values
    inputs = torch.randn(32, int(lengths[0]), input_size, generator=random)
    times: dict[Shape, list[float]] = {shape: [] for shape in encoders}
    for round_ in range(WARM_UP_ROUNDS + ROUNDS):
        for shape, encoder in encoders.items():
            start = time.perf_counter()
            encoder(inputs, lengths).sum().backward()
            if round_ >= WARM_UP_ROUNDS:  # the first rounds compile kernels
                times[shape].append(1e6 * (time.perf_counter() - start) / int(lengths.sum()))
    return {shape: statistics.median(values) for shape, values in times.items()}


def compute_gains(rows: Sequence[Row], suffix: str) -> list[float]:
    """Returns the test score of concat less that of the better single direction, for each complete group of rows."""
    single = [name + suffix for name in SINGLE]
    return [
        by_name[CONCAT]["test"] - max(by_name[name]["test"] for name in single)
        for by_name in grid.group_rows(rows, columns=("features", "head"), name="encoder").values()
        if {CONCAT, *single} <= by_name.keys()
    ]


def format_range(values: Sequence[float]) -> str:
    """Returns the smallest and the largest value, or the only one.

    >>> format_range([1.0, 0.5]), format_range([0.25])
    ('0.50 to 1.00', '0.25')
    """
    ends = (min(values), max(values))
    return " to ".join(f"{end:.2f}" for end in (ends if len(values) > 1 else ends[:1]))


def make_verdict(tables: Tables) -> str:
    """Returns the gain of two directions, the effect of the merge and, for NER, whether the claimed gain is reached."""
    sentences = []
    for title, rows in tables.items():
        gains = {
            "at equal hidden size": compute_gains(rows, ""),
            "with as many weights": compute_gains(rows, AS_MANY_WEIGHTS),
        }
        gains = {condition: values for condition, values in gains.items() if values}
        ranges = " and ".join(f"{format_range(values)} {condition}" for condition, values in gains.items())
        sentence = f"On {title}, two directions are not compared with single ones yet"
        if gains:
            sentence = f"On {title}, two directions score above the better single one by {ranges}"
        if gains and title.endswith(grid.NER):
            is_reached = min(map(min, gains.values())) >= 5
            sentence += f"; the claimed gain of 5 to 10 F1 is {'' if is_reached else 'not '}reached"
        compared = [row for row in rows if row["encoder"] in ("sum", "mean") and row["p"] is not None]
        if compared:
            significant = sum(row["p"] < 0.05 for row in compared)
            largest = max(abs(row["difference"]) for row in compared)
            sentence += f"; sum and mean differ from concat by at most {largest:.2f}"
            sentence += f" ({significant} of {len(compared)} differences with p < .05)"
        sentences.append(f"{sentence}.")
    return " ".join(sentences)


def main() -> None:
    parser = grid.create_parser(__doc__, NAMES)
    parser.add_argument("--words-seeds", type=experiments.parse_seeds, help="Seeds of words only [--seeds].")
    parser.add_argument("--features", action="append", choices=list(FEATURES), help="Only these features (repeatable).")
    parser.add_argument("--head", action="append", choices=HEADS, help="Only this head (repeatable).")
    options = parser.parse_args()
    start = time.monotonic()
    features, heads = options.features or list(FEATURES), options.head or HEADS
    arms = {
        corpus.title: list_arms(corpus, options.runs, features=features, heads=heads)
        for corpus in grid.select_corpora(options)
    }
    if not options.no_train:
        names = options.only or NAMES
        selected = [arm for corpus_arms in arms.values() for arm in corpus_arms if arm.shape.name in names]
        selected.sort(key=lambda arm: (features.index(arm.features), heads.index(arm.head)))
        words_seeds = options.words_seeds or options.seeds
        seeds = {arm.variation: words_seeds if arm.features == WORDS else options.seeds for arm in selected}
        grid.train_variations(seeds, jobs=options.jobs)
    scores = grid.drop_empty_tables({title: make_table(corpus_arms) for title, corpus_arms in arms.items()})
    pairs = {
        f"{title}, one setting changed": rows
        for title, corpus_arms in arms.items()
        if (rows := compare_pairs(corpus_arms))
    }
    title, first_arms = next(iter(arms.items()))
    first = first_arms[0]
    shapes = [arm.shape for arm in first_arms if (arm.features, arm.head) == (first.features, first.head)]
    costs_title = f"A forward and backward pass over inputs of size {first.input_size}, as in {title}"
    writing.write_study(
        "directions",
        options.out,
        tables=scores | pairs | {costs_title: measure_costs(shapes, first.input_size)},
        figure=grid.draw_scores(scores, columns=("features", "head"), name="encoder"),
        verdict=make_verdict(scores),
        seconds=time.monotonic() - start,
    )


if __name__ == "__main__":
    grid.run_study(main)
