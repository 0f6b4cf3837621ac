"""Compares a kernel of random features, RFAD's, with the exact NNGP: deviation, time, accuracy.

Claim: the random features of finite ConvNets estimate the NNGP, better with more channels; sets
learned with them lose two or three points of accuracy to those of the exact kernel, and, here,
no time is won: the exact kernel of 8 x 8 pixels is as fast as eight networks of width 16.

Command:  python -m experiments.benchmarks.random_features
Expected: see experiments/benchmarks/README.md; four minutes. The kernel is a function, handed to
          `run_kip` as kernel_fn; the exact one regresses on the sets of both.

Source: Loo et al. 2022, arXiv:2210.12067 (new random networks each step there; fixed ones here).
"""

import dataclasses
import functools
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.benchmarks import timing
from kipax import KIPConfig, load_dataset, make_kernel_fn, run_kip
from kipax.console import ConsoleReporter, run_command
from kipax.data import Dataset
from kipax.distill.run import RunResult
from kipax.students import StudentSpec, init_variables

flags.DEFINE_string("network", "convnet", "architecture of the networks and of the exact kernel")
flags.DEFINE_list("widths", ["16", "64"], "channels of the random networks")
flags.DEFINE_integer("networks", 8, "random networks")
flags.DEFINE_integer("steps", 60, "steps of KIP")
_TARGETS, _SUPPORTS = 200, 10


def random_features(
    spec: StudentSpec, image_shape: tuple[int, int, int], *, networks: int, seed: int = 0
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Returns a kernel function that estimates an architecture's NNGP by finite random networks.

    ``k(x, x') = W_std^2 mean_i phi_i(x) phi_i(x') + b_std^2``, over the features phi before the
    last layer of all networks, whose weights are drawn once.

    Args:
        spec: the architecture, with the width of the networks and ``parameterisation="ntk"``.
        image_shape: ``(height, width, channels)``.
        networks: number of networks.
        seed: of their weights.
    """
    network: Any = spec.build(1, image_shape)
    keys = jax.random.split(jax.random.key(seed), networks)
    drawn = [init_variables(network, key, image_shape) for key in keys]
    variables = jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn)

    def features(x):
        phi = jax.vmap(lambda one: network.apply(one, x).penultimate)(variables)
        phi = jnp.moveaxis(phi, 0, 1).reshape(len(x), -1)
        return phi / jnp.sqrt(phi.shape[1])

    scales = network.architecture

    def kernel_fn(x1, x2):
        product = jnp.matmul(features(x1), features(x2).T, precision=jax.lax.Precision.HIGHEST)
        return scales.W_std**2 * product + scales.b_std**2

    return kernel_fn


def _distil(dataset: Dataset, kernel_fn: Callable[..., Any] | None = None, **kernel) -> RunResult:
    config = KIPConfig(steps=flags.FLAGS.steps, target_batch=_TARGETS, support=_SUPPORTS, **kernel)
    with tempfile.TemporaryDirectory() as folder:
        return run_kip(config, dataset=dataset, workdir=folder, kernel_fn=kernel_fn)


def main(reporter: ConsoleReporter) -> dict[str, Any]:
    """Measures the exact kernel, and then the random features of networks of each width."""
    name, count = flags.FLAGS.network, flags.FLAGS.networks
    dataset = load_dataset("digits", validation_examples=180)
    shape = dataset.image_shape
    exact = make_kernel_fn(name, kind="nngp")
    result = _distil(dataset, architecture=name, kernel="nngp")
    own = {"architecture": result.support.metadata["architecture"], "kernel": "nngp"}
    x = result.support.preprocess(dataset.x_train[:_TARGETS])
    targets, supports = jnp.asarray(x), jnp.asarray(x[:_SUPPORTS])
    rows: list[dict[str, Any]] = []

    def measure(what: str, kernel_fn: Callable[..., Any], found: RunResult) -> None:
        support = found.support
        by_exact = dataclasses.replace(support, metadata=dict(support.metadata) | own)
        correct = by_exact.predict(dataset.x_test) == dataset.y_test
        seconds = timing.seconds(timing.functions(kernel_fn)[1], targets, supports)
        row = {
            "kernel": what,
            "deviation": round(timing.relative_error(kernel_fn(targets, supports), values), 4),
            "ms_per_pair": round(1e3 * seconds / (_TARGETS * _SUPPORTS), 4),
            "test_accuracy": round(found.evaluation.test_accuracy or 0.0, 4),
            "by_exact_nngp": round(float(np.mean(correct)), 4),
        }
        rows.append(row)
        reporter.say(", ".join(f"{k} {v}" for k, v in row.items()))

    values = exact(targets, supports)
    measure(f"exact NNGP of {name}", exact, result)
    for width in map(int, flags.FLAGS.widths):
        spec = StudentSpec(name=name, width=width, parameterisation="ntk")
        kernel_fn = jax.jit(random_features(spec, shape, networks=count))
        distil = functools.partial(_distil, dataset, kernel_fn)
        found = distil(architecture=f"python:random_features_{count}x{width}")
        measure(f"{count} networks of width {width}", kernel_fn, found)
    return {"rows": rows, **timing.machine()}


if __name__ == "__main__":
    run_command(main)
