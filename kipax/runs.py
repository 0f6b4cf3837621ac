"""The folder of a run, whatever runs: held by one process, found again, its last good state safe.

run.json                       what the run is: its method, flags, hashes of its data, and facts
latest.npz                     rolling state
metrics.jsonl                  one JSON object a line
checkpoints/step_000335.npz    what a room keeps of a step
.lock                          held by the process that runs
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files
from kipax.errors import FileError, UsageError

__all__ = ["GRID", "SECONDS_BETWEEN_SAVES", "Identity", "RunFolder"]

# Steps whose checkpoints transfer experiments read; Nguyen et al. 2021, appendix A.
GRID = (0, 1, 4, 12, 37, 112, 335, 1000, 3000, 10000, 20000, 50000)
SECONDS_BETWEEN_SAVES = 10.0  # of a run's rolling state
_STATE = "state_"
_FOREIGN = ("latest.npz", "metrics.jsonl", "support.npz", "checkpoints/*")


@dataclasses.dataclass(frozen=True)
class Identity:
    """What makes a run this run and no other; JSON-ready.

    Attributes:
        method: its name.
        config: its flags and their values.
        hashes: of what it reads, by name; a resumed run must have the same.
        facts: what is kept with it and may differ, such as versions.
        free: flags that may differ when it is resumed.
        defaults: what a flag counts as in a run that was begun before there was such a flag.
    """

    method: str
    config: Mapping[str, Any]
    hashes: Mapping[str, str]
    facts: Mapping[str, Any]
    free: Set[str] = frozenset()
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns what run.json holds."""
        content = {"method": self.method, "config": dict(self.config)}
        return json.loads(json.dumps(content | dict(self.hashes) | dict(self.facts)))


class RunFolder:
    """The folder of one run.

    Args:
        path: where it is or will be.
    """

    def __init__(self, path: Path | str):
        self.path = files.expand(path)

    # -- opening -------------------------------------------------------------------------

    @contextlib.contextmanager
    def open(self, identity: Identity, *, resume: bool) -> Iterator[dict[str, Any]]:
        """Claims the folder for a run, or finds the same run in it, while the block runs.

        Args:
            identity: of the run.
            resume: whether to continue a run that lies here.

        Yields:
            What run.json holds: the stored run's, with the new values of free flags.

        Raises:
            UsageError: another run lies here, this one with other flags, or one that another
                process is running; says which.
            FileError: the folder cannot be made or read.
        """
        self._check_not_foreign()
        try:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"could not make {self.path}: {error.strerror or error}.") from error
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(files.lock(self.path / ".lock"))
            except BlockingIOError:
                raise UsageError(
                    f"another process is running in {self.path}: wait for its end, or choose "
                    "another --workdir (if none is, remove the .lock there)."
                ) from None
            for left in (*self.path.glob(".*.partial"), *self.path.glob("*/.*.partial")):
                left.unlink(missing_ok=True)  # by a kill in the middle of a write
            yield self._claim(identity, resume=resume)

    def _check_not_foreign(self) -> None:
        """Files without the run.json that says whose they are would be taken for this run's."""
        if (self.path / "run.json").exists():
            return
        for name in _FOREIGN:
            if any(self.path.glob(name)):
                raise UsageError(
                    f"{self.path} has no run.json that says what run its {name} is of: choose "
                    "another --workdir, or move what is there away."
                )

    def _claim(self, identity: Identity, *, resume: bool) -> dict[str, Any]:
        file, new = self.path / "run.json", identity.to_json()
        if file.exists():
            stored = _completed(files.read_json(file), identity.defaults)
            self._check_same(stored, new, identity, resume=resume)
            free = {k: new["config"][k] for k in identity.free}
            new = stored | {"config": stored["config"] | free}
        files.write_json(file, new)
        return new

    def _check_same(
        self, stored: Mapping, new: Mapping, identity: Identity, *, resume: bool
    ) -> None:
        try:
            pairs = {"method": (stored["method"], new["method"])}
            pairs |= {
                f"--{k}": (stored["config"][k], v)
                for k, v in new["config"].items()
                if k not in identity.free
            }
            same = all(stored[k] == new[k] for k in identity.hashes)
            self._check_facts(stored)
        except (KeyError, TypeError, AttributeError) as error:
            raise FileError(f"{self.path / 'run.json'} is damaged: {error!r}.") from error
        differing = [f"{k} was {a}, now {b}" for k, (a, b) in pairs.items() if a != b]
        if not resume:
            others = [*differing, *([] if same else ["on other training images"])]
            what = f"another run ({'; '.join(others)}): " if others else "this run already: "
            remedy = "" if others else "continue it with --resume (resume=True), or "
            raise UsageError(f"{self.path} holds {what}{remedy}choose another --workdir.")
        if differing:
            raise UsageError(
                f"--resume needs the flags of the run in {self.path}: {'; '.join(differing)}."
            )
        if not same:
            raise UsageError(
                f"--resume needs the training images of the run in {self.path}, in their order; "
                f"these, of --dataset={new['config'].get('dataset')}, are others, or in another "
                "order."
            )

    def _check_facts(self, stored: Mapping[str, Any]) -> None:
        """Raises a KeyError, TypeError or AttributeError for facts that a room cannot use."""

    # -- state ---------------------------------------------------------------------------

    def save_latest(self, arrays: Mapping[str, np.ndarray], **beside: np.ndarray) -> None:
        """Replaces the rolling state; `beside` holds arrays that a subclass keeps with it."""
        content = {_STATE + k: v for k, v in arrays.items()} | beside
        files.write_npz(self.path / "latest.npz", content)

    def load_latest(
        self, like: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray] | None:
        """Returns the rolling state's arrays, or None where there is none yet.

        Args:
            like: arrays of the names and shapes that it must have; None takes it as it is.

        Raises:
            FileError: it is damaged, or another run's.
        """
        file = self.path / "latest.npz"
        if not file.exists():
            return None
        content = files.read_npz(file)
        state = {k.removeprefix(_STATE): v for k, v in content.items() if k.startswith(_STATE)}
        for name, expected in (like or state).items():
            if name not in state or state[name].shape != np.shape(expected):
                raise FileError(f"{file} is not the state of this run: its {name} does not fit.")
        return state

    def checkpoint_path(self, step: int) -> Path:
        """Returns where what is kept of a step lies."""
        return self.path / "checkpoints" / f"step_{step:06d}.npz"

    # -- metrics -------------------------------------------------------------------------

    def truncate_metrics(self, step: int) -> None:
        """Drops the lines of `step` and later, and a line that was cut off."""
        kept = [json.dumps(m) + "\n" for m in self.read_metrics() if m["step"] < step]
        files.write_bytes(self.path / "metrics.jsonl", "".join(kept).encode())

    def add_metrics(self, line: Mapping[str, Any]) -> None:
        """Appends one line."""
        files.append_line(self.path / "metrics.jsonl", json.dumps(line))

    def read_metrics(self) -> list[dict[str, Any]]:
        """Returns all whole lines."""
        file = self.path / "metrics.jsonl"
        lines = []
        for text in file.read_text(errors="replace").splitlines() if file.exists() else []:
            try:
                line = json.loads(text)
            except ValueError:
                continue  # cut off by a kill
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                lines.append(line)
        return lines


def _completed(stored: Any, defaults: Mapping[str, Any]) -> Any:
    """Returns what run.json holds, with every flag of today; what is damaged stays as it is."""
    if not isinstance(stored, dict) or not isinstance(stored.get("config"), dict):
        return stored
    return stored | {"config": dict(defaults) | stored["config"]}
