"""Train a network: a teacher, kept as one file; from labels, or without any.

Claim: a small network reads the 360 test digits with an accuracy of at least 0.97.

Command:  kipax teacher --dataset=digits
Expected: see docs/distil.md; under a minute on 2 CPU cores.

Without labels: --objective=simclr or moco, which gives features and no classes.
From a network's file: --linear_probe=FILE (a new head, all else frozen) or --fine_tune=FILE.

Presets: small (ours), single_image (Asano & Saeed 2023, arXiv:2112.00725, C.4.2) and surrogate
(Frank & Davis 2025); small_simclr and small_moco (ours), simclr (Chen et al. 2020,
arXiv:2002.05709) and moco (He et al. 2020, arXiv:1911.05722); linear_probe, fine_tune. Their
constants stand in kipax.kd.teacher_presets.
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
    console.tell_next(
        reporter, result, f"kipax kd --teacher={where} --source=shaders", config.dataset
    )
    return result.summary()


def main() -> None:
    """Runs the command with the arguments in `sys.argv`."""
    where = "runs/<data>-teacher, or -<what is trained>"
    console.run_experiment(TeacherConfig, run_teacher, tell=_tell, where=where, about=__doc__)
