"""The process around a job: device, seed, random state and the signals that ask it to stop."""

import gc
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from tagger.errors import ConfigError, Stopped

_NEW_OBJECTS = 100_000  # between two searches for cycles, where Python has 700 to 2,000


def device(name: str) -> torch.device:
    """Returns the device of a name; auto is the GPU where there is one.

    Raises:
        ConfigError: cuda was asked for and is not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda was asked for, but this torch finds no GPU; use --device cpu or auto")
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


def is_about_memory(error: Exception) -> bool:
    """Tells whether there was no memory: of that on a CPU torch tells in words alone."""
    of_torch = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    return of_torch or isinstance(error, MemoryError | torch.OutOfMemoryError)


def processors() -> int:
    """Returns how many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not everywhere
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def seldom_collecting() -> Iterator[None]:
    """Runs a block in which cycles are looked for seldom, and not among the objects that are here at its beginning.

    What is read and written by the million is freed without that, and each search goes through all that is held. For
    whole processes alone: it is the collector of all threads, and a block within another ends what the outer asked for.
    Where something is frozen already, nothing more is, and it stays so.
    """
    before, fresh = gc.get_threshold(), not gc.get_freeze_count()
    if fresh:
        gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if fresh:
            gc.unfreeze()


@contextmanager
def one_torch_thread() -> Iterator[None]:
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


class StopRequest:
    """Notes SIGINT and SIGTERM within a `with` block, so that a job can stop where it is safe; a second one kills.

    `signum` is the signal that came, or 0. Outside the main thread, where Python takes no handlers, none comes.

    Args:
        at_once: raise Stopped wherever the main thread is, but for blocks that are `held`.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self.signum = 0
        self._at_once, self._holds = at_once, 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for signum in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[signum] = signal.signal(signum, self._note)
            except ValueError:  # not the main thread
                return self
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps a request from breaking off the block; one that came meanwhile raises Stopped at its end."""
        self.hold()
        try:
            yield
        finally:
            self._holds -= 1
        self._raise()

    def hold(self) -> None:
        """Lets a request from now on break off nothing."""
        self._holds += 1

    def _note(self, signum: int, _: FrameType | None) -> None:
        if self.signum:
            os._exit(128 + signum)
        self.signum = signum
        self._raise()

    def _raise(self) -> None:
        if self.signum and self._at_once and not self._holds:
            raise Stopped(self.signum)
