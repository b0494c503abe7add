"""Transformers of the Hub, from a server on this machine: downloads that are whole, truncated, altered or missing."""

import re
import time
from pathlib import Path

import pytest
import torch

from tagger import model_dir, training
from tagger.config import Config
from tagger.errors import ConfigError, ModelError
from tagger.io.json_files import parse
from tagger.transformer import library
from tests.hub_server import COMMIT, NAME, HubServer, serve
from tests.robustness.runs import changed
from tests.transformer import tiny

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_transformer(tmp_path_factory.mktemp("bert"))


def fault(revision: str | None = None, name: str = NAME) -> str:
    """Returns the line that says why a transformer cannot be loaded."""
    with pytest.raises(ConfigError, match=rf"\Atransformer {name}: [^\n]+\Z") as caught:
        library.load(name, revision)
    return str(caught.value)


def stop(server: HubServer) -> None:
    server.shutdown()
    server.server_close()


def test_a_transformer_is_downloaded_once_and_read_without_the_hub_later(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = library.load(str(folder))
    with serve(folder, tmp_path / "cache", monkeypatch) as server:
        first = library.load(NAME)
        assert first.origin == library.Origin(NAME, COMMIT, local.origin.digest)
        requests = [path for path in server.requests if "/resolve/" in path]
        assert library.load(NAME, COMMIT).origin == first.origin
        assert [path for path in server.requests if "/resolve/" in path] == requests
        stop(server)
        for revision in (None, "main", COMMIT):
            assert library.load(NAME, revision).origin == first.origin
    for name, weight in local.encoder.state_dict().items():
        assert torch.equal(first.encoder.state_dict()[name], weight)


@pytest.mark.parametrize("file", [WEIGHTS, "config.json", "tokenizer.json"])
def test_a_truncated_download_is_one_line_and_is_never_read(
    file: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)  # between the library's attempts
    with serve(folder, tmp_path / "cache", monkeypatch) as server:
        server.truncated.add(file)
        assert "its download failed: " in fault()
        stop(server)
        for revision in (None, COMMIT):
            assert "the Hub cannot be reached" in fault(revision)
    assert capfd.readouterr() == ("", "")
    with serve(folder, tmp_path / "cache", monkeypatch):
        assert library.load(NAME).origin.digest == library.load(str(folder)).origin.digest


def test_altered_weights_are_one_line_that_names_the_file_to_remove(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(folder, tmp_path / "cache", monkeypatch) as server:
        server.altered.add(WEIGHTS)
        message = fault()
        assert f"its {WEIGHTS} is damaged: its SHA-256 is not that of the Hub; remove" in message
        server.altered.clear()
        assert fault() == message
        Path(re.findall(r"remove (.*)", message)[0]).unlink()
        assert library.load(NAME).origin.digest == library.load(str(folder)).origin.digest


def test_a_file_that_is_shorter_than_its_header_says_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server believes that the truncated file is whole."""
    with serve(folder, tmp_path / "cache", monkeypatch) as server:
        server.files[WEIGHTS] = server.files[WEIGHTS][:-100]
        fault()


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        (NAME, "v9", "the Hub has no revision 'v9' of it"),
        (NAME, "f" * 40, f"the Hub has no revision '{'f' * 40}' of it"),
        ("owner/other", None, "no such directory; the Hub has no public model of this name"),
    ],
)
def test_what_the_hub_does_not_have_is_one_line(
    name: str, revision: str | None, message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(folder, tmp_path / "cache", monkeypatch):
        assert message in fault(revision, name)


def test_a_model_names_the_commit_of_its_transformer_and_refuses_other_weights(
    tiny_config: Config, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (f"model.transformer={{name: {NAME}}}", "training.epochs=1", "training.feature_cache=false")
    other = tiny.write_transformer(tmp_path / "other", seed=1)
    with serve(folder, tmp_path / "cache", monkeypatch) as server:
        model = training.train(changed(tiny_config, *settings), tmp_path / "run", device="cpu").model_dir
        assert not (model / "transformer.safetensors").exists()
        assert parse((model / "transformer.json").read_bytes())["revision"] == COMMIT
        stop(server)
        loaded = model_dir.load(model)[0].transformer
        assert loaded is not None
        assert loaded.origin.revision == COMMIT
    for cache, transformer, altered, message in (
        ("altered", folder, [WEIGHTS], "is damaged: its SHA-256"),
        ("changed", other, [], "has other weights than the model was trained with"),
    ):
        with serve(transformer, tmp_path / cache, monkeypatch) as server:
            server.altered.update(altered)
            with pytest.raises(ModelError, match=rf"\A[^\n]*{message}[^\n]*\Z"):
                model_dir.load(model)
