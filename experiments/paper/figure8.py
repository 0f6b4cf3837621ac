r"""Figure 8: the accuracy of learned images lies less in the largest eigenvalues.

Claim: of the accuracy that all eigenvalues give, the top fifth gives learned images a smaller
share than the real images that they began as. The noise is the standard error of the shares.

Command:  kipax kip --dataset=digits --architecture=fc2 --support=100 --steps=400 \
              --learn_labels=false --workdir=runs/fc2
          python -m experiments.paper.figure8 runs/fc2
Expected: 83.3, 40.6, 19.4, 21.9, 18.1 % by fifths at step 0 and 78.9, 34.4, 41.9, 50.6, 40.8 at
          step 400, the top fifth's share of the whole 12 points lower: holds; 23 and 4 s on 2 CPU
          cores.
          The paper: CIFAR-10, 500 images, FC2, ConvVec8 and ConvNet.

Source: Nguyen et al. 2021, Figure 8, arXiv:2107.13034; `kipax analyse` draws it.
"""

import math
from typing import Any

from kipax import console
from kipax import flags as config_flags
from kipax.analysis import AnalyseConfig, SpectralBands, kernels_with, spectral_bands
from kipax.commands.analyse import open_sets
from kipax.transfer import align
from kipax.verdicts import judge


def _error(found: SpectralBands, count: int) -> float:
    """Returns the standard error of the top band's share of the whole accuracy."""
    return math.sqrt(found.accuracies[0] * (1 - found.accuracies[0]) / count) / found.whole


def main(reporter: console.ConsoleReporter, run: str) -> dict[str, Any]:
    """Prints the accuracies of the first and the last set by bands, and a verdict."""
    config: AnalyseConfig = config_flags.config_from_flags(AnalyseConfig)
    sets, dataset = open_sets(run, config, reporter)
    *_, last = sets
    x, y = dataset.test_part(config.eval_examples)
    targets = sets[last].preprocess(x)
    found = {}
    for name in (next(iter(sets)), last):
        one = sets[name]
        kernels = kernels_with(one, targets)
        found[name] = spectral_bands(*kernels, one.labels, y, bands=config.bands)
    shares = {name: one.accuracies[0] / one.whole for name, one in found.items()}
    change = shares[last] - shares[next(iter(sets))]
    verdict = judge(-change, sum(_error(one, len(y)) ** 2 for one in found.values()))
    reporter.close()
    head = ["", *(f"band {i}" for i in range(1, config.bands + 1)), "whole"]
    rows = [[n, *(f"{100 * a:.1f}" for a in (*one[0], one.whole))] for n, one in found.items()]
    reporter.say(align([head, *rows]))
    reporter.say(f"the top band's share of the accuracy {100 * change:+.1f} %: {verdict}")
    return {"bands": {n: one._asdict() for n, one in found.items()}, "verdict": verdict}


if __name__ == "__main__":
    config_flags.define_flags(AnalyseConfig, without=("keep", "draws", "seed"))
    console.run_command(main, operand="RUN_OR_SET")
