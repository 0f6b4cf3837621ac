"""Class-balanced draws, each a function of a seed and a step, without state."""

from __future__ import annotations

import jax
import numpy as np

from kipax.data.content import balanced_order
from kipax.errors import UsageError

__all__ = ["Purpose", "balanced_batch", "check_support_size", "step_key"]


class Purpose:
    """What a run draws random numbers for; each purpose has a number, and so keys of its own."""

    INIT, BATCH, ARCHITECTURE, AUGMENTATION = 0, 1, 2, 3


def step_key(seed: int, *fold: int) -> jax.Array:
    """Returns a key for one purpose of one step: the seed with further integers folded in.

    Example:
        >>> bool((jax.random.key_data(step_key(0, 1)) == jax.random.key_data(step_key(0, 2))).all())
        False
    """
    key = jax.random.key(seed)
    for number in fold:
        key = jax.random.fold_in(key, number)
    return key


def balanced_batch(key: jax.Array, classes: np.ndarray, size: int) -> np.ndarray:
    """Returns `size` distinct positions, as class-balanced as the set allows, without replacement.

    Where `size` is not a multiple of the number of classes, the classes that get one more are
    drawn at random too.

    Args:
        key: a JAX key.
        classes: class of each image ``(n,)``.
        size: number of positions, at most n.

    Returns:
        Positions ``(size,)`` int64, ascending.

    Raises:
        UsageError: `size` is larger than the set.

    Example:
        >>> classes = np.array([0, 0, 0, 1, 1, 1])
        >>> classes[balanced_batch(jax.random.key(0), classes, 4)].tolist()
        [0, 0, 1, 1]
    """
    if not 0 < size <= len(classes):
        raise UsageError(f"a batch has between 1 and {len(classes)} images; got {size}.")
    of_images, of_classes = jax.random.split(key)
    ranking = np.asarray(jax.random.uniform(of_images, (len(classes),)))
    turns = np.asarray(jax.random.permutation(of_classes, int(classes.max()) + 1))
    return np.sort(balanced_order(ranking, turns[classes])[:size])


def check_support_size(support: int, classes: np.ndarray) -> None:
    """Raises a `UsageError` unless `support` images can be drawn, equally many of each class."""
    counts = np.bincount(classes)
    num_classes, fewest = len(counts), int(counts.min())
    if support < num_classes or support % num_classes:
        below = support // num_classes * num_classes
        near = [n for n in (below, below + num_classes) if n > 0]
        which = f"the nearest are {near[0]} and {near[1]}" if len(near) > 1 else f"take {near[0]}"
        raise UsageError(
            f"support must be a multiple of the {num_classes} classes; got {support}: {which}."
        )
    if support > num_classes * fewest:
        raise UsageError(
            f"support takes equally many images of each class, and class {counts.argmin()} has "
            f"{fewest} training images; got {support}: take at most {num_classes * fewest}."
        )
