"""The fused backend: the displacement recursion in one pass, in C++ for CPUs and CUDA for GPUs.

A kernel entry is ``head(mean(pairs(x1, x2, scales1, scales2)))``: the scales (standard
deviations before every ReLU, which depend on one image) and the pairs are XLA custom calls of
the library that setup.py builds if a compiler is found; the head after the readout is
plain JAX. The pullback of the pairs is a custom call too; that of the scales, which costs
as much as one pair for each image, is the portable recursion's. float32 only. On GPUs, where `cuda`
makes the calls for pairs, the portable recursion also computes the scales.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from kipax.architectures import Architecture
from kipax.errors import UsageError
from kipax.kernels import recursion
from kipax.kernels.fused import cuda
from kipax.kernels.fused.loading import isa, kept_tables, register
from kipax.kernels.fused.sides import Sides
from kipax.kernels.window import Level, plan_levels

__all__ = ["FORWARD_MODE", "isa", "matrix", "processors", "threads", "why_not"]

FORWARD_MODE = (
    "the fused kernel has pullbacks (jax.grad, jax.vjp) alone; forward mode and second derivatives "
    "(jax.jvp, jax.jacfwd, jax.hessian) need backend='portable'."
)

_LAYERS = {"conv": 0, "relu": 1}


def why_not(dtype) -> str | None:
    """Returns why this backend cannot serve arrays of a type here; None if it can."""
    if dtype != jnp.float32:
        return f"it computes in float32, not {jnp.dtype(dtype).name}"
    platform = jax.default_backend()
    if platform == "gpu":
        return cuda.why_not()
    return register() if platform == "cpu" else f"it is for CPUs and GPUs, not {platform}"


def threads() -> int:
    """Returns the number of threads of a call: ``KIPAX_NUM_THREADS``, else `processors`."""
    chosen = os.environ.get("KIPAX_NUM_THREADS", "")
    return int(chosen) if chosen.isdecimal() and int(chosen) > 0 else processors()


def processors() -> int:
    """Returns the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def matrix(x1, x2, same, *, symmetric: bool, architecture: Architecture, ntk: bool) -> jax.Array:
    """Returns the kernel ``(n1, n2)`` of images ``(n, H, W, C)`` float32.

    Args:
        x1: first images.
        x2: second images; the same array where `symmetric`.
        same: whether two images are identical, bool ``(n1, n2)``.
        symmetric: whether both sides are one set, which halves the work.
        architecture: a network with spatial layers or a global readout.
        ntk: True for the NTK, False for the NNGP.
    """
    scales1, head1 = _own_scales(x1, architecture)
    scales2, head2 = (scales1, head1) if symmetric else _own_scales(x2, architecture)
    sides = Sides(x1, x1 if symmetric else x2, scales1, scales2, same.astype(jnp.uint8))
    if symmetric or x1.shape[0] >= x2.shape[0]:  # the first side fills the vectors
        k, theta = _pairs(architecture, ntk, symmetric, sides)
    else:
        k, theta = (a.T for a in _pairs(architecture, ntk, False, sides.turned()))
    floor = jnp.where(same, 1.0, -1.0).astype(k.dtype)
    state = (k, theta if ntk else None)
    variances = (head1[:, None], head2[None])
    k, theta = recursion.head(state, architecture, variances, floor, ntk=ntk)
    return theta if ntk else k


# -- the program, and the calls ------------------------------------------------------------------


def _attributes(architecture: Architecture, shape: tuple[int, ...], *, ntk: bool) -> dict:
    """Returns the attributes that program.h parses."""
    code = [ntk, architecture.readout != "flatten", "relu" in architecture.head_layers, shape[2]]
    levels = plan_levels(architecture, (shape[0], shape[1]))
    code.append(len(levels))
    for level in levels:
        own = level.self_radius or (-1, -1)
        code += [*level.shape, *level.radius, *own, len(level.layers)]
        code += [_LAYERS[layer] for layer in level.layers]
    return {
        "program": np.array(code, np.int64),
        "weight_variance": np.float32(architecture.W_std**2),
        "bias_variance": np.float32(architecture.b_std**2),
    }


def _num_scales(levels: tuple[Level, ...]) -> int:
    return sum(level.layers.count("relu") * level.shape[0] * level.shape[1] for level in levels)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _own_scales(x: jax.Array, architecture: Architecture) -> tuple[jax.Array, jax.Array]:
    """Returns standard deviations ``(n, P)`` before ReLUs and variances ``(n,)`` at the head."""
    if jax.default_backend() == "gpu":  # little work: the portable recursion suffices
        return portable_scales(x, architecture)
    n = x.shape[0]
    size = _num_scales(plan_levels(architecture, (x.shape[1], x.shape[2])))
    shapes = (jax.ShapeDtypeStruct((n, size), x.dtype), jax.ShapeDtypeStruct((n,), x.dtype))
    call = jax.ffi.ffi_call("kipax_own_scales", shapes, vmap_method="sequential")
    attributes = _attributes(architecture, x.shape[1:], ntk=False)
    count = np.int64(threads())
    scales, head = _undifferentiated(lambda a: call(a, threads=count, **attributes), x)
    return scales, head


def _own_scales_forward(x, architecture):
    return _own_scales(x, architecture), x


def _own_scales_backward(architecture, x, cotangents):
    _, pull = jax.vjp(lambda a: portable_scales(a, architecture), x)
    return pull(cotangents)


_own_scales.defvjp(_own_scales_forward, _own_scales_backward)


