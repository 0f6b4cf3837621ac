"""Kernels of images: exact ones of infinitely wide networks, of distances, and your own."""

from kipax.kernels.api import BACKENDS, KINDS
from kipax.kernels.descriptions import Description, FunctionKernel, RadialKernel
from kipax.kernels.functions import check_function, import_kernel
from kipax.kernels.pairs import KernelFn
from kipax.kernels.spec import KernelSpec, make_kernel_fn
from kipax.kernels.window import pair_bytes

__all__ = [
    "BACKENDS",
    "KINDS",
    "Description",
    "FunctionKernel",
    "KernelFn",
    "KernelSpec",
    "RadialKernel",
    "check_function",
    "import_kernel",
    "make_kernel_fn",
    "pair_bytes",
]
