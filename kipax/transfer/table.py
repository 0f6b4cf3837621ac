"""An evaluation's table in words: rows are sets, columns networks, the rule in the caption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kipax.transfer.evaluation import Result
from kipax.transfer.protocols import EvaluationProtocol

__all__ = ["align", "caption", "format_table", "percent"]


def percent(result: Result) -> str:
    """Test accuracy in percent, mean ± standard deviation."""
    if result.accuracy is None:
        return "diverged"
    cell = f"{100 * result.accuracy:.1f}"
    return cell if result.deviation is None else f"{cell} ± {100 * result.deviation:.1f}"


def align(cells: Sequence[Sequence[str]]) -> str:
    """Lines of cells in columns, the first to the left."""
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def format_table(results: Sequence[Result], paper: Mapping[str, str | None]) -> str:
    """Test accuracy in percent, mean ± standard deviation.

    Args:
        results: row by row.
        paper: the paper's value by subject; a column of its own if there is any.
    """
    rows = list(dict.fromkeys(r.subject for r in results))
    columns = list(dict.fromkeys(r.network for r in results))
    printed = any(paper.get(row) for row in rows)
    cells = [["", *columns, *["the paper"] * printed]]
    for row in rows:
        line = [row, *(percent(r) for r in results if r.subject == row)]
        cells.append(line + [paper.get(row) or ""] * printed)
    return align(cells)


def caption(results: Sequence[Result], protocol: EvaluationProtocol, images: Mapping) -> str:
    """Protocol, training and selection rule, and what ± means.

    Args:
        results: cells of the table.
        protocol: as it was followed.
        images: ``test`` and ``validation`` examples, ``recipe`` of the first row.
    """
    tested = f"{images['test']:,} test images"
    if not protocol.trains:
        counts = {r.count for r in results if r.count > 1}
        over = f"; ± over {max(counts)} draws" if counts else ""
        return f"{protocol.name}: accuracy in % on {tested}, {protocol.rule}{over}"
    recipe: Any = images["recipe"]
    unit = " × the critical rate" if protocol.relative else ""
    rates, l2 = (", ".join(f"{v:g}" for v in vs) for vs in (protocol.learning_rates, protocol.l2))
    words = (
        f"{protocol.name}: accuracy in % on {tested} · {' or '.join(protocol.losses)} · "
        f"{recipe.steps:,} steps of {recipe.optimizer}, {recipe.schedule} · learning rate "
        f"{rates}{unit} · l2 {l2} · augmentation {recipe.augmentation}\nchosen: {protocol.rule}"
    )
    if protocol.validation_examples:
        words += f", {images['validation']:,} images, first network"
    count = max(r.count for r in results)
    if count > 1:
        return f"{words}; mean ± deviation over {count} networks at the chosen point"
    return f"{words}; one network at the chosen point"
