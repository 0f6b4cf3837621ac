"""Estimates the time and memory of a KIP run here: times a few blocks and computes the rest."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable

import numpy as np

from kipax import ridge
from kipax.blocks import BlockPlan, DatasetTargets, LocalExecutor, TargetRows
from kipax.data import Dataset, Standard, balanced_batch, step_key
from kipax.data.known import DatasetFacts
from kipax.distill.config import KIPConfig
from kipax.distill.own import open_kernels
from kipax.distill.state import make_optimizer, make_state
from kipax.distill.step import Gradient, apply_update
from kipax.kernels import KernelSpec
from kipax.kernels.window import KEPT_TABLES_BYTES

__all__ = ["Costs", "Estimate", "estimate_run", "measure_costs"]

_SAMPLE_POSITION_PAIRS = 3 * 10**9  # about two seconds on two cores
_SAMPLE_SUPPORTS = 50
_LEAST_ROWS, _MOST_ROWS = 64, 2000
_REPEATS = 3


@dataclasses.dataclass(frozen=True)
class Costs:
    """Measured seconds of one kernel on this machine.

    Attributes:
        target_pair: for one entry of ``k_ts`` with its gradient, standard preprocessing included
            (a whitening or augmentation is not).
        forward_pair: for one entry without its gradient.
        support_pair: for one entry of ``k_ss`` (of all s x s) with its gradient.
        step: for the rest of a step: the solve and the update.
    """

    target_pair: float
    forward_pair: float
    support_pair: float
    step: float

    def seconds_per_step(self, targets: int, supports: int, workers: int = 1) -> float:
        """Returns a step's seconds on `workers` such machines; the server solves and updates."""
        pairs = targets * supports * self.target_pair + supports**2 * self.support_pair
        return pairs / workers + self.step


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The estimated time and memory of a run.

    Attributes:
        seconds_per_step: seconds of a step.
        seconds: seconds of the whole run with its evaluations, without installing and loading.
        evaluation_seconds: seconds of one evaluation.
        memory_gb: memory of its largest arrays: images, a block, the support kernel.
        targets: number of targets of a step.
        costs: the measurements.
    """

    seconds_per_step: float
    seconds: float
    evaluation_seconds: float
    memory_gb: float
    targets: int
    costs: Costs


def measure_costs(spec: KernelSpec, image_shape: tuple[int, int, int], supports: int) -> Costs:
    """Times a few blocks of noise images; takes about ten seconds."""
    work = spec.position_pairs(image_shape)
    sample = min(supports, _SAMPLE_SUPPORTS)
    rows = _SAMPLE_POSITION_PAIRS // (work * sample) // 16 * 16
    rows = max(_LEAST_ROWS, min(rows, _MOST_ROWS))
    source, kernel_fn = _make_targets(image_shape, rows), spec.make()
    executor = LocalExecutor(source, BlockPlan(rows, _SAMPLE_SUPPORTS))
    x = np.random.default_rng(1).normal(size=(sample, *image_shape)).astype(np.float32)
    executor.set_support(x, version=0)
    targets, alpha = TargetRows(np.arange(rows)), np.ones((sample, 10))
    cotangent = np.ones((sample, sample))

    def target_pass():
        executor.target_pass(targets, alpha, kernel=spec, loss="mse", count=rows)

    def support_pass():
        executor.support_kernel(kernel=spec)
        executor.support_vjp(cotangent, kernel=spec)

    def forward_pass():
        kernel_fn(source.images(targets), x).block_until_ready()

    return Costs(
        target_pair=_seconds(target_pass) / (rows * sample),
        forward_pair=_seconds(forward_pass) / (rows * sample),
        support_pair=_seconds(support_pass) / sample**2,
        step=_seconds(_make_rest_of_step(image_shape, supports)),
    )


def _make_rest_of_step(image_shape: tuple[int, int, int], supports: int) -> Callable[[], object]:
    """Returns a function that does a step without its kernels: batch, solve and update."""
    optimizer, classes = make_optimizer(0.01), np.arange(50_000) % 10
    images = np.zeros((supports, *image_shape), np.float32)
    state = make_state(images, np.arange(supports) % 10, 10, optimizer)
    matrix = np.eye(supports) + 0.1

    def work() -> None:
        balanced_batch(step_key(0, 1), classes, 1000)
        solution = ridge.solve(matrix, np.ones((supports, 10)), ridge=1e-6)
        d_labels = solution.pull_back(np.ones((supports, 10)))[1]
        gradient = Gradient(0.0, 0.0, np.zeros(images.shape), d_labels, 1.0)
        apply_update(state, gradient, optimizer, learn_labels=True).images.block_until_ready()

    return work


def _make_targets(image_shape: tuple[int, int, int], rows: int) -> DatasetTargets:
    x = np.random.default_rng(0).integers(0, 256, (rows, *image_shape)).astype(np.uint8)
    y = np.arange(rows) % 10
    data = Dataset.from_arrays({"x_train": x, "y_train": y, "x_test": x[:1], "y_test": y[:1]})
    return DatasetTargets(data, Standard.fit(x))


def _seconds(work: Callable[[], object]) -> float:
    work()  # compiles
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def estimate_run(
    config: KIPConfig, facts: DatasetFacts, *, workers: int = 1, costs: Costs | None = None
) -> Estimate:
    """Estimates the time and memory of a run from measurements of its kernels here.

    Args:
        config: resolved, so that no field is None.
        facts: shape and sizes of its data set.
        workers: number of machines like this one that share the target blocks.
        costs: earlier measurements; None measures, as an average over sampled kernels.
    """
    if costs is None:
        kernels = open_kernels(config, facts.image_shape)[1:]
        measured = [measure_costs(spec, facts.image_shape, config.support) for spec in kernels]
        fields = [f.name for f in dataclasses.fields(Costs)]
        costs = Costs(*(statistics.mean(getattr(c, f) for c in measured) for f in fields))
    assert config.steps is not None
    assert config.eval_every is not None
    held = config.validation_examples or 0
    targets = config.batch_size(facts.train_examples - held)
    tested = min(facts.test_examples, config.eval_examples or facts.test_examples) + held
    step = costs.seconds_per_step(targets, config.support, workers)
    evaluation = tested * config.support * costs.forward_pair
    evaluations = -(-config.steps // config.eval_every) + 1
    return Estimate(
        seconds_per_step=step,
        seconds=(config.steps + 1) * step + evaluations * evaluation,  # + 1: the final loss
        evaluation_seconds=evaluation,
        memory_gb=_memory_gb(config, facts, targets),
        targets=targets,
        costs=costs,
    )


def _memory_gb(config: KIPConfig, facts: DatasetFacts, targets: int) -> float:
    pixels = int(np.prod(facts.image_shape))
    images = (facts.train_examples + facts.test_examples) * pixels
    block = targets * (16 * pixels + 64 * config.support)
    pair = max(spec.kept_bytes(facts.image_shape) for spec in config.kernel_specs)
    assert config.memory_gb is not None
    tables = min(targets * config.support * pair, KEPT_TABLES_BYTES, 0.5e9 * config.memory_gb)
    evaluated = facts.test_examples * pixels * 4
    whitening = 12 * pixels**2 if config.preprocessing != "standard" else 0
    return (images + block + tables + evaluated + whitening + 0.3e9) / 1e9
