"""Tagging batches that may not fit into memory."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from tagger.device import is_out_of_memory
from tagger.errors import DataError
from tagger.tagging import forking
from tagger.tagging.decoding import Prediction


class MemoryGate:
    """A shared-exclusive lock: batches run in parallel, except one that needs all memory for itself."""

    def __init__(self) -> None:
        self._reset()
        forking.register(self)

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._shared, self._is_exclusive = 0, False

    def before_fork(self) -> None:
        """Does nothing: the child starts with a new lock."""

    def after_fork(self, *, in_child: bool) -> None:
        """Replaces the lock in the child, where the threads that held it do not exist."""
        if in_child:
            self._reset()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Runs the block while no exclusive block runs."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_exclusive)
            self._shared += 1
        try:
            yield
        finally:
            with self._changed:
                self._shared -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Runs the block while no other block runs."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_exclusive and not self._shared)
            self._is_exclusive = True
        try:
            yield
        finally:
            with self._changed:
                self._is_exclusive = False
                self._changed.notify_all()


def tag_batch(
    predict: Callable[[Sequence[int]], list[Prediction]], gate: MemoryGate, positions: Sequence[int]
) -> list[Prediction]:
    """Returns the predictions of `predict` for the sentences of a batch, given their positions in the pool.

    When memory is exhausted, the batch is split in halves; a single sentence waits until no other batch runs.

    Raises:
        DataError: the memory is too small for one sentence.
    """
    try:
        with gate.shared():
            return predict(positions)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    # Outside of the handler, because the exception keeps the batch's tensors alive.
    if len(positions) > 1:
        half = len(positions) // 2
        parts = positions[:half], positions[half:]
        return [prediction for part in parts for prediction in tag_batch(predict, gate, part)]
    with gate.exclusive():
        torch.cuda.empty_cache()  # does nothing where no GPU is used
        try:
            return predict(positions)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise DataError("there is no memory for one sentence; lower `max_tokens`") from error
