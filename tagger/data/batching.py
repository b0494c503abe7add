"""Batches: sentences as tensors, in which each distinct word is encoded once.

Shapes in this module: B sentences, T tokens in the longest one, U distinct words of a batch, C characters in the
longest of them, R pairs of a document and a word, O occurrences of those words, F casing features.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tagger.data.document_context import DocumentContext, OccurrenceIndex, Occurrences
from tagger.data.partial import Gold, GoldEncoder
from tagger.data.sentence import Sentence
from tagger.data.stored_sentences import StoredSentences
from tagger.data.word_arrays import WordArrays, WordEncoder, pad, token_indices
from tagger.data.word_cache import Ids


class ContextTensors(NamedTuple):
    """The document context of a batch.

    Attributes:
        pairs: (B, T) pair of each token, 0 in padding.
        words: (V,) word ids of the distinct neighbours.
        neighbours: (O, 2) index into `words` of the left and right neighbour at each occurrence, pair after pair.
        counts: (R,) occurrences of each pair, at least 1.
        casing: (R, F) casing features, as in `document_context.DocumentContext`.
    """

    pairs: Tensor
    words: Tensor
    neighbours: Tensor
    counts: Tensor
    casing: Tensor


class SubwordTensors(NamedTuple):
    """Windows of subwords, as `nn.inputs.SubwordInputs`: W windows, S subwords in the longest one, N tokens.

    Attributes:
        ids: (W, S) subword ids, special tokens included.
        lengths: (W,) subwords per window.
        cores: (W, 2) bounds of the subwords of a window's own sentences.
        windows: (N,) window that each token is read in.
        first: (N,) index in its window of the first subword of each token.
        last: (N,) index in its window of the last subword of each token.
    """

    ids: Tensor
    lengths: Tensor
    cores: Tensor
    windows: Tensor
    first: Tensor
    last: Tensor


class TransformerTensors(NamedTuple):
    """The transformer's part of a batch of N tokens: one of hidden states, subwords and features.

    Attributes:
        rows: (B, T) row of each token in the N tokens, 0 in padding.
        hidden_states: (N, L, D) hidden states of the tokens.
        subwords: subwords, whose hidden states the network computes.
        features: (N, P) features of the tokens, computed before.
    """

    rows: Tensor
    hidden_states: Tensor | None = None
    subwords: SubwordTensors | None = None
    features: Tensor | None = None


class TransformerProvider(Protocol):
    """Provides the transformer's part of batches: hidden states, subwords or features of tokens."""

    def read(self, positions: Sequence[int]) -> Tensor | SubwordTensors:
        """Returns the hidden states (N, L, D), features (N, P) or subwords of the sentences at these positions."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Sentences as tensors, which the network reads as its inputs.

    Attributes:
        words: (U,) word ids of the distinct words.
        characters: (U, C) character ids, 0 in padding.
        character_lengths: (U,) characters per word, at least 1.
        casing: (U,) casing ids.
        index: (B, T) distinct word of each token, 0 in padding.
        lengths: (B,) tokens per sentence.
        gold: (B, T) tag ids, 0 in padding; or, if a sentence is annotated in part, (B, T, K) whether a token may have a
            tag, all false in padding, or the log of the tag's weight, −inf in padding; None without annotation.
        document_context: the document context; None when the network does not read it.
        weights: (B,) factors of the losses of the sentences; None if all are 1.
        transformer: hidden states or subwords of the tokens; None when the network has no transformer features.
    """

    words: Tensor
    characters: Tensor
    character_lengths: Tensor
    casing: Tensor
    index: Tensor
    lengths: Tensor
    gold: Tensor | None = None
    document_context: ContextTensors | None = None
    weights: Tensor | None = None
    transformer: TransformerTensors | None = None

    def move_to(self, device: torch.device) -> "Batch":
        """Returns the batch on a device; copies to a GPU are asynchronous."""
        if device.type == "cpu":
            return self

        def move(tensor: Tensor) -> Tensor:
            if device.type == "cuda" and tensor.device.type == "cpu":
                tensor = tensor.pin_memory()  # otherwise the copy would be synchronous
            return tensor.to(device, non_blocking=True)

        context, transformer = self.document_context, self.transformer
        if transformer is not None:
            rows, hidden_states, subwords, features = transformer
            transformer = TransformerTensors(
                move(rows),
                None if hidden_states is None else move(hidden_states),
                None if subwords is None else SubwordTensors(*map(move, subwords)),
                None if features is None else move(features),
            )
        return Batch(
            move(self.words),
            move(self.characters),
            move(self.character_lengths),
            move(self.casing),
            move(self.index),
            move(self.lengths),
            None if self.gold is None else move(self.gold),
            None if context is None else ContextTensors(*map(move, context)),
            None if self.weights is None else move(self.weights),
            transformer,
        )


