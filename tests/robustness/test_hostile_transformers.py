"""A model with a transformer that its author made to harm, with a valid manifest, is refused in one line."""

import json
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save

from tagger import model_dir
from tagger.config import parse
from tagger.data.sentence import Sentence
from tagger.errors import ModelError
from tagger.model import build_model
from tagger.tagging import Tagger
from tagger.transformer import library
from tests.robustness.runs import SCALE
from tests.robustness.test_hostile_models import VALUES, one_line
from tests.robustness.test_hostile_tensors import put
from tests.transformer import tiny

SOURCE, CONFIG, TOKENIZER = "transformer.json", "transformer-config.json", "transformer-tokenizer.json"
FROZEN, WEIGHTS = "transformer.safetensors", "weights.safetensors"
RECIPE = """
data: {{train: train.conll}}
model:
  words: {{embedding_dim: 4}}
  characters: {{kind: none}}
  encoder: {{hidden_size: 4}}
  transformer: {{name: {folder}/bert}}
"""
KINDS = {"frozen": (), "trained": ("trainable=true",), "named": ("include_weights=false",)}
EMBEDDINGS = {
    "frozen": (FROZEN, "embeddings.word_embeddings.weight"),
    "trained": (WEIGHTS, "embedding.transformer.reader.encoder.embeddings.word_embeddings.weight"),
}
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random transformer, and untrained models that include, train, or name it."""
    folder = tmp_path_factory.mktemp("models")
    tiny.write_transformer(folder / "bert")
    for kind, overrides in KINDS.items():
        recipe = RECIPE.format(folder=folder)
        config = parse(recipe, "recipe.yaml", overrides=[f"model.transformer.{each}" for each in overrides])
        transformer = library.load(str(folder / "bert"))
        model = build_model(config, [Sentence(("Ada", "sees"), tags=("S-PER", "O"))], transformer=transformer)
        model_dir.save(model, folder / kind, {})
    return folder


@pytest.fixture
def copy(models: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies a model."""
    return lambda kind: Path(shutil.copytree(models / kind, tmp_path / kind))


@pytest.fixture(autouse=True)
def _without_much_time() -> Iterator[None]:
    before = time.thread_time()
    yield
    assert time.thread_time() - before < 10 * SCALE


def refuse(model: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        model_dir.load(model)
    one_line(caught.value)
    assert len(caught.value.faults) == 1, caught.value.faults
    assert str(caught.value).count(f"{model}") == 1


def change_json(model: Path, file: str, /, **values: Any) -> None:
    put(model, json.dumps(json.loads((model / file).read_bytes()) | values).encode(), file)


def change_recipe(model: Path, **values: Any) -> None:
    recipe = yaml.safe_load((model / "config.yaml").read_text())
    recipe["model"]["transformer"] |= values
    put(model, yaml.safe_dump(recipe).encode(), "config.yaml")


def remove(model: Path, *names: str) -> None:
    for name in names:
        (model / name).unlink()
    put(model, (model / "tags.txt").read_bytes(), "tags.txt")


# Config


@pytest.mark.parametrize("kind", ["frozen", "trained"])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model_type", "llama", "its model_type is 'llama'; supported are"),
        ("num_hidden_layers", 200, "its num_hidden_layers is 200; expected 1 to 64"),
        (
            "num_hidden_layers",
            64,
            r"is refused: it has|weights has torch.float32 \(3,\), expected torch.float32 \(65,\)",
        ),
        ("hidden_size", 9_999_998, "parameters; at most"),
        ("vocab_size", 10**7, "safetensors is refused: it has"),
        ("max_position_embeddings", 10**7, "its max_position_embeddings is 10000000"),
        ("hidden_act", "os.system", "'os.system' is not known"),
    ],
)
def test_a_config_of_another_network_is_refused(
    kind: str, name: str, value: object, message: str, copy: Callable[[str], Path]
) -> None:
    model = copy(kind)
    change_json(model, CONFIG, **{name: value})
    refuse(model, message)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_no_absurd_config_takes_memory_or_time(family: str, models: Path, tmp_path: Path) -> None:
    folder = models / family
    if not folder.exists():
        tiny.write_transformer(folder, family)
    known = library.load(str(folder))
    values, source, taken = json.loads(known.config), random.Random(family), 0
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(10 * SCALE):
        names = source.sample(sorted(values.keys() - {"model_type"}), source.choice((1, 1, 3)))
        absurd = {name: source.choice((*VALUES, 64, 2**16, 10**7)) for name in names}
        try:
            library.restore(json.dumps(values | absurd).encode(), known.tokenizer, known.origin)
        except ModelError as error:
            one_line(error)
        else:
            taken += 1
    assert taken < 10 * SCALE
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200_000


@pytest.mark.parametrize(("layer", "kind"), [(3, "frozen"), (-4, "trained")])
def test_a_layer_that_the_transformer_lacks_is_refused(layer: int, kind: str, copy: Callable[[str], Path]) -> None:
    model = copy(kind)
    change_recipe(model, layers=[layer])
    refuse(model, f"the transformer has no layer {layer}; its layers are 0 to 2")


# Tokenizer


def _cut(data: bytes) -> bytes:
    return data[:500]


def _changed(**values: Any) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps(json.loads(data) | values).encode()


PIECES = {"a": 0, "[CLS]": 2, "[SEP]": 3}


