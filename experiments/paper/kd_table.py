"""Runs and prints tables of distillations, for the scripts of two papers and of the bridge."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from absl import flags

from kipax import console
from kipax import flags as config_flags
from kipax.errors import UsageError, check_choice
from kipax.kd import (
    Cell,
    CellResult,
    KDConfig,
    judge_equal,
    judge_gap,
    judge_order,
    rank_correlation,
    run_cells,
)
from kipax.transfer import align

__all__ = ["Table", "run_tables"]

flags.disclaim_key_flags()  # the calling program owns the flags


@dataclasses.dataclass(frozen=True)
class Table:
    """The distillations of one table of a paper, and what the paper says about them.

    Attributes:
        title: what it compares.
        cells: its distillations.
        paper: the paper's accuracies in percent, by cell; not all cells are in the paper.
        orders: names of cells in the order of the accuracies that the paper claims.
        equals: pairs of names whose accuracies are the same in the paper.
        gaps: two pairs of names; the first pair differs more than the second in the paper.
        measure: what is compared, see `kipax.kd.Cell`.
    """

    title: str
    cells: tuple[Cell, ...]
    paper: Mapping[str, float] = dataclasses.field(default_factory=dict)
    orders: tuple[tuple[str, ...], ...] = ()
    equals: tuple[tuple[str, str], ...] = ()
    gaps: tuple[tuple[tuple[str, str], tuple[str, str]], ...] = ()
    measure: str = "test_accuracy"

    @property
    def compares_sources(self) -> bool:
        """Whether the cells differ in their source alone."""
        rest = [{k: v for k, v in c.changes.items() if k != "source"} for c in self.cells]
        return all(one == rest[0] for one in rest)


Drawing = Callable[[KDConfig, Mapping[str, list[CellResult]]], None]


def _format(table: Table, results: list[CellResult]) -> str:
    measure = table.measure.replace("_", " ")
    lines = [[table.title, measure, "last step", "agreement", "rel. entropy", "paper"]]
    for result in results:
        spread = "" if result.deviation is None else f" ± {100 * result.deviation:.1f}"
        published, agreement = table.paper.get(result.name), result.agreements.mean()
        lines.append(
            [
                result.name,
                f"{100 * result.accuracy:.1f}{spread}",
                "" if np.isnan(result.last).any() else f"{100 * result.last.mean():.1f}",
                "" if np.isnan(agreement) else f"{100 * agreement:.1f}",
                f"{result.relative_entropies.mean():.2f}",
                "" if published is None else f"{published:.1f}",
            ]
        )
    return align(lines)


def _judge(table: Table, results: list[CellResult]) -> dict[str, str]:
    """Returns the verdict on each claim of a table, by the words of the claim."""
    cell = {result.name: result for result in results}
    verdicts = {
        f"{a} < {b}": judge_order(cell[a], cell[b])
        for order in table.orders
        for a, b in itertools.pairwise(order)
    }
    verdicts |= {f"{a} = {b}": judge_equal(cell[a], cell[b]) for a, b in table.equals}
    for (a, b), (c, d) in table.gaps:
        verdicts[f"{a} to {b} > {c} to {d}"] = judge_gap((cell[a], cell[b]), (cell[c], cell[d]))
    return verdicts


def _check_flags(tables: list[Table]) -> None:
    """Raises a `UsageError` for a flag that has no effect, since every cell has a value."""
    cells = [cell for table in tables for cell in table.cells]
    for field in dataclasses.fields(KDConfig):
        given = field.name in flags.FLAGS and flags.FLAGS[field.name].present
        if given and all(field.name in cell.changes for cell in cells):
            raise UsageError(f"every cell says its {field.name}; got --{field.name} too.")


def _run(
    makers: Mapping[str, Callable[[], Table]],
    draw: Drawing | None,
    reporter: console.ConsoleReporter,
) -> dict[str, Any]:
    chosen = flags.FLAGS
    names = list(makers) if chosen.table == "all" else chosen.table.split(",")
    for name in names:
        check_choice("table", name, tuple(makers))
    known = {name: makers[name]() for name in names}
    if chosen.seeds < 1:
        raise UsageError(f"seeds must be positive; got {chosen.seeds}.")
    _check_flags(list(known.values()))
    config: KDConfig = config_flags.config_from_flags(KDConfig)
    seeds, where = range(config.seed, config.seed + chosen.seeds), chosen.workdir
    results = {
        name: run_cells(
            config,
            [dataclasses.replace(cell, measure=table.measure) for cell in table.cells],
            seeds=seeds,
            workdir=where,
            reporter=reporter,
        )
        for name, table in known.items()
    }
    reporter.close()
    if draw is not None:
        draw(config, results)
    return {name: _tell(reporter, table, results[name]) for name, table in known.items()}


def _tell(
    reporter: console.ConsoleReporter, table: Table, results: list[CellResult]
) -> dict[str, Any]:
    """Prints a table and the verdicts on its claims; returns both as JSON-ready values."""
    verdicts = _judge(table, results)
    reporter.say(_format(table, results))
    for claim, verdict in verdicts.items():
        reporter.say(f"  {claim}: {verdict}")
    correlation = rank_correlation(results) if table.compares_sources else None
    if correlation is not None:
        reporter.say(f"  rank correlation of relative entropy and accuracy: {correlation:.2f}")
    return {
        "rows": {result.name: result.to_dict() for result in results},
        "claims": verdicts,
        "rank_correlation": correlation,
    }


def run_tables(tables: Mapping[str, Callable[[], Table]], *, draw: Drawing | None = None) -> None:
    """Runs a script whose flags are those of ``kipax kd``, ``--table`` and ``--seeds``.

    Args:
        tables: functions that make the tables, by the name of the table; the first one is the
            default of ``--table``. They are called once the flags are read.
        draw: is called with the config and the results by table.
    """
    config_flags.define_flags(KDConfig, without=("source",))
    names = ", ".join(tables)
    flags.DEFINE_string("table", next(iter(tables)), f"{names} (several with commas), or all")
    flags.DEFINE_integer("seeds", 1, "number of seeds, from --seed on")
    flags.DEFINE_string("workdir", "runs/kd-tables", "folder of the ledger and of the runs")
    console.run_command(lambda reporter: _run(tables, draw, reporter))
