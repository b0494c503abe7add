"""Compares an exported model with the model in PyTorch, before anything is written.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch

from tagger.choices import counted
from tagger.data import schemes
from tagger.data.sentence import Sentence
from tagger.errors import ModelError
from tagger.export.onnx import ports
from tagger.export.onnx.inputs import EncodedSentences
from tagger.export.onnx.preprocessing import Preprocessing
from tagger.export.onnx.runtime import OnnxTagger
from tagger.export.onnx.session import GraphSession
from tagger.model import TaggerModel
from tagger.tagging import Tagger

_TIE = 1e-5
"""Difference of the scores of two paths, relative to their size, below which either may be the best."""
_TOLERANCE = 1e-4
"""Largest difference of probabilities, and of scores relative to their size, of an exact export."""
_MAX_QUANTIZED_DIFFERENCE = 0.02
"""Largest fraction of tags of random words that differ after quantization.

Of a model of CoNLL-2003, 0.5 % differ (488 of 100,500), and 0.01 % of the tags of real text (6 of 46,435).
"""
_TwoTaggings = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Agreement:
    """How far an exported model agrees with the model in PyTorch.

    Attributes:
        sentences: number of sentences that both tagged.
        tokens: number of their tokens.
        different_tags: number of tokens whose tags differ.
        max_difference: largest difference of a probability.
    """

    sentences: int
    tokens: int
    different_tags: int
    max_difference: float


def check_outputs(
    model: TaggerModel, session: GraphSession, preprocessing: Preprocessing, sentences: Sequence[Sentence]
) -> None:
    """Compares the outputs of a graph with those of the network, for batches of several shapes.

    Raises:
        ModelError: a score or a marginal differs.
    """
    encoded = EncodedSentences(preprocessing, [sentence.tokens for sentence in sentences], range(len(sentences)))
    corpus = model.encode([replace(sentence, document=number) for number, sentence in enumerate(sentences)])
    model.network.eval()
    for positions in _select_shapes(encoded.lengths):
        outputs = session.run(encoded.build_inputs(positions, probabilities=True))
        batch = corpus.batch(positions)
        with torch.inference_mode():
            distribution = model.network.head.chain(model.network(batch), batch.lengths)
            scores = distribution.best_path()[1].numpy()
            marginals = distribution.tempered(model.calibration.temperature).marginals().numpy()
        shape = f"{counted(len(positions), 'sentence')} of at most {counted(int(batch.lengths.max()), 'token')}"
        if not np.allclose(outputs[ports.SCORE], scores, rtol=_TOLERANCE, atol=_TOLERANCE):
            raise _disagreement(f"scores of {shape} differ")
        if not np.allclose(outputs[ports.MARGINALS], marginals, rtol=0, atol=_TOLERANCE):
            raise _disagreement(f"probabilities of tags differ in {shape}")


def _select_shapes(lengths: Sequence[int]) -> list[list[int]]:
    """Returns batches of positions of at least five shapes: the shortest and the longest alone, and mixed lengths."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    middle = order[len(order) // 2]
    return [order[:1], order[-1:], [middle], order[:2], order[:: max(1, len(order) // 7)][:8]]


def check_tags(tagger: Tagger, exported: OnnxTagger, sentences: Sequence[Sentence]) -> Agreement:
    """Returns how far two taggers agree, which compute in the same precision.

    Raises:
        ModelError: a tag differs that is not one of two equally good tags, or a probability differs.
    """
    agreement, different = _compare(tagger, exported, sentences)
    model = tagger.model
    if wrong := [position for position, tags in different.items() if not _is_tie(model, sentences, position, tags)]:
        raise _disagreement(f"tags of {counted(len(wrong), 'sentence')} of {len(sentences):,} differ")
    if not agreement.max_difference <= _TOLERANCE:
        raise _disagreement(f"a probability differs by {agreement.max_difference:.2g}")
    return agreement


def check_quantized_tags(tagger: Tagger, exported: OnnxTagger, sentences: Sequence[Sentence]) -> Agreement:
    """Returns how far a quantized model agrees with a tagger.

    Raises:
        ModelError: more than 2 % of the tags differ.
    """
    agreement, _ = _compare(tagger, exported, sentences)
    fraction = agreement.different_tags / agreement.tokens
    if not fraction <= _MAX_QUANTIZED_DIFFERENCE:
        raise _disagreement(f"after quantization {fraction:.1%} of the tags differ; export without `quantize`")
    return agreement


def _compare(
    tagger: Tagger, exported: OnnxTagger, sentences: Sequence[Sentence]
) -> tuple[Agreement, dict[int, _TwoTaggings]]:
    """Returns how far two taggers agree, and both tags of sentences that have other tags, by position."""
    pairs = list(
        zip(tagger.tag(sentences, probabilities=True), exported.tag(sentences, probabilities=True), strict=True)
    )
    different = {
        position: (expected.tags, actual.tags)
        for position, (expected, actual) in enumerate(pairs)
        if expected.tags != actual.tags
    }
    tags = [left != right for rows in different.values() for left, right in zip(*rows, strict=True)]
    same = [pair for position, pair in enumerate(pairs) if position not in different]
    values = (zip(expected.probabilities, actual.probabilities, strict=True) for expected, actual in same)
    largest = max((abs(left - right) for left, right in chain.from_iterable(values)), default=0.0)
    return Agreement(len(pairs), sum(map(len, sentences)), sum(tags), largest), different


def _is_tie(model: TaggerModel, sentences: Sequence[Sentence], position: int, tags: _TwoTaggings) -> bool:
    """Returns whether two taggings of a sentence have the same score but for rounding."""
    batch = model.encode(sentences).batch([position])
    paths = [torch.tensor([[model.tags[tag] for tag in _with_types(model, row)]]) for row in tags]
    with torch.inference_mode():
        scores = model.network.head.chain(model.network(batch), batch.lengths)
        first, second = (float(scores.path_score(path)) for path in paths)
    return abs(first - second) <= _TIE * max(1.0, abs(first))


def _with_types(model: TaggerModel, tags: Sequence[str]) -> Sequence[str]:
    """Returns tags as the model has them: spans without a type have tags such as `B-_`."""
    return [tag if tag in model.tags else f"{tag}-{schemes.UNTYPED}" for tag in tags]


def _disagreement(fault: str) -> ModelError:
    return ModelError(f"the exported model disagrees with the model in PyTorch, nothing is written: {fault}")
