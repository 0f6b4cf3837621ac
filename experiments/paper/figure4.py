r"""Figure 4: KIP images beat the natural images that they began as, at every hyperparameter.

Claim: for each loss, learning rate and L2, a network trained on KIP's checkpoint tests better
than the same network trained on the images of step 0.

Command:  python -m experiments.paper.figure4 runs/digits-convnet-10 --width=64 --steps=300 \
              --grid=small
Expected: see experiments/results/README.md: the share of points above the diagonal. The paper:
          CIFAR-10, 500 images, whitened, fixed labels, eight checkpoints, 20 points a loss.
"""

import dataclasses
from typing import Any

from kipax import console
from kipax import flags as config_flags
from kipax.errors import UsageError
from kipax.transfer import (
    EvaluateConfig,
    align,
    as_subjects,
    choose_student,
    count_work,
    grid_points,
    load_checkpoints,
    open_session,
)


def main(reporter: console.ConsoleReporter, support: str) -> dict[str, Any]:
    """Trains every point on every checkpoint and compares it with step 0."""
    config: EvaluateConfig = config_flags.config_from_flags(EvaluateConfig, protocol="kip-nn")
    opened = open_session(support, config, reporter=reporter)
    sets = load_checkpoints(opened.path)
    if "step 0" not in sets:
        raise UsageError("figure 4 needs a run's folder with its checkpoint of step 0.")
    session, rows = opened.session, as_subjects(sets)
    protocol = dataclasses.replace(opened.protocol, seeds=1)
    student = choose_student(protocol, opened.support)
    session.total = count_work(session, rows, protocol=protocol)
    tested: dict[str, list[float | None]] = {}
    for row in rows:
        points = grid_points(session, row, protocol, student, sets[row.name])
        records = session.train_grid(sets[row.name], points)
        tested[row.name] = [record.get("test_last") for record in records]
    reporter.close()
    cells, found = [["", "points", "above natural", "mean gain"]], {}
    natural = tested.pop("step 0")
    for name, accuracies in tested.items():
        gains = [a - b for a, b in zip(accuracies, natural, strict=True) if a and b]
        above = sum(g > 0 for g in gains)
        mean = sum(gains) / max(1, len(gains))
        cells.append([name, str(len(gains)), str(above), f"{100 * mean:+.1f}"])
        found[name] = {"points": len(gains), "above": above, "mean_gain": mean}
    reporter.say(align(cells))
    return {"rows": found, "natural": natural, "learned": tested}


if __name__ == "__main__":
    fixed = ("protocol", "baselines", "full_data", "checkpoints", "architectures", "draws", "seeds")
    config_flags.define_flags(EvaluateConfig, without=fixed)
    console.run_command(main, operand="SUPPORT.npz")
