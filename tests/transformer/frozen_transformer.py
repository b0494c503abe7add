"""A random transformer of two layers, subwords without a tokenizer, and documents to read."""

import random
import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from tagger.choices import Pooling
from tagger.nn.transformer import HiddenStateReader
from tagger.transformer.hidden_states import HiddenStateComputer
from tagger.transformer.providers import FrozenTransformer
from tagger.transformer.windows import Layout, Subwords, Windows

START, END, PADDING = 1, 2, 0
LAYOUT = Layout(max_subwords=24, context=6, is_shared=True, prefix=(START,), suffix=(END,))

Document = list[list[str]]


def subwords_of(token: str) -> list[int]:
    """Returns one to three ids, which depend on the token alone."""
    number = zlib.crc32(token.encode())
    return [3 + number // 50**part % 50 for part in range(1 + number % 3)]


def encode(tokens: Sequence[str]) -> Subwords:
    rows = [subwords_of(token) for token in tokens]
    ids = [subword for row in rows for subword in row]
    return Subwords(np.array(ids, np.int64), np.array(list(map(len, rows)), np.int64))


def bert(**options: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=60,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
            **options,
        )
        return BertModel(config, add_pooling_layer=False).eval()


def frozen(
    layers: Sequence[int] = (0, 1, 2), pooling: Pooling = "mean", layout: Layout = LAYOUT, **options: Any
) -> FrozenTransformer:
    computer = HiddenStateComputer(HiddenStateReader(bert(), layers, pooling), PADDING, torch.device("cpu"), **options)
    return FrozenTransformer(computer, encode, layout, "digest")


def compute_hidden_states(
    computer: HiddenStateComputer, windows: Windows, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Returns the hidden states of the tokens of windows in the order of the tokens."""
    hidden_states = torch.empty(len(windows.windows), computer.layer_count, computer.pooled_dim, dtype=dtype)
    for tokens, batch in computer.iterate(windows, dtype=dtype):
        hidden_states[torch.from_numpy(tokens)] = batch
    return hidden_states


def documents(count: int = 12, seed: int = 0) -> list[Document]:
    """Returns documents of one to six sentences of one to twelve tokens."""
    source = random.Random(seed)
    return [
        [[f"w{source.randrange(200)}" for _ in range(source.randint(1, 12))] for _ in range(source.randint(1, 6))]
        for _ in range(count)
    ]


def flatten(some: Sequence[Document]) -> tuple[Document, list[int]]:
    """Returns the sentences of documents, and the passage number of each."""
    return [tokens for document in some for tokens in document], [
        number for number, document in enumerate(some) for _ in document
    ]


def read_alone(model: Any, tokens: Sequence[str], pooling: Pooling = "mean") -> Tensor:
    """Returns the hidden states (N, L, D) of a sentence, read alone by the library's own forward pass."""
    rows = [subwords_of(token) for token in tokens]
    ids = torch.tensor([[START, *(subword for row in rows for subword in row), END]])
    with torch.no_grad():
        hidden = model(input_ids=ids, output_hidden_states=True).hidden_states
    bounds = np.cumsum([1, *map(len, rows)]).tolist()
    pool = {
        "first": lambda part: part[0],
        "last": lambda part: part[-1],
        "first_last": lambda part: torch.cat([part[0], part[-1]]),
        "mean": lambda part: part.mean(0),
    }[pooling]
    return torch.stack([torch.stack([pool(layer[0, a:b]) for layer in hidden]) for a, b in pairwise(bounds)])
