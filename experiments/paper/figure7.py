r"""Figure 7: the intrinsic dimension of learned images grows over KIP steps.

Claim: the images of the last step have a higher intrinsic dimension (Two-NN) than the real images
of step 0. The noise is the deviation over twenty draws of as many random real images.

Command:  kipax kip --dataset=digits --architecture=fc2 --support=100 --steps=400 \
              --learn_labels=false --workdir=runs/fc2
          python -m experiments.paper.figure7 runs/fc2
Expected: 8.3 at step 0 and 16.4 at step 400, real draws 6.7 ± 0.9: holds; 23 and 4 s on 2 CPU
          cores. Ten digits, ConvNet kernel, 60 steps: 11.8 and 27.3, real 11.4 ± 3.6: holds.
          The paper: 500 images without whitening, CIFAR-10, SVHN, MNIST and others.

Source: Nguyen et al. 2021, Figure 7, arXiv:2107.13034; `kipax analyse` draws it.
"""

from typing import Any

import numpy as np

from kipax import console
from kipax import flags as config_flags
from kipax.analysis import AnalyseConfig, squared_distances, two_nn
from kipax.commands.analyse import open_sets
from kipax.kd.verdicts import HOLDS, NOISE, REFUTED
from kipax.transfer import align, random_set

_DRAWS = 20


def main(reporter: console.ConsoleReporter, run: str) -> dict[str, Any]:
    """Prints a table over the steps and a verdict."""
    config: AnalyseConfig = config_flags.config_from_flags(AnalyseConfig)
    sets, dataset = open_sets(run, config, reporter)
    *_, last = sets.values()
    real = [random_set(last, dataset, draw=draw) for draw in range(1, _DRAWS + 1)]
    natural = [two_nn(squared_distances(one.images)).dimension for one in real]
    found = {name: two_nn(squared_distances(one.images)).dimension for name, one in sets.items()}
    mean, deviation = float(np.mean(natural)), float(np.std(natural))
    first, *_, end = found.values()
    gain = end - first
    verdict = NOISE if abs(gain) <= 2 * deviation else HOLDS if gain > 0 else REFUTED
    reporter.close()
    rows = [[name, f"{dimension:.1f}"] for name, dimension in found.items()]
    rows.append([f"random real, {_DRAWS} draws", f"{mean:.1f} ± {deviation:.1f}"])
    reporter.say(align([["", "intrinsic dimension"], *rows]))
    reporter.say(f"from the first to the last {gain:+.1f}: {verdict}")
    return {"dimension": found, "real": [mean, deviation], "verdict": verdict}


if __name__ == "__main__":
    config_flags.define_flags(AnalyseConfig, without=("bands", "keep", "draws", "seed"))
    console.run_command(main, operand="RUN_OR_SET")
