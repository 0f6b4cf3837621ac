"""Figure 4: KIP images beat the natural images that they began as, at every hyperparameter.

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
from kipax.students import StudentSpec
from kipax.transfer import (
    EvaluateConfig,
    Point,
    Subject,
    align,
    count_work,
    load_checkpoints,
    open_session,
)


def main(reporter: console.ConsoleReporter, support: str) -> dict[str, Any]:
    """Trains every point on every checkpoint and compares it with step 0."""
    config: EvaluateConfig = config_flags.config_from_flags(EvaluateConfig, protocol="kip-nn")
    opened = open_session(support, config, reporter=reporter)
    if opened.path is None or "step 0" not in (sets := load_checkpoints(opened.path)):
        raise UsageError("figure 4 needs a run's folder with its checkpoint of step 0.")
    protocol, session, size = opened.protocol, opened.session, len(opened.support)
    student = StudentSpec(
        name=config.networks[0] if config.networks else opened.support.architecture.name,
        width=protocol.width,
        normalisation=protocol.normalisation,
    )
    rows = [Subject(name, {"": [chosen]}) for name, chosen in sets.items()]
    once = dataclasses.replace(protocol, seeds=1)
    session.total = count_work(session, rows, protocol=once)
    tested: dict[str, list[float | None]] = {}
    for name, chosen in sets.items():
        tested[name] = []
        for loss, rate, l2 in protocol.points:
            recipe = protocol.recipe(loss, images=size, dataset=session.name)
            point = Point(student=student, recipe=recipe, rate=rate, relative=True, l2=l2, seed=0)
            tested[name].append(session.train(chosen, point).get("test_last"))
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
    config_flags.define_flags(EvaluateConfig)
    console.run_command(main, operand="SUPPORT.npz")
