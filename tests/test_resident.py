"""Targets kept on a device, or prepared one block ahead: the values of the host's, on CPUs too."""

import threading

import jax
import numpy as np
import pytest

from kipax import Dataset, KIPConfig, LabelSolveConfig, architectures, run_kip, run_label_solve
from kipax.blocks import BlockPlan, DatasetTargets, TargetRows
from kipax.blocks.job import make_local
from kipax.blocks.local import LocalExecutor
from kipax.blocks.resident import ResidentTargets, keep_on
from kipax.blocks.tasks import GramTask
from kipax.data import fit_preprocessor
from kipax.data.on_device import device_preprocessing
from kipax.kernels import KernelSpec

SPEC = KernelSpec(architectures.from_name("convnet1"))
PLAN = BlockPlan(target_rows=16, support_rows=3)
PLENTY = 10**9


def _dataset(channels):
    rng = np.random.default_rng(channels)
    x = rng.integers(0, 256, (60, 6, 5, channels)).astype(np.uint8)
    x[7] = 200  # constant
    y = np.arange(60) % 3
    return Dataset.from_arrays({"x_train": x, "y_train": y, "x_test": x[:6], "y_test": y[:6]})


def _targets(preprocessing, fraction=0.0, channels=3):
    data = _dataset(channels)
    return DatasetTargets(data, fit_preprocessor(preprocessing, data), augment_fraction=fraction)


def _rows(seed=None):
    return TargetRows(np.arange(50)[::-1].copy(), step=4, augmentation_seed=seed)


def _results(executor, rows):
    rng = np.random.default_rng(0)
    executor.set_support(rng.normal(size=(4, 6, 5, 3)), version=1)
    alpha = rng.normal(size=(4, 3))
    one = executor.target_pass(rows, alpha, kernel=SPEC, loss="mse", count=50)
    parts = [array for part in executor.gram_parts(rows, kernel=SPEC) for array in part]
    k_ss = executor.support_kernel(kernel=SPEC)
    d_x = executor.support_vjp(rng.normal(size=(4, 4)), kernel=SPEC)
    return [one.loss, one.d_x_support, one.d_alpha, *parts, k_ss, d_x]


@pytest.mark.parametrize("preprocessing", ["standard", "zca", "zca_paper"])
@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_kept_targets_are_the_hosts(preprocessing, fraction):
    targets = _targets(preprocessing, fraction)
    rows = _rows(seed=3 if fraction else None)
    kept = keep_on(jax.devices()[0], targets, PLENTY)
    assert isinstance(kept, ResidentTargets)
    ours, theirs = kept.images(rows), targets.images(rows)
    assert isinstance(ours, jax.Array)
    np.testing.assert_array_equal(kept.labels(rows), targets.labels(rows))
    if fraction or preprocessing != "standard":  # BLAS rounds other batches otherwise
        np.testing.assert_allclose(ours, theirs, atol=3e-6 * np.abs(theirs).max())
    else:
        np.testing.assert_array_equal(ours, theirs)
    if fraction:
        plain = targets.images(_rows())
        changed = np.any(np.abs(theirs - plain) > 1e-4, axis=(1, 2, 3))
        assert 5 < changed.sum() < 45  # the augmented ones were compared as well


def test_a_constant_image_is_zero_there_too():
    targets = _targets("zca", channels=1)
    constants, function = device_preprocessing(targets.preprocessor)
    out = np.asarray(function(constants, targets.dataset.x_train[[7, 8]]))
    assert not out[0].any()
    assert out[1].any()
    assert not targets.preprocessor.apply(targets.dataset.x_train[[7]]).any()


