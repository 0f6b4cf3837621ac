"""Plans cover a matrix once; the executor equals the whole computation, however it is cut."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kipax import architectures, ridge
from kipax.blocks import (
    BlockJob,
    BlockPlan,
    LocalExecutor,
    TargetRecipe,
    TargetRows,
    plan_blocks,
)
from kipax.blocks.computer import TaskComputer
from kipax.errors import UsageError
from kipax.kernels import KernelSpec, fused
from tests.closeness import assert_close
from tests.pool.pools import Pool

SPEC = KernelSpec(architectures.from_name("convnet1"))
TARGETS, SUPPORTS, CLASSES = 11, 5, 3


@given(
    targets=st.integers(0, 60),
    supports=st.integers(1, 40),
    rows=st.integers(1, 70),
    size=st.integers(1, 50),
)
def test_plans_cover_once(targets, supports, rows, size):
    plan = BlockPlan(target_rows=rows, support_rows=size)
    covered = [i for span in plan.target_blocks(targets) for i in range(*span)]
    assert covered == list(range(targets))
    seen = np.zeros((supports, supports), int)
    for block in plan.support_blocks(supports):
        seen[slice(*block.rows), slice(*block.columns)] += 1
        if block.rows != block.columns:
            seen[slice(*block.columns), slice(*block.rows)] += 1
    assert np.all(seen == 1)


@given(
    targets=st.integers(1, 60_000),
    supports=st.integers(1, 1000),
    bytes_per_pair=st.integers(1, 10**7),
    memory=st.floats(0.01, 1000),
)
def test_blocks_stay_under_the_limit(targets, supports, bytes_per_pair, memory):
    plan = plan_blocks(
        targets, supports, bytes_per_pair=bytes_per_pair, bytes_per_image=1000, memory_gb=memory
    )
    used = plan.target_rows * (supports * bytes_per_pair + 1000)
    assert plan.target_rows == 1 or used <= 0.5e9 * memory
    assert plan.support_rows == 1 or plan.support_rows**2 * bytes_per_pair <= 0.5e9 * memory
    assert 1 <= plan.target_rows <= targets
    assert 1 <= plan.support_rows <= supports


def test_long_blocks_are_cut():
    """Of targets and of the support kernel: nobody waits long for a block."""
    plan = plan_blocks(
        5000, 500, bytes_per_pair=1, bytes_per_image=1, memory_gb=9.0, most_pairs=13_000
    )
    assert plan.target_rows * 500 <= 13_000
    assert plan == BlockPlan(plan.target_rows, support_rows=100)


def test_bad_plans():
    with pytest.raises(UsageError, match="memory_gb must be positive"):
        plan_blocks(1, 1, bytes_per_pair=1, bytes_per_image=1, memory_gb=0)
    with pytest.raises(UsageError, match="block sizes must be positive"):
        BlockPlan(0, 1)


class _Source:
    num_classes = CLASSES

    def __init__(self):
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(20, 6, 6, 1)).astype(np.float32)
        self.y = ridge.one_hot(rng.integers(0, CLASSES, 20), CLASSES)

    def images(self, rows):
        return self.x[rows.indices]

    def labels(self, rows):
        return self.y[rows.indices]


ROWS = TargetRows(np.array([3, 1, 4, 15, 9, 2, 6, 5, 8, 7, 19]))


@pytest.fixture
def source():
    return _Source()


@pytest.fixture
def x_support():
    return np.random.default_rng(1).normal(size=(SUPPORTS, 6, 6, 1)).astype(np.float32)


def _job(source, plan):
    recipe = TargetRecipe("none", None, None, 0, "hash", 0.0, "standard", {})
    return BlockJob(source, recipe, plan, (SPEC,), TARGETS, SUPPORTS, (6, 6, 1), print)


@pytest.fixture(params=["local", "pool"])
def make_executor(request, source):
    """Every executor passes the same tests."""
    if request.param == "local":
        yield lambda plan: LocalExecutor(source, plan)
        return
    pools = []

    def make(plan):
        pools.append(Pool(_job(source, plan), load=lambda recipe: TaskComputer(source)))
        return pools[-1].executor

    yield make
    for pool in pools:
        pool.__exit__()


@pytest.fixture(params=[(100, 100), (4, 2), (1, 1)], ids=str)
def executor(request, make_executor, x_support):
    executor = make_executor(BlockPlan(*request.param))
    executor.set_support(x_support, version=0)
    return executor


def test_support_kernel(executor, x_support):
    k_ss = executor.support_kernel(kernel=SPEC)
    assert k_ss.dtype == np.float64
    assert_close(k_ss, SPEC.make()(x_support), 1e-6)
    np.testing.assert_array_equal(k_ss, k_ss.T)


def test_support_vjp(executor, x_support):
    kernel_fn, rng = SPEC.make(), np.random.default_rng(2)
    cotangent = rng.normal(size=(SUPPORTS, SUPPORTS))
    _, pull = jax.vjp(lambda x: kernel_fn(x, x), x_support)
    expected = pull(jnp.asarray(cotangent, jnp.float32))[0]
    assert_close(executor.support_vjp(cotangent, kernel=SPEC), expected, 1e-5)


def _whole_kernel(source, x_support):
    """``k_ts`` and its pullback to the support images."""
    x = source.x[ROWS.indices]
    k_ts, pull = jax.vjp(lambda x_support: SPEC.make()(x, x_support), x_support)
    return np.asarray(k_ts, np.float64), lambda d: pull(jnp.asarray(d, jnp.float32))[0]


def test_target_pass(executor, source, x_support):
    alpha = np.random.default_rng(3).normal(size=(SUPPORTS, CLASSES))
    result = executor.target_pass(ROWS, alpha, kernel=SPEC, loss="mse", count=TARGETS)
    (k_ts, pull), labels = _whole_kernel(source, x_support), source.labels(ROWS)
    scores = k_ts @ alpha
    loss, d_scores = ridge.mean_square_error(scores, labels, TARGETS)
    assert result.loss == pytest.approx(loss, rel=1e-6)
    assert_close(result.d_alpha, k_ts.T @ d_scores, 1e-6)
    assert_close(result.d_x_support, pull(d_scores @ alpha.T), 1e-5)
    assert result.correct == np.sum(scores.argmax(1) == labels.argmax(1))


def test_gram_parts(executor, source, x_support):
    parts = list(executor.gram_parts(ROWS, kernel=SPEC))
    k_ts, _ = _whole_kernel(source, x_support)
    assert_close(sum(p[0] for p in parts), k_ts.T @ k_ts, 1e-6)
    assert_close(sum(p[1] for p in parts), k_ts.T @ source.labels(ROWS), 1e-6)
    blocks = executor.plan.target_blocks(TARGETS)
    assert len(parts) == len(blocks)
    rest = list(executor.gram_parts(ROWS, kernel=SPEC, skip=len(blocks) - 1))
    np.testing.assert_array_equal(rest[0][1], parts[-1][1])


def test_unknown_loss(executor):
    with pytest.raises(UsageError, match="unknown loss 'hinge'"):
        executor.target_pass(
            ROWS, np.zeros((SUPPORTS, CLASSES)), kernel=SPEC, loss="hinge", count=1
        )


_FOUR_DEVICES = """
import jax, numpy as np
from tests.test_blocks import ROWS, SPEC, SUPPORTS, CLASSES, TARGETS, _Source
from kipax.blocks import BlockPlan, LocalExecutor
from kipax.kernels import KernelSpec

