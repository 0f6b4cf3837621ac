"""`load`: a support set from its file, a run's folder, or by the name of one that is shipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files, shipped, support_file
from kipax.data import Dataset
from kipax.data.recipe import Deferred
from kipax.errors import FileError, UsageError
from kipax.kernels import Description, FunctionKernel, descriptions
from kipax.kernels.functions import check_same
from kipax.support import SupportSet

__all__ = ["load"]


def load(
    path: Path | str,
    *,
    dataset: Dataset | str | None = None,
    data_dir: Path | str | None = None,
    kernel_fn: Callable[..., Any] | None = None,
) -> SupportSet:
    """Reads a support set that kipax wrote: ``kipax.load("runs/.../support.npz")``.

    Args:
        path: the file, a run's folder, or the name of a set that comes with kipax
            (`kipax.available`).
        dataset: the data set it was distilled from, or its name for `load_dataset`; used only where
            the file keeps its whitening as a recipe.
        data_dir: folder of TensorFlow Datasets; used only in the same case.
        kernel_fn: the kernel, where the set was made with a function of yours: the file holds
            its name and its values at a few images, but no code.

    Raises:
        FileError: the file is missing, damaged, truncated, foreign, or from a newer kipax.
        UsageError: the file records a function, and `kernel_fn` is missing or another; or it
            records no function, and `kernel_fn` is given.

    Example:
        >>> kipax.load("missing.npz")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        kipax.errors.FileError: could not read missing.npz: No such file or directory.
    """
    path = _resolve(path)
    with files.reading(path):
        content = support_file.read(path, dataset=dataset, data_dir=data_dir)
        described = descriptions.from_dict(content.metadata["architecture"], function=kernel_fn)
        shape = content.images.shape[1:]
    _check_kernel(path, described, kernel_fn, shape)
    with files.reading(path):
        support = SupportSet(**vars(content), function=kernel_fn)
        _check_use(support)
        return support


def _check_kernel(
    path: Path, described: Description, kernel_fn: Callable[..., Any] | None, shape: tuple[int, ...]
) -> None:
    """Checks that `kernel_fn` is given just where a file records a function, and is that function.

    Raises:
        UsageError: it is missing, another function, or not wanted.
    """
    if isinstance(described, FunctionKernel):
        if kernel_fn is None:
            raise UsageError(
                f"{path} was made with the kernel {described.name}, a function, whose code no file "
                "holds: load it with kipax.load(path, kernel_fn=...), and in a command give "
                "--kernel_fn=MODULE:FUNCTION."
            )
        check_same(described, shape, str(path))
    elif kernel_fn is not None:
        raise UsageError(
            f"{path} was made with {described.name}, which kipax computes itself: leave kernel_fn "
            "out."
        )


def _resolve(path: Path | str) -> Path:
    """Returns the path of a file; a bare name is that of a shipped set."""
    file = files.expand(path)
    if (file / "support.npz").is_file():
        return file / "support.npz"
    if (file / "run.json").is_file():
        raise FileError(
            f"the run in {file} has not finished: continue it with --resume, or load a checkpoint "
            f"of it, if {file / 'checkpoints'} holds one."
        )
    if file.is_dir() and len(file.parts) > 1:
        raise FileError(f"{file} is a folder without a support.npz: name a file or a run's folder.")
    if file.is_file() or file.suffix or len(file.parts) > 1:
        return file
    found = shipped.find(path)
    if found is None:
        names = ", ".join(shipped.available()) or "none"
        raise FileError(
            f"there is no file {path} and no shipped set of that name; there are: {names}."
        )
    return found


def _check_use(support: SupportSet) -> None:
    """Uses every part of the set once, so that errors in its file are raised on loading."""
    str(support)
    support.kernel_fn()
    _ = support.pixels
    support.architecture.check_image_shape(support.images.shape[1:])
    if isinstance(support.preprocessor, Deferred):
        fitted = support.preprocessor.recipe.probes.shape[1:] == support.images.shape[1:]
    else:
        blank = np.full((1, *support.images.shape[1:]), support.preprocessor.low, np.float32)
        fitted = support.preprocessor.apply(blank).shape == blank.shape
    if not fitted:
        raise ValueError("its preprocessing is for images of another shape.")
    if support.statistics is not None and support.statistics.shape[1] != 2:
        raise ValueError(f"its statistics have the shape {support.statistics.shape}.")
    ridge_scale = support.ridge
    if isinstance(ridge_scale, bool) or not isinstance(ridge_scale, (int, float)):
        raise ValueError(f"its ridge is no number but {ridge_scale!r}.")
    if not 0 < ridge_scale < float("inf"):
        raise ValueError(f"its ridge is {ridge_scale}.")
