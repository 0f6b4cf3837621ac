"""The command line of the programs: the flags of the experiment, and those of a pool."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from absl import flags

from kipax import console
from kipax import flags as config_flags
from kipax.errors import FailedRunError, UsageError, check_choice
from launch.nodes import METHODS, Outcome, RunRequest
from launch.program import Resources, launch_program, make_program, make_resources

__all__ = ["ALLOW_NETWORK_HELP", "run_launch"]

flags.disclaim_key_flags()  # the calling program owns the flags

# Flags without effect with an engine, or with Launchpad's nodes in threads of one process.
_WITHOUT_EFFECT = {
    "launchpad": ("ray_address",),
    "ray": ("port", "lp_launch_type"),
    "local_mt": ("threads_per_worker", "gpus_per_worker", "worker_platform"),
}
ENGINES = ("launchpad", "ray")
ALLOW_NETWORK_HELP = (
    "let the program span hosts. Courier listens on all interfaces without authentication and "
    "unpickles what arrives, and Ray's ports run code: whoever reaches them runs code as you. "
    "Trusted networks only, behind a firewall or through a tunnel"
)


def run_launch(method: str) -> None:
    """Runs a whole command with workers, like `kipax.console.run_experiment`.

    Args:
        method: "kip" or "label_solve".
    """
    config_class, _ = METHODS[method]
    config_flags.define_flags(config_class)
    flags.DEFINE_string("workdir", None, "folder of the run (runs/<data>-<network>-<support>)")
    flags.DEFINE_boolean("resume", False, "continue the run in the workdir, if there is one")
    flags.DEFINE_string("engine", "launchpad", "launchpad (Python 3.10) or ray")
    flags.DEFINE_integer(
        "num_workers", 1, "workers to start here; 0 if they all join by themselves"
    )
    flags.DEFINE_integer("threads_per_worker", 0, "of the CPU kernel (a fair share)")
    flags.DEFINE_integer("gpus_per_worker", 0, "GPUs that each worker has for itself")
    flags.DEFINE_string("worker_platform", "", "JAX_PLATFORMS of the workers: cpu, cuda or tpu")
    flags.DEFINE_integer("port", None, "of the server (a free one)")
    flags.DEFINE_float("silence_seconds", 20.0, "give a worker up that is silent for so long")
    flags.DEFINE_string("ray_address", "", "of a running Ray cluster; none starts one here")
    flags.DEFINE_boolean("allow_network", False, ALLOW_NETWORK_HELP)
    if importlib.util.find_spec("launchpad") is not None:
        import launchpad  # noqa: F401  defines its flags
    console.run_command(lambda reporter: _launch(method, reporter))


def _launch(method: str, reporter: console.ConsoleReporter) -> dict[str, Any]:
    chosen = flags.FLAGS
    check_choice("engine", chosen.engine, ENGINES)
    if chosen.num_workers < 0:
        raise UsageError(f"num_workers must not be negative; got {chosen.num_workers}.")
    if not 0 < chosen.silence_seconds < math.inf:
        raise UsageError(f"silence_seconds must be positive; got {chosen.silence_seconds}.")
    _check_effects()
    request = RunRequest(
        method=method,
        config=config_flags.config_from_flags(METHODS[method][0]),
        workdir=chosen.workdir,
        resume=chosen.resume,
        num_workers=chosen.num_workers,
        allow_network=chosen.allow_network,
        silence_seconds=chosen.silence_seconds,
        debug=chosen.debug,
    )
    resources = Resources(chosen.threads_per_worker, chosen.gpus_per_worker, chosen.worker_platform)
    if chosen.engine == "ray":
        from launch import on_ray

        with _stdout_to_stderr():
            outcome = on_ray.run(request, resources, chosen.ray_address, reporter)
    else:
        outcome = _on_launchpad(request, resources, reporter)
    if outcome.status == 0:
        assert outcome.result is not None
        return outcome.result
    if outcome.status == 130:
        raise KeyboardInterrupt(outcome.message)
    raise (UsageError if outcome.status == 2 else FailedRunError)(outcome.message)


def _check_effects() -> None:
    """Raises a `UsageError` for a flag that this program would ignore."""
    chosen = flags.FLAGS
    ways = {f"--engine={chosen.engine}": chosen.engine}
    if "lp_launch_type" in chosen and chosen.lp_launch_type == "local_mt":
        ways["--lp_launch_type=local_mt"] = "local_mt"
    for way, key in ways.items():
        for name in _WITHOUT_EFFECT[key]:
            if name in chosen and chosen[name].value != chosen[name].default:
                raise UsageError(
                    f"--{name} has no effect with {way}; got {chosen[name].value!r}: leave it "
                    f"out, or choose another {way.split('=')[0]}."
                )


def _on_launchpad(
    request: RunRequest, resources: Resources, reporter: console.ConsoleReporter
) -> Outcome:
    chosen = flags.FLAGS
    if request.num_workers == 0 and not request.allow_network:
        reporter.say("workers of this host alone may join: --allow_network lets others")
    launch_type = "local_mp"
    with tempfile.TemporaryDirectory() as folder:
        program = make_program(request, folder=folder, port=chosen.port)
        if chosen["lp_launch_type"].present:
            launch_type = chosen.lp_launch_type
        with _stdout_to_stderr():
            return launch_program(
                program,
                folder=folder,
                launch_type=launch_type,
                local_resources=make_resources(resources, request.num_workers, folder=folder),
                reporter=reporter,
            )


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Sends the stdout of Launchpad's and Ray's processes to stderr.

    Stdout is reserved for the JSON line.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
