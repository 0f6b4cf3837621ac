"""An evaluation's table in words: rows are sets, columns networks, the rule in the caption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kipax.transfer.evaluation import Result
from kipax.transfer.protocols import EvaluationProtocol

__all__ = ["caption", "format_table"]


def _percent(result: Result) -> str:
    if result.accuracy is None:
        return "diverged"
    cell = f"{100 * result.accuracy:.1f}"
    return cell if result.deviation is None else f"{cell} ± {100 * result.deviation:.1f}"


def format_table(results: Sequence[Result], paper: Mapping[str, str | None]) -> str:
    """Test accuracy in percent, mean ± standard deviation.

    Args:
        results: row by row.
        paper: the paper's value by subject; a column of its own if there is any.
    """
    rows = list(dict.fromkeys(r.subject for r in results))
    columns = list(dict.fromkeys(r.network for r in results))
    cells = [["", *columns]]
    for row in rows:
        cells.append([row, *(_percent(r) for r in results if r.subject == row)])
    if any(paper.get(row) for row in rows):
        for line, text in zip(
            cells, ["the paper", *(paper.get(row) or "" for row in rows)], strict=True
        ):
            line.append(text)
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(pairs)).rstrip()
        for pairs in (list(zip(line, widths, strict=True)) for line in cells)
    )


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
