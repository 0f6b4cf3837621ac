"""Moves images to both sides of a teacher's class boundaries (Frank & Davis 2025, section 3.3)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from kipax.data.on_device import device_preprocessing
from kipax.errors import UsageError
from kipax.kd.sources.base import ImageSpace
from kipax.kd.teachers import NetworkTeacher, Teacher
from kipax.networks import TrainedNetwork

__all__ = ["BoundarySettings", "boundary_pairs", "check_gradients"]


@dataclasses.dataclass(frozen=True)
class BoundarySettings:
    """The settings of the search for a boundary.

    The paper and its code leave out all but the threshold and the two factors; the others are our
    choice.

    Attributes:
        epsilon: largest change of a pixel, in levels of 256. With 64, nine in ten digits reached
            another class of a small network in a trial; with 32, one in three.
        steps: number of steps of the search.
        first: size of the first step, in levels.
        growth: factor of the step after one that did not reach the target class.
        shrinkage: factor of the step after one that went too far.
        threshold: the teacher's largest probability on either side must be below this.
        deeper: size of the last step, away from the boundary, in levels.
    """

    epsilon: float = 64.0
    steps: int = 40
    first: float = 1.0
    growth: float = 1.1
    shrinkage: float = 0.5
    threshold: float = 0.9
    deeper: float = 4.0


class _Point(NamedTuple):
    """Images on the way to a boundary, with the teacher's answers to them.

    Attributes:
        levels: ``(n, H, W, C)``, from 0 to 255.
        gradient: of the cross-entropy with the target classes, by level.
        classes: the predicted classes ``(n,)``.
        confidence: the largest probabilities ``(n,)``.
    """

    levels: jax.Array
    gradient: jax.Array
    classes: jax.Array
    confidence: jax.Array


def boundary_pairs(
    teacher: Teacher,
    raw: np.ndarray,
    *,
    seed: int,
    settings: BoundarySettings | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Moves each image towards another class, until two images lie on both sides of the boundary.

    The target class is random among those that the teacher does not predict. Each step changes
    every pixel by the same number of levels, by the sign of the gradient (Kurakin et al. 2017),
    and the number adapts (bold driver): a step that does not cross the boundary makes the next
    one larger; a step that crosses it, where either side is still at or above `threshold`, is
    taken back and halved. Then each side takes one step deeper into its own class.

    Args:
        teacher: a `NetworkTeacher`, whose gradients are needed.
        raw: images in the teacher's units ``(n, H, W, C)``.
        seed: seed of the target classes.
        settings: settings of the search; None for the defaults.

    Returns:
        Images ``(n, 4, H, W, C)`` in the teacher's units (beyond the boundary, before it, deeper
        beyond, deeper before), and whether both sides were found ``(n,)``.

    Raises:
        UsageError: the teacher has no gradients here, or only one class.

    Source: Frank & Davis 2025, section 3.3 and the authors' code.
    """
    network = check_gradients(teacher)
    ready = device_preprocessing(teacher.domain.preprocessor)
    assert ready is not None
    constants, preprocess = ready
    space, classes = teacher.domain.space, len(teacher.domain.class_names)
    other = np.random.default_rng(seed).integers(1, classes, len(raw))
    static = _Static(network.module, preprocess, space, settings or BoundarySettings())
    pictures, found = _search(
        static,
        network.variables,
        constants,
        jnp.asarray(space.to_levels(np.asarray(raw, np.float32))),
        jnp.asarray(other),
    )
    return np.asarray(space.from_levels(pictures), np.float32), np.asarray(found)


def check_gradients(teacher: Teacher) -> TrainedNetwork:
    """Returns a teacher's network; raises a `UsageError` for a teacher without gradients."""
    ready = device_preprocessing(teacher.domain.preprocessor)
    if not isinstance(teacher, NetworkTeacher) or ready is None:
        raise UsageError(
            "boundary needs the gradients of a trained network as the teacher; got "
            f"{teacher.describe()}: take --boundary=false."
        )
    if len(teacher.domain.class_names) < 2:
        raise UsageError(f"boundary needs two classes or more; got {teacher.describe()}.")
    return teacher.network


class _Static(NamedTuple):
    """The parts of a search that a compilation is for: network, preprocessing and settings."""

    module: nn.Module
    preprocess: Callable[[Any, jax.Array], jax.Array]
    space: ImageSpace
    settings: BoundarySettings


def _logits(static: _Static, variables: Any, constants: Any, levels: jax.Array) -> jax.Array:
    x = static.preprocess(constants, static.space.from_levels(levels))
    out: Any = static.module.apply(variables, x)
    return out.logits


def _look(
    static: _Static, variables: Any, constants: Any, levels: jax.Array, target: jax.Array
) -> _Point:
    """Asks the teacher about images, and differentiates the loss with their target classes."""

    def loss(levels: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = _logits(static, variables, constants, levels)
        each = optax.softmax_cross_entropy_with_integer_labels(found, target)
        return jnp.sum(each), found

    gradient, found = jax.grad(loss, has_aux=True)(levels)
    confidence = jnp.max(jax.nn.softmax(found), axis=-1)
    return _Point(levels, gradient, jnp.argmax(found, axis=-1), confidence)


@functools.partial(jax.jit, static_argnums=0)
def _search(
    static: _Static, variables: Any, constants: Any, levels: jax.Array, other: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Searches the boundary; returns levels ``(n, 4, H, W, C)`` and which searches succeeded.

    Args:
        static: network, preprocessing and settings.
        variables: the variables of the teacher's network.
        constants: the arrays of the preprocessing.
        levels: images ``(n, H, W, C)``.
        other: the target class less the predicted one, modulo the number of classes ``(n,)``.
    """
    settings = static.settings

    look = functools.partial(_look, static, variables, constants)

    def step_from(point: _Point, size: jax.Array) -> jax.Array:
        return jnp.clip(point.levels - size * jnp.sign(point.gradient), lowest, highest)

    first = _logits(static, variables, constants, levels)
    target = (jnp.argmax(first, axis=-1) + other) % first.shape[-1]
    lowest = jnp.maximum(levels - settings.epsilon, jnp.minimum(levels, 0.0))
    highest = jnp.minimum(levels + settings.epsilon, jnp.maximum(levels, 255.0))
    start = look(levels, target)

    def step(_: int, state: tuple) -> tuple:
        before, beyond, size, done = state
        there = look(step_from(before, _each(size)), target)
        crossed = there.classes == target
        near = (there.confidence < settings.threshold) & (before.confidence < settings.threshold)
        reached = ~done & crossed & near
        moved = ~done & ~crossed
        beyond = jax.tree.map(functools.partial(_choose, reached), there, beyond)
        before = jax.tree.map(functools.partial(_choose, moved), there, before)
        size *= jnp.where(moved, settings.growth, jnp.where(crossed, settings.shrinkage, 1.0))
        return before, beyond, size, done | reached

    sizes = jnp.full(len(levels), settings.first)
    done = jnp.zeros(len(levels), bool)
    before, beyond, _, done = jax.lax.fori_loop(
        0, settings.steps, step, (start, start, sizes, done)
    )
    deeper, own = jnp.full((), settings.deeper), look(before.levels, before.classes)
    pictures = [beyond.levels, before.levels, step_from(beyond, deeper), step_from(own, deeper)]
    return jnp.stack(pictures, axis=1), done


def _each(values: jax.Array) -> jax.Array:
    return values[:, None, None, None]


def _choose(where: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    return jnp.where(where.reshape(-1, *[1] * (new.ndim - 1)), new, old)
