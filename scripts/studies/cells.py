"""Compares cells on a task: LSTM, GRU, RNN, the LSTM of 1997, and an LSTM with self-attention.

    python scripts/studies/cells.py --ner DIR --upos DIR --vectors TABLE --runs DIR --out DIR

All trainings have the same epochs and hidden size, two directions merged by concat, a CRF, and word and character
features. The runs of the LSTM are those of `directions.py` if both studies use the same `--runs`. Differences and
p-values compare test scores with the LSTM, as `tagger compare` does. Seconds are those of the fastest epoch, since
other processes may slow down an epoch. They compare implementations: on a CPU, the LSTM runs in kernels of this
toolkit, the other cells in torch's modules.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import directions
import grid
import writing
from grid import Corpus, Variation
from writing import Row, Tables

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


def list_variations(corpus: Corpus, runs: Path) -> dict[str, Variation]:
    """Returns the variations of a corpus by cell."""
    features = list(directions.FEATURES)[:1]
    arms = directions.list_arms(corpus, runs, features=features, heads=("crf",))
    (lstm,) = (arm.variation for arm in arms if arm.shape.name == directions.CONCAT)
    return {
        cell: Variation(corpus, (*lstm.settings, *settings), grid.name_run(runs, corpus.title, cell))
        if settings
        else lstm
        for cell, settings in CELLS.items()
    }


def make_table(variations: Mapping[str, Variation]) -> list[Row]:
    """Returns a row for each cell with a finished seed."""
    return [
        {"cell": cell, **measure_costs(variation), **scores}
        for cell, variation in variations.items()
        if (scores := grid.score_columns(variation, variations[LSTM]))
    ]


def measure_costs(variation: Variation) -> dict[str, Any]:
    """Returns the number of trained weights of the encoder and the seconds per epoch."""
    encoder = model_dir.load(variation.run / BEST)[0].single_network.encoder
    weights = sum(weight.numel() for weight in encoder.parameters())
    without_forget_gate = [cell for cell in encoder.modules() if isinstance(cell, LSTM1997)]
    # An LSTM1997 has untrained weights for a forget gate.
    weights -= sum(weight.numel() // 4 for cell in without_forget_gate for weight in cell.parameters())
    epochs = [record for seed in variation.run.glob("seed-*") for record in records.read_metrics(seed)[0]]
    return {"weights": weights, "seconds per epoch": min(record.seconds for record in epochs)}


def make_verdict(tables: Tables) -> str:
    """Returns the difference of each cell from the LSTM, by significance."""
    sentences = []
    for title, rows in tables.items():
        compared = [row for row in rows if row["p"] is not None]
        if not compared:
            sentences.append(f"On {title}, no cell is compared yet.")
            continue
        significant, other = (
            ", ".join(f"{row['cell']} ({row['difference']:+.2f})" for row in compared if (row["p"] < 0.05) == is_low)
            for is_low in (True, False)
        )
        sentences.append(
            f"On {title}, differences from the LSTM with p < .05: {significant or 'none'}; others: {other or 'none'}."
        )
    return " ".join(sentences)


def main() -> None:
    options = grid.create_parser(__doc__, CELLS).parse_args()
    start = time.monotonic()
    variations = {corpus.title: list_variations(corpus, options.runs) for corpus in grid.select_corpora(options)}
    if not options.no_train:
        names = options.only or CELLS
        selected = [by_cell[cell] for by_cell in variations.values() for cell in by_cell if cell in names]
        grid.train_variations(dict.fromkeys(selected, options.seeds), jobs=options.jobs)
    tables = grid.drop_empty_tables({title: make_table(by_cell) for title, by_cell in variations.items()})
    writing.write_study(
        "cells",
        options.out,
        tables=tables,
        figure=grid.draw_scores(tables, columns=(), name="cell"),
        verdict=make_verdict(tables),
        seconds=time.monotonic() - start,
    )


if __name__ == "__main__":
    grid.run_study(main)
