r"""Figure 2: normalisation, architecture and loss of the network that is trained on a KIP set.

Claim: normalisation layers harm with mean square error, since KIP knows none, and help a little
with cross-entropy; Myrtle5, a similar network, transfers as well.

Command:  python -m experiments.paper.figure2 runs/digits-convnet-10 --width=64 --steps=500 \
              --grid=small
Expected: see experiments/results/README.md. Rows are networks, columns KIP steps (--checkpoints)
          or the set as it is; one table a loss. The paper: CIFAR-10, 500 images, whitened,
          fixed labels, width 1024.
"""

import dataclasses
from typing import Any

from kipax import console
from kipax import flags as config_flags
from kipax.students import NORMALISATIONS
from kipax.transfer import (
    EvaluateConfig,
    align,
    as_subjects,
    count_work,
    evaluate_subject,
    load_checkpoints,
    open_session,
    percent,
)


def main(reporter: console.ConsoleReporter, support: str) -> dict[str, Any]:
    """Prints a table for each loss."""
    config: EvaluateConfig = config_flags.config_from_flags(EvaluateConfig, protocol="kip-nn")
    opened = open_session(support, config, reporter=reporter)
    sets = {"": opened.support}
    if config.checkpoints:
        sets = load_checkpoints(opened.path)
    networks = [("", n) for n in NORMALISATIONS]
    if min(opened.support.images.shape[1:3]) >= 4:
        networks.append(("myrtle5", "none"))
    rows = as_subjects(sets)
    opened.session.total = count_work(
        opened.session, rows, protocol=opened.protocol, columns=len(networks)
    )
    found, tables = [], []
    for loss in opened.protocol.losses:
        cells = [[loss, *(name or "as it is" for name in sets)]]
        for network, normalisation in networks:
            protocol = dataclasses.replace(
                opened.protocol, losses=(loss,), normalisation=normalisation
            )
            row = [
                evaluate_subject(opened.session, subject, protocol=protocol, network=network)
                for subject in rows
            ]
            found += [dataclasses.asdict(r) | {"loss": loss} for r in row]
            cells.append([row[0].network, *map(percent, row)])
        tables.append(align(cells))
    reporter.close()
    reporter.say("\n\n".join(tables))
    return {"results": found}


if __name__ == "__main__":
    fixed = ("protocol", "baselines", "full_data", "architectures", "normalisation", "draws")
    config_flags.define_flags(EvaluateConfig, without=fixed)
    console.run_command(main, operand="SUPPORT.npz")
