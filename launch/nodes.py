"""The processes of a Launchpad program; importable, since nodes are pickled."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import logging

from kipax import console, files
from kipax.blocks.courier import call_through
from kipax.blocks.pool import Pool
from kipax.blocks.queue import QueueSettings
from kipax.blocks.server import PoolServer
from kipax.blocks.worker import Worker
from kipax.distill import KIPConfig, LabelSolveConfig, run_kip, run_label_solve
from kipax.distill.config import RunConfig
from kipax.errors import KipaxError, OutOfTime, UsageError
from launch.relay import RelayReporter

__all__ = [
    "METHODS",
    "Outcome",
    "RunRequest",
    "ServerNode",
    "WorkerNode",
    "execute",
    "interrupt_on_signals",
]

METHODS: dict[str, tuple[type, Callable]] = {
    "kip": (KIPConfig, run_kip),
    "label_solve": (LabelSolveConfig, run_label_solve),
}


@dataclasses.dataclass(frozen=True)
class RunRequest:
    """The run that the user asked for.

    Attributes:
        method: a key of `METHODS`.
        config: the config of the run.
        workdir, resume: see `kipax.distill.run_kip`.
        num_workers: number of workers that the program starts.
        allow_network: whether workers of other hosts may join.
        silence_seconds: seconds of silence after which a worker is given up.
        debug: whether to show tracebacks.
    """

    method: str
    config: RunConfig
    workdir: str | None = None
    resume: bool = False
    num_workers: int = 1
    allow_network: bool = False
    silence_seconds: float = 20.0
    debug: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The end of a run: exit status, and the JSON line or the error message.

    Attributes:
        status: exit status, see `kipax.console`.
        result: the JSON line for status 0.
        message: the sentence for any other status.
    """

    status: int
    result: dict[str, Any] | None = None
    message: str = ""

    def write(self, path: Path | str) -> None:
        """Writes the outcome to a file."""
        files.write_json(path, dataclasses.asdict(self))

    @classmethod
    def read(cls, path: Path | str) -> Outcome:
        """Reads the outcome that `write` wrote."""
        return cls(**files.read_json(path))


def execute(request: RunRequest, pool: Pool, reporter: Any) -> Outcome:
    """Runs the request on a pool and returns its outcome; never raises.

    Args:
        request: the run.
        pool: computes the blocks.
        reporter: a `ConsoleReporter`, or an object with its methods.
    """
    _, run = METHODS[request.method]
    try:
        result = run(
            request.config,
            workdir=request.workdir,
            resume=request.resume,
            reporter=reporter,
            make_executor=pool.executor,
        )
        reporter.close()
        counts = pool.counts()
        reporter.say(str(counts))
        blocks = {k: getattr(counts, k) for k in ("counted", "retries", "dropped", "lost")}
        return Outcome(0, console.summarise(reporter, result, request.config) | {"blocks": blocks})
    except OutOfTime as error:
        reporter.close()
        reporter.say(str(error))
        return Outcome(0, error.facts)
    except KeyboardInterrupt as error:
        return Outcome(130, message=str(error) or "stopped")
    except (KipaxError, ImportError) as error:
        if request.debug:
            traceback.print_exc()
        return Outcome(2 if isinstance(error, UsageError) else 1, message=str(error))
    except Exception as error:
        traceback.print_exc()
        return Outcome(1, message=f"{type(error).__name__}: {error}")
    finally:
        reporter.close()


class ServerNode:
    """The server: optimiser, checkpoints and queue; workers call `handle`.

    Args:
        request: the run.
        folder: folder for ``server.json`` (its process and address), ``reports.jsonl`` (its
            messages) and ``outcome.json``.
        address: its own address, resolved when the program runs.
    """

    def __init__(self, request: RunRequest, folder: str, address: Any):
        logging.set_verbosity(logging.WARNING)
        self._request = request
        self._folder = Path(folder)
        self._address = address
        self._server = PoolServer(
            settings=QueueSettings(silence_seconds=request.silence_seconds),
            allow_network=request.allow_network,
            expected_workers=request.num_workers,
        )
        self._once = threading.Lock()

    def handle(self, message: bytes) -> bytes:
        """Returns the reply to a worker's message."""
        return self._server.handle(message)

    def run(self) -> None:
        """Distils; runs only once, since courier exposes this method too."""
        if not self._once.acquire(blocking=False):
            return
        interrupt_on_signals()
        port = str(self._address.resolve()).rpartition(":")[2]
        host = socket.gethostname() if self._request.allow_network else "localhost"
        join = f"python -m launch.worker --server={host}:{port}"
        self._server.how_to_join = f"; {join} starts one"
        facts = {"pid": os.getpid(), "address": f"{host}:{port}"}
        files.write_bytes(self._folder / "server.json", json.dumps(facts).encode())
        reporter = RelayReporter(self._folder / "reports.jsonl")
        reporter.say(f"server is process {os.getpid()} · more workers may join: {join}")
        outcome = execute(self._request, self._server, reporter)
        outcome.write(self._folder / "outcome.json")  # first, since an interrupt leaves little time
        self._server.close()


class WorkerNode:
    """A worker; ends in good order when the run is over.

    Args:
        server: courier's client of the server.
    """

    def __init__(self, server: Any):
        logging.set_verbosity(logging.WARNING)
        self._server = server

    def run(self) -> None:
        """Works until the run is over."""
        stop = threading.Event()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: stop.set())
            signal.signal(signal.SIGINT, lambda *_: stop.set())
        run_worker(call_through(self._server), stop=stop)


def run_worker(call: Callable[[bytes], bytes], **options: Any) -> int:
    """Runs a worker to its end, prints its error if any, and returns the exit status."""
    say = lambda sentence: print(f"worker: {sentence}", file=sys.stderr, flush=True)  # noqa: E731
    try:
        Worker(call, say=say, **options).run()
    except (KipaxError, ImportError) as error:
        say(str(error))
        return 2 if isinstance(error, UsageError) else 1
    return 0


def interrupt_on_signals() -> None:
    """Makes the first Ctrl-C or SIGTERM save and end the run; ignores Launchpad's repetitions."""
    if threading.current_thread() is not threading.main_thread():
        return
    seen = threading.Event()

    def interrupt(*_: Any) -> None:
        if not seen.is_set():
            seen.set()
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
