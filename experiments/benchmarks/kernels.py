"""Kernels against neural-tangents: milliseconds an image pair, forward and with the pullback.

Claim: on 2 CPU cores the ConvNet NTK of 32 x 32 x 3 images is at least 1,000 times faster
forward and 300 times with its pullback than jitted neural-tangents 0.6.5 on the same JAX at
its own fastest block size, timed in the same run after the values were found equal.

Command:  python -m experiments.benchmarks.kernels
Expected: see experiments/benchmarks/README.md; about 10 minutes, --reference=false 1 minute.
Needs:    pip install --no-deps neural-tangents==0.6.5 && pip install frozendict
"""

from typing import Any

import jax.numpy as jnp
from absl import flags

from experiments.benchmarks import timing
from kipax import architectures, make_kernel_fn
from kipax.console import ConsoleReporter, run_command
from kipax.kernels import fused
from kipax.kernels.api import position_pairs
from kipax.kernels.reference import make_reference_kernel_fn

flags.DEFINE_list(
    "cases", ["convnet:32", "convnet:8", "convvec3:32", "myrtle5:16", "fc3:32"], "network:side"
)
flags.DEFINE_boolean("reference", True, "time neural-tangents as well")
flags.DEFINE_integer("repeats", 5, "times each is run; the median counts")
# Targets and supports of a call: what a KIP step with ten images has, and what neural-tangents
# may choose from (its tensors of position pairs take 17 MB a pair at 32 x 32).
_BLOCK = {"fused": (512, 10), "portable": (16, 16)}
_REFERENCE_BLOCKS = {
    "fc": ((64, 64), (512, 64)),
    "convvec": ((8, 8), (32, 32)),
    "": ((2, 2), (4, 2), (4, 4), (8, 4)),
}


def _check_equal(ours, theirs, shape: tuple[int, int, int]) -> None:
    small = timing.images(3, shape, 0), timing.images(2, shape, 1)
    for one, other, tolerance in zip(ours[1](*small), theirs[1](*small), (1e-5, 1e-4), strict=True):
        error = timing.relative_error(one, other)
        if not error <= tolerance:
            raise AssertionError(f"the kernels differ by {error:.1e}")


def _per_pair(fs, shape, block: tuple[int, int]) -> list[float]:
    """Milliseconds a pair of value, and of value and pullback."""
    x1, x2 = timing.images(block[0], shape, 2), timing.images(block[1], shape, 3)
    repeats = flags.FLAGS.repeats
    return [1e3 * timing.seconds(f, x1, x2, repeats=repeats) / (block[0] * block[1]) for f in fs]


def _best_reference(theirs, family: str, shape) -> tuple[list[float], list[str]]:
    blocks = _REFERENCE_BLOCKS.get(family, _REFERENCE_BLOCKS[""])
    timed = {block: _per_pair(theirs, shape, block) for block in blocks}
    best = [min((ms[i], block) for block, ms in timed.items()) for i in range(2)]
    return [ms for ms, _ in best], [f"{n1}×{n2}" for _, (n1, n2) in best]


def measure(name: str, side: int, reporter: ConsoleReporter) -> dict[str, Any]:
    """One network on one size: every backend that runs here, and neural-tangents."""
    shape = (side, side, 3)
    row: dict[str, Any] = {"network": name, "side": side}
    family = name.rstrip("0123456789")
    theirs = None
    if flags.FLAGS.reference:
        theirs = timing.functions(make_reference_kernel_fn(name))
    backends = ["portable"] + ([] if fused.why_not(jnp.float32) else ["fused"])
    for backend in backends if family != "fc" else ["auto"]:
        ours = timing.functions(make_kernel_fn(name, backend=backend))
        if theirs:
            _check_equal(ours, theirs, shape)
        block = (512, 64) if family == "fc" else _BLOCK[backend]
        row[backend] = [float(f"{ms:.4g}") for ms in _per_pair(ours, shape, block)]
    if theirs:
        row["neural_tangents"], row["blocks"] = _best_reference(theirs, family, shape)
        best = row[backends[-1] if family != "fc" else "auto"]
        row["ratio"] = [round(n / o, 1) for n, o in zip(row["neural_tangents"], best, strict=True)]
    pairs = position_pairs(architectures.from_name(name), (side, side))
    row["position_pairs"] = pairs
    reporter.say(str(row))
    return row


def main(reporter: ConsoleReporter) -> dict[str, Any]:
    """Checks, times and prints."""
    jnp.zeros(()).block_until_ready()
    rows = []
    for case in flags.FLAGS.cases:
        name, _, side = case.partition(":")
        rows.append(measure(name, int(side or 32), reporter))
    return timing.machine() | {"rows": rows}


if __name__ == "__main__":
    run_command(main)
