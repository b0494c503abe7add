"""What a network knows of a word: its vector, its characters, its capitals.

Shapes in this module: U distinct words, C characters in the longest, B sentences, T tokens, D width of the result.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tagger.nn.dropout import drop
from tagger.nn.encoder import RecurrentLayer
from tagger.nn.kernels import convolution, lookup, neighbours

UNKNOWN = 1  # the row of the unknown word's vector


def scatter_evenly(rows: int, width: int) -> Tensor:
    """Returns vectors (rows, width) drawn evenly from ±√(3 / width), the range of Ma and Hovy (2016)."""
    bound = math.sqrt(3 / width)
    return torch.empty(rows, width).uniform_(-bound, bound)


class WordEmbedding(nn.Module):
    """Vectors of words: those that training may change, and behind them those kept as they were, in half precision.

    Args:
        weight: (W, D) start values of the vectors to train; row 0 is padding's, row 1 the unknown word's.
        frozen: (V, D) vectors of the ids W, W + 1, …, which stay fixed.

    Attributes:
        sparse: whether the gradient of the weight holds only the rows that were asked for.
    """

    frozen: Tensor

    def __init__(self, weight: Tensor, frozen: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.register_buffer("frozen", frozen.half())
        self.output_dim = weight.shape[1]
        self.sparse = False

    def forward(self, ids: Tensor) -> Tensor:
        """Returns the vectors (U, D) of word ids (U,)."""
        rows = len(self.weight)
        # A GPU would have to be waited for.
        if not len(self.frozen) or (ids.device.type == "cpu" and bool((ids < rows).all())):
            return F.embedding(ids, self.weight, sparse=self.sparse)
        fixed = ids >= rows
        trained = F.embedding(ids.masked_fill(fixed, UNKNOWN), self.weight, sparse=self.sparse)
        return torch.where(fixed[:, None], self.frozen[(ids - rows).clamp(min=0)].to(trained.dtype), trained)

    def unknown(self) -> Tensor:
        """Returns the unknown word's vector (1, D)."""
        return F.embedding(torch.tensor([UNKNOWN], device=self.weight.device), self.weight, sparse=self.sparse)


