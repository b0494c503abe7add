"""Transformers are loaded from directories and the Hub, and rebuilt from what a model directory stores."""

import json
import os
import shutil
import sys
import time
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tagger.errors import ConfigError, ModelError
from tagger.transformer import library
from tagger.transformer.architecture import FAMILIES
from tagger.transformer.library import Origin, Pretrained

from . import tiny

WORDS = ["Ada", "believes", "in", "unbelievable", "machines", "."]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return library.load(str(tiny.write_transformer(tmp_path_factory.mktemp("bert"))))


def hidden_states(encoder: torch.nn.Module, ids: list[int]) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return encoder(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_is_loaded_as_the_library_does_and_restored(family: str, tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = tiny.write_transformer(tmp_path / family, family)
    loaded = library.load(str(folder))
    restored = library.restore(loaded.config, loaded.tokenizer, loaded.origin)
    restored.encoder.load_state_dict(loaded.encoder.state_dict(), assign=True)
    reference = AutoModel.from_pretrained(folder).eval()

    ids = [*loaded.subwords.prefix, *loaded.subwords.encode(WORDS).ids.tolist(), *loaded.subwords.suffix]
    expected = hidden_states(reference, ids)
    assert len(expected) == loaded.layer_count
    assert expected[0].shape[2] == loaded.hidden_size
    for each in (loaded, restored):
        assert not each.encoder.training
        assert not any(parameter.requires_grad for parameter in each.encoder.parameters())
        for state, wanted in zip(hidden_states(each.encoder, ids), expected, strict=True):
            torch.testing.assert_close(state, wanted, atol=1e-5, rtol=0)
    assert (restored.config, restored.max_subwords) == (loaded.config, loaded.max_subwords)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_window_of_the_greatest_length_can_be_read(family: str, tmp_path: Path) -> None:
    loaded = library.load(str(tiny.write_transformer(tmp_path / family, family)))
    assert hidden_states(loaded.encoder, [5] * loaded.max_subwords)[-1].isfinite().all()


def restore(pretrained: Pretrained, **changes: Any) -> Pretrained:
    """Restores a transformer whose config has other values."""
    config = json.dumps(json.loads(pretrained.config) | changes).encode()
    return library.restore(config, pretrained.tokenizer, pretrained.origin)


def test_what_is_loaded_is_described(pretrained: Pretrained) -> None:
    folder = Path(pretrained.origin.name)
    assert pretrained.origin == Origin(
        str(folder), None, sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    )
    assert (pretrained.layer_count, pretrained.hidden_size, pretrained.max_subwords) == (3, 16, 66)
    assert (pretrained.subwords.prefix, pretrained.subwords.suffix, pretrained.padding_id) == ((2,), (3,), 0)
    assert all(parameter.dtype == torch.float32 for parameter in pretrained.encoder.parameters())
    assert not any("pooler" in name for name in pretrained.encoder.state_dict())


def test_loading_prints_nothing_and_restores_the_settings_of_the_library(
    pretrained: Pretrained, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.utils import logging

    monkeypatch.setattr(logging, "_tqdm_active", True)
    before = logging.get_verbosity(), logging.is_progress_bar_enabled(), dict(os.environ), torch.get_rng_state()
    library.load(pretrained.origin.name)
    after = logging.get_verbosity(), logging.is_progress_bar_enabled(), dict(os.environ), torch.get_rng_state()
    assert capfd.readouterr() == ("", "")
    assert before[:3] == after[:3]
    assert torch.equal(before[3], after[3])


def test_restoring_draws_no_random_numbers(pretrained: Pretrained) -> None:
    before = torch.get_rng_state()
    restore(pretrained)
    assert torch.equal(before, torch.get_rng_state())


def test_half_precision_weights_become_single_precision(pretrained: Pretrained, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(pretrained.origin.name, tmp_path / "half")
    tensors = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert all(tensor.dtype == torch.float32 for tensor in library.load(str(folder)).encoder.state_dict().values())


def test_weights_in_several_files_are_read_and_hashed_by_name(pretrained: Pretrained, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(pretrained.origin.name, tmp_path / "parts")
    tensors = list(load_file(folder / "model.safetensors").items())
    (folder / "model.safetensors").unlink()
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for name, part in zip(names, (tensors[:9], tensors[9:]), strict=True):
        save_file(dict(part), folder / name, {"format": "pt"})
    index = {name: names[number >= 9] for number, (name, _) in enumerate(tensors)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    loaded = library.load(str(folder))
    assert loaded.origin.digest == sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()
    for name, tensor in pretrained.encoder.state_dict().items():
        assert torch.equal(loaded.encoder.state_dict()[name], tensor)
    outside = {name: f"../{file}" for name, file in index.items()}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": outside}))
    with pytest.raises(ConfigError, match="names files outside of its directory"):
        library.load(str(folder))


def test_the_tokenizer_limits_the_subwords_of_a_window(pretrained: Pretrained, tmp_path: Path) -> None:
    folder = shutil.copytree(pretrained.origin.name, tmp_path / "limited")
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 40}')
    limited = library.load(str(folder))
    assert limited.max_subwords == restore(limited).max_subwords == 40
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 1000000000000000019884624838656}')
    assert library.load(str(folder)).max_subwords == 66


def test_a_vocabulary_without_a_tokenizer_file_is_converted(pretrained: Pretrained, tmp_path: Path) -> None:
    folder = shutil.copytree(pretrained.origin.name, tmp_path / "vocabulary")
    vocabulary = json.loads((folder / "tokenizer.json").read_bytes())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in sorted(vocabulary, key=vocabulary.__getitem__)))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": false}')
    loaded = library.load(str(folder))
    assert loaded.subwords.encode(WORDS).ids.tolist() == pretrained.subwords.encode(WORDS).ids.tolist()


FAULTS = {
    "no such directory": ("no such directory", shutil.rmtree),
    "pickled weights": (
        r"expected its weights in model\.safetensors",
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
    ),
    "no config": ("config.json cannot be read", lambda folder: (folder / "config.json").unlink()),
    "another family": (
        "its model_type is 'gpt2'; supported are albert, bert, ",
        lambda folder: (folder / "config.json").write_text('{"model_type": "gpt2"}'),
    ),
    "no tokenizer": (r"expected its tokenizer in tokenizer\.json", lambda folder: (folder / "tokenizer.json").unlink()),
    "damaged tokenizer": ("its tokenizer.json: not JSON", lambda folder: (folder / "tokenizer.json").write_text("{")),
    "damaged weights": (".", lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100)),
    "other sizes": (
        ".",
        lambda folder: (folder / "config.json").write_text(
            (folder / "config.json").read_text().replace('"hidden_size": 16', '"hidden_size": 32')
        ),
    ),
    "missing weights": (
        "its weights lack encoder.layer.2",
        lambda folder: (folder / "config.json").write_text(
            (folder / "config.json").read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3')
        ),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_directory_that_cannot_be_loaded_is_an_error_of_one_line(
    name: str, pretrained: Pretrained, tmp_path: Path
) -> None:
    message, damage = FAULTS[name]
    folder = shutil.copytree(pretrained.origin.name, tmp_path / "damaged")
    damage(folder)
    with pytest.raises(ConfigError, match=message) as caught:
        library.load(str(folder))
    assert len(caught.value.faults) == 1
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(("name", "message"), [("owner/name", "the Hub cannot be reached"), ("a b", ".")])
def test_a_name_on_the_hub_without_a_network_is_an_error_of_one_line(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=rf"\Atransformer {name}: [^\n]*{message}[^\n]*\Z"):
        library.load(name)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("RepositoryNotFoundError", "no such directory; the Hub has no public model of this name"),
        ("RevisionNotFoundError", "no such directory; the Hub has no revision 'v9' of it"),
        ("GatedRepoError", "no such directory; access is restricted: request it on the model's page, then log in"),
    ],
)
def test_an_error_of_the_hub_is_one_line(error: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*_: Any, **__: Any) -> str:
        kind = getattr(huggingface_hub.errors, error)
        raise kind.__new__(kind)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ConfigError, match=rf"\Atransformer owner/name: {message}[^\n]*\Z"):
        library.load("owner/name", "v9")


