"""The portable kernel against neural-tangents: time per image pair, forward and pullback.

Claim: on 2 CPU cores the ConvNet NTK of 32 x 32 x 3 images is at least 50 times faster
forward and 20 times faster in its pullback than jitted neural-tangents 0.6.5 on the same
JAX at its own best block size. Equality is checked before anything is timed.

Command:  python -m experiments.benchmarks.kernel
Expected: see experiments/benchmarks/README.md; about 5 minutes.
Needs:    pip install --no-deps neural-tangents==0.6.5 && pip install frozendict
"""

import json
import os
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from kipax import make_kernel_fn
from kipax.kernels.reference import make_reference_kernel_fn

SHAPE = (32, 32, 3)
REPEATS = 5
REFERENCE_BLOCKS = ((1, 1), (2, 2), (4, 2), (4, 4), (8, 4))
PORTABLE_BLOCK = (16, 16)


def _images(n: int, seed: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=(n, *SHAPE)), jnp.float32)


def _functions(kernel_fn):
    """Jitted value, and jitted pullback of ones with respect to the second images."""
    value = jax.jit(lambda a, b: kernel_fn(a, b))

    def pullback(a, b):
        k, pull = jax.vjp(lambda c: kernel_fn(a, c), b)
        return pull(jnp.ones_like(k))[0]

    return value, jax.jit(pullback)


def _milliseconds(f, *args) -> float:
    jax.block_until_ready(f(*args))
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(f(*args))
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


def _error(actual, expected) -> float:
    return float(jnp.max(jnp.abs(actual - expected)) / jnp.max(jnp.abs(expected)))


def main() -> dict:
    """Checks, times and prints."""
    ours = _functions(make_kernel_fn("convnet"))
    theirs = _functions(make_reference_kernel_fn("convnet"))
    small = _images(2, 0), _images(2, 1)
    errors = [_error(f(*small), g(*small)) for f, g in zip(ours, theirs, strict=True)]
    assert errors[0] < 1e-5, errors
    assert errors[1] < 1e-4, errors

    result: dict = {"jax": jax.__version__, "cores": os.cpu_count(), "shape": SHAPE}
    for name, our, their in zip(("forward", "pullback"), ours, theirs, strict=True):
        pair_ms = {}
        for n1, n2 in REFERENCE_BLOCKS:
            pair_ms[f"{n1}x{n2}"] = _milliseconds(their, _images(n1, 2), _images(n2, 3)) / (n1 * n2)
        n1, n2 = PORTABLE_BLOCK
        portable = _milliseconds(our, _images(n1, 2), _images(n2, 3)) / (n1 * n2)
        best = min(pair_ms, key=lambda k: pair_ms[k])
        result[name] = {
            "kipax_ms_per_pair": round(portable, 3),
            "neural_tangents_ms_per_pair": round(pair_ms[best], 1),
            "neural_tangents_best_block": best,
            "ratio": round(pair_ms[best] / portable, 1),
        }
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    main()
