"""Converts trees of arrays, such as a network's variables, to named arrays and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kipax.errors import FileError

__all__ = ["tree_from_arrays", "tree_to_arrays"]


def tree_to_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Returns a tree's arrays by their paths, such as ``.params['dense0']['kernel']``."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def tree_from_arrays(
    arrays: Mapping[str, np.ndarray], like: Any, *, what: str = "the state of this training"
) -> Any:
    """Returns the tree that `tree_to_arrays` turned into arrays.

    Args:
        arrays: the result of `tree_to_arrays`.
        like: a tree of the same structure, shapes and types.
        what: name of the expected content, for the error.

    Raises:
        FileError: an array is missing, unexpected, or does not fit.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    found = []
    names = [jax.tree_util.keystr(path) for path, _ in leaves]
    if unknown := sorted(set(arrays) - set(names)):
        raise FileError(f"this is not {what}: it has a {unknown[0]} too.")
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path)
        expected, stored = leaf, arrays.get(name)
        if stored is None:
            raise FileError(f"this is not {what}: it has no {name}.")
        if (stored.shape, stored.dtype) != (expected.shape, expected.dtype):
            raise FileError(
                f"this is not {what}: its {name} is {stored.dtype} "
                f"{stored.shape}, not {expected.dtype} {expected.shape}."
            )
        found.append(stored if isinstance(leaf, np.ndarray) else jnp.asarray(stored))
    return jax.tree.unflatten(structure, found)
