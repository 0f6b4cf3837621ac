"""Preprocessing by name: fitted to images, or restored from a file's arrays.

Fitting a whitening takes half a minute and depends on its training images alone, so
it is kept in a cache: ``$KIPAX_CACHE``, else ``kipax`` in ``$XDG_CACHE_HOME`` or
``~/.cache``; with an empty ``KIPAX_CACHE``, or without a home folder, nothing is kept. Deleting the
folder is always safe.
"""

from __future__ import annotations

import contextlib
import hashlib
import numbers
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files
from kipax.data.datasets import Dataset
from kipax.data.preprocessing import Preprocessor, Standard
from kipax.data.zca import ZCA, ZCAPaper
from kipax.errors import FileError, UsageError, check_choice
from kipax.pixels import as_images

__all__ = [
    "cache_dir",
    "fit_key",
    "fit_preprocessor",
    "from_arrays",
    "names",
    "read_cache",
    "write_cache",
]

_PREPROCESSORS: dict[str, Any] = {"standard": Standard, "zca": ZCA, "zca_paper": ZCAPaper}
_FORMULAS = 1  # increased when fits change, so that older cache entries are not used


def names() -> tuple[str, ...]:
    """Returns the names of the preprocessings."""
    return tuple(_PREPROCESSORS)


def cache_dir() -> Path | None:
    """Returns the cache folder, which is made when first written; None for no cache."""
    chosen = os.environ.get("KIPAX_CACHE")
    if chosen is not None:
        return files.expand(chosen) if chosen else None
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return None if home.startswith("~") else Path(home) / "kipax"  # no home folder


def fit_key(
    name: str, settings: Mapping[str, float], training_hash: str, validation_examples: int
) -> str:
    """Returns the sha256 of everything that a fit depends on.

    Args:
        name: name of the preprocessing.
        settings: settings of the preprocessing.
        training_hash: `Dataset.training_hash`.
        validation_examples: number of those images that were held out, by content.
    """
    facts = f"{name} {sorted(settings.items())} {training_hash} {validation_examples} {_FORMULAS}"
    return hashlib.sha256(facts.encode()).hexdigest()


def fit_preprocessor(
    name: str, data: Dataset | np.ndarray, *, zca_lambda: float | None = None
) -> Preprocessor:
    """Fits the preprocessing called `name` to raw training images.

    Args:
        name: ``standard``, ``zca`` (the official notebooks') or ``zca_paper`` (the text's).
        data: a data set, whose held-out images are not used, or images ``(n, H, W, C)``; the
            whitening of a data set is kept in the cache.
        zca_lambda: regularisation of the whitenings, 0.1 by default.

    Raises:
        UsageError: unknown name, with the choices; `zca_lambda` not positive, or given to a
            preprocessing that has none.

    Example:
        >>> fit_preprocessor("standard", np.zeros((1, 2, 2, 3))).name
        'standard'
    """
    check_choice("preprocessing", name, names())
    x_train = data.x_train if isinstance(data, Dataset) else as_images(data, "the training images")
    if not len(x_train):
        raise UsageError("a preprocessing is fitted to at least one image; got none.")
    kind = _PREPROCESSORS[name]
    if kind is Standard:
        if zca_lambda is not None:
            raise UsageError(f"zca_lambda belongs to zca and zca_paper; {name} has no use for it.")
        return kind.fit(x_train)
    if zca_lambda is not None and not isinstance(zca_lambda, numbers.Real):
        raise UsageError(f"zca_lambda is a number, 0.1 by default; got {zca_lambda!r}.")
    settings = {"zca_lambda": 0.1 if zca_lambda is None else float(zca_lambda)}
    if not isinstance(data, Dataset):
        return kind.fit(x_train, **settings)
    key = fit_key(name, settings, data.training_hash, len(data.x_validation))
    fitted = read_cache(name, key)
    if fitted is None:
        fitted = kind.fit(x_train, **settings)
        write_cache(key, fitted)
    return fitted


def read_cache(name: str, key: str) -> Preprocessor | None:
    """Returns the preprocessing in the cache for a `fit_key`; None if missing or damaged."""
    folder = cache_dir()
    if folder is not None:
        with contextlib.suppress(FileError):
            return from_arrays(name, files.read_npz(folder / f"{key}.npz"))
    return None


def write_cache(key: str, fitted: Preprocessor) -> None:
    """Writes a fitted preprocessing to the cache under its `fit_key`, if that is possible."""
    folder = cache_dir()
    if folder is not None:
        with contextlib.suppress(OSError):  # with a full disk the next run fits again
            folder.mkdir(parents=True, exist_ok=True)
            files.write_npz(folder / f"{key}.npz", fitted.to_arrays())


def from_arrays(name: str, arrays: Mapping[str, np.ndarray]) -> Preprocessor:
    """Restores a fitted preprocessor from a file's arrays.

    Raises:
        FileError: an unknown name, or arrays that are missing or of another shape.
    """
    if name not in _PREPROCESSORS:
        raise FileError(f"unknown preprocessing {name!r}: written by a newer kipax?")
    bad = [k for k, a in arrays.items() if a.dtype.kind != "f" or not np.all(np.isfinite(a))]
    if bad:
        raise FileError(f"the {name} preprocessing is damaged: {', '.join(bad)} must be finite.")
    try:
        return _PREPROCESSORS[name].from_arrays(arrays)
    except (KeyError, ValueError, TypeError) as error:
        raise FileError(f"the {name} preprocessing is incomplete: {error}.") from error
