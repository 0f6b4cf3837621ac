"""Measures how a pass over targets scales with targets, supports, image size and devices.

Claim: time is linear in targets and in supports, and memory, the raw images left out, does
not grow with targets.

Command:  python -m experiments.benchmarks.scaling --out=scaling.png
Expected: see experiments/benchmarks/README.md; about 3 minutes on 2 cores.
"""

import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.benchmarks import timing
from kipax import architectures, files, plots
from kipax.blocks import DatasetTargets, LocalExecutor, TargetRows, plan_blocks
from kipax.console import ConsoleReporter, run_command
from kipax.data import Dataset, Standard
from kipax.kernels import KernelSpec
from kipax.kernels.window import position_pairs

flags.DEFINE_string("architecture", "convnet", "network")
flags.DEFINE_string("out", "scaling.png", "the picture to write")
flags.DEFINE_string("point", "", "targets,support,side: measure this one, in this process")
_BASE = {"targets": 1000, "support": 10, "side": 16, "devices": 1}
_VARIED: dict[str, tuple[int, ...]] = {
    "targets": (100, 300, 1000, 3000, 10_000),
    "support": (10, 30, 100, 300, 500),
    "side": (8, 16, 24, 32),
    "devices": (1, 2, 4),
}
_BLOCK_PAIRS = 10_000


def measure(targets: int, support: int, side: int) -> dict[str, float]:
    """Returns the seconds and peak memory of one `target_pass` in this process."""
    spec = KernelSpec(architectures.from_name(flags.FLAGS.architecture))
    x = np.random.default_rng(0).integers(0, 256, (targets, side, side, 3)).astype(np.uint8)
    y = np.arange(targets) % 10
    data = Dataset.from_arrays({"x_train": x, "y_train": y, "x_test": x[:1], "y_test": y[:1]})
    plan = plan_blocks(
        targets,
        support,
        bytes_per_pair=1,
        bytes_per_image=1,
        memory_gb=1.0,
        most_pairs=_BLOCK_PAIRS,
    )
    executor = LocalExecutor(DatasetTargets(data, Standard.fit(x)), plan)
    executor.set_support(np.asarray(timing.images(support, (side, side, 3), 1)), version=0)
    rows, alpha = TargetRows(np.arange(targets)), np.ones((support, 10))
    first = TargetRows(rows.indices[: plan.target_rows * len(executor.devices)])
    executor.target_pass(first, alpha, kernel=spec, loss="mse", count=1)  # compiles
    began = time.perf_counter()
    executor.target_pass(rows, alpha, kernel=spec, loss="mse", count=targets)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"seconds": time.perf_counter() - began, "peak_gb": peak, "raw_gb": x.nbytes / 1e9}


def _measure_apart(point: dict[str, int]) -> dict[str, float]:
    """Runs `measure` in a separate process, so that its peak memory is measured alone."""
    numbers = ",".join(str(point[k]) for k in ("targets", "support", "side"))
    environment = dict(os.environ)
    if point["devices"] > 1:
        count = f"--xla_force_host_platform_device_count={point['devices']}"
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {count}"
    command = [sys.executable, "-m", "experiments.benchmarks.scaling", f"--point={numbers}"]
    command.append(f"--architecture={flags.FLAGS.architecture}")
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(out.stdout)


def main(reporter: ConsoleReporter) -> dict[str, Any]:
    """Measures every point, prints a line for each and draws them."""
    if flags.FLAGS.point:
        targets, support, side = (int(n) for n in flags.FLAGS.point.split(","))
        return measure(targets, support, side)
    architecture = architectures.from_name(flags.FLAGS.architecture)
    curves: dict[str, tuple[list[float], list[float]]] = {}
    rows = []
    for name, values in _VARIED.items():
        xs: list[float] = []
        ys: list[float] = []
        for value in values:
            point = _BASE | {name: value}
            found = _measure_apart(point)
            per_pair = 1e3 * found["seconds"] / (point["targets"] * point["support"])
            work = position_pairs(architecture, (point["side"], point["side"]))
            row = point | found | {"ms_per_pair": per_pair, "position_pairs": work}
            reporter.say(
                f"{name:>8} {value:>6}: {found['seconds']:8.2f} s · {per_pair:.4f} ms a pair · "
                f"peak {found['peak_gb']:.2f} GB"
            )
            rows.append(row)
            xs.append(value)
            ys.append(found["seconds"])
        curves[name] = (xs, ys)
    title = f"one pass with gradient, {architecture.name}, {jax.devices()[0].device_kind}"
    files.write_bytes(flags.FLAGS.out, plots.to_png(plots.draw_scaling(curves, title)))
    return timing.machine() | {"rows": rows}


if __name__ == "__main__":
    run_command(main)
