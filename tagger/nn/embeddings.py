"""Embeddings of tokens: word vectors, character features, casing, document context and a transformer.

Shapes in this module: U distinct words, C characters in the longest one, B sentences, T tokens in the longest one, D
output size.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tagger.choices import VectorDtype
from tagger.nn import quantization
from tagger.nn.dropout import drop
from tagger.nn.encoder import RecurrentLayer
from tagger.nn.inputs import ContextInputs, Inputs
from tagger.nn.kernels import convolution, lookup, neighbours
from tagger.nn.transformer import TransformerFeatures

UNKNOWN = 1  # row of the unknown word's vector


def draw_uniform(rows: int, dim: int) -> Tensor:
    """Returns vectors (rows, dim) drawn uniformly from ±√(3 / dim), the range of Ma and Hovy (2016)."""
    bound = math.sqrt(3 / dim)
    return torch.empty(rows, dim).uniform_(-bound, bound)


class WordEmbedding(nn.Module):
    """Word vectors: trainable ones, followed by frozen ones in a smaller dtype.

    Args:
        weight: (W, D) initial values of the trainable vectors; row 0 is for padding, row 1 for unknown words.
        frozen: (V, D) vectors of the ids W, W + 1, …, which training does not change.
        frozen_dtype: how frozen vectors are stored: in float16; in int8, as whole numbers of steps of each row; or as
            the codes of product quantization.

    Attributes:
        frozen: (V, D) frozen vectors as they are stored; with product quantization, codes (V, S) of S parts.
        frozen_steps: (V, 1) size of a step of each row of `frozen`; None without int8.
        frozen_centroids: (4, S, 256) the numbers of each part that codes stand for; None without product quantization.
        sparse: whether the gradient of the weight is a sparse tensor of the rows that were read.
    """

    frozen: Tensor
    frozen_steps: Tensor | None
    frozen_centroids: Tensor | None

    def __init__(self, weight: Tensor, frozen: Tensor, *, frozen_dtype: VectorDtype = "float16") -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        steps = centroids = None
        if frozen_dtype == "int8":
            values, steps = quantization.quantize_rows(frozen)
        elif frozen_dtype == "product":
            values, centroids = quantization.quantize_products(frozen)
        else:
            values = frozen.half()
        self.register_buffer("frozen", values)
        self.register_buffer("frozen_steps", steps)
        self.register_buffer("frozen_centroids", centroids)
        self.output_dim = weight.shape[1]
        self.sparse = False

    def forward(self, ids: Tensor) -> Tensor:
        """Returns the vectors (U, D) of word ids (U,)."""
        rows = len(self.weight)
        # On a GPU, looking at the ids would wait for the device.
        if not len(self.frozen) or (ids.device.type == "cpu" and bool((ids < rows).all())):
            return F.embedding(ids, self.weight, sparse=self.sparse)
        is_frozen = ids >= rows
        trained = F.embedding(ids.masked_fill(is_frozen, UNKNOWN), self.weight, sparse=self.sparse)
        frozen = self.frozen_vectors((ids - rows).clamp(min=0)).to(trained.dtype)
        return torch.where(is_frozen[:, None], frozen, trained)

    def frozen_vectors(self, rows: Tensor | None = None) -> Tensor:
        """Returns the frozen vectors (V, D) in float32, or those (U, D) of some rows (U,)."""
        values, steps = self.frozen, self.frozen_steps
        if rows is not None:
            values, steps = values[rows], None if steps is None else steps[rows]
        if self.frozen_centroids is not None:
            return quantization.decode_products(values, self.frozen_centroids, self.output_dim)
        return values.float() if steps is None else values * steps

    def unknown(self) -> Tensor:
        """Returns the unknown word's vector (1, D)."""
        return F.embedding(torch.tensor([UNKNOWN], device=self.weight.device), self.weight, sparse=self.sparse)


