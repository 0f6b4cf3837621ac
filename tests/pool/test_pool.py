"""Server and workers in one process: the same bits as the local executor, whatever happens."""

import dataclasses
import threading
import time

import jax
import numpy as np
import pytest

from kipax import KIPConfig, LabelSolveConfig, run_kip, run_label_solve
from kipax.blocks import LocalExecutor
from kipax.blocks.computer import TaskComputer
from kipax.blocks.pool import check_parts
from kipax.blocks.tasks import TASKS
from kipax.blocks.wire import unpack
from kipax.errors import PoolError
from tests.pool.pools import CLASSES, FAST, PLAN, ROWS, SPEC, Pool, assert_equal, results

BLOCKS = 3 + 3 + 5 + 5  # of `results`


@pytest.mark.parametrize("workers", [1, 3])
def test_a_pool_is_the_local_executor(job, x_support, expected, workers):
    with Pool(job, workers=workers) as pool:
        assert_equal(results(pool.executor, x_support), expected)
        counts = pool.server.counts()
        assert counts.workers == workers
        assert counts.counted == BLOCKS
        assert f"{workers} worker" in pool.executor.status()


def test_augmented_targets(job, targets, x_support):
    rows = dataclasses.replace(ROWS, step=4, augmentation_seed=9)
    local = results(LocalExecutor(targets, PLAN), x_support, rows)
    with Pool(job) as pool:
        assert_equal(results(pool.executor, x_support, rows), local)


def test_many_blocks_share_tasks(targets, x_support, monkeypatch):
    """Beyond so many, consecutive blocks are one task: nearly the same sum, and the same answer
    from a pool."""
    alone = results(LocalExecutor(targets, PLAN), x_support)
    monkeypatch.setattr("kipax.blocks.sums.MOST_TASKS", 2)
    executor = LocalExecutor(targets, PLAN)
    executor.set_support(x_support, version=0)
    shared = executor._target_parts(ROWS, blocks_each=3)
    assert [used for _, used in shared] == [96, 48]
    assert [len(rows) for rows, _ in shared] == [96, 64]
    for one, other in zip(results(executor, x_support), alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15 * np.abs(other).max())


def test_every_part_is_as_expected(targets, x_support):
    """What the server demands of an answer is what a task gives."""
    executor = LocalExecutor(targets, PLAN)
    seen = []

    def run(tasks):
        for task in tasks:
            parts = task.compute(targets, jax.device_put(x_support))
            assert set(parts) == set(task.expected_parts(x_support.shape, CLASSES))
            seen.append(task.op)
            yield check_parts(task, parts, x_support.shape, CLASSES)

    executor._run = run
    results(executor, x_support)
    assert set(seen) == set(TASKS)


# -- trouble -------------------------------------------------------------------------------------


class Cut:
    """A way to the server that breaks after some answers, as a killed worker's does."""

    def __init__(self, server, answers):
        self._server, self._left = server, answers
        self.dead = False

    def __call__(self, data):
        if unpack(data).header["kind"] == "answer":
            self._left -= 1
        if self._left < 0:
            self.dead = True
        if self.dead:
            raise ConnectionError("cut")
        return self._server.handle(data)


def test_a_dead_worker_is_replaced(job, x_support, expected):
    with Pool(job, workers=1) as pool:
        cut = Cut(pool.server, answers=2)
        pool.add(call=cut)
        time.sleep(0.3)
        assert_equal(results(pool.executor, x_support), expected)
        assert cut.dead
        counts = pool.server.counts()
        assert counts.counted == BLOCKS
        assert counts.retries >= 1


@pytest.mark.slow
def test_waits_for_a_worker_and_says_so(job, x_support, expected):
    """At the start, and when the last one is lost."""
    said = []
    told = dataclasses.replace(job, say=said.append)
    with Pool(told, workers=0, how_to_join="; start one") as pool:
        cut = Cut(pool.server, answers=1)
        pool.add(call=cut)
        threading.Timer(7.0, pool.add).start()
        assert_equal(results(pool.executor, x_support), expected)
        assert pool.server.counts().counted == BLOCKS
    assert any("no worker is left: waiting for one; start one" in s for s in said)
    assert any("lost worker 1" in s for s in said)
    assert any("worker 2" in s and "joined" in s for s in said)


