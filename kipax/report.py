"""How a run tells what it does: a library user passes a `Reporter`, or none."""

from __future__ import annotations

import dataclasses
import time

from kipax.errors import OutOfTime

__all__ = ["SAME_COMMAND", "Progress", "Reporter", "limit_time"]

SAME_COMMAND = "the same command goes on with what is missing"


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


class _TimedReporter(Reporter):
    """Hands everything on, and ends the work at the first progress after its time."""

    def __init__(self, reporter: Reporter, max_seconds: float, remedy: str):
        self._reporter, self._remedy = reporter, remedy
        self._max_seconds, self._end = max_seconds, time.monotonic() + max_seconds

    def say(self, sentence: str) -> None:
        self._reporter.say(sentence)

    def progress(self, progress: Progress) -> None:
        self._reporter.progress(progress)
        if progress.step < progress.total and time.monotonic() >= self._end:
            place = f"after {progress.unit} {progress.step:,} of {progress.total:,}"
            raise OutOfTime(
                f"stopped {place}, as --max_seconds={self._max_seconds:g} says; {self._remedy}"
            )


def limit_time(reporter: Reporter, max_seconds: float | None, *, remedy: str) -> Reporter:
    """Returns a reporter under which work stops so many seconds from now; None for no limit.

    All long work reports its progress whenever a step, a block or a point is done: the clock is
    looked at there, and nowhere else. Whoever does the work saves it at an `OutOfTime` as it does
    at Ctrl-C. Distillations continue where they stopped. Evaluations keep whole trainings and
    whole solved labels alone: they need a limit that is longer than one of these.

    Args:
        reporter: hears everything, as before.
        max_seconds: from this call on.
        remedy: how to continue, in words.

    Raises (at the first `Reporter.progress` after the time):
        OutOfTime: says where the work stands and the remedy.

    Example:
        >>> timed = limit_time(Reporter(), 1e-9, remedy="continue with --resume")
        >>> timed.progress(Progress(3, 60))
        Traceback (most recent call last):
        kipax.errors.OutOfTime: stopped after step 3 of 60, as --max_seconds=1e-09 says; continue \
        with --resume
    """
    return reporter if max_seconds is None else _TimedReporter(reporter, max_seconds, remedy)
