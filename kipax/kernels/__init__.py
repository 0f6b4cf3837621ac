"""Exact NNGP and NTK kernels of infinitely wide networks."""

from kipax.kernels.api import (
    BACKENDS,
    KINDS,
    KernelFn,
    KernelSpec,
    make_kernel_fn,
    pair_bytes,
)

__all__ = ["BACKENDS", "KINDS", "KernelFn", "KernelSpec", "make_kernel_fn", "pair_bytes"]
