"""Makes the function that computes the exact kernel of a network, given its architecture."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from kipax.architectures import Architecture
from kipax.errors import UsageError
from kipax.kernels import fused, recursion, window
from kipax.kernels.pairs import KernelFn, as_pair
from kipax.kernels.window import plan_levels

__all__ = [
    "BACKENDS",
    "KINDS",
    "choose_backend",
    "computed_by",
    "make_network_kernel",
]

KINDS = Architecture.kinds
BACKENDS = ("auto", "portable", "fused")

_SLICE_BYTES = 256 * 1024  # a slice of a tile stays in a core's cache
_MAX_TILE_PAIRS = 1024
_ACCELERATOR_FACTOR = 64  # GPUs and TPUs need many pairs at once; cache size does not matter
_LANES = 16


@functools.lru_cache(maxsize=64)
def make_network_kernel(architecture: Architecture, kind: str, backend: str) -> KernelFn:
    """Returns the kernel function of a network, see `kipax.make_kernel_fn`.

    Equal arguments give the same object. They are not checked here.
    """
    ntk = kind == "ntk"
    compute = jax.jit(
        functools.partial(_matrix, architecture=architecture, ntk=ntk),
        static_argnames=("symmetric", "backend"),
    )

    def run(x1, x2, *, symmetric: bool):
        chosen = choose_backend(backend, x1.dtype)
        try:
            return compute(x1, x2, symmetric=symmetric, backend=chosen)
        except TypeError as error:
            if chosen == "fused" and "custom_vjp" in str(error):  # JAX's words for forward mode
                raise UsageError(fused.FORWARD_MODE) from error
            raise

    def kernel_fn(x1: ArrayLike, x2: ArrayLike | None = None) -> jax.Array:
        symmetric = x2 is None
        return run(*as_pair(x1, x2, architecture.check_image_shape), symmetric=symmetric)

    return kernel_fn


def choose_backend(backend: str, dtype=jnp.float32) -> str:
    """Returns the backend for arrays of type `dtype` here: "portable" or "fused".

    Raises:
        UsageError: "fused" was asked for and does not run here; the message says why.
    """
    if backend == "portable":
        return backend
    if backend == "auto" and jax.default_backend() == "gpu":
        return "portable"  # until the GPU kernel has run on a GPU, not only in emulation
    reason = fused.why_not(dtype)
    if reason is None:
        return "fused"
    if backend == "fused":
        raise UsageError(f"the fused backend does not run here: {reason}; use backend='auto'.")
    if dtype == jnp.float32 and jax.default_backend() == "cpu":
        _say_once(f"kernels are portable JAX, some 15 times slower than fused: {reason}")
    return "portable"


def computed_by(architecture: Architecture, backend: str) -> str:
    """Names the backend that computes a network's kernel here, such as "backend fused"."""
    if not architecture.spatial_layers:
        return f"matrix products on {jax.default_backend()}"
    chosen, platform = choose_backend(backend), jax.default_backend()
    if chosen == "fused" and platform == "cpu":
        return f"backend fused ({fused.isa()}, {fused.threads()} threads)"
    return f"backend {chosen} on {platform}"


@functools.cache
def _say_once(sentence: str) -> None:
    logging.getLogger("kipax").warning("kipax: %s", sentence)


def _matrix(x1, x2, *, symmetric: bool, backend: str, architecture: Architecture, ntk: bool):
    if not architecture.spatial_layers and architecture.readout == "flatten":
        return _dot_product_matrix(x1, x2, architecture=architecture, ntk=ntk)
    if backend == "fused" and min(x1.shape[0], x2.shape[0]):
        same = _same(_fingerprint(x1)[:, None], _fingerprint(x2)[None])
        return fused.matrix(x1, x2, same, symmetric=symmetric, architecture=architecture, ntk=ntk)
    return _pairs_matrix(x1, x2, symmetric=symmetric, architecture=architecture, ntk=ntk)


# -- kernels of inner products ----------------------------------------------------------


def _dot_product_matrix(x1, x2, *, architecture: Architecture, ntk: bool):
    """Returns the kernel of a network that begins with flatten, from inner products alone."""
    flat1, flat2 = (x.reshape(x.shape[0], math.prod(x.shape[1:])) for x in (x1, x2))
    size = flat1.shape[1]
    k = jnp.matmul(flat1, flat2.T, precision=lax.Precision.HIGHEST) / size
    first, second = (jnp.sum(f * f, axis=1) / size for f in (flat1, flat2))
    same = _same(_fingerprint(x1)[:, None], _fingerprint(x2)[None])
    floor = jnp.where(same, 1.0, -1.0).astype(k.dtype)
    variances = (first[:, None], second[None])
    k, theta = recursion.head((k, None), architecture, variances, floor, ntk=ntk)
    return theta if ntk else k


