"""Functions that the benchmarks share: noise images, medians, jitted kernels, training steps."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kipax.kd.presets import make_descent
from kipax.kernels import KernelFn, fused
from kipax.training import Batches, Hook, Objective, Setting, Teacher, TrainState, fit

__all__ = [
    "by_turns",
    "functions",
    "images",
    "machine",
    "relative_error",
    "seconds",
    "step_seconds",
]


def images(n: int, shape: tuple[int, int, int], seed: int) -> jax.Array:
    """Returns standard normal images ``(n, H, W, C)`` float32."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=(n, *shape)), jnp.float32)


def functions(kernel_fn: KernelFn) -> tuple[Callable, Callable]:
    """Returns the jitted value, and that with the pullback of ones to the second images."""
    value = jax.jit(lambda a, b: kernel_fn(a, b))

    def vjp(a, b):
        k, pull = jax.vjp(lambda c: kernel_fn(a, c), b)
        return k, pull(jnp.ones_like(k))[0]

    return value, jax.jit(vjp)


def seconds(f: Callable, *args, repeats: int = 5) -> float:
    """Returns the median time of a call, without the first, which compiles."""
    jax.block_until_ready(f(*args))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(f(*args))
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def by_turns(
    measures: Mapping[str, Callable[[], float]], *, repeats: int
) -> dict[str, list[float]]:
    """Calls every measure in turn, `repeats` times over; returns the seconds of each by name.

    A change of the machine's speed then meets all of them alike.
    """
    found: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(repeats):
        for name, measure in measures.items():
            found[name].append(measure())
    return found


class _Clock(Hook):
    """Records the time after the first step of a training, which compiles, and after the last."""

    def __init__(self, last: int):
        self._last = last
        self.times: list[float] = []

    def after(self, step: int, state: TrainState, metrics: dict[str, jax.Array]) -> None:
        """Waits until the device has finished the step, then records the time."""
        if step in (1, self._last):
            jax.block_until_ready((metrics, state.params))
            self.times.append(time.perf_counter())


def step_seconds(
    network: nn.Module,
    batches: Batches,
    objective: Objective,
    teacher: Teacher | None,
    *,
    steps: int,
) -> float:
    """Trains a network for some steps; returns the mean seconds of a step after the first one."""
    clock = _Clock(steps + 1)
    fit(
        network,
        batches,
        objective=objective,
        descent=make_descent("adam", "constant", steps=steps + 1, weight_decay=0.0),
        settings=[Setting(1e-3, 0.0, 0)],
        teacher=teacher,
        hooks=[clock],
    )
    return (clock.times[1] - clock.times[0]) / steps


def relative_error(actual, expected) -> float:
    """Returns the largest deviation relative to the largest entry."""
    return float(jnp.max(jnp.abs(actual - expected)) / jnp.max(jnp.abs(expected)))


def machine() -> dict:
    """Returns device and versions; ``fused`` is the vector width of the fused kernel."""
    reason = fused.why_not(jnp.float32)
    built = "cuda" if jax.default_backend() == "gpu" else fused.isa()
    return {
        "device": jax.devices()[0].device_kind,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "fused": built if reason is None else f"none: {reason}",
        "jax": jax.__version__,
        "python": platform.python_version(),
    }
