"""Compares the time of a training step with each objective on embeddings with a step of KL.

Claim: with 16,384 anchors and embeddings of 128, a step of one queue takes at most 1.3 times the
plain step, and one of two queues at most that and a forward pass of the student more.

Command:  python -m experiments.benchmarks.objectives
Expected: see experiments/benchmarks/README.md; two minutes. Answers are remembered, so that the
          teacher takes no time; steps are timed in turns, and the medians compared.
"""

import functools
import statistics
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.benchmarks import timing
from kipax.console import ConsoleReporter, run_command
from kipax.kd import Distil
from kipax.kd.anchors import Anchors
from kipax.kd.contrast import CRD, QueuedCRD
from kipax.kd.embeddings import AlignUniform
from kipax.kd.stored import remembered
from kipax.students import Outputs, StudentSpec, init_variables
from kipax.training import Batch, Objective

flags.DEFINE_string("student", "wrn10-2", "network of the student (128 features)")
flags.DEFINE_integer("side", 28, "pixels")
flags.DEFINE_integer("channels", 1, "channels")
flags.DEFINE_integer("batch", 128, "images a step")
flags.DEFINE_integer("features", 128, "length of the teacher's embeddings")
flags.DEFINE_integer("queue", 16_384, "anchors, and images of the memory of CRD")
flags.DEFINE_integer("negatives", 1024, "negatives of CRD")
flags.DEFINE_integer("steps", 10, "steps timed at once")
flags.DEFINE_integer("repeats", 5, "times each is timed, in turns")
_CLASSES = 10


def _objectives() -> dict[str, Objective]:
    queue = flags.FLAGS.queue
    kl = Distil(loss="kl", temperature=4.0, scale=16.0)
    return {
        "kl": kl,
        "anchors, one queue": Anchors("1q", queue=queue),
        "anchors, two queues": Anchors("2q", queue=queue),
        "alignment and uniformity": kl + AlignUniform(),
        "crd": kl + CRD(images=queue, negatives=flags.FLAGS.negatives),
        "queued crd": kl + QueuedCRD(queue=queue),
    }


def main(reporter: ConsoleReporter) -> dict[str, Any]:
    """Measures the time of a training step with each objective, one objective after the other."""
    chosen = flags.FLAGS
    rng = np.random.default_rng(0)
    shape = (chosen.side, chosen.side, chosen.channels)
    x = rng.normal(size=(chosen.queue, *shape)).astype(np.float32)
    answers = Outputs(
        rng.normal(size=(chosen.queue, _CLASSES)).astype(np.float32),
        rng.normal(size=(chosen.queue, chosen.features)).astype(np.float32),
        {},
    )
    network = StudentSpec(name=chosen.student).build(_CLASSES, shape)
    variables = init_variables(network, jax.random.key(0), shape)
    forward = jax.jit(lambda part: network.apply(variables, part))

    def batches(step: int) -> Batch:
        index = (np.arange(chosen.batch) + step * chosen.batch) % chosen.queue
        return Batch(x[index], index=index)

    teacher, steps = remembered(answers), chosen.steps
    measures = {"forward": functools.partial(timing.seconds, forward, x[: chosen.batch])}
    for name, objective in _objectives().items():
        measures[name] = functools.partial(
            timing.step_seconds, network, batches, objective, teacher, steps=steps
        )
    found = timing.by_turns(measures, repeats=chosen.repeats)
    middle = {name: statistics.median(times) for name, times in found.items()}
    ratios = {name: round(took / middle["kl"], 3) for name, took in middle.items()}
    for name, took in middle.items():
        reporter.say(f"{name}: {1e3 * took:.0f} ms, {ratios[name]:.2f} times a step of KL")
    return {
        "seconds": {k: round(v, 5) for k, v in middle.items()},
        "ratios": ratios,
        **timing.machine(),
    }


if __name__ == "__main__":
    run_command(main)
