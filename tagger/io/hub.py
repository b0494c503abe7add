"""The Hugging Face Hub: downloads into its library's cache, and uploads. No other code uses this library.

The library takes half a second to import, so that it is imported only when it is used.
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tagger.choices import list_briefly
from tagger.io import atomic

COMMIT = re.compile("[0-9a-f]{40}")
"""A commit of the Hub."""
_SECONDS = 10  # for the Hub to answer
_LOG_IN = "log in with `hf auth login`, or set the environment variable HF_TOKEN"
_HIDDEN = {".gitattributes"}  # of a new repository
_REFUSALS = {
    401: f"the Hub does not accept the token; {_LOG_IN}",
    403: "the token has no permission to write to it",
    409: "exists already, and the token gives no access to it",
    412: "was changed by another upload at the same time; try again",
}


class HubError(Exception):
    """Why a model of the Hub cannot be downloaded or uploaded, in one line without its name."""


class InvalidNameError(HubError):
    """A name that no repository can have."""


@dataclass(frozen=True)
class Snapshot:
    """A commit of a repository on the Hub.

    Attributes:
        commit: the commit.
        sizes: the size in bytes of each file by its name; None if the Hub does not report it.
        private: whether the repository is private.
    """

    commit: str
    sizes: Mapping[str, int | None]
    private: bool = False


@dataclass(frozen=True)
class Target:
    """Where a model is uploaded to.

    Attributes:
        name: the name of the repository, `USER/NAME`.
        branch: the branch, which is created if it does not exist; None for the main branch.
        private: whether a new repository is private.
        replace: whether files of the repository may be replaced, by a new commit.
    """

    name: str
    branch: str | None = None
    private: bool = False
    replace: bool = False


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the library from writing warnings and progress bars within the block."""
    from huggingface_hub import utils

    verbosity, had_bars = utils.logging.get_verbosity(), not utils.are_progress_bars_disabled()
    utils.logging.set_verbosity(utils.logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            utils.disable_progress_bars()
            yield
    finally:
        utils.logging.set_verbosity(verbosity)
        if had_bars:
            utils.enable_progress_bars()


def is_offline() -> bool:
    """Returns whether the environment forbids access to the Hub (HF_HUB_OFFLINE)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def find_snapshot(name: str, revision: str | None) -> Snapshot | None:
    """Returns the newest commit of a branch, tag or commit of the Hub; None if the Hub cannot be reached or is busy.

    Raises:
        HubError: the Hub has no such repository or revision, or refuses access.
    """
    from huggingface_hub import HfApi, errors

    with _as_hub_errors(revision):
        try:
            return _describe(HfApi(), name, revision)
        except errors.HFValidationError:
            raise
        except errors.HfHubHTTPError as error:
            status = _status(error)
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
                return None
            raise
        except Exception:  # of the network, or of one of the libraries below
            return None


def _status(error: Any) -> int:
    """Returns the status of an HTTP error; 0 if there was no response."""
    return 0 if error.response is None else int(error.response.status_code)


def download(name: str, revision: str | None, patterns: Sequence[str], *, only_cached: bool = False) -> Path:
    """Returns the directory of a revision in the local cache, after the download of what is missing.

    The name of the directory is the commit.

    Args:
        name: the name of the repository.
        revision: the commit, tag or branch; None for the newest.
        patterns: globs for the names of the files.
        only_cached: whether to download nothing.

    Raises:
        HubError: the Hub has no such repository or revision, refuses access, or cannot be reached and the local cache
            lacks a file; or the download failed.
    """
    from huggingface_hub import snapshot_download

    with _as_hub_errors(revision):
        is_unreachable = not only_cached and revision is not None and not _finds_commit(name, revision)
        offline = only_cached or is_unreachable
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns), local_files_only=offline))


def _finds_commit(name: str, revision: str) -> bool:
    """Returns whether a download can begin: the Hub answers about a commit, or `revision` is none.

    The download of a commit tries for half a minute to reach the Hub, and writes about it.
    """
    if not COMMIT.fullmatch(revision):
        return True
    try:
        return find_snapshot(name, revision) is not None
    except HubError:
        return True  # the download raises it, unless the local cache has all files


def download_snapshot(name: str, revision: str | None, snapshot: Snapshot, patterns: Sequence[str]) -> Path:
    """Returns the directory of a commit in the local cache, after the download of what is missing.

    Args:
        name: the name of the repository.
        revision: the commit, tag or branch that the commit was found by; without the Hub it leads to this commit.
        snapshot: the commit.
        patterns: globs for the names of the files.

    Raises:
        HubError: the download failed.
    """
    from huggingface_hub import snapshot_download

    with _as_hub_errors(revision):
        folder = Path(snapshot_download(name, revision=snapshot.commit, allow_patterns=list(patterns)))
    _record_commit(folder.parent.parent / "refs", revision or "main", snapshot.commit)
    return folder


def _record_commit(refs: Path, revision: str, commit: str) -> None:
    """Records in the local cache which commit a branch or tag names, as the library does."""
    names = revision.split("/")
    if revision == commit or ".." in names:
        return
    path = refs.joinpath(*names)
    with suppress(OSError):  # the cache may be read-only
        if not path.exists() or path.read_text() != commit:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.replace(path, commit.encode())


@contextmanager
def _as_hub_errors(revision: str | None) -> Iterator[None]:
    """Converts exceptions of the library to a HubError."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise HubError("access is restricted: request it on the model's page, then log in") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError("the Hub has no public model of this name") from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"the Hub has no revision {revision!r} of it") from error
    except errors.LocalEntryNotFoundError as error:
        raise HubError(f"not in the local cache, and {_describe_unreachable(error)}") from error
    except errors.HFValidationError as error:
        raise InvalidNameError("not a valid name on the Hub") from error
    except Exception as error:  # of the network, or of one of the libraries below
        raise HubError(f"its download failed: {one_line(error)}") from error


def upload(target: Target, files: Mapping[str, bytes], replaceable: Sequence[str], message: str) -> tuple[str, str]:
    """Uploads files as one commit; returns the commit and its address.

    Other files of the repository stay as they are.

    Args:
        target: where to upload to.
        files: the content of each file by its name.
        replaceable: names of files that are removed if `files` lacks them.
        message: the commit message.

    Raises:
        HubError: there is no token or no permission; the repository holds files, unless `target.replace`; or the
            upload failed.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    if is_offline():
        raise HubError("HF_HUB_OFFLINE is set, and an upload needs the Hub")
    if get_token() is None:
        raise HubError(f"an upload needs a token; {_LOG_IN}")
    api = HfApi()
    with _as_refusals():
        base = _prepare(api, target)
        operations: list[Any] = [CommitOperationAdd(name, data) for name, data in files.items()]
        operations += [CommitOperationDelete(name) for name in replaceable if name in base.sizes and name not in files]
        commit = api.create_commit(
            target.name, operations, commit_message=message, revision=target.branch, parent_commit=base.commit
        )
    return str(commit.oid), str(commit.commit_url)


def _prepare(api: Any, target: Target) -> Snapshot:
    """Returns the commit that an upload is based on; creates the repository or the branch if it does not exist.

    Raises:
        HubError: the branch holds files, unless `target.replace`.
    """
    from huggingface_hub import errors

    branch = None
    try:
        base = _describe(api, target.name, target.branch)
    except errors.RevisionNotFoundError:
        base, branch = _describe(api, target.name, None), target.branch
    except errors.RepositoryNotFoundError:
        api.create_repo(target.name, private=target.private or None)  # else as the account prefers
        base, branch = _describe(api, target.name, None), target.branch
    else:
        if (names := sorted(base.sizes.keys() - _HIDDEN)) and not target.replace:
            raise HubError(
                f"exists on the Hub and holds {list_briefly(names, 3)}; pass `replace=True` to add a commit that"
                " replaces the model"
            )
    if target.private and not base.private:
        raise HubError("exists on the Hub and is public; `private` is for a new repository")
    if branch is not None:
        api.create_branch(target.name, branch=branch, revision=base.commit, exist_ok=True)
    return base


def _describe(api: Any, name: str, revision: str | None) -> Snapshot:
    info = api.model_info(name, revision=revision, files_metadata=True, timeout=_SECONDS)
    return Snapshot(str(info.sha), {file.rfilename: file.size for file in info.siblings or ()}, bool(info.private))


@contextmanager
def _as_refusals() -> Iterator[None]:
    """Converts exceptions of an upload to a HubError."""
    from huggingface_hub import errors

    try:
        yield
    except HubError:
        raise
    except errors.HFValidationError as error:
        raise InvalidNameError("not a valid name on the Hub") from error
    except errors.HfHubHTTPError as error:
        raise HubError(_REFUSALS.get(_status(error), f"its upload failed: {one_line(error)}")) from error
    except Exception as error:  # of the network, or of one of the libraries below
        is_unreachable = _find_network_error(error) is not None
        reason = _describe_unreachable(error) if is_unreachable else f"its upload failed: {one_line(error)}"
        raise HubError(reason) from error


def _describe_unreachable(error: Exception) -> str:
    """Returns which host cannot be reached and, as far as it is known, why."""
    from huggingface_hub import constants

    if is_offline():
        return "the Hub cannot be reached: HF_HUB_OFFLINE is set"
    cause = _find_network_error(error)
    reason = "" if cause is None else f": {cause.strerror or one_line(cause)}"
    return f"the Hub cannot be reached at {constants.ENDPOINT}{reason}"


def _find_network_error(error: BaseException | None) -> OSError | None:
    """Returns the error of the operating system that an exception of the library began with, None if there is none."""
    network_error = None
    while error is not None:
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):  # the library's own
            network_error = error
        error = error.__cause__ or error.__context__
    return network_error


def one_line(error: Exception) -> str:
    """Returns the message of an exception of a library as one line."""
    if isinstance(error, KeyError):
        return f"{str(error)[:60]} is not known"
    return " ".join(str(error).split())[:300] or type(error).__name__
