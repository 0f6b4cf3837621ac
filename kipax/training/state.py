"""What a training carries from step to step, as trees of arrays and as a file's arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kipax.errors import FileError

__all__ = ["TrainState", "from_arrays", "to_arrays"]


class TrainState(NamedTuple):
    """The state before a step. Several settings trained at once are stacked in each array.

    Attributes:
        step: number of updates so far.
        params: the student's parameters.
        batch_stats: its other variables by collection, such as running averages.
        averaged: parameters of its averaged copy; empty where the objective asks for none.
        aux: the objective's own parameters.
        objective_state: the objective's state.
        opt_state: optax's, of ``{"params": params, "aux": aux}``.
    """

    step: Any
    params: Any
    batch_stats: dict[str, Any]
    averaged: Any
    aux: dict[str, Any]
    objective_state: dict[str, Any]
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What ``network.apply`` takes."""
        return {"params": self.params, **self.batch_stats}


def to_arrays(tree: Any) -> dict[str, np.ndarray]:
    """A tree's arrays by their paths, such as ``.params['dense0']['kernel']``."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def from_arrays(arrays: Mapping[str, np.ndarray], like: Any) -> Any:
    """The tree that `to_arrays` took apart.

    Args:
        arrays: what it gave.
        like: a tree of the same structure, shapes and types.

    Raises:
        FileError: an array is missing, one too many, or does not fit.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    found = []
    names = [jax.tree_util.keystr(path) for path, _ in leaves]
    if unknown := sorted(set(arrays) - set(names)):
        raise FileError(f"this is not the state of this training: it has a {unknown[0]} too.")
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path)
        expected, stored = np.asarray(leaf), arrays.get(name)
        if stored is None:
            raise FileError(f"this is not the state of this training: it has no {name}.")
        if (stored.shape, stored.dtype) != (expected.shape, expected.dtype):
            raise FileError(
                f"this is not the state of this training: its {name} is {stored.dtype} "
                f"{stored.shape}, not {expected.dtype} {expected.shape}."
            )
        found.append(stored if isinstance(leaf, np.ndarray) else jnp.asarray(stored))
    return jax.tree.unflatten(structure, found)
