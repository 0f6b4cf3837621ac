r"""Figures 5 and A2: learned images beside the real images that they began as.

Claim: the images change from natural ones into others that stand for their class, some of them
recognisable, some not. Nothing of it is a number; this script adds how much the pixels changed,
and how many images are still nearest to the image that they began as.

Command:  kipax kip --dataset=digits --support=10 --learn_labels=false --workdir=runs/fixed
          python -m experiments.paper.figure5 runs/fixed --workdir=runs/figure5
Expected: a change of 40.6 grey levels of 255, all ten nearest to their own first image; half a
          minute together on 2 CPU cores. Other sets: docs/analysis.md.
          The paper: 100 images of CIFAR-100 with augmentation (5), 10 images of the other sets
          (A2); fixed labels, no whitening.

Source: Nguyen et al. 2021, Figures 5 and A2, arXiv:2107.13034.
"""

from typing import Any

import numpy as np
from absl import flags

from kipax import console, files, plots
from kipax import flags as config_flags
from kipax.analysis import AnalyseConfig, nearest_images
from kipax.commands.analyse import open_sets
from kipax.errors import UsageError, check_choice, split_list
from kipax.support import SupportSet

MOST_SHOWN = 20  # so many classes are shown unless they are named


def first_of_classes(classes: np.ndarray, chosen: list[int], count: int = 1) -> np.ndarray:
    """Returns the indices of the first `count` images of each class, in the order of `chosen`."""
    return np.concatenate([np.flatnonzero(classes == c)[:count] for c in chosen])


def measure_change(first: SupportSet, last: SupportSet) -> dict[str, float]:
    """Measures how far learned images are from those that they began as.

    Returns:
        ``change``, the root mean square change of a pixel in grey levels of 255, and ``own``, the
        share of images whose nearest first image, as the kernel sees them, is their own.
    """
    pixels = [one.to_uint8_images().astype(np.float64) for one in (first, last)]
    near = nearest_images(last.images, first.images).indices
    return {
        "change": float(np.sqrt(np.mean((pixels[1] - pixels[0]) ** 2))),
        "own": float(np.mean(near == np.arange(len(near)))),
    }


def main(reporter: console.ConsoleReporter, run: str) -> dict[str, Any]:
    """Draws a run's images at step 0 beside those of its last step, and tells how they changed.

    The picture has one row for each class.
    """
    config: AnalyseConfig = config_flags.config_from_flags(AnalyseConfig)
    sets, _ = open_sets(run, config, reporter)
    if "step 0" not in sets:
        raise UsageError("figure 5 needs a run's folder with its checkpoint of step 0.")
    first, last = sets["step 0"], list(sets.values())[-1]
    names = list(dict.fromkeys(split_list(flags.FLAGS.classes))) or last.class_names[:MOST_SHOWN]
    for name in names:
        check_choice("class", name, last.class_names)
    folder = files.make_folder(files.expand(flags.FLAGS.workdir))
    classes = np.argmax(first.labels, axis=1)  # learned labels may name another class
    numbers = [last.class_names.index(name) for name in names]
    shown = first_of_classes(classes, numbers, flags.FLAGS.per_class)
    rows = np.array([numbers.index(c) for c in classes[shown]])
    panels = {n: sets[n].to_uint8_images()[shown] for n in ("step 0", list(sets)[-1])}
    pictures = {"figure5.png": lambda: plots.draw_images(panels, rows, names)}
    found = measure_change(first, last)
    reporter.close()
    reporter.say(
        f"pixels changed by {found['change']:.1f} of 255 grey levels (root mean square); "
        f"{found['own']:.0%} of the images are nearest to the one that they began as"
    )
    reporter.say(f"{folder}/  {' '.join(plots.write_pictures(folder, pictures, reporter))}")
    return found


if __name__ == "__main__":
    unused = ("bands", "keep", "draws", "seed", "eval_examples")
    config_flags.define_flags(AnalyseConfig, without=unused)
    flags.DEFINE_string("classes", "", f"names of the classes to show (the first {MOST_SHOWN})")
    flags.DEFINE_integer("per_class", 1, "images of each class", lower_bound=1)
    flags.DEFINE_string("workdir", "runs/figure5", "folder of the picture")
    console.run_command(main, operand="RUN")