def test_a_slow_worker_is_overtaken(job, x_support, expected):
    """It answers after all, and that answer is dropped."""
    release = threading.Event()

    class Slow(TaskComputer):
        def compute(self, task):
            if task.op == "target_pass":
                release.wait(20)
            return super().compute(task)

    settings = dataclasses.replace(FAST, silence_seconds=60.0)
    with Pool(job, settings=settings, workers=1) as pool:
        pool.add(load=lambda recipe: Slow(recipe.load()))
        while pool.server.counts().workers < 2:
            time.sleep(0.05)
        assert_equal(results(pool.executor, x_support), expected)
        release.set()
        deadline = time.monotonic() + 10
        while not pool.server.counts().dropped and time.monotonic() < deadline:
            time.sleep(0.05)
        counts = pool.server.counts()
        assert counts.dropped >= 1
        assert counts.counted == BLOCKS


def _held_back(release, seen):
    """Computes no task before the release."""

    class HeldBack(TaskComputer):
        def compute(self, task):
            seen.append(task.position)
            release.wait(20)
            return super().compute(task)

    return lambda recipe: HeldBack(recipe.load())


def _start(executor, x_support):
    """Asks for Label Solve's sums, in a thread."""
    executor.set_support(x_support, version=0)
    thread = threading.Thread(
        target=lambda: list(executor.gram_parts(ROWS, kernel=SPEC)), daemon=True
    )
    thread.start()
    return thread


def _wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_a_device_computes_one_task_and_one_waits(job, x_support):
    release, seen = threading.Event(), []
    with Pool(job, workers=1, load=_held_back(release, seen)) as pool:
        asking = _start(pool.executor, x_support)
        _wait_for(lambda: seen)
        time.sleep(0.5)  # for a third
        leased = [entry for entry in pool.server._queue._entries if entry.leases]
        release.set()
        asking.join(20)
    assert len(leased) == 2


def test_a_block_in_vain_does_not_outlive_the_run(job, x_support):
    """It was overtaken; the run ends, and the server with it, while it is computed."""
    release, seen, gone, late = threading.Event(), [], threading.Event(), []

    def call(data):
        if gone.is_set():
            late.append(unpack(data).header["kind"])
            raise ConnectionError("gone")
        return pool.server.handle(data)

    with Pool(job, workers=0) as pool:
        pool.add(call=call, load=_held_back(release, seen))
        asking = _start(pool.executor, x_support)
        _wait_for(lambda: seen)
        pool.add()
        asking.join(20)
        began = time.monotonic()
        pool.server.close()
        assert time.monotonic() - began < 5, "it waited for a block that nobody needs"
        gone.set()
        release.set()
        pool.threads[0].join(10)
        assert not pool.threads[0].is_alive()
    assert (pool.errors, late) == ([], [])


def test_a_block_that_fails_three_times_stops_the_run(job, x_support):
    class Broken(TaskComputer):
        def compute(self, task):
            if task.op == "target_pass" and task.position == 3:
                raise MemoryError("no room")
            return super().compute(task)

    with Pool(job, workers=0) as pool:
        pool.add(load=lambda recipe: Broken(recipe.load()))
        with pytest.raises(PoolError, match=r"block 3 of target_pass \(32 targets\).*3 times.*no"):
            results(pool.executor, x_support)


def test_a_wrong_answer_is_refused(job, x_support, caplog):
    class Lying(TaskComputer):
        def compute(self, task):
            parts = super().compute(task)
            return {name: part[..., :1] for name, part in parts.items()}

    with Pool(job, workers=0) as pool:
        pool.add(load=lambda recipe: Lying(recipe.load()))
        pool.executor.set_support(x_support, version=0)
        threading.Timer(1.0, pool.add).start()
        k_ss = pool.executor.support_kernel(kernel=SPEC)
    np.testing.assert_array_equal(k_ss, k_ss.T)
    assert "refused an answer whose k is <f4" in caplog.text


# -- whole runs ----------------------------------------------------------------------------------


def _pool_factory(pools):
    def make(job):
        pool = Pool(job)
        pools.append(pool)
        return pool.executor

    return make


@pytest.mark.parametrize(
    ("run", "config"),
    [
        (run_kip, KIPConfig(architecture="fc1", support=20, steps=12, target_batch="200")),
        (run_label_solve, LabelSolveConfig(architecture="fc1", support=20, memory_gb=0.002)),
    ],
    ids=["kip", "label_solve"],
)
def test_whole_runs(tmp_path, run, config):
    pools = []
    local = run(config, workdir=tmp_path / "local")
    pooled = run(config, workdir=tmp_path / "pool", make_executor=_pool_factory(pools))
    pools[0].__exit__()
    assert pools[0].server.counts().counted > 0
    files = [(tmp_path / name / "support.npz").read_bytes() for name in ("local", "pool")]
    assert files[0] == files[1]
    assert local.evaluation == pooled.evaluation
