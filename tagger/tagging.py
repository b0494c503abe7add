"""Tagging: sentences in, the same sentences out with tags and spans."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch

from tagger import checkpoint, runtime
from tagger.build import Bundle
from tagger.data import schemes
from tagger.data.batching import Encoded, Lexicon, cut, full
from tagger.data.formats.lines import words
from tagger.data.sentence import Sentence

_FIRST_POOL, _LARGEST_POOL = 32, 1024  # sentences; the first is small so that the first result comes soon


@dataclass(frozen=True, slots=True)
class Answers:
    """What is asked of a tagger beside the best tags."""

    probabilities: bool = False
    threshold: float | None = None
    nbest: int = 0


def load(
    path: str | Path, *, device: str = "auto", workers: int = 1, batch_tokens: int = 2048, max_tokens: int = 2048
) -> "Tagger":
    """Returns the tagger of a model directory.

    Args:
        path: the directory.
        device: auto, cpu or cuda.
        workers: not there yet.
        batch_tokens: tokens in a batch at most.
        max_tokens: not there yet.

    Raises:
        CheckpointError: the directory is missing, damaged or of another format.
        ConfigError: there is no such device.
    """
    place = runtime.device(device)
    return Tagger(checkpoint.load(Path(path))[0], place, batch_tokens=batch_tokens)


class Tagger:
    """Tags sentences with a trained network.

    Args:
        bundle: the model.
        device: where to compute.
        batch_tokens: tokens in a batch at most, padding counted; a longer sentence is a batch by itself.
    """

    def __init__(self, bundle: Bundle, device: torch.device, *, batch_tokens: int = 2048) -> None:
        self.bundle, self.device, self.batch_tokens = bundle, device, batch_tokens
        self._network = bundle.network.to(device)
        self._words = bundle.known_words

    def tag(self, sentences: Iterable[str | Sequence[str] | Sentence]) -> list[Sentence]:
        """Returns the sentences with tags and spans, in their order.

        A string is split at spaces and tabs; anything else is taken as tokens.

        Raises:
            TypeError: a single string is given in place of sentences.
            ValueError: a token is empty.
        """
        if isinstance(sentences, str):
            raise TypeError("tag() takes a list of sentences; put a single one in a list")
        return list(self.stream(map(_sentence, sentences)))

    def stream(
        self, sentences: Iterable[Sentence], *, between: Callable[[], None] = lambda: None
    ) -> Iterator[Sentence]:
        """Yields the sentences with tags and spans, in their order, reading about a thousand ahead at most.

        Args:
            sentences: what to tag; one without tokens passes through.
            between: called after each batch, so that a caller can break off by raising.
        """
        source = iter(sentences)
        size = _FIRST_POOL
        while pool := list(islice(source, size)):
            yield from self._tagged(pool, between)
            size = min(2 * size, _LARGEST_POOL)

    def tag_pools(
        self,
        pools: Iterable[Sequence[Sentence]],
        answers: Answers = Answers(),
        between: Callable[[], None] = lambda: None,
    ) -> Iterator[list[Sentence]]:
        """Yields each pool tagged, in order."""
        for pool in pools:
            yield self._tagged(pool, between)

    def _tagged(self, pool: Sequence[Sentence], between: Callable[[], None]) -> list[Sentence]:
        encoded = Encoded(pool, Lexicon(self._words, self.bundle.characters))
        results = list(pool)
        order = sorted(
            (place for place, length in enumerate(encoded.lengths) if length), key=encoded.lengths.__getitem__
        )
        for positions in cut(order, encoded.lengths, full(tokens=self.batch_tokens)):
            for position, path in zip(positions, self._paths(encoded, positions), strict=True):
                results[position] = self._with_path(pool[position], path)
            between()
        return results

    def _paths(self, encoded: Encoded, positions: Sequence[int]) -> list[list[int]]:
        network = self._network
        batch = encoded.batch(positions).to(self.device)
        training = network.training
        network.eval()
        try:
            with torch.inference_mode():
                emissions = network(*batch.inputs)
                return network.decode(emissions, batch.lengths).tolist()
        finally:
            network.train(training)

    def _with_path(self, sentence: Sentence, path: Sequence[int]) -> Sentence:
        names = self.bundle.tags.items
        tags = tuple(names[number] for number in path[: len(sentence)])
        return replace(sentence, tags=tags, spans=schemes.spans_of(tags) if self.bundle.scheme else ())


def _sentence(given: str | Sequence[str] | Sentence) -> Sentence:
    if not isinstance(given, Sentence):
        given = Sentence(words(given) if isinstance(given, str) else tuple(given))
    if not all(given.tokens):
        raise ValueError(f"a token of {given.tokens!r} is empty")
    return given
