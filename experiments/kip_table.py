"""Runs KIP in several ways, with several seeds each, and prints their accuracies side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from kipax import console
from kipax.distill import KIPConfig, RunResult, run_kip
from kipax.errors import UsageError
from kipax.report import SAME_COMMAND, Reporter, limit_time
from kipax.transfer import align

__all__ = ["define_table_flags", "run_table", "seeds_of_flags"]

flags.disclaim_key_flags()  # the calling program owns the flags

_COLUMNS = ("validation", "test")


def define_table_flags(workdir: str) -> None:
    """Defines the flags of a table: ``--seeds`` and ``--workdir``."""
    flags.DEFINE_integer("seeds", 1, "number of seeds, from --seed on")
    flags.DEFINE_string("workdir", workdir, "folder of the runs")


def seeds_of_flags() -> range:
    """Returns the seeds that the user asks for."""
    chosen = flags.FLAGS
    if chosen.seeds < 1:
        raise UsageError(f"seeds must be positive; got {chosen.seeds}.")
    return range(chosen.seed, chosen.seed + chosen.seeds)


def run_table(
    title: str, ways: Mapping[str, Sequence[KIPConfig]], reporter: console.ConsoleReporter
) -> dict[str, Any]:
    """Runs every way with every seed, prints a table with a row for each way, and returns it.

    Runs lie in ``--workdir``, a folder each, and are continued by the same command.

    Args:
        title: what the ways differ in.
        ways: the configs of a way, one for each seed, by its name.
        reporter: is told how the runs come along.
    """
    chosen = flags.FLAGS
    timed = limit_time(reporter, chosen.max_seconds, remedy=SAME_COMMAND)
    folder = Path(chosen.workdir)
    rows = {
        name: _row([_run(one, name, folder / f"{name}-{one.seed}", timed) for one in runs])
        for name, runs in ways.items()
    }
    reporter.close()
    columns = [name for name in _COLUMNS if all(name in row for row in rows.values())]
    cells = [[name, *(_words(row[column]) for column in columns)] for name, row in rows.items()]
    reporter.say(align([[title, *columns], *cells]))
    return {"rows": rows}


def _run(config: KIPConfig, name: str, folder: Path, reporter: Reporter) -> RunResult:
    reporter.say(f"== {name}, seed {config.seed}")
    return run_kip(config, workdir=folder, resume=True, reporter=reporter)


def _row(results: list[RunResult]) -> dict[str, list[float]]:
    """Returns the accuracies of one way to run KIP as lists over the seeds, by column.

    Without validation images there is no such column.
    """
    found = [(one.evaluation.validation_accuracy, one.evaluation.test_accuracy) for one in results]
    columns = zip(_COLUMNS, zip(*found, strict=True), strict=True)
    return {name: list(values) for name, values in columns if None not in values}


def _words(values: list[float]) -> str:
    spread = f" ± {100 * np.std(values):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.1f}{spread}"
