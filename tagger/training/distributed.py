"""Training by several processes that torchrun has launched: the only user of torch.distributed.

The ranks exchange bytes and, on CPUs, gradients with the backend gloo; nccl sums the gradients of GPUs. A rank that
fails leaves its fault in the store of torchrun. Its connections close, and the others find the fault there. No pickles
are exchanged.
"""

import itertools
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from functools import cache
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from tagger.device import seed_generators, select_device
from tagger.errors import ConfigError, Stopped, TaggerError, TrainingError
from tagger.io import json_files
from tagger.nn.model import Network
from tagger.training.gradient_buffer import GradientBuffer
from tagger.training.launch import Launch, read_launch
from tagger.training.ranks import Ranks

STEP_TIMEOUT = timedelta(seconds=60)
"""How long a rank waits in a step for the slowest one."""
FILE_TIMEOUT = timedelta(hours=12)
"""How long a rank waits for others to read data or to write files, or for the first step, which compiles kernels."""
_MEETING_TIMEOUT = timedelta(minutes=10)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_FAULT = "fault"
_SOURCE = re.compile(r"\[[^\]]*\.(cc|cpp|hpp):[0-9]+\] *")
_Result = TypeVar("_Result")
_connections = itertools.count()


class _Store(Protocol):
    """What ranks use of torch's key-value stores."""

    def check(self, keys: list[str]) -> bool: ...

    def get(self, key: str) -> bytes: ...

    def set(self, key: str, value: str) -> None: ...


class LostRankError(TrainingError):
    """Another rank has failed, or does not answer."""


class ConnectedRanks(Ranks):
    """One of several processes; see `Ranks`.

    Args:
        device: the device of this process.
        launch: the position of this process.
        store: where ranks leave their faults.
    """

    def __init__(self, device: torch.device, launch: Launch, store: _Store) -> None:
        super().__init__(device)
        self.rank, self.count = launch.rank, launch.count
        self._store = store
        self._files = dist.new_group(backend="gloo", timeout=FILE_TIMEOUT)
        step_backend = "nccl" if device.type == "cuda" else "gloo"
        self._steps = dist.new_group(backend=step_backend, timeout=STEP_TIMEOUT)
        self._buffer: GradientBuffer | None = None
        self._agreed_signal = 0

    @property
    def stop_signal(self) -> int:
        """The number of the signal on which the ranks agreed at the last step, 0 for none."""
        return self._agreed_signal

    def agree_on_stop(self) -> int:
        """Returns the number of a signal that any rank has received, 0 for none."""
        self._agreed_signal = self._agreed_signal or max(map(int, self.gather(b"%d" % self.received_signal)))
        return self._agreed_signal

    def seed_step(self, seed: int, step: int) -> AbstractContextManager[None]:
        """Runs the block with generators seeded by the seed, the step and the rank, and restores them."""
        mixed = np.random.SeedSequence((seed, step, self.rank)).generate_state(1, np.uint64)[0]
        return seed_generators(int(mixed), self.device)

    def sum_gradients(self, network: Network, loss: Tensor, words: Tensor) -> Tensor:
        """Sums gradients and losses, and agrees on a signal, in one exchange."""
        is_first_step = self._buffer is None
        self._buffer = self._buffer or GradientBuffer(network, len(_SIGNALS))
        if is_first_step:
            self.barrier()  # the kernels of the first step are compiled, which may take longer than a step may
        flags = [float(self.received_signal == signum) for signum in _SIGNALS]
        packed = self._buffer.pack(loss, flags, words)
        self._exchange(lambda: dist.all_reduce(packed, group=self._steps))
        total, flags = self._buffer.unpack(packed)
        self._agreed_signal = next((signum for signum, count in zip(_SIGNALS, flags, strict=True) if count), 0)
        return total

    def broadcast(self, content: bytes) -> bytes:
        """Returns the content of the first rank."""
        size = torch.tensor([len(content)])
        self._exchange(lambda: dist.broadcast(size, 0, group=self._files))
        data = bytearray(content) if self.is_first else bytearray(int(size))
        if data:
            self._exchange(lambda: dist.broadcast(torch.frombuffer(data, dtype=torch.uint8), 0, group=self._files))
        return bytes(data)

    def gather(self, content: bytes) -> list[bytes]:
        """Returns the contents of all ranks, by rank."""
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        self._exchange(lambda: dist.all_gather(sizes, torch.tensor([len(content)]), group=self._files))
        longest = max(map(int, sizes))
        if not longest:
            return [b""] * self.count
        padded = torch.frombuffer(bytearray(content.ljust(longest, b"\0")), dtype=torch.uint8)
        received = [torch.empty(longest, dtype=torch.uint8) for _ in range(self.count)]
        self._exchange(lambda: dist.all_gather(received, padded, group=self._files))
        return [each[: int(size)].numpy().tobytes() for each, size in zip(received, sizes, strict=True)]

    def barrier(self) -> None:
        """Waits for all ranks."""
        self._exchange(lambda: dist.all_reduce(torch.zeros(1), group=self._files))

    def check_equal(self, values: Mapping[str, str]) -> None:
        """Compares values by name with those of the first rank.

        Raises:
            ConfigError: on every rank, if a value differs on any rank.
        """
        first, *received = map(json_files.parse, self.gather(json_files.dump(dict(values))))
        needed = "all ranks need the same version, device type, recipe and data"
        faults = [
            f"rank {rank} and rank 0 differ in their {name}; {needed}"
            for rank, values_of_rank in enumerate(received, 1)
            for name in first.keys() | values_of_rank.keys()
            if values_of_rank.get(name) != first.get(name)
        ]
        if faults:
            raise ConfigError(*sorted(faults))

    def end_with(self, error: BaseException) -> None:
        """Leaves the fault of this rank for the others, and names the rank in it unless it is the first."""
        faults = error.faults if isinstance(error, TaggerError) else ()
        if not isinstance(error, Stopped | LostRankError):
            text = faults[0] if faults else f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            with suppress(RuntimeError):  # the store has ended
                self._store.set(_FAULT, f"rank {self.rank}: {text}")
        if isinstance(error, TaggerError) and not self.is_first:
            error.faults = tuple(f"rank {self.rank}: {fault}" for fault in faults)

    def _exchange(self, action: Callable[[], _Result]) -> _Result:
        """Runs a collective operation.

        Raises:
            LostRankError: another rank has failed, or does not answer.
        """
        try:
            return action()
        except RuntimeError as error:
            raise LostRankError(self._describe_loss(error)) from error

    def _describe_loss(self, error: RuntimeError) -> str:
        with suppress(RuntimeError):  # the store has ended, too
            if self._store.check([_FAULT]):
                return f"stopped after the fault of {self._store.get(_FAULT).decode(errors='replace')}"
        reason = _first_line(error)
        return (
            f"another process of the training has ended, or has not answered in time ({reason}); continue with"
            " `resume=True`"
        )


