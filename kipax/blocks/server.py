"""The server's half of a pool: holds the support set and the queue, answers messages.

`PoolServer.handle` takes and returns bytes (`kipax.blocks.wire`), so that any engine that
carries bytes can serve it.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from kipax.blocks.job import BlockJob
from kipax.blocks.pool import Pool
from kipax.blocks.wire import Message, pack, pack_task, unpack
from kipax.errors import WireError
from kipax.version import __version__

__all__ = ["PoolServer"]

_JOIN_SECONDS = 1.5  # a worker asks more often
_MOST_WAIT = 5.0  # seconds that a worker's request for a task may wait here

_log = logging.getLogger("kipax")


class PoolServer(Pool):
    """Serves workers that call `handle`. Thread-safe.

    Args:
        allow_network: whether workers of other hosts may join.
        options: further arguments of `Pool`.
    """

    def __init__(self, *, allow_network: bool = False, **options: Any):
        super().__init__(**options)
        self.session = secrets.token_hex(8)  # differs from that of an earlier server
        self._allow_network = allow_network
        self._names = itertools.count(1)
        self._lock = threading.Lock()
        self._support: tuple[int, bytes] | None = None
        self._closed = False

    def _offer_support(self, x_support: np.ndarray, version: int) -> None:
        """Encodes the support set once, for every worker to fetch."""
        header = {"kind": "support", "version": version}
        self._support = version, pack(header, {"x": x_support})

    def close(self, *, seconds: float = 10.0) -> None:
        """Tells workers that the run is over and waits at most `seconds` for them to leave."""
        self._closed = True
        self._queue.close()
        deadline = time.monotonic() + seconds
        if not self._any_joined:
            time.sleep(min(seconds, _JOIN_SECONDS))  # workers that try to join are told too
        while self._queue.counts().workers and time.monotonic() < deadline:
            time.sleep(0.05)

    # -- the workers' side ---------------------------------------------------------------

    def handle(self, data: bytes) -> bytes:
        """Returns the reply to a message; a damaged or foreign message is refused and logged."""
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
            counted = self._accept(message.get("lease", int), message.arrays)
            return pack({"kind": "ok", "counted": counted})
        if kind == "failure":
            self._queue.fail(message.get("lease", int), message.get("why", str)[:500])
            return pack({"kind": "ok"})
        if kind == "beat":  # a worker that is fully busy asks for no task
            return pack({"kind": "done" if self._closed else "ok"})
        raise WireError(f"refused a message of the unknown kind {kind!r:.40}.")

    def _join(self, message: Message) -> bytes:
        """Checks the worker's version and host; returns the reply that describes the run."""
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
            name = f"{next(self._names)}@{host}/{message.get('pid', int)}"
        return pack(self._welcome(name, job), job.recipe.arrays)

    def _welcome(self, name: str, job: BlockJob) -> Mapping[str, Any]:
        return {
            "kind": "welcome",
            "session": self.session,
            "worker": name,
            "recipe": job.recipe.facts(),
            "needed_bytes": job.needed_bytes(),
            "beat_seconds": self._queue.settings.beat_seconds,
        }

    def _ready(self, worker: str, message: Message) -> bytes:
        assert self._job is not None
        if message.get("targets_hash", str) != self._job.recipe.targets_hash:
            return self._refuse(f"worker {worker} has other training images than this run.")
        self._joined(worker, max(1, message.get("at_once", int)))
        return pack({"kind": "ok"})

    def _leave(self, worker: str, message: Message) -> bytes:
        why = message.get("why", str)[:500]
        if why:
            self._turned_away.append(why)
            self._say(f"worker {worker} left: {why}")
        self._queue.leave(worker)
        return pack({"kind": "ok"})

    def _refuse(self, why: str) -> bytes:
        _log.warning("kipax server: refused: %s", why)
        self._turned_away.append(why)
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
        return support[1]