class CharacterCNN(nn.Module):
    """A convolution over a word's characters with max pooling over time (Ma and Hovy, 2016)."""

    def __init__(
        self, character_count: int, embedding_dim: int, output_dim: int, *, kernel_size: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = _character_embedding(character_count, embedding_dim)
        self.convolution = nn.Conv1d(embedding_dim, output_dim, kernel_size, padding=kernel_size // 2)
        self.dropout = dropout
        self.output_dim = output_dim

    def forward(self, characters: Tensor, lengths: Tensor) -> Tensor:
        """Returns the features (U, D) of words, given character ids (U, C) and lengths (U,), at least 1."""
        padding = torch.arange(characters.shape[1], device=characters.device) >= lengths[:, None]  # (U, C)
        probability = self.dropout if self.training else 0.0
        weight, bias = self.convolution.weight, self.convolution.bias
        assert bias is not None
        if weight.device.type == "cpu" and weight.dtype == torch.float32:
            return convolution.max_over_time(
                drop(self.embedding(characters[~padding]), probability), lengths, weight, bias
            )
        # A word's features must not depend on the lengths of the batch's other words.
        embedded = drop(self.embedding(characters), probability).masked_fill(padding[:, :, None], 0.0)
        features: Tensor = self.convolution(embedded.transpose(1, 2)).transpose(1, 2)
        return features.masked_fill(padding[:, :, None], -math.inf).max(1).values


class CharacterLSTM(nn.Module):
    """The final states of a bidirectional LSTM over a word's characters (Lample et al., 2016)."""

    def __init__(self, character_count: int, embedding_dim: int, output_dim: int, *, dropout: float) -> None:
        super().__init__()
        self.embedding = _character_embedding(character_count, embedding_dim)
        self.layer = RecurrentLayer(embedding_dim, output_dim // 2)
        self.dropout = dropout
        self.output_dim = self.layer.output_size

    def forward(self, characters: Tensor, lengths: Tensor) -> Tensor:
        """Returns the features (U, D) of words, given character ids (U, C) and lengths (U,), at least 1."""
        embedded = drop(self.embedding(characters), self.dropout if self.training else 0.0)
        states = self.layer(embedded, lengths)  # (U, C, D)
        forward = states[torch.arange(len(lengths), device=lengths.device), lengths - 1, : self.output_dim // 2]
        return torch.cat([forward, states[:, 0, self.output_dim // 2 :]], 1)


def _character_embedding(count: int, dim: int) -> nn.Embedding:
    return nn.Embedding(count, dim, _weight=draw_uniform(count, dim))


class DocumentContext(nn.Module):
    """A vector for each word of a document, from the word's neighbours and casing at all its occurrences there.

    Args:
        word_dim: D, size of the word vectors.
        casing_dim: F, number of casing features.
        output_dim: size of the result.
        dropout: dropout probability for the mean vectors of the neighbours.
    """

    def __init__(self, word_dim: int, casing_dim: int, output_dim: int, *, dropout: float) -> None:
        super().__init__()
        self.projection = nn.Linear(2 * word_dim + casing_dim, output_dim)
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        self.dropout, self.output_dim = dropout, output_dim

    def forward(self, vectors: Tensor, context: ContextInputs) -> Tensor:
        """Returns the vectors (R, output_dim) of R pairs of a document and a word.

        Args:
            vectors: (V, D) of the neighbours in `context.words`, without a gradient.
            context: the pairs.
        """
        means = neighbours.average_vectors(vectors, context.neighbours, context.counts)
        means = drop(means, self.dropout if self.training else 0.0)
        return torch.tanh(self.projection(torch.cat([means, context.casing], 1)))


class TokenEmbedding(nn.Module):
    """The concatenated features of each token; the features of a batch's distinct words are computed once.

    Args:
        words: word vectors, if any.
        characters: character features, if any.
        casing: vectors of casings, if any.
        document_context: features from the other occurrences of a word in its document, if any; they need word vectors.
        transformer: contextual features, if any; the last columns of the embeddings.
        word_dropout: fraction of tokens whose word vector is replaced by that of the unknown word in training.
    """

    def __init__(
        self,
        words: WordEmbedding | None,
        characters: CharacterCNN | CharacterLSTM | None,
        casing: nn.Embedding | None,
        document_context: DocumentContext | None = None,
        transformer: TransformerFeatures | None = None,
        *,
        word_dropout: float,
    ) -> None:
        super().__init__()
        if document_context is not None and words is None:
            raise ValueError("document context needs word vectors")
        self.words, self.characters, self.casing, self.document_context = words, characters, casing, document_context
        self.transformer = transformer
        self.word_dropout = word_dropout
        self.output_dim = words.output_dim if words else 0
        self.output_dim += characters.output_dim if characters else 0
        self.output_dim += casing.embedding_dim if casing else 0
        self.output_dim += document_context.output_dim if document_context else 0
        self.output_dim += transformer.output_dim if transformer else 0

    def forward(self, inputs: Inputs) -> Tensor:
        """Returns the embeddings (B, T, D)."""
        tables: list[Tensor] = []
        indices: list[Tensor] = []
        if self.words is not None:
            vectors, index = self._look_up_words(self.words, inputs)
            tables.append(vectors)
            indices.append(index)
        if self.characters is not None:
            tables.append(self.characters(inputs.characters, inputs.character_lengths))
            indices.append(inputs.index)
        if self.casing is not None:
            tables.append(self.casing(inputs.casing))
            indices.append(inputs.index)
        if self.document_context is not None:
            context = inputs.document_context
            if context is None or self.words is None:
                raise ValueError("the network reads document context, but the inputs have none")
            with torch.no_grad():  # this feature does not train the word vectors
                neighbour_vectors = self.words(context.words)
            tables.append(self.document_context(neighbour_vectors, context))
            indices.append(context.pairs)
        if self.transformer is not None:
            if inputs.transformer is None:
                raise ValueError("the network reads transformer features, but the inputs have none")
            tables.append(self.transformer(inputs.transformer))
            indices.append(inputs.transformer.rows)
        return lookup.concatenate(tables, indices)

    def _look_up_words(self, words: WordEmbedding, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Returns the vectors (V, D) of the distinct words, and the index (B, T) of each token in them."""
        vectors, index = words(inputs.words), inputs.index
        if self.training and self.word_dropout:
            vectors = torch.cat([vectors, words.unknown()])
            dropped = torch.rand(index.shape, device=index.device) < self.word_dropout
            index = index.masked_fill(dropped, len(inputs.words))
        return vectors, index