def _fingerprint(x: jax.Array) -> jax.Array:
    """Returns two 32-bit hashes ``(n, 2)`` of each image; equal images have equal hashes.

    Comparing all pairs of images value by value would cost as much as the kernel. Weighted
    sums of mixed bits: a multilinear hash, whose weights are fixed noise.
    """
    x = lax.stop_gradient(x)
    bits = lax.bitcast_convert_type(jnp.where(x == 0, 0.0, x), jnp.uint32)  # -0.0 becomes 0.0
    bits = bits.reshape(x.shape[0], math.prod(bits.shape[1:])) * np.uint32(0x9E3779B1)
    bits = bits ^ (bits >> np.uint32(15))  # whole numbers end in zero bits
    weights = np.random.default_rng(0).integers(0, 2**32, (2, bits.shape[1]), dtype=np.uint32) | 1
    return jnp.stack([jnp.sum(bits * w, axis=1, dtype=jnp.uint32) for w in weights], axis=1)


def _same(first: jax.Array, second: jax.Array) -> jax.Array:
    return jnp.all(first == second, axis=-1)


# -- kernels of position pairs ----------------------------------------------------------


def _tile_pairs(shape: tuple[int, int], pairs: int) -> int:
    """Returns how many pairs are computed together: they fill vectors and fit into caches."""
    budget = _SLICE_BYTES * (1 if jax.default_backend() == "cpu" else _ACCELERATOR_FACTOR)
    tile = min(budget // (4 * shape[0] * shape[1]), _MAX_TILE_PAIRS * budget // _SLICE_BYTES)
    needed = math.ceil(pairs / _LANES) * _LANES
    return max(_LANES, min(tile // _LANES * _LANES, needed))


def _pairs_matrix(x1, x2, *, symmetric: bool, architecture: Architecture, ntk: bool):
    n1, n2 = x1.shape[0], x2.shape[0]
    if symmetric:
        first, second = np.triu_indices(n1)
        place = np.zeros((n1, n2), np.int32)
        place[first, second] = place[second, first] = np.arange(len(first))
    else:
        first, second = (a.ravel() for a in np.indices((n1, n2)))
        place = np.arange(n1 * n2, dtype=np.int32).reshape(n1, n2)
    if not len(first):
        return jnp.zeros((n1, n2), x1.dtype)

    sides = _Sides.of(x1, x2, symmetric=symmetric, architecture=architecture)
    pairs = _tile_pairs(x1.shape[1:3], len(first))
    levels = plan_levels(architecture, x1.shape[1:3])

    def tile(indices):
        a, b = sides[0].take(indices[0]), sides[1].take(indices[1])
        return recursion.pair_kernel(
            a.images,
            b.images,
            (a.scales, b.scales),
            _same(a.fingerprint, b.fingerprint),
            architecture=architecture,
            levels=levels,
            ntk=ntk,
        )

    kept = len(first) * window.pair_bytes(architecture, x1.shape[1:3], ntk=ntk)
    if kept > window.KEPT_TABLES_BYTES:
        tile = jax.checkpoint(tile)
    tiles = _tiled(np.stack([first, second]), pairs)
    return lax.map(tile, tiles).reshape(-1)[place]


def _tiled(indices: np.ndarray, size: int) -> jax.Array:
    """Cuts index columns into tiles ``(tiles, rows, size)``; the last repeats its last column."""
    padding = -indices.shape[1] % size
    padded = np.pad(indices, ((0, 0), (0, padding)), mode="edge").astype(np.int32)
    return jnp.asarray(padded.reshape(len(indices), -1, size).transpose(1, 0, 2))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Sides:
    """One side's images ``(H, W, C, n)`` with their scales and hashes."""

    images: jax.Array
    scales: recursion.Scales
    fingerprint: jax.Array

    @staticmethod
    def of(x1, x2, *, symmetric: bool, architecture: Architecture) -> tuple[_Sides, _Sides]:
        first = _Sides._of_images(x1, architecture)
        return first, first if symmetric else _Sides._of_images(x2, architecture)

    @staticmethod
    def _of_images(x, architecture: Architecture) -> _Sides:
        images = jnp.moveaxis(x, 0, -1)
        levels = plan_levels(architecture, x.shape[1:3])
        size = _tile_pairs(x.shape[1:3], x.shape[0])

        def tile(indices):
            return recursion.image_scales(
                images[..., indices[0]], architecture=architecture, levels=levels
            )

        stacked = lax.map(tile, _tiled(np.arange(x.shape[0])[None], size))
        scales = jax.tree.map(
            lambda a: jnp.moveaxis(a, 0, -2).reshape((*a.shape[1:-1], -1))[..., : x.shape[0]],
            stacked,
        )
        return _Sides(images, scales, _fingerprint(x))

    def take(self, indices: jax.Array) -> _Sides:
        """Returns the images of these indices, in this order."""
        scales = jax.tree.map(lambda a: a[..., indices], self.scales)
        return _Sides(self.images[..., indices], scales, self.fingerprint[indices])
