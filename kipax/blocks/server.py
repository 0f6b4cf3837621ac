"""The server's half of a pool: holds the support set and the queue, answers messages.

`PoolServer.handle` takes and gives bytes (`kipax.blocks.wire`), so that any engine that
carries bytes will do. `PoolExecutor` is what the optimiser sees.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from kipax.blocks.job import BlockJob
from kipax.blocks.memory import needed_bytes
from kipax.blocks.plan import BlockPlan
from kipax.blocks.queue import QueueCounts, QueueSettings, TaskQueue
from kipax.blocks.sums import SummingExecutor
from kipax.blocks.tasks import Parts, Task, expected_parts
from kipax.blocks.wire import Message, pack, pack_task, unpack
from kipax.errors import WireError
from kipax.version import __version__

__all__ = ["PoolExecutor", "PoolServer", "check_parts"]

_POLL_SECONDS = 0.5
_MOST_WAIT = 5.0  # seconds that a worker's request for a task may wait here
_REMIND_SECONDS = 30.0
_NO_WORKER_SECONDS = 3.0  # a program starts with none
_BEATS = 4  # signs of life within the silence that loses a worker

_log = logging.getLogger("kipax")


class PoolServer:
    """Serves workers; one call of the executor at a time. Thread-safe.

    Args:
        settings: how patient it is with workers.
        allow_network: whether workers of other hosts may join.
        how_to_join: ends the sentence that says that no worker is there.
        clock: seconds.
    """

    def __init__(
        self,
        *,
        settings: QueueSettings | None = None,
        allow_network: bool = False,
        how_to_join: str = "",
        clock: Callable[[], float] = time.monotonic,
    ):
        self.session = secrets.token_hex(8)  # tells this server from one that died here before
        self.bytes_in = self.bytes_out = 0
        self.waited_seconds = 0.0  # of the executor, for workers
        self.how_to_join = how_to_join
        self._allow_network, self._clock = allow_network, clock
        self._say: Callable[[str], None] = lambda sentence: None
        self._queue = TaskQueue(settings, clock=clock, on_lost=self._tell)
        self._names = itertools.count(1)
        self._lock = threading.Lock()
        self._job: BlockJob | None = None
        self._support: tuple[int, tuple[int, ...], bytes] | None = None
        self._closed = False
        self._nobody_since = self._reminded = clock()

    # -- the run's side ------------------------------------------------------------------

    def executor(self, job: BlockJob) -> PoolExecutor:
        """Takes a run's blocks on; from now on workers may join."""
        self._say = job.say
        self._job = job
        return PoolExecutor(self, job.plan, job.targets.num_classes)

    def set_support(self, x_support: np.ndarray, version: int) -> None:
        """A new support set, encoded once, for each worker to fetch."""
        header = {"kind": "support", "version": version}
        self._support = version, x_support.shape, pack(header, {"x": x_support})

    def run(self, tasks: Iterable[Task]) -> Iterator[Parts]:
        """The parts of each task, in order, whoever computes them."""
        tasks = list(tasks)
        self._queue.start(tasks)
        try:
            for _ in tasks:
                yield self._await_result()
        finally:
            self._queue.start([])

    def counts(self) -> QueueCounts:
        """How it goes."""
        return self._queue.counts()

    def close(self, *, seconds: float = 10.0) -> None:
        """Tells workers that the run is over, and waits until they are gone, or so long."""
        self._closed = True
        self._queue.close()
        deadline = time.monotonic() + seconds
        while self._queue.counts().workers and time.monotonic() < deadline:
            time.sleep(0.05)

    def _await_result(self) -> Parts:
        began = time.monotonic()
        try:
            while True:
                done, parts = self._queue.next_result(_POLL_SECONDS)
                if done:
                    return parts
                self._remind(time.monotonic() - began)
        finally:
            self.waited_seconds += time.monotonic() - began

    def _remind(self, waited: float) -> None:
        """Says, now and then, that nobody is there or that a block takes long."""
        now, workers = self._clock(), self._queue.counts().workers
        if workers:
            self._nobody_since = now
        due = now - self._reminded > _REMIND_SECONDS
        fresh = self._reminded <= self._nobody_since
        if not workers and now - self._nobody_since > _NO_WORKER_SECONDS and (due or fresh):
            self._tell(f"no worker is left: waiting for one{self.how_to_join}")
            self._reminded = now
        elif workers and due and waited > _REMIND_SECONDS:
            self._tell(f"waiting for a block for {waited:.0f} s; {workers} workers are alive")
            self._reminded = now

    def _tell(self, sentence: str) -> None:
        self._say(sentence)

    # -- the workers' side ---------------------------------------------------------------

    def handle(self, data: bytes) -> bytes:
        """The reply to a message; what is no sound message is refused and logged."""
        try:
            message = unpack(data)
            reply = self._handle(message)
        except WireError as error:
            _log.warning("kipax server: %s", error)
            reply = pack({"kind": "refused", "why": str(error)})
        with self._lock:
            self.bytes_in += len(data)
            self.bytes_out += len(reply)
        return reply

    def _handle(self, message: Message) -> bytes:
        kind = message.get("kind", str)
        if kind == "join":
            return self._join(message)
        if message.get("session", str) != self.session:
            return pack({"kind": "unknown"})
        worker = message.get("worker", str)
        if kind == "ready":
            return self._ready(worker, message)
        known = self._queue.hear(worker)
        if kind == "leave":
            return self._leave(worker, message)
        if not known:
            return pack({"kind": "unknown"})
        if kind == "take":
            return self._take(worker, message)
        if kind == "support":
            return self._give_support(message)
        if kind == "answer":
            return self._answer(message)
        if kind == "failure":
            self._queue.fail(message.get("lease", int), message.get("why", str)[:500])
            return pack({"kind": "ok"})
        if kind == "beat":
            return pack({"kind": "ok"})
        raise WireError(f"refused a message of the unknown kind {kind!r:.40}.")

    def _join(self, message: Message) -> bytes:
        """Checks version and host, and says what the run is."""
        version, host = message.get("kipax", str), message.get("host", str)
        if version != __version__:
            return self._refuse(
                f"worker on {host} has kipax {version}, this server {__version__}: install one "
                "kipax on both."
            )
        if host != socket.gethostname() and not self._allow_network:
            return self._refuse(
                f"worker on {host} is on another host: a program that spans hosts needs "
                "--allow_network on the server, in trusted networks only."
            )
        if self._closed:
            return pack({"kind": "done"})
        job = self._job
        if job is None:
            return pack({"kind": "wait"})
        with self._lock:
            name = f"{next(self._names)}@{host}"
        return pack(self._welcome(name, job), job.recipe.arrays)

    def _welcome(self, name: str, job: BlockJob) -> Mapping[str, Any]:
        sizes = {"targets": job.num_targets, "supports": job.supports}
        needed = {
            backend: needed_bytes(
                job.plan, job.kernels, image_shape=job.image_shape, backend=backend, **sizes
            )
            for backend in ("portable", "fused")
        }
        return {
            "kind": "welcome",
            "session": self.session,
            "worker": name,
            "recipe": job.recipe.facts(),
            "needed_bytes": needed,
            "beat_seconds": self._queue.settings.silence_seconds / _BEATS,
        }

    def _ready(self, worker: str, message: Message) -> bytes:
        assert self._job is not None
        if message.get("targets_hash", str) != self._job.recipe.targets_hash:
            return self._refuse(f"worker {worker} has other training images than this run.")
        self._queue.join(worker, at_once=max(1, message.get("at_once", int)))
        self._tell(f"worker {worker} joined")
        return pack({"kind": "ok"})

    def _leave(self, worker: str, message: Message) -> bytes:
        why = message.get("why", str)[:500]
        if why:
            self._tell(f"worker {worker} left: {why}")
        self._queue.leave(worker)
        return pack({"kind": "ok"})

    def _refuse(self, why: str) -> bytes:
        _log.warning("kipax server: refused: %s", why)
        return pack({"kind": "refused", "why": why})

    def _take(self, worker: str, message: Message) -> bytes:
        if self._closed:
            return pack({"kind": "done"})
        self._queue.reconcile(worker, message.get("holding", list))
        wait = min(message.get("wait", float), _MOST_WAIT)
        lease = self._queue.lease(worker, timeout=wait)
        if lease is None:
            return pack({"kind": "done" if self._closed else "wait"})
        return pack_task(lease.task, {"kind": "task", "lease": lease.number})

    def _give_support(self, message: Message) -> bytes:
        support = self._support
        if support is None or support[0] != message.get("version", int):
            return pack({"kind": "stale"})
        return support[2]

    def _answer(self, message: Message) -> bytes:
        number = message.get("lease", int)
        task = self._queue.task_of(number)
        if task is None:
            self._queue.answer(number, None)  # counts as dropped
            return pack({"kind": "ok", "counted": False})
        assert self._support is not None and self._job is not None
        try:
            shape, classes = self._support[1], self._job.targets.num_classes
            parts = check_parts(task, message.arrays, shape, classes)
        except WireError as error:
            self._queue.fail(number, str(error))
            raise
        return pack({"kind": "ok", "counted": self._queue.answer(number, parts)})


