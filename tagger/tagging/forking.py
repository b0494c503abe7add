"""Lets a tagger be used in a forked child process even if other threads were tagging in the parent.

A fork copies locks in their current state but only the forking thread: a lock held by another thread is never released.
"""

import os
from threading import Lock
from typing import Protocol
from weakref import WeakSet

import torch


class ForkAware(Protocol):
    """An object with locks or with state that belongs to threads."""

    def before_fork(self) -> None:
        """Waits until no other thread changes the object, and blocks further changes."""

    def after_fork(self, *, in_child: bool) -> None:
        """Allows changes again; in the child only the calling thread exists."""


_registered: WeakSet[ForkAware] = WeakSet()
_blocked: list[ForkAware] = []
_lock = Lock()  # guards both, also against threads that fork at the same time


def register(target: ForkAware) -> None:
    """Prepares an object for forks, for as long as it lives."""
    with _lock:
        _registered.add(target)


def _before() -> None:
    _lock.acquire()
    for target in list(_registered):
        target.before_fork()
        _blocked.append(target)


def _after(*, in_child: bool) -> None:
    try:
        while _blocked:
            _blocked.pop().after_fork(in_child=in_child)
    finally:
        _lock.release()


def _after_in_child() -> None:
    if _blocked:
        torch.set_num_threads(1)  # OpenMP's threads stay in the parent, and the child would wait for them
    _after(in_child=True)


os.register_at_fork(before=_before, after_in_parent=lambda: _after(in_child=False), after_in_child=_after_in_child)
