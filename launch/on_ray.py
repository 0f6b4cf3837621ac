"""A run on Ray: the server is this process, the workers are actors."""

from __future__ import annotations

import jax

from kipax import console
from kipax.blocks.queue import QueueSettings
from kipax.blocks.ray import RayPool
from kipax.errors import UsageError
from launch.nodes import Outcome, RunRequest, execute, interrupt_on_signals
from launch.program import Resources

__all__ = ["run"]

_HERE = ("local", "auto", "localhost", "127.0.0.1")


def run(
    request: RunRequest,
    resources: Resources,
    address: str,
    reporter: console.ConsoleReporter,
) -> Outcome:
    """Runs the request on Ray.

    Args:
        request: the run; at least one worker.
        resources: resources of each worker.
        address: address of a running cluster; empty starts one here.
        reporter: is told what happens.

    Raises:
        UsageError: there are no workers, the cluster has other hosts without `allow_network`, or
            Ray is missing.
    """
    if request.num_workers < 1:
        raise UsageError("--engine=ray needs --num_workers=1 or more: Ray starts the workers.")
    elsewhere = address != "" and not {address, address.rpartition(":")[0]} & set(_HERE)
    if elsewhere and not request.allow_network:
        raise UsageError(
            f"{address} may be another host: --allow_network lets a program span hosts, in "
            "trusted networks only (--help says why)."
        )
    _leave_accelerators(resources)
    pool = RayPool(
        request.num_workers,
        address=address if address and address != "local" else None,
        allow_network=request.allow_network,
        environments=[
            resources.ray_environment(index, request.num_workers)
            for index in range(request.num_workers)
        ],
        gpus_per_worker=resources.gpus_per_worker,
        settings=QueueSettings(silence_seconds=request.silence_seconds),
    )
    interrupt_on_signals()  # after Ray has set its own handlers
    try:
        return execute(request, pool, reporter)
    finally:
        pool.close()


def _leave_accelerators(resources: Resources) -> None:
    """Keeps this process, the server, off the workers' devices; called before JAX starts.

    No environment variable is used, since the workers' processes would inherit it.
    """
    platforms = resources.server_environment().get("JAX_PLATFORMS")
    if platforms:
        jax.config.update("jax_platforms", platforms)
