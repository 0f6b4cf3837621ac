"""Divides a batch among devices and copies the state to each, by `jax.sharding`."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

__all__ = ["divided", "mesh_for", "on_all"]


def mesh_for(batch: Any) -> Mesh | None:
    """Returns the devices that divide every array of a batch evenly; None for one device."""
    devices = jax.local_devices()
    sizes = [np.shape(leaf)[0] for leaf in jax.tree.leaves(batch)]
    count = math.gcd(len(devices), *sizes)
    return Mesh(np.array(devices[:count]), ("batch",)) if count > 1 else None


def divided(mesh: Mesh | None, tree: Any) -> Any:
    """Returns the tree with each array's rows divided among the devices."""
    return _put(mesh, tree, PartitionSpec("batch"))


def on_all(mesh: Mesh | None, tree: Any) -> Any:
    """Returns the tree with each array on every device."""
    return _put(mesh, tree, PartitionSpec())


def _put(mesh: Mesh | None, tree: Any, spec: PartitionSpec) -> Any:
    return tree if mesh is None else jax.device_put(tree, NamedSharding(mesh, spec))
