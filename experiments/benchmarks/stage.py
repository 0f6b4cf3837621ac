r"""Runs a command as a stage of a script: with a time limit, and with its output recorded.

Claim: even if a stage fails or hangs, the script continues, and the stage's output is kept.

Command:  python -m experiments.benchmarks.stage OUT_DIR NAME SECONDS COMMAND...
Expected: OUT_DIR/results.jsonl gets a line for each JSON object that the command prints, when it
          is printed, and one for how it ended; OUT_DIR/log.txt gets all that it prints. Exit
          status: the command's, 124 if its time was over, 125 if none was left to begin with.
          KIPAX_END, in seconds since 1970, ends every stage.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OUT_OF_TIME, NOT_BEGUN = 124, 125
_GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL
_LEAST_SECONDS = 2.0  # with less time left no stage is started


class Recorder:
    """Appends to a folder's two files, each line at once, so that a kill loses one line at most.

    Args:
        folder: the folder of results.jsonl and log.txt.
        name: name of the stage.
    """

    def __init__(self, folder: Path, name: str):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = name

    def log(self, text: str) -> None:
        """Writes a line to the log and prints it."""
        print(text, flush=True)
        with open(self._folder / "log.txt", "a") as f:
            f.write(text + "\n")

    def record(self, **facts: Any) -> None:
        """Writes a result."""
        with open(self._folder / "results.jsonl", "a") as f:
            f.write(json.dumps({"stage": self._name} | facts) + "\n")


def parse_object(line: str) -> dict[str, Any] | None:
    """Returns the JSON object that a line is, or None."""
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def run_stage(folder: Path, name: str, seconds: float, command: list[str]) -> int:
    """Runs a command, ends it after `seconds`, and records in every case how it ended.

    Returns:
        Its exit status, `OUT_OF_TIME` or `NOT_BEGUN`.
    """
    recorder, began = Recorder(folder, name), time.time()
    limit = min(seconds, float(os.environ.get("KIPAX_END", "inf")) - began)
    if limit < _LEAST_SECONDS:
        recorder.log(f"== {name}: no time is left")
        recorder.record(exit=NOT_BEGUN, seconds=0.0)
        return NOT_BEGUN
    recorder.log(f"== {name} (at most {limit:.0f} s): {' '.join(command)}")
    try:
        process = subprocess.Popen(
            command,
            text=True,
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its child processes end with it
        )
    except OSError as error:
        recorder.log(f"{command[0]}: {error.strerror}")
        recorder.record(exit=127, seconds=0.0, last=str(error.strerror))
        return 127
    with process, _end_after(process, limit) as late:
        last = _relay(process, recorder)
        status = process.wait()
    status = OUT_OF_TIME if late.is_set() else status
    took = round(time.time() - began, 1)
    recorder.record(exit=status, seconds=took, limit=round(limit, 1), last=last[:500])
    recorder.log(f"== {name}: exit {status} after {took} s")
    return status


def _relay(process: subprocess.Popen, recorder: Recorder) -> str:
    """Logs a process's output until it ends; returns the last line that is not a result."""
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        line = line.rstrip("\n")
        recorder.log(line)
        found = parse_object(line)
        if found is not None:
            recorder.record(result=found)
        elif line.strip():
            last = line
    return last


@contextlib.contextmanager
def _end_after(process: subprocess.Popen, seconds: float) -> Iterator[threading.Event]:
    """Ends a process and its children after `seconds`, or with the block.

    Yields an event that is set if the time was over.
    """
    late, over = threading.Event(), threading.Event()

    def watch() -> None:
        if over.wait(seconds):
            return
        late.set()
        _signal(process, signal.SIGTERM)
        if not over.wait(_GRACE_SECONDS):
            _signal(process, signal.SIGKILL)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield late
    finally:
        over.set()
        watcher.join()
        _signal(process, signal.SIGKILL)  # children that are still running


def _signal(process: subprocess.Popen, number: int) -> None:
    """Sends a signal to the whole process group of a stage, if it still exists."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def main(words: list[str]) -> int:
    """Runs the stage that the command line names."""
    if len(words) < 4:
        print(__doc__, file=sys.stderr)
        return 2
    folder, name, seconds, *command = words
    return run_stage(Path(folder), name, float(seconds), command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
