"""Computes the hidden states of tokens by a frozen transformer.

Shapes in this module: N tokens, L layers, D size of a token's hidden states, W windows, S subwords in the longest one.
"""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tagger.data.batch_order import batch_limit, split_into_batches
from tagger.data.batching import SubwordTensors
from tagger.data.word_cache import Ids
from tagger.device import is_out_of_memory, single_torch_thread
from tagger.errors import DataError
from tagger.nn.transformer import HiddenStateReader, copy_with_same_weights, pooled_dim
from tagger.transformer.architecture import FAMILIES
from tagger.transformer.windows import Windows

HiddenStates = NDArray[np.floating[Any]]
"""(N, L, D) hidden states of tokens, in float32 or float16."""
MAX_BATCH_SUBWORDS = 4096
_CPU_SUBWORDS = 1024  # about so many in a batch on a CPU; more would leave a processor's cache between two layers
_MIN_ROWS = 16  # per thread; matrix products of fewer rows differ in the last bit from those of many rows


class HiddenStateComputer:
    """Computes the hidden states of tokens by a frozen transformer, in batches of windows.

    On a CPU nothing is padded, and hidden states do not depend on the other windows of a batch: a batch holds packed
    windows, or windows of one length if the transformer's family cannot read packed ones. On a GPU hidden states depend
    on the other windows within the rounding of float32.

    Args:
        reader: reads the hidden states; moved to the device and never trained.
        padding_id: the tokenizer's padding id.
        device: where hidden states are computed.
        max_batch_subwords: largest number of subwords in a batch, padding included.
        averages_layers: whether the hidden states are the mean of the layers, so that L is 1.
    """

    def __init__(
        self,
        reader: HiddenStateReader,
        padding_id: int,
        device: torch.device,
        *,
        max_batch_subwords: int = MAX_BATCH_SUBWORDS,
        averages_layers: bool = False,
    ) -> None:
        encoder: Any = reader.encoder
        self.layers, self.pooling, self.averages_layers = reader.layers, reader.pooling, averages_layers
        self.layer_count = 1 if averages_layers else len(reader.layers)
        self.pooled_dim = pooled_dim(int(encoder.config.hidden_size), reader.pooling)
        # One for each thread: the transformers library may change modules during a forward pass.
        self._readers = [HiddenStateReader(reader.encoder.to(device).eval(), reader.layers, reader.pooling).eval()]
        self._padding_id, self._device = padding_id, device
        self._max_batch_subwords = max_batch_subwords
        self._first_position = _first_position(encoder) if device.type == "cpu" else None

    def iterate(
        self, windows: Windows, *, dtype: torch.dtype = torch.float32
    ) -> Generator[tuple[Ids, Tensor], None, None]:
        """Yields the indices of tokens, and their hidden states (N, L, D) on the CPU, for each batch of windows.

        On a CPU, as many batches as torch has threads are computed at the same time, each by one thread. Until the
        generator is closed, torch has one thread.

        Args:
            windows: the windows.
            dtype: torch.float32, or torch.float16 with values clamped to its range.

        Raises:
            DataError: the memory is too small for one window.
        """
        order = np.argsort(windows.windows, kind="stable")
        bounds = np.searchsorted(windows.windows[order], np.arange(len(windows.ids) + 1)).tolist()
        batches = [
            np.concatenate([order[bounds[window] : bounds[window + 1]] for window in batch])
            for batch in self._split([len(ids) for ids in windows.ids])
        ]

        threads = min(torch.get_num_threads(), len(batches)) if self._device.type == "cpu" else 1
        self._readers += [copy_with_same_weights(self._readers[0]) for _ in range(threads - len(self._readers))]
        spare_readers = self._readers[: max(threads, 1)]

        def compute(tokens: Ids) -> Tensor:
            reader = spare_readers.pop()
            try:
                return self._compute_batch(windows.select(tokens), dtype, reader)
            finally:
                spare_readers.append(reader)

        if threads < 2:
            yield from ((tokens, compute(tokens)) for tokens in batches)
            return
        with single_torch_thread(), ThreadPoolExecutor(threads, "hidden states") as pool:
            started = deque(pool.submit(compute, tokens) for tokens in batches[: 2 * threads])
            try:
                for number, tokens in enumerate(batches, 2 * threads):
                    hidden_states = started.popleft().result()
                    started.extend(pool.submit(compute, ahead) for ahead in batches[number : number + 1])
                    yield tokens, hidden_states
            finally:
                for future in started:
                    future.cancel()

    def _split(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Yields the windows of each batch, the longest first."""
        order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
        if self._first_position is not None:
            yield from self._split_evenly(order, lengths)
            return
        if self._device.type != "cpu":
            yield from split_into_batches(order, lengths, batch_limit(max_tokens=self._max_batch_subwords))
            return
        limit = batch_limit(max_tokens=min(self._max_batch_subwords, _CPU_SUBWORDS))
        for _, group in groupby(order, lengths.__getitem__):
            yield from split_into_batches(list(group), lengths, limit)

    def _split_evenly(self, order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
        """Yields the windows of each batch of packed windows, so that all threads get about equally many subwords."""
        total, threads = sum(lengths), torch.get_num_threads()
        size = max(1, min(_CPU_SUBWORDS, self._max_batch_subwords - max(lengths, default=0)))
        count = threads * -(-total // (threads * size))
        ends = np.cumsum([lengths[window] for window in order])
        numbers = (ends - 1) * count // max(1, total)
        for _, group in groupby(zip(numbers.tolist(), order, strict=True), itemgetter(0)):
            yield [window for _, window in group]

    def _compute_batch(self, windows: Windows, dtype: torch.dtype, reader: HiddenStateReader) -> Tensor:
        """Returns the hidden states of the tokens of a batch; splits the batch in halves when memory is exhausted."""
        try:
            return self._run(windows, dtype, reader)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(windows.ids) == 1:
                raise DataError("there is no memory for one window of the transformer; free some memory") from error
        # Outside of the handler, because the exception keeps the batch's tensors alive.
        torch.cuda.empty_cache()  # does nothing where no GPU is used
        is_second = windows.windows >= len(windows.ids) // 2
        hidden_states = torch.empty(len(is_second), self.layer_count, self.pooled_dim, dtype=dtype)
        for part in (~is_second, is_second):
            hidden_states[torch.from_numpy(part)] = self._compute_batch(
                windows.select(np.flatnonzero(part)), dtype, reader
            )
        return hidden_states

    def _run(self, windows: Windows, dtype: torch.dtype, reader: HiddenStateReader) -> Tensor:
        with torch.inference_mode():
            hidden_states = self._read(windows, reader)
            if self.averages_layers:
                hidden_states = hidden_states.mean(1, keepdim=True)
            if dtype == torch.float16:
                limit = torch.finfo(dtype).max
                hidden_states = hidden_states.clamp(-limit, limit)
            return hidden_states.to("cpu", dtype)

    def _read(self, windows: Windows, reader: HiddenStateReader) -> Tensor:
        """Returns the hidden states (N, L, D) of the tokens of windows, on the device."""
        min_rows = _MIN_ROWS * torch.get_num_threads()
        if self._first_position is not None:
            return reader.read_packed(windows.pack(min_rows), self._first_position)
        subwords = windows.to_tensors(self._padding_id)
        if self._device.type == "cpu":
            subwords = _repeat_windows(subwords, min_rows)
        hidden_states: Tensor = reader(SubwordTensors(*(tensor.to(self._device) for tensor in subwords)))
        return hidden_states


def _repeat_windows(subwords: SubwordTensors, min_rows: int) -> SubwordTensors:
    """Returns subwords with windows repeated until they have enough rows; the tokens are those of the first copies."""
    times = -(-min_rows // subwords.ids.numel())
    if times == 1:
        return subwords
    return subwords._replace(
        ids=subwords.ids.repeat(times, 1), lengths=subwords.lengths.repeat(times), cores=subwords.cores.repeat(times, 1)
    )


def _first_position(encoder: Any) -> int | None:
    """Returns the position id of the first subword of a window; None if an encoder cannot read packed windows."""
    family = FAMILIES.get(encoder.config.model_type)
    if family is None or not family.has_plain_attention or encoder.config._attn_implementation != "sdpa":
        return None
    if "position_ids" not in signature(encoder.forward).parameters:  # DistilBERT in versions of the library before 5
        return None
    return int(encoder.embeddings.padding_idx) + 1 if family.are_positions_shifted else 0
