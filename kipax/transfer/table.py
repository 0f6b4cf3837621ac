"""Formats an evaluation as a table: rows are sets, columns networks, the caption the rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kipax.transfer.protocols import EvaluationProtocol
from kipax.transfer.results import Result

__all__ = ["align", "caption", "format_table", "percent"]


def percent(result: Result) -> str:
    """Formats a result's test accuracy in percent: mean ± standard deviation, or diverged."""
    if result.accuracy is None:
        return "diverged"
    cell = f"{100 * result.accuracy:.1f}"
    return cell if result.deviation is None else f"{cell} ± {100 * result.deviation:.1f}"


def align(cells: Sequence[Sequence[str]]) -> str:
    """Returns the rows as lines with aligned columns, the first column to the left."""
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def format_table(results: Sequence[Result], paper: Mapping[str, str | None]) -> str:
    """Formats results as a table of test accuracies: mean ± standard deviation in percent.

    With a single network per cell, further columns hold the accuracy after the last step, where
    early stopping chose another, and the paper's deviation, over the 20 points (or all, if fewer)
    that are best by validation.

    Args:
        results: the cells, row by row.
        paper: the paper's value by subject; gets its own column if there is any.
    """
    rows = list(dict.fromkeys(r.subject for r in results))
    columns = list(dict.fromkeys(r.network for r in results))
    cells = [["", *columns], *([r, *(percent(c) for c in results if c.subject == r)] for r in rows)]
    if len(columns) == 1 and any(r.last not in (None, r.accuracy) for r in results):
        _append(cells, "last", ["" if r.last is None else f"{100 * r.last:.1f}" for r in results])
    if len(columns) == 1 and any(r.top_deviation is not None for r in results):
        tops = [r.top_deviation for r in results]
        _append(cells, "± best points", ["" if t is None else f"{100 * t:.1f}" for t in tops])
    if any(paper.get(row) for row in rows):
        _append(cells, "the paper", [paper.get(row) or "" for row in rows])
    return align(cells)


def _append(cells: list[list[str]], title: str, column: Sequence[str]) -> None:
    for line, text in zip(cells, [title, *column], strict=True):
        line.append(text)


def caption(results: Sequence[Result], protocol: EvaluationProtocol, images: Mapping) -> str:
    """Returns a text with the protocol, the training, the selection rule and the meaning of ±.

    Args:
        results: cells of the table.
        protocol: the protocol as it was followed.
        images: numbers of ``test`` and ``validation`` images, and ``recipes`` of the first row
            by loss.
    """
    tested = f"{images['test']:,} test images"
    if not protocol.trains:
        counts = {r.count for r in results if r.count > 1}
        over = f"; ± over {max(counts)} draws" if counts else ""
        return f"{protocol.name}: accuracy in % on {tested}, {protocol.rule}{over}"
    recipes: Any = images["recipes"]
    recipe = recipes[0]
    steps = " or ".join(dict.fromkeys(f"{r.steps:,}" for r in recipes))
    unit = " × the critical rate" if protocol.relative else ""
    rates, l2 = (", ".join(f"{v:g}" for v in vs) for vs in (protocol.learning_rates, protocol.l2))
    words = (
        f"{protocol.name}: accuracy in % on {tested} · {' or '.join(protocol.losses)} · "
        f"{steps} steps of {recipe.optimizer}, {recipe.schedule} · learning rate "
        f"{rates}{unit} · l2 {l2} · augmentation {recipe.augmentation}\nchosen: {protocol.rule}"
    )
    if protocol.validation_examples:
        words += f", {images['validation']:,} images, first network"
    count = max(r.count for r in results)
    if count > 1:
        words += f"; mean ± deviation over {count} networks at the chosen point"
    else:
        words += "; one network"
    one_column = len({r.network for r in results}) == 1  # `format_table` has these columns then
    if one_column and any(r.top_deviation is not None for r in results):
        words += (
            "\nlast: after all steps; ± best points: over the best 20 of the grid, first network"
        )
    diverged = [r for r in results if r.diverged]
    return "\n".join(
        [words, *(f"{r.subject}: {r.diverged} of {r.points} trainings diverged" for r in diverged)]
    )
