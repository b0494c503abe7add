"""Cells on the task: LSTM, GRU, RNN, the LSTM of 1997, and self-attention over the LSTM, all for the same epochs.

    python scripts/studies/cells.py --ner DIR --upos DIR --vectors TABLE --runs DIR --out DIR

Each is trained on each corpus in both directions, concat, a CRF over it, words and characters under it, at the same
width. The LSTM's runs are those of `directions.py` where both are given the same `--runs`. Differences and p-values are
those to the LSTM on test, as `tagger compare` has them. Seconds are those of the quickest epoch: others may have had
company. They compare what there is and not what could be: on a CPU the LSTM has kernels of this toolkit, the other
cells have torch's modules.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import directions
import grid
import writing
from grid import Corpus, Variation
from writing import Row

from tagger import model_dir
from tagger.nn.encoder import LSTM1997
from tagger.training import records
from tagger.training.run_dir import BEST

LSTM = "LSTM"
CELLS = {
    LSTM: (),
    "LSTM, forget bias 3": ("model.encoder.forget_bias=3.0",),
    "GRU": ("model.encoder.cell=gru",),
    "RNN": ("model.encoder.cell=rnn",),
    "LSTM of 1997": ("model.encoder.cell=lstm1997",),
    "LSTM, self-attention": ("model.encoder.attention_heads=4",),
}


def variations(corpus: Corpus, runs: Path) -> dict[str, Variation]:
    """Returns a corpus' trainings by cell."""
    features = list(directions.FEATURES)[:1]
    arms = directions.arms(corpus, runs, features=features, heads=("crf",))
    (shared,) = (arm.variation for arm in arms if arm.shape.name == directions.CONCAT)
    return {
        cell: Variation(corpus, (*shared.settings, *own), grid.place(runs, corpus.name, cell)) if own else shared
        for cell, own in CELLS.items()
    }


def table(found: Mapping[str, Variation]) -> list[Row]:
    """Returns a row for each cell that has a finished seed."""
    return [
        {"cell": cell, **costs(variation), **scores}
        for cell, variation in found.items()
        if (scores := grid.scored(variation, found[LSTM]))
    ]


def costs(variation: Variation) -> dict[str, Any]:
    """Returns what the encoder of a training has and takes."""
    encoder = model_dir.load(variation.run / BEST)[0].network.encoder
    idle = [cell for cell in encoder.modules() if isinstance(cell, LSTM1997)]  # their forget gates learn nothing
    weights = sum(weight.numel() for weight in encoder.parameters())
    weights -= sum(weight.numel() // 4 for cell in idle for weight in cell.parameters())
    epochs = [record for seed in variation.run.glob("seed-*") for record in records.read_metrics(seed)[0]]
    return {"weights": weights, "seconds an epoch": min(record.seconds for record in epochs)}


def verdict(tables: Mapping[str, Sequence[Row]]) -> str:
    """Returns how far each cell is from the LSTM, and whether that is more than chance."""
    parts = []
    for title, rows in tables.items():
        told = [row for row in rows if row["p"] is not None]
        apart = [f"{row['cell']} ({row['difference']:+.2f})" for row in told if row["p"] < 0.05]
        near = [f"{row['cell']} ({row['difference']:+.2f})" for row in told if row["p"] >= 0.05]
        said = [
            f"told apart from the LSTM at p < .05 are {', '.join(apart) or 'none'}" if told else "nothing is compared"
        ]
        parts.append(f"on {title} " + ", ".join(said + ([f"not {', '.join(near)}"] if near else [])))
    return writing.sentence(parts)


def main() -> None:
    options = grid.parser(__doc__, CELLS).parse_args()
    began = time.monotonic()
    found = {corpus.name: variations(corpus, options.runs) for corpus in grid.corpora(options)}
    if not options.no_train:
        wanted = [
            variation for each in found.values() for cell, variation in each.items() if cell in (options.only or CELLS)
        ]
        grid.train(dict.fromkeys(wanted, options.seeds), jobs=options.jobs)
    tables = grid.finished({name: table(each) for name, each in found.items()})
    writing.write(
        "cells",
        options.out,
        tables=tables,
        figure=grid.picture(tables, by=(), then="cell"),
        verdict=verdict(tables),
        seconds=time.monotonic() - began,
    )


if __name__ == "__main__":
    grid.run(main)
