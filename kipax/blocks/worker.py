"""The worker's half of a pool: loads the data once, computes the tasks that the server hands out.

A `Worker` knows its server by a function from bytes to bytes, so that any engine that
carries bytes can serve it; that function raises `ConnectionError` where the server is out of reach.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from kipax.blocks.computer import TaskComputer
from kipax.blocks.memory import available_bytes
from kipax.blocks.targets import TargetRecipe
from kipax.blocks.tasks import Parts, Task
from kipax.blocks.wire import Message, pack, unpack, unpack_task
from kipax.errors import KipaxError, PoolError, UsageError
from kipax.version import __version__

__all__ = ["Worker", "check_memory", "describe_error", "load_computer"]

_WAIT_SECONDS = 2.0  # that a request for a task may wait at the server
_RETRY_SECONDS = 0.5


def check_memory(needed: int, devices: Sequence[jax.Device]) -> None:
    """Raises a `UsageError` if a block of the run does not fit into a device's memory."""
    on_cpu = sum(device.platform == "cpu" for device in devices)  # CPU devices share one memory
    for device in devices:
        has = available_bytes(device)
        share = needed * on_cpu if device.platform == "cpu" else needed
        if has is not None and has < share:
            raise UsageError(
                f"a block of this run takes {share / 1e9:.2f} GB and {device} has "
                f"{has / 1e9:.2f} GB left: start the run with a smaller memory_gb, or this "
                "worker elsewhere."
            )


def describe_error(error: Exception) -> str:
    """Returns the error's message for the server's user, with the type's name if it is not ours."""
    sentence = isinstance(error, KipaxError | ImportError)
    return str(error) if sentence else f"{type(error).__name__}: {error}"


def load_computer(
    recipe: TargetRecipe, *, dataset: str | None = None, data_dir: str | None = None
) -> TaskComputer:
    """Loads a run's data for the devices of this process; arguments and errors as `recipe.load`."""
    return TaskComputer(recipe.load(dataset=dataset, data_dir=data_dir))


class Worker:
    """Joins a server and computes its tasks until the run is over.

    It fetches the next tasks while it computes, the support set once a step, and gives signs
    of life throughout. It joins a restarted server anew.

    Args:
        call: carries a message to the server and brings its reply.
        load: loads the data and returns the devices that compute.
        say: is called with sentences for the user.
        patience_seconds: how long the server may be out of reach before the worker ends.
        stop: an event that another thread sets to end the worker in good order.
    """

    def __init__(
        self,
        call: Callable[[bytes], bytes],
        *,
        load: Callable[[TargetRecipe], TaskComputer] = load_computer,
        say: Callable[[str], None] = lambda sentence: None,
        patience_seconds: float = 120.0,
        stop: threading.Event | None = None,
    ):
        self._call_server = call
        self._say = say
        self._patience = patience_seconds
        self._stop = stop or threading.Event()
        self._load = load

    def run(self) -> None:
        """Works until the server says that the run is over.

        Raises:
            UsageError, FileError: other data, another kipax version, or too little memory.
            ImportError: the data need an extra that is not installed.
            PoolError: the server is out of reach.
        """
        while not self._stop.is_set():
            session = self._join()
            if session is None or session.work():
                return
            self._say("the server has changed: joining again")

    def _join(self) -> _Session | None:
        """Joins the server, loads the data and checks them; returns None if the run is over."""
        header = {"kind": "join", "kipax": __version__, "host": socket.gethostname()}
        while not self._stop.is_set():
            reply = self.call(header | {"pid": os.getpid()})
            kind = reply.get("kind", str)
            if kind == "done":
                return None
            if kind == "welcome":
                return self._welcomed(reply)
            time.sleep(_RETRY_SECONDS)  # the server is still loading its data
        return None

    def _welcomed(self, reply: Message) -> _Session:
        session = _Session(self, reply)
        try:
            recipe = TargetRecipe(**reply.get("recipe", dict), arrays=dict(reply.arrays))
            check_memory(reply.get("needed_bytes", int), jax.local_devices())
            self._say(f"loading {recipe.dataset}")
            computer = self._load(recipe)
        except Exception as error:
            session.leave(describe_error(error))  # the server tells its user as well
            raise
        session.begin(computer, recipe.targets_hash)
        return session

    def call(
        self,
        header: dict[str, Any],
        arrays: Parts | None = None,
        *,
        in_vain: Callable[[], bool] = lambda: False,
    ) -> Message:
        """Returns the server's reply; waits up to `patience_seconds` while it is out of reach.

        Args:
            header: header of the message.
            arrays: arrays of the message.
            in_vain: returns True once waiting for this server is pointless.

        Raises:
            UsageError: the server refuses this worker, or the message.
            PoolError: it stays out of reach.
        """
        data, began = pack(header, arrays), time.monotonic()
        while True:
            try:
                reply = unpack(self._call_server(data))
                break
            except ConnectionError as error:
                late = time.monotonic() - began > self._patience
                if late or self._stop.is_set() or in_vain():
                    raise PoolError(
                        f"the server was out of reach for {time.monotonic() - began:.0f} s "
                        f"({error}): is the address right, and the program running?"
                    ) from error
            time.sleep(_RETRY_SECONDS)
        if reply.get("kind", str) == "refused":
            raise UsageError(f"the server refused: {reply.get('why', str)}")
        return reply

    def stopped(self) -> bool:
        """Returns whether `stop` was set."""
        return self._stop.is_set()

    def say(self, sentence: str) -> None:
        """Tells the user."""
        self._say(sentence)


