"""The Launchpad program: one server and several workers; building it launches nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from pathlib import Path
from typing import Any

from kipax import files
from kipax.blocks.courier import CLIENT_OPTIONS, check_installed
from kipax.console import ConsoleReporter
from kipax.errors import UsageError
from kipax.kernels.fused import processors
from launch.nodes import Outcome, RunRequest, ServerNode, WorkerNode
from launch.relay import Relay

__all__ = ["LAUNCH_TYPES", "Resources", "launch_program", "make_program", "make_resources"]

LAUNCH_TYPES = ("local_mp", "local_mt")
_GRACE_SECONDS = 10.0  # time for workers to leave when the run is over
_COMPILED = {
    "JAX_COMPILATION_CACHE_DIR": "{folder}/compiled",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
}
_INTERRUPTED = 130  # exit status


@dataclasses.dataclass(frozen=True)
class Resources:
    """The resources of each worker on this machine.

    Attributes:
        threads_per_worker: threads of the fused CPU kernel; 0 divides the processors among workers.
        gpus_per_worker: number of GPUs that each worker sees as its own; 0 changes nothing.
        worker_platform: JAX's platform for workers (cpu, cuda, tpu); empty for JAX's choice.
    """

    threads_per_worker: int = 0
    gpus_per_worker: int = 0
    worker_platform: str = ""

    def __post_init__(self) -> None:
        if min(self.threads_per_worker, self.gpus_per_worker) < 0:
            raise UsageError(f"threads and GPUs of a worker are not negative; got {self}.")

    def worker_environment(self, index: int, num_workers: int) -> dict[str, str]:
        """Returns the environment variables of worker `index`.

        Example:
            >>> Resources(threads_per_worker=2, gpus_per_worker=2).worker_environment(1, 4)
            {'KIPAX_NUM_THREADS': '2', 'CUDA_VISIBLE_DEVICES': '2,3'}
        """
        threads = self.threads_per_worker or max(1, processors() // max(1, num_workers))
        values = {"KIPAX_NUM_THREADS": str(threads)}
        if self.gpus_per_worker:
            first = index * self.gpus_per_worker
            own = range(first, first + self.gpus_per_worker)
            values["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, own))
        if self.worker_platform:
            values["JAX_PLATFORMS"] = self.worker_platform
        return values

    def ray_environment(self, index: int, num_workers: int) -> dict[str, str]:
        """Returns the environment variables of a Ray actor, whose GPUs Ray assigns."""
        values = self.worker_environment(index, num_workers)
        values.pop("CUDA_VISIBLE_DEVICES", None)
        return values

    def server_environment(self) -> dict[str, str]:
        """Returns the server's environment variables, which leave accelerators to the workers."""
        taken = self.gpus_per_worker or self.worker_platform
        return {"JAX_PLATFORMS": "cpu"} if taken else {}


def make_program(request: RunRequest, *, folder: str, port: int | None = None) -> Any:
    """Returns a ``launchpad.Program`` with the groups ``server`` and ``worker0``, ``worker1``, ...

    Args:
        request: the run.
        folder: folder for the server's address and outcome.
        port: port of the server; None for a free one.

    Raises:
        UsageError: Launchpad is not available for this Python.
    """
    check_installed()
    import launchpad as lp

    program = lp.Program(f"kipax_{request.method}")
    server = lp.CourierNode(ServerNode)
    server.configure(request, folder, server.courier_address)
    if port is not None:
        server.bind_addresses = _fixed_port(server, port)  # type: ignore[method-assign]
    with program.group("server"):
        handle = program.add_node(server)
        handle.set_client_kwargs(**CLIENT_OPTIONS)
    for index in range(request.num_workers):
        with program.group(f"worker{index}"):  # one group each, for its own resources
            program.add_node(lp.PyClassNode(WorkerNode, handle))
    return program


@dataclasses.dataclass(frozen=True)
class _Fixed:
    """An address builder in Launchpad's interface, for a fixed port."""

    address: str

    def build(self) -> str:
        return self.address


def _fixed_port(node: Any, port: int) -> Any:
    return lambda **_: node.courier_address.bind(_Fixed(f"localhost:{port}"))


def make_resources(resources: Resources, num_workers: int, *, folder: str) -> dict[str, Any]:
    """Returns Launchpad's ``local_resources``; all processes share compiled programs."""
    from launchpad.nodes.python.local_multi_processing import PythonProcess

    shared = {k: v.format(folder=folder) for k, v in _COMPILED.items() if k not in os.environ}
    groups = {"server": PythonProcess(env=shared | resources.server_environment())}
    for index in range(num_workers):
        environment = resources.worker_environment(index, num_workers)
        groups[f"worker{index}"] = PythonProcess(env=shared | environment)
    return groups


def launch_program(
    program: Any,
    *,
    folder: str,
    launch_type: str,
    local_resources: Any,
    reporter: ConsoleReporter,
) -> Outcome:
    """Launches a program, shows its server's messages, and waits for the server to end.

    Raises:
        UsageError: a launch type other than `LAUNCH_TYPES`.
    """
    import launchpad as lp

    if launch_type not in LAUNCH_TYPES:
        raise UsageError(
            f"--lp_launch_type is one of {', '.join(LAUNCH_TYPES)}; got {launch_type!r}: for other "
            "hosts start python -m launch.worker there (launch/README.md)."
        )
    # In the current terminal a worker that dies does not end the program.
    terminal = "current_terminal"
    if launch_type == "local_mt":
        lp.launch(program, launch_type=launch_type)
    else:
        lp.launch(
            program, launch_type=launch_type, terminal=terminal, local_resources=local_resources
        )
    relay = Relay(Path(folder) / "reports.jsonl", reporter)
    outcome = _await_outcome(Path(folder), relay)
    relay.show()
    reporter.close()
    _end_children(1.0 if outcome.status == _INTERRUPTED else _GRACE_SECONDS)
    return outcome


def _await_outcome(folder: Path, relay: Relay) -> Outcome:
    import psutil

    server, ended = folder / "server.json", folder / "outcome.json"
    while not ended.exists():
        time.sleep(0.1)
        relay.show()
        if server.exists():
            alive = _runs(files.read_json(server)["pid"])
        else:
            alive = bool(psutil.Process().children()) or _in_threads()
        if not alive and not ended.exists():
            return Outcome(1, message="the server died; continue with --resume")
    return Outcome.read(ended)


def _runs(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != "zombie"
    except psutil.NoSuchProcess:
        return False


def _in_threads() -> bool:
    import threading

    return any(thread.name == "server" for thread in threading.enumerate())


def _end_children(seconds: float) -> None:
    """Waits for the workers to leave; kills those that do not, since they are stuck."""
    import psutil

    children = psutil.Process().children(recursive=True)
    _, left = psutil.wait_procs(children, timeout=seconds)
    for child in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
