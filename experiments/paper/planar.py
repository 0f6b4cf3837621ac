r"""Figure 2 of Frank & Davis 2025: a teacher and its students as regions of a plane.

Claim: a student learns the teacher's regions from data that the teacher spreads over all of them,
and not from data that it puts in few (MNIST test accuracy 92.9 % from shaders, 38.8 % from
CIFAR-10).

Command:  kipax teacher --dataset=npz:mnist.npz --network=planar --workdir=runs/planar
          python -m experiments.paper.planar --teacher=runs/planar --dataset=npz:mnist.npz \
              --student=planar --sources=data,shaders,dataset:npz:cifar10.npz
Expected: docs/distil_results.md; OUT/planes.png: above, the images through the teacher; below,
          test images through the students. Needs the extra ``plots``.
"""

import dataclasses
from typing import Any

import numpy as np
from absl import flags

from kipax import console, files, load_network, plots
from kipax import flags as config_flags
from kipax.data import load_dataset
from kipax.errors import UsageError
from kipax.kd import KDConfig, SourceReader, run_kd
from kipax.kd.teachers import Domain
from kipax.networks import TrainedNetwork
from kipax.report import SAME_COMMAND, limit_time
from kipax.students import PointClassifier

_SHOWN, _SIDE = 2000, 200  # points, and cells of a region's side


def _points(network: TrainedNetwork, raw: np.ndarray) -> np.ndarray:
    """Returns the points ``(n, 2)`` of the plane at which a network places raw images."""
    outputs = network.outputs(network.preprocessor.apply(raw), features=["point"])
    return np.asarray(outputs.features["point"])


def _plane(
    network: TrainedNetwork, raw: np.ndarray, classes: np.ndarray, title: str
) -> plots.Plane:
    """Places raw images in a network's plane; returns them with the regions of its classes."""
    points = _points(network, raw)
    low, high = np.percentile(points, [1, 99], axis=0)
    margin = 0.15 * (high - low) + 1e-6
    left, bottom = (low - margin).tolist()
    right, top = (high + margin).tolist()
    x, y = np.meshgrid(np.linspace(left, right, _SIDE), np.linspace(bottom, top, _SIDE))
    classifier = PointClassifier(len(network.class_names), network.spec.width or 64)
    variables = {"params": network.variables["params"]["classifier"]}
    logits: Any = classifier.apply(variables, np.stack([x.ravel(), y.ravel()], axis=1))
    regions = np.argmax(logits[0], axis=1).reshape(_SIDE, _SIDE)
    return plots.Plane(title, points, classes, regions, (left, right, bottom, top))


def main(reporter: console.ConsoleReporter) -> dict[str, Any]:
    """Trains a student from each source and draws teacher and students."""
    chosen = flags.FLAGS
    config: KDConfig = config_flags.config_from_flags(KDConfig)
    teacher = load_network(config.teacher)
    if teacher.spec.name != "planar" or config.student != "planar":
        raise UsageError(
            "points of a plane need the network planar as teacher and student; got "
            f"{teacher.spec.name} and {config.student}."
        )
    if config.dataset is None:
        raise UsageError("students are drawn with test images: name the data with --dataset.")
    data = load_dataset(config.dataset, data_dir=config.data_dir, image_size=config.image_size)
    space = Domain.of(teacher, teacher.image_shape).space
    reader = SourceReader(space, lambda: data, config.data_dir, config.seed)
    timed = limit_time(reporter, config.max_seconds, remedy=SAME_COMMAND)  # of all students
    above, below, rows = [], [], {}
    x, y = data.x_test[:_SHOWN], data.y_test[:_SHOWN]
    for name in chosen.sources:
        workdir = f"{chosen.workdir}/{files.plain_name(name)}"
        own = dataclasses.replace(config, source=name, max_seconds=None)
        result = run_kd(own, dataset=data, workdir=workdir, resume=True, reporter=timed)
        source = reader.read(name)
        index = np.arange(_SHOWN if source.size is None else min(_SHOWN, source.size))
        raw = source.images(index, seed=config.seed)
        title = f"{name}: entropy {result.facts['relative_entropy']:.2f}"
        above.append(_plane(teacher, raw, teacher.predict(raw), title))
        title = f"test accuracy {result.test_accuracy:.3f}"
        below.append(_plane(result.network, x, y, title))
        rows[name] = result.summary()
    out = files.expand(chosen.workdir) / "planes.png"
    files.write_bytes(out, plots.to_png(plots.draw_planes(above + below, rows=2)))
    reporter.close()
    reporter.say(f"{out}")
    return {"students": rows, "picture": str(out)}


if __name__ == "__main__":
    config_flags.define_flags(KDConfig, without=("source",))
    flags.DEFINE_list("sources", ["data", "shaders"], "sources, with commas between")
    flags.DEFINE_string("workdir", "runs/planar-students", "folder of the runs and the picture")
    console.run_command(main)
