"""The base of every pool of workers, independent of what carries its messages.

`Pool` waits for the queue and reports to the user; `PoolExecutor` is the executor that the
optimiser calls.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from kipax.blocks.job import BlockJob, check_for_workers
from kipax.blocks.plan import BlockPlan
from kipax.blocks.queue import QueueCounts, QueueSettings, TaskQueue
from kipax.blocks.sums import SummingExecutor
from kipax.blocks.tasks import Parts, Task
from kipax.errors import PoolError, WireError

__all__ = ["Pool", "PoolExecutor", "check_parts"]

_POLL_SECONDS = 0.5
_REMIND_SECONDS = 30.0
_NO_WORKER_SECONDS = 3.0
_GOOD_BLOCKS = 4  # blocks per worker and step, so that the wait for the last one is short
_START_SECONDS = 15.0  # processes need this long to start and to load their data


class Pool(abc.ABC):
    """A queue of tasks whose subclass brings them to workers; serves one call at a time.

    Args:
        settings: the limits for silent, stuck and slow workers.
        how_to_join: how to start a worker; ends the sentence that no worker has joined.
        expected_workers: the run ends once this many workers failed to join and none has joined.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        *,
        settings: QueueSettings | None = None,
        how_to_join: str = "",
        expected_workers: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.waited_seconds = 0.0  # how long the executor waited for workers
        self.bytes_in = self.bytes_out = 0
        self.how_to_join = how_to_join
        self._clock = clock
        self._say: Callable[[str], None] = lambda sentence: None
        self._queue = TaskQueue(settings, clock=clock, on_lost=lambda words: self._say(words))
        self._job: BlockJob | None = None
        self._support_shape: tuple[int, ...] = ()
        self._expected = expected_workers
        self._any_joined = False
        self._turned_away: list[str] = []
        self._nobody_since = self._reminded = clock()

    def set_support(self, x_support: np.ndarray, version: int) -> None:
        """Takes a new support set and makes it available to workers, as float32."""
        self._support_shape = x_support.shape
        self._offer_support(x_support, version)

    @abc.abstractmethod
    def _offer_support(self, x_support: np.ndarray, version: int) -> None:
        """Makes the support set available to workers."""

    @abc.abstractmethod
    def close(self, *, seconds: float = 10.0) -> None:
        """Tells workers that the run is over and waits at most `seconds` for them to leave."""

    def executor(self, job: BlockJob) -> PoolExecutor:
        """Returns the executor of a run; from now on workers may join.

        Raises:
            UsageError: a kernel of the run is a user's function, which workers do not have.
        """
        check_for_workers(job.kernels)
        self._say = job.say
        self._job = job
        blocks = len(job.plan.target_blocks(job.num_targets))
        if blocks < 2 * self._expected and job.num_targets >= _GOOD_BLOCKS * self._expected:
            limit = job.memory_gb_for(_GOOD_BLOCKS * self._expected)
            job.say(
                f"{blocks} block{'s' * (blocks > 1)} of targets for {self._expected} workers: "
                f"memory_gb={limit:.2g} in a new run makes {_GOOD_BLOCKS} for each"
            )
        return PoolExecutor(self, job.plan, job.targets.num_classes)

    def run(self, tasks: Iterable[Task]) -> Iterator[Parts]:
        """Yields the parts of each task, in the order of the tasks.

        Raises:
            PoolError: a task was lost too often, or no worker can join.
        """
        tasks = list(tasks)
        self._queue.start(tasks)
        try:
            for _ in tasks:
                yield self._await_result()
        finally:
            self._queue.start([])

    def counts(self) -> QueueCounts:
        """Returns the numbers of workers, answers, retries and losses so far."""
        return self._queue.counts()

    def _joined(self, worker: str, at_once: int) -> None:
        self._queue.join(worker, at_once=at_once)
        self._any_joined = True
        self._say(f"worker {worker} joined")

    def _accept(self, number: int, parts: Mapping[str, np.ndarray]) -> bool:
        """Takes the answer to a lease; drops it and returns False if it is late or the second.

        Raises:
            WireError: the parts are not those that the task asks for; the lease counts as failed.
        """
        task = self._queue.task_of(number)
        if task is None:
            return self._queue.answer(number, None)  # counts as dropped
        assert self._job is not None
        try:
            sound = check_parts(task, parts, self._support_shape, self._job.targets.num_classes)
        except WireError as error:
            self._queue.fail(number, str(error))
            raise
        return self._queue.answer(number, sound)

    def _await_result(self) -> Parts:
        began = time.monotonic()
        try:
            while True:
                done, parts = self._queue.next_result(_POLL_SECONDS)
                if done:
                    return parts
                if 0 < self._expected <= len(self._turned_away) and not self._any_joined:
                    raise PoolError(f"no worker could join: {self._turned_away[-1]}")
                self._remind(time.monotonic() - began)
        finally:
            self.waited_seconds += time.monotonic() - began

    def _remind(self, waited: float) -> None:
        """Tells the user from time to time that no worker has joined or that a block takes long."""
        now, workers = self._clock(), self._queue.counts().workers
        if workers:
            self._nobody_since = now
        due = now - self._reminded > _REMIND_SECONDS
        fresh = self._reminded <= self._nobody_since
        limit = _NO_WORKER_SECONDS if self._any_joined else _START_SECONDS
        if not workers and now - self._nobody_since > limit and (due or fresh):
            left = "no worker is left" if self._any_joined else "no worker has joined yet"
            self._say(f"{left}: waiting for one{self.how_to_join}")
            self._reminded = now
        elif workers and due and waited > _REMIND_SECONDS:
            self._say(f"waiting for a block for {waited:.0f} s; {workers} workers are alive")
            self._reminded = now


def check_parts(
    task: Task, parts: Mapping[str, np.ndarray], support_shape: tuple[int, ...], num_classes: int
) -> Parts:
    """Returns the parts of an answer after checking them against the task.

    Raises:
        WireError: other names, dtypes or shapes.
    """
    expected = task.expected_parts(support_shape, num_classes)
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
        pool: computes the tasks.
        plan: the block sizes.
        num_classes: number of classes of the targets.
    """

    def __init__(self, pool: Pool, plan: BlockPlan, num_classes: int):
        super().__init__(plan, num_classes)
        self._pool = pool

    def _hold_support(self, x_support: np.ndarray) -> None:
        self._pool.set_support(x_support, self.version)

    def _run(self, tasks: Iterable[Task]) -> Iterator[Parts]:
        return self._pool.run(tasks)

    def status(self) -> str:
        """Returns the numbers of live workers, of blocks a second and of retries, as text."""
        counts = self._pool.counts()
        words = f"{counts.workers} worker{'s' * (counts.workers != 1)}"
        if counts.per_second:
            words += f" · {counts.per_second:.3g} blocks/s"
        retries = counts.retries
        return words + (f" · {retries} retr{'ies' if retries > 1 else 'y'}" if retries else "")