@contextmanager
def open_ranks(device: str) -> Iterator[Ranks]:
    """Connects this process with the others that torchrun has launched; yields a process alone if it has none.

    Args:
        device: auto, cpu, cuda or cuda:N; with several processes each uses the GPU of its number on its machine.

    Raises:
        ConfigError: the device or the backend is not available, or the others cannot be reached.
        LostRankError: another rank fails.
    """
    launch = read_launch()
    if launch.count == 1:
        yield Ranks(select_device(device))
        return
    target = _select_device(device, launch)
    with _connect(target, launch) as ranks:
        try:
            yield ranks
        except BaseException as error:
            ranks.end_with(error)
            raise


def _select_device(name: str, launch: Launch) -> torch.device:
    device = select_device(name)
    if device.type != "cuda":
        return device
    if device.index is not None:
        raise ConfigError(f"`device` is {name}, but each of {launch.count} processes needs its own GPU; set it to cuda")
    if launch.local_rank >= (count := torch.cuda.device_count()):
        raise ConfigError(
            f"rank {launch.rank} is process {launch.local_rank + 1} of its machine, where torch finds {count} GPU"
            f"{'s' * (count > 1)}; start as many processes as there are GPUs, or set `device` to cpu"
        )
    device = torch.device("cuda", launch.local_rank)
    torch.cuda.set_device(device)
    return device


@contextmanager
def _connect(device: torch.device, launch: Launch) -> Iterator[ConnectedRanks]:
    if not dist.is_available() or not dist.is_gloo_available():
        raise ConfigError(
            "this build of torch has no backend gloo, which several processes need; train with one process"
        )
    if device.type == "cuda" and not dist.is_nccl_available():
        raise ConfigError("this build of torch has no backend nccl, which several GPUs need; set `device` to cpu")
    if dist.is_initialized():
        raise ConfigError("torch.distributed is already initialised in this process; let the training do so")
    try:
        store = dist.PrefixStore(f"tagger-{next(_connections)}", _open_store())  # type: ignore[attr-defined,arg-type]
        dist.init_process_group(
            "gloo", store=store, rank=launch.rank, world_size=launch.count, timeout=_MEETING_TIMEOUT
        )
    except (RuntimeError, ValueError, OSError) as error:
        reason = _first_line(error)
        raise ConfigError(f"rank {launch.rank} cannot reach the other processes: {reason}") from error
    try:
        yield ConnectedRanks(device, launch, store)
    finally:
        dist.destroy_process_group()


def _first_line(error: Exception) -> str:
    """Returns the first line of an error of torch, without the position in its source."""
    return _SOURCE.sub("", str(error).strip()).split("\n")[0][:200]


@cache
def _open_store() -> _Store:
    """Returns the store through which ranks meet, at MASTER_ADDR and MASTER_PORT."""
    store: _Store
    store, _, _ = next(dist.rendezvous("env://", timeout=_MEETING_TIMEOUT))  # type: ignore[attr-defined]
    return store
