"""The command `tagger audit`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger.cli import options
from tagger.cli.output import print_report
from tagger.cli.progress import training_progress


def audit(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe name or YAML file.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory of the audit.")],
    data: options.Data = None,
    train: options.Train = None,
    dev: options.Dev = None,
    vectors: options.Vectors = None,
    files: Annotated[
        list[str] | None,
        typer.Option("--audit", metavar="FILE", help="Annotated file to audit too, by all models (repeatable)."),
    ] = None,
    folds: Annotated[int, typer.Option(metavar="N", min=2, max=100, help="Number of folds.")] = 5,
    repeats: Annotated[
        int, typer.Option(metavar="N", min=1, max=100, help="How often the data is divided into folds.")
    ] = 2,
    jobs: options.Jobs = 1,
    seed: options.RecipeSeed = None,
    entity_disjoint: Annotated[
        bool,
        typer.Option("--entity-disjoint", help="Train without the sentences that share an entity with the fold."),
    ] = False,
    settings: options.Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted audit.")] = False,
    as_json: options.Json = False,
    device: options.Device = "auto",
) -> None:
    """Find labels that may be wrong, the most improbable first.

    Each annotation is judged by models that are trained without its document. Writes suspects.jsonl, a page to review
    them (audit.html), and weights.jsonl for training.sentence_weights. The page saves decisions, which
    tagger convert --decisions applies to the data.
    """
    from tagger.api import audit as api

    with training_progress(enabled=jobs == 1) as callback:
        result = api.audit(
            recipe,
            data=data,
            train=train,
            dev=dev,
            vectors=vectors or (),
            out=out,
            files=files or (),
            folds=folds,
            repeats=repeats,
            seed=seed,
            entity_disjoint=entity_disjoint,
            settings=settings or (),
            jobs=jobs,
            device=device,
            resume=resume,
            callback=callback,
        )
    print_report(result, as_json=as_json)
