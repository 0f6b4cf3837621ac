r"""Random subsets of real images: what natural images and Label Solve reach (Table A1, Table 1).

Claim: kernel ridge regression with the ConvNet NTK on 1 to 32 real images a class reaches the
paper's Table A1 within two of its deviations, and Label Solve at 10, 100 and 500 images the
paper's Table 1 within two deviations of the draws.

Command:  kipax subsets --dataset=npz:cifar10.npz --preprocessing=zca \
              --support=500 --natural=1,2,4,8,16,32 --solved=1,10,50
Expected: see experiments/results/README.md of the repository; 0.07 to 0.15 s an image on two
          cores. Labels are solved from the sums over all targets, the bulk of the time; --solved=
          leaves them out.

Source: Nguyen et al. 2021, Tables 1 and A1, arXiv:2107.13034.
"""

import dataclasses
from typing import Any

from absl import flags

from kipax import flags as config_flags
from kipax.console import ConsoleReporter, run_command
from kipax.distill import SubsetsConfig, run_subsets

flags.disclaim_key_flags()  # the calling program owns the flags


def _command(reporter: ConsoleReporter) -> dict[str, Any]:
    """Runs, and says a row for each size."""
    config = config_flags.config_from_flags(SubsetsConfig)
    chosen = flags.FLAGS
    rows = run_subsets(config, workdir=chosen.workdir, resume=chosen.resume, reporter=reporter)
    reporter.close()
    for row in rows:
        spread = f" ± {100 * row.std:.1f}" if row.draws > 1 else ""
        draws = f"{row.draws} draws" if row.draws > 1 else "one draw"
        reporter.say(
            f"{row.per_class} a class, {row.labels} labels: {100 * row.mean:.1f}{spread} % of the "
            f"test images, {draws}"
        )
    return {"rows": [dataclasses.asdict(row) for row in rows]}


def _define_flags() -> None:
    config_flags.define_flags(SubsetsConfig)
    flags.DEFINE_string(
        "workdir", None, "folder of the run (runs/<data>-<network>-<support>-subsets)"
    )
    flags.DEFINE_boolean("resume", False, "continue the run in the workdir, if there is one")


def main() -> None:
    """Runs the command with the arguments in `sys.argv`."""
    _define_flags()
    run_command(_command, about=__doc__)
