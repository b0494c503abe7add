"""Chain: the scores that define a distribution over the tag sequences of sentences, checked, and what ails them.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

from collections.abc import Callable
from typing import NamedTuple, Self

import torch
from torch import Tensor

UNKNOWN = -100  # a gold tag nobody gave


class Chain(NamedTuple):
    """Linear chains: a path's score is that of its first tag, its tags, its transitions and its last tag.

    Attributes:
        emissions: (B, T, K) the score of each tag at each token; padding may hold anything.
        transitions: (K, K) from row to column.
        start: (K,) of the first tag.
        end: (K,) of the last tag.
        lengths: (B,) tokens per sentence, each in [1, T].
    """

    emissions: Tensor
    transitions: Tensor
    start: Tensor
    end: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Self:
        """Returns a chain in float32 or float64, whichever holds the scores given.

        Raises:
            ValueError: the shapes do not agree.
        """
        if emissions.dim() != 3 or not emissions.numel():
            raise ValueError(f"emissions must be (B, T, K) and hold a number, got {tuple(emissions.shape)}")
        sentences, _, tags = emissions.shape
        expected = {
            "transitions": (transitions, (tags, tags)),
            "start": (start, (tags,)),
            "end": (end, (tags,)),
            "lengths": (lengths, (sentences,)),
        }
        for name, (tensor, shape) in expected.items():
            if tensor.shape != shape:
                beside, got = tuple(emissions.shape), tuple(tensor.shape)
                raise ValueError(f"{name} must be {shape} beside emissions {beside}, got {got}")
        dtype = torch.float64 if emissions.dtype == torch.float64 else torch.float32
        given = cls(emissions, transitions, start, end, lengths.long())
        if all(tensor.dtype == dtype for tensor in given[:4]):
            return given
        return given.changed(lambda scores: scores.to(dtype))

    def changed(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Returns a chain with all scores changed by a function."""
        emissions, transitions, start, end = map(change, self[:4])
        return self._replace(emissions=emissions, transitions=transitions, start=start, end=end)

    @property
    def inside(self) -> Tensor:
        """(B, T) which tokens are no padding."""
        return torch.arange(self.emissions.shape[1], device=self.lengths.device) < self.lengths[:, None]

    @property
    def fits(self) -> Tensor:
        """(B,) which lengths are in [1, T]."""
        return (self.lengths >= 1) & (self.lengths <= self.emissions.shape[1])

    @property
    def needs_gradient(self) -> bool:
        """Whether autograd follows what is computed from the scores."""
        return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in self[:4])


def refuse_faults(chain: Chain, gold: Tensor | None = None) -> None:
    """Raises ValueError, naming sentence and token, if there is no path of a finite score or no such gold path.

    Args:
        chain: the scores.
        gold: (B, T) tag ids, −100 where unknown; None to look at the scores alone.
    """
    chain = chain.changed(lambda scores: scores.detach().cpu())
    tokens = chain.emissions.shape[1]
    for sentence, length in enumerate(chain.lengths.tolist()):
        if not 1 <= length <= tokens:
            raise ValueError(f"sentence {sentence}: its length must be in [1, {tokens}], got {length}")
        emissions = chain.emissions[sentence, :length]
        if gold is not None:
            _refuse_gold(chain, sentence, gold[sentence, :length].tolist())
        _refuse_dead_end(chain, sentence, emissions)


def _refuse_gold(chain: Chain, sentence: int, gold: list[int]) -> None:
    for token, tag in enumerate(gold):
        place = f"sentence {sentence}, token {token}: gold tag {tag}"
        if tag == UNKNOWN:
            continue
        if not 0 <= tag < len(chain.start):
            raise ValueError(f"{place} is no id in [0, {len(chain.start)})")
        if chain.emissions[sentence, token, tag] == -torch.inf:
            raise ValueError(f"{place} is forbidden there")
        if not token and chain.start[tag] == -torch.inf:
            raise ValueError(f"{place} must not start a sentence")
        if token and gold[token - 1] != UNKNOWN and chain.transitions[gold[token - 1], tag] == -torch.inf:
            raise ValueError(f"{place} must not follow tag {gold[token - 1]}")
        if token == len(gold) - 1 and chain.end[tag] == -torch.inf:
            raise ValueError(f"{place} must not end a sentence")


def _refuse_dead_end(chain: Chain, sentence: int, emissions: Tensor) -> None:
    """Walks the tags that can be reached; a score that is no number forbids nothing."""
    follows = chain.transitions != -torch.inf
    reached = chain.start != -torch.inf
    for token, scores in enumerate(emissions):
        if token:
            reached = (reached[:, None] & follows).any(0)
        reached = reached & (scores != -torch.inf)
        if not reached.any():
            raise ValueError(f"sentence {sentence}, token {token}: no path of a finite score reaches it")
    if not (reached & (chain.end != -torch.inf)).any():
        raise ValueError(f"sentence {sentence}, token {len(emissions) - 1}: no path of a finite score ends there")
