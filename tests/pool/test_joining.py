"""Who may join a pool, and what becomes of who may not."""

import dataclasses
import threading
import time

import numpy as np
import pytest

from kipax.blocks import worker as worker_module
from kipax.blocks.server import PoolServer
from kipax.blocks.wire import pack, unpack
from kipax.blocks.worker import Worker, load_computer
from kipax.errors import PoolError, UsageError
from tests.pool.pools import FAST, SPEC, assert_equal, results


def test_bytes_that_are_no_message_are_refused(job, caplog):
    server = PoolServer()
    server.executor(job)
    for data in (b"", b"\x80\x04.", pack({"kind": "nonsense", "session": server.session})):
        assert unpack(server.handle(data)).header["kind"] == "refused"
    other = unpack(server.handle(pack({"kind": "take", "session": "another", "worker": "1"})))
    assert other.header["kind"] == "unknown"
    assert "refused" in caplog.text


def test_other_data_are_refused(job, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "other.npz"
    x = rng.integers(0, 256, (300, 8, 8, 1)).astype(np.uint8)
    y = np.arange(300) % 10
    np.savez(path, x_train=x, y_train=y, x_test=x[:10], y_test=y[:10])
    server = PoolServer()
    server.executor(job)
    with pytest.raises(UsageError, match="are not the server's"):
        Worker(server.handle, load=lambda r: load_computer(r, dataset=f"npz:{path}")).run()


def test_another_version_is_refused(job, monkeypatch):
    server = PoolServer()
    server.executor(job)
    monkeypatch.setattr(worker_module, "__version__", "0.0.0")
    with pytest.raises(UsageError, match=r"has kipax 0\.0\.0"):
        Worker(server.handle).run()


def test_other_hosts_need_allow_network(job, monkeypatch):
    monkeypatch.setattr(worker_module.socket, "gethostname", lambda: "elsewhere")
    for allowed in (False, True):
        server = PoolServer(allow_network=allowed)
        server.executor(job)
        header = {
            "kind": "join",
            "kipax": worker_module.__version__,
            "host": "elsewhere2",
            "pid": 1,
        }
        reply = unpack(server.handle(pack(header))).header
        assert reply["kind"] == ("welcome" if allowed else "refused")
        assert allowed or "--allow_network" in reply["why"]


def test_too_little_memory(job, monkeypatch):
    server = PoolServer()
    server.executor(job)
    monkeypatch.setattr(worker_module, "available_bytes", lambda device: 10_000)
    with pytest.raises(UsageError, match="smaller memory_gb"):
        Worker(server.handle).run()


def test_data_that_need_an_extra(job, x_support):
    """Any error is told to the server, whose run ends where nobody can join."""

    def load(recipe):
        raise ImportError("install kipax[data]")

    said = []
    server = PoolServer(expected_workers=1)
    executor = server.executor(dataclasses.replace(job, say=said.append))
    with pytest.raises(ImportError):
        Worker(server.handle, load=load).run()
    assert any("left: install kipax[data]" in sentence for sentence in said)
    executor.set_support(x_support, version=0)
    with pytest.raises(PoolError, match=r"no worker could join: install kipax\[data\]"):
        executor.support_kernel(kernel=SPEC)


def test_an_unreachable_server():
    def call(data):
        raise ConnectionError("refused")

    with pytest.raises(PoolError, match="out of reach for"):
        Worker(call, patience_seconds=0.6).run()


def test_a_new_server_at_the_same_place(job, x_support, expected):
    """The server dies; another with the same run takes over; the worker joins it."""
    where = {"server": PoolServer(settings=FAST)}
    first = where["server"]
    first.executor(job).set_support(x_support, version=0)
    said = []
    worker = Worker(lambda data: where["server"].handle(data), say=said.append)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    while not first.counts().workers:
        time.sleep(0.05)
    second = where["server"] = PoolServer(settings=FAST)
    assert_equal(results(second.executor(job), x_support), expected)
    second.close(seconds=5)
    thread.join(10)
    assert "the server has changed: joining again" in said
