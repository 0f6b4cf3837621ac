"""How long a KIP run will take here, before it is started; nothing is trained.

Claim: seconds per step are within 25 % of the median step of the run itself, right after.
Command:  kipax plan --dataset=cifar10 --support=100 --steps=1000
Expected: a table within three minutes; every flag of `kipax kip` may be given. Sets that
          kipax knows the size of (those of the paper, digits) are neither loaded nor downloaded.
"""

import dataclasses
from typing import Any

from absl import flags

from kipax import console
from kipax import flags as config_flags
from kipax.blocks.job import check_for_workers
from kipax.console import describe_duration, run_command
from kipax.data.sources import describe_dataset, load_dataset
from kipax.distill import KIPConfig
from kipax.distill.config import resolve
from kipax.distill.estimate import Estimate, estimate_run, measure_costs
from kipax.errors import UsageError

flags.disclaim_key_flags()  # the calling program owns the flags
_OTHERS = ("convnet3", "convvec3", "myrtle5", "fc1")


def _facts(config: KIPConfig):
    known = describe_dataset(config.dataset)
    if known is not None:
        return known
    data = load_dataset(config.dataset, data_dir=config.data_dir, image_size=config.image_size)
    return data.facts


def _line(name: str, estimate: Estimate) -> str:
    step, total = (describe_duration(s) for s in (estimate.seconds_per_step, estimate.seconds))
    return f"{name:<34} {step:>10} a step {total:>12} in all"


def _command(reporter: console.ConsoleReporter) -> dict[str, Any]:
    """Measures, then prints this run and its neighbours."""
    config: KIPConfig = config_flags.config_from_flags(KIPConfig)
    facts = _facts(config)
    held = resolve(config).validation_examples or 0
    config = resolve(config, training_examples=facts.train_examples - held)
    workers = flags.FLAGS.workers
    if workers < 1:
        raise UsageError(f"workers must be positive; got {workers}.")
    if workers > 1:
        check_for_workers(config.kernel_specs)
    alone = any(spec.architecture.in_process_only for spec in config.kernel_specs)
    for spec in config.kernel_specs:
        spec.architecture.check_image_shape(facts.image_shape)
    reporter.say("timing a few blocks here …")
    one = estimate_run(config, facts)
    chosen = estimate_run(config, facts, workers=workers, costs=one.costs)
    reporter.say(
        f"{config.support} images against {chosen.targets:,} targets, {config.steps:,} steps, "
        f"{config.architecture} · about {chosen.memory_gb:.1f} GB"
    )
    reporter.say(_line(f"this run on {workers} worker{'s' * (workers > 1)}", chosen))
    for count in (1, 4, 16):
        if count != workers and not alone:
            other = estimate_run(config, facts, workers=count, costs=one.costs)
            reporter.say(_line(f"on {count} worker{'s' * (count > 1)}", other))
    for support in (config.support * 10, config.support // 10):
        if support >= len(facts.class_names):
            changed = dataclasses.replace(config, support=support)
            reporter.say(_line(f"{support} images", estimate_run(changed, facts, costs=one.costs)))
    for name in _OTHERS:
        changed = dataclasses.replace(config, architecture=name, kernel="", sample_architectures="")
        if name == config.architecture or min(facts.image_shape[:2]) < 8:
            continue
        costs = measure_costs(changed.kernel_specs[0], facts.image_shape, config.support)
        reporter.say(_line(name, estimate_run(changed, facts, costs=costs)))
    return {
        "seconds_per_step": chosen.seconds_per_step,
        "seconds": chosen.seconds,
        "evaluation_seconds": chosen.evaluation_seconds,
        "memory_gb": round(chosen.memory_gb, 2),
        "workers": workers,
    }


def _define_flags() -> None:
    config_flags.define_flags(KIPConfig)
    flags.DEFINE_integer("workers", 1, "machines like this one that share the target blocks")


def main() -> None:
    """Runs the command with the arguments in `sys.argv`."""
    _define_flags()
    run_command(_command, about=__doc__)
