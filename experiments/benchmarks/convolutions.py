"""Gradients of students with our convolution, against the same with XLA's alone.

Claim: on CPUs a gradient is 1.3 to 2.5 times as fast, and equal to rounding; elsewhere both are
the same program.

Command:  python -m experiments.benchmarks.convolutions
Expected: see experiments/benchmarks/README.md; three minutes on 2 CPU cores. The two are timed by
          turns; on accelerators the ratio is 1.
"""

import statistics
import time
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.benchmarks import timing
from kipax.console import ConsoleReporter, run_command
from kipax.students import StudentSpec, init_variables, layers

flags.DEFINE_integer("repeats", 5, "times each is timed, in turns")

# Students, images of a batch, and their shape.
_CASES = (
    (StudentSpec(name="convnet", width=64), 10, (32, 32, 3)),
    (StudentSpec(name="convnet", width=128), 100, (32, 32, 3)),
    (StudentSpec(name="convnet3", width=48), 128, (28, 28, 1)),
    (StudentSpec(name="wrn10-1"), 128, (28, 28, 1)),
    (StudentSpec(name="wrn16-1"), 128, (32, 32, 3)),
    (StudentSpec(name="resnet20"), 128, (32, 32, 3)),
)


def _by_xla(x: jax.Array, kernel: jax.Array, stride: int, padding: int, groups: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _gradient(spec: StudentSpec, shape: tuple[int, int, int], variables: dict[str, Any]) -> Any:
    """Returns a jitted function of parameters and images: the gradient of a sum of squares."""
    network = spec.build(10, shape)
    rest = {k: v for k, v in variables.items() if k != "params"}

    def loss(params: Any, x: jax.Array) -> jax.Array:
        out, _ = network.apply({"params": params} | rest, x, train=True, mutable=list(rest))
        return jnp.sum(out.logits**2)

    return jax.jit(jax.grad(loss))


def _compare(spec: StudentSpec, count: int, shape: tuple[int, int, int]) -> dict[str, Any]:
    x = timing.images(count, shape, 0)
    variables = init_variables(spec.build(10, shape), jax.random.key(0), shape)
    params = variables["params"]
    ours = _gradient(spec, shape, variables)
    expected = _gradient(spec, shape, variables)
    with mock.patch.object(layers, "convolve", _by_xla):
        theirs = jax.block_until_ready(expected(params, x))  # is traced here
    pairs = zip(jax.tree.leaves(ours(params, x)), jax.tree.leaves(theirs), strict=True)
    error = max(timing.relative_error(one, other) for one, other in pairs if np.any(other))
    times: dict[str, list[float]] = {"xla": [], "kipax": []}
    for _ in range(flags.FLAGS.repeats):
        for name, gradient in (("xla", expected), ("kipax", ours)):
            began = time.perf_counter()
            jax.block_until_ready(gradient(params, x))
            times[name].append(time.perf_counter() - began)
    medians = {name: round(1e3 * statistics.median(values), 1) for name, values in times.items()}
    ratio = round(medians["xla"] / medians["kipax"], 2)
    return {"ms": medians, "ratio": ratio, "relative_error": float(f"{error:.1e}")}


def main(reporter: ConsoleReporter) -> dict[str, Any]:
    """Times the gradients of each student."""
    rows = {}
    for spec, count, shape in _CASES:
        side = "×".join(map(str, shape))
        name = f"{spec.describe()}, {count} images of {side}"
        rows[name] = found = _compare(spec, count, shape)
        milliseconds = " · ".join(f"{key} {value} ms" for key, value in found["ms"].items())
        reporter.say(f"{name}: {milliseconds} · ratio {found['ratio']}")
    return timing.machine() | {"rows": rows}


if __name__ == "__main__":
    run_command(main)
