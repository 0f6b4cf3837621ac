"""Compares the time of a distillation step with its teacher's forward pass plus its student's step.

Claim: a step costs no more than 1.1 times both, a source's images at most a tenth of it, and with
remembered answers the teacher's part is gone.

Command:  python -m experiments.benchmarks.distillation --teacher=wrn16-1 --student=wrn10-1
Expected: see experiments/benchmarks/README.md; two minutes. Whole loops are timed in turns, and
          the medians compared.
"""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.benchmarks import timing
from kipax.console import ConsoleReporter, run_command
from kipax.data import Standard
from kipax.kd import Distil, ImageSpace, NetworkTeacher, SourceReader, Views
from kipax.kd.stored import asked_live, remembered
from kipax.kd.views import ViewedBatches
from kipax.networks import TrainedNetwork
from kipax.pixels import PixelFacts
from kipax.students import StudentSpec, init_variables
from kipax.training import Batch, Epochs

flags.DEFINE_string("teacher", "wrn16-1", "network of the teacher, with weights as drawn")
flags.DEFINE_string("student", "wrn10-1", "network of the student")
flags.DEFINE_string("source", "photo", "source whose images are drawn")
flags.DEFINE_string("augmentation", "crop", "none, crop, standard, high or extreme")
flags.DEFINE_string("mix", "cutmix", "none, mixup or cutmix")
flags.DEFINE_integer("side", 32, "pixels")
flags.DEFINE_integer("channels", 3, "channels")
flags.DEFINE_integer("batch", 128, "images a step")
flags.DEFINE_integer("steps", 12, "steps timed at once")
flags.DEFINE_integer("repeats", 5, "times each is timed, in turns")
_CLASSES, _IMAGES = 10, 2048


def _teacher(space: ImageSpace, preprocessor: Standard) -> NetworkTeacher:
    """Returns a teacher network with random weights, whose speed is that of a trained one."""
    spec = StudentSpec(name=flags.FLAGS.teacher)
    variables = init_variables(spec.build(_CLASSES, space.shape), jax.random.key(0), space.shape)
    pixels = PixelFacts("", space.low, space.high, space.mean, space.deviation)
    facts = {
        "dataset": "",
        "class_names": [str(i) for i in range(_CLASSES)],
        "image_shape": list(space.shape),
        "pixels": pixels.to_metadata(),
    }
    return NetworkTeacher(TrainedNetwork(spec, variables, preprocessor, facts))


def _loop(teach: Callable[[Batch], Any], batches: Callable[[int], Batch]) -> float:
    """Returns the mean seconds of a student's step after the first one."""
    objective = Distil(loss="kl", temperature=8.0, scale=1.0)
    network = StudentSpec(name=flags.FLAGS.student).build(_CLASSES, batches(0).x.shape[1:])
    return timing.step_seconds(network, batches, objective, teach, steps=flags.FLAGS.steps)


def _tell(reporter: ConsoleReporter, seconds: dict[str, float], ratio: float, drawn: float) -> None:
    """Prints the median times as one sentence."""
    ms = {name: f"{1e3 * value:.0f} ms" for name, value in seconds.items()}
    reporter.say(
        f"a step of {flags.FLAGS.batch}: {ms['whole']} = {ratio:.2f} times teacher "
        f"({ms['teacher']}) and student ({ms['student']}); images augmented: {ms['images']}, drawn "
        f"once: {1e3 * drawn:.0f} ms; with remembered answers: {ms['remembered']}"
    )


def main(reporter: ConsoleReporter) -> dict[str, Any]:
    """Times the parts of a step and whole steps in turns."""
    chosen = flags.FLAGS
    shape = (chosen.side, chosen.side, chosen.channels)
    mean, deviation = np.full(shape[2], 120.0), np.full(shape[2], 60.0)
    space = ImageSpace(shape, 0, 255, tuple(mean), tuple(deviation))
    preprocessor = Standard(mean, deviation, 0.0, 255.0)
    teacher = _teacher(space, preprocessor)
    source = SourceReader(space).read(chosen.source)
    source.images(np.arange(64), seed=0)
    began = time.perf_counter()
    raw = source.images(np.arange(_IMAGES), seed=0)
    drawn = (time.perf_counter() - began) / _IMAGES
    batches = ViewedBatches(
        lambda index: raw[index],
        Epochs(_IMAGES, chosen.batch, seed=0),
        space=space,
        preprocessor=preprocessor,
        views=Views(level=chosen.augmentation, mix=chosen.mix, alpha=0.25, per_example=False),
        seed=0,
    )
    batch = batches(0)
    answers = teacher.outputs(np.asarray(batch.x_teacher), np.asarray(batch.x))
    still = remembered(jax.tree.map(lambda a: np.tile(np.asarray(a)[:1], (_IMAGES, 1)), answers))
    ask = functools.partial(asked_live(teacher), batch)
    parts: dict[str, Callable[[], float]] = {
        "whole": lambda: _loop(asked_live(teacher), batches),
        "remembered": lambda: _loop(still, batches),
        "student": lambda: _loop(still, lambda step: batch),
        "teacher": lambda: timing.seconds(lambda: ask().logits, repeats=chosen.steps),
        "images": lambda: timing.seconds(lambda: batches(1).x, repeats=chosen.steps),
    }
    found = timing.by_turns(parts, repeats=chosen.repeats)
    middle = {name: statistics.median(values) for name, values in found.items()}
    ratios = [
        w / (t + s)
        for w, t, s in zip(found["whole"], found["teacher"], found["student"], strict=True)
    ]
    _tell(reporter, middle, statistics.median(ratios), drawn * chosen.batch)
    return {
        "ratio": round(statistics.median(ratios), 3),
        "seconds": {k: round(v, 5) for k, v in middle.items()},
        "drawn_once": round(drawn * chosen.batch, 5),
        **timing.machine(),
    }


if __name__ == "__main__":
    run_command(main)
