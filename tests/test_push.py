"""Uploads of models to a server on this machine that answers as the Hugging Face Hub does."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tagger
from tagger import model_dir
from tagger.cli import app
from tagger.errors import ConfigError, ModelError, StorageError
from tests.hub_server import COMMIT, NAME, READER, WRITER, HubServer, serve

MINE = "owner/mine"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The Hub with an empty repository, asked with the token of a user who may write."""
    (tmp_path / "empty").mkdir()
    with serve(tmp_path / "empty", tmp_path / "cache", monkeypatch) as served:
        monkeypatch.setenv("HF_TOKEN", WRITER)
        yield served


@pytest.fixture
def model(model_path: Path, tmp_path: Path) -> Path:
    """A model of the tiny corpus with a card."""
    model_dir.copy(model_path, tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("# A model\n")
    return tmp_path / "model"


def main_files(server: HubServer, name: str = MINE, branch: str = "main") -> dict[str, bytes]:
    repository = server.repositories[name]
    return repository.commits[repository.refs[branch]]


def fault(model: Path, name: str = MINE, **options: bool | str) -> str:
    with pytest.raises((StorageError, ConfigError), match=r"\A[^\n]+\Z") as caught:
        tagger.push(model, name, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_exactly_the_model_and_its_card_are_uploaded_and_load_again(server: HubServer, model: Path) -> None:
    (model / "notes.txt").write_text("mine")
    (model / "cache").mkdir()
    result = tagger.push(model, MINE)
    expected = {path.name: path.read_bytes() for path in model.iterdir() if path.name not in ("notes.txt", "cache")}
    files = main_files(server)
    assert {name: data for name, data in files.items() if name != ".gitattributes"} == expected
    assert result.sizes.keys() == expected.keys()
    assert set(server.uploaded.values()) == {expected["weights.safetensors"]}
    assert result.to_json()["files"] == {name: len(data) for name, data in sorted(expected.items())}
    assert result.commit == server.repositories[MINE].refs["main"]
    sentence = "Ada lives in New York ."
    assert tagger.load(MINE, revision=result.commit).tag([sentence]) == tagger.load(model).tag([sentence])


def test_the_card_of_a_model_of_the_hub_names_the_repository_it_is_pushed_to(server: HubServer, model: Path) -> None:
    (model / "README.md").unlink()
    tagger.push(model, MINE)
    tagger.push(f"hub:{MINE}", "other/copy")
    card = main_files(server, "other/copy")["README.md"].decode()
    assert 'tagger.load("hub:other/copy")' in card
    assert MINE not in card


def test_the_command_prints_the_commit_or_json(server: HubServer, model: Path) -> None:
    shown = CliRunner().invoke(app, ["push", str(model), f"hub:{MINE}", "--private"])
    commit = server.repositories[MINE].refs["main"]
    assert shown.stdout.startswith(f"hub:{MINE}@{commit}: {len(list(model.iterdir()))} files, ")
    assert server.repositories[MINE].private
    shown = CliRunner().invoke(app, ["push", str(model), MINE, "--revision", "v2", "--json"])
    assert json.loads(shown.stdout)["commit"] == server.repositories[MINE].refs["v2"]
    shown = CliRunner().invoke(app, ["push", str(model), MINE])
    assert shown.exit_code == 2
    assert f"{MINE}: exists on the Hub and holds" in shown.stderr
    assert "pass --replace to add a commit" in shown.stderr


def test_a_repository_with_files_is_changed_only_on_request_and_keeps_other_files(
    server: HubServer, model: Path
) -> None:
    server.files.update({"README.md": b"mine", "calibration.json": b"old", "notes.txt": b"mine"})
    before = dict(server.files)
    message = fault(model, NAME)
    assert message.endswith(
        "exists on the Hub and holds README.md, calibration.json, notes.txt; pass `replace=True` to add a commit that"
        " replaces the model"
    )
    assert server.repositories[NAME].commits == {COMMIT: before}
    tagger.push(model, NAME, replace=True)
    files = main_files(server, NAME)
    assert files["README.md"] == b"# A model\n"
    assert files["notes.txt"] == b"mine"
    assert "calibration.json" not in files
    assert server.repositories[NAME].commits[COMMIT] == before


def test_an_empty_repository_and_a_new_branch_are_filled_without_request(server: HubServer, model: Path) -> None:
    tagger.push(model, NAME)
    first = server.repositories[NAME].refs["main"]
    tagger.push(model, NAME, revision="v2")
    assert server.repositories[NAME].refs["main"] == first
    assert main_files(server, NAME, "v2").keys() == main_files(server, NAME).keys()


def test_a_missing_token_a_wrong_one_and_one_without_permission_are_one_line(
    server: HubServer, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advice = "log in with `hf auth login`, or set the environment variable HF_TOKEN"
    monkeypatch.delenv("HF_TOKEN")
    assert fault(model) == f"{MINE}: an upload needs a token; {advice}"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert fault(model) == f"{MINE}: the Hub does not accept the token; {advice}"
    monkeypatch.setenv("HF_TOKEN", READER)
    for name in (MINE, NAME):
        assert fault(model, name) == f"{name}: the token has no permission to write to it"
    assert server.repositories.keys() == {NAME}


def test_an_upload_without_the_hub_is_one_line(server: HubServer, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert fault(model).endswith("HF_HUB_OFFLINE is set, and an upload needs the Hub")
    server.shutdown()
    server.server_close()
    assert fault(model) == f"{MINE}: the Hub cannot be reached at {server.address}: Connection refused"


def test_a_change_on_the_hub_during_an_upload_is_not_overwritten(
    server: HubServer, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    upload = HfApi.preupload_lfs_files

    def change(*args: object, **options: object) -> None:
        server.repositories[NAME].commits["a" * 40] = {"README.md": b"theirs"}
        server.repositories[NAME].refs["main"] = "a" * 40
        upload(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(HfApi, "preupload_lfs_files", change)
    assert fault(model, NAME) == f"{NAME}: was changed by another upload at the same time; try again"
    assert main_files(server, NAME) == {"README.md": b"theirs"}


def test_a_damaged_model_and_a_wrong_name_are_refused_before_the_hub_is_asked(server: HubServer, model: Path) -> None:
    assert fault(model, "mine").startswith("'mine': expected a name on the Hub")
    assert fault(model, "owner/a--b") == "owner/a--b: not a valid name on the Hub"
    (model / "words.txt").write_text("other")
    with pytest.raises(ModelError, match=r"words\.txt is corrupt"):
        tagger.push(model, MINE)
    assert server.requests == []


def test_a_public_repository_is_not_taken_for_a_private_one(server: HubServer, model: Path) -> None:
    assert "exists on the Hub and is public; `private` is for a new repository" in fault(model, NAME, private=True)


def test_a_checkpoint_is_not_published(model_path: Path, server: HubServer) -> None:
    checkpoint = next(model_path.parent.glob("checkpoint-*"))
    assert "is a checkpoint of a training; publish its model-best" in fault(checkpoint)


def test_a_manifest_that_lists_other_files_is_refused(server: HubServer, model: Path) -> None:
    from tagger.io.manifest import build_manifest

    contents = {path.name: path.read_bytes() for path in model.iterdir() if path.name not in ("MANIFEST.json",)}
    (model / "MANIFEST.json").write_bytes(build_manifest(contents | {"../secret": b""}))
    with pytest.raises(ModelError, match=r"lists '\.\./secret', which is no file of a model"):
        tagger.push(model, MINE)
    assert server.requests == []
