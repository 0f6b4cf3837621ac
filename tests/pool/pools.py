"""A pool in this process, and what it is asked for, for tests."""

import threading

import numpy as np

from kipax import architectures
from kipax.blocks import BlockPlan, TargetRows
from kipax.blocks.queue import QueueSettings
from kipax.blocks.server import PoolServer
from kipax.blocks.worker import Worker, load_computer
from kipax.kernels import KernelSpec

SPEC = KernelSpec(architectures.from_name("convnet1"))
PLAN, SUPPORTS, CLASSES = BlockPlan(target_rows=32, support_rows=6), 10, 10
ROWS = TargetRows(np.arange(7, 151))
FAST = QueueSettings(silence_seconds=2.0, overtake_seconds=0.2)


class Pool:
    """A server with worker threads."""

    def __init__(self, job, *, settings=FAST, workers=2, load=load_computer, **more):
        self.server = PoolServer(settings=settings, **more)
        self.executor = self.server.executor(job)
        self.threads, self.errors = [], []
        for _ in range(workers):
            self.add(load=load)

    def add(self, call=None, **more):
        worker = Worker(call or self.server.handle, patience_seconds=5, **more)
        thread = threading.Thread(target=self._work, args=(worker,), daemon=True)
        thread.start()
        self.threads.append(thread)

    def _work(self, worker):
        try:
            worker.run()
        except Exception as error:  # dead workers of the tests
            self.errors.append(error)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Ends the run; workers leave."""
        self.server.close(seconds=5)
        for thread in self.threads:
            thread.join(10)


def results(executor, x_support, rows=ROWS, spec=SPEC):
    """Everything that an executor computes."""
    rng = np.random.default_rng(0)
    alpha = np.asfortranarray(rng.normal(size=(SUPPORTS, CLASSES)))  # as a solve gives it
    of_support = rng.normal(size=(SUPPORTS, SUPPORTS))
    executor.set_support(x_support, version=3)
    one = executor.target_pass(rows, alpha, kernel=spec, loss="mse", count=len(rows))
    return [
        executor.support_kernel(kernel=spec),
        executor.support_vjp(of_support, kernel=spec),
        np.array([one.loss, one.correct]),
        one.d_x_support,
        one.d_alpha,
        *(array for part in executor.gram_parts(rows, kernel=spec) for array in part),
    ]


def assert_equal(found, expected):
    """The same bits."""
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
