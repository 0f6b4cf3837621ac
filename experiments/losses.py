r"""KIP's losses at equal cost: the square error or cross-entropy, same targets, seeds and rates.

Claim: cross-entropy over a learned temperature teaches more with every target than the square error
of the paper does. Accuracies are those of kernel ridge regression after the last step; whoever
chooses a loss by them takes the validation column.

Command:  python -m experiments.losses --dataset=digits --seeds=3
Expected: validation 93.9 % with mse and 96.5 with xent, test 92.7 and 94.2 %; 36 s on 2 CPU cores.
          Other data: experiments/results/README.md. Runs lie in --workdir, a folder
          each, and are continued by the same command.
"""

from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from kipax import console
from kipax import flags as config_flags
from kipax.distill import KIPConfig, RunResult, run_kip
from kipax.errors import UsageError, split_list
from kipax.report import SAME_COMMAND, Reporter, limit_time
from kipax.transfer import align

_COLUMNS = ("validation", "test")


def _run(config: KIPConfig, folder: Path, reporter: Reporter) -> RunResult:
    reporter.say(f"== {config.loss}, seed {config.seed}")
    return run_kip(config, workdir=folder, resume=True, reporter=reporter)


def _row(results: list[RunResult]) -> dict[str, list[float]]:
    """Returns the accuracies of one loss, one for each seed, by the name of the column.

    Without validation images there is no such column.
    """
    found = [(one.evaluation.validation_accuracy, one.evaluation.test_accuracy) for one in results]
    columns = zip(_COLUMNS, zip(*found, strict=True), strict=True)
    return {name: list(values) for name, values in columns if None not in values}


def _words(values: list[float]) -> str:
    spread = f" ± {100 * np.std(values):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.1f}{spread}"


def _config_of(loss: str, seed: int) -> KIPConfig:
    """Returns the config of one run from the flags; only cross-entropy is given a temperature."""
    idle = {} if loss == "xent" else {"temperature": None, "temperature_learning_rate": None}
    return config_flags.config_from_flags(KIPConfig, loss=loss, seed=seed, max_seconds=None, **idle)


def main(reporter: console.ConsoleReporter) -> dict[str, Any]:
    """Runs KIP with each loss and seed, and prints a table with one row for each loss."""
    chosen, losses = flags.FLAGS, split_list(flags.FLAGS.losses)
    if chosen.seeds < 1 or not losses:
        raise UsageError(f"losses and seeds are needed; got {chosen.losses!r}, {chosen.seeds}.")
    timed = limit_time(reporter, chosen.max_seconds, remedy=SAME_COMMAND)
    seeds, folder = range(chosen.seed, chosen.seed + chosen.seeds), Path(chosen.workdir)
    configs = {loss: [_config_of(loss, seed) for seed in seeds] for loss in losses}
    rows = {
        loss: _row([_run(one, folder / f"{loss}-{one.seed}", timed) for one in runs])
        for loss, runs in configs.items()
    }
    reporter.close()
    columns = [name for name in _COLUMNS if all(name in row for row in rows.values())]
    cells = [[loss, *(_words(row[name]) for name in columns)] for loss, row in rows.items()]
    reporter.say(align([["loss", *columns], *cells]))
    return {"rows": rows}


if __name__ == "__main__":
    config_flags.define_flags(KIPConfig, without=("loss",))
    flags.DEFINE_string("losses", "mse,xent", "losses with commas between")
    flags.DEFINE_integer("seeds", 1, "number of seeds, from --seed on")
    flags.DEFINE_string("workdir", "runs/losses", "folder of the runs")
    console.run_command(main)