class CharacterCNN(nn.Module):
    """Convolutions over a word's characters and the largest value of each feature (Ma and Hovy, 2016)."""

    def __init__(
        self, characters: int, embedding_dim: int, output_dim: int, *, kernel_size: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, embedding_dim, _weight=scatter_evenly(characters, embedding_dim))
        self.convolution = nn.Conv1d(embedding_dim, output_dim, kernel_size, padding=kernel_size // 2)
        self.dropout = dropout
        self.output_dim = output_dim

    def forward(self, characters: Tensor, lengths: Tensor) -> Tensor:
        """Returns features (U, D) of words spelt as ids (U, C) of the given lengths (U,), each at least 1."""
        beyond = torch.arange(characters.shape[1], device=characters.device) >= lengths[:, None]  # (U, C)
        rate = self.dropout if self.training else 0.0
        weight, bias = self.convolution.weight, self.convolution.bias
        assert bias is not None
        if weight.device.type == "cpu" and weight.dtype == torch.float32:
            return convolution.largest(drop(self.embedding(characters[~beyond]), rate), lengths, weight, bias)
        # A word's features must not depend on how long the other words of its batch are.
        embedded = drop(self.embedding(characters), rate).masked_fill(beyond[:, :, None], 0.0)
        features: Tensor = self.convolution(embedded.transpose(1, 2)).transpose(1, 2)
        return features.masked_fill(beyond[:, :, None], -math.inf).max(1).values


class CharacterLSTM(nn.Module):
    """The last states of an LSTM over a word's characters from either side (Lample et al., 2016)."""

    def __init__(self, characters: int, embedding_dim: int, output_dim: int, *, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, embedding_dim, _weight=scatter_evenly(characters, embedding_dim))
        self.layer = RecurrentLayer(embedding_dim, output_dim // 2)
        self.dropout = dropout
        self.output_dim = self.layer.output_size

    def forward(self, characters: Tensor, lengths: Tensor) -> Tensor:
        """Returns features (U, D) of words spelt as ids (U, C) of the given lengths (U,), each at least 1."""
        embedded = drop(self.embedding(characters), self.dropout if self.training else 0.0)
        states = self.layer(embedded, lengths)  # (U, C, D)
        forward = states[torch.arange(len(lengths), device=lengths.device), lengths - 1, : self.output_dim // 2]
        return torch.cat([forward, states[:, 0, self.output_dim // 2 :]], 1)


class DocumentContext(nn.Module):
    """A vector for each word of a document, from what stands beside it there and how it is capitalised.

    Args:
        words: D, the width of the words' vectors.
        casing: F, the numbers that say how it is capitalised.
        width: of the result.
        dropout: over the vectors of the words beside it.
    """

    def __init__(self, words: int, casing: int, output_dim: int, *, dropout: float) -> None:
        super().__init__()
        self.projection = nn.Linear(2 * words + casing, output_dim)
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        self.dropout, self.output_dim = dropout, output_dim

    def forward(self, vectors: Tensor, beside: Tensor, counts: Tensor, casing: Tensor) -> Tensor:
        """Returns (R, width) of R words of documents.

        Args:
            vectors: (V, D) of words, which need no gradient.
            beside: (O, 2) which of them stand before and after each of the words' O places.
            counts: (R,) places of each word, at least 1.
            casing: (R, F).
        """
        means = neighbours.means(vectors, beside, counts)
        means = drop(means, self.dropout if self.training else 0.0)
        return torch.tanh(self.projection(torch.cat([means, casing], 1)))


class TokenEmbedding(nn.Module):
    """All that is known of each token, side by side; every distinct word of a batch is computed once.

    Args:
        words: vectors of words.
        characters: features of spellings, if any.
        casing: vectors (kinds, width) of how words are capitalised, if any.
        document_context: what the rest of its document says of a word, if any.
        word_dropout: the share of tokens whose word is replaced by the unknown word in training.
    """

    def __init__(
        self,
        words: WordEmbedding,
        characters: CharacterCNN | CharacterLSTM | None,
        casing: nn.Embedding | None,
        document_context: DocumentContext | None = None,
        *,
        word_dropout: float,
    ) -> None:
        super().__init__()
        self.words, self.characters, self.casing, self.document_context = words, characters, casing, document_context
        self.word_dropout = word_dropout
        self.output_dim = words.output_dim + (characters.output_dim if characters else 0)
        self.output_dim += casing.embedding_dim if casing else 0
        self.output_dim += document_context.output_dim if document_context else 0

    def forward(
        self,
        words: Tensor,
        characters: Tensor,
        character_lengths: Tensor,
        casing: Tensor,
        index: Tensor,
        document_context: Sequence[Tensor] = (),
    ) -> Tensor:
        """Returns (B, T, D) for tokens given as an index (B, T) into distinct words.

        Args:
            words: (U,) ids.
            characters: (U, C) ids.
            character_lengths: (U,) each at least 1.
            casing: (U,) ids.
            index: (B, T) in [0, U); padding may hold any such number.
            document_context: an index (B, T) into R words of documents, as `index` is; (V,) ids of the words that stand
                beside them; (O, 2) which of those do at each of their places; (R,) how many places are each one's; and
                (R, F) how it is capitalised. Needed where the module has a part to read it.
        """
        vectors = self.words(words)
        of_word = index
        if self.training and self.word_dropout:
            vectors = torch.cat([vectors, self.words.unknown()])
            dropped = torch.rand(index.shape, device=index.device) < self.word_dropout
            of_word = index.masked_fill(dropped, len(words))
        tables, indices = [vectors], [of_word]
        if self.characters is not None:
            tables.append(self.characters(characters, character_lengths))
            indices.append(index)
        if self.casing is not None:
            tables.append(self.casing(casing))
            indices.append(index)
        if self.document_context is not None:
            of_document, around, *rest = document_context
            with torch.no_grad():  # the vectors are not tuned for this
                given = self.words(around)
            tables.append(self.document_context(given, *rest))
            indices.append(of_document)
        return lookup.concatenated(tables, indices)
