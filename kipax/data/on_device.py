"""Preprocessing in JAX, for images that are on a device already.

`Preprocessor.apply` works in NumPy, mostly in float64; these functions give the same up to
float32 rounding. They are for augmented targets on a GPU, where a round trip to the host would
take longer than the kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kipax.data.preprocessing import Preprocessor, Standard
from kipax.data.zca import ZCA, ZCAPaper

__all__ = ["device_preprocessing"]

Constants = dict[str, Any]
# Above the float32 rounding of a constant image, below the effect of one pixel one level off.
_CONSTANT = 1e-5


def device_preprocessing(
    preprocessor: Preprocessor,
) -> tuple[Constants, Callable[[Constants, jax.Array], jax.Array]] | None:
    """Returns `preprocessor.apply` as arrays and a function to jit; None if not supported.

    Returns:
        ``constants, function``, with ``function(constants, x)`` the preprocessed float32 images
        of raw images ``(n, H, W, C)``.

    Example:
        >>> x = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
        >>> constants, function = device_preprocessing(Standard.fit(x))
        >>> [round(v, 4) for v in function(constants, x)[0].ravel().tolist()]
        [-1.5275, -1.0911, -0.6547, -0.2182]
    """
    if isinstance(preprocessor, Standard):
        return _standard_constants(preprocessor), _standardise
    if not isinstance(preprocessor, ZCA):
        return None
    constants = _standard_constants(preprocessor.standard) | {"matrix": preprocessor.matrix}
    function = _whiten_paper if isinstance(preprocessor, ZCAPaper) else _whiten
    return constants, function


def _standard_constants(standard: Standard) -> Constants:
    return {"mean": np.float32(standard.mean), "scale": np.float32(1 / standard.std)}


def _standardise(constants: Constants, x: jax.Array) -> jax.Array:
    return (x.astype(jnp.float32) - constants["mean"]) * constants["scale"]


def _whiten(constants: Constants, x: jax.Array) -> jax.Array:
    return _whiten_by(constants, x, lambda v: jnp.sqrt(jnp.sum(v**2, axis=1)))


def _whiten_paper(constants: Constants, x: jax.Array) -> jax.Array:
    return _whiten_by(constants, x, lambda v: jnp.std(v, axis=1))


def _whiten_by(
    constants: Constants, x: jax.Array, size_of: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """Whitens images as `ZCA.apply` does; a constant image becomes zero."""
    u = _standardise(constants, x).reshape(len(x), -1)
    centred = u - jnp.mean(u, axis=1, keepdims=True)
    constant = jnp.std(centred, axis=1) < _CONSTANT
    size = jnp.where(constant, 1.0, size_of(centred))
    v = jnp.where(constant[:, None], 0.0, centred / size[:, None])
    whitened = jnp.matmul(v, constants["matrix"], precision=jax.lax.Precision.HIGHEST)
    return whitened.reshape(x.shape)
