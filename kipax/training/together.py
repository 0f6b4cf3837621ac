"""Points of a grid trained at once: `train_student` under vmap, for accelerators."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kipax.errors import UsageError
from kipax.training.loop import (
    EVALUATION_BATCH,
    Recipe,
    Setting,
    Trained,
    _count_correct,
    _State,
    _step,
    batches,
    check_labels,
    first_state,
    parts,
)

__all__ = ["train_together"]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _steps(network: nn.Module, kind: tuple[str, str, str], state: _State, x, y, key, rates):
    def one(state, rate):
        return _step(network, kind, state, x, y, key, rate)

    return jax.vmap(one)(state, rates)


@functools.partial(jax.jit, static_argnums=0)
def _counts(network: nn.Module, variables, x, classes):
    return jax.vmap(lambda v: _count_correct(network, v, x, classes))(variables)


@jax.jit
def _where(mask: jax.Array, new: Any, old: Any) -> Any:
    def choose(a, b):
        return jnp.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, new, old)


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
    """Trains a network at several learning rates and L2 at once; see `train_student`.

    Memory grows with the number of settings. A diverged network is carried along.

    Args:
        network: a student of `kipax.students`.
        x: preprocessed images ``(n, H, W, C)``.
        y: labels ``(n, classes)``.
        recipe: what all points share.
        settings: all of one seed, so that draws, batches and augmentation are shared.
        validation: preprocessed images and their classes ``(m,)``.
        on_step: called after each common update.

    Raises:
        UsageError: the seeds differ; or as `train_student`.
    """
    check_labels(network, x, y)
    seed = settings[0].seed
    if any(setting.seed != seed for setting in settings):
        raise UsageError(f"settings trained together share a seed; got {settings}.")
    count, looked_at = len(settings), recipe.evaluated_steps
    size = max(1, EVALUATION_BATCH // count)  # all networks hold one batch's activations at once
    state = jax.tree.map(
        lambda a: jnp.broadcast_to(a, (count, *a.shape)), first_state(network, x, recipe, seed)
    )
    rates = np.array([s.learning_rate for s in settings], np.float32)
    l2 = np.array([s.l2 for s in settings], np.float32)
    best, last = state.variables, state.variables
    seen: list[dict[int, float]] = [{} for _ in settings]
    best_step = [0] * count
    diverged: list[int | None] = [None] * count
    values = np.full(count, math.nan)
    for step, (part, key, scale) in enumerate(batches(x, y, recipe, seed)):
        rate = np.float32(rates * scale), l2
        state, losses = _steps(network, recipe.kind, state, *part, key, rate)
        on_step(step + 1)
        if step + 1 not in looked_at:
            continue
        alive = np.array([d is None for d in diverged])
        values = np.where(alive, np.asarray(losses), values)
        last = _where(alive, state.variables, last)
        accuracies = None
        if validation is not None:
            tested = [_counts(network, state.variables, *p) for p in parts(*validation, size=size)]
            accuracies = np.sum(np.asarray(tested), axis=0) / len(validation[0])
        better = np.zeros(count, bool)
        for i in np.flatnonzero(alive):
            if not math.isfinite(values[i]):
                diverged[i] = step + 1
                continue
            if accuracies is not None:
                seen[i][step + 1] = float(accuracies[i])
            if accuracies is None or seen[i][step + 1] >= max(seen[i].values()):
                better[i], best_step[i] = True, step + 1
        best = _where(better, state.variables, best)

    def pick(tree: Any, i: int) -> Any:
        return jax.tree.map(lambda a: a[i], tree)

    return [
        Trained(pick(last, i), pick(best, i), best_step[i], seen[i], float(values[i]), diverged[i])
        for i in range(count)
    ]