def _to_batch(arrays: WordArrays, gold: Sequence[Gold] | None) -> Batch:
    """Returns the batch of sentences, with gold tags if they are passed."""
    context = arrays.document_context
    return Batch(
        words=torch.from_numpy(arrays.words),
        characters=torch.from_numpy(arrays.characters),
        character_lengths=torch.from_numpy(arrays.character_lengths),
        casing=torch.from_numpy(arrays.casing),
        index=torch.from_numpy(arrays.index),
        lengths=torch.from_numpy(arrays.lengths),
        gold=None if gold is None else torch.from_numpy(_pad_gold(gold, arrays.lengths)),
        document_context=None if context is None else _context_tensors(context, arrays.lengths),
    )


def _context_tensors(context: DocumentContext, lengths: Ids) -> ContextTensors:
    words, index = np.unique(context.neighbours, return_inverse=True)
    neighbours = index.reshape(context.neighbours.shape)
    arrays = (pad(context.pairs, lengths), words, neighbours, context.counts, context.casing)
    return ContextTensors(*map(torch.from_numpy, arrays))


def _pad_gold(gold: Sequence[Gold], lengths: Ids) -> Gold:
    """Returns gold ids (B, T), or (B, T, K) booleans or log weights if a sentence has them."""
    sets = [rows for rows in gold if rows.ndim == 2]
    if not sets:
        return pad(np.concatenate(gold), lengths)
    identity: Gold = np.eye(sets[0].shape[1], dtype=np.bool_)
    padded: Gold = np.zeros((len(lengths), lengths.max(), len(identity)), np.bool_)
    if weighted := any(rows.dtype == np.float32 for rows in sets):
        identity, padded = _log(identity), _log(padded)
    for rows, target in zip(gold, padded, strict=True):
        encoded = identity[rows] if rows.ndim == 1 else rows
        target[: len(rows)] = _log(encoded) if weighted and encoded.dtype == np.bool_ else encoded
    return padded


def _log(allowed: Gold) -> NDArray[np.float32]:
    """Returns 0 for allowed tags and −inf for all others."""
    return np.where(allowed, np.float32(0.0), np.float32(-np.inf))


def _weigh(rows: Gold, log_weights: NDArray[np.float32]) -> Gold:
    """Returns gold tags with the weights (T, K) where a token may have several."""
    if rows.ndim == 1:
        return rows
    several = rows.sum(1, keepdims=True) > 1
    return np.where(rows & several, log_weights, _log(rows))


class _StoredGold(Sequence[Gold]):
    """The gold tags of stored sentences, each encoded when it is read."""

    def __init__(self, sentences: StoredSentences, gold: GoldEncoder) -> None:
        self._sentences, self._gold = sentences, gold
        self._ids = np.array([gold.tag_ids.get(tag, -1) for tag in sentences.tags], np.int64)

    def __len__(self) -> int:
        return len(self._sentences)

    def __getitem__(self, position: Any) -> Any:
        sentences = self._sentences
        ids = self._ids[sentences.tag_ids[sentences.starts[position] : sentences.starts[position + 1]]]
        if sentences.are_annotated_for_all(position) and ids.min() >= 0:
            return ids
        return self._gold.encode(sentences[position])


