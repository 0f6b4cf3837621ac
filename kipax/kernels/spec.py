"""`KernelSpec` describes a kernel by names; `make_kernel_fn` returns its kernel function."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from kipax.architectures import Architecture
from kipax.errors import UsageError, check_choice
from kipax.kernels import api, descriptions
from kipax.kernels.descriptions import Description, FunctionKernel, RadialKernel
from kipax.kernels.functions import make_function_kernel
from kipax.kernels.pairs import KernelFn
from kipax.kernels.radial import make_radial_kernel
from kipax.kernels.window import pair_bytes, position_pairs

__all__ = ["KernelSpec", "make_kernel_fn"]


@dataclasses.dataclass(frozen=True)
class KernelSpec:
    """A kernel described by names, as it is sent to the process that computes a block.

    Attributes:
        architecture: the network, or what stands in its place, see
            `kipax.kernels.descriptions`.
        kind: "ntk" or "nngp" of a network; empty for the first kernel of the architecture.
        backend: "portable", "fused" or "auto", see `make_kernel_fn`.

    Raises:
        UsageError: the architecture has no such kernel, or no such backend.
    """

    architecture: Description
    kind: str = ""
    backend: str = "auto"

    def __post_init__(self) -> None:
        described = self.architecture
        kind = described.kinds[0] if self.kind == "" else self.kind
        if described.is_network or not isinstance(kind, str):
            check_choice("kernel", kind, described.kinds)
        elif kind not in described.kinds:
            raise UsageError(
                f"ntk and nngp are kernels of networks, and {described.name} is a kernel itself; "
                f"got kernel {kind!r}: leave it out."
            )
        check_choice("backend", self.backend, api.BACKENDS)
        if self.backend == "fused" and not described.is_network:
            raise UsageError(
                f"the fused backend computes kernels of networks, and {described.name} is none; "
                "use backend='auto'."
            )
        object.__setattr__(self, "kind", kind)

    @property
    def _family(self) -> _Family:
        return _FAMILIES[type(self.architecture)]

    def make(self) -> KernelFn:
        """Returns the kernel function; the same object for equal specs."""
        return self._family.make(self.architecture, self.kind, self.backend)

    def describe(self) -> str:
        """Returns the name of this kernel as messages print it, such as "NTK of convnet"."""
        return self.architecture.describe(self.kind)

    def computed_by(self) -> str:
        """Names the backend that computes this kernel here, such as "backend fused"."""
        return self._family.computed_by(self.architecture, self.backend)

    def position_pairs(self, image_shape: tuple[int, ...]) -> int:
        """Returns how many pairs of pixel positions one kernel entry compares.

        The time that an entry takes is proportional to this number.
        """
        return self._family.position_pairs(self.architecture, image_shape)

    def kept_bytes(self, image_shape: tuple[int, ...]) -> int:
        """Returns how many bytes JAX keeps for each kernel entry between forward and backward pass.

        The entry itself is not counted. The fused kernel for GPUs holds none of these bytes.
        """
        return self._family.kept_bytes(self, image_shape)


class _Family(NamedTuple):
    """The functions that compute the kernels of one class of descriptions, and tell their cost.

    In their types, `Any` stands for a description of that class and the tuple for an image's shape.
    """

    make: Callable[[Any, str, str], KernelFn]
    computed_by: Callable[[Any, str], str]
    position_pairs: Callable[[Any, tuple[int, ...]], int]
    kept_bytes: Callable[[KernelSpec, tuple[int, ...]], int]


def _network_bytes(spec: KernelSpec, shape: tuple[int, ...]) -> int:
    network: Any = spec.architecture
    return pair_bytes(network, (shape[0], shape[1]), ntk=spec.kind == "ntk")


def _in_jax(described: Description, backend: str) -> str:
    return f"JAX on {jax.default_backend()}"


_FAMILIES: dict[type, _Family] = {
    Architecture: _Family(
        make=api.make_network_kernel,
        computed_by=api.computed_by,
        position_pairs=lambda network, shape: position_pairs(network, (shape[0], shape[1])),
        kept_bytes=_network_bytes,
    ),
    RadialKernel: _Family(
        make=lambda kernel, kind, backend: make_radial_kernel(kernel),
        computed_by=_in_jax,
        position_pairs=lambda kernel, shape: shape[0] * shape[1],
        kept_bytes=lambda spec, shape: 0,
    ),
    # The cost of a user's function is unknown. This estimate assumes that it compares every
    # position of one image with every position of the other, and that its gradient keeps four
    # float32 arrays of an image's size for each pair: the images' difference, the square of this
    # difference, and the cotangents of these two arrays.
    FunctionKernel: _Family(
        make=lambda kernel, kind, backend: make_function_kernel(kernel),
        computed_by=_in_jax,
        position_pairs=lambda kernel, shape: (shape[0] * shape[1]) ** 2,
        kept_bytes=lambda spec, shape: 16 * math.prod(shape),
    ),
}


def make_kernel_fn(
    architecture: Description | str, *, kind: str = "", backend: str = "auto"
) -> KernelFn:
    """Returns a kernel function of images, ``kernel_fn(x1, x2=None) -> (n1, n2)``.

    For a network ``kernel_fn(x1, x2)[i, j]`` is the exact infinite-width NTK (or NNGP) of
    ``x1[i]`` and ``x2[j]`` in the NTK parameterisation, readout included; for ``rbf`` and
    ``laplace`` see `kipax.kernels.RadialKernel`. ``kernel_fn(x)`` is ``kernel_fn(x, x)``, for
    half the work with a network. Identical images have correlation exactly 1. Images are
    ``(n, H, W, C)`` floating point, any size that the pools allow; float64 is kept where JAX
    allows it, all else is computed in float32. Differentiable in both arguments by `jax.grad`
    and `jax.vjp`, at duplicates too (see `kipax.kernels.relu`).

    Args:
        architecture: an `Architecture`, another description of `kipax.kernels.descriptions`, or
            a name: of a network (`kipax.architectures.from_name`), ``rbf``, ``laplace``, or one
            of these with a bandwidth, ``rbf:0.5``.
        kind: "ntk" (by default) or "nngp", for networks alone.
        backend: "portable" is plain JAX; "fused", for networks, the C++ kernel for CPUs, or the
            one for NVIDIA GPUs, float32 only, which have pullbacks (`jax.grad`, `jax.vjp`) but
            no forward mode or second derivatives; "auto" takes the fastest that is known to run
            here: fused on CPUs, portable elsewhere.

    Raises:
        UsageError: unknown names; on call, images of wrong rank, type, size or channels, or a
            backend that does not run here.

    Cost: about 100 floating-point operations per position pair and ReLU: for ConvNet on
    32 x 32 pixels 18 MFLOP an image pair forward, 3 to 5 times that for a gradient. Memory
    beyond inputs and result: one tile of pairs (`pair_bytes` each), fused 16 a thread, and as much
    for each pair of a gradient, up to 2 GiB; beyond, the pullback computes them again: portable
    those of all pairs, fused those that did not fit. fc kernels need one
    matrix product and nothing larger than ``(n1, n2)``; rbf and laplace 3 operations a value of an
    image pair, and one tile.

    Example:
        >>> import jax, kipax
        >>> kernel_fn = kipax.make_kernel_fn("convnet2", kind="ntk")
        >>> x = jax.random.normal(jax.random.key(0), (3, 8, 8, 1))
        >>> kernel_fn(x).shape, kernel_fn(x[:1], x).shape
        ((3, 3), (1, 3))
        >>> float(kipax.make_kernel_fn("rbf:0.5")(x)[1, 1])
        1.0

    Source: Nguyen et al. 2021, section 2 (kernels), by the displacement-window recursion of
    `kipax.kernels.window`.
    """
    if not isinstance(architecture, Description):
        architecture = descriptions.from_name(architecture)
    return KernelSpec(architecture, kind, backend).make()
