"""Models of random weights, and sentences of random words."""

from functools import cache
from typing import Any

import numpy as np
import torch

from tagger.config import Config
from tagger.data import schemes
from tagger.data.sentence import Sentence
from tagger.model import TaggerModel, build_model
from tagger.tagging import Tagger

CPU = torch.device("cpu")
NAMES = [f"{syllable}{number}" for number in range(40) for syllable in ("ba", "Ce", "DI", "o-", "ü", "9", "xyzzy")]


def make_model(
    *,
    scheme: str = "IOBES",
    types: tuple[str, ...] = ("LOC", "PER"),
    plain: int = 0,
    spread: float = 0.5,
    seed: int = 0,
    **model: Any,
) -> TaggerModel:
    """Returns a model that makes up its mind by chance, of spans or of so many plain tags."""
    tags = [f"T{number}" for number in range(plain)] or schemes.tag_set(types, scheme)  # type: ignore[arg-type]
    sentences = [
        Sentence(tuple(NAMES[: len(NAMES) // 2]), tags=tuple(tags[number % len(tags)] for number in range(140)))
    ]
    model.setdefault("encoder", {"hidden_size": 12})
    model.setdefault("characters", {"embedding_dim": 6, "output_dim": 8})
    model.setdefault("words", {"embedding_dim": 10})
    config = Config.model_validate({"data": {"scheme": scheme}, "model": model})
    built = build_model(config, sentences)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in built.network.parameters():
            weight.copy_(spread * torch.randn(weight.shape, generator=random))
    return built


def sentences(count: int, *, longest: int = 40, seed: int = 0) -> list[Sentence]:
    """Returns sentences of words of which some are frequent and some were never seen in training."""
    return list(_draw_sentences(count, longest, seed))


@cache
def _draw_sentences(count: int, longest: int, seed: int) -> tuple[Sentence, ...]:
    random = np.random.default_rng(seed)
    words = (random.zipf(1.3, 10**6) % len(NAMES)).tolist()
    lengths = random.integers(1, longest + 1, count).tolist()
    drawn = ([NAMES[words.pop()] for _ in range(length)] for length in lengths)
    return tuple(Sentence(tuple(tokens), line=row) for row, tokens in enumerate(drawn))


def tagger(built: TaggerModel, **options: int) -> Tagger:
    return Tagger(built, CPU, **options)