class _Session:
    """A worker joined to a server: a thread that fetches, one that beats, one for each device."""

    def __init__(self, worker: Worker, welcome: Message):
        self._worker = worker
        self._who = {k: welcome.get(k, str) for k in ("session", "worker")}
        self._beat_seconds = welcome.get("beat_seconds", float)
        self._over = threading.Event()
        self._finished = False  # whether the run, not only this session, is over
        self._error: BaseException | None = None
        self._inbox: queue.SimpleQueue[tuple[int, Task]] = queue.SimpleQueue()
        self._holding: set[int] = set()
        self._computer: TaskComputer

    def begin(self, computer: TaskComputer, targets_hash: str) -> None:
        """Tells the server that this worker has the data."""
        self._computer = computer
        # Each device computes one task while a second one waits.
        self._slots = threading.Semaphore(2 * len(computer.devices))
        at_once = len(computer.devices)
        self._send("ready", targets_hash=targets_hash, at_once=at_once)

    def work(self) -> bool:
        """Computes; returns True once the run is over, False if the server was replaced."""
        threads = [threading.Thread(target=self._guard, args=(self._beat,), daemon=True)]
        for _ in self._computer.devices:
            compute = threading.Thread(target=self._guard, args=(self._compute,), daemon=True)
            threads.append(compute)
        for thread in threads:
            thread.start()
        self._guard(self._fetch)
        self._over.set()
        if self._finished:
            self.leave("")  # at once, since the server waits; running blocks are not needed
        for thread in threads[1:]:
            thread.join()
        if self._error is not None:
            self.leave(str(self._error) or type(self._error).__name__)
            raise self._error
        if self._worker.stopped() and not self._finished:
            self.leave("")
        return self._finished or self._worker.stopped()

    def leave(self, why: str) -> None:
        """Leaves the server; `why` is the reason if something is wrong, else empty."""
        with contextlib.suppress(KipaxError):
            self._send("leave", why=why)

    def _send(self, kind: str, arrays: Parts | None = None, **fields: Any) -> Message:
        """Returns the server's reply; once the run is over, sends only the leave message."""
        if self._finished and kind != "leave":
            return Message({"kind": "done"})
        header = {"kind": kind} | self._who | fields
        try:
            reply = self._worker.call(header, arrays, in_vain=self._is_decided)
        except PoolError:
            if not self._finished:
                raise
            return Message({"kind": "done"})  # the server ended meanwhile
        if reply.get("kind", str) == "done":
            self._finished = True
        if reply.get("kind", str) in ("done", "unknown"):
            self._over.set()
        return reply

    def _guard(self, part: Callable, *args: Any) -> None:
        """Runs a thread; its error ends the session."""
        try:
            part(*args)
        except BaseException as error:
            self._error = self._error or error
            self._over.set()

    def _is_decided(self) -> bool:
        """Returns whether the session's end is decided, so that no reply is needed."""
        return self._finished or self._error is not None

    def _ended(self) -> bool:
        return self._over.is_set() or self._worker.stopped()

    def _beat(self) -> None:
        while not self._over.wait(self._beat_seconds):
            self._send("beat")

    def _fetch(self) -> None:
        """Fetches the next task while others are computed, and the support set that it needs."""
        while not self._ended():
            if not self._slots.acquire(timeout=_WAIT_SECONDS):
                continue
            task = self._take()
            if task is None:
                self._slots.release()
            else:
                self._inbox.put(task)

    def _take(self) -> tuple[int, Task] | None:
        reply = self._send("take", holding=sorted(self._holding), wait=_WAIT_SECONDS)
        if reply.get("kind", str) != "task":
            return None
        lease, task = reply.get("lease", int), unpack_task(reply)
        if not self._computer.has_support(task.version) and not self._fetch_support(task.version):
            return None  # it belongs to an old step and is no longer needed
        self._holding.add(lease)
        return lease, task

    def _fetch_support(self, version: int) -> bool:
        reply = self._send("support", version=version)
        if reply.get("kind", str) != "support":
            return False
        self._computer.set_support(reply.arrays["x"], version)
        return True

    def _compute(self) -> None:
        while not self._ended():
            try:
                lease, task = self._inbox.get(timeout=0.2)
            except queue.Empty:
                continue
            try:
                self._answer(lease, task)
            finally:
                self._holding.discard(lease)
                self._slots.release()

    def _answer(self, lease: int, task: Task) -> None:
        try:
            parts = self._computer.compute(task)
        except Exception as error:  # the server retries it elsewhere or ends the run
            why = f"{type(error).__name__}: {error}"
            self._worker.say(f"could not compute {task.describe()}: {why}")
            self._send("failure", lease=lease, why=why)
        else:
            self._send("answer", parts, lease=lease)
