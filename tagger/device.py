"""The device, threads, random state and memory of this process."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tagger.errors import ConfigError

_MAX_NEW_OBJECTS = 100_000  # between two runs of the cyclic garbage collector; Python has 700 to 2,000


def torch_device(name: str) -> torch.device:
    """Returns the device of a name; auto is the GPU where there is one.

    Raises:
        ConfigError: cuda was asked for and is not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda was asked for, but this torch finds no GPU; set `device` to cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def current_stream(place: torch.device) -> torch.cuda.Stream | None:
    """Returns the calling thread's stream of a GPU, None on another device."""
    return torch.cuda.current_stream(place) if place.type == "cuda" else None


def own_stream(caller: torch.cuda.Stream | None) -> None:
    """Gives the calling thread a stream of a GPU, so that it waits for its own work alone; without one it does nothing.

    What was given to the stream of the caller before comes first.
    """
    if caller is not None:
        stream = torch.cuda.Stream(caller.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(caller)
        torch.cuda.set_stream(stream)


def is_out_of_memory(error: Exception) -> bool:
    """Tells whether there was no memory: of that on a CPU torch tells in words alone."""
    of_torch = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    return of_torch or isinstance(error, MemoryError | torch.OutOfMemoryError)


def processors() -> int:
    """Returns how many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not everywhere
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def relaxed_garbage_collection() -> Iterator[None]:
    """Runs a block in which cycles are looked for seldom, and not among the objects that are here at its beginning.

    What is read and written by the million is freed without that, and each search goes through all that is held. For
    whole processes alone: it is the collector of all threads, and a block within another ends what the outer asked for.
    Where something is frozen already, nothing more is, and it stays so.
    """
    before, fresh = gc.get_threshold(), not gc.get_freeze_count()
    if fresh:
        gc.freeze()
    gc.set_threshold(_MAX_NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if fresh:
            gc.unfreeze()


@contextmanager
def single_torch_thread() -> Iterator[None]:
    """Has torch compute on a CPU in one thread: two gain little on sentences, and wait for any other busy process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int, place: torch.device) -> Iterator[None]:
    """Runs a block under the generators of a device and the CPU seeded anew, then gives the caller's state back."""
    with torch.random.fork_rng([torch.cuda.current_device()] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def random_state(place: torch.device) -> dict[str, torch.Tensor]:
    """Returns the state of torch's generators for the CPU and a device."""
    state = {"cpu": torch.get_rng_state()}
    if place.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, torch.Tensor], place: torch.device) -> None:
    """Takes up the random state of a checkpoint; a GPU's is passed over on a CPU."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and place.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"])
