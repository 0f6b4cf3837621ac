"""Finds the compiled library of the fused backend, loads it and registers it with XLA, once."""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
import pathlib

import jax
import numpy as np

from kipax.kernels import window

__all__ = ["isa", "kept_tables", "load", "register"]

_INTERFACE = 2  # of ffi.cpp, as there; another number where the arguments of a call change
_CALLS = ("kipax_own_scales", "kipax_forward", "kipax_backward")


def _path() -> pathlib.Path | None:
    """Returns the file that setup.py built beside this one; None without it."""
    folder = pathlib.Path(__file__).parent
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        file = folder / f"_fused{suffix}"
        if file.exists():
            return file
    return None


@functools.cache
def load() -> tuple[ctypes.CDLL | None, str | None]:
    """Returns the library after registering its CPU calls, or None and the reason."""
    path = _path()
    if path is None:
        return None, "it was not built: kipax was installed without a C++17 compiler"
    try:
        library = ctypes.CDLL(str(path))
        if getattr(library, "kipax_interface", lambda: 0)() != _INTERFACE:
            return None, "it was built from another version of kipax: install kipax again"
        library.kipax_isa.restype = ctypes.c_char_p
        library.kipax_lanes.restype = ctypes.c_int64
        library.kipax_table_floats.restype = ctypes.c_int64
        for name in _CALLS:
            jax.ffi.register_ffi_target(
                name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu"
            )
    except (OSError, AttributeError, RuntimeError, ValueError) as error:
        return None, f"it could not be loaded: {str(error).splitlines()[0]}"
    return library, None


def register() -> str | None:
    """Registers the library with XLA; returns None, or the reason why it cannot."""
    return load()[1]


def isa() -> str | None:
    """Returns the vector width in use: base, avx2 or avx512; None without a library."""
    library = load()[0]
    return None if library is None else library.kipax_isa().decode()


def kept_tables(
    program: np.ndarray, first: int, second: int, *, symmetric: bool = False
) -> tuple[int, int]:
    """Returns the shape of the tables that a gradient keeps: groups of pairs, floats of each.

    Args:
        program: the network as program.h parses it, int64.
        first: number of first images; a vector's width of them makes a group with a second one.
        second: number of second images.
        symmetric: whether both are one set, so that groups below the diagonal are left out.
    """
    library = load()[0]
    assert library is not None
    floats = library.kipax_table_floats(
        program.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(len(program))
    )
    lanes = library.kipax_lanes()
    blocks = -(-first // lanes)
    groups = blocks * second - (lanes * blocks * (blocks - 1) // 2 if symmetric else 0)
    return min(groups, window.KEPT_TABLES_BYTES // (4 * floats)) if floats else 0, floats
