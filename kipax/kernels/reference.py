"""Kernels of the same architectures by neural-tangents, as the reference of tests and benchmarks.

Runs do not use it: neural-tangents is archived, builds the whole position-by-position tensor
of every pair, and rounds the correlation of identical images.
"""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from kipax import architectures
from kipax.architectures import Architecture
from kipax.errors import UsageError, check_choice
from kipax.kernels import _ntcompat
from kipax.kernels.api import KINDS
from kipax.kernels.pairs import KernelFn

__all__ = ["make_reference_kernel_fn"]


def make_reference_kernel_fn(architecture: Architecture | str, *, kind: str = "ntk") -> KernelFn:
    """Returns the kernel of `architecture` computed by neural-tangents.

    Args:
        architecture: an `Architecture` or a name for `kipax.architectures.from_name`.
        kind: "ntk" or "nngp".

    Returns:
        ``kernel_fn(x1, x2=None) -> (n1, n2)``, not jitted, memory quadratic in pixels.

    Raises:
        UsageError: unknown names.
        ImportError: neural-tangents is not installed; the message says how to install it.
    """
    if isinstance(architecture, str):
        architecture = architectures.from_name(architecture)
    check_choice("kernel", kind, KINDS)
    try:
        stax = _ntcompat.load().stax
    except ImportError as error:
        raise ImportError(
            "the reference kernels need neural-tangents: "
            "pip install --no-deps neural-tangents==0.6.5 && pip install frozendict"
        ) from error
    scales = {"W_std": architecture.W_std, "b_std": architecture.b_std or None}
    make = {
        "conv": lambda: stax.Conv(1, (3, 3), padding="SAME", **scales),
        "relu": stax.Relu,
        "avg_pool": lambda: stax.AvgPool((2, 2), strides=(2, 2), padding="VALID"),
        "flatten": stax.Flatten,
        "global_avg_pool": stax.GlobalAvgPool,
        "dense": lambda: stax.Dense(1, **scales),
    }
    if architecture.layers[0] == "dense":
        raise UsageError("an architecture starts with its spatial layers or its readout.")
    _, _, nt_kernel_fn = stax.serial(*(make[layer]() for layer in architecture.layers))

    def kernel_fn(x1: ArrayLike, x2: ArrayLike | None = None) -> jax.Array:
        return nt_kernel_fn(x1, x2, get=kind)

    return kernel_fn
