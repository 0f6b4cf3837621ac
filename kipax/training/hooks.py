"""Hooks of `fit`: keep the best network by validation, save the state to resume from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kipax.runs import SECONDS_BETWEEN_SAVES, RunFolder
from kipax.students import predict
from kipax.training.evaluation import accuracies, share_right
from kipax.training.fit import Hook
from kipax.training.state import TrainState
from kipax.trees import tree_from_arrays, tree_to_arrays

__all__ = ["Checkpoint", "Selection", "Told"]

_NEVER = -1


class Selection(Hook):
    """Keeps the variables of the best validation accuracy; ends once every network diverged.

    Each array has a row for each setting that is trained. Of equal steps the later is kept;
    without validation images the last step is the best.

    Attributes:
        best, last: variables; for a diverged network `last` is the state found to have diverged.
        best_step: number of updates of the best networks ``(settings,)``.
        accuracies: accuracies by setting and evaluated step; NaN if unknown.
        worth: the number by which the best step is chosen, in the same shape; higher is better:
            the accuracy, or the distance with its sign changed.
        losses: losses at the last evaluated step.
        diverged_at: number of updates after which the network had diverged; -1 if never.

    Args:
        network: a student.
        steps: numbers of updates after which networks are evaluated.
        settings: number of settings that are trained at once.
        validation: preprocessed images and their classes; None without validation images.
        distance: ``distance(logits)`` of the validation images, of which the lowest is chosen in
            place of the highest accuracy; for one setting.
    """

    def __init__(
        self,
        network: nn.Module,
        steps: Sequence[int],
        *,
        settings: int = 1,
        validation: tuple[np.ndarray, np.ndarray] | None = None,
        distance: Callable[[np.ndarray], float] | None = None,
    ):
        self.network, self.steps = network, list(steps)
        self.settings, self.validation, self.distance = settings, validation, distance
        self.best: Any = None
        self.last: Any = None
        self.best_step = np.zeros(settings, np.int64)
        self.accuracies = np.full((settings, len(self.steps)), math.nan)
        self.worth = np.full((settings, len(self.steps)), -math.inf)
        self.losses = np.full(settings, math.nan)
        self.diverged_at = np.full(settings, _NEVER, np.int64)

    @property
    def carried(self) -> dict[str, Any]:
        """The tree that a `Checkpoint` saves."""
        names = ("best", "last", "best_step", "accuracies", "worth", "losses", "diverged_at")
        return {name: getattr(self, name) for name in names}

    @carried.setter
    def carried(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            setattr(self, name, value)

    def begin(self, state: TrainState) -> TrainState:
        """Keeps the variables at the beginning as the best ones until the first evaluation."""
        self.best = self.last = state.variables
        return state

    def after(self, step: int, state: TrainState, metrics: dict[str, jax.Array]) -> bool:
        """Evaluates the networks if `step` is one of `steps`."""
        if step not in self.steps:
            return False
        place, alive = self.steps.index(step), self.diverged_at == _NEVER
        losses = np.asarray(metrics["loss"]).reshape(self.settings)
        self.losses = np.where(alive, losses, self.losses)
        self.last = self._choose(alive, state.variables, self.last)
        self.diverged_at[alive & ~np.isfinite(losses)] = step
        alive &= np.isfinite(losses)
        if alive.any() and self.validation is not None:
            found, worth = self._measure(state.variables)
            self.accuracies[alive, place], self.worth[alive, place] = found[alive], worth[alive]
            better = alive & (self.worth[:, place] >= np.max(self.worth, axis=1))
        else:
            better = alive
        self.best = self._choose(better, state.variables, self.best)
        self.best_step[better] = step
        return not alive.any()

    def _measure(self, variables: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Returns each network's validation accuracy and its `worth`, by which steps are chosen."""
        assert self.validation is not None
        images, classes = self.validation
        if self.distance is None:
            found = np.array(accuracies(self.network, variables, images, classes, self.settings))
            return found, found
        logits = np.asarray(predict(self.network, variables, images).logits)
        distance = self.distance(logits)
        worth = -distance if math.isfinite(distance) else -math.inf
        return np.array([share_right(logits, classes)]), np.array([worth])

    def _choose(self, rows: np.ndarray, new: Any, old: Any) -> Any:
        """Returns the rows of `new` where `rows` is True, else those of `old`."""
        if self.settings == 1:
            return new if rows[0] else old
        return _where(rows, new, old)


@jax.jit
def _where(rows: jax.Array, new: Any, old: Any) -> Any:
    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(rows.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, new, old)


class Checkpoint(Hook):
    """Saves the state and resumes from it; a resumed training ends with the same bits.

    Args:
        folder: the run's folder, whose rolling state is written.
        beside: hooks whose ``carried`` trees are saved too; they come earlier in `fit`.
        seconds: seconds between two saves; 0 saves after every step.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        beside: Sequence[Any] = (),
        seconds: float = SECONDS_BETWEEN_SAVES,
    ):
        self._folder, self._beside, self._seconds = folder, tuple(beside), seconds
        self._saved_at = time.monotonic()
        self._saved_step = _NEVER
        self._latest: tuple[int, TrainState] | None = None

    def begin(self, state: TrainState) -> TrainState:
        """Returns the state in the folder, or `state` if there is none."""
        self._saved_at = time.monotonic()
        arrays = self._folder.load_latest()
        if arrays is None:
            return state
        restored, carried = tree_from_arrays(arrays, self._tree(state))
        for hook, values in zip(self._beside, carried, strict=True):
            hook.carried = values
        self._saved_step = int(np.max(restored.step))
        self._latest = self._saved_step, restored
        return restored

    def after(self, step: int, state: TrainState, metrics: dict[str, jax.Array]) -> None:
        """Saves the state if enough seconds have passed since the last save."""
        self._latest = step, state
        if time.monotonic() - self._saved_at >= self._seconds:
            self.save()

    def end(self, step: int, state: TrainState) -> None:
        """Saves the last state."""
        self._latest = step, state
        self.save()

    def save(self) -> int:
        """Saves the state after the last finished step; returns the number of that step.

        To be called when a training is stopped by Ctrl-C or by its time limit.
        """
        if self._latest is None:
            return 0
        step, state = self._latest
        if self._saved_step != step:
            self._folder.save_latest(tree_to_arrays(self._tree(state)))
            self._saved_at, self._saved_step = time.monotonic(), step
        return step

    def _tree(self, state: TrainState) -> tuple[TrainState, list[Any]]:
        return state, [hook.carried for hook in self._beside]


class Told(Hook):
    """Calls a function after each update with the number of updates."""

    def __init__(self, tell: Callable[[int], None]):
        self._tell = tell

    def after(self, step: int, state: TrainState, metrics: dict[str, jax.Array]) -> None:
        """Calls the function."""
        self._tell(step)
