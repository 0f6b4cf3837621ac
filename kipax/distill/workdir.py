"""The folder of a distillation: its checkpoints are support sets, and the best are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files
from kipax.blocks import BlockPlan
from kipax.errors import FileError
from kipax.runs import GRID, RunFolder
from kipax.support import SupportSet

__all__ = ["Workdir"]

_KEPT_BY_LOSS = 5  # the paper reports mean and deviation over the five lowest


class Workdir(RunFolder):
    """A `RunFolder` with a distillation's checkpoints, ``support.npz``, its pictures and its film.

    Args:
        path: the folder, which need not exist yet.
    """

    def __init__(self, path: Path | str):
        super().__init__(path)
        self._records: dict[int, float] = {}  # training loss of each regular checkpoint

    def _check_facts(self, stored: Mapping[str, Any]) -> None:
        _ = BlockPlan(**stored["plan"]), stored["versions"]["jax"]

    def save_latest(self, arrays: Mapping[str, np.ndarray], **beside: np.ndarray) -> None:
        """Replaces the rolling state, and then drops checkpoints that are no longer kept."""
        records = np.array(json.dumps(self._records))
        super().save_latest(arrays, records=records, **beside)
        self._prune()

    def load_latest(
        self, like: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray] | None:
        """See `RunFolder.load_latest`; finds the losses of the checkpoints as well."""
        state = super().load_latest(like)
        file = self.path / "latest.npz"
        if state is None:
            return None
        try:
            records = json.loads(str(files.read_npz(file, ["records"])["records"][()]))
            self._records = {
                int(step): float(loss)
                for step, loss in records.items()
                if self.checkpoint_path(int(step)).exists()  # may be missing from a copied folder
            }
        except (ValueError, TypeError, AttributeError) as error:
            raise FileError(f"{file} is damaged: its records say {error}.") from error
        return state

    def save_checkpoint(self, support: SupportSet, step: int, *, train_loss: float | None) -> Path:
        """Writes a step's support set; with `train_loss` it competes for the five that are kept."""
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
