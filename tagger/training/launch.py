"""How this process was launched: alone, or by torchrun as one of several processes that train a model together."""

import os
import re
from dataclasses import dataclass

from tagger.errors import ConfigError

_NUMBER = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True)
class Launch:
    """The position of this process among those that train a model together.

    Attributes:
        rank: the number of this process, from 0.
        count: the number of processes on all machines.
        local_rank: the number of this process on its machine, from 0.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0


def read_launch() -> Launch:
    """Returns the position of this process, from the environment variables that torchrun sets.

    Raises:
        ConfigError: a variable is missing or invalid.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return Launch()
    rank, count, local_rank = (_read_number(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
        raise ConfigError(f"WORLD_SIZE is {count}, but {missing[0]} is not set; start the processes with torchrun")
    if not rank < count:
        raise ConfigError(f"RANK is {rank}, but WORLD_SIZE is {count}; start the processes with torchrun")
    return Launch(rank, count, local_rank)


def _read_number(name: str) -> int:
    value = os.environ.get(name, "")
    if not _NUMBER.fullmatch(value):
        state = f"{name} is {value!r}" if value else f"{name} is not set"
        size = os.environ["WORLD_SIZE"]
        raise ConfigError(f"WORLD_SIZE is {size!r}, but {state}; start with torchrun, or unset WORLD_SIZE")
    return int(value)
