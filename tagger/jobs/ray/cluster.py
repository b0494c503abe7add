"""The connection to a Ray cluster and its processors."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tagger.choices import Device
from tagger.errors import ConfigError

_RAY_KINDS = {"cpu": "CPU", "cuda": "GPU"}  # Ray's names of processors


def import_ray() -> Any:
    """Returns the module ray.

    Raises:
        ConfigError: Ray is not installed.
    """
    try:
        import ray.data  # takes seconds to load
    except ImportError as error:
        raise ConfigError("the engine ray needs Ray: pip install 'bilstm-crf-tagger[ray]'") from error
    return ray


@contextmanager
def connect(ray: Any) -> Iterator[None]:
    """Connects to a Ray cluster for the block, unless this process is connected already.

    Raises:
        ConfigError: there is no cluster.
    """
    if ray.is_initialized():
        yield
        return
    # Ray's core warns about references that outlive their actors, which cannot happen here (Ray issue 53727).
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        # A client of another Ray sends its settings as a pickle, and adds no directory.
        is_client = os.environ.get("RAY_ADDRESS", "").startswith("ray://")
        settings = {} if is_client else {"job_config": _job_config(ray)}
        ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR, **settings)
    except (ConnectionError, ValueError, RuntimeError) as error:
        address = os.environ.get("RAY_ADDRESS", "this machine")
        raise ConfigError(f"no Ray cluster at {address}: {' '.join(str(error).split())[:300]}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _job_config(ray: Any) -> Any:
    """Returns settings that keep the current directory off the module search path of workers, where Ray puts it first.

    If this package is not installed but lies in a directory, workers search that directory for modules.
    """

    class JobConfig(ray.job_config.JobConfig):  # type: ignore[misc]
        def _runtime_env_has_working_dir(self) -> bool:
            return True  # if False, Ray adds the directories of the script and of the process

    parent = Path(__file__).parents[3]
    is_installed = parent.name in ("site-packages", "dist-packages")
    return JobConfig(_py_driver_sys_path=[] if is_installed else [str(parent)])


def count_processors(ray: Any, device: str) -> int:
    """Returns the number of processors of the cluster for a device, cpu or cuda."""
    return int(ray.cluster_resources().get(_RAY_KINDS[device], 0))


def choose_device(ray: Any, name: Device) -> torch.device:
    """Returns the device of each worker: cuda if the cluster has a GPU, unless `name` is cpu.

    Raises:
        ConfigError: the name is unknown, or the cluster has no such processor.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"`device` must be auto, cpu or cuda with the engine ray, got {name!r}")
    kind = "cpu" if name == "cpu" or (name == "auto" and not count_processors(ray, "cuda")) else "cuda"
    if not count_processors(ray, kind):
        raise ConfigError(f"the Ray cluster has no {_RAY_KINDS[kind]}")
    return torch.device(kind)
