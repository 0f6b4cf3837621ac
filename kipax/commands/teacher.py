"""Train a network from labels: a teacher, kept as one file.

Claim: a small network reads the 360 test digits with an accuracy of at least 0.97.

Command:  kipax teacher --dataset=digits
Expected: see docs/distil.md; under a minute on 2 CPU cores.

Presets: small (ours), single_image (Asano & Saeed 2023, arXiv:2112.00725, C.4.2) and surrogate
(Frank & Davis 2025); their constants stand in kipax.kd.presets.
"""

import shlex
from typing import Any

from absl import flags

from kipax import console
from kipax.kd import TeacherConfig, TrainingResult, run_teacher

flags.disclaim_key_flags()  # the calling program owns the flags


def _tell(
    reporter: console.ConsoleReporter, result: TrainingResult, config: TeacherConfig
) -> dict[str, Any]:
    if result.test_accuracy is not None:
        reporter.say(
            f"test accuracy {result.test_accuracy:.3f} (step {result.best_step:,}); after the last "
            f"step {result.last_accuracy:.3f}"
        )
    where = shlex.quote(str(result.workdir))
    reporter.say(f"next: kipax kd --teacher={where} --source=shaders")
    return result.summary()


def main() -> None:
    """Runs the command with the arguments in `sys.argv`."""
    console.run_experiment(
        TeacherConfig, run_teacher, tell=_tell, where="runs/<data>-teacher", about=__doc__
    )
