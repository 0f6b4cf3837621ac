"""The fused kernel for NVIDIA GPUs: warps.h, compiled at run time for one architecture.

NVRTC, which comes with JAX's CUDA wheels, makes machine code of the kernel's source behind the
constants of a program (`warp_plan.h`); cuda.cpp launches it. Nothing here needs a CUDA toolkit.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import dataclasses
import functools
import hashlib
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from kipax.errors import UsageError
from kipax.kernels.fused import loading
from kipax.kernels.fused.sides import Sides

__all__ = ["Module", "backward", "compile_source", "forward", "plan", "source", "why_not"]

_SOURCES = ("lanes.h", "dual.h", None, "warps.h", "warp_kernels.h")  # None: the plan
_CALLS = ("kipax_cuda_forward", "kipax_cuda_backward")
_MOST_BLOCKS = 4096  # of a forward call, each with several pairs
_BLOCKS_IN_MEMORY = 256  # where a block's tables lie in device memory: two per multiprocessor
_UNITS = 1024  # about how many pieces a pullback has; depends on numbers of images alone


@dataclasses.dataclass(frozen=True)
class Module:
    """The compiled kernels of a program.

    Attributes:
        key: the text by which cuda.cpp finds it.
        tables: number of floats of a block's pooled tables.
        sums: number of floats of a warp's cotangents.
        warps: number of warps of a block.
        shared: bytes of shared memory of a block.
    """

    key: str
    tables: int
    sums: int
    warps: int
    shared: int

    @property
    def in_shared(self) -> bool:
        """Whether the tables lie in shared memory."""
        return self.shared > 8 * self.warps


def why_not() -> str | None:
    """Returns why there is no fused kernel for this process's GPU; None if there is."""
    reason = _register()
    if reason is not None:
        return reason
    if _device() is None:
        return "no CUDA driver was found"
    return None if _nvrtc() is not None else "NVRTC, which compiles it, was not found"


@functools.cache
def _register() -> str | None:
    library, reason = loading.load()
    if library is None:
        return reason
    library.kipax_warp_plan.restype = ctypes.c_char_p
    for name in _CALLS:
        capsule = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, capsule, platform="CUDA")
    return None


@functools.cache
def _device() -> tuple[int, int, int] | None:
    """Returns the compute capability and the most shared memory of a block in bytes."""
    library, _ = loading.load()
    numbers = [ctypes.c_int() for _ in range(3)]
    if library is None or library.kipax_cuda_device(*map(ctypes.byref, numbers)):
        return None
    major, minor, shared = (n.value for n in numbers)
    return major, minor, shared


