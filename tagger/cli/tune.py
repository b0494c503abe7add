"""The command `tagger tune`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger import choices
from tagger.cli import options
from tagger.cli.output import print_report
from tagger.cli.progress import training_progress
from tagger.errors import TrainingError


def tune(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe name or YAML file.")],
    space: Annotated[
        Path, typer.Option(metavar="FILE", help="YAML file with choices or a range for each setting to tune.")
    ],
    trials: Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="Number of trials.")] = 20,
    data: options.Data = None,
    train: options.Train = None,
    dev: options.Dev = None,
    vectors: options.Vectors = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory of the search.", show_default="runs/RECIPE-tune")
    ] = None,
    seed: options.RecipeSeed = None,
    seeds: options.Seeds = None,
    sampler: Annotated[
        choices.Sampler,
        typer.Option(help="Sample near the best trials (tpe), independently (random), or all combinations (grid)."),
    ] = "tpe",
    prune: Annotated[bool, typer.Option("--prune/--no-prune", help="End unpromising trials early.")] = True,
    keep_models: Annotated[bool, typer.Option("--keep-models", help="Keep the models of all trials.")] = False,
    jobs: options.Jobs = 1,
    settings: options.Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted search.")] = False,
    as_json: options.Json = False,
    device: options.Device = "auto",
) -> None:
    """Search for the settings with the highest dev score.

    The file of --space has a line for each setting: NAME: [1, 2, 3] for choices, or NAME: {low: 0.001, high: 0.1, log:
    true} or NAME: {low: 100, high: 300, step: 50} for a range. Writes best.yaml, a recipe with the best settings, their
    model, a table of all trials and a picture. Without --seeds each trial has one seed; with several, their mean score
    decides, and only trials that are not pruned are trained with all of them.
    """
    from tagger import experiments
    from tagger.api import tune as api

    with training_progress(enabled=jobs == 1) as callback:
        result = api.tune(
            recipe,
            space=space,
            trials=trials,
            data=data,
            train=train,
            dev=dev,
            vectors=vectors or (),
            out=out,
            settings=settings or (),
            seed=seed,
            seeds=None if seeds is None else experiments.parse_seeds(seeds),
            sampler=sampler,
            prune=prune,
            keep_models=keep_models,
            jobs=jobs,
            device=device,
            resume=resume,
            callback=callback,
        )
    print_report(result, as_json=as_json)
    if result.best is None:
        raise TrainingError("no trial is finished; lower the values of the space, or see trials.jsonl")