def check_parts(
    task: Task, parts: Mapping[str, np.ndarray], support_shape: tuple[int, ...], num_classes: int
) -> Parts:
    """The parts of an answer, if they are what the task asks for.

    Raises:
        WireError: other names, dtypes or shapes.
    """
    expected = expected_parts(task, support_shape, num_classes)
    if set(parts) != set(expected):
        raise WireError(f"refused an answer with {sorted(parts)} instead of {sorted(expected)}.")
    for name, (dtypes, shape) in expected.items():
        given = parts[name]
        if given.dtype.str not in dtypes or given.shape != shape:
            raise WireError(
                f"refused an answer whose {name} is {given.dtype.str} {given.shape} instead of "
                f"{' or '.join(dtypes)} {shape}."
            )
    return dict(parts)


class PoolExecutor(SummingExecutor):
    """A `kipax.blocks.executor.BlockExecutor` whose tasks a pool computes.

    Args:
        pool: has ``set_support``, ``run`` and ``counts`` like `PoolServer`.
        plan: the block sizes.
        num_classes: of the targets.
    """

    def __init__(self, pool: Any, plan: BlockPlan, num_classes: int):
        super().__init__(plan, num_classes)
        self._pool = pool

    def _hold_support(self, x_support: np.ndarray) -> None:
        self._pool.set_support(x_support, self.version)

    def _run(self, tasks: Iterable[Task]) -> Iterator[Parts]:
        return self._pool.run(tasks)

    def status(self) -> str:
        """Workers alive, blocks a second, retries."""
        counts = self._pool.counts()
        words = f"{counts.workers} worker{'s' * (counts.workers != 1)}"
        if counts.per_second:
            words += f" · {counts.per_second:.3g} blocks/s"
        retries = counts.retries
        return words + (f" · {retries} retr{'ies' if retries > 1 else 'y'}" if retries else "")
