"""Uploads of models to the Hugging Face Hub.

The library's own `ModelHubMixin` is not used. Its `from_pretrained` parses `config.json` before the manifest is
verified. Its `save_pretrained` removes a `config.json` of somebody else, and a crash leaves half a model. Its
`push_to_hub` replaces the files of any repository that exists.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagger import __version__, model_card, model_dir
from tagger.errors import ConfigError, StorageError
from tagger.io import hub
from tagger.io.hub import Target

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PushResult:
    """A model that was uploaded.

    Attributes:
        name: the name of the repository.
        branch: its branch.
        commit: the commit, which names exactly these files.
        address: the address of the commit.
        sizes: the size in bytes of each file by its name.
    """

    name: str
    branch: str
    commit: str
    address: str
    sizes: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Returns its values as JSON has them."""
        return {
            "name": self.name,
            "branch": self.branch,
            "commit": self.commit,
            "address": self.address,
            "files": dict(self.sizes),
        }

    def __str__(self) -> str:
        size = sum(self.sizes.values()) / 1e6
        return f"hub:{self.name}@{self.commit}: {len(self.sizes)} files, {size:.1f} MB\n{self.address}"


def push(directory: Path, target: Target) -> PushResult:
    """Uploads a model after it was loaded and verified: the files of its manifest, the manifest and the model card.

    Args:
        directory: the model directory.
        target: where to upload to.

    Raises:
        ConfigError: the directory is the checkpoint of a training, or the name is not valid.
        ModelError: the model is missing or damaged.
        StorageError: the Hub refuses the upload, cannot be reached, or holds other files there.
    """
    model_dir.check_publishable(directory)
    model, _ = model_dir.load(directory)
    card = model_dir.read_card(directory) or model_card.build(model)
    if not model_card.names_license(card):
        log.warning("%s names no license; fill it in, so that others know what they may do", model_dir.CARD)
    files = model_dir.read_files(directory) | {model_dir.CARD: model_card.with_name(card, model, f"hub:{target.name}")}
    replaceable = [name for name in model_dir.MAX_PUBLISHED_BYTES if name not in files]
    message = f"Model of bilstm-crf-tagger {__version__}"
    try:
        with hub.quiet():
            commit, address = hub.upload(target, files, replaceable, message)
    except hub.InvalidNameError as error:
        raise ConfigError(f"{target.name}: {error}") from error
    except hub.HubError as error:
        raise StorageError(f"{target.name}: {error}") from error
    sizes = {name: len(data) for name, data in sorted(files.items())}
    return PushResult(target.name, target.branch or "main", commit, address, sizes)
