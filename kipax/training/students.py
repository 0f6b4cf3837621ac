"""Trains students on labelled images, for the tables of distilled sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from kipax.errors import UsageError
from kipax.training.batches import LabelledBatches
from kipax.training.fit import fit
from kipax.training.hooks import Selection, Told
from kipax.training.recipes import Recipe, Setting

__all__ = ["Trained", "train_student", "train_together"]


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A trained network.

    Attributes:
        last: variables after the last update.
        best: variables of the best validation accuracy; `last` without validation images.
        best_step: number of updates of `best`.
        validation: accuracy by number of updates; empty without validation images.
        loss: loss of the last update, L2 included.
        diverged_at: number of updates after which the loss was found not finite; None if never.
            A diverged network has no further updates and `best` is from before.
    """

    last: dict[str, Any]
    best: dict[str, Any]
    best_step: int
    validation: dict[int, float]
    loss: float
    diverged_at: int | None = None


def train_student(
    network: nn.Module,
    x: np.ndarray,
    y: np.ndarray,
    *,
    recipe: Recipe,
    setting: Setting,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    on_step: Callable[[int], None] = lambda step: None,
) -> Trained:
    """Trains a student on labels, early-stopped on validation images.

    Args:
        network: a student of `kipax.students`.
        x: preprocessed images ``(n, H, W, C)``.
        y: labels ``(n, classes)``.
        recipe: the settings that all points of a grid share.
        setting: the settings that differ.
        validation: preprocessed images and their classes ``(m,)``.
        on_step: called after each update with the number of updates.

    Raises:
        UsageError: labels or classes do not fit the images and the network.

    Source: Nguyen et al. 2021, appendix A.
    """
    return train_together(
        network,
        x,
        y,
        recipe=recipe,
        settings=[setting],
        validation=validation,
        on_step=on_step,
    )[0]


def train_together(
    network: nn.Module,
    x: np.ndarray,
    y: np.ndarray,
    *,
    recipe: Recipe,
    settings: Sequence[Setting],
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    on_step: Callable[[int], None] = lambda step: None,
) -> list[Trained]:
    """Trains a student at several learning rates and L2 at once; see `train_student`.

    Several at once are faster on accelerators and slower on CPUs. Memory grows with
    the number of settings. A diverged network is still computed.

    Args:
        network: a student of `kipax.students`.
        x: preprocessed images ``(n, H, W, C)``.
        y: labels ``(n, classes)``.
        recipe: the settings that all points share.
        settings: settings of one seed, so that parameters, batches and augmentation are shared.
        validation: preprocessed images and their classes ``(m,)``.
        on_step: called after each common update with the number of updates.

    Raises:
        UsageError: the seeds differ; or as `train_student`.
    """
    _check_labels(network, x, y)
    steps = recipe.evaluated_steps
    selection = Selection(network, steps, settings=len(settings), validation=validation)
    batches = LabelledBatches(
        x,
        y,
        size=recipe.batch_size,
        seed=settings[0].seed if settings else 0,
        augmentation=recipe.augmentation,
    )
    fit(
        network,
        batches,
        objective=recipe.objective,
        descent=recipe.descent,
        settings=settings,
        hooks=[Told(on_step), selection],
    )
    return [_trained(selection, place) for place in range(len(settings))]


def _trained(selection: Selection, place: int) -> Trained:
    """Returns the result of the setting at `place`."""

    def pick(tree: Any) -> Any:
        return tree if selection.settings == 1 else jax.tree.map(lambda a: a[place], tree)

    found = zip(selection.steps, selection.accuracies[place].tolist(), strict=True)
    diverged = int(selection.diverged_at[place])
    return Trained(
        last=pick(selection.last),
        best=pick(selection.best),
        best_step=int(selection.best_step[place]),
        validation={step: value for step, value in found if value == value},
        loss=float(selection.losses[place]),
        diverged_at=None if diverged < 0 else diverged,
    )


def _check_labels(network: Any, x: np.ndarray, y: np.ndarray) -> None:
    """Raises a `UsageError` unless there is a row of labels for each image."""
    expected = len(x), network.classes
    if np.shape(y) != expected:
        raise UsageError(
            f"labels must have the shape (images, classes), here {expected}; got {np.shape(y)}: "
            "make classes one-hot with kipax.ridge.one_hot."
        )
