"""A reporter that stops a run, for tests of what a resumed run does."""

from kipax.distill import Reporter

__all__ = ["StopAt"]


class StopAt(Reporter):
    """Presses Ctrl-C when a run reports a given step, or number of targets."""

    def __init__(self, step):
        self._step = step

    def progress(self, progress):
        if progress.step == self._step:
            raise KeyboardInterrupt
