"""The command `tagger push`."""

from typing import Annotated

import typer

from tagger.cli import options
from tagger.cli.output import print_report


def push(
    model: options.NamedModel,
    name: Annotated[str, typer.Argument(metavar="USER/NAME", help="Repository on the Hugging Face Hub.")],
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    revision: Annotated[
        str | None, typer.Option(metavar="BRANCH", help="Branch, created if it does not exist.", show_default="main")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Add a commit that replaces the model in the repository.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Upload a model to the Hugging Face Hub.

    Uploads the files of the model, its manifest and its card README.md, in one commit. Log in once with `hf auth
    login`, or set HF_TOKEN. Other commands then take the model as hub:USER/NAME.
    """
    from tagger.api import push as api

    print_report(api.push(model, name, private=private, revision=revision, replace=replace), as_json=as_json)
