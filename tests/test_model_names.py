"""Models of the Hub, from a server on this machine: found by name, downloaded whole, verified, and read offline."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

import tagger
from tagger import model_dir, model_names
from tagger.cli import app
from tagger.errors import ConfigError, ModelError
from tagger.io import hub, manifest
from tests.hub_server import COMMIT, NAME, HubServer, serve

OTHER = "f" * 40


@pytest.fixture
def server(model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The Hub with the model that has learned the tiny corpus."""
    monkeypatch.setattr(time, "sleep", lambda _: None)  # between the library's attempts
    monkeypatch.chdir(tmp_path)
    with serve(model_path, tmp_path / "cache", monkeypatch) as served:
        yield served


def stop(server: HubServer) -> None:
    server.shutdown()
    server.server_close()


def fault(name: str, revision: str | None = None) -> str:
    """Returns the line that says why a model cannot be loaded."""
    with pytest.raises((ModelError, ConfigError), match=r"\A[^\n]+\Z") as caught:
        tagger.load(name, revision=revision, device="cpu")
    return str(caught.value)


def tagged(model: str | Path, revision: str | None = None) -> list[tuple[str, ...]]:
    loaded = tagger.load(model, revision=revision, device="cpu")
    return [sentence.tags for sentence in loaded.tag(["Ada lives in New York ."])]


@pytest.mark.parametrize(
    ("name", "revision"), [(NAME, None), (NAME, "main"), (f"hub:{NAME}", COMMIT), (f"hub:{NAME}@{COMMIT}", None)]
)
def test_a_model_of_the_hub_tags_like_its_directory(
    name: str, revision: str | None, server: HubServer, model_path: Path
) -> None:
    assert tagged(name, revision) == tagged(model_path)


