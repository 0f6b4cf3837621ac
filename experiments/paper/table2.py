r"""Table 2: what KIP's and Label Solve's sets lose when a finite network is trained on them.

Claim: networks trained on KIP images beat those trained on as many solved or real images, and
lose a few points to the kernel that the images were made for (one image a class: KIP 5.5 to
18, Label Solve 0 to 12).

Command:  python -m experiments.paper.table2 runs/digits-convnet-10 --width=64 --steps=500 \
              --grid=small --losses=mse
Expected: digits: see experiments/results/README.md; a minute on 2 CPU cores. The paper's own
          size is the default (width 1024, 5,000 steps, 20 points, two losses) and a GPU's.
"""

import dataclasses
from typing import Any

from kipax import console
from kipax import flags as config_flags
from kipax.report import SAME_COMMAND, limit_time
from kipax.transfer import EvaluateConfig, align, evaluate, percent

_SHARED = ("dataset", "data_dir", "image_size", "eval_examples", "out")
_FIXED = ("protocol", "baselines", "full_data", "checkpoints", "architectures")


def main(reporter: console.ConsoleReporter, support: str) -> dict[str, Any]:
    """Prints kernel, network and the difference."""
    given: EvaluateConfig = config_flags.config_from_flags(EvaluateConfig, protocol="kip-nn")
    timed = limit_time(reporter, given.max_seconds, remedy=SAME_COMMAND)  # of both evaluations
    networks = dataclasses.replace(given, baselines=True, max_seconds=None)
    kernel = EvaluateConfig(
        baselines=True,
        draws=given.draws or networks.resolve_protocol(training_examples=100_000).seeds,
        validation_examples=given.validation_examples,
        **{k: getattr(given, k) for k in _SHARED},
    )
    trained, protocol, _ = evaluate(support, networks, reporter=timed)
    kernel = dataclasses.replace(kernel, validation_examples=protocol.validation_examples)
    regressed, _, _ = evaluate(support, kernel, reporter=timed)
    reporter.close()
    cells, rows = [["", "kernel", trained[0].network, "change"]], []
    for a, b in zip(regressed, trained, strict=True):
        change = None if b.accuracy is None or a.accuracy is None else b.accuracy - a.accuracy
        words = "" if change is None else f"{100 * change:+.1f}"
        cells.append([a.subject, percent(a), percent(b), words])
        rows.append({"set": a.subject, "kernel": a.accuracy, "network": b.accuracy})
    reporter.say(align(cells))
    return {"rows": rows}


if __name__ == "__main__":
    config_flags.define_flags(EvaluateConfig, without=_FIXED)
    console.run_command(main, operand="SUPPORT.npz")
