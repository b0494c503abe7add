"""What the network reads: protocols that the batches of `data` satisfy without importing this package.

Shapes in this module: B sentences, T tokens in the longest one, U distinct words, C characters in the longest word, V
distinct neighbour words, R pairs of a document and a word, O occurrences of those words, F casing features.
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
