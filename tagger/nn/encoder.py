"""The recurrent encoder: an LSTM, GRU or RNN over a sentence's tokens, in one direction or two.

Shapes in this module: B sentences, T tokens in the longest one, D input width, H hidden size per direction.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tagger.choices import Cell, Direction, Merge
from tagger.nn.kernels import lstm

_OPEN_BIAS = 1e4  # a gate with this bias is exactly 1 and its gradient exactly 0, in float16 too


class LSTM1997(nn.LSTM):
    """The LSTM without a forget gate (Hochreiter and Schmidhuber, 1997), as an LSTM whose forget gate is always 1.

    The gate's weights are 0 and its bias is so large that all their gradients are 0. Any LSTM kernel can compute this
    cell, and a quarter of its weights is unused. Weight decay must not apply to `bias_ih_l0`.
    """

    def reset_parameters(self) -> None:
        """Draws weights as torch does, then opens the forget gate."""
        super().reset_parameters()
        self.open_forget_gate()

    def open_forget_gate(self) -> None:
        """Sets the forget gate's weights to 0 and its bias to a large number."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                # torch orders the gates input, forget, cell, output.
                parameter[self.hidden_size : 2 * self.hidden_size] = _OPEN_BIAS if name.startswith("bias_ih") else 0.0


_CELLS: dict[Cell, type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]] = {
    "lstm": nn.LSTM,
    "lstm1997": LSTM1997,
    "gru": nn.GRU,
    "rnn": nn.RNN,
}


class RecurrentLayer(nn.Module):
    """One recurrent layer whose directions, if two, are merged by concat, sum or mean.

    Each direction is a separate torch module over the padded batch. The backward one reads sentences that are reversed
    within their lengths. On a CPU `kernels.lstm` computes the states of an LSTM.

    Args:
        input_size: D.
        hidden_size: H, in each direction.
        cell: lstm, lstm1997, gru or rnn.
        direction: both, forward or backward.
        merge: how the states of two directions are combined: concat, sum or mean.
        forget_bias: the bias of an LSTM's forget gate at the start of training.

    Attributes:
        threads: maximum number of threads on a CPU.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        cell: Cell = "lstm",
        direction: Direction = "both",
        merge: Merge = "concat",
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        self.forward_cell = None if direction == "backward" else _CELLS[cell](input_size, hidden_size, batch_first=True)
        self.backward_cell = None if direction == "forward" else _CELLS[cell](input_size, hidden_size, batch_first=True)
        self.merge = merge
        self.threads = 1
        self.output_size = 2 * hidden_size if direction == "both" and merge == "concat" else hidden_size
        for module in (self.forward_cell, self.backward_cell):
            if module is not None:
                _initialise(module, forget_bias)

    @property
    def cells(self) -> list[nn.LSTM | nn.GRU | nn.RNN]:
        """The module of each direction, the forward one first."""
        return [cell for cell in (self.forward_cell, self.backward_cell) if cell is not None]

    @property
    def is_reversed(self) -> list[bool]:
        """Whether each of `cells` reads right to left."""
        return [cell is self.backward_cell for cell in self.cells]

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Returns the states (B, T, output_size) of inputs (B, T, D); padding may hold anything in both."""
        cells = self.cells
        # Not for an LSTM1997: the kernel's sigmoid can differ from 1 by 1e-7, and its forget gate would train.
        if inputs.device.type == "cpu" and inputs.dtype == torch.float32 and type(cells[0]) is nn.LSTM:
            states = lstm.compute_states(cells, inputs, lengths, is_reversed=self.is_reversed, threads=self.threads)
        else:
            states = _states(cells, inputs, lengths, self.is_reversed)
        if len(cells) == 1 or self.merge == "concat":
            return states
        forward, backward = states.chunk(2, 2)
        return forward + backward if self.merge == "sum" else (forward + backward) / 2


