"""Scores on the dev data after each epoch; each rank tags a part of the data."""

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from tagger.data.corpus import Corpus
from tagger.data.document_context import number_passages
from tagger.data.sentence import Sentence, Span
from tagger.evaluation import Report, evaluate_predictions
from tagger.io import json_files
from tagger.model import TaggerModel
from tagger.tagging import EncodedPool, Tagger
from tagger.training.ranks import Ranks, divide_blocks
from tagger.transformer.hidden_state_cache import HiddenStateCache


class DevScorer:
    """Scores a model in training on the dev data, which is encoded once.

    Args:
        model: the model, with the weights to evaluate.
        corpus: the dev data.
        ranks: the processes that tag it, with the device to compute on.
        workers: number of threads on a CPU.
        hidden_state_cache: the cache of the hidden states of a frozen transformer.
    """

    def __init__(
        self,
        model: TaggerModel,
        corpus: Corpus,
        ranks: Ranks,
        workers: int,
        hidden_state_cache: HiddenStateCache | None = None,
    ) -> None:
        self._model, self._corpus, self._ranks, self._workers = model, corpus, ranks, workers
        self._cache = hidden_state_cache
        self._encoded: tuple[Tagger, list[EncodedPool]] | None = None
        self._tagged: list[Sentence] = []
        self._seconds = 0.0

    def tag(self, on_batch: Callable[[], None]) -> None:
        """Tags the part of this rank with the current weights; `on_batch` is called between batches and may raise.

        Raises:
            ModelError: the model's scores are not finite.
        """
        started = time.perf_counter()
        if self._encoded is None:
            device, cache = self._ranks.device, self._cache
            tagger = Tagger(self._model, device, workers=self._workers, hidden_state_cache=cache)
            self._encoded = tagger, tagger.encode(self._assigned_sentences())
        else:
            self._encoded[0].update_weights()
        tagger, pools = self._encoded
        self._tagged = list(chain.from_iterable(tagger.tag_encoded(pools, on_batch=on_batch)))
        self._seconds = time.perf_counter() - started

    def score(self) -> Report | None:
        """Returns the scores of what all ranks have tagged last; None except on the first rank."""
        parts = self._ranks.gather(b"" if self._ranks.is_first else _dump(self._tagged))
        if not self._ranks.is_first:
            return None
        assert self._encoded is not None
        received = chain.from_iterable(json_files.parse(part) for part in parts[1:])
        sentences = self._corpus.sentences[len(self._tagged) :]
        tagged = [*self._tagged, *map(_restore, sentences, received)]
        return evaluate_predictions(self._encoded[0], self._corpus, tagged, seconds=self._seconds).report

    def _assigned_sentences(self) -> Sequence[Sentence]:
        """Returns the consecutive sentences that this rank tags; passages stay together if the model reads them."""
        sentences, settings = self._corpus.sentences, self._model.config.model
        has_passages = settings.reads_documents or self._model.transformer is not None
        blocks = number_passages(sentences) if has_passages else range(len(sentences))
        assigned = divide_blocks(blocks, [len(sentence) for sentence in sentences], self._ranks.count)
        positions = assigned[self._ranks.rank]
        return sentences[positions.start : positions.stop]


def _dump(tagged: Iterable[Sentence]) -> bytes:
    """Returns the tags and spans of sentences, for `_restore`."""
    return json_files.dump(
        [[sentence.tags, [(span.type, span.start, span.end) for span in sentence.spans]] for sentence in tagged]
    )


def _restore(sentence: Sentence, received: tuple[list[str], list[tuple[str, int, int]]]) -> Sentence:
    """Returns a sentence with the tags and spans that another rank has found."""
    tags, spans = received
    return Sentence(
        sentence.tokens,
        tags=tuple(tags),
        spans=tuple(Span(*span) for span in spans),
        document=sentence.document,
        line=sentence.line,
    )
