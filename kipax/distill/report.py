"""How a run tells what it does: a library user passes a `Reporter`, or none."""

from __future__ import annotations

import dataclasses

__all__ = ["Progress", "Reporter"]


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: steps (or target images) done.
        total: of so many.
        unit: what is counted, such as "step" or "target".
        loss: of the last step; None where there is none.
        validation_accuracy, test_accuracy: of the last evaluation, fractions; None before.
        seconds_per_step: median so far of this process, compiling left out; None at first.
        status: of whoever computes the blocks, in words; may be empty.
    """

    step: int
    total: int
    unit: str = "step"
    loss: float | None = None
    validation_accuracy: float | None = None
    test_accuracy: float | None = None
    seconds_per_step: float | None = None
    status: str = ""


class Reporter:
    """Hears what a run does; this one says nothing. Override what you want to hear."""

    def say(self, sentence: str) -> None:
        """A sentence for the user."""

    def progress(self, progress: Progress) -> None:
        """Called after every step."""
