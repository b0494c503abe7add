"""Decoding: from emissions to tags, spans, probabilities and alternatives.

Shapes in this module: B sentences, T tokens in the longest one, K tags, L tokens of all sentences, N spans.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tagger.choices import Uncertainty, check_choices
from tagger.data import schemes
from tagger.data.calibration import Floats, scale_log_odds
from tagger.data.sentence import Alternative, Span
from tagger.data.word_cache import Ids
from tagger.errors import ConfigError, ModelError
from tagger.model import TaggerModel
from tagger.nn.crf.heads import CRFHead, SoftmaxHead
from tagger.nn.crf.linear_chain import LinearChain
from tagger.tagging import uncertainty
from tagger.tagging.span_tags import SpanTags


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """What to compute besides the best tags.

    Attributes:
        probabilities: the probability of each span, and of each tag outside of spans.
        threshold: remove less probable spans; a span that windows split has no probability and stays.
        precision: remove spans below the threshold of their type that has this precision on the data that the model
            was calibrated on, and spans without a probability.
        nbest: number of alternatives per sentence, the most probable paths; the temperature of a type of spans does not
            change their probabilities.
        candidates: the probability of each span that the input sentence holds, or of each of its tags if the model's
            tags are plain: its gold annotation, or any other spans, which may overlap. A span whose type is empty
            stands for no span: all its tokens are outside of spans.
        uncertainty: how uncertain the prediction of each sentence is, by one of the measures of
            `tagger.tagging.uncertainty`.

    Raises:
        ConfigError: the measure of uncertainty is unknown, the threshold or the precision is not in [0, 1], both are
            given, or nbest is negative.
    """

    probabilities: bool = False
    threshold: float | None = None
    nbest: int = 0
    candidates: bool = False
    precision: float | None = None
    uncertainty: Uncertainty | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"the threshold must be a probability from 0 to 1, got {self.threshold}")
        if self.precision is not None and not 0 <= self.precision <= 1:
            raise ConfigError(f"`precision` must be from 0 to 1, got {self.precision}")
        if self.precision is not None and self.threshold is not None:
            raise ConfigError("`precision` selects a threshold for each type; omit `threshold` or `precision`")
        check_choices(uncertainty=(self.uncertainty, Uncertainty))
        if self.nbest < 0:
            raise ConfigError(f"nbest must be at least 0, got {self.nbest}")

    @property
    def needs_probabilities(self) -> bool:
        """Whether the probabilities of predicted tags and spans are computed."""
        return self.probabilities or self.removes_spans

    @property
    def removes_spans(self) -> bool:
        """Whether improbable spans are removed."""
        return self.threshold is not None or self.precision is not None

    @property
    def window_limits(self) -> str:
        """What windows change in the result, to be appended to a notice about them."""
        limits = ", with probabilities that are exact only within a window" * self.needs_probabilities
        return limits + ", without alternatives" * (self.nbest > 0)


TAGS_ONLY = DecodingOptions()
_NEVER = 2.0  # a threshold that no probability reaches
_MAX_NBEST_TAGS = 500  # with more the n best paths of a sentence take minutes
_MAX_PATH_SCORE = 1e25  # far above scores of trained models, far below what replaces −inf
_NOT_FINITE = "the model's probabilities are not finite: its weights are damaged or diverged"
_NO_SPAN = -1  # the id of the empty type
_ROUNDING = 1e-3  # nats by which rounding may raise a probability above 1


class Prediction(NamedTuple):
    """The result for one sentence.

    Attributes:
        tags: one per token.
        spans: the spans that the tags encode.
        probabilities: one per token.
        alternatives: the most probable tag sequences.
        candidates: the probability of each candidate; None for a span that windows cut, and for a type or tag that the
            model does not have.
        uncertainty: that of the sentence, as a sum over its tokens; None if it was not asked for.
    """

    tags: tuple[str, ...]
    spans: tuple[Span, ...] = ()
    probabilities: tuple[float, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    candidates: tuple[float | None, ...] = ()
    uncertainty: float | None = None


Candidates = Sequence[Span | None] | Sequence[str]
"""The candidates of a sentence: spans, None where another window rates the span, or a plain tag for each token."""


class _Batch(NamedTuple):
    """The tokens of a batch in one row.

    Attributes:
        tags: (L,) tag ids.
        positions: (L,) positions of the tokens in the B * T positions of the padded batch.
        offsets: (B + 1,) bounds of the sentences in the row.
        spans: (N, 4) sentence, first token, end token (exclusive) and type.
    """

    tags: Ids
    positions: Ids
    offsets: Ids
    spans: Ids

    def span_tokens(self, rows: NDArray[np.bool_] | slice = slice(None)) -> Ids:
        """Returns the indices of all tokens of spans."""
        sentences, starts, ends, _ = self.spans[rows].T
        sizes = ends - starts
        return np.repeat(self.offsets[sentences] + ends - sizes.cumsum(), sizes) + np.arange(sizes.sum())


def check_model(model: TaggerModel, options: DecodingOptions) -> None:
    """Raises ConfigError if a model cannot be decoded with some options: see `Decoder`."""
    if options.removes_spans and model.scheme is None:
        name = "threshold" if options.precision is None else "precision"
        raise ConfigError(f"a {name} removes spans; the model's tags are plain")
    if options.precision is not None and not model.calibration.thresholds:
        raise ConfigError("`precision` needs a calibrated model; run `tagger calibrate` with annotated data first")
    if (options.nbest or options.uncertainty == "margin") and len(model.tags) > _MAX_NBEST_TAGS:
        raise ConfigError(
            f"n-best paths are limited to models of {_MAX_NBEST_TAGS} tags; the model has {len(model.tags)}"
        )


class Decoder:
    """Predictions for batches of emissions.

    Args:
        model: the model.
        span_tags: the spans of its tags, None if the tags are plain.
        options: what to compute.

    Attributes:
        imprecise_types: the types of spans without a threshold of the precision, which are all removed.

    Raises:
        ConfigError: a threshold or a precision for plain tags, a precision without a calibration, or n-best paths for
            too many tags.
    """

    def __init__(self, model: TaggerModel, span_tags: SpanTags | None, options: DecodingOptions) -> None:
        check_model(model, options)
        self._head: CRFHead | SoftmaxHead = model.network.head
        self._names, self._scheme, self._span_tags, self._options = model.tags.items, model.scheme, span_tags, options
        self._name_array = np.array(self._names, object)
        names = self._names if span_tags is None else ("", *span_tags.types)
        first = 0 if span_tags is None else _NO_SPAN
        self._ids = {name: number for number, name in enumerate(names, first)}  # of tags, or of types of spans
        types = span_tags.types if span_tags else []
        self._calibration = model.calibration
        by_type = model.calibration.type_temperatures
        self._type_temperatures = np.array([by_type.get(name, 1.0) for name in types]) if by_type else None
        self.imprecise_types: Sequence[str] = ()
        self._thresholds = self._select_thresholds(types)  # (types,)
        self._max_weight = max((float(weight.detach().abs().max()) for weight in self._head.parameters()), default=0.0)

    def _select_thresholds(self, types: Sequence[str]) -> Floats:
        """Returns the threshold of each type: 2 for a type without a threshold of this precision."""
        if self._options.precision is None:
            return np.full(len(types), self._options.threshold or 0.0)
        selected = self._calibration.find_thresholds(self._options.precision)
        self.imprecise_types = [name for name in types if selected.get(name) is None]
        return np.array([_NEVER if (value := selected.get(name)) is None else value for name in types])

    @property
    def options(self) -> DecodingOptions:
        """What is computed."""
        return self._options

    def decode(
        self, emissions: Tensor, lengths: Tensor, candidates: Sequence[Candidates] | None = None
    ) -> list[Prediction]:
        """Returns a prediction per sentence.

        Args:
            emissions: (B, T, K) tag scores.
            lengths: (B,) tokens per sentence.
            candidates: those of each sentence; None for no candidates.

        Raises:
            ModelError: emissions or probabilities are not finite, or emissions too large for finite probabilities.
        """
        with torch.inference_mode():
            self._check_range(emissions)
            chain = self._head.chain(emissions, lengths)
            batch = self._find_tags(chain)
            if self._calibration.temperature != 1:
                chain = chain.tempered(self._calibration.temperature)
            totals = self._measure_uncertainty(chain, batch)
            token_probs: list[float] | None = None
            span_probs: list[float] | list[None] = [None] * len(batch.spans)
            if self._options.needs_probabilities:
                batch, token_probs, span_probs = self._find_probabilities(chain, batch)
            predictions = self._assemble(batch, token_probs, span_probs)
            if totals is not None:
                predictions = [
                    prediction._replace(uncertainty=total)
                    for prediction, total in zip(predictions, totals, strict=True)
                ]
            if self._options.nbest:
                alternatives = self._find_alternatives(chain)
                predictions = [
                    prediction._replace(alternatives=paths)
                    for prediction, paths in zip(predictions, alternatives, strict=True)
                ]
            if candidates is not None:
                predictions = [
                    prediction._replace(candidates=probabilities)
                    for prediction, probabilities in zip(
                        predictions, self._rate_candidates(chain, candidates), strict=True
                    )
                ]
            return predictions

    def _check_range(self, emissions: Tensor) -> None:
        largest = max(map(abs, torch.stack(emissions.aminmax()).tolist()))
        if not largest < math.inf:  # NaN included
            raise ModelError("the model's scores are not finite: its weights are damaged or diverged")
        if not (largest + self._max_weight) * (emissions.shape[1] + 1) < _MAX_PATH_SCORE:
            raise ModelError("the model's scores are too large to compute with: its weights are damaged")

    def _find_tags(self, chain: LinearChain) -> _Batch:
        """Returns the best paths and their spans."""
        paths: Ids = chain.best_path()[0].cpu().numpy()
        lengths: Ids = chain.scores.lengths.cpu().numpy()
        positions = np.flatnonzero(np.arange(paths.shape[1]) < lengths[:, None])
        offsets = np.concatenate([[0], lengths.cumsum()])
        spans = np.zeros((0, 4), np.int64) if self._span_tags is None else self._span_tags.find_spans(paths, lengths)
        return _Batch(paths.ravel()[positions], positions, offsets, spans)

    def _measure_uncertainty(self, chain: LinearChain, batch: _Batch) -> list[float] | None:
        """Returns the uncertainty of each sentence, None if it was not asked for."""
        if self._options.uncertainty is None:
            return None
        totals: list[float] = uncertainty.measure(
            chain, self._options.uncertainty, batch.spans, self._span_tags
        ).tolist()
        if not all(map(math.isfinite, totals)):
            raise ModelError(_NOT_FINITE)
        return totals

    def _find_probabilities(self, chain: LinearChain, batch: _Batch) -> tuple[_Batch, list[float], list[float]]:
        """Returns the batch without spans below the threshold, and the probabilities (L,) of tokens, (N,) of spans.

        A token of a span has the probability of the span.
        """
        device = chain.scores.emissions.device
        span_probs = self._span_probabilities(chain, batch.spans)
        if self._span_tags is not None and self._options.removes_spans:
            is_probable = span_probs >= self._thresholds[batch.spans[:, 3]]
            batch.tags[batch.span_tokens(~is_probable)] = self._span_tags.outside_id
            batch, span_probs = batch._replace(spans=batch.spans[is_probable]), span_probs[is_probable]
        index = torch.from_numpy(batch.positions).to(device), torch.from_numpy(batch.tags).to(device)
        token_probs: Floats = chain.marginals().flatten(0, 1)[index].cpu().numpy()
        if not (np.isfinite(token_probs).all() and np.isfinite(span_probs).all()):
            raise ModelError(_NOT_FINITE)
        token_probs[batch.span_tokens()] = np.repeat(span_probs, batch.spans[:, 2] - batch.spans[:, 1])
        return batch, token_probs.tolist(), span_probs.tolist()

    def _span_probabilities(self, chain: LinearChain, spans: Ids) -> Floats:
        """Returns the probabilities (N,) of spans (N, 4); none if the model's tags are plain."""
        if self._span_tags is None:
            return np.zeros(0, np.float32)
        tensors = torch.from_numpy(spans), self._span_tags.members, self._span_tags.joins
        probabilities: Floats = (
            chain.span_probabilities(*(tensor.to(chain.scores.emissions.device) for tensor in tensors)).cpu().numpy()
        )
        if self._type_temperatures is None:
            return probabilities
        return scale_log_odds(probabilities, self._type_temperatures[spans[:, 3]])

    def _rate_candidates(self, chain: LinearChain, candidates: Sequence[Candidates]) -> list[tuple[float | None, ...]]:
        """Returns the probabilities of the candidates of each sentence."""
        known: list[tuple[int, int]] = []  # sentence, and number of the candidate
        rows: list[tuple[int, ...]] = []  # sentence, first token, end token and type; or sentence, token and tag
        for sentence, items in enumerate(candidates):
            for number, item in enumerate(items):
                name, *bounds = (item.type, item.start, item.end) if isinstance(item, Span) else (item, number)
                if name in self._ids:
                    known.append((sentence, number))
                    rows.append((sentence, *bounds, self._ids[name]))
        if self._span_tags is None:
            index = torch.tensor(rows, device=chain.scores.emissions.device).view(-1, 3).long().unbind(1)
            values = chain.marginals()[index].tolist()
        else:
            values = self._rate_spans(chain, np.array(rows, np.int64).reshape(-1, 4)).tolist()
        if not all(map(math.isfinite, values)):
            raise ModelError(_NOT_FINITE)
        rated: list[list[float | None]] = [[None] * len(items) for items in candidates]
        for (sentence, number), value in zip(known, values, strict=True):
            rated[sentence][number] = value
        return list(map(tuple, rated))

    def _rate_spans(self, chain: LinearChain, spans: Ids) -> Floats:
        """Returns the probabilities (N,) of spans (N, 4), and of no span where the type is _NO_SPAN."""
        assert self._span_tags is not None
        is_empty = spans[:, 3] == _NO_SPAN
        runs = torch.from_numpy(spans[is_empty, :3]).to(chain.scores.emissions.device)
        values: Floats = np.zeros(len(spans), np.float32)
        values[is_empty] = chain.run_probabilities(runs, self._span_tags.outside_id).cpu().numpy()
        values[~is_empty] = self._span_probabilities(chain, spans[~is_empty])
        return values

    def _assemble(
        self, batch: _Batch, token_probs: list[float] | None, span_probs: list[float] | list[None]
    ) -> list[Prediction]:
        bounds = batch.offsets.tolist()
        spans: list[list[Span]] = [[] for _ in bounds[1:]]
        for (sentence, start, end, kind), probability in zip(batch.spans.tolist(), span_probs, strict=True):
            assert self._span_tags is not None
            spans[sentence].append(Span(self._span_tags.types[kind], start, end, probability))
        tags = self._name_array[batch.tags].tolist()
        predictions = [
            Prediction(
                tuple(tags[first:stop]), tuple(sentence_spans), tuple(token_probs[first:stop]) if token_probs else ()
            )
            for first, stop, sentence_spans in zip(bounds, bounds[1:], spans, strict=False)
        ]
        if self._scheme and self._options.removes_spans:
            # In IOB1 the first tag of a span depends on the span before it, which may have been removed.
            return [
                prediction._replace(tags=schemes.spans_to_tags(prediction.spans, len(prediction.tags), self._scheme))
                for prediction in predictions
            ]
        return predictions

    def _find_alternatives(self, chain: LinearChain) -> list[tuple[Alternative, ...]]:
        """Returns for each sentence its most probable paths, fewer than `nbest` if it has fewer."""
        paths, scores = chain.best_paths(self._options.nbest)
        logs = scores - chain.log_partition()[:, None]
        probabilities = logs.masked_fill(logs > _ROUNDING, 0.0).exp()  # large scores round to more than 1
        return [
            tuple(
                Alternative(tuple([self._names[tag] for tag in path[:length]]), probability)
                for path, probability, score in zip(*rows, strict=True)
                if score > -np.inf
            )
            for *rows, length in zip(
                paths.tolist(),
                probabilities.tolist(),
                scores.tolist(),
                chain.scores.lengths.tolist(),
                strict=True,
            )
        ]
