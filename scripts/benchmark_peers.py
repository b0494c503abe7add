"""Trains recipes of this toolkit and other toolkits on the same data: F1, training time, tagging speed and size.

    python scripts/benchmark_peers.py DATA --vectors TABLE TABLE --out DIR --json FILE
        [--recipes ner-conll2003,ner-conll2003-tiny] [--peers spacy-accuracy,flair-characters,crfsuite]
        [--python flair-characters=/env/bin/python] [--time-factor 3] [--rounds 5] [--ensemble RUN]

DATA is a folder with train.txt, valid.txt and test.txt in columns, with spans. Each peer runs in the environment whose
Python is given, by default that of this script; see `peers.py` for the peers and their settings. Peers read the first
table of vectors. The first recipe sets the time limit: a peer is stopped after `--time-factor` times the training time
of that recipe, and its best model so far counts. Models that exist in DIR are not trained again. `--ensemble` adds a
row for the ensemble of a run of several seeds of a recipe.

All models then tag the test data in turns, several times. Values of a row:

    f1          test F1 of spans, in percent, computed by this script from the predicted spans
    minutes     wall-clock time of the training alone, with all cores
    tokens/s    median speed of tagging; this toolkit from file to file, a peer from and to objects in memory
    megabytes   size of the model on disk
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark_systems import Process, Result, describe_run
from peers import PEERS, Tagged, f1, peer_process, predict_spans, read_documents, run_command, spans_of

import tagger
from tagger.experiments import runs

PARTS = {"train": "train.txt", "dev": "valid.txt", "test": "test.txt"}
COPIES = 10  # of the test data in the file that this toolkit tags, so that its fixed costs do not count


def main() -> None:
    """Trains what is missing, tags in turns, and prints the table."""
    options = parse_options()
    options.out.mkdir(parents=True, exist_ok=True)
    data = {
        part: [sentence for document in read_documents(options.data / name) for sentence in document]
        for part, name in PARTS.items()
    }
    rows = {recipe: train_recipe(recipe, options) for recipe in options.recipes}
    if options.ensemble:
        rows["ensemble"] = build_ensemble(options.ensemble, options.out)
    limit = 60 * options.time_factor * rows[options.recipes[0]]["minutes"]
    for peer in options.peers:
        rows[peer] = train_peer(peer, data, limit, options)
    with tempfile.TemporaryDirectory() as folder:
        measure_tagging(rows, data["test"], Path(folder), options)
    for name, row in rows.items():
        row["system"] = name
    if options.json:
        result = {"run": describe_run(Path(__file__).name), "limit_minutes": limit / 60, "rows": list(rows.values())}
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    print_table(list(rows.values()))


def parse_options() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train.txt, valid.txt and test.txt")
    parser.add_argument("--vectors", type=Path, nargs="+", required=True, help="text tables of word vectors")
    recipes = "ner-conll2003,ner-conll2003-small,ner-conll2003-tiny"
    parser.add_argument("--recipes", type=split, default=recipes, help="recipes to train")
    parser.add_argument(
        "--peers", type=split, default="spacy-accuracy,flair-characters,crfsuite", help="other toolkits"
    )
    parser.add_argument("--python", action="append", default=[], metavar="PEER=PYTHON", help="Python of a peer")
    parser.add_argument("--time-factor", type=float, default=3.0, help="training time of a peer, in recipes [3]")
    parser.add_argument("--ensemble", type=Path, metavar="RUN", help="run of several seeds, as an ensemble")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="override a setting of all recipes")
    parser.add_argument("--rounds", type=int, default=5, help="times that each model tags the test data [5]")
    parser.add_argument("--out", type=Path, required=True, help="directory of the models")
    parser.add_argument("--json", type=Path, help="file for the rows")
    options = parser.parse_args()
    pairs = [pair.partition("=")[::2] for pair in options.python]
    options.python = {name: python for name, python in pairs if python}
    if unknown := ({*options.peers} | {name for name, _ in pairs}) - PEERS.keys():
        parser.error(f"unknown peer {min(unknown)}; expected some of {', '.join(PEERS)}")
    return options


def split(names: str) -> list[str]:
    """Returns the names that a comma separates."""
    return [name for name in names.split(",") if name]


def train_recipe(recipe: str, options: argparse.Namespace) -> Result:
    """Trains a recipe, unless its model exists; returns its training time and size."""
    run = options.out / Path(recipe).stem
    record = options.out / f"{run.name}.json"
    if not record.exists():
        shutil.rmtree(run, ignore_errors=True)
        command = ["train", recipe, "--data", str(options.data), "--out", str(run), "--device", "cpu"]
        command += [part for path in options.vectors for part in ("--vectors", str(path))]
        command += [part for setting in options.settings for part in ("--set", setting)]
        start = time.perf_counter()
        run_command(*command)
        record.write_text(json.dumps({"minutes": (time.perf_counter() - start) / 60}))
    size = sum(file.stat().st_size for file in (run / "model-best").iterdir())
    result: Result = json.loads(record.read_text())
    return result | {"megabytes": size / 1e6}


def build_ensemble(run: Path, out: Path) -> Result:
    """Returns the training time of all seeds of a run, one after the other, and the size of their ensemble."""
    results = runs.read_results(run).results
    model = tagger.ensemble([run], out / "ensemble" / "model-best").model_dir
    size = sum(file.stat().st_size for file in model.iterdir())
    return {"minutes": sum(result.seconds for result in results) / 60, "megabytes": size / 1e6}


def train_peer(name: str, data: Mapping[str, object], limit: float, options: argparse.Namespace) -> Result:
    """Trains a peer for at most `limit` seconds, unless its model exists; returns its training time."""
    folder = options.out / name
    record = options.out / f"{name}.json"
    if not record.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "data.json").write_text(json.dumps(data))
        process = start_peer(name, options)
        process.call("prepare")
        process.send("train")
        start = time.perf_counter()

        def stop_late(_: int) -> None:
            if time.perf_counter() - start > limit:
                raise TimeoutError

        try:
            seconds, stopped = process.receive(stop_late)["value"], False
        except TimeoutError:
            seconds, stopped = limit, True
        process.kill()
        record.write_text(json.dumps({"minutes": seconds / 60, "stopped": stopped}))
    result: Result = json.loads(record.read_text())
    return result


def start_peer(name: str, options: argparse.Namespace) -> Process:
    """Returns a process of a peer."""
    return peer_process(options.python.get(name, sys.executable), name, options.out / name, options.vectors[0])


def measure_tagging(rows: dict[str, Result], test: Sequence[Tagged], folder: Path, options: argparse.Namespace) -> None:
    """Adds F1, speed and size to the rows; the systems tag in turns."""
    gold, source, many = [spans_of(tags) for _, tags in test], options.data / PARTS["test"], folder / "many.txt"
    many.write_bytes(source.read_bytes() * COPIES)
    processes: dict[str, Process] = {}
    for name, row in rows.items():
        if name in options.peers:
            processes[name] = start_peer(name, options)
            row["megabytes"] = processes[name].call("load")["value"] / 1e6
        else:
            model = options.out / Path(name).stem / "model-best"
            log = folder / f"{Path(name).stem}.log"
            processes[name] = Process(sys.executable, "toolkit", log=log, model=str(model), device="cpu")
            row["f1"] = f1(gold, predict_spans(model, source))
    speeds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(options.rounds):
        for name, process in processes.items():
            if name in options.peers:
                result = process.call("predict", "test")
                rows[name]["f1"] = f1(gold, result["spans"])
            else:
                result = process.call("tag_file", str(many), str(folder / "out"), formats=("columns", "columns"))
            speeds[name].append(result["value"])
    for name, process in processes.items():
        rows[name]["tokens_per_second"] = statistics.median(speeds[name])
        process.close()


def print_table(rows: Sequence[Result]) -> None:
    """Prints the rows as a Markdown table."""
    print("| system | test F1 | training, minutes | tokens/s | MB |\n|---|---|---|---|---|")
    for row in rows:
        minutes = f"{row['minutes']:.1f}" + " (stopped)" * row.get("stopped", False)
        speed, size = row["tokens_per_second"], row["megabytes"]
        print(f"| {row['system']} | {row['f1']:.2f} | {minutes} | {speed:,.0f} | {size:.1f} |")


if __name__ == "__main__":
    main()
