"""Uncertainty: how unsure a model is of the tags that it predicts.

A total is a sum over the tokens of a sentence, so those of windows and of the sentences of a document are added. A
score makes totals comparable. With T tokens, and y1 and y2 the two most probable tag sequences:

- entropy: the total is the entropy of all tag sequences, in nats; the score is the mean per token
- least-confidence: the total is −log p(y1); the score is 1 − p(y1) ** (1 / T), the length-normalised least confidence
  of Settles and Craven (2008)
- margin: the score of a sentence is 1 − (p(y1) − p(y2)); that of several sentences is the mean over their tokens
- errors: the expected number of wrong spans, both as total and as score: predicted spans that are wrong, plus spans
  that are missed. With N predicted spans of probability p, it is N + E − 2 Σ p, where E is the expected number of
  spans. A span with another boundary or type counts twice, once for each side. For plain tags, it is the expected
  number of wrong tags.

All probabilities are those of the calibrated model, but for the temperatures of single types.

Shapes in this module: B sentences, K tags, N spans.
"""

import math

import torch
from torch import Tensor

from tagger.choices import Uncertainty
from tagger.data.word_cache import Ids
from tagger.nn.crf.linear_chain import LinearChain
from tagger.tagging.span_tags import SpanTags


def measure(chain: LinearChain, by: Uncertainty, spans: Ids, span_tags: SpanTags | None) -> Tensor:
    """Returns (B,) the total of each sentence, at least 0.

    Args:
        chain: the distributions over tag sequences.
        by: the measure.
        spans: (N, 4) the spans of the best paths: sentence, first token, end token (exclusive) and type.
        span_tags: the spans of the tags, None for plain tags.
    """
    if by == "entropy":
        total = chain.entropy()
    elif by == "least-confidence":
        total = chain.log_partition() - chain.best_path()[1]
    elif by == "margin":
        logs = chain.best_paths(2)[1] - chain.log_partition()[:, None]
        first, second = logs.clamp_max(0.0).exp().unbind(1)
        total = (1 - (first - second)) * chain.scores.lengths
    elif span_tags is None:
        paths, marginals = chain.best_path()[0], chain.marginals()
        predicted = marginals.gather(2, paths[:, :, None])[:, :, 0]
        total = torch.where(chain.scores.mask, 1 - predicted, 0.0).sum(1)
    else:
        total = _count_wrong_spans(chain, spans, span_tags)
    return total.clamp_min(0.0)


def score(by: Uncertainty, total: float, tokens: int) -> float:
    """Returns the score of the total of so many tokens, the higher the more uncertain.

    >>> score("entropy", 6.0, 4), round(score("least-confidence", 6.0, 4), 4), score("errors", 6.0, 4)
    (1.5, 0.7769, 6.0)
    """
    if by == "errors":
        return total
    mean = total / tokens
    return -math.expm1(-mean) if by == "least-confidence" else mean


def _count_wrong_spans(chain: LinearChain, spans: Ids, span_tags: SpanTags) -> Tensor:
    """Returns (B,) the expected number of spans that are only predicted or only true."""
    device = chain.scores.emissions.device
    rows, members, joins = (part.to(device) for part in (torch.from_numpy(spans), span_tags.members, span_tags.joins))
    # Each token of a span starts it, unless it is joined to the token before.
    in_span = chain.marginals() @ members.any(0).to(chain.scores.emissions)
    expected = in_span.sum(1) - chain.expected_pairs(joins)
    wrong = 1 - 2 * chain.span_probabilities(rows, members, joins)
    return expected.index_add(0, rows[:, 0], wrong.to(expected))