assert len(jax.devices()) == 4
x_support = np.random.default_rng(1).normal(size=(SUPPORTS, 6, 6, 1)).astype(np.float32)
alpha = np.random.default_rng(3).normal(size=(SUPPORTS, CLASSES))
of_support = np.random.default_rng(2).normal(size=(SUPPORTS, SUPPORTS))
spec = KernelSpec(SPEC.architecture, backend={backend!r})
results = []
for devices in (jax.devices()[:1], jax.devices()):
    jax.local_devices = lambda: devices
    executor = LocalExecutor(_Source(), BlockPlan(3, 2))
    assert len(executor.devices) == len(devices)
    executor.set_support(x_support, version=0)
    one = executor.target_pass(ROWS, alpha, kernel=spec, loss="mse", count=TARGETS)
    results.append([
        executor.support_kernel(kernel=spec), executor.support_vjp(of_support, kernel=spec),
        np.array(one.loss), one.d_x_support, one.d_alpha,
        *(a for part in executor.gram_parts(ROWS, kernel=spec) for a in part),
    ])
for a, b in zip(*results, strict=True):
    np.testing.assert_array_equal(a, b)
print("equal")
"""


@pytest.mark.slow
def test_four_devices_are_one():
    """Bit for bit, where all devices are of one kind: sums are in plan order."""
    backend = "portable" if fused.why_not(np.float32) else "fused"
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    out = subprocess.run(
        [sys.executable, "-c", _FOUR_DEVICES.format(backend=backend)],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.stdout == "equal\n", out.stderr
