"""Compares a whole KIP step with its kernels alone.

Claim: a step of 10 images against 1,000 targets takes at most 20 % more than its kernel
entries in one call, preprocessing, residuals, solve and update included.

Command:  python -m experiments.benchmarks.step --dataset=npz:cifar10.npz --target_batch=1000
Expected: see experiments/benchmarks/README.md; a minute. Any flag of kipax kip may be given.
"""

import dataclasses
import json
import statistics
import tempfile
import time
from typing import Any

from absl import flags

from experiments.benchmarks import timing
from kipax import flags as config_flags
from kipax.console import ConsoleReporter, run_command
from kipax.data import Dataset, load_dataset
from kipax.distill import KIPConfig
from kipax.distill.config import resolve
from kipax.distill.kip import KIP, Loop
from kipax.distill.run import RunArguments, start_run
from kipax.errors import read_whole_numbers

config_flags.define_flags(KIPConfig)
flags.DEFINE_integer("repeats", 5, "steps timed; the median counts")
flags.DEFINE_list("supports", [], "time each of these sizes of the set in place of --support")


def measure(config: KIPConfig, dataset: Dataset, reporter: ConsoleReporter) -> dict[str, Any]:
    """Times steps of a real run, then the same kernel entries in one call."""
    with (
        tempfile.TemporaryDirectory() as folder,
        start_run(
            config, KIP, RunArguments(dataset=dataset, workdir=folder, reporter=reporter)
        ) as run,
    ):
        loop = Loop(run)
        loop.advance()  # compiles and evaluates
        times = []
        for _ in range(flags.FLAGS.repeats):
            began = time.perf_counter()
            loop.update()
            times.append(time.perf_counter() - began)
    step = statistics.median(times)
    shape, kip = run.dataset.image_shape, run.config
    assert isinstance(kip, KIPConfig)
    targets, supports = kip.batch_size(len(run.dataset.x_train)), kip.support
    kernel_fn = run.kernels[0].make()
    vjp = timing.functions(kernel_fn)[1]
    x_target, x_support = timing.images(targets, shape, 0), timing.images(supports, shape, 1)
    kernel = timing.seconds(vjp, x_target, x_support, repeats=flags.FLAGS.repeats)
    row = {
        "dataset": kip.dataset.rpartition("/")[2],
        "backend": kip.backend,
        "targets": targets,
        "support": supports,
        "step_seconds": round(step, 4),
        "kernel_seconds": round(kernel, 4),
        "lost": round(step / kernel - 1, 3),
        "ms_per_pair": round(1e3 * kernel / (targets * supports), 4),
    }
    reporter.say(json.dumps(row))
    return row


def main(reporter: ConsoleReporter) -> dict[str, Any]:
    """Measures a row for each size of the support set and reports it at once."""
    config: KIPConfig = config_flags.config_from_flags(KIPConfig)
    dataset = load_dataset(
        config.dataset,
        validation_examples=resolve(config).validation_examples or 0,
        data_dir=config.data_dir,
        image_size=config.image_size,
    )
    config = resolve(config)
    sizes = read_whole_numbers("supports", ",".join(flags.FLAGS.supports)) or (config.support,)
    rows = [measure(dataclasses.replace(config, support=size), dataset, reporter) for size in sizes]
    return timing.machine() | (rows[0] if len(rows) == 1 else {"rows": rows})


if __name__ == "__main__":
    run_command(main)
