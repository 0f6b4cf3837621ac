"""Compares how long the gradient of a student takes with kipax's convolution and with XLA's.

Claim: on CPUs it is computed 1.2 to 4.4 times as fast with kipax's, and is equal but for rounding;
on other devices both are the same program.

Command:  python -m experiments.benchmarks.convolutions
Expected: see experiments/benchmarks/README.md; three minutes on 2 CPU cores. Both are timed by
          turns.
"""

import functools
import statistics
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from absl import flags

from experiments.benchmarks import timing
from kipax.console import ConsoleReporter, run_command
from kipax.students import StudentSpec, init_variables, layers
from kipax.students.convolution import convolve_by_xla

flags.DEFINE_integer("repeats", 5, "times each is timed, in turns")

# Each case: a student, the number of images in its batch, and the shape of an image.
_CASES = (
    (StudentSpec(name="convnet", width=64), 10, (32, 32, 3)),
    (StudentSpec(name="convnet", width=128), 100, (32, 32, 3)),
    (StudentSpec(name="convnet3", width=48), 128, (28, 28, 1)),
    (StudentSpec(name="wrn10-1"), 128, (28, 28, 1)),
    (StudentSpec(name="wrn16-1"), 128, (32, 32, 3)),
    (StudentSpec(name="resnet20"), 128, (32, 32, 3)),
)


def _gradient(spec: StudentSpec, shape: tuple[int, int, int], variables: dict[str, Any]) -> Any:
    """Returns a jitted function of a student's parameters and of images.

    It computes the gradient of the sum of all squared logits with respect to the parameters.
    """
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
    with mock.patch.object(layers, "convolve", convolve_by_xla):
        theirs = expected(params, x)  # the first call traces it, with XLA's convolution
    pairs = zip(jax.tree.leaves(ours(params, x)), jax.tree.leaves(theirs), strict=True)
    error = max(timing.relative_error(one, other) for one, other in pairs)
    measures = {
        name: functools.partial(timing.seconds, gradient, params, x, repeats=1)
        for name, gradient in (("xla", expected), ("kipax", ours))
    }
    found = timing.by_turns(measures, repeats=flags.FLAGS.repeats)
    medians = {name: round(1e3 * statistics.median(values), 1) for name, values in found.items()}
    ratio = round(medians["xla"] / medians["kipax"], 2)
    return {"ms": medians, "ratio": ratio, "relative_error": float(f"{error:.1e}")}


def main(reporter: ConsoleReporter) -> dict[str, Any]:
    """Times the gradient of every case with both convolutions, and says each result."""
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
