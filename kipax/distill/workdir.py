"""A run's folder: its description, state, checkpoints and metrics; always resumable.

run.json                       what the run is: config, plan, data hash, versions
latest.npz                     rolling state of the run
metrics.jsonl                  one JSON object a line
checkpoints/step_000335.npz    support sets, `kipax.load` reads them
support.npz images.png labels.png curve.png
.lock                          held by the process that runs
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files
from kipax.blocks import BlockPlan
from kipax.errors import FileError, UsageError
from kipax.support import SupportSet

__all__ = ["GRID", "SECONDS_BETWEEN_SAVES", "Workdir"]

# Checkpoints that transfer experiments read; Nguyen et al. 2021, appendix A.
GRID = (0, 1, 4, 12, 37, 112, 335, 1000, 3000, 10000, 20000, 50000)
SECONDS_BETWEEN_SAVES = 10.0  # of a run's rolling state
_KEPT_BY_LOSS = 5  # the paper reports mean and deviation over the five lowest


class Workdir:
    """The folder of one run.

    Args:
        path: where it is or will be.
    """

    def __init__(self, path: Path | str):
        self.path = files.expand(path)
        self._records: dict[int, float] = {}  # training loss of each regular checkpoint

    # -- opening -------------------------------------------------------------------------

    @contextlib.contextmanager
    def open(
        self,
        description: Mapping[str, Any],
        *,
        resume: bool,
        free: set[str],
        defaults: Mapping[str, Any],
    ) -> Iterator[dict[str, Any]]:
        """Claims the folder for a run, or finds the same run in it, while the block runs.

        Args:
            description: JSON-ready; its ``config`` maps flags to values.
            resume: whether to continue a run that lies here.
            free: flags that may differ from the stored run's.
            defaults: what a flag counts as in a run that was begun before there was such a flag.

        Yields:
            The description that holds: the stored one's, with the new values of free flags.

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
            yield self._claim(description, defaults, resume=resume, free=free)

    def _check_not_foreign(self) -> None:
        """Files without the run.json that says whose they are would be taken for this run's."""
        if (self.path / "run.json").exists():
            return
        for name in ("latest.npz", "metrics.jsonl", "support.npz", "checkpoints/*"):
            if any(self.path.glob(name)):
                raise UsageError(
                    f"{self.path} has no run.json that says what run its {name} is of: choose "
                    "another --workdir, or move what is there away."
                )

    def _claim(
        self,
        description: Mapping[str, Any],
        defaults: Mapping[str, Any],
        *,
        resume: bool,
        free: set[str],
    ) -> dict:
        file = self.path / "run.json"
        new = json.loads(json.dumps(description))
        if file.exists():
            stored = _completed(files.read_json(file), defaults)
            self._check_same(stored, new, resume=resume, free=free)
            new = stored | {"config": stored["config"] | {k: new["config"][k] for k in free}}
        files.write_json(file, new)
        return new

    def _check_same(self, stored: Mapping, new: Mapping, *, resume: bool, free: set[str]) -> None:
        try:
            pairs = {"method": (stored["method"], new["method"])}
            pairs |= {
                f"--{k}": (stored["config"][k], v)
                for k, v in new["config"].items()
                if k not in free
            }
            hashes = ("training_hash", "targets_hash")
            same = all(stored[k] == new[k] for k in hashes)
            _ = BlockPlan(**stored["plan"]), stored["versions"]["jax"]
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

    # -- state ---------------------------------------------------------------------------

    def save_latest(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Replaces the rolling state, and then drops checkpoints that are no longer kept."""
        records = json.dumps(self._records)
        content = {"state_" + k: v for k, v in arrays.items()} | {"records": np.array(records)}
        files.write_npz(self.path / "latest.npz", content)
        self._prune()

    def load_latest(
        self, like: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray] | None:
        """The rolling state's arrays, or None where there is none yet.

        Args:
            like: arrays of the names and shapes that it must have; None takes it as it is.

        Raises:
            FileError: it is damaged, or another run's.
        """
        file = self.path / "latest.npz"
        if not file.exists():
            return None
        content = files.read_npz(file, ["records"])
        try:
            records = json.loads(str(content["records"][()]))
            self._records = {
                int(step): float(loss)
                for step, loss in records.items()
                if self.checkpoint_path(int(step)).exists()  # a state may be copied without them
            }
        except (ValueError, TypeError, AttributeError) as error:
            raise FileError(f"{file} is damaged: its records say {error}.") from error
        prefix = "state_"
        state = {k[len(prefix) :]: v for k, v in content.items() if k.startswith(prefix)}
        for name, expected in (like or state).items():
            if name not in state or state[name].shape != np.shape(expected):
                raise FileError(f"{file} is not the state of this run: its {name} does not fit.")
        return state

    # -- checkpoints ---------------------------------------------------------------------

    def checkpoint_path(self, step: int) -> Path:
        """Where the support set of a step lies."""
        return self.path / "checkpoints" / f"step_{step:06d}.npz"

    def save_checkpoint(self, support: SupportSet, step: int, *, train_loss: float | None) -> Path:
        """Writes a step's support set; with `train_loss` it competes for the five lowest."""
        path = self.checkpoint_path(step)
        support.save(path, preprocessor_dir=self.path)
        if train_loss is not None:
            self._records[step] = train_loss
        return path

    def _prune(self) -> None:
        """Deletes regular checkpoints beyond the five of lowest loss, never one of the grid."""
        for step in set(self._records) - set(self.lowest_losses):
            del self._records[step]
            if step not in GRID:
                self.checkpoint_path(step).unlink(missing_ok=True)

    @property
    def lowest_losses(self) -> dict[int, float]:
        """Training loss of the kept regular checkpoints by step, lowest first."""
        kept = sorted(self._records, key=lambda s: (self._records[s], s))[:_KEPT_BY_LOSS]
        return {step: self._records[step] for step in kept}

    # -- metrics -------------------------------------------------------------------------

    def truncate_metrics(self, step: int) -> None:
        """Drops the lines of `step` and later, and a line that was cut off."""
        kept = [json.dumps(m) + "\n" for m in self.read_metrics() if m["step"] < step]
        files.write_bytes(self.path / "metrics.jsonl", "".join(kept).encode())

    def add_metrics(self, line: Mapping[str, Any]) -> None:
        """Appends one line."""
        files.append_line(self.path / "metrics.jsonl", json.dumps(line))

    def read_metrics(self) -> list[dict[str, Any]]:
        """All whole lines."""
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
    """A stored description whose config has every flag of today, and what is damaged as it is."""
    if not isinstance(stored, dict) or not isinstance(stored.get("config"), dict):
        return stored
    return stored | {"config": dict(defaults) | stored["config"]}
