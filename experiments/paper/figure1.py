"""Figure 1 (left): a set is best with the kernel that made it; sampling kernels comes second.

Claim: for each of the kernels ConvNet, ConvVec3 and ConvVec8, the set learned with that kernel
is best, the one learned with all three ("all") a close second, the others fall behind.

Command:  python -m experiments.paper.figure1 --dataset=digits --support=10
Expected: see experiments/results/README.md. The flags of kipax kip may be given; four KIP
          runs, kept in runs/figure1-... and resumed. The paper: CIFAR-10, 100 images, no
          whitening, fixed labels. For the right half, networks instead of kernels, run
          kipax evaluate with --protocol=kip-nn --architectures=convnet,convvec3,convvec8
          on each of these folders.
"""

import dataclasses
from typing import Any

from absl import flags

from kipax import console
from kipax import flags as config_flags
from kipax.data.known import short_name
from kipax.distill import KIPConfig, run_kip
from kipax.errors import split_list
from kipax.report import SAME_COMMAND, limit_time
from kipax.transfer import EvaluateConfig, align, evaluate

_SHARED = ("dataset", "data_dir", "image_size", "eval_examples")


def main(reporter: console.ConsoleReporter) -> dict[str, Any]:
    """Learns four sets and prints the matrix."""
    given: KIPConfig = config_flags.config_from_flags(KIPConfig, learn_labels=False)
    kernels = flags.FLAGS.kernels
    names = split_list(kernels)
    timed = limit_time(reporter, given.max_seconds, remedy=SAME_COMMAND)  # of all runs together
    given = dataclasses.replace(given, max_seconds=None)
    cells, rows = [["learned with", *names]], {}
    for name in ("all", *names):
        change: dict[str, Any] = {"sample_architectures": kernels} if name == "all" else {}
        architecture = names[0] if name == "all" else name
        config = dataclasses.replace(given, architecture=architecture, **change)
        folder = f"{flags.FLAGS.folder}-{short_name(given.dataset)}-{given.support}/{name}"
        result = run_kip(config, workdir=folder, resume=True, reporter=timed)
        judged = EvaluateConfig(architectures=kernels, **{k: getattr(given, k) for k in _SHARED})
        row = [r.accuracy for r in evaluate(result.workdir, judged, reporter=timed)[0]]
        reporter.close()
        cells.append([name, *(f"{100 * (a or 0):.1f}" for a in row)])
        rows[name] = dict(zip(names, row, strict=True))
    reporter.say(align(cells))
    reporter.say("kernel ridge regression with each kernel, accuracy in %; nothing is chosen")
    return {"accuracy": rows}


if __name__ == "__main__":
    fixed = ("architecture", "sample_architectures", "learn_labels")
    config_flags.define_flags(KIPConfig, without=fixed)
    flags.DEFINE_string("kernels", "convnet,convvec3,convvec8", "comma-separated architectures")
    flags.DEFINE_string("folder", "runs/figure1", "folders of the four runs begin so")
    console.run_command(main)
