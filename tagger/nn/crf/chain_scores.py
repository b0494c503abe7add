"""ChainScores: the validated scores of linear chains, and the search for the score that leaves no path.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

from collections.abc import Callable
from typing import NamedTuple, Self

import torch
from torch import Tensor

UNKNOWN = -100
"""The gold id of a token without annotation."""


class ChainScores(NamedTuple):
    """The scores of linear chains. A path's score is the sum of its start, emission, transition and end scores.

    Attributes:
        emissions: (B, T, K) score of each tag at each token; padding may hold anything.
        transitions: (K, K) score of a tag (column) after another (row).
        start: (K,) score of the first tag.
        end: (K,) score of the last tag.
        lengths: (B,) tokens per sentence, each in [1, T].
    """

    emissions: Tensor
    transitions: Tensor
    start: Tensor
    end: Tensor
    lengths: Tensor

    @classmethod
    def from_tensors(cls, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Self:
        """Returns the scores in float64 if the emissions are float64, else in float32.

        Raises:
            ValueError: the shapes do not agree.
        """
        if emissions.dim() != 3 or not emissions.numel():
            raise ValueError(f"emissions must be (B, T, K) and not empty, got {tuple(emissions.shape)}")
        sentences, _, tags = emissions.shape
        expected = {
            "transitions": (transitions, (tags, tags)),
            "start": (start, (tags,)),
            "end": (end, (tags,)),
            "lengths": (lengths, (sentences,)),
        }
        for name, (tensor, shape) in expected.items():
            if tensor.shape != shape:
                size = tuple(emissions.shape)
                raise ValueError(f"{name} must be {shape} for emissions {size}, got {tuple(tensor.shape)}")
        dtype = torch.float64 if emissions.dtype == torch.float64 else torch.float32
        scores = cls(emissions, transitions, start, end, lengths.long())
        if all(tensor.dtype == dtype for tensor in scores[:4]):
            return scores
        return scores.map(lambda tensor: tensor.to(dtype))

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Returns the scores after a function of each tensor; lengths stay."""
        emissions, transitions, start, end = map(function, self[:4])
        return self._replace(emissions=emissions, transitions=transitions, start=start, end=end)

    @property
    def mask(self) -> Tensor:
        """(B, T) whether a position holds a token, not padding."""
        return torch.arange(self.emissions.shape[1], device=self.lengths.device) < self.lengths[:, None]

    @property
    def has_valid_length(self) -> Tensor:
        """(B,) whether a length is in [1, T]."""
        return (self.lengths >= 1) & (self.lengths <= self.emissions.shape[1])

    @property
    def requires_grad(self) -> bool:
        """Whether autograd records operations on the scores."""
        return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in self[:4])


def check_paths(scores: ChainScores, gold: Tensor | None = None) -> None:
    """Raises an error if a sentence has no path of finite score, or if its gold path has none.

    Args:
        scores: the scores to search.
        gold: (B, T) tag ids, −100 where unknown.

    Raises:
        ValueError: names the sentence and the token.
    """
    scores = scores.map(lambda tensor: tensor.detach().cpu())
    tokens = scores.emissions.shape[1]
    for sentence, length in enumerate(scores.lengths.tolist()):
        if not 1 <= length <= tokens:
            raise ValueError(f"sentence {sentence}: its length must be in [1, {tokens}], got {length}")
        if gold is not None:
            _check_gold_path(scores, sentence, gold[sentence, :length].tolist())
        _check_reachability(scores, sentence, scores.emissions[sentence, :length])


def _check_gold_path(scores: ChainScores, sentence: int, gold: list[int]) -> None:
    for token, tag in enumerate(gold):
        location = f"sentence {sentence}, token {token}: gold tag {tag}"
        if tag == UNKNOWN:
            continue
        if not 0 <= tag < len(scores.start):
            raise ValueError(f"{location} is not in [0, {len(scores.start)})")
        if scores.emissions[sentence, token, tag] == -torch.inf:
            raise ValueError(f"{location} has an emission score of -inf")
        if not token and scores.start[tag] == -torch.inf:
            raise ValueError(f"{location} must not start a sentence")
        if token and gold[token - 1] != UNKNOWN and scores.transitions[gold[token - 1], tag] == -torch.inf:
            raise ValueError(f"{location} must not follow tag {gold[token - 1]}")
        if token == len(gold) - 1 and scores.end[tag] == -torch.inf:
            raise ValueError(f"{location} must not end a sentence")


def _check_reachability(scores: ChainScores, sentence: int, emissions: Tensor) -> None:
    """Follows the tags that paths of finite score reach; NaN counts as reachable."""
    is_allowed = scores.transitions != -torch.inf
    reached = scores.start != -torch.inf
    for token, row in enumerate(emissions):
        if token:
            reached = (reached[:, None] & is_allowed).any(0)
        reached = reached & (row != -torch.inf)
        if not reached.any():
            raise ValueError(f"sentence {sentence}, token {token}: no path of finite score reaches it")
    if not (reached & (scores.end != -torch.inf)).any():
        raise ValueError(f"sentence {sentence}, token {len(emissions) - 1}: no path of finite score ends there")
