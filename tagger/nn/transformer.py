"""Contextual features of tokens: a transformer's hidden states, pooled over subwords and mixed over layers.

Shapes in this module: W windows of subwords, S subwords in the longest one, N tokens, L layers, H size of a
transformer's hidden states, D size of a token's hidden states after pooling, P size of the features.
"""

from collections.abc import Sequence
from copy import deepcopy
from inspect import signature
from typing import TypeVar

import torch
from torch import Tensor, nn

from tagger.choices import LayerMix, Pooling
from tagger.nn.dropout import drop
from tagger.nn.inputs import SubwordInputs, TransformerInputs
from tagger.nn.kernels.layer_mix import mix_normalized
from tagger.nn.packing import PackedWindows, WindowAttention, window_positions

_Module = TypeVar("_Module", bound=nn.Module)


def pooled_dim(hidden_size: int, pooling: Pooling) -> int:
    """Returns D for a transformer of hidden size H."""
    return 2 * hidden_size if pooling == "first_last" else hidden_size


def copy_with_same_weights(module: _Module) -> _Module:
    """Returns a module with the same parameters and buffers, whose mode and children can be changed by themselves."""
    tensors = [*module.parameters(), *module.buffers()]
    return deepcopy(module, {id(tensor): tensor for tensor in tensors})


