"""The device, threads, random state and garbage collection of this process."""

import gc
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from tagger.errors import ConfigError

_DEVICE = re.compile(r"auto|cpu|cuda(?::([0-9]{1,3}))?")
_MAX_NEW_OBJECTS = 100_000  # between two runs of the cyclic garbage collector; Python has 700 to 2,000


def select_device(name: str) -> torch.device:
    """Returns the device for auto, cpu, cuda or cuda:N; auto selects a GPU if there is one.

    Raises:
        ConfigError: the name is unknown, or torch does not find such a GPU.
    """
    match = _DEVICE.fullmatch(name)
    if match is None:
        raise ConfigError(f"`device` must be auto, cpu, cuda or cuda:N, got {name!r}")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"`device` is {name}, but torch finds no GPU; set it to cpu or auto")
    if match[1] and int(match[1]) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise ConfigError(f"`device` is {name}, but the last GPU that torch finds is cuda:{last}")
    return torch.device(name)


def current_stream(device: torch.device) -> torch.cuda.Stream | None:
    """Returns the calling thread's CUDA stream, None on a CPU."""
    return torch.cuda.current_stream(device) if device.type == "cuda" else None


def use_new_stream(caller: torch.cuda.Stream | None) -> None:
    """Gives the calling thread a new CUDA stream, so that it waits for its own work only; does nothing for None.

    The new stream starts after the work that has been submitted to the stream `caller`.
    """
    if caller is not None:
        stream = torch.cuda.Stream(caller.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(caller)
        torch.cuda.set_stream(stream)


def is_out_of_memory(error: Exception) -> bool:
    """Returns whether an error means that memory is exhausted."""
    # On a CPU torch raises a RuntimeError, which only its message distinguishes.
    is_torch_cpu = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    return is_torch_cpu or isinstance(error, MemoryError | torch.OutOfMemoryError)


def count_processors() -> int:
    """Returns the number of processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # missing on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def relaxed_garbage_collection() -> Iterator[None]:
    """Runs the block with the cyclic garbage collector relaxed: it runs seldom and ignores objects that exist already.

    Sentences and records have no cycles, and each run of the collector visits all of them. Affects all threads and is
    meant for whole processes; blocks cannot be nested. If objects are frozen already, no further ones are.
    """
    thresholds, is_unfrozen = gc.get_threshold(), not gc.get_freeze_count()
    if is_unfrozen:
        gc.freeze()
    gc.set_threshold(_MAX_NEW_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        if is_unfrozen:
            gc.unfreeze()


def single_torch_thread() -> AbstractContextManager[None]:
    """Runs the block with one torch thread: two gain little on sentences and wait for each other on a busy machine."""
    return torch_threads(1)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Runs the block with this number of torch threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seed_generators(seed: int, device: torch.device) -> Iterator[None]:
    """Runs the block with torch's generators for the CPU and a device seeded, then restores their state."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def get_random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Returns the state of torch's generators for the CPU and a device."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Sets the state of torch's generators; the state of a GPU is ignored on a CPU."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
