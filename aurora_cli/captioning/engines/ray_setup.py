"""The Ray cluster that captions: the one that is there, or one of this machine, started and ended with the command."""

import contextlib
import importlib.util
import logging
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

from aurora_cli.config.settings import CaptionSettings
from aurora_cli.errors import HostError, UsageError, reason_of

ADDRESS = "RAY_ADDRESS"
CONNECT_S = 10.0
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


class Pool(NamedTuple):
    """The actors that are asked for."""

    size: int
    grows: bool
    """Whether there may be more, as the cluster has room for them."""
    cpus: int
    """Of each; also its threads."""
    gpus: int
    """Of each."""


def check_ray(caption: CaptionSettings) -> None:
    """
    Raises:
        HostError: Ray is not installed.
        UsageError: something that goes only without it.
    """
    if not all(map(_is_installed, ("ray", "pandas"))):  # Ray Data imports pandas
        raise HostError("--engine ray takes ray[data], not installed here", hint="pip install 'aurora-cli[ray]'")
    if caption.output is None:
        raise UsageError(
            "--engine ray: nothing says where the captions of its processes go", hint="--output captions.jsonl"
        )
    if caption.device_map is not None:
        raise UsageError(
            "--device-map: spreads a model over several devices, and with --engine ray each process has one",
            hint="Leave one of the two out.",
        )
    if ":" in caption.device:
        raise UsageError(f"--device {caption.device}: Ray says which of the GPUs a process has", hint="--device cuda")


def pool_of(caption: CaptionSettings, gpus: int, own_cpus: int | None) -> Pool:
    """As many actors as the settings say; else one a GPU, without GPUs one. `own_cpus`: of a cluster that is only ours.

    >>> pool_of(CaptionSettings(num_processes=4), gpus=0, own_cpus=8)
    Pool(size=4, grows=False, cpus=2, gpus=0)
    >>> pool_of(CaptionSettings(), gpus=16, own_cpus=None)
    Pool(size=16, grows=True, cpus=1, gpus=1)
    """
    has_gpu = caption.device == "cuda" or (caption.device == "auto" and gpus > 0)
    size = caption.num_processes or (max(1, gpus) if has_gpu else 1)
    cpus = 1 if own_cpus is None else max(1, own_cpus // size)
    is_there = gpus > 0 or own_cpus is None  # a cluster may start a GPU when it is asked for one
    return Pool(size, grows=has_gpu and caption.num_processes is None, cpus=cpus, gpus=int(has_gpu and is_there))


def check_address(address: str) -> None:
    """
    Raises:
        UsageError: it is no `host:port`.
        HostError: nobody answers there; Ray itself would wait for many minutes.
    """
    host, _, port = address.rpartition(":")
    if "/" in address or not host or not port.isdigit():
        raise UsageError(
            f"{ADDRESS}={address}: HOST:PORT of a cluster's head was expected",
            hint="From outside of the cluster: ray job submit -- aurora caption ...",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise HostError(
            f"{ADDRESS}={address}: no Ray cluster answers there ({reason_of(error)})",
            hint=f"Start it, or unset {ADDRESS}: then a cluster of this machine alone is started for the command.",
        ) from error


def _is_installed(name: str) -> bool:
    """A folder of that name in the working directory, an output's say, is none: it has no origin."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None


@contextlib.contextmanager
def ray_pool(caption: CaptionSettings) -> Iterator[tuple[Any, Pool]]:
    """The module `ray` while it has a cluster, and what is asked of that. It sends nothing anywhere, and opens no page.

    Raises:
        UsageError: RAY_ADDRESS names no cluster.
        HostError: the cluster that it names is not there, or has another version of Ray.
    """
    if (address := os.environ.get(ADDRESS, "")) not in ("", "auto", "local"):
        check_address(address)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    stops = signal.getsignal(signal.SIGTERM)
    cores = len(os.sched_getaffinity(0))
    try:
        is_own = address == "local" or not _joined(ray)
        if is_own:
            most = max(cores, caption.num_processes or 1)
            ray.init(address="local", num_cpus=most, include_dashboard=False, **_QUIET)
        signal.signal(signal.SIGTERM, stops)  # Ray's own leaves nothing to be done before the end
        yield ray, pool_of(caption, int(ray.cluster_resources().get("GPU", 0)), cores if is_own else None)
    finally:
        ray.shutdown()


def _joined(ray: Any) -> bool:
    """Whether there is a cluster: the one that RAY_ADDRESS names, or one that was started on this machine.

    Raises:
        HostError: Ray or Python have other versions there.
    """
    try:
        ray.init(address="auto", **_QUIET)
    except ConnectionError:
        return False
    except RuntimeError as error:
        raise HostError(f"the Ray cluster cannot be joined: {error}") from error
    return True