def test_a_download_names_its_commit_and_only_files_that_are_read(
    pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    folder = shutil.copytree(pretrained.origin.name, tmp_path / "0123abcd")

    def download(name: str, *, revision: str | None, allow_patterns: list[str], local_files_only: bool) -> str:
        assert (name, revision, local_files_only) == ("owner/name", "v1", False)
        assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in allow_patterns)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert library.load("owner/name", "v1").origin == Origin("owner/name", "0123abcd", pretrained.origin.digest)


@pytest.mark.parametrize("is_cached", [True, False])
def test_a_commit_is_read_from_the_cache_at_once_if_the_hub_cannot_be_reached(
    is_cached: bool, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def connect(*_: Any, revision: str, timeout: float, files_metadata: bool) -> None:
        assert (revision, timeout) == ("0" * 40, 10)
        raise ConnectionError

    def download(*_: Any, local_files_only: bool, **__: Any) -> str:
        assert local_files_only
        if not is_cached:
            raise huggingface_hub.errors.LocalEntryNotFoundError("no")
        return pretrained.origin.name

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", connect)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    if is_cached:
        assert library.load("owner/name", "0" * 40).origin.digest == pretrained.origin.digest
    else:
        with pytest.raises(ConfigError, match="the Hub cannot be reached"):
            library.load("owner/name", "0" * 40)


@pytest.mark.parametrize("module", ["transformers", "tokenizers"])
def test_a_missing_library_names_the_extra(
    module: str, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"pip install 'bilstm-crf-tagger\[transformers\]'"):
        restore(pretrained)


def test_a_restored_network_is_on_the_device_meta(pretrained: Pretrained) -> None:
    empty = restore(pretrained)
    assert all(parameter.is_meta for parameter in empty.encoder.parameters())
    assert not any(buffer.is_meta for buffer in empty.encoder.buffers())
    assert empty.encoder.state_dict().keys() == pretrained.encoder.state_dict().keys()


def test_other_weights_are_refused(pretrained: Pretrained) -> None:
    other = Origin("x/y", None, "0" * 64)
    library.check_digest(pretrained.origin, pretrained.origin)
    with pytest.raises(
        ModelError, match=r"\Athe transformer .* has other weights than the model was trained with: [^\n]+\Z"
    ):
        library.check_digest(pretrained.origin, other)


HOSTILE = {
    "family": {"model_type": "llama"},
    "family of another type": {"model_type": ["bert"]},
    "layers": {"num_hidden_layers": 10**9},
    "negative layers": {"num_hidden_layers": -1},
    "no layers": {"num_hidden_layers": 0},
    "layers as text": {"num_hidden_layers": "2"},
    "size": {"hidden_size": 10**7},
    "parameters": {"hidden_size": 16_384, "intermediate_size": 65_536, "num_hidden_layers": 60},
    "vocabulary": {"vocab_size": 10**12},
    "small vocabulary": {"vocab_size": 5},
    "padding": {"pad_token_id": 10**6},
    "negative padding": {"pad_token_id": -1},
    "layers in a range that takes seconds": {"num_hidden_layers": 200},
    "layers of groups": {"model_type": "albert", "num_hidden_groups": 60, "inner_group_num": 60},
    "many positions": {"max_position_embeddings": 10**6},
    "heads": {"num_attention_heads": 3},
    "no heads": {"num_attention_heads": 0},
    "activation": {"hidden_act": "os.system"},
    "positions": {"max_position_embeddings": 0},
    "window": {"max_subwords": 2},
    "large window": {"max_subwords": 10**6},
    "decoder": {"is_decoder": True},
    "relative positions": {"position_embedding_type": "relative_key"},
    "not finite": {"layer_norm_eps": float("inf")},
    "nested": {"hidden_act": [[["gelu"] * 100] * 100] * 100},
    "long": {"hidden_act": "x" * 10_000},
    "large file": {"comment": "x" * (1 << 20)},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_config_is_an_error_of_one_line(name: str, pretrained: Pretrained) -> None:
    start = time.thread_time()
    with pytest.raises(ModelError, match=r"\Atransformer "):
        restore(pretrained, **HOSTILE[name])
    assert time.thread_time() - start < 5


def test_settings_that_name_code_are_ignored(pretrained: Pretrained) -> None:
    restored = restore(
        pretrained,
        auto_map={"AutoModel": "evil.Model"},
        _name_or_path="evil/name",
        attn_implementation="evil/kernel",
        _attn_implementation="evil/kernel",
        quantization_config={"quant_method": "bitsandbytes"},
        dtype="float16",
        pruned_heads={"0": [0]},
        chunk_size_feed_forward=1,
        output_attentions=True,
        id2label={str(number): "x" for number in range(1000)},
    )
    assert restored.config == pretrained.config
    assert b"evil" not in restored.config
    settings = restored.encoder.config
    assert settings._attn_implementation == "sdpa"
    assert not hasattr(settings, "quantization_config")
    assert next(restored.encoder.parameters()).dtype == torch.float32


@pytest.mark.parametrize("family", ["albert", "bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"])
@pytest.mark.parametrize("highest", [0, 2])
def test_a_transformer_without_its_upper_layers_has_the_same_lower_hidden_states(
    family: str, highest: int, tmp_path: Path
) -> None:
    whole = library.load(str(tiny.write_transformer(tmp_path / family, family, num_hidden_layers=4)))
    short = library.without_layers_above(whole, highest)
    ids = [*whole.subwords.prefix, *whole.subwords.encode(WORDS).ids.tolist(), *whole.subwords.suffix]
    ours, theirs = hidden_states(short.encoder, ids), hidden_states(whole.encoder, ids)
    assert (len(theirs), len(ours)) == (5, 5 if family == "albert" else max(highest, 1) + 1)
    assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=False))
    weights = {id(parameter) for parameter in whole.encoder.parameters()}
    assert {id(parameter) for parameter in short.encoder.parameters()} <= weights
    assert (short.config, short.layer_count) == (whole.config, whole.layer_count)
    assert deepcopy(short.encoder).state_dict().keys() == short.encoder.state_dict().keys()


@pytest.mark.parametrize("tokenizer", [b"", b"{}", b"\xff", b"[" * 1000])
def test_a_damaged_tokenizer_is_an_error_of_one_line(tokenizer: bytes, pretrained: Pretrained) -> None:
    with pytest.raises(ModelError, match=r"\Atransformer .*its tokenizer.json: [^\n]+\Z"):
        library.restore(pretrained.config, tokenizer, pretrained.origin)