def _states(cells: Sequence[nn.RNNBase], inputs: Tensor, lengths: Tensor, is_reversed: Sequence[bool]) -> Tensor:
    """Returns the states of one direction, or of two side by side, (B, T, H or 2H)."""
    index = reversal_index(lengths, inputs.shape[1])
    states = [
        reorder_tokens(cell(reorder_tokens(inputs, index))[0], index) if is_backward else cell(inputs)[0]
        for cell, is_backward in zip(cells, is_reversed, strict=True)
    ]
    return states[0] if len(states) == 1 else torch.cat(states, 2)


def reversal_index(lengths: Tensor, longest: int) -> Tensor:
    """Returns the index (B, T) that reverses each sentence within its length and leaves padding in place.

    >>> reversal_index(torch.tensor([2, 3]), 3).tolist()
    [[1, 0, 2], [2, 1, 0]]
    """
    positions = torch.arange(longest, device=lengths.device)
    return torch.where(positions < lengths[:, None], lengths[:, None] - 1 - positions, positions)


def reorder_tokens(inputs: Tensor, index: Tensor) -> Tensor:
    """Returns inputs (B, T, D) with the tokens of each sentence in the order of `index` (B, T)."""
    return inputs.gather(1, index[:, :, None].expand(-1, -1, inputs.shape[2]))


def _initialise(module: nn.RNNBase, forget_bias: float) -> None:
    """Draws orthogonal recurrent and Glorot-uniform input weights per gate; biases are 0 except the forget gate's."""
    for name, parameter in module.named_parameters():
        if name.startswith("weight_hh"):
            for gate in parameter.data.chunk(len(parameter) // module.hidden_size):
                nn.init.orthogonal_(gate)
        elif name.startswith("weight_ih"):
            for gate in parameter.data.chunk(len(parameter) // module.hidden_size):
                nn.init.xavier_uniform_(gate)
        else:
            nn.init.zeros_(parameter)
            if isinstance(module, nn.LSTM) and name.startswith("bias_ih"):
                parameter.data[module.hidden_size : 2 * module.hidden_size] = forget_bias
    if isinstance(module, LSTM1997):
        module.open_forget_gate()


class SelfAttention(nn.Module):
    """Multi-head self-attention over a sentence, added to its input and normalised (Vaswani et al., 2017)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm = nn.LayerNorm(dim)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Returns the outputs (B, T, D) for inputs (B, T, D); no token attends to padding."""
        padding = torch.arange(inputs.shape[1], device=lengths.device) >= lengths[:, None]
        attended = self.attention(inputs, inputs, inputs, key_padding_mask=padding, need_weights=False)[0]
        normed: Tensor = self.norm(inputs + attended)
        return normed


class Encoder(nn.Module):
    """A stack of recurrent layers with dropout between them, and optional self-attention over the last one.

    Args:
        input_size: D.
        hidden_size: H, in each direction.
        cell: lstm, lstm1997, gru or rnn.
        num_layers: number of layers; each reads the merged states of the layer below. With 0, states are the inputs.
        direction: both, forward or backward.
        merge: how the states of two directions are combined: concat, sum or mean.
        forget_bias: the bias of an LSTM's forget gate at the start of training.
        attention_heads: heads of self-attention, a divisor of the output size; 0 for no self-attention.
        dropout: a module applied between layers; None for no dropout.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        cell: Cell = "lstm",
        num_layers: int = 1,
        direction: Direction = "both",
        merge: Merge = "concat",
        forget_bias: float = 1.0,
        attention_heads: int = 0,
        dropout: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for _ in range(num_layers):
            layer = RecurrentLayer(
                input_size,
                hidden_size,
                cell=cell,
                direction=direction,
                merge=merge,
                forget_bias=forget_bias,
            )
            self.layers.append(layer)
            input_size = layer.output_size
        self.output_size = input_size
        self.dropout = dropout or nn.Identity()
        self.attention = SelfAttention(input_size, attention_heads) if attention_heads else None

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Returns the states (B, T, output_size) of inputs (B, T, D); padding may hold anything in both."""
        states = inputs
        for number, layer in enumerate(self.layers):
            states = layer(self.dropout(states) if number else states, lengths)
        return states if self.attention is None else self.attention(states, lengths)
