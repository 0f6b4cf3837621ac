r"""What are the learned images? Their dimension, spectrum, parts, labels and nearest real images.

Claim: learned images have a higher intrinsic dimension than the real ones they began as, their
accuracy hangs less on the largest eigenvalues, and falls more where images are taken away.

Command:  kipax kip --dataset=digits --support=10
          kipax analyse runs/digits-convnet-10 --workdir=runs/digits-analysis
Expected: see docs/analysis.md; seconds on 2 CPU cores for ten images.

RUN_OR_SET is a run's folder, a set's file, or the name of a set that comes with kipax. A run is
told over its checkpoints of steps 0, 1, 4, 12, 37, ..., a set alone beside random real images. The
folder of --workdir gets dimension.png, spectrum.png, subsampling.png and analysis.json, which is
also the last line.

Source: Nguyen et al. 2021, section 4, appendix C.1; Figures 7, 8, A1, A3, A4, arXiv:2107.13034.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from kipax import console, files, plots
from kipax import flags as config_flags
from kipax.analysis import AnalyseConfig, analyse
from kipax.data import Dataset
from kipax.runs import RunFolder
from kipax.support import SupportSet
from kipax.transfer import load_checkpoints, load_support, name_beside_baselines, random_set
from kipax.transfer.subjects import find_support, load_test_data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

flags.disclaim_key_flags()  # the calling program owns the flags


def _command(reporter: console.ConsoleReporter, run_or_set: str) -> dict[str, Any]:
    """Analyses, writes the pictures and the JSON file, and returns its content."""
    config: AnalyseConfig = config_flags.config_from_flags(AnalyseConfig)
    name = files.plain_name(Path(run_or_set).stem)
    folder = files.expand(flags.FLAGS.workdir or f"runs/{name}-analysis")
    sets, dataset = open_sets(run_or_set, config, reporter)
    files.make_folder(folder)  # before the work, which would be lost
    result = {"name": run_or_set} | analyse(sets, dataset, config, reporter=reporter)
    reporter.close()
    files.write_json(folder / "analysis.json", result)
    pictures = {
        "dimension.png": lambda: draw_dimension(result["dimension"]),
        "spectrum.png": lambda: _draw_spectrum(result["spectrum"]),
        "subsampling.png": lambda: _draw_subsampling(result["subsampling"]),
    }
    written = ["analysis.json", *plots.write_pictures(folder, pictures, reporter)]
    _tell(result, reporter)
    reporter.say(f"{folder}/  {' '.join(written)}")
    return result


def open_sets(
    run_or_set: str, config: AnalyseConfig, reporter: console.ConsoleReporter
) -> tuple[dict[str, SupportSet], Dataset]:
    """Opens the support sets that an analysis compares, and their data set.

    Args:
        run_or_set: a run's folder, a set's file, or the name of a set that comes with kipax.
        config: says where the data lie.
        reporter: is told what was opened.

    Returns:
        The sets by name, and their data: the checkpoints of a run in the order of their steps, its
        set last; or as many random real images, and the set.

    Raises:
        UsageError, FileError: it is no run or set, or the data do not fit.
    """
    path = find_support(run_or_set)
    last = load_support(path, data_dir=config.data_dir, kernel_fn=config.kernel_fn)
    dataset = load_test_data(
        last, config.dataset, data_dir=config.data_dir, image_size=config.image_size
    )
    last = last.fitted_on(dataset)
    reporter.say(str(last))
    own = name_beside_baselines(last)
    if not RunFolder(path.parent).checkpoint_path(0).exists():
        seed = (last.metadata.get("config") or {}).get("seed", 0)
        return {"random real": random_set(last, dataset, draw=seed), own: last}, dataset
    sets = load_checkpoints(path, last)
    step = f"step {last.metadata['step']}"
    sets.pop(step, None)  # it stands last, as the run's set
    return sets | {step: last}, dataset


def draw_dimension(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws how the dimensions of images and gradients change from set to set.

    These are Figures 7, A3 and A4 of the paper.

    Args:
        rows: for each set the result of `kipax.analysis.measure_dimensions`, and its name as
            ``set``.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    panels = {}
    of_gradients = f"gradients ({rows[-1]['gradient_kernel'].upper()})"
    for kind in ("intrinsic_dimension", "linear_dimension"):
        panels[kind.replace("_", " ")] = {
            "images": ([row[kind] for row in rows], None),
            of_gradients: ([row[f"gradient_{kind}"] for row in rows], None),
        }
    steps = all(row["set"].startswith("step ") for row in rows)
    ticks = [row["set"].removeprefix("step ") for row in rows]
    return plots.draw_lines(panels, ticks, "step" if steps else "")


def _draw_spectrum(found: Mapping[str, Any]) -> Figure:
    """Draws the accuracy of each band of eigenvalues (Figure 8)."""
    count = len(next(iter(found.values()))["bands"])
    edges = [round(100 * i / count) for i in range(count + 1)]
    ticks = [f"{low} to {high} %" for low, high in itertools.pairwise(edges)]
    return plots.draw_bars(
        {name: one["bands"] for name, one in found.items()},
        ticks,
        ("eigenvalues, from the largest", "test accuracy, ridge 0"),
        wholes={name: one["whole"] for name, one in found.items()},
    )


def _draw_subsampling(found: Mapping[str, Any]) -> Figure:
    """Draws the accuracy of parts, and its ratio to that of all images (Figure A1)."""
    percentages = list(next(iter(found.values())))  # rising, all images last
    panels: dict[str, dict[str, Any]] = {"test accuracy": {}, "relative to all images": {}}
    for name, parts in found.items():
        means = [parts[p]["mean"] for p in percentages]
        spread = [parts[p]["std"] for p in percentages]
        panels["test accuracy"][name] = means, spread
        whole = means[-1] or 1.0  # nothing is right: the ratio is 0, too
        panels["relative to all images"][name] = [m / whole for m in means], None
    return plots.draw_lines(panels, [f"{p} %" for p in percentages], "images kept")


def tell_left_out(rows: Sequence[Mapping[str, Any]], reporter: console.ConsoleReporter) -> None:
    """Tells how many images and gradients the intrinsic dimension of each set has left out.

    They are left out because they equal another one of the set.

    Args:
        rows: as for `draw_dimension`.
        reporter: is told a sentence for each set that has any.
    """
    for row in rows:
        for what, key in (("images", "left_out"), ("gradients", "gradient_left_out")):
            if row[key]:
                reporter.say(f"{row['set']}: {row[key]} {what} repeat others and were left out")


def _tell(result: Mapping[str, Any], reporter: console.ConsoleReporter) -> None:
    """Prints the numbers of the pictures in a few lines."""
    for row in result["dimension"]:
        reporter.say(
            f"{row['set']}: intrinsic dimension {row['intrinsic_dimension']:.1f} (gradients "
            f"{row['gradient_intrinsic_dimension']:.1f}), linear {row['linear_dimension']} "
            f"({row['gradient_linear_dimension']}), labels of {row['mean_label_entropy']:.2f} bits"
        )
    tell_left_out(result["dimension"], reporter)
    for name, one in result["spectrum"].items():
        bands = ", ".join(f"{100 * accuracy:.1f}" for accuracy in one["bands"])
        reporter.say(f"{name}: {bands} % by bands of eigenvalues, {100 * one['whole']:.1f} whole")
    for name, parts in result["subsampling"].items():
        shown = ", ".join(f"{100 * v['mean']:.1f} (of {k} %)" for k, v in parts.items())
        reporter.say(f"{name}: {shown} of the test images")
    near = result["nearest"]
    reporter.say(
        f"nearest training image: at {near['median']:.2f} in the median, from test images at "
        f"{near['median_of_test_images']:.2f}"
    )


def main() -> None:
    """Runs the command with the arguments in `sys.argv`."""
    config_flags.define_flags(AnalyseConfig)
    flags.DEFINE_string("workdir", None, "folder of the results (runs/<its name>-analysis)")
    console.run_command(_command, operand="RUN_OR_SET", about=__doc__)
