"""Kernels against neural-tangents: milliseconds an image pair, forward and with the pullback.

Claim: on 2 CPU cores the ConvNet NTK of 32 x 32 x 3 images is at least 1,000 times faster
forward and 300 times with its pullback than jitted neural-tangents 0.6.5 on the same JAX at
its own fastest block size, timed in the same run after the values were found equal.

Command:  python -m experiments.benchmarks.kernels
Expected: see experiments/benchmarks/README.md; about 10 minutes, --reference=false 1 minute. On a
          GPU: --cases=convnet:32 --reference=false --blocks=512x10,5000x10,5000x100, which also
          says the share of the arithmetic peak. Rows are printed as they come, as JSON.
Needs:    pip install --no-deps neural-tangents==0.6.5 && pip install frozendict
"""

import json
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from experiments.benchmarks import timing
from kipax import architectures, make_kernel_fn
from kipax.console import ConsoleReporter, run_command
from kipax.errors import UsageError
from kipax.kernels import fused
from kipax.kernels.reference import make_reference_kernel_fn
from kipax.kernels.window import position_pairs

flags.DEFINE_list(
    "cases", ["convnet:32", "convnet:8", "convvec3:32", "myrtle5:16", "fc3:32"], "network:side"
)
flags.DEFINE_boolean("reference", True, "time neural-tangents as well")
flags.DEFINE_list("backends", ["portable", "fused"], "what to time, where it runs here")
flags.DEFINE_list("blocks", [], "targets x supports of a call, such as 512x10 (by backend)")
flags.DEFINE_integer("repeats", 5, "times each is run; the median counts")
# Targets and supports of a call: what a KIP step with ten images has, and what neural-tangents
# may choose from (its tensors of position pairs take 17 MB a pair at 32 x 32).
_BLOCK = {"fused": (512, 10), "portable": (16, 16)}
# Arithmetic of a pair of 32 x 32 x 3 images under the ConvNet's NTK, and float32 peaks outside
# tensor cores by the makers' data sheets, of whole devices.
_PAIR_FLOP = 18e6
_PEAK_TERAFLOPS = {"H100": 67.0, "H200": 67.0, "A100": 19.5, "V100": 15.7}
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
    """Returns the milliseconds per pair of value, and of value and pullback."""
    x1, x2 = timing.images(block[0], shape, 2), timing.images(block[1], shape, 3)
    repeats = flags.FLAGS.repeats
    return [1e3 * timing.seconds(f, x1, x2, repeats=repeats) / (block[0] * block[1]) for f in fs]


def _read_blocks(given: Sequence[str]) -> list[tuple[int, int]]:
    """Returns the block sizes that the user asks for."""
    blocks = []
    for block in given:
        targets, _, supports = block.partition("x")
        if not (targets.isdecimal() and supports.isdecimal() and int(targets) * int(supports)):
            raise UsageError(f"a block is TARGETSxSUPPORTS, as in 512x10; got {block!r}.")
        blocks.append((int(targets), int(supports)))
    return blocks


def _share_of_peak(name: str, side: int, milliseconds: float) -> float | None:
    """Returns a forward pass's share of the device's float32 peak; None if that is unknown."""
    kind = jax.devices()[0].device_kind
    peak = next((tera for known, tera in _PEAK_TERAFLOPS.items() if known in kind), None)
    if peak is None or (name, side) != ("convnet", 32):
        return None
    return round(_PAIR_FLOP / (1e-3 * milliseconds) / (1e12 * peak), 4)


def _over_blocks(
    ours, row: dict[str, Any], backend: str, blocks: list[tuple[int, int]], reporter
) -> list[float]:
    """Times every block size, reporting each; returns the fewest milliseconds per pair."""
    best = [float("inf"), float("inf")]
    for block in blocks:
        ms = _per_pair(ours, (row["side"], row["side"], 3), block)
        best = [min(a, b) for a, b in zip(best, ms, strict=True)]
        found = row | {
            "backend": backend,
            "block": "x".join(map(str, block)),
            "microseconds_forward": float(f"{1e3 * ms[0]:.4g}"),
            "microseconds_gradient": float(f"{1e3 * ms[1]:.4g}"),
            "share_of_peak_forward": _share_of_peak(row["network"], row["side"], ms[0]),
        }
        reporter.say(json.dumps(found))
    return best


def _best_reference(theirs, family: str, shape) -> tuple[list[float], list[str]]:
    blocks = _REFERENCE_BLOCKS.get(family, _REFERENCE_BLOCKS[""])
    timed = {block: _per_pair(theirs, shape, block) for block in blocks}
    best = [min((ms[i], block) for block, ms in timed.items()) for i in range(2)]
    return [ms for ms, _ in best], [f"{n1}×{n2}" for _, (n1, n2) in best]


def measure(name: str, side: int, reporter: ConsoleReporter) -> dict[str, Any]:
    """Times one network on one image size: every backend that runs here, and neural-tangents."""
    shape = (side, side, 3)
    row: dict[str, Any] = {"network": name, "side": side}
    family = name.rstrip("0123456789")
    theirs = None
    if flags.FLAGS.reference:
        theirs = timing.functions(make_reference_kernel_fn(name))
    runs = {"portable": True, "fused": fused.why_not(jnp.float32) is None}
    backends = [backend for backend in flags.FLAGS.backends if runs.get(backend)]
    if not backends:
        raise UsageError(f"none of --backends={','.join(flags.FLAGS.backends)} runs here.")
    given, head = _read_blocks(flags.FLAGS.blocks), dict(row)
    for backend in backends if family != "fc" else ["auto"]:
        ours = timing.functions(make_kernel_fn(name, backend=backend))
        if theirs:
            _check_equal(ours, theirs, shape)
        blocks = given or [(512, 64) if family == "fc" else _BLOCK[backend]]
        best = _over_blocks(ours, head, backend, blocks, reporter)
        row[backend] = [float(f"{ms:.4g}") for ms in best]
    if theirs:
        row["neural_tangents"], row["blocks"] = _best_reference(theirs, family, shape)
        best = row[backends[-1] if family != "fc" else "auto"]
        row["ratio"] = [round(n / o, 1) for n, o in zip(row["neural_tangents"], best, strict=True)]
    pairs = position_pairs(architectures.from_name(name), (side, side))
    row["position_pairs"] = pairs
    reporter.say(json.dumps(row))
    return row


def main(reporter: ConsoleReporter) -> dict[str, Any]:
    """Checks the values, times the kernels and prints the results."""
    jnp.zeros(()).block_until_ready()
    rows = []
    for case in flags.FLAGS.cases:
        name, _, side = case.partition(":")
        rows.append(measure(name, int(side or 32), reporter))
    return timing.machine() | {"rows": rows}


if __name__ == "__main__":
    run_command(main)
