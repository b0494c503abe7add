"""The command `tagger train`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger.cli import options
from tagger.cli.output import print_report, stop_logging
from tagger.cli.progress import training_progress
from tagger.errors import TrainingError


def train(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="Recipe name or YAML file, or with --resume a run directory."),
    ],
    data: options.Data = None,
    train: options.Train = None,
    dev: options.Dev = None,
    test: Annotated[Path | None, typer.Option(metavar="FILE", help="Test file, scored once after training.")] = None,
    vectors: options.Vectors = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="Run directory.", show_default="runs/RECIPE")] = None,
    seed: options.RecipeSeed = None,
    seeds: options.Seeds = None,
    jobs: options.Jobs = 1,
    transformer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Transformer: a directory, or a name on the Hugging Face Hub."),
    ] = None,
    include_weights: Annotated[
        bool | None,
        typer.Option(
            "--include-weights/--no-include-weights",
            help="Store the weights of a frozen transformer in the model.",
            show_default="those of a directory",
        ),
    ] = None,
    feature_cache: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Cache of the features of a frozen transformer, or none.",
            show_default="in the user's cache directory",
        ),
    ] = None,
    settings: options.Settings = None,
    misaligned: options.Misaligned = None,
    init_from: options.InitFrom = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")] = False,
    as_json: options.Json = False,
    device: options.Device = "auto",
) -> None:
    """Train a tagger from a recipe, or resume a run.

    Several processes train one model if torchrun starts them.
    """
    from tagger import experiments
    from tagger.api import training
    from tagger.config.overrides import list_overrides
    from tagger.training.launch import read_launch

    is_first = read_launch().rank == 0
    if not is_first:
        stop_logging()
    with training_progress(enabled=jobs == 1 and is_first) as callback:
        result = training.train(
            recipe,
            data=data,
            train=train,
            dev=dev,
            test=test,
            vectors=vectors or (),
            out=out,
            settings=list_overrides(
                settings or (),
                {
                    "data.misaligned": misaligned,
                    "model.transformer.name": transformer,
                    "model.transformer.include_weights": include_weights,
                    "training.feature_cache": False if feature_cache == "none" else feature_cache,
                },
            ),
            seed=seed,
            seeds=None if seeds is None else experiments.parse_seeds(seeds),
            jobs=jobs,
            device=device,
            init_from=init_from,
            resume=resume,
            callback=callback,
        )
    if is_first:
        print_report(result, as_json=as_json)
    if result.failures:
        raise TrainingError(*(f"seed {seed}: {fault}" for seed, faults in result.failures.items() for fault in faults))
