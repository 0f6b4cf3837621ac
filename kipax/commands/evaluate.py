r"""Is a distilled set any good? Its accuracy under a named protocol, beside its baselines.

Claim: ten learned digits are worth more than ten real ones, to their kernel and to networks.

Command:  kipax kip --dataset=digits --support=10
          kipax evaluate runs/digits-convnet-10 --baselines
          kipax evaluate runs/digits-convnet-10 --protocol=kip-nn --baselines \
              --width=64 --steps=500 --grid=small --losses=mse
Expected: see experiments/results/README.md of the repository. Width 1024, 5,000 steps, 20 points
          and two losses, the paper's, are what kip-nn does unasked, on a GPU.

SUPPORT.npz may also be a run's folder or the name of a set that comes with kipax. Finished points
lie beside it (those of the latter in runs): after a kill, or with more rows, the same command
computes only what is missing.

Source: Nguyen et al. 2021, arXiv:2107.13034, tables 1, 2, A1 and A2, figure 1 (left, with
--architectures).
"""

import dataclasses
from typing import Any

from absl import flags

from kipax import console
from kipax import flags as config_flags
from kipax.transfer import (
    EvaluateConfig,
    caption,
    evaluate,
    format_table,
    is_like_paper,
    paper_value,
)

flags.disclaim_key_flags()  # the calling program owns the flags


def _command(reporter: console.ConsoleReporter, support: str) -> dict[str, Any]:
    """Evaluates and prints one table."""
    config: EvaluateConfig = config_flags.config_from_flags(EvaluateConfig)
    results, protocol, session = evaluate(support, config, reporter=reporter)
    reporter.close()
    data, size = session.dataset, session.images
    paper = {}
    if not config.networks and is_like_paper(session.support, protocol.name):
        for row in results:
            paper[row.subject] = paper_value(
                protocol.name,
                row.subject,
                dataset=session.name,
                images_per_class=size / data.num_classes,
                whitened=session.whitened,
            )
    facts = {
        "test": len(session.test[1]),
        "validation": len(data.x_validation),
        "recipes": [
            protocol.recipe(loss, images=size, dataset=session.name) for loss in protocol.losses
        ],
    }
    reporter.say(format_table(results, paper))
    reporter.say(caption(results, protocol, facts))
    if config.full_data and config.steps is None:
        reporter.say("all real: the steps of the paper's appendix A, 30,000 to 500,000")
    return {
        "protocol": protocol.name,
        "rule": protocol.rule,
        "test_examples": facts["test"],
        "validation_examples": facts["validation"],
        "results": [dataclasses.asdict(r) for r in results],
    }


def main() -> None:
    """Runs the command with the arguments in `sys.argv`."""
    config_flags.define_flags(EvaluateConfig)
    console.run_command(_command, operand="SUPPORT.npz", about=__doc__)
