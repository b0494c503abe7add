"""Features of tokens are those of the library's own forward pass, for every pooling, choice of layers and mix."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tagger.choices import LayerMix, Pooling
from tagger.config.schema import Transformer
from tagger.model import build_hidden_state_reader
from tagger.nn.transformer import TransformerFeatures, pooled_dim
from tagger.transformer import library
from tagger.transformer.hidden_states import HiddenStateComputer
from tagger.transformer.library import Pretrained
from tagger.transformer.windows import Layout, Windows, lay_out
from tests.transformer import tiny
from tests.transformer.frozen_transformer import compute_hidden_states

CPU = torch.device("cpu")
DOCUMENTS = [
    [["Ada", "Lovelace", "didn't", "see", "the", "façades", "of", "Zürich", "."], ["Where", "?"], ["Algorithms"]],
    [["(", "1,000", "euros", "for", "Dijkstra's", "machine", ")"], ["Nobody", "believed", "Grace", "!"]],
]
SENTENCES = [sentence for document in DOCUMENTS for sentence in document]
PASSAGES = [number for number, document in enumerate(DOCUMENTS) for _ in document]
LAYERS: dict[str | tuple[int, ...], list[int]] = {"all": [0, 1, 2], "last": [2], (2, 0, -2): [2, 0, 1]}
CONTEXT = 5
Array = NDArray[np.float64]


@pytest.fixture(scope="module", params=["bert", "roberta"], ids=["wordpiece", "bytes"])
def pretrained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return library.load(str(tiny.write_transformer(tmp_path_factory.mktemp(request.param), request.param)))


class Library:
    """Reads windows with the classes of transformers and tokenizers alone."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer, pre_tokenizers
        from transformers import AutoModel, PreTrainedTokenizerFast

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        if "ByteLevel" in tokenizer.to_str():
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        self._tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
        self._network: Any = AutoModel.from_pretrained(folder).eval()

    def split(self, tokens: Sequence[str]) -> tuple[list[list[int]], list[int], list[int]]:
        """Returns the subwords of each token, and the special tokens before and after a window."""
        encoding = self._tokenizer(list(tokens), is_split_into_words=True)
        ids, words = encoding["input_ids"], encoding.word_ids()
        rows = [[each for each, word in zip(ids, words, strict=True) if word == token] for token in range(len(tokens))]
        return rows, ids[:1], ids[-1:]

    def read(self, ids: list[int]) -> Array:
        """Returns the hidden states (L, S, H) of a window."""
        with torch.no_grad():
            output = self._network(torch.tensor([ids]), output_hidden_states=True)
        return torch.cat(output.hidden_states).double().numpy()


def read_tokens(folder: Path, *, context: int, is_shared: bool) -> list[list[Array]]:
    """Returns the hidden states (L, S, H) of the subwords of each token, by sentence.

    Sentences are read in windows of their own with `context` subwords on each side. If they share windows, a document
    is read at once.
    """
    reader, sentences = Library(folder), []
    for document in DOCUMENTS:
        rows, prefix, suffix = reader.split([token for sentence in document for token in sentence])
        bounds = np.cumsum([0, *map(len, rows)]).tolist()
        ids = [subword for row in rows for subword in row]
        first = 0
        for sentence in document:
            end = first + len(sentence)
            start = 0 if is_shared else max(0, bounds[first] - context)
            stop = len(ids) if is_shared else bounds[end] + context
            states = reader.read([*prefix, *ids[start:stop], *suffix])
            shift = len(prefix) - start
            sentences.append([states[:, bounds[t] + shift : bounds[t + 1] + shift] for t in range(first, end)])
            first = end
    return sentences


def pool(states: Array, pooling: Pooling) -> Array:
    """Returns (L, D) for the hidden states (L, S, H) of a token."""
    first, last = states[:, 0], states[:, -1]
    return {"first": first, "last": last, "first_last": np.hstack([first, last]), "mean": states.mean(1)}[pooling]


def mix(states: Array, kind: LayerMix, weights: Sequence[float], scale: float) -> Array:
    """Returns the features (P,) of the pooled hidden states (L, D) of a token."""
    if kind == "concat":
        return states.reshape(-1)
    if kind == "mean":
        return np.asarray(states.mean(0))
    normed = (states - states.mean(1, keepdims=True)) / np.sqrt(states.var(1, keepdims=True) + 1e-5)
    shares = np.exp(weights) / np.exp(weights).sum()
    return np.asarray(scale * (shares[:, None] * normed).sum(0))


def windows_of(pretrained: Pretrained, *, context: int, is_shared: bool) -> Windows:
    subwords = pretrained.subwords.encode([token for sentence in SENTENCES for token in sentence])
    special = pretrained.subwords.prefix, pretrained.subwords.suffix
    return lay_out(subwords, list(map(len, SENTENCES)), PASSAGES, Layout(200, context, is_shared, *special))


def compute_features(settings: Transformer, pretrained: Pretrained, windows: Windows) -> tuple[Tensor, Tensor | None]:
    """Returns the features (N, P) of the tokens of windows, and the weights of the layers."""
    reader = build_hidden_state_reader(settings, pretrained).eval()
    averages = settings.mix == "mean" and not settings.trainable
    features = TransformerFeatures(
        1 if averages else len(reader.layers),
        pooled_dim(pretrained.hidden_size, settings.pooling),
        mix=settings.mix,
        output_dim=0,
        dropout=0.1,
        reader=reader if settings.trainable else None,
    ).eval()
    if features.weights is not None and features.scale is not None:
        features.weights.data, features.scale.data = torch.arange(len(reader.layers)) * 0.5, torch.tensor(1.3)
    with torch.no_grad():
        if settings.trainable:
            inputs: Any = SimpleNamespace(
                hidden_states=None, features=None, subwords=windows.to_tensors(pretrained.padding_id)
            )
            return features(inputs), features.weights
        computer = HiddenStateComputer(reader, pretrained.padding_id, CPU, averages_layers=averages)
        return features.combine(compute_hidden_states(computer, windows)), features.weights


@pytest.mark.parametrize("trainable", [False, True], ids=["frozen", "trainable"])
@pytest.mark.parametrize("context", [0, CONTEXT])
def test_features_are_those_of_the_library_for_every_pooling_choice_of_layers_and_mix(
    pretrained: Pretrained, trainable: bool, context: int
) -> None:
    is_shared = context > 0 and not trainable
    sentences = read_tokens(Path(pretrained.origin.name), context=context, is_shared=is_shared)
    tokens = [states for sentence in sentences for states in sentence]
    windows = windows_of(pretrained, context=context, is_shared=not trainable)
    for pooling, layers, kind in itertools.product(get_args(Pooling), LAYERS, get_args(LayerMix)):
        settings = Transformer(name="some", trainable=trainable, pooling=pooling, layers=layers, mix=kind)
        features, weights = compute_features(settings, pretrained, windows)
        values = [] if weights is None else weights.tolist()
        expected = np.stack([mix(pool(states[LAYERS[layers]], pooling), kind, values, 1.3) for states in tokens])
        torch.testing.assert_close(features.double(), torch.from_numpy(expected), atol=1e-5, rtol=0)
