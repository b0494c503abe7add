"""What the network reads: protocols that the batches of `data` satisfy without importing this package.

Shapes in this module: B sentences, T tokens in the longest one, U distinct words, C characters in the longest word, V
distinct neighbour words, R pairs of a document and a word, O occurrences of those words, F casing features, N tokens of
all sentences, W windows of subwords, S subwords in the longest one, L layers of a transformer, D size of a token's
hidden states, P size of the features.
"""

from typing import Protocol

from torch import Tensor


class ContextInputs(Protocol):
    """Document context of a batch: for each pair of a document and a word, the word's neighbours and casing there."""

    @property
    def pairs(self) -> Tensor:
        """(B, T) pair of each token; padding may hold any pair."""

    @property
    def words(self) -> Tensor:
        """(V,) word ids of the neighbours."""

    @property
    def neighbours(self) -> Tensor:
        """(O, 2) index into `words` of the left and right neighbour at each occurrence, pair after pair."""

    @property
    def counts(self) -> Tensor:
        """(R,) occurrences of each pair, at least 1."""

    @property
    def casing(self) -> Tensor:
        """(R, F) casing features of each pair."""


class SubwordInputs(Protocol):
    """Windows of subwords that a transformer reads, and the subwords of each token in them."""

    @property
    def ids(self) -> Tensor:
        """(W, S) subword ids, special tokens included; the tokenizer's padding id in padding."""

    @property
    def lengths(self) -> Tensor:
        """(W,) subwords per window."""

    @property
    def cores(self) -> Tensor:
        """(W, 2) bounds [start, stop) of the subwords of a window's own sentences; the others are context."""

    @property
    def windows(self) -> Tensor:
        """(N,) window that each token is read in."""

    @property
    def first(self) -> Tensor:
        """(N,) index in its window of the first subword of each token."""

    @property
    def last(self) -> Tensor:
        """(N,) index in its window of the last subword of each token."""


class TransformerInputs(Protocol):
    """The transformer's part of a batch: one of hidden states, subwords and features."""

    @property
    def rows(self) -> Tensor:
        """(B, T) row of each token in the N tokens; padding may hold any row."""

    @property
    def hidden_states(self) -> Tensor | None:
        """(N, L, D) hidden states of the tokens."""

    @property
    def subwords(self) -> SubwordInputs | None:
        """Subwords, whose hidden states the network computes."""

    @property
    def features(self) -> Tensor | None:
        """(N, P) features of the tokens, computed before; those of each network of an ensemble, side by side."""


class Inputs(Protocol):
    """The tokens of a batch; the features of each distinct word are computed once."""

    @property
    def words(self) -> Tensor:
        """(U,) word ids."""

    @property
    def characters(self) -> Tensor:
        """(U, C) character ids."""

    @property
    def character_lengths(self) -> Tensor:
        """(U,) characters per word, at least 1."""

    @property
    def casing(self) -> Tensor:
        """(U,) casing ids."""

    @property
    def index(self) -> Tensor:
        """(B, T) distinct word of each token, in [0, U); padding may hold any such number."""

    @property
    def lengths(self) -> Tensor:
        """(B,) tokens per sentence."""

    @property
    def document_context(self) -> ContextInputs | None:
        """Document context; required if the network reads it."""

    @property
    def transformer(self) -> TransformerInputs | None:
        """Hidden states or subwords of the tokens; required if the network has transformer features."""
