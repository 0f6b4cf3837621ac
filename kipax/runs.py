"""The folder of a run of any kind: locked by one process, resumable, with its last good state.

run.json                       what the run is: its method, flags, hashes of its data, and facts
latest.npz                     rolling state
metrics.jsonl                  one JSON object a line
checkpoints/step_000335.npz    what a method keeps of a step
.lock                          locked by the process that runs
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files
from kipax.errors import FileError, UsageError

__all__ = ["GRID", "SECONDS_BETWEEN_SAVES", "Identity", "RunFolder"]

# Steps whose checkpoints are used by transfer experiments; Nguyen et al. 2021, appendix A.
GRID = (0, 1, 4, 12, 37, 112, 335, 1000, 3000, 10000, 20000, 50000)
SECONDS_BETWEEN_SAVES = 10.0  # between saves of a run's rolling state
_STATE = "state_"
_OF_IMAGES = {"training_hash", "targets_hash", "held"}  # hashes of training images
_FOREIGN = ("latest.npz", "metrics.jsonl", "support.npz", "checkpoints/*")


@dataclasses.dataclass(frozen=True)
class Identity:
    """The facts that identify a run; JSON-ready.

    Attributes:
        method: name of the method.
        config: the flags and their values.
        hashes: hashes of the data by name; a resumed run must have the same.
        facts: further facts that may differ on resuming, such as versions.
        free: flags that may differ when the run is resumed.
        defaults: values of flags for runs that were begun before these flags existed.
    """

    method: str
    config: Mapping[str, Any]
    hashes: Mapping[str, str]
    facts: Mapping[str, Any]
    free: Set[str] = frozenset()
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns the content of run.json."""
        content = {"method": self.method, "config": dict(self.config)}
        return json.loads(json.dumps(content | dict(self.hashes) | dict(self.facts)))


class RunFolder:
    """The folder of one run.

    Args:
        path: the folder, which need not exist yet.
    """

    def __init__(self, path: Path | str):
        self.path = files.expand(path)

    # -- opening -------------------------------------------------------------------------

    @contextlib.contextmanager
    def open(self, identity: Identity, *, resume: bool) -> Iterator[dict[str, Any]]:
        """Claims the folder for a new run, or for the same run again, while the block runs.

        Args:
            identity: the facts that identify the run.
            resume: whether to continue a run in this folder.

        Yields:
            The content of run.json: the stored one, with the new values of free flags.

        Raises:
            UsageError: the folder holds another run, this run with other flags, or one that
                another process is running; the message says which.
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
                    "another workdir (if none is, remove the .lock there)."
                ) from None
            for left in (*self.path.glob(".*.partial"), *self.path.glob("*/.*.partial")):
                left.unlink(missing_ok=True)  # left by a kill during a write
            yield self._claim(identity, resume=resume)

    def _check_not_foreign(self) -> None:
        """Raises a `UsageError` for files without a run.json: they belong to no known run."""
        if (self.path / "run.json").exists():
            return
        for name in _FOREIGN:
            if any(self.path.glob(name)):
                raise UsageError(
                    f"{self.path} has no run.json that says what run its {name} is of: choose "
                    "another workdir, or move what is there away."
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
            other = [k for k in identity.hashes if stored[k] != new[k]]
            self._check_facts(stored)
        except (KeyError, TypeError, AttributeError) as error:
            raise FileError(f"{self.path / 'run.json'} is damaged: {error!r}.") from error
        differing = [f"{k} was {a}, now {b}" for k, (a, b) in pairs.items() if a != b]
        if not resume:
            others = [*differing, *_describe_others(other)]
            what = f"another run ({'; '.join(others)}): " if others else "this run already: "
            remedy = "" if others else "continue it with --resume (resume=True), or "
            raise UsageError(f"{self.path} holds {what}{remedy}choose another workdir.")
        if differing:
            raise UsageError(
                f"--resume needs the flags of the run in {self.path}: {'; '.join(differing)}."
            )
        if other and set(other) <= _OF_IMAGES:
            raise UsageError(
                f"--resume needs the training images of the run in {self.path}, in their order; "
                f"these, of --dataset={new['config'].get('dataset')}, are others, or in another "
                "order."
            )
        if other:
            raise UsageError(
                f"--resume needs the {' and '.join(other)} of the run in {self.path}; got another."
            )

    def _check_facts(self, stored: Mapping[str, Any]) -> None:
        """Raises a KeyError, TypeError or AttributeError for facts that the method cannot use."""

    # -- state ---------------------------------------------------------------------------

    def save_latest(self, arrays: Mapping[str, np.ndarray], **beside: np.ndarray) -> None:
        """Replaces the rolling state; `beside` holds arrays that a subclass keeps with it."""
        content = {_STATE + k: v for k, v in arrays.items()} | beside
        files.write_npz(self.path / "latest.npz", content)

    def load_latest(
        self, like: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray] | None:
        """Returns the arrays of the rolling state, or None if there is none yet.

        Args:
            like: arrays with the required names and shapes; None accepts any.

        Raises:
            FileError: the state is damaged or belongs to another run.
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
        """Returns the path of a step's checkpoint."""
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
        """Returns all complete lines."""
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


def _describe_others(names: Sequence[str]) -> list[str]:
    """What differs from a stored run, by the names of the hashes."""
    if not names:
        return []
    if set(names) <= _OF_IMAGES:
        return ["on other training images"]
    return [f"of another {name}" for name in names]


def _completed(stored: Any, defaults: Mapping[str, Any]) -> Any:
    """Adds the flags that are missing in run.json; returns damaged content unchanged."""
    if not isinstance(stored, dict) or not isinstance(stored.get("config"), dict):
        return stored
    return stored | {"config": dict(defaults) | stored["config"]}
