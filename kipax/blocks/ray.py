"""A pool whose workers are Ray actors.

Ray starts and restarts the processes, on any host of its cluster, and keeps the support set
in shared memory, once for each host. Leases, retries, overtaking and sums are the queue's, as with
any other engine. Tasks and answers are sent as messages of `kipax.blocks.wire`.

Ray's ports run the code of anyone who can reach them: use trusted networks only.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from kipax.blocks.computer import TaskComputer
from kipax.blocks.job import BlockJob
from kipax.blocks.pool import Pool, PoolExecutor
from kipax.blocks.queue import Lease
from kipax.blocks.targets import TargetRecipe
from kipax.blocks.wire import pack, pack_task, unpack, unpack_task
from kipax.blocks.worker import check_memory, describe_error, load_computer
from kipax.errors import UsageError, WireError
from kipax.version import __version__

__all__ = ["RayPool", "check_installed"]

_RESTART_SECONDS = 0.5
_POLL_SECONDS = 0.05
_THREADS = 32  # of an actor: more than its devices and the tasks that wait for them


def check_installed() -> None:
    """Raises a `UsageError` that says what to install, where Ray is missing."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError("Ray is missing: pip install 'kipax[ray]'.")


class RayWorker:
    """The work of an actor; does not depend on Ray."""

    def __init__(self) -> None:
        self._computer: TaskComputer | None = None  # None in a restarted actor
        self._lock = threading.Lock()

    def prepare(self, job: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Loads the data; returns the number of devices, or the reason why it failed.

        Every exception is returned as a reason, none is raised.

        Args:
            job: ``kipax`` (the version), ``recipe`` (facts) and ``needed_bytes``.
            arrays: the arrays of the recipe.
        """
        if job["kipax"] != __version__:
            return {"why": f"it has kipax {__version__}, this program {job['kipax']}"}
        try:
            computer = load_computer(TargetRecipe(**job["recipe"], arrays=arrays))
            check_memory(job["needed_bytes"], computer.devices)
        except Exception as error:
            return {"why": describe_error(error)}
        self._computer = computer
        who = {"host": socket.gethostname(), "pid": os.getpid()}
        return who | {"devices": len(computer.devices)}

    def beat(self) -> None:
        """Does nothing; a reply shows that the actor is alive."""

    def compute(self, message: bytes, x_support: np.ndarray) -> bytes:
        """Returns the answer to a task; empty if the actor was restarted without its data."""
        computer = self._computer
        if computer is None:
            return b""
        task = unpack_task(unpack(message))
        with self._lock:
            if not computer.has_support(task.version):
                computer.set_support(x_support, task.version)
        return pack({}, computer.compute(task))


class RayPool(Pool):
    """A pool of Ray actors, each served by a thread of this process.

    Args:
        num_workers: number of actors to start.
        address: address of a running cluster; None starts one here that other hosts cannot reach.
        allow_network: whether the cluster may have other hosts.
        environments: the environment variables of each worker's process.
        gpus_per_worker: how many GPUs Ray reserves for each worker.
        options: further arguments of `Pool`.

    Raises:
        UsageError: Ray is missing, no cluster is at the address, or the cluster has several hosts
            without `allow_network`.
    """

    def __init__(
        self,
        num_workers: int,
        *,
        address: str | None = None,
        allow_network: bool = False,
        environments: list[dict[str, str]] | None = None,
        gpus_per_worker: int = 0,
        **options: Any,
    ):
        check_installed()
        super().__init__(expected_workers=num_workers, **options)
        self._environments = environments or [{} for _ in range(num_workers)]
        self._gpus = gpus_per_worker
        self._support: Any = None
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        if address is None:
            _start_ray(num_workers)
        else:
            _connect(address, allow_network=allow_network)

    def executor(self, job: BlockJob) -> PoolExecutor:
        """Starts the actors and returns the executor of a run."""
        import ray

        executor = super().executor(job)
        facts = {"kipax": __version__, "recipe": job.recipe.facts()}
        arrays = ray.put(dict(job.recipe.arrays))
        told = (facts | {"needed_bytes": job.needed_bytes()}, arrays)
        for index, environment in enumerate(self._environments):
            driver = _Driver(self, f"ray{index}", self._actor(environment), told)
            thread = threading.Thread(target=driver.run, daemon=True)
            thread.start()
            self._threads.append(thread)
        return executor

    def _actor(self, environment: Mapping[str, str]) -> Any:
        import ray

        # One CPU each, so that Ray spreads them; the environment sets the threads.
        options: dict[str, Any] = {
            "num_cpus": 1,
            "num_gpus": self._gpus,
            "max_restarts": -1,
            "max_task_retries": 0,
            "max_concurrency": _THREADS,
            "concurrency_groups": {"beat": 1},
            # Not set in the actor: JAX reads the environment when it is imported, with the class.
            "runtime_env": {"env_vars": dict(environment)},
        }
        return ray.remote(**options)(RayWorker).remote()

    def _offer_support(self, x_support: np.ndarray, version: int) -> None:
        """Puts the support set into Ray's shared memory."""
        import ray

        self._support = ray.put(x_support)
        self.bytes_out += x_support.nbytes * len(self._environments)

    def close(self, *, seconds: float = 10.0) -> None:
        """Ends the actors and leaves Ray."""
        import ray

        self._over.set()
        self._queue.close()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        ray.shutdown()


class _RestartedError(Exception):
    """Ray has restarted an actor, whose new process must load the data again."""


class _Driver:
    """The thread of one actor: starts it, sends it tasks and notices when it ends."""

    def __init__(self, pool: RayPool, name: str, actor: Any, told: tuple[dict, Any]):
        self._pool = pool
        self._queue = pool._queue
        self._actor = actor
        self._told = told
        self._name = name
        self._lives = 0

    def run(self) -> None:
        """Serves the actor, across its restarts, until the pool is closed."""
        import ray

        while not self._pool._over.is_set():
            worker, slots = self._begin()
            if not slots:
                return
            try:
                self._serve(worker, slots)
            except ray.exceptions.RayError as error:
                self._queue.lose(worker, f"died ({type(error).__name__})")
            except _RestartedError:
                self._queue.leave(worker)  # its tasks had not reached the process that died
        ray.kill(self._actor)

    def _begin(self) -> tuple[str, int]:
        """Waits until the actor has its data; returns its name and its slots for tasks."""
        ready = self._prepared()
        if ready is None:
            return "", 0
        if "why" in ready:
            self._pool._turned_away.append(ready["why"])
            self._pool._say(f"worker {self._name} cannot join: {ready['why']}")
            return "", 0
        self._lives += 1
        worker = f"{self._name}.{self._lives}@{ready['host']}/{ready['pid']}"
        self._pool._joined(worker, ready["devices"])
        return worker, 2 * ready["devices"]  # on each device one task computes and one waits

    def _prepared(self) -> dict[str, Any] | None:
        """Waits until the actor has loaded its data, also after restarts of the actor.

        Returns:
            The reply of `RayWorker.prepare`; None if the pool was closed meanwhile.
        """
        import ray

        ref = None
        while not self._pool._over.is_set():
            ref = ref or self._actor.prepare.remote(*self._told)
            done, _ = ray.wait([ref], timeout=_RESTART_SECONDS)
            try:
                if done:
                    return ray.get(ref)
            except ray.exceptions.RayError as error:
                if _is_for_good(error):
                    return {"why": str(error).strip().splitlines()[-1]}  # below the traceback
                ref = None
                self._pool._over.wait(_RESTART_SECONDS)  # Ray restarts the actor meanwhile
        return None

    def _serve(self, worker: str, slots: int) -> None:
        import ray

        leases: dict[Any, Lease] = {}
        interval = self._queue.settings.beat_seconds
        beat, beat_at = self._actor.beat.options(concurrency_group="beat").remote(), 0.0
        while not self._pool._over.is_set():
            while len(leases) < slots:
                wait = 0.0 if leases else interval / 2
                lease = self._queue.lease(worker, timeout=wait)
                if lease is None:
                    break
                leases[self._send(lease)] = lease
            waiting = [beat, *leases] if beat is not None else list(leases)
            done, _ = ray.wait(waiting, timeout=_POLL_SECONDS) if waiting else ([], [])
            for ref in done:
                if ref is beat:
                    ray.get(ref)
                    beat, beat_at = None, time.monotonic()
                    self._queue.hear(worker)
                else:
                    self._take(ref, leases.pop(ref))
            if beat is None and time.monotonic() - beat_at > interval:
                beat = self._actor.beat.options(concurrency_group="beat").remote()
            if not self._queue.knows(worker):  # silent for too long: stopped, or out of reach
                ray.kill(self._actor, no_restart=False)
                return

    def _send(self, lease: Lease) -> Any:
        message = pack_task(lease.task, {})
        self._pool.bytes_out += len(message)
        return self._actor.compute.remote(message, self._pool._support)

    def _take(self, ref: Any, lease: Lease) -> None:
        import ray

        try:
            data = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            self._queue.fail(lease.number, str(error.cause))
            return
        if not data:
            raise _RestartedError
        self._pool.bytes_in += len(data)
        try:
            self._pool._accept(lease.number, unpack(data).arrays)
        except WireError as error:  # of no message, too, which the pool did not see
            self._queue.fail(lease.number, str(error))


def _is_for_good(error: Exception) -> bool:
    """Returns whether restarting the actor cannot help, since it cannot even be made."""
    from ray import exceptions

    if isinstance(error, exceptions.RayActorError):
        return error.actor_init_failed
    return isinstance(error, exceptions.RayTaskError | exceptions.RuntimeEnvSetupError)


def _connect(address: str, *, allow_network: bool) -> None:
    """Connects to a cluster; leaves it if it spans hosts without `allow_network`."""
    import ray

    try:
        ray.init(address=address, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        words = str(error).splitlines()[0]
        raise UsageError(f"no Ray cluster answers at {address}: {words}") from error
    hosts = sorted({node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]})
    if len(hosts) > 1 and not allow_network:
        ray.shutdown()
        raise UsageError(
            f"the Ray cluster at {address} has {len(hosts)} hosts ({', '.join(hosts[:4])}): "
            "--allow_network lets a program span hosts, in trusted networks only (--help says why)."
        )


def _start_ray(num_workers: int) -> None:
    """Starts a cluster that listens on this host's loopback alone."""
    import ray

    ray.init(
        address="local",
        num_cpus=max(1, num_workers),
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
