"""Shows the server's messages in the launcher, whose terminal the progress bar needs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from kipax.console import ConsoleReporter
from kipax.distill import Progress, Reporter

__all__ = ["Relay", "RelayReporter"]


class RelayReporter(Reporter):
    """Appends everything to a file, one JSON object per line.

    Args:
        path: the file.
    """

    def __init__(self, path: Path | str):
        self._path = Path(path)

    def say(self, sentence: str) -> None:
        """Appends a sentence for the user."""
        self._write({"say": sentence})

    def progress(self, progress: Progress) -> None:
        """Appends the progress of the run."""
        self._write({"progress": dataclasses.asdict(progress)})

    def close(self) -> None:
        """Appends the end of the progress bar."""
        self._write({"close": True})

    def _write(self, what: dict[str, Any]) -> None:
        with open(self._path, "a") as f:
            f.write(json.dumps(what) + "\n")


class Relay:
    """Shows the messages that a `RelayReporter` writes.

    Args:
        path: the file.
        reporter: shows it.
    """

    def __init__(self, path: Path | str, reporter: ConsoleReporter):
        self._path = Path(path)
        self._reporter = reporter
        self._start = 0

    def show(self) -> None:
        """Shows the messages that were written since the last call."""
        if not self._path.exists():
            return
        with open(self._path) as f:
            f.seek(self._start)
            text = f.read()
        whole = text[: text.rfind("\n") + 1]
        self._start += len(whole.encode())
        for line in whole.splitlines():
            self._show(json.loads(line))

    def _show(self, what: dict[str, Any]) -> None:
        if "say" in what:
            self._reporter.say(what["say"])
        elif "progress" in what:
            self._reporter.progress(Progress(**what["progress"]))
        else:
            self._reporter.close()