@pytest.mark.parametrize(
    "change",
    [
        _cut,
        bytes.upper,
        lambda data: b"\0" * len(data),
        lambda data: data.replace(b'"[UNK]":1', b'"[UNK]":250'),
        lambda data: data.replace(b'"[UNK]":1', b'"[UNK]":-1'),
        lambda data: data.replace(b'"unk_token":"[UNK]"', b'"unk_token":"none"'),
        _changed(model=[]),
        _changed(model={"type": "Evil"}),
        _changed(normalizer={"type": ["NFC"]}),
        _changed(pre_tokenizer={"type": "Evil"}),
        *(
            _changed(model={"type": "BPE", "vocab": PIECES, "merges": [], "unk_id": number})
            for number in (-1, 1, 249, 10**9, True, "0")
        ),
    ],
)
def test_a_tokenizer_that_is_damaged_or_of_another_network_is_refused(
    change: Callable[[bytes], bytes], copy: Callable[[str], Path]
) -> None:
    model = copy("frozen")
    compact = json.dumps(json.loads((model / TOKENIZER).read_bytes()), separators=(",", ":")).encode()
    assert change(compact) != compact
    put(model, change(compact), TOKENIZER)
    refuse(model, "transformer bert: its tokenizer")


# Weights


def _transposed(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name] = tensors[name].T.contiguous()


def _not_a_number(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name][0, 0] = float("nan")


def _half(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name] = tensors[name].half()


def _missing(tensors: dict[str, torch.Tensor], name: str) -> None:
    del tensors[name]


def _further(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors["other"] = tensors[name][:1].clone()


@pytest.mark.parametrize("kind", EMBEDDINGS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_transposed, r"has torch.float32 \(16, 250\), expected torch.float32 \(250, 16\)"),
        (_not_a_number, "has a value that is not finite"),
        (_half, "is refused: it has"),
        (_missing, "is refused: it has"),
        (_further, "other is not expected"),
    ],
)
def test_weights_of_another_network_are_refused(
    kind: str, change: Callable[[dict[str, torch.Tensor], str], None], message: str, copy: Callable[[str], Path]
) -> None:
    model = copy(kind)
    file, name = EMBEDDINGS[kind]
    tensors = load_file(model / file)
    change(tensors, name)
    put(model, save(tensors), file)
    refuse(model, message)


@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_weights_whose_states_overflow_are_refused_when_they_tag(kind: str, copy: Callable[[str], Path]) -> None:
    model = copy(kind)
    file, name = EMBEDDINGS[kind]
    tensors = load_file(model / file)
    tensors[name] *= 1e38
    put(model, save(tensors), file)
    with pytest.raises(ModelError, match="a transformer feature is not finite"):
        Tagger(model_dir.load(model)[0], torch.device("cpu"), workers=1).tag(["Ada sees"])


# Files


@pytest.mark.parametrize("name", [SOURCE, CONFIG, TOKENIZER, FROZEN])
@pytest.mark.parametrize("kind", ["frozen", "trained"])
def test_a_model_without_a_file_of_its_transformer_is_refused(
    kind: str, name: str, copy: Callable[[str], Path]
) -> None:
    model = copy(kind)
    if (kind, name) == ("trained", FROZEN):
        put(model, b"", name)
        refuse(model, r"holds transformer\.safetensors, but config\.yaml names a trainable transformer")
        return
    remove(model, name)
    refuse(model, "is known to its training only" if name == FROZEN else f"holds no {name}")


def test_files_of_a_transformer_that_the_recipe_does_not_name_are_refused(copy: Callable[[str], Path]) -> None:
    model = copy("frozen")
    recipe = yaml.safe_load((model / "config.yaml").read_text())
    del recipe["model"]["transformer"]
    put(model, yaml.safe_dump(recipe).encode(), "config.yaml")
    refuse(model, r"holds transformer\.json, but config\.yaml names no transformer")
    remove(model, SOURCE, CONFIG, TOKENIZER, FROZEN)
    with pytest.raises(ModelError, match="is not expected"):
        model_dir.load(model)


# Source


@pytest.mark.parametrize(("kind", "revision"), [("frozen", None), ("named", "0" * 40)])
@pytest.mark.parametrize("name", ["/etc", "../other", "..\\other", "", "a/b/c", "file:///etc", "x\x1b[31m", "x" * 999])
def test_a_source_that_is_a_path_is_refused(
    kind: str, name: str, revision: str | None, copy: Callable[[str], Path]
) -> None:
    model = copy(kind)
    change_json(model, SOURCE, name=name, revision=revision)
    refuse(model, r"transformer\.json: name: expected the name of a directory or of the Hub, found ")


@pytest.mark.parametrize("values", [{"revision": "../x"}, {"revision": 1}, {"digest": None}, {"other": 1}])
def test_a_source_with_a_wrong_field_is_refused(values: dict[str, Any], copy: Callable[[str], Path]) -> None:
    model = copy("named")
    change_json(model, SOURCE, **values)
    refuse(model, r"transformer\.json: ")


def test_the_directory_of_a_transformer_is_never_read_or_downloaded_by_its_name(copy: Callable[[str], Path]) -> None:
    refuse(copy("named"), "the directory of its transformer .bert. is known to its training only")


def test_a_name_on_the_hub_is_refused_at_once_if_there_is_no_network(
    copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    model = copy("named")
    change_json(model, SOURCE, name="owner/name", revision="0" * 40)
    refuse(model, "transformer owner/name: no such directory; not in the local cache, and the Hub cannot be reached")


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_library_the_extra_is_named(
    kind: str, copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = copy(kind)
    change_json(model, SOURCE, name="owner/name", revision="0" * 40)
    monkeypatch.setitem(sys.modules, "transformers", None)
    refuse(model, r"a transformer needs transformers: pip install 'bilstm-crf-tagger\[transformers\]'")
