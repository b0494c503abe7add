"""A pickle in place of any file is refused and never run; and no code of the package could run one."""

import ast
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import tagger
from tagger import model_dir, training
from tagger.config import Config, load
from tagger.errors import ModelError, TaggerError
from tests.robustness.test_hostile_tensors import put

ROOT = Path(tagger.__file__).parents[1]


class _Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> object:
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """A file that only a pickle which was run would make."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists()


@pytest.fixture
def payload(marker: Path) -> bytes:
    """A pickle that makes the marker."""
    return pickle.dumps(_Payload(marker))


def test_the_pickle_of_these_tests_runs_code_when_loaded(payload: bytes, marker: Path) -> None:
    pickle.loads(payload)  # noqa: S301  # our own
    assert marker.exists()
    marker.unlink()


@pytest.mark.parametrize("sealed", [False, True])
def test_a_pickle_as_any_file_of_a_model_is_refused(
    model_path: Path, tmp_path: Path, payload: bytes, sealed: bool
) -> None:
    for name in sorted({path.name for path in model_path.iterdir()} - {model_dir.CARD}):  # no code parses the card
        model = Path(shutil.copytree(model_path, tmp_path / name))
        if sealed and name != model_dir.MANIFEST:
            put(model, payload, name)
        else:
            (model / name).write_bytes(payload)
        with pytest.raises(ModelError):
            model_dir.load(model)


def test_a_pickle_as_the_state_of_a_training_is_refused(undisturbed: Path, tmp_path: Path, payload: bytes) -> None:
    for name in ("state.json", "state.safetensors"):
        run = Path(shutil.copytree(undisturbed, tmp_path / name))
        put(model_dir.find_newest_checkpoint(run), payload, name)
        with pytest.raises(ModelError, match="refused"):
            training.resume(run, device="cpu")


@pytest.mark.parametrize("name", ["vectors.txt", "vectors.pt", "vectors.npy"])
def test_a_pickle_as_vectors_is_refused(config: Config, tmp_path: Path, payload: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(payload)
    words = config.model.words.model_copy(update={"vectors": (str(tmp_path / name),)})
    settings = config.model_copy(update={"model": config.model.model_copy(update={"words": words})})
    with pytest.raises(TaggerError, match=name):
        training.train(settings, tmp_path / "run", device="cpu")


@pytest.mark.parametrize("place", ["model.pt", "model/pytorch_model.bin"])
def test_a_pickle_as_initial_model_is_refused(config: Config, tmp_path: Path, payload: bytes, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(payload)
    with pytest.raises(ModelError, match="model"):
        training.train(config, tmp_path / "run", device="cpu", init_from=tmp_path / place.split("/")[0])


def test_a_recipe_cannot_make_objects(tmp_path: Path, marker: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"data: !!python/object/apply:pathlib.Path.touch [{marker}]\n")
    with pytest.raises(TaggerError, match="tags are not used in recipes"):
        load(str(recipe))


def banned(source: str) -> list[str]:
    """Returns what in a source text could run code from data.

    >>> sorted(banned("import pickle; torch.load(f, weights_only=False); yaml.safe_load(t); eval('1')"))
    ['eval', 'pickle', 'torch.load', 'weights_only']
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [name.name for name in names if name.name.split(".")[0] in _MODULES]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in _MODULES:
                found.append(module)
            case ast.Call(func=ast.Name(id=("eval" | "exec" | "__import__") as name)):
                found.append(name)
            case ast.Attribute(value=ast.Name(id=module), attr=name) if f"{module}.{name}" in _FUNCTIONS:
                found.append(f"{module}.{name}")
            case ast.keyword(arg="weights_only" | "allow_pickle" | "trust_remote_code" as name):
                found.append(name)
    return found


_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
_FUNCTIONS = {
    *("torch.load", "torch.jit.load", "np.load", "numpy.load", "os.system", "pd.read_pickle"),
    *(f"yaml.{name}" for name in ("load", "load_all", "full_load", "unsafe_load", "Loader", "UnsafeLoader")),
}


def test_no_code_of_the_package_executes_data() -> None:
    sources = [path for folder in ("tagger", "scripts") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(sources) > 20
    assert {str(path): banned(path.read_text("utf-8")) for path in sources if banned(path.read_text("utf-8"))} == {}