def test_a_model_is_downloaded_once_and_read_without_the_hub_later(
    server: HubServer, model_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tagger.load(NAME)
    downloads = [path for path in server.requests if "/resolve/" in path]
    tagger.load(NAME)
    assert [path for path in server.requests if "/resolve/" in path] == downloads
    count = len(server.requests)
    tagger.load(NAME, revision=COMMIT)  # a commit does not change: the Hub is not asked at all
    assert len(server.requests) == count
    stop(server)
    with caplog.at_level(logging.WARNING, "tagger"):
        assert tagged(NAME) == tagged(model_path)
    assert f"the Hub cannot be reached; using commit {COMMIT[:12]} of hub:{NAME} from the local cache" in caplog.text


def test_a_model_that_is_not_in_the_cache_needs_the_hub_whose_address_is_named(server: HubServer) -> None:
    stop(server)
    for revision in (None, COMMIT):
        message = f"not in the local cache, and the Hub cannot be reached at {server.address}"
        assert fault(f"hub:{NAME}", revision).endswith(message)


def test_offline_mode_reads_the_cache_and_asks_nobody(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fault(f"hub:{NAME}").endswith("not in the local cache, and the Hub cannot be reached: HF_HUB_OFFLINE is set")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    tagger.load(NAME)
    count = len(server.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    tagger.load(NAME)
    assert len(server.requests) == count


def test_only_files_of_a_model_are_downloaded(server: HubServer) -> None:
    server.files.update({"setup.py": b"raise SystemExit", "pytorch_model.bin": b"pickle", "state.json": b"{}"})
    folder = model_names.find(f"hub:{NAME}")
    assert {path.name for path in folder.iterdir()} <= model_dir.MAX_PUBLISHED_BYTES.keys()
    assert not [path for path in server.requests if "setup.py" in path or "bin" in path or "state" in path]


@pytest.mark.parametrize("file", ["weights.safetensors", "words.txt", "MANIFEST.json"])
def test_a_truncated_download_is_one_line_and_is_never_read(
    file: str, server: HubServer, capfd: pytest.CaptureFixture[str]
) -> None:
    server.truncated.add(file)
    assert "its download failed: " in fault(NAME)
    assert "its download failed: " in fault(NAME, COMMIT)
    output = capfd.readouterr()
    assert not output.out
    assert all(line.startswith(f"hub:{NAME}") for line in output.err.splitlines())  # the log of this toolkit
    server.truncated.clear()
    tagger.load(NAME)


@pytest.mark.parametrize("file", ["weights.safetensors", "words.txt", "config.yaml", "MANIFEST.json"])
def test_an_altered_file_is_refused_before_it_is_parsed(
    file: str, server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.altered.add(file)
    with monkeypatch.context() as patch:
        patch.setattr("tagger.config.parse", lambda *_: pytest.fail("was parsed"))
        assert f"{file} is corrupt: " in fault(NAME)
        message = fault(NAME, COMMIT)
    cache = tmp_path / "cache" / "models--owner--name"
    assert message.endswith(f"; remove {cache} to download the model again")


def test_a_file_that_is_missing_on_the_hub_is_one_line(server: HubServer) -> None:
    del server.files["words.txt"]
    assert "words.txt cannot be read" in fault(NAME)


def test_files_that_are_too_large_or_have_no_size_are_refused_before_the_download(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(model_dir.MAX_PUBLISHED_BYTES, "weights.safetensors", 1000)
        assert "its weights.safetensors is refused: it has " in fault(NAME)
    server.unsized.add("weights.safetensors")
    assert "its weights.safetensors is refused: the Hub does not report its size" in fault(NAME)
    assert not [path for path in server.requests if "/resolve/" in path]


def test_the_commit_whose_sizes_were_checked_is_downloaded_though_the_branch_moves(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = model_names._check_sizes

    def move(snapshot: hub.Snapshot) -> int:
        repository = server.repositories[NAME]
        repository.commits[OTHER], repository.refs["main"] = {}, OTHER
        return check(snapshot)

    monkeypatch.setattr(model_names, "_check_sizes", move)
    assert model_names.find(f"hub:{NAME}").name == COMMIT
    assert len([path for path in server.requests if path.startswith("/api/") and "/tree/" not in path]) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("revision", [None, "main"])
def test_a_hub_that_is_busy_or_broken_leaves_the_cached_model_usable(
    status: int, revision: str | None, server: HubServer, model_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tagger.load(NAME)
    server.failure = status
    with caplog.at_level(logging.WARNING, "tagger"):
        assert tagged(NAME, revision) == tagged(model_path)
    assert "the Hub cannot be reached; using commit" in caplog.text
    server.failure = 403
    fault(NAME, revision)


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        (NAME, "v9", f"{NAME}: no such model directory; the Hub has no revision 'v9' of it"),
        (f"hub:{NAME}@{OTHER}", None, f"hub:{NAME}@{OTHER}: the Hub has no revision '{OTHER}' of it"),
        ("owner/other", None, "owner/other: no such model directory; the Hub has no public model of this name"),
        ("hub:owner/other", None, "hub:owner/other: the Hub has no public model of this name"),
        ("hub:owner", None, "'hub:owner': expected a name on the Hub such as hub:USER/NAME or hub:USER/NAME@v1"),
        ("hub:../x", None, "'hub:../x': expected a name on the Hub such as hub:USER/NAME or hub:USER/NAME@v1"),
        (f"hub:{NAME}@v1", "v2", f"hub:{NAME}@v1: names a revision; omit `revision`"),
    ],
)
def test_what_the_hub_does_not_have_is_one_line(
    name: str, revision: str | None, message: str, server: HubServer
) -> None:
    assert fault(name, revision) == message


def test_a_repository_without_a_manifest_is_one_line(server: HubServer) -> None:
    del server.files[manifest.MANIFEST]
    assert fault(NAME).endswith("the Hub has no model of this toolkit there: it lacks MANIFEST.json")


def test_an_existing_directory_is_never_looked_up_on_the_hub(server: HubServer, model_path: Path) -> None:
    model_dir.copy(model_path, Path("owner"))
    assert "owner/name: no such model directory; for a model of the Hub, write hub:owner/name" in fault(NAME)
    model_dir.copy(model_path, Path(NAME))
    assert tagged(NAME) == tagged(model_path)
    assert "`revision` is for a model of the Hub, and this is a directory" in fault(NAME, "v1")
    with pytest.raises(ModelError, match="no such model directory"):
        tagger.load(Path("other/name"))
    assert server.requests == []
    tagger.load(f"hub:{NAME}")
    assert server.requests


def test_a_model_of_the_hub_is_calibrated_as_a_copy(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dev.conll").write_text("x O\n")
    with pytest.raises(ConfigError, match="a model of the Hub is not changed; pass `out` for a calibrated copy"):
        tagger.calibrate(f"hub:{NAME}", tmp_path / "dev.conll")
    assert server.requests == []


@pytest.mark.parametrize(
    "command",
    [
        f"tag a.conll --model {NAME}",
        f"evaluate a.conll --model {NAME}",
        f"select a.conll --model {NAME} --count 1",
        f"calibrate {NAME} a.conll --out calibrated",
        f"info {NAME}",
        f"export {NAME} --out onnx",
        f"push {NAME} owner/mine",
        f"init a.conll --init-from {NAME}",
        f"train sample --init-from {NAME} --out run",
    ],
)
def test_a_mistyped_path_in_a_command_is_never_looked_up_on_the_hub(command: str, server: HubServer) -> None:
    Path("a.conll").write_text("Ada B-PER\n\n")
    done = CliRunner().invoke(app, command.split())
    message = f"{NAME}: no such model directory; for a model of the Hub, write hub:{NAME}\n"
    assert (done.exit_code, done.stderr) == (2, message)
    assert server.requests == []
