"""Trains a recipe with and without a transformer: scores, training time, tagging speed and size of each combination.

    python scripts/measure_transformers.py RECIPE DATA --transformer DIR --vectors FILE FILE [--arms ...] [--seeds 1-3]

Arms:

    static      the recipe without a transformer
    alone       the transformer, frozen, and the head, without other features
    recurrent   the transformer, frozen, and the recurrent layers, without other features
    beside      the transformer, frozen, beside word vectors and character features, without document context features
    whole       the transformer, frozen, beside all features of the recipe
    finetuned   as alone, trained with the settings of ner-conll2003-finetuned

Finished runs in OUT are not trained again, and interrupted ones are resumed. The table ends with the difference of each
arm to the run `static` in OUT by `tagger compare`, with its interval and p-values.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tagger
from tagger.config import load
from tagger.experiments import parse_seeds

ARMS = ("static", "alone", "recurrent", "beside", "whole", "finetuned")
_ONLY_TRANSFORMER = {"model.words": {"embedding_dim": 0}, "model.characters": {"kind": "none"}, "model.casing": 0}
_NO_LAYERS = {"model.encoder": {"num_layers": 0}, "model.dropout": {"input": 0.1}}


def arm_settings(arm: str, transformer: Mapping[str, Any]) -> list[str]:
    """Returns the settings `KEY=VALUE` that make an arm of a recipe; they replace whole sections."""
    settings: dict[str, Any] = {} if arm == "static" else {"model.transformer": transformer}
    if arm in ("alone", "recurrent", "finetuned"):
        settings |= _ONLY_TRANSFORMER
    if arm in ("alone", "finetuned"):
        settings |= _NO_LAYERS
    if arm in ("alone", "recurrent", "beside", "finetuned"):
        settings["model.document_context"] = {"output_dim": 0}
    if arm == "finetuned":
        recipe = load("ner-conll2003-finetuned")
        settings["model.transformer"] = recipe.model.transformer.model_dump(exclude_unset=True) | {
            "name": transformer["name"]
        }
        settings["training"] = recipe.training.model_dump(mode="json", exclude_unset=True)
    return [f"{name}={json.dumps(value)}" for name, value in settings.items()]


def measure(arm: str, options: argparse.Namespace) -> dict[str, Any]:
    """Trains an arm unless its run exists; returns its row of the table."""
    run = options.out / arm
    transformer = {"name": str(options.transformer.resolve()), "output_dim": 200, "dropout": 0.35}
    settings = arm_settings(arm, transformer)
    if arm != "finetuned" and options.epochs:
        settings.append(f"training.epochs={options.epochs}")
    has_words = arm in ("static", "beside", "whole")
    result = tagger.train(
        options.recipe,
        data=options.data,
        vectors=options.vectors if has_words else (),
        out=run,
        settings=[*settings, *options.settings],
        seeds=parse_seeds(options.seeds),
        resume=(run / "seeds.json").exists(),
        device="cpu",
    )
    if result.failures or result.dev is None or result.test is None:
        sys.exit(f"{arm}: {result}")
    seconds = [sum(each.seconds + each.dev_seconds for each in one.history) for one in result.results]
    model = result.best.model_dir if result.best else run
    return {
        "arm": arm,
        "dev": result.dev.mean,
        "test": result.test.mean,
        "sd": result.test.sd,
        "minutes": sum(seconds) / len(seconds) / 60,
        "megabytes": sum(path.stat().st_size for path in model.iterdir()) / 1e6,
        "tokens_per_second": tagging_speed(model),
    }


def tagging_speed(model: Path, tokens: int = 20_000) -> float:
    """Returns the tokens per second of a model on repeated sentences of the bundled sample corpus."""
    loaded = tagger.load(model, device="cpu")
    text = ("Anna Velde joined Norvex Bank in Oslo after the talks on Monday .", "It said so .") * (tokens // 16)
    loaded.tag(text[:64])
    start = time.perf_counter()
    count = sum(len(sentence) for sentence in loaded.tag(text))
    return count / (time.perf_counter() - start)


def main() -> None:
    """Trains all arms and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="static recipe, such as ner-conll2003 or pos-ewt")
    parser.add_argument("data", type=Path, help="folder with train, dev and test data")
    parser.add_argument("--transformer", type=Path, required=True, help="directory of the transformer")
    parser.add_argument("--vectors", type=Path, nargs="+", required=True, help="tables of word vectors")
    parser.add_argument("--arms", default=",".join(ARMS), help=f"some of {', '.join(ARMS)}")
    parser.add_argument("--seeds", default="1-3", help="seeds of each arm [1-3]")
    parser.add_argument("--epochs", type=int, help="epochs of all arms but finetuned; those of the recipe by default")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="override a setting (repeatable)")
    parser.add_argument("--out", type=Path, required=True, help="directory of the runs")
    parser.add_argument("--json", type=Path, help="file for the rows")
    options = parser.parse_args()
    arms = options.arms.split(",")
    if unknown := {*arms} - {*ARMS}:
        parser.error(f"unknown arm {min(unknown)}; expected some of {', '.join(ARMS)}")
    rows = []
    print("| arm | dev | test | sd | minutes | tokens/s | MB |\n|---|---|---|---|---|---|---|")
    for arm in arms:
        row = measure(arm, options)
        rows.append(row)
        sd = "" if row["sd"] is None else f"{row['sd']:.2f}"
        numbers = f"{row['minutes']:.1f} | {row['tokens_per_second']:,.0f} | {row['megabytes']:.0f}"
        print(f"| {arm} | {row['dev']:.2f} | {row['test']:.2f} | {sd} | {numbers} |", flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1) + "\n")
    others = [options.out / arm for arm in arms if arm != "static"]
    static = options.out / "static"
    if others and (static / "seeds.json").is_file():
        print(tagger.compare(static, *others, baseline=static))


if __name__ == "__main__":
    main()
