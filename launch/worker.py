"""A worker that joins a running program, or replaces one that died.

Command:  python -m launch.worker --server=HOST:PORT
Expected: it loads the server's data set, computes blocks until the run is over, and ends.
Needs:    Python 3.10 with kipax[launchpad]. Ray restarts its workers by itself.
"""

from __future__ import annotations

import functools
import signal
import socket
import sys
import threading

from absl import flags

from kipax import console
from kipax.blocks.courier import connect, split_address
from kipax.blocks.worker import load_computer
from kipax.errors import UsageError
from launch.command import ALLOW_NETWORK_HELP
from launch.nodes import run_worker

flags.DEFINE_string("server", None, "HOST:PORT, as the server prints it")
flags.DEFINE_string("dataset", None, "what the data set is called here, if otherwise than there")
flags.DEFINE_string("data_dir", None, "where TensorFlow Datasets lie here, if elsewhere")
flags.DEFINE_float("patience_seconds", 120.0, "how long the server may be out of reach")
flags.DEFINE_boolean("allow_network", False, ALLOW_NETWORK_HELP)


def main(reporter: console.ConsoleReporter) -> dict:
    """Joins the server, computes tasks and leaves."""
    chosen = flags.FLAGS
    if not chosen.server:
        raise UsageError("--server=HOST:PORT is needed, as the server prints it.")
    host, _ = split_address(chosen.server)
    local = host in ("localhost", "127.0.0.1", socket.gethostname())
    if not local and not chosen.allow_network:
        raise UsageError(
            f"{host} is another host: --allow_network lets a program span hosts, in trusted "
            "networks only (--help says why)."
        )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    status = run_worker(
        connect(chosen.server),
        load=functools.partial(load_computer, dataset=chosen.dataset, data_dir=chosen.data_dir),
        patience_seconds=chosen.patience_seconds,
        stop=stop,
    )
    if status:
        sys.exit(status)
    return {"worker": "done"}


if __name__ == "__main__":
    console.run_command(main)
