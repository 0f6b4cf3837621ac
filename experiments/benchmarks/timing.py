"""Functions that the benchmarks share: noise images, medians, jitted kernels and pullbacks."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kipax.kernels import KernelFn, fused

__all__ = ["functions", "images", "machine", "relative_error", "seconds"]


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
