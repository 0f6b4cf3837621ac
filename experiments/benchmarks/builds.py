"""Times the fused kernels of two checkouts by turns, and compares the bits of their results.

Claim: value and pullback of the ConvNet NTK, since the pullback takes the tables of the pass
forward, are at least 1.4 times faster with AVX2 than at commit 0485c0e, with the same bits; the
gradient of the kernel of ten images with themselves is 1.15 times faster than at commit 37e203c.

Command:  git worktree add ../before 0485c0e && (cd ../before && python setup.py build_ext -i)
          KIPAX_ISA=avx2 python -m experiments.benchmarks.builds --other=../before
Expected: see experiments/benchmarks/README.md; a minute. KIPAX_ISA=base, avx2 or none chooses the
          vectors, KIPAX_NUM_THREADS the threads; rows are printed as JSON.
"""

import json
import pathlib
import statistics
import subprocess
import sys
from typing import Any

from absl import flags

from kipax.console import ConsoleReporter, run_command
from kipax.errors import UsageError

flags.DEFINE_string("other", None, "another checkout of kipax, built in place", required=True)
flags.DEFINE_integer("rounds", 3, "processes of each checkout; the median counts")
flags.DEFINE_integer("targets", 256, "target images")
flags.DEFINE_integer("supports", 10, "support images")

# Runs in a process of its own: one process can load one library alone.
_CHILD = """
import hashlib, json, sys
import jax, jax.numpy as jnp, numpy as np
from experiments.benchmarks import timing
from kipax import make_kernel_fn
from kipax.kernels import fused
targets, supports = int(sys.argv[1]), int(sys.argv[2])
x1, x2 = timing.images(targets, (32, 32, 3), 0), timing.images(supports, (32, 32, 3), 1)
row = {"isa": fused.isa(), "threads": fused.threads()}
kernel_fn = make_kernel_fn("convnet")
forward, gradient = timing.functions(kernel_fn)
support_gradient = jax.jit(jax.value_and_grad(lambda x: jnp.sum(kernel_fn(x))))
for name, f, images in (
    ("forward", forward, (x1, x2)),
    ("gradient", gradient, (x1, x2)),
    ("support_gradient", support_gradient, (x2,)),
):
    row[name] = 1e3 * timing.seconds(f, *images) / (len(images[0]) * supports)
    bits = b"".join(np.asarray(a).tobytes() for a in jax.tree.leaves(f(*images)))
    row[name + "_bits"] = hashlib.sha256(bits).hexdigest()
print(json.dumps(row))
"""


def _measure(checkout: pathlib.Path) -> dict[str, Any]:
    sizes = (str(flags.FLAGS.targets), str(flags.FLAGS.supports))
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *sizes],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UsageError(f"{checkout} cannot be timed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def _run(reporter: ConsoleReporter) -> dict[str, Any]:
    here, other = pathlib.Path.cwd(), pathlib.Path(flags.FLAGS.other)
    if not (other / "kipax" / "__init__.py").exists():
        raise UsageError(f"--other is a folder with a checkout of kipax; got {str(other)!r}.")
    rows: dict[pathlib.Path, list[dict[str, Any]]] = {other: [], here: []}
    for turn in range(flags.FLAGS.rounds):
        for checkout, found in rows.items():
            found.append(_measure(checkout))
            reporter.say(f"round {turn + 1}, {checkout}: {json.dumps(found[-1])}")
    first = rows[here][0]
    compared: dict[str, Any] = {"isa": first["isa"], "threads": first["threads"]}
    for name in ("forward", "gradient", "support_gradient"):
        times = {c: statistics.median(r[name] for r in rows[c]) for c in rows}
        compared[name] = {
            "other_ms": round(times[other], 4),
            "ms": round(times[here], 4),
            "ratio": round(times[other] / times[here], 3),
            "same_bits": len({r[f"{name}_bits"] for c in rows for r in rows[c]}) == 1,
        }
    return compared


if __name__ == "__main__":
    run_command(_run)