class EncodedCorpus:
    """Sentences as word indices, with gold tags if they are passed, from which batches are built.

    Args:
        sentences: the sentences, in memory or stored.
        encoder: encodes their words; a new one for stored sentences.
        gold: encodes their tags, for batches with gold tags.
        passages: the passage number of each sentence, for batches with document context.
        occurrences: the occurrences of stored sentences, in place of passages.
        weights: the factor of the loss of each sentence; None if all are 1.
        transformer: reads the hidden states or subwords of these sentences, for a network with transformer features.
    """

    def __init__(
        self,
        sentences: Sequence[Sentence],
        encoder: WordEncoder,
        gold: GoldEncoder | None = None,
        passages: Sequence[int] | None = None,
        *,
        occurrences: Occurrences | None = None,
        weights: Sequence[float] | None = None,
        transformer: TransformerProvider | None = None,
    ) -> None:
        self._encoder, self._transformer = encoder, transformer
        self._weights = None if weights is None else torch.from_numpy(np.array(weights, np.float32))
        self._gold: Sequence[Gold] | None = None
        if isinstance(sentences, StoredSentences):
            encoder.add(sentences.words)
            self._words, self._starts = sentences.word_ids, sentences.starts
            self.lengths: NDArray[np.integer[Any]] = sentences.lengths
            self._gold = None if gold is None else _StoredGold(sentences, gold)
        else:
            self._words = encoder.indices(chain.from_iterable(sentence.tokens for sentence in sentences))
            self.lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
            self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])
            self._gold = None if gold is None else [gold.encode(sentence) for sentence in sentences]
        self._occurrences = None
        if passages:
            self._occurrences = encoder.occurrences(self._words, self.lengths.astype(np.int64, copy=False), passages)
        if occurrences is not None:
            self._occurrences = encoder.index_occurrences(occurrences)

    def weigh(self, weights: Iterable[NDArray[np.float32]]) -> None:
        """Weighs the tags of partially annotated sentences where a token may have several.

        Args:
            weights: for each sentence (T, K), the log of the weight of each tag at each token.
        """
        if self._gold is not None:
            self._gold = [_weigh(rows, log_weights) for rows, log_weights in zip(self._gold, weights, strict=True)]

    def batch(self, positions: Sequence[int]) -> Batch:
        """Returns the batch of the sentences at these positions."""
        gold = None if self._gold is None else [self._gold[position] for position in positions]
        context = None
        if self._occurrences is not None:
            context = self._select_context(self._occurrences, positions)
        batch = _to_batch(self._encoder.arrays(self._select_words(positions), context), gold)
        if self._weights is not None:
            batch = replace(batch, weights=self._weights[list(positions)])
        if self._transformer is not None:
            batch = replace(batch, transformer=self._read_transformer(self._transformer, positions))
        return batch

    def word_ids(self, positions: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Returns the word ids of the words of sentences, and those of their document context; both may repeat."""
        words = self._encoder.ids(np.concatenate(self._select_words(positions)))
        neighbours = np.zeros(0, np.int64)
        if self._occurrences is not None:
            neighbours = self._select_context(self._occurrences, positions).neighbours.ravel()
        return torch.from_numpy(words), torch.from_numpy(neighbours)

    def _select_words(self, positions: Sequence[int]) -> list[Ids]:
        starts, ends = (self._starts[np.array(positions, np.int64) + offset].tolist() for offset in (0, 1))
        return [self._words[start:end] for start, end in zip(starts, ends, strict=True)]

    def _select_context(self, occurrences: OccurrenceIndex, positions: Sequence[int]) -> DocumentContext:
        return occurrences.select(token_indices(self._starts, self.lengths, positions))

    def _read_transformer(self, provider: TransformerProvider, positions: Sequence[int]) -> TransformerTensors:
        lengths = self.lengths[list(positions)]
        rows = torch.from_numpy(pad(np.arange(lengths.sum()), lengths))
        data = provider.read(positions)
        if not isinstance(data, Tensor):
            return TransformerTensors(rows, subwords=data)
        if data.ndim == 3:
            return TransformerTensors(rows, hidden_states=data)
        return TransformerTensors(rows, features=data)
