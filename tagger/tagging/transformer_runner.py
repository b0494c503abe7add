"""The features of a transformer for pools of sentences.

Shapes in this module: N tokens, P size of the features, of an ensemble those of all networks.
"""

import threading
from collections.abc import Sequence
from contextlib import closing
from copy import copy

import numpy as np
import torch
from torch import Tensor

from tagger.data.word_arrays import token_indices
from tagger.device import torch_threads
from tagger.model import TaggerModel
from tagger.nn.transformer import copy_with_same_weights
from tagger.tagging import forking
from tagger.transformer.hidden_state_cache import HiddenStateCache
from tagger.transformer.providers import HiddenStateProvider
from tagger.transformer.windows import Windows


class TransformerRunner:
    """Computes the transformer features of pools of sentences.

    Args:
        model: a model with a transformer.
        device: the device to compute on.
        cache: the cache of a frozen transformer's hidden states; None to compute them for each pool.
        threads: torch threads on a CPU.
    """

    def __init__(
        self, model: TaggerModel, device: torch.device, cache: HiddenStateCache | None, *, threads: int
    ) -> None:
        pretrained = model.transformer
        members = [network.embedding.transformer for network in model.network.members]
        if pretrained is None or None in members:
            raise ValueError("the model has no transformer")
        # Copies, because a training may change the mode of the network at any time.
        self._features = [copy_with_same_weights(features).eval() for features in members if features is not None]
        reader = self._features[0].reader or model.hidden_state_reader
        assert reader is not None
        self._transformer = model.sentence_computer(pretrained, reader, device)
        self._device, self._threads = device, threads
        self._cache = None if model.config.model.transformer.trainable else cache
        self.version = 0
        self.lock = threading.Lock()
        forking.register(self)

    def without_cache(self) -> "TransformerRunner":
        """Returns a runner that computes the hidden states of each pool."""
        runner = copy(self)
        runner._cache = None
        return runner

    def before_fork(self) -> None:
        """Waits until no features are being computed."""
        self.lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        """Allows computing again, in a child with one thread: torch's other threads hang there."""
        if in_child:
            self._threads = 1
        self.lock.release()

    def update_weights(self) -> None:
        """Discards the features of all pools, which depend on the network's weights."""
        self.version += 1

    def prepare(self, sentences: Sequence[Sequence[str]], passages: Sequence[int]) -> "PoolFeatures":
        """Returns the features of a pool, which are computed when they are first read."""
        lengths = list(map(len, sentences))
        if self._cache is None:
            return PoolFeatures(self, lengths, windows=self._transformer.lay_out(sentences, passages))
        provider = HiddenStateProvider(sentences, passages, self._transformer, self._cache)
        with torch_threads(self._threads):
            provider.fill()
        return PoolFeatures(self, lengths, provider=provider)

    @torch.inference_mode()
    def combine(self, hidden_states: Tensor) -> Tensor:
        """Returns the features (N, P) of hidden states, on the CPU."""
        hidden_states = hidden_states.to(self._device)
        combined = [features.combine(hidden_states) for features in self._features]
        return torch.cat(combined, 1).cpu()

    def compute(self, windows: Windows) -> Tensor:
        """Returns the features (N, P) of all tokens of windows, on the CPU."""
        out = torch.empty(len(windows.windows), sum(features.output_dim for features in self._features))
        with torch_threads(self._threads), closing(self._transformer.computer.iterate(windows)) as batches:
            for tokens, hidden_states in batches:
                out[torch.from_numpy(tokens)] = self.combine(hidden_states)
        return out


class PoolFeatures:
    """The transformer features of a pool's sentences."""

    def __init__(
        self,
        runner: TransformerRunner,
        lengths: Sequence[int],
        *,
        windows: Windows | None = None,
        provider: HiddenStateProvider | None = None,
    ) -> None:
        self._runner, self._windows, self._provider = runner, windows, provider
        self._lengths = np.array(lengths, np.int64)
        self._starts = self._lengths.cumsum() - self._lengths
        self._features: tuple[int, Tensor] | None = None

    def read(self, positions: Sequence[int]) -> Tensor:
        """Returns the features (N, P) of the sentences at these positions, computed with the current weights."""
        if self._provider is not None:
            return self._runner.combine(self._provider.read(positions))
        with self._runner.lock:
            if self._features is None or self._features[0] != self._runner.version:
                assert self._windows is not None
                self._features = self._runner.version, self._runner.compute(self._windows)
        tokens = token_indices(self._starts, self._lengths, positions)
        return self._features[1][torch.from_numpy(tokens)]