@functools.cache
def _nvrtc() -> ctypes.CDLL | None:
    """Returns the NVRTC library of JAX's wheels, else the system's; None without one."""
    folders = [pathlib.Path(p) / "nvidia" for p in sys.path if p]
    found = [f for d in folders if d.is_dir() for f in sorted(d.glob("*/lib/libnvrtc.so.*"))]
    files = [f for f in found if "builtins" not in f.name and ".alt." not in f.name]
    names = [*map(str, reversed(files)), "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def plan(program: np.ndarray, weight_variance: float, bias_variance: float) -> tuple[str, list]:
    """Returns a program's constants as source, and its numbers of floats and warps.

    The numbers are the floats of tables, the floats of sums and the warps.

    Raises:
        UsageError: the GPU kernel does not support this program; the message says why.
    """
    library, reason = loading.load()
    if library is None:
        raise UsageError(f"the fused backend does not run here: {reason}.")
    library.kipax_warp_plan.restype = ctypes.c_char_p
    sizes, why = (ctypes.c_int * 3)(), ctypes.c_char_p()
    text = library.kipax_warp_plan(
        program.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int64(len(program)),
        ctypes.c_float(weight_variance),
        ctypes.c_float(bias_variance),
        sizes,
        ctypes.byref(why),
    )
    if text is None:
        raise UsageError(
            "the fused backend does not serve this network on a GPU: "
            f"{(why.value or b'').decode()}; use backend='portable'."
        )
    return text.decode(), list(sizes)


def source(plan_source: str) -> str:
    """Returns the source of the whole kernel for one program."""
    folder = pathlib.Path(__file__).parent
    parts = ["#define KIPAX_ISA cuda\n"]
    for name in _SOURCES:
        if name is None:
            parts.append(f"namespace kipax {{\nnamespace cuda {{\n{plan_source}\n}}\n}}\n")
        else:
            parts.append((folder / name).read_text())
    return "\n".join(parts)


def compile_source(nvrtc: ctypes.CDLL, text: str, architecture: str) -> bytes:
    """Compiles `text` by NVRTC to machine code for an architecture such as ``sm_90``.

    Raises:
        RuntimeError: it does not compile; the message holds the compiler's output.
    """
    program = ctypes.c_void_p()
    made = nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), text.encode(), b"kipax.cu", 0, None, None
    )
    if made:
        raise RuntimeError(f"NVRTC did not start: error {made}.")
    options = [b"-std=c++17", f"-arch={architecture}".encode()]
    failed = nvrtc.nvrtcCompileProgram(
        program, len(options), (ctypes.c_char_p * len(options))(*options)
    )
    if failed:
        log = _read(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
        raise RuntimeError(f"the GPU kernel does not compile: {log.decode(errors='replace')}")
    image = _read(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return image


def _read(size_of, read, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    size_of(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    read(program, buffer)
    return buffer.raw


def _module(attributes: dict) -> Module:
    return _compiled(
        attributes["program"].tobytes(),
        float(attributes["weight_variance"]),
        float(attributes["bias_variance"]),
    )


@functools.lru_cache(maxsize=64)
def _compiled(program: bytes, weight_variance: float, bias_variance: float) -> Module:
    code = np.frombuffer(program, np.int64)
    text, (tables, sums, warps) = plan(code, weight_variance, bias_variance)
    library, device, nvrtc = loading.load()[0], _device(), _nvrtc()
    assert library is not None
    assert device is not None
    assert nvrtc is not None
    major, minor, most_shared = device
    whole = source(text)
    image = compile_source(nvrtc, whole, f"sm_{major}{minor}")
    key = hashlib.sha256(whole.encode()).hexdigest()
    library.kipax_cuda_add(key.encode(), image, ctypes.c_int64(len(image)))
    partial = 8 * warps
    wanted = partial + 4 * tables
    return Module(key, tables, sums, warps, wanted if wanted <= most_shared else partial)


def _shape(*size: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(size, jnp.float32)


def _call(name: str, module: Module, results: tuple, *arrays, blocks: int, **attributes) -> tuple:
    """Returns the first two results of a call; the other results are working memory."""
    room = _shape(0 if module.in_shared else blocks * module.tables)
    call = jax.ffi.ffi_call(name, (*results, room), vmap_method="sequential")
    sizes = {"warps": module.warps, "shared": module.shared, "blocks": blocks, **attributes}
    numbers = {k: v if isinstance(v, bool) else np.int64(v) for k, v in sizes.items()}
    return tuple(call(*arrays, key=module.key, **numbers)[:2])


def forward(attributes: dict, sides: Sides, *, symmetric: bool) -> tuple:
    """Returns each pair's mean over the readout: covariance and NTK, ``(n1, n2)`` each."""
    module = _module(attributes)
    n1, n2 = sides.same.shape
    blocks = min(n1 * n2, _MOST_BLOCKS if module.in_shared else _BLOCKS_IN_MEMORY)
    results = (_shape(n1, n2), _shape(n1, n2))
    return _call(_CALLS[0], module, results, *sides, blocks=blocks, symmetric=bool(symmetric))


def backward(attributes: dict, sides: Sides, gk: jax.Array, gt: jax.Array) -> tuple:
    """Pulls cotangents of covariance and NTK back to the second side's pixels and scales."""
    module = _module(attributes)
    n1, n2 = sides.same.shape
    height = max(1, n1 * n2 // (_UNITS if module.in_shared else _BLOCKS_IN_MEMORY))
    parts = -(-n1 // height)
    blocks = n2 * parts
    sums = _shape(blocks * module.warps * module.sums)
    results = (_shape(*sides.x2.shape), _shape(*sides.s2.shape), sums)
    sizes = {"blocks": blocks, "parts": parts, "height": height}
    return _call(_CALLS[1], module, results, *sides, gk, gt, **sizes)
