"""What the Ray engine does about actors and clusters, with a stand-in for Ray itself."""

import queue
import sys
import threading
import types

import pytest

from kipax.blocks import ray as ray_engine
from kipax.blocks.ray import RayWorker, _connect, _Driver
from kipax.errors import UsageError
from kipax.version import __version__


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class RayActorError(RayError):
    actor_init_failed = False


class FailedInitError(RayActorError):
    actor_init_failed = True


class RuntimeEnvSetupError(RayError):
    pass


class Pool:
    """What a driver needs of a pool."""

    def __init__(self):
        self._queue, self._over = None, threading.Event()
        self._turned_away, self._joined_workers, self.said = [], [], []
        self._say = self.said.append

    def _joined(self, worker, at_once):
        self._joined_workers.append((worker, at_once))


class Actor:
    """Its `prepare` gives what it is told to, one after the other; None never comes."""

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), 0
        self.prepare = types.SimpleNamespace(remote=self._prepare)

    def _prepare(self, *told):
        self.asked += 1
        return [self.replies.pop(0)]  # a reference


@pytest.fixture
def ray(monkeypatch):
    def wait(refs, timeout):
        done = [ref for ref in refs if ref[0] is not None]
        if not done:
            threading.Event().wait(0.01)
        return done, []

    def get(ref):
        if isinstance(ref[0], Exception):
            raise ref[0]
        return ref[0]

    fake = types.ModuleType("ray")
    fake.wait, fake.get = wait, get
    kinds = (RayError, RayTaskError, RayActorError, RuntimeEnvSetupError)
    fake.exceptions = types.SimpleNamespace(**{kind.__name__: kind for kind in kinds})
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(ray_engine, "_RESTART_SECONDS", 0.01)
    return fake


READY = {"host": "here", "pid": 7, "devices": 2}


def test_an_actor_that_is_started_again_is_asked_again(ray):
    pool, actor = Pool(), Actor(RayActorError("died"), READY)
    assert _Driver(pool, "ray0", actor, ({}, None))._begin() == ("ray0.1@here/7", 4)
    assert (actor.asked, pool._turned_away) == (2, [])


@pytest.mark.parametrize("kind", [RayTaskError, FailedInitError, RuntimeEnvSetupError])
def test_an_actor_that_never_can_join_is_turned_away(ray, kind):
    pool, actor = Pool(), Actor(kind("a traceback\nImportError: no kipax"))
    assert _Driver(pool, "ray0", actor, ({}, None))._begin() == ("", 0)
    assert pool._turned_away == ["ImportError: no kipax"]
    assert pool.said == ["worker ray0 cannot join: ImportError: no kipax"]


def test_a_slow_actor_is_asked_once_and_the_end_is_noticed(ray):
    pool, actor = Pool(), Actor(None)
    threading.Timer(0.3, pool._over.set).start()
    assert _Driver(pool, "ray0", actor, ({}, None))._begin() == ("", 0)
    assert (actor.asked, pool._turned_away) == (1, [])


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ImportError("install kipax[data]"), "install kipax[data]"),
        (UsageError("other images"), "other images"),
        (RuntimeError("no such device"), "RuntimeError: no such device"),
    ],
)
def test_whatever_keeps_a_worker_from_its_data_is_told(monkeypatch, error, why):
    def load(self, **where):
        raise error

    monkeypatch.setattr(ray_engine.TargetRecipe, "load", load)
    assert RayWorker().prepare(JOB, {}) == {"why": why}


JOB = {
    "kipax": __version__,
    "needed_bytes": 1,
    "recipe": {
        "dataset": "digits",
        "data_dir": None,
        "image_size": None,
        "validation_examples": 0,
        "targets_hash": "",
        "augment_fraction": 0.0,
        "preprocessing": "standard",
    },
}


def test_a_worker_that_is_asked_twice_has_each_device_once(monkeypatch):
    monkeypatch.setattr(ray_engine.TargetRecipe, "load", lambda self, **where: None)
    worker = RayWorker()
    devices = [worker.prepare(JOB, {})["devices"] for _ in range(2)]
    for _ in range(devices[0]):
        worker._computer._free.get_nowait()
    with pytest.raises(queue.Empty):
        worker._computer._free.get_nowait()


@pytest.mark.parametrize(
    ("addresses", "allowed", "refused"),
    [
        (["10.0.0.1", "10.0.0.2"], False, True),
        (["10.0.0.1", "10.0.0.2"], True, False),
        (["10.0.0.1", "10.0.0.1"], False, False),
    ],
)
def test_a_cluster_of_several_hosts_needs_allow_network(ray, addresses, allowed, refused):
    """A host that has left counts no more."""
    calls = []
    ray.init = lambda **options: calls.append(options["address"])
    ray.shutdown = lambda: calls.append("left")
    ray.nodes = lambda: [
        *({"Alive": True, "NodeManagerAddress": a} for a in addresses),
        {"Alive": False, "NodeManagerAddress": "10.0.0.9"},
    ]
    if refused:
        with pytest.raises(
            UsageError, match=r"has 2 hosts \(10.0.0.1, 10.0.0.2\).*--allow_network"
        ):
            _connect("auto", allow_network=allowed)
    else:
        _connect("auto", allow_network=allowed)
    assert calls == ["auto", "left"][: 1 + refused]
