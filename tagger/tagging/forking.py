"""Lets a tagger be used in a forked child process, though other threads were tagging in the parent.

A fork copies locks as they are but only the thread that forks: a lock that another thread holds is never released.
"""

import os
from threading import Lock
from typing import Protocol
from weakref import WeakSet

import torch


class Forked(Protocol):
    """What has locks, or state that belongs to threads."""

    def before_fork(self) -> None:
        """Waits until no other thread is within a change, and holds it off."""

    def after_fork(self, *, in_child: bool) -> None:
        """Ends what `before_fork` began; in the child only this thread is left."""


_registered: WeakSet[Forked] = WeakSet()
_held: list[Forked] = []
_lock = Lock()  # for changes of the two, and for threads that fork at the same moment


def register(one: Forked) -> None:
    """Prepares an object for forks, for as long as it lives."""
    with _lock:
        _registered.add(one)


def _before() -> None:
    _lock.acquire()
    for one in list(_registered):
        one.before_fork()
        _held.append(one)


def _after(*, in_child: bool) -> None:
    try:
        while _held:
            _held.pop().after_fork(in_child=in_child)
    finally:
        _lock.release()


def _after_in_child() -> None:
    if _held:
        torch.set_num_threads(1)  # OpenMP's other threads stay in the parent, and it would wait for them
    _after(in_child=True)


os.register_at_fork(before=_before, after_in_parent=lambda: _after(in_child=False), after_in_child=_after_in_child)
