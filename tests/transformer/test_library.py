"""Transformers are loaded from directories and the Hub, and rebuilt from what a model directory stores."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tagger.transformer import library
from tagger.transformer.architecture import FAMILIES
from tagger.transformer.library import Pretrained

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
    restored = library.restore(loaded.config, loaded.tokenizer, loaded.encoder.state_dict(), loaded.source)
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
    states = hidden_states(loaded.encoder, [5] * loaded.max_subwords)
    assert states[-1].isfinite().all()
