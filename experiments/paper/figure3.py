r"""Figure 3: accuracy of networks over KIP steps (left) and over width, for KIP and Label Solve.

Claim: longer KIP runs make better networks, except with learned labels; the gap between network
and kernel closes as width grows (middle: KIP, right: Label Solve).

Command:  python -m experiments.paper.figure3 runs/digits-convnet-10 --widths=8,32,128 \
              --steps=500 --grid=small --losses=mse
Expected: see experiments/results/README.md. With --checkpoints also a table over KIP steps, at
          --width. The paper: CIFAR-10, 500 images, whitened, widths up to 1024.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from absl import flags

from kipax import console
from kipax import flags as config_flags
from kipax.errors import UsageError, read_whole_numbers
from kipax.transfer import (
    EvaluateConfig,
    Opened,
    Subject,
    align,
    as_subjects,
    count_work,
    evaluate_subject,
    load_checkpoints,
    name_beside_baselines,
    open_session,
    percent,
    protocol_by_name,
    random_set,
    solved_set,
)


def _over_width(opened: Opened, widths: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Returns the test accuracy by set and width, the kernel last."""
    session = opened.session
    real = random_set(opened.support, session.dataset, draw=0)
    own = name_beside_baselines(opened.support)
    subjects = as_subjects({own: opened.support, "Label Solve": solved_set(real, session)})
    kernel = protocol_by_name("krr")
    session.total += count_work(session, subjects, protocol=opened.protocol, columns=len(widths))
    session.total += count_work(session, subjects, protocol=kernel)
    rows: dict[str, dict[str, Any]] = {}
    for subject in subjects:
        name = subject.name
        rows[name] = {
            str(w): evaluate_subject(
                session, subject, protocol=dataclasses.replace(opened.protocol, width=w)
            )
            for w in widths
        }
        rows[name]["kernel"] = evaluate_subject(session, subject, protocol=kernel)
    return rows


def _over_steps(opened: Opened, subjects: list[Subject]) -> dict[str, dict[str, Any]]:
    """Returns the test accuracy by loss and KIP step."""
    rows = {}
    opened.session.total += count_work(opened.session, subjects, protocol=opened.protocol)
    for loss in opened.protocol.losses:
        protocol = dataclasses.replace(opened.protocol, losses=(loss,))
        rows[loss] = {
            one.name: evaluate_subject(opened.session, one, protocol=protocol) for one in subjects
        }
    return rows


def main(reporter: console.ConsoleReporter, support: str) -> dict[str, Any]:
    """Prints one or two tables."""
    config: EvaluateConfig = config_flags.config_from_flags(EvaluateConfig, protocol="kip-nn")
    if config.width is not None and not config.checkpoints:
        raise UsageError(f"width is that of --checkpoints; got {config.width}: give --widths.")
    opened = open_session(support, config, reporter=reporter)
    widths = read_whole_numbers("widths", flags.FLAGS.widths)
    steps = as_subjects(load_checkpoints(opened.path)) if config.checkpoints else []
    tables = {"width": _over_width(opened, widths)}
    if steps:
        tables["KIP steps"] = _over_steps(opened, steps)
    reporter.close()
    for title, rows in tables.items():
        columns = list(next(iter(rows.values())))
        cells = [[title, *columns], *([n, *map(percent, r.values())] for n, r in rows.items())]
        reporter.say(align(cells))
    return {
        title: {n: {c: r.accuracy for c, r in row.items()} for n, row in rows.items()}
        for title, rows in tables.items()
    }


if __name__ == "__main__":
    fixed = ("protocol", "baselines", "full_data", "architectures", "draws")
    config_flags.define_flags(EvaluateConfig, without=fixed)
    flags.DEFINE_string("widths", "64,256,1024", "comma-separated channels of the networks")
    console.run_command(main, operand="SUPPORT.npz")
