"""A pool in this process, for tests."""

import threading

from kipax.blocks.queue import QueueSettings
from kipax.blocks.server import PoolServer
from kipax.blocks.worker import Worker

FAST = QueueSettings(silence_seconds=2.0, overtake_seconds=0.2)


class Pool:
    """A server with worker threads."""

    def __init__(self, job, *, settings=FAST, workers=2, load=None, **more):
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
