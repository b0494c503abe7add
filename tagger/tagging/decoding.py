"""From emissions to answers: tags, spans and how probable they are.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tagger.data import schemes
from tagger.data.sentence import Alternative, Span
from tagger.data.word_cache import Ids
from tagger.errors import ConfigError, ModelError
from tagger.model import TaggerModel
from tagger.nn.crf.heads import CRFHead, SoftmaxHead
from tagger.tagging.span_tags import SpanTags


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """What is asked beyond the best tags.

    Attributes:
        probabilities: how probable each span is, and each tag outside of spans.
        threshold: leave out spans less probable than this; one that windows cut has no probability and stays.
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

    @property
    def probable(self) -> bool:
        """Whether probabilities are needed."""
        return self.probabilities or self.threshold is not None

    @property
    def lost_in_windows(self) -> str:
        """What a sentence that is tagged in windows does not get of it, to follow a notice of that."""
        exact = ", with probabilities that are exact within each alone" * self.probable
        return exact + ", without alternatives" * (self.nbest > 0)


TAGS_ALONE = DecodingOptions()
MAX_NBEST_TAGS = 500
"""Beyond this the n best paths of a sentence take minutes."""
_LARGEST_SUM = 1e25
"""The largest sum of a path's scores; far above those of a model that learned, far below what stands for forbidden."""
_CELLS = 2**24
_ROUNDING = 1e-3  # nats by which a path may seem more probable than 1


class Answer(NamedTuple):
    """What was found for a sentence."""

    tags: tuple[str, ...]
    spans: tuple[Span, ...] = ()
    probabilities: tuple[float, ...] = ()
    alternatives: tuple[Alternative, ...] = ()


class Decoder:
    """Answers for batches of emissions.

    Args:
        model: the model.
        spelt: what its tags say of spans, None if they are plain.
        wanted: what is asked.

    Raises:
        ConfigError: there is to be a threshold, and the tags are plain.
    """

    def __init__(self, model: TaggerModel, spelt: SpanTags | None, wanted: DecodingOptions) -> None:
        if wanted.threshold is not None and spelt is None:
            raise ConfigError("a threshold leaves out spans; the model's tags are plain")
        if wanted.nbest and len(model.tags) > MAX_NBEST_TAGS:
            raise ConfigError(f"n-best taggings are for at most {MAX_NBEST_TAGS} tags; the model has {len(model.tags)}")
        self._head: CRFHead | SoftmaxHead = model.network.head
        self._names, self._scheme, self._spelt, self._wanted = model.tags.items, model.scheme, spelt, wanted
        self._largest = max((float(weight.detach().abs().max()) for weight in self._head.parameters()), default=0.0)

    def of(self, emissions: Tensor, lengths: Tensor) -> list[Answer]:
        """Returns the answer for each sentence of a batch: emissions (B, T, K), lengths (B,).

        Raises:
            ModelError: emissions are not finite, or too large for what is asked to be finite.
        """
        with torch.inference_mode():
            self._check_size(emissions)
            paths: Ids = self._head.decode(emissions, lengths).cpu().numpy()
            counts: list[int] = lengths.tolist()
            spans = (
                np.zeros((0, 4), np.int64) if self._spelt is None else self._spelt.spans(paths, lengths.cpu().numpy())
            )
            probable = None
            if self._wanted.probable:
                paths, spans, probable = self._probable(emissions, lengths, paths, spans)
            answers = self._put_together(paths, counts, spans, probable)
            if self._scheme and self._wanted.threshold is not None:
                # In IOB1 the first tag of a span depends on the span before it, which may have been left out.
                answers = [
                    answer._replace(tags=schemes.tags_of(answer.spans, len(answer.tags), self._scheme))
                    for answer in answers
                ]
            if self._wanted.nbest:
                alternatives = self._alternatives(emissions, lengths)
                answers = [
                    answer._replace(alternatives=given) for answer, given in zip(answers, alternatives, strict=True)
                ]
            return answers

    def _check_size(self, emissions: Tensor) -> None:
        largest = max(map(abs, torch.stack(emissions.aminmax()).tolist()))
        if not largest < math.inf:  # NaN included
            raise ModelError("the model's scores are not finite: its weights are damaged or diverged")
        if not (largest + self._largest) * (emissions.shape[1] + 1) < _LARGEST_SUM:
            raise ModelError("the model's scores are too large to compute with: its weights are damaged")

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
        if not (np.isfinite(of_tokens).all() and np.isfinite(of_spans).all()):
            raise ModelError("the model's probabilities are not finite: its weights are damaged or diverged")
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
        count = self._wanted.nbest
        size = max(1, _CELLS // (emissions.shape[2] ** 2 * count))  # sentences whose largest tensor stays small
        parts = [
            self._head.best_paths(some, its, count=count)
            for some, its in zip(torch.split(emissions, size), torch.split(lengths, size), strict=True)
        ]
        paths, scores = (torch.cat(part) for part in zip(*parts, strict=True))
        logs = scores - self._head.log_partition(emissions, lengths)[:, None]
        shares = logs.masked_fill(logs > _ROUNDING, 0.0).exp()  # where scores are so large that they round by much
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
