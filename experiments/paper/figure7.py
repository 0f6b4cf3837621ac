r"""Figures 7, A3 and A4: the dimension of learned images grows over KIP steps.

Claim: the images of the last step have a higher dimension than the real images of step 0, in the
intrinsic sense (Two-NN, Figure 7) and the linear one, as pixels and as gradients of the wide
network (A3); with whitening the trend is less robust (A4). Whether the run whitens decides which
of A3 and A4 is drawn. The noise is the deviation over twenty draws of as many random real images.

Command:  kipax kip --dataset=digits --architecture=fc2 --support=100 --steps=400 \
              --learn_labels=false --workdir=runs/fc2
          python -m experiments.paper.figure7 runs/fc2 --workdir=runs/figure7
Expected: intrinsic dimension 8.3 at step 0 and 16.4 at step 400, real draws 6.7 ± 0.9: holds; of
          gradients 12.6 and 25.2, 10.9 ± 1.5: holds; linear 17 and 16, 63 and 58: does not hold;
          23 and 9 s on 2 CPU cores. Other sets: docs/analysis.md.
          The paper: 500 images, CIFAR-10, SVHN, MNIST and others.

Source: Nguyen et al. 2021, Figures 7, A3 and A4, arXiv:2107.13034; `kipax analyse` has the numbers.
"""

from typing import Any

import numpy as np
from absl import flags

from kipax import console, files, plots
from kipax import flags as config_flags
from kipax.analysis import AnalyseConfig, measure_dimensions
from kipax.commands.analyse import draw_dimension, open_sets, tell_left_out
from kipax.report import Progress
from kipax.transfer import align, random_set
from kipax.verdicts import judge

_KINDS = {
    "intrinsic_dimension": "intrinsic",
    "linear_dimension": "linear",
    "gradient_intrinsic_dimension": "gradients, intrinsic",
    "gradient_linear_dimension": "gradients, linear",
}


def main(reporter: console.ConsoleReporter, run: str) -> dict[str, Any]:
    """Prints the dimensions at each step and a verdict on each of them, and draws them."""
    config: AnalyseConfig = config_flags.config_from_flags(AnalyseConfig)
    folder = files.make_folder(files.expand(flags.FLAGS.workdir))
    sets, dataset = open_sets(run, config, reporter)
    *_, last = sets.values()
    rows = [{"set": name} | measure_dimensions(one) for name, one in sets.items()]
    draws, real = flags.FLAGS.real_draws, []
    for draw in range(1, draws + 1):
        real.append(measure_dimensions(random_set(last, dataset, draw=draw)))
        reporter.progress(Progress(draw, draws, unit="draw"))
    reporter.close()
    noise = {k: (np.mean([r[k] for r in real]), np.std([r[k] for r in real])) for k in _KINDS}
    cells = [[row["set"], *(f"{row[kind]:.1f}" for kind in _KINDS)] for row in rows]
    cells.append(
        [f"random real, {draws} draws", *(f"{m:.1f} ± {s:.1f}" for m, s in noise.values())]
    )
    reporter.say(align([["dimension", *_KINDS.values()], *cells]))
    tell_left_out(rows, reporter)
    verdicts = {}
    for kind, words in _KINDS.items():
        gain = rows[-1][kind] - rows[0][kind]
        verdicts[kind] = judge(gain, noise[kind][1] ** 2)
        reporter.say(f"{words}, from the first to the last {gain:+.1f}: {verdicts[kind]}")
    pictures = {"figure7.png": lambda: draw_dimension(rows)}
    reporter.say(f"{folder}/  {' '.join(plots.write_pictures(folder, pictures, reporter))}")
    told = {kind: [float(mean), float(deviation)] for kind, (mean, deviation) in noise.items()}
    return {"dimension": rows, "real": told, "verdict": verdicts}


if __name__ == "__main__":
    config_flags.define_flags(AnalyseConfig, without=("bands", "keep", "draws", "seed"))
    flags.DEFINE_integer("real_draws", 20, "draws of random real images", lower_bound=2)
    flags.DEFINE_string("workdir", "runs/figure7", "folder of the picture")
    console.run_command(main, operand="RUN_OR_SET")
