"""Assigns tasks to workers: leases, retries, late answers. Knows neither engines nor arrays.

A task is leased to a worker. It comes back when the worker answers; when the worker falls
silent or fails, the task is leased anew. A task that lags while a worker is idle is leased to
that one too, and the first answer counts. Every task counts once.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from kipax.errors import PoolError

__all__ = ["Lease", "QueueCounts", "QueueSettings", "TaskQueue"]

_EXPIRE_SECONDS = 0.2  # least time between two checks: there may be many workers


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueueSettings:
    """The limits after which a queue gives up on workers and tasks.

    Attributes:
        silence_seconds: a worker that was silent for so long is lost, with its leases.
        stuck_seconds: a lease that is older, and twenty times older than is usual, is lost
            although its worker is alive: compiling a first block may take minutes.
        overtake_seconds: where a worker is idle, a lease that is older, and four times older
            than is usual, is given to it as well.
        most_losses: a task that was lost so often stops the run.
        ahead: how many tasks after the first unfinished one may be done; bounds the memory.
    """

    silence_seconds: float = 20.0
    stuck_seconds: float = 600.0
    overtake_seconds: float = 1.0
    most_losses: int = 3
    ahead: int = 64

    @property
    def beat_seconds(self) -> float:
        """The seconds between two signs of life of a worker."""
        return self.silence_seconds / 4


@dataclasses.dataclass(frozen=True, eq=False)
class Lease:
    """A task given to a worker; each lease has a new `number`."""

    number: int
    task: Any
    worker: str
    since: float


@dataclasses.dataclass(frozen=True)
class QueueCounts:
    """Counts of a queue since it was made.

    Attributes:
        workers: number of workers that are alive now.
        counted: number of answers that counted, one for each task.
        dropped: number of answers that came late or twice.
        retries: number of leases after the first lease of a task.
        lost: number of workers lost.
        per_second: recent number of tasks answered per second.

    Example:
        >>> print(QueueCounts(2, 40, 1, 3, 1, 9.0))
        40 blocks counted once each · 3 retries · 1 late answers dropped · 1 workers lost
    """

    workers: int
    counted: int
    dropped: int
    retries: int
    lost: int
    per_second: float

    def __str__(self) -> str:
        return (
            f"{self.counted} blocks counted once each · {self.retries} retries · "
            f"{self.dropped} late answers dropped · {self.lost} workers lost"
        )


@dataclasses.dataclass(eq=False)
class _Entry:
    task: Any
    leases: dict[int, Lease] = dataclasses.field(default_factory=dict)
    leased: int = 0
    losses: list[str] = dataclasses.field(default_factory=list)
    result: Any = None
    done: bool = False


@dataclasses.dataclass(eq=False)
class _Worker:
    heard: float
    at_once: int  # how many tasks it computes at once; further leases wait at the worker


class TaskQueue:
    """Leases the tasks of one call at a time; thread-safe.

    Args:
        settings: limits for workers and tasks; None for the defaults.
        clock: returns the time in seconds; tests pass their own.
        on_lost: is called with a sentence about each loss.
    """

    def __init__(
        self,
        settings: QueueSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_lost: Callable[[str], None] = lambda sentence: None,
    ):
        self.settings = settings or QueueSettings()
        self._clock = clock
        self._on_lost = on_lost
        self._lock = threading.RLock()
        # A condition of its own, so that an answer does not wake every waiting worker.
        self._done, self._free = (threading.Condition(self._lock) for _ in range(2))
        self._numbers = itertools.count(1)
        self._entries: list[_Entry] = []
        self._by_lease: dict[int, _Entry] = {}
        self._workers: dict[str, _Worker] = {}
        self._first = 0  # the first task whose result was not taken yet
        self._counted = self._dropped = self._retries = self._lost = 0
        self._durations: collections.deque[float] = collections.deque(maxlen=64)
        self._answered: collections.deque[float] = collections.deque(maxlen=64)
        self._failure: str | None = None
        self._closed = False
        self._expires_at = -math.inf

    # -- the caller's side ---------------------------------------------------------------

    def start(self, tasks: Sequence[Any]) -> None:
        """Begins a call; forgets the rest of the previous call, late answers included."""
        with self._lock:
            self._entries = [_Entry(task) for task in tasks]
            self._by_lease.clear()
            self._first = 0
            self._failure = None
            self._free.notify_all()

    def next_result(self, timeout: float) -> tuple[bool, Any]:
        """Waits for the next task in order: ``(True, result)``, at the time-out ``(False, None)``.

        Raises:
            PoolError: a task was lost too often.
        """
        with self._lock:
            self._done.wait_for(self._is_ready, timeout)
            self.expire()
            if self._failure is not None:
                raise PoolError(self._failure)
            if not self._is_ready():
                return False, None
            entry = self._entries[self._first]
            self._first += 1
            result, entry.result = entry.result, None
            self._free.notify()  # the next task may now be leased, see `ahead`
            return True, result

    def close(self) -> None:
        """Wakes every worker that waits for a task; no further task is leased."""
        with self._lock:
            self._closed = True
            self._free.notify_all()

    def _is_ready(self) -> bool:
        within = self._first < len(self._entries)
        return self._failure is not None or (within and self._entries[self._first].done)

    def counts(self) -> QueueCounts:
        """Returns the counts so far; `QueueCounts` says what each means."""
        with self._lock:
            self.expire()
            times = self._answered
            span = times[-1] - times[0] if len(times) > 1 else 0.0
            return QueueCounts(
                workers=len(self._workers),
                counted=self._counted,
                dropped=self._dropped,
                retries=self._retries,
                lost=self._lost,
                per_second=(len(times) - 1) / span if span > 0 else 0.0,
            )

    # -- the workers' side ---------------------------------------------------------------

    def join(self, worker: str, *, at_once: int = 1) -> None:
        """Adds a worker that computes `at_once` tasks at the same time."""
        with self._lock:
            self._workers[worker] = _Worker(self._clock(), at_once)

    def hear(self, worker: str) -> bool:
        """Notes a sign of life; returns False for a worker that is unknown or was given up."""
        with self._lock:
            self.expire()
            known = self._workers.get(worker)
            if known is not None:
                known.heard = self._clock()
            return known is not None

    def knows(self, worker: str) -> bool:
        """Returns whether a worker has joined and was not given up."""
        with self._lock:
            self.expire()
            return worker in self._workers

    def leave(self, worker: str) -> None:
        """Removes a worker that ends in good order; its tasks do not count as lost."""
        with self._lock:
            for lease in self._held(worker):
                self._return(lease)
            self._workers.pop(worker, None)

    def lease(self, worker: str, *, timeout: float = 0.0) -> Lease | None:
        """Returns the next task for a worker, or None if there is none within `timeout` seconds."""
        deadline = self._clock() + timeout
        with self._lock:
            while True:
                self.expire()
                entry = self._choose(worker) if worker in self._workers else None
                if entry is not None:
                    return self._give(entry, worker)
                left = deadline - self._clock()
                if left <= 0 or self._closed:
                    return None
                self._free.wait(min(left, self.settings.overtake_seconds / 2))

    def answer(self, number: int, result: Any) -> bool:
        """Takes an answer; drops it and returns False if it is late or the second."""
        with self._lock:
            entry = self._by_lease.get(number)
            if entry is None or number not in entry.leases or entry.done:
                self._dropped += 1
                return False
            now = self._clock()
            self._durations.append(now - entry.leases[number].since)
            self._answered.append(now)
            entry.result = result
            entry.done = True
            entry.leases.clear()
            self._counted += 1
            self._done.notify()
            return True

    def reconcile(self, worker: str, holding: Sequence[int]) -> None:
        """Takes back the leases that a worker never heard of, because a reply was lost."""
        with self._lock:
            for lease in self._held(worker):
                if lease.number not in holding:
                    self._return(lease)

    def fail(self, number: int, why: str) -> None:
        """Notes that a worker could not compute a task, and why."""
        with self._lock:
            entry = self._by_lease.get(number)
            if entry is not None and number in entry.leases and not entry.done:
                self._lose(entry.leases[number], why)

    def task_of(self, number: int) -> Any:
        """Returns the task of a lease that is still valid; None for a late one."""
        with self._lock:
            entry = self._by_lease.get(number)
            return entry.task if entry and number in entry.leases and not entry.done else None

    # -- time ----------------------------------------------------------------------------

    def expire(self) -> None:
        """Gives up silent workers and stuck leases."""
        with self._lock:
            now, settings = self._clock(), self.settings
            if now < self._expires_at:
                return
            self._expires_at = now + _EXPIRE_SECONDS
            for name, worker in list(self._workers.items()):
                if now - worker.heard > settings.silence_seconds:
                    self.lose(name, f"was silent for {settings.silence_seconds:g} s")
            limit = max(settings.stuck_seconds, 20 * self._usual_seconds())
            for entry in self._entries[self._first :]:
                for lease in list(entry.leases.values()):
                    if now - lease.since > limit:
                        self._lose(lease, f"{lease.worker} had it for {limit:.0f} s")

    def lose(self, worker: str, why: str) -> None:
        """Gives up a worker: tasks that it computed count as lost, waiting tasks do not."""
        with self._lock:
            known = self._workers.pop(worker, None)
            if known is None:
                return
            self._lost += 1
            self._on_lost(f"lost worker {worker}, which {why}")
            for place, lease in enumerate(self._held(worker)):
                if place < known.at_once:
                    self._lose(lease, f"{worker} {why}")
                else:
                    self._return(lease)

    # -- parts ---------------------------------------------------------------------------

    def _held(self, worker: str) -> list[Lease]:
        leases = (lease for entry in self._entries for lease in entry.leases.values())
        return sorted((le for le in leases if le.worker == worker), key=lambda le: le.number)

    def _choose(self, worker: str) -> _Entry | None:
        """Returns the first free task, else one that is slow at another worker."""
        stop = self._first + max(self.settings.ahead, 4 * len(self._workers))
        waiting = [e for e in self._entries[self._first : stop] if not e.done]
        for entry in waiting:
            if not entry.leases:
                return entry
        limit = max(self.settings.overtake_seconds, 4 * self._usual_seconds())
        for entry in waiting:
            (lease, *others) = entry.leases.values()
            lagging = self._clock() - lease.since > limit
            if lagging and not others and lease.worker != worker:
                return entry
        return None

    def _give(self, entry: _Entry, worker: str) -> Lease:
        lease = Lease(next(self._numbers), entry.task, worker, self._clock())
        entry.leases[lease.number] = lease
        self._by_lease[lease.number] = entry
        self._retries += entry.leased > 0
        entry.leased += 1
        return lease

    def _return(self, lease: Lease) -> None:
        self._by_lease[lease.number].leases.pop(lease.number, None)
        self._free.notify()

    def _lose(self, lease: Lease, why: str) -> None:
        entry = self._by_lease[lease.number]
        self._return(lease)
        entry.losses.append(why)
        self._on_lost(f"{_describe(entry.task)} comes again: {why}")
        if len(entry.losses) >= self.settings.most_losses and self._failure is None:
            self._done.notify()
            self._failure = (
                f"{_describe(entry.task)} failed {len(entry.losses)} times: "
                f"{'; '.join(entry.losses)}. Mend the cause (memory? a smaller memory_gb makes "
                "smaller blocks in a new run) and continue with --resume."
            )

    def _usual_seconds(self) -> float:
        return statistics.median(self._durations) if self._durations else 0.0


def _describe(task: Any) -> str:
    return task.describe() if hasattr(task, "describe") else str(task)
