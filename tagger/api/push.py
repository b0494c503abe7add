"""The Python API of `tagger push`."""

from pathlib import Path

from tagger import model_names
from tagger.integrations import hub
from tagger.integrations.hub import PushResult
from tagger.io.hub import Target


def push(
    model: str | Path, name: str, *, private: bool = False, revision: str | None = None, replace: bool = False
) -> PushResult:
    """Uploads a model to the Hugging Face Hub, as `tagger push` does.

    The model is loaded first. The repository gets the files of its manifest, the manifest and README.md, in one commit.
    The token is the one of `hf auth login`, or the environment variable HF_TOKEN.

    Args:
        model: a model directory, or `hub:USER/NAME` or `hub:USER/NAME@REVISION` for a model of the Hub.
        name: the repository, `USER/NAME`; it is created if it does not exist.
        private: whether a new repository is private.
        revision: the branch, which is created if it does not exist; None for the main branch.
        replace: add a commit to a branch that holds files. It replaces the files of a model and README.md; other
            files stay.

    Raises:
        ConfigError: the name is not valid, or the model is the checkpoint of a training.
        ModelError: the model is missing or damaged.
        StorageError: there is no token or no permission; the branch holds files; or the Hub cannot be reached.
    """
    target = model_names.parse_repository(name, revision)
    return hub.push(model_names.find(model), Target(target.name, target.revision, private, replace))