class HiddenStateReader(nn.Module):
    """Reads the hidden states of tokens from chosen layers of a transformer.

    Args:
        encoder: a transformer of Hugging Face's library, whose output has `hidden_states`.
        layers: the layers to read, from 0 for the embedding layer.
        pooling: how the hidden states of a token's subwords become one vector.
        context_dropout: probability with which a window is read without its context in training.
        special_counts: number of special tokens before and after a window, which are read even without context.
    """

    def __init__(
        self,
        encoder: nn.Module,
        layers: Sequence[int],
        pooling: Pooling,
        *,
        context_dropout: float = 0.0,
        special_counts: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__()
        self.encoder, self.layers, self.pooling = encoder, tuple(layers), pooling
        self.context_dropout, self.special_counts = context_dropout, special_counts

    def forward(self, subwords: SubwordInputs) -> Tensor:
        """Returns the hidden states (N, L, D) of the tokens."""
        mask = self._attention_mask(subwords)
        output = self.encoder(input_ids=subwords.ids, attention_mask=mask, output_hidden_states=True)
        starts = subwords.windows * subwords.ids.shape[1]
        return self._pool(output.hidden_states, starts + subwords.first, starts + subwords.last)

    def read_packed(self, windows: PackedWindows, first_position: int) -> Tensor:
        """Returns the hidden states (N, L, D) of the tokens of packed windows, on a CPU and in evaluation mode.

        Args:
            windows: the windows.
            first_position: the transformer's position id of the first subword of a window.

        Raises:
            ValueError: the transformer's attention is not one unmasked call of torch's function in each layer.
        """
        ids, positions = windows.ids[None], window_positions(windows.lengths)[None] + first_position
        options = {}
        if "token_type_ids" in signature(self.encoder.forward).parameters:
            options["token_type_ids"] = torch.zeros_like(ids)  # the library before version 5 has defaults for a window
        with WindowAttention(windows.lengths) as attention:
            output = self.encoder(input_ids=ids, position_ids=positions, output_hidden_states=True, **options)
        if attention.calls != len(output.hidden_states) - 1:
            raise ValueError("packed windows need a transformer with torch's attention in each layer")
        return self._pool(output.hidden_states, windows.first, windows.last)

    def _pool(self, hidden_states: Sequence[Tensor], first: Tensor, last: Tensor) -> Tensor:
        """Returns the hidden states (N, L, D) of tokens, given the rows (N,) of their first and last subwords."""
        pool = _Pool(first, last, self.pooling)
        return torch.stack([pool(hidden_states[layer]) for layer in self.layers], 1)

    def _attention_mask(self, subwords: SubwordInputs) -> Tensor | None:
        """Returns whether each subword (W, S) is read, as 0 or 1; None if all are."""
        positions = torch.arange(subwords.ids.shape[1], device=subwords.ids.device)
        mask = positions < subwords.lengths[:, None]
        if self.training and self.context_dropout:
            is_dropped = torch.rand(len(mask), 1, device=mask.device) < self.context_dropout
            before, after = self.special_counts
            is_special = (positions < before) | (positions >= subwords.lengths[:, None] - after)
            is_core = (positions >= subwords.cores[:, :1]) & (positions < subwords.cores[:, 1:])
            mask &= ~is_dropped | is_special | is_core
        elif mask.device.type == "cpu" and bool(mask.all()):
            return None  # without a mask, attention takes a faster path
        return mask.long()


class _Pool:
    """Pools the hidden states of subwords to those of tokens."""

    def __init__(self, first: Tensor, last: Tensor, pooling: Pooling) -> None:
        self._first, self._last, self._pooling = first, last, pooling
        if pooling == "mean":
            self._counts = self._last - self._first + 1
            self._tokens = torch.repeat_interleave(self._counts)
            offsets = self._first - (self._counts.cumsum(0) - self._counts)
            self._index = torch.arange(len(self._tokens), device=first.device) + offsets[self._tokens]

    def __call__(self, hidden_states: Tensor) -> Tensor:
        """Returns (N, D) for hidden states (W, S, H)."""
        rows = hidden_states.flatten(0, 1)
        if self._pooling == "first":
            return rows[self._first]
        if self._pooling == "last":
            return rows[self._last]
        if self._pooling == "first_last":
            return torch.cat([rows[self._first], rows[self._last]], 1)
        sums = rows.new_zeros(len(self._first), rows.shape[1]).index_add(0, self._tokens, rows[self._index])
        return sums / self._counts[:, None]


class TransformerFeatures(nn.Module):
    """Mixes the layers of a transformer for each token, with an optional projection.

    Args:
        layer_count: L.
        pooled_dim: D.
        mix: scalar, a learned weighted sum of the normalized layers (Peters et al., 2018); mean; or concat.
        output_dim: size of a linear projection of the mixed layers; 0 for none.
        dropout: dropout probability of the mixed layers.
        reader: computes the hidden states, so that the transformer is trained too; None if the inputs hold them.

    Attributes:
        member_index: the index of the network in an ensemble, whose inputs have the features of all networks side by
            side.
    """

    member_index = 0

    def __init__(
        self,
        layer_count: int,
        pooled_dim: int,
        *,
        mix: LayerMix,
        output_dim: int,
        dropout: float,
        reader: HiddenStateReader | None = None,
    ) -> None:
        super().__init__()
        self.mix, self.dropout, self.reader = mix, dropout, reader
        self.weights, self.scale = None, None
        if mix == "scalar":
            self.weights, self.scale = nn.Parameter(torch.zeros(layer_count)), nn.Parameter(torch.ones(()))
        mixed_dim = pooled_dim * (layer_count if mix == "concat" else 1)
        self.projection = nn.Linear(mixed_dim, output_dim) if output_dim else None
        if self.projection is not None:
            nn.init.xavier_uniform_(self.projection.weight)
            nn.init.zeros_(self.projection.bias)
        self.output_dim = output_dim or mixed_dim

    def forward(self, inputs: TransformerInputs) -> Tensor:
        """Returns the features (N, P) of the tokens."""
        if inputs.features is not None:
            return inputs.features[:, self.member_index * self.output_dim :][:, : self.output_dim]
        if inputs.hidden_states is not None:
            return self.combine(inputs.hidden_states)
        if self.reader is None or inputs.subwords is None:
            raise ValueError("the network reads a transformer's hidden states, but the inputs have none")
        return self.combine(self.reader(inputs.subwords))

    def combine(self, hidden_states: Tensor) -> Tensor:
        """Returns the features (N, P) of hidden states (N, L, D) of any floating-point type."""
        hidden_states = hidden_states.float()
        if self.weights is not None and self.scale is not None:
            mixed = mix_normalized(hidden_states, self.scale * self.weights.softmax(0))
        else:
            mixed = hidden_states.flatten(1) if self.mix == "concat" else hidden_states.mean(1)
        mixed = drop(mixed, self.dropout if self.training else 0.0)
        return mixed if self.projection is None else self.projection(mixed)