def portable_scales(x: jax.Array, architecture: Architecture) -> tuple[jax.Array, jax.Array]:
    """Returns the same as `_own_scales` by the portable recursion, which is differentiable."""
    levels = plan_levels(architecture, (x.shape[1], x.shape[2]))
    images = jnp.moveaxis(x, 0, -1)
    scales = recursion.image_scales(images, architecture=architecture, levels=levels)
    flat = [a.reshape(-1, x.shape[0]) for level in scales.levels for a in level]
    joined = jnp.concatenate(flat) if flat else jnp.zeros((0, x.shape[0]), x.dtype)
    return joined.T, scales.head_variance


def _call_forward(
    architecture: Architecture, sides: Sides, *, ntk: bool, symmetric: bool, keep: bool = False
):
    """Returns each pair's mean over the readout: covariance and NTK, ``(n1, n2)`` each, and tables.

    The tables are what `_call_backward` of the same sides takes to save work; none without `keep`.
    """
    x1, x2 = sides.x1, sides.x2
    attributes = _attributes(architecture, x1.shape[1:], ntk=ntk)
    if jax.default_backend() == "gpu":
        on_gpu = lambda *a: cuda.forward(attributes, Sides(*a), symmetric=symmetric)  # noqa: E731
        return *_undifferentiated(on_gpu, *sides), jnp.zeros((0, 0), x1.dtype)
    kept, sizes = (0, 0), (x1.shape[0], x2.shape[0])
    if keep:
        kept = kept_tables(attributes["program"], *sizes, symmetric=symmetric)
    shape = jax.ShapeDtypeStruct(sizes, x1.dtype)
    results = (shape, shape, jax.ShapeDtypeStruct(kept, x1.dtype))
    call = jax.ffi.ffi_call("kipax_forward", results, vmap_method="sequential")
    chosen = attributes | {"symmetric": bool(symmetric), "threads": np.int64(threads())}
    return _undifferentiated(lambda *a: call(*a, **chosen), *sides)


def _call_backward(
    architecture: Architecture,
    sides: Sides,
    cotangents,
    tables,
    *,
    ntk: bool,
    symmetric: bool = False,
):
    """Returns the cotangents of the second side's pixels and scales.

    Of a symmetric matrix, both of whose sides are one set, they are the whole cotangents;
    `cotangents` hold those of both orders of a pair together.
    """
    x2, s2 = sides.x2, sides.s2
    attributes = _attributes(architecture, x2.shape[1:], ntk=ntk)
    if jax.default_backend() == "gpu":
        on_gpu = lambda *a: cuda.backward(attributes, Sides(*a[:5]), *a[5:])  # noqa: E731
        return _undifferentiated(on_gpu, *sides, *cotangents)
    shapes = (jax.ShapeDtypeStruct(x2.shape, x2.dtype), jax.ShapeDtypeStruct(s2.shape, s2.dtype))
    call = jax.ffi.ffi_call("kipax_backward", shapes, vmap_method="sequential")
    chosen = attributes | {"symmetric": bool(symmetric), "threads": np.int64(threads())}
    return _undifferentiated(lambda *a: call(*a, **chosen), *sides, *cotangents, tables)


def _undifferentiated(call: Callable, *arrays: jax.Array):
    """Calls a function without a derivative; asking for one raises a `UsageError`.

    The message names the backend that has one.
    """
    run = jax.custom_jvp(call)
    run.defjvp(_refuse)
    return run(*arrays)


def _refuse(primals, tangents):
    raise UsageError(FORWARD_MODE)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _Wanted:
    """Which side's cotangents are asked for; static, since the compiled pullback depends on it."""

    first: bool
    second: bool


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _pairs(architecture, ntk, symmetric, sides):
    """Calls `_call_forward`; has a pullback."""
    return _call_forward(architecture, sides, ntk=ntk, symmetric=symmetric)[:2]


def _pairs_forward(architecture, ntk, symmetric, sides):
    values = Sides(*(side.value for side in sides))
    x1, x2, s1, s2, _ = (side.perturbed for side in sides)
    wanted = _Wanted(x1 or s1, x2 or s2)
    keep = wanted.second or (symmetric and wanted.first)
    *out, tables = _call_forward(architecture, values, ntk=ntk, symmetric=symmetric, keep=keep)
    return tuple(out), (values, wanted, tables)


def _pairs_backward(architecture, ntk, symmetric, residuals, cotangents):
    sides, wanted, tables = residuals
    first, second = wanted.first, wanted.second
    cotangents = [
        jnp.zeros(c.shape, c.dtype) if isinstance(c, SymbolicZero) else c for c in cotangents
    ]
    if symmetric:  # both sides are one array: the whole cotangent goes to the second
        cotangents, first, second = [c + c.T for c in cotangents], False, first or second
    d_x1, d_x2, d_s1, d_s2 = (jnp.zeros_like(a) for a in sides[:4])
    if second:
        d_x2, d_s2 = _call_backward(
            architecture, sides, cotangents, tables, ntk=ntk, symmetric=symmetric
        )
    if first:
        turned, none_kept = [c.T for c in cotangents], jnp.zeros((0, 0), tables.dtype)
        d_x1, d_s1 = _call_backward(architecture, sides.turned(), turned, none_kept, ntk=ntk)
    none: Any = np.zeros(np.shape(sides.same), jax.dtypes.float0)
    return (Sides(d_x1, d_x2, d_s1, d_s2, none),)


_pairs.defvjp(_pairs_forward, _pairs_backward, symbolic_zeros=True)
