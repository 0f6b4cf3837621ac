"""`Result`: a cell of an evaluation's table."""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = ["Result"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """A cell of the table.

    Attributes:
        subject: the row.
        network: the column.
        accuracy: on the test images: mean over networks (draws) at the chosen point, each
            early-stopped by validation where there is one; None if every point diverged.
        deviation: standard deviation of these accuracies (``np.std``, which divides by their
            number, not by one less); None for a single one.
        last: mean accuracy of the networks after their last step; None for a kernel.
        count: number of networks or draws behind `accuracy`.
        top_deviation: standard deviation of the test accuracies of the 20 points that are best
            by validation (the paper's); None for fewer than two points.
        chosen: the chosen point, JSON-ready.
        diverged: number of the `points` trainings that diverged; no mean includes them.
        points: number of trainings.
    """

    subject: str
    network: str
    accuracy: float | None
    deviation: float | None = None
    last: float | None = None
    count: int = 1
    top_deviation: float | None = None
    chosen: dict[str, Any] = dataclasses.field(default_factory=dict)
    diverged: int = 0
    points: int = 1
