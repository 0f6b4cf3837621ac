r"""Figure A1: learned images lose more than real ones when a part of them is taken away.

Claim: at every share of the images that is kept, the test accuracy of learned images drops further,
relative to that of all of them, than the accuracy of the same part of the images of step 0. The
noise is the standard error of the drops, by test images and by draws.

Command:  python -m experiments.paper.figureA1 runs/fc2,runs/digits-convnet-10
Expected: for the runs of figure7's and kipax kip's docstrings: with a fifth kept 29 % of the
          accuracy lost at step 0 and 46 % of the learned, 74 and 80 %; holds at 3 of 8 points,
          within noise at 5 (360 test images); 9 s on 2 CPU cores. CIFAR-10 (holds at 16 of 28,
          within noise at 12): docs/analysis.md.
          The paper: CIFAR-10, 100 and 500 images, with and without whitening and learned labels,
          100 draws; every point above the diagonal.

Source: Nguyen et al. 2021, Figure A1 and appendix C.1, arXiv:2107.13034.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from kipax import console, files, plots
from kipax import flags as config_flags
from kipax.analysis import AnalyseConfig, kernels_with, measure_parts
from kipax.commands.analyse import open_sets
from kipax.errors import UsageError, split_list
from kipax.transfer import align
from kipax.verdicts import HOLDS, NOISE, REFUTED, judge

Parts = Mapping[str, Mapping[str, Any]]


def main(reporter: console.ConsoleReporter, runs: str) -> dict[str, Any]:
    """Prints and draws by how much the accuracy of each run drops, and counts the verdicts."""
    config: AnalyseConfig = config_flags.config_from_flags(AnalyseConfig)
    folder = files.make_folder(files.expand(flags.FLAGS.workdir))
    percentages = [str(p) for p in config.percentages[:-1]]
    if not percentages:
        raise UsageError(f"keep names at least one percentage below 100; got {config.keep!r}.")
    found: dict[str, dict[str, Any]] = {}
    for run in split_list(runs):
        ends, count = _measure(run, config, reporter)
        found[run] = {p: _compare(ends, p, count=count, draws=config.draws) for p in percentages}
        found[run]["test_accuracy"] = ends[-1]["100"]["mean"]
    reporter.close()
    cells = [["natural → learned, drop in %", *(f"{p} % kept" for p in percentages)]]
    cells += [[run, *(_shown(row[p]) for p in percentages)] for run, row in found.items()]
    reporter.say(align(cells))
    counts = Counter(row[p]["verdict"] for row in found.values() for p in percentages)
    verdicts = {verdict: counts[verdict] for verdict in (HOLDS, REFUTED, NOISE)}
    words = ", ".join(f"{verdict} at {count}" for verdict, count in verdicts.items())
    reporter.say(f"of {len(found) * len(percentages)} points learned images lose more: {words}")
    groups = {
        f"{p} % kept": (
            [row[p]["natural"] for row in found.values()],
            [row[p]["learned"] for row in found.values()],
            [row["test_accuracy"] for row in found.values()],
        )
        for p in percentages
    }
    axes = ("relative drop, images of step 0", "relative drop, learned images")
    pictures = {"figureA1.png": lambda: plots.draw_pairs(groups, axes)}
    reporter.say(f"{folder}/  {' '.join(plots.write_pictures(folder, pictures, reporter))}")
    return {"runs": found, "verdicts": verdicts}


def _measure(
    run: str, config: AnalyseConfig, reporter: console.ConsoleReporter
) -> tuple[list[Parts], int]:
    """Measures parts of a run's first and last set; returns them and the number of test images."""
    sets, dataset = open_sets(run, config, reporter)
    ends = [next(iter(sets.values())), list(sets.values())[-1]]
    x, y = dataset.test_part(config.eval_examples)
    targets = ends[-1].preprocess(x)
    return [measure_parts(s, kernels_with(s, targets), y, config) for s in ends], len(y)


def _compare(ends: Sequence[Parts], percent: str, *, count: int, draws: int) -> dict[str, Any]:
    """Returns the relative drops of both sets, and whether the last set's is the larger one."""
    drops, variance = [], 0.0
    for parts in ends:
        part, whole = parts[percent]["mean"], parts["100"]["mean"]
        if not whole:
            raise UsageError("a relative drop needs a set that classifies some test image.")
        drops.append(1 - part / whole)
        # Propagates the errors of two accuracies, taken as independent, to their ratio. The part's
        # accuracy varies with the test images and with the drawn parts, the whole set's with the
        # test images alone.
        own = part * (1 - part) / count + parts[percent]["std"] ** 2 / draws
        of_whole = whole * (1 - whole) / count
        variance += (own + (part / whole) ** 2 * of_whole) / whole**2
    verdict = judge(drops[1] - drops[0], variance)
    error = math.sqrt(variance)
    return {"natural": drops[0], "learned": drops[1], "error": error, "verdict": verdict}


def _shown(point: Mapping[str, Any]) -> str:
    return f"{100 * point['natural']:.0f} → {100 * point['learned']:.0f}"


if __name__ == "__main__":
    config_flags.define_flags(AnalyseConfig, without=("bands",))
    flags.DEFINE_string("workdir", "runs/figureA1", "folder of the picture")
    console.run_command(main, operand="RUN,RUN,...")
