"""From emissions to answers: tags, spans and how probable they are.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tagger.build import Bundle
from tagger.data import schemes
from tagger.data.sentence import Alternative, Span
from tagger.errors import ConfigError
from tagger.nn.crf.heads import CRFHead, SoftmaxHead

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Answers:
    """What is asked beyond the best tags.

    Attributes:
        probabilities: how probable each span is, and each tag outside of spans.
        threshold: leave out spans less probable than this.
        nbest: so many of the most probable ways to tag each sentence.

    Raises:
        ConfigError: the threshold is no probability, or nbest is below 0.
    """

    probabilities: bool = False
    threshold: float | None = None
    nbest: int = 0

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"the threshold must be a probability from 0 to 1, got {self.threshold}")
        if self.nbest < 0:
            raise ConfigError(f"nbest must be at least 0, got {self.nbest}")


TAGS_ALONE = Answers()


class Answer(NamedTuple):
    """What was found for a sentence."""

    tags: tuple[str, ...]
    spans: tuple[Span, ...] = ()
    probabilities: tuple[float, ...] = ()
    alternatives: tuple[Alternative, ...] = ()


class Answering:
    """Answers for batches of emissions.

    Raises:
        ConfigError: there is to be a threshold, and the model's tags are plain.
    """

    def __init__(self, bundle: Bundle, wanted: Answers) -> None:
        if wanted.threshold is not None and bundle.scheme is None:
            raise ConfigError("a threshold leaves out spans; the model's tags are plain")
        self._head: CRFHead | SoftmaxHead = bundle.network.head
        self._names, self._wanted = bundle.tags.items, wanted
        self._spelt = _Spelt(self._names) if bundle.scheme else None

    def of(self, emissions: Tensor, lengths: Tensor) -> list[Answer]:
        """Returns the answer for each sentence of a batch: emissions (B, T, K), lengths (B,)."""
        with torch.inference_mode():
            paths: Ids = self._head.decode(emissions, lengths).cpu().numpy()
            counts: list[int] = lengths.tolist()
            spans = (
                np.zeros((0, 4), np.int64) if self._spelt is None else self._spelt.spans(paths, lengths.cpu().numpy())
            )
            probable = None
            if self._wanted.probabilities or self._wanted.threshold is not None:
                paths, spans, probable = self._probable(emissions, lengths, paths, spans)
            answers = self._put_together(paths, counts, spans, probable)
            if self._wanted.nbest:
                alternatives = self._alternatives(emissions, lengths)
                answers = [
                    answer._replace(alternatives=given) for answer, given in zip(answers, alternatives, strict=True)
                ]
            return answers

    def _probable(
        self, emissions: Tensor, lengths: Tensor, paths: Ids, spans: Ids
    ) -> tuple[Ids, Ids, tuple[NDArray[np.float32], list[float]]]:
        """Returns paths and spans above the threshold, and the probabilities of tokens (B, T) and spans."""
        marginals = self._head.marginals(emissions, lengths).cpu().numpy()
        of_spans = np.zeros(0, np.float32)
        if self._spelt is not None:
            place, spelt = emissions.device, self._spelt
            given = torch.from_numpy(spans).to(place), spelt.members.to(place), spelt.joins.to(place)
            of_spans = self._head.span_probabilities(emissions, lengths, *given).cpu().numpy()
        if self._spelt is not None and self._wanted.threshold is not None:
            kept = of_spans >= self._wanted.threshold
            paths = paths.copy()
            for sentence, first, stop, _ in spans[~kept].tolist():
                paths[sentence, first:stop] = self._spelt.outside
            spans, of_spans = spans[kept], of_spans[kept]
        of_tokens = np.take_along_axis(marginals, paths[:, :, None], 2)[:, :, 0]
        for (sentence, first, stop, _), probability in zip(spans.tolist(), of_spans, strict=True):
            of_tokens[sentence, first:stop] = probability
        return paths, spans, (of_tokens, of_spans.tolist())

    def _put_together(
        self,
        paths: Ids,
        counts: Sequence[int],
        spans: Ids,
        probable: tuple[NDArray[np.float32], list[float]] | None,
    ) -> list[Answer]:
        names = self._names
        found: list[list[Span]] = [[] for _ in counts]
        probabilities = [None] * len(spans) if probable is None else probable[1]
        for (sentence, first, stop, kind), probability in zip(spans.tolist(), probabilities, strict=True):
            assert self._spelt is not None
            found[sentence].append(Span(self._spelt.types[kind], first, stop, probability))
        rows = paths.tolist()
        of_tokens = [()] * len(counts) if probable is None else probable[0].tolist()
        return [
            Answer(tuple([names[tag] for tag in row[:count]]), tuple(inner), tuple(tokens[:count]))
            for row, count, inner, tokens in zip(rows, counts, found, of_tokens, strict=True)
        ]

    def _alternatives(self, emissions: Tensor, lengths: Tensor) -> list[tuple[Alternative, ...]]:
        """Returns for each sentence its most probable paths, as many as there are up to the number asked for."""
        paths, scores = self._head.best_paths(emissions, lengths, count=self._wanted.nbest)
        shares = (scores - self._head.log_partition(emissions, lengths)[:, None]).exp()
        return [
            tuple(
                Alternative(tuple([self._names[tag] for tag in path[:count]]), share)
                for path, share, score in zip(of_sentence, its_shares, its_scores, strict=True)
                if score > -np.inf
            )
            for of_sentence, its_shares, its_scores, count in zip(
                paths.tolist(), shares.tolist(), scores.tolist(), lengths.tolist(), strict=True
            )
        ]


class _Spelt:
    """How tags spell spans, as numbers."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        kinds = [schemes.split(name)[1] for name in names]
        self.types = sorted(set(kinds) - {""})
        self.outside = names.index(schemes.OUTSIDE)
        self._kinds = np.array([self.types.index(kind) if kind else -1 for kind in kinds])
        self.members = torch.from_numpy(np.arange(len(self.types))[:, None] == self._kinds)

    @cached_property
    def joins(self) -> Tensor:
        """(K, K) which two tags in a row belong to one span."""
        names = self._names
        return torch.tensor(
            [[len(schemes.spans_of([a, b])) == 1 and schemes.OUTSIDE not in (a, b) for b in names] for a in names]
        )

    def spans(self, paths: Ids, lengths: Ids) -> Ids:
        """Returns (N, 4) the spans that paths (B, T) spell: sentence, first token, the token after the last, type."""
        held = np.zeros((len(paths), paths.shape[1] + 1), bool)
        held[:, :-1] = (self._kinds[paths] >= 0) & (np.arange(paths.shape[1]) < lengths[:, None])
        joined = np.zeros_like(held)
        joined[:, 1:-1] = self.joins.numpy()[paths[:, :-1], paths[:, 1:]] & held[:, 1:-1] & held[:, :-2]
        sentence, first = (held & ~joined).nonzero()
        _, last = (held[:, :-1] & ~joined[:, 1:]).nonzero()
        return np.stack([sentence, first, last + 1, self._kinds[paths[sentence, first]]], 1)
