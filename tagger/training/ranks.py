"""The processes (ranks) that train a model together, and how a batch is divided among them."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

import torch
from torch import Tensor

from tagger.data.batch_order import Lengths
from tagger.nn.model import Network
from tagger.signals import StopRequest


class Ranks:
    """A process that trains alone; `distributed.ConnectedRanks` has the same methods for several processes.

    Every rank calls the same methods in the same order.

    Args:
        device: the device of this process.

    Attributes:
        rank: the number of this process, from 0; the first one writes all files.
        count: the number of processes.
    """

    rank, count = 0, 1

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stop: StopRequest | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes the files."""
        return self.rank == 0

    def watch(self, stop: StopRequest) -> None:
        """Makes the signals that `stop` records stop all ranks."""
        self._stop = stop

    @property
    def received_signal(self) -> int:
        """The number of the signal that this process has received, 0 for none."""
        return self._stop.signum if self._stop else 0

    @property
    def stop_signal(self) -> int:
        """The number of the signal that stops all ranks after the current step, 0 for none."""
        return self.received_signal

    def agree_on_stop(self) -> int:
        """Returns the number of the signal that stops all ranks now, 0 for none."""
        return self.received_signal

    def assign(self, positions: Sequence[int], lengths: Lengths) -> list[int]:
        """Returns the positions of a batch's sentences that this rank computes, perhaps none."""
        return divide(positions, lengths, self.count)[self.rank]

    def seed_step(self, seed: int, step: int) -> AbstractContextManager[None]:
        """Runs the block with random numbers that differ between ranks; a process alone continues its generator."""
        return nullcontext()

    def sum_gradients(self, network: Network, loss: Tensor, words: Tensor) -> Tensor:
        """Sums the gradients of all ranks in place and returns the sum of their losses.

        Args:
            network: the network.
            loss: the loss of this rank, a scalar.
            words: word ids on the CPU, the same on all ranks: those that may have a gradient on any rank.
        """
        return loss

    def broadcast(self, content: bytes) -> bytes:
        """Returns the content of the first rank; that of other ranks is ignored."""
        return content

    def gather(self, content: bytes) -> list[bytes]:
        """Returns the contents of all ranks, by rank."""
        return [content]

    def barrier(self) -> None:
        """Waits until all ranks have called it."""

    def check_equal(self, values: Mapping[str, str]) -> None:
        """Compares values by name between ranks.

        Raises:
            ConfigError: a value differs from that of the first rank.
        """


def divide(positions: Sequence[int], lengths: Lengths, count: int) -> list[list[int]]:
    """Divides positions of sentences into groups with similar numbers of tokens; each group keeps their order.

    >>> divide([4, 2, 1], [2, 5, 9, 2, 3], 2)
    [[2], [4, 1]]
    """
    if count == 1:
        return [list(positions)]
    tokens, group_of = [0] * count, {}
    for index in sorted(range(len(positions)), key=lambda index: -lengths[positions[index]]):
        group_of[index] = group = tokens.index(min(tokens))
        tokens[group] += lengths[positions[index]]
    return [[positions[index] for index in range(len(positions)) if group_of[index] == group] for group in range(count)]


def divide_blocks(blocks: Sequence[int], lengths: Sequence[int], count: int) -> list[range]:
    """Divides sentences into consecutive ranges with similar numbers of tokens; no range splits a block.

    Args:
        blocks: the number of each sentence's block, rising.
        lengths: the number of tokens of each sentence.
        count: the number of ranges; some may be empty.

    >>> divide_blocks([0, 0, 1, 2], [5, 5, 4, 6], 2)
    [range(0, 2), range(2, 4)]
    """
    total, tokens, bounds = sum(lengths), 0, [0]
    for position, length in enumerate(lengths):
        starts_block = position > 0 and blocks[position] != blocks[position - 1]
        while starts_block and len(bounds) < count and tokens * count >= total * len(bounds):
            bounds.append(position)
        tokens += length
    bounds += [len(lengths)] * (count + 1 - len(bounds))
    return [range(start, stop) for start, stop in pairwise(bounds)]
