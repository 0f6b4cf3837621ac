"""Tables of distillations: what the scripts for papers 000 and 003, and for the bridge, share."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

from absl import flags
from scipy.stats import spearmanr

from kipax import console
from kipax import flags as config_flags
from kipax.errors import UsageError, check_choice
from kipax.kd import Cell, CellResult, KDConfig, run_cells
from kipax.transfer import align

__all__ = ["Table", "judge", "run_tables"]

Drawing = Callable[[KDConfig, Mapping[str, list[CellResult]]], None]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a paper.

    Attributes:
        title: what it compares.
        cells: its distillations.
        paper: the paper's accuracies in percent, by cell; not all cells are in the paper.
        claims: names of cells in the order of the accuracies that the paper claims.
    """

    title: str
    cells: tuple[Cell, ...]
    paper: Mapping[str, float] = dataclasses.field(default_factory=dict)
    claims: tuple[tuple[str, ...], ...] = ()


def judge(lower: CellResult, higher: CellResult) -> str:
    """Says whether one accuracy is below another: holds, does not hold, or within noise.

    The difference must be two standard errors, ``sqrt(sum p (1 - p) / n + s^2 / k)`` over
    both cells: ``p`` the mean accuracy on `n` test images, ``s`` its deviation over `k` seeds (0
    for one seed).

    Args:
        lower: the cell that is claimed to be worse.
        higher: the cell that is claimed to be better.
    """
    variance = sum(
        c.accuracy * (1 - c.accuracy) / c.test_examples
        + (c.deviation or 0.0) ** 2 / len(c.accuracies)
        for c in (lower, higher)
    )
    difference = higher.accuracy - lower.accuracy
    if abs(difference) < 2 * math.sqrt(variance):
        return "within noise"
    return "holds" if difference > 0 else "does not hold"


def _format(table: Table, results: list[CellResult]) -> str:
    lines = [[table.title, "test accuracy", "last step", "agreement", "rel. entropy", "paper"]]
    for result in results:
        spread = "" if result.deviation is None else f" ± {100 * result.deviation:.1f}"
        published = table.paper.get(result.name)
        lines.append(
            [
                result.name,
                f"{100 * result.accuracy:.1f}{spread}",
                f"{100 * result.last.mean():.1f}",
                f"{100 * result.agreements.mean():.1f}",
                f"{result.relative_entropies.mean():.2f}",
                "" if published is None else f"{published:.1f}",
            ]
        )
    return align(lines)


def _judge_all(table: Table, results: list[CellResult]) -> dict[str, str]:
    by_name = {result.name: result for result in results}
    return {
        f"{a} < {b}": judge(by_name[a], by_name[b])
        for claim in table.claims
        for a, b in itertools.pairwise(claim)
    }


def _correlate(results: list[CellResult]) -> float | None:
    """Returns Spearman's correlation of relative entropy and accuracy; None if it has none."""
    entropies = [float(r.relative_entropies.mean()) for r in results]
    if len(set(entropies)) < 4:
        return None
    found = spearmanr(entropies, [r.accuracy for r in results]).statistic
    return round(float(found), 3)


def _run(
    tables: Callable[[], Mapping[str, Table]],
    draw: Drawing | None,
    reporter: console.ConsoleReporter,
) -> dict[str, Any]:
    chosen, found = flags.FLAGS, tables()
    names = list(found) if chosen.table == "all" else chosen.table.split(",")
    for name in names:
        check_choice("table", name, tuple(found))
    if chosen.seeds < 1:
        raise UsageError(f"seeds must be positive; got {chosen.seeds}.")
    config: KDConfig = config_flags.config_from_flags(KDConfig)
    first, results = config.seed, {}
    for name in names:
        results[name] = run_cells(
            config,
            found[name].cells,
            seeds=range(first, first + chosen.seeds),
            workdir=chosen.workdir,
            reporter=reporter,
        )
    reporter.close()
    out: dict[str, Any] = {}
    for name in names:
        judged = _judge_all(found[name], results[name])
        reporter.say(_format(found[name], results[name]))
        for claim, verdict in judged.items():
            reporter.say(f"  {claim}: {verdict}")
        out[name] = {
            "rows": {result.name: result.to_dict() for result in results[name]},
            "claims": judged,
        }
    if draw is not None:
        draw(config, results)
    everything = [result for name in names for result in results[name]]
    correlation = _correlate(everything)
    if correlation is not None:
        reporter.say(
            f"rank correlation of relative entropy and accuracy over {len(everything)} rows: "
            f"{correlation:.2f}"
        )
    return out | {"rank_correlation": correlation}


def run_tables(
    tables: Callable[[], Mapping[str, Table]], *, default: str, draw: Drawing | None = None
) -> None:
    """Runs a script whose flags are those of ``kipax kd``, ``--table`` and ``--seeds``.

    Args:
        tables: returns the tables by name; it is called once the flags are read.
        default: the table that is run if the user names none.
        draw: is called with the config and the results by table.
    """
    config_flags.define_flags(KDConfig)
    flags.DEFINE_string("table", default, "names of tables, with commas between, or all")
    flags.DEFINE_integer("seeds", 1, "number of seeds, from --seed on")
    flags.DEFINE_string("workdir", "runs/kd-tables", "folder of the ledger and of the runs")
    console.run_command(lambda reporter: _run(tables, draw, reporter))