def test_sums_are_the_same_bits_where_the_images_are():
    targets = _targets("standard")
    host = _results(LocalExecutor(targets, PLAN), _rows())
    for keep_bytes in (PLENTY, 0):  # kept on the device; prepared one block ahead
        executor = LocalExecutor(targets, PLAN, keep_bytes=keep_bytes)
        for ours, theirs in zip(_results(executor, _rows()), host, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_blocks_ahead_are_the_same_bits_with_whitening_and_augmentation():
    targets = _targets("zca", 0.5)
    host = _results(LocalExecutor(targets, PLAN), _rows(seed=3))
    ahead = _results(LocalExecutor(targets, PLAN, keep_bytes=0), _rows(seed=3))
    for ours, theirs in zip(ahead, host, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_does_not_fit_is_not_kept(monkeypatch):
    device = jax.devices()[0]
    size = 60 * 6 * 5 * 3
    assert keep_on(device, _targets("zca"), 4 * size - 1) is None
    assert keep_on(device, _targets("zca"), 4 * size) is not None
    assert keep_on(device, _targets("zca", 0.5), 5 * size - 1) is None  # and the raw ones
    assert keep_on(device, _targets("zca", 0.5), 5 * size) is not None
    assert keep_on(device, _targets("zca"), None) is None
    monkeypatch.setattr("kipax.blocks.resident.available_bytes", lambda _: 8 * size - 1)
    assert keep_on(device, _targets("zca"), 4 * size) is None


def test_targets_are_preprocessed_once(monkeypatch):
    targets = _targets("zca")
    executor = LocalExecutor(targets, PLAN, keep_bytes=PLENTY)
    monkeypatch.setattr(targets, "images", None)  # the host is not asked again
    assert np.isfinite(_results(executor, _rows())[0])


class _Watched(DatasetTargets):
    """Says who prepares which block, and waits in a block's computation for the next one."""

    def __init__(self, *args):
        super().__init__(*args)
        self.prepared, self.by = [], set()
        self.begun = threading.Semaphore(0)

    def images(self, rows):
        self.prepared.append(int(rows.indices[0]))
        self.by.add(threading.current_thread())
        self.begun.release()
        return super().images(rows)


def test_a_thread_is_one_block_ahead(monkeypatch):
    data = _dataset(3)
    targets = _Watched(data, fit_preprocessor("standard", data))
    executor = LocalExecutor(targets, PLAN, keep_bytes=0)
    executor.set_support(np.zeros((4, 6, 5, 3)), version=1)
    blocks, waited = [0, 16, 32, 48], []
    real = GramTask.compute

    def compute(task, source, x_support):
        parts = real(task, source, x_support)
        if task.position < 3:  # the next block is begun although nobody asked for it yet
            for _ in range(2 if task.position == 0 else 1):
                assert targets.begun.acquire(timeout=10)
        waited.append(len(targets.prepared))
        return parts

    monkeypatch.setattr(GramTask, "compute", compute)
    list(executor.gram_parts(TargetRows(np.arange(60)), kernel=SPEC))
    assert targets.prepared == blocks
    assert waited == [2, 3, 4, 4]  # never more than one ahead
    assert threading.main_thread() not in targets.by


@pytest.mark.parametrize("keep_bytes", [PLENTY, pytest.param(0, marks=pytest.mark.slow)])
def test_runs_are_the_same_bits(tmp_path, keep_bytes):
    def make(job):
        return LocalExecutor(job.targets, job.plan, keep_bytes=keep_bytes)

    kip = KIPConfig(architecture="convnet1", support=10, steps=3, target_batch="60")
    solve = LabelSolveConfig(architecture="fc1", support=10, memory_gb=2e-3)
    for config, run in ((kip, run_kip), (solve, run_label_solve)):
        folder = tmp_path / run.__name__
        host = run(config, workdir=folder / "host")
        other = run(config, workdir=folder / "other", make_executor=make)
        assert other.support.images.tobytes() == host.support.images.tobytes()
        assert other.support.labels.tobytes() == host.support.labels.tobytes()


def test_cpus_are_left_as_they_are(monkeypatch):
    targets, made = _targets("standard"), []
    monkeypatch.setattr(
        "kipax.blocks.job.LocalExecutor", lambda *args, **kwargs: made.append(kwargs)
    )

    class Job:
        plan, memory_gb = PLAN, 8.0

    Job.targets = targets
    make_local(Job)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    make_local(Job)
    assert made == [{}, {"keep_bytes": 4 * 10**9}]
