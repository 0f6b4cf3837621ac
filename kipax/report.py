"""`Reporter`: receives the messages and the progress of a run; library users may pass their own."""

from __future__ import annotations

import dataclasses
import time

from kipax.errors import OutOfTime

__all__ = ["SAME_COMMAND", "Progress", "Reporter", "limit_time"]

SAME_COMMAND = "the same command goes on with what is missing"


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        step: number of steps (or other units) done.
        total: number of steps (or other units) to do.
        unit: what is counted, such as "step" or "target".
        loss: loss of the last step; None without a loss.
        validation_accuracy, test_accuracy: fractions of the last evaluation; None before it.
        seconds_per_step: median so far of this process, without compiling; None at first.
        status: state of the executor of the blocks, in words; may be empty.
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
    """Receives the messages of a run and ignores them; override the methods that you need."""

    def say(self, sentence: str) -> None:
        """Receives a sentence for the user."""

    def progress(self, progress: Progress) -> None:
        """Receives the progress after every step."""


class _TimedReporter(Reporter):
    """Forwards everything, and ends the work at the first progress after its time limit."""

    def __init__(self, reporter: Reporter, max_seconds: float, remedy: str):
        self._reporter = reporter
        self._remedy = remedy
        self._max_seconds = max_seconds
        self._end = time.monotonic() + max_seconds

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
    """Returns a reporter that stops the work `max_seconds` from now; None for no limit.

    All long work reports its progress after each step, block or point; the clock is checked
    there, and nowhere else. The work saves its state at an `OutOfTime` as at Ctrl-C.
    Distillations continue where they stopped. Evaluations keep only finished trainings and
    finished solved labels: they need a limit that is longer than one of these.

    Args:
        reporter: the reporter that receives everything.
        max_seconds: seconds from this call on.
        remedy: how to continue, in words.

    Raises (at the first `Reporter.progress` after the time):
        OutOfTime: the message names the last finished step and the remedy.

    Example:
        >>> timed = limit_time(Reporter(), 1e-9, remedy="continue with --resume")
        >>> timed.progress(Progress(3, 60))
        Traceback (most recent call last):
        kipax.errors.OutOfTime: stopped after step 3 of 60, as --max_seconds=1e-09 says; continue \
        with --resume
    """
    return reporter if max_seconds is None else _TimedReporter(reporter, max_seconds, remedy)
