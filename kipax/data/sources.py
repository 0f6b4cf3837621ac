"""Loads data sets by name: built in, from TensorFlow Datasets, from a user's npz or pictures."""

from __future__ import annotations

import numbers
import os
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files
from kipax.data import part, tfds
from kipax.data.datasets import ARRAYS, Dataset, make_dataset
from kipax.data.folder import read_folder
from kipax.data.known import KNOWN, DatasetFacts
from kipax.errors import UsageError, check_choice

__all__ = ["describe_dataset", "load_dataset"]

_PATHS = ("npz", "folder")
_LARGEST_SIDE = 4096  # no kernel of larger images can be computed
_FORMS = "npz:PATH, folder:PATH, any image classification set of TensorFlow Datasets"


def load_dataset(
    name: str,
    *,
    validation_examples: int = 0,
    data_dir: Path | str | None = None,
    image_size: int | None = None,
) -> Dataset:
    """Loads a data set by name.

    * ``digits``: 1,797 real 8 x 8 digits that come with the package.
    * ``mnist``, ``fashion_mnist``, ``svhn_cropped``, ``cifar10``, ``cifar100``, or any other
      image classification set of TensorFlow Datasets: see `kipax.data.tfds.read_tfds`.
    * ``npz:PATH``: ``x_train y_train x_test y_test`` and, optionally, ``label_names``; images
      ``(n, H, W)`` or ``(n, H, W, C)``, labels integers from 0; or a file that
      `kipax.data.part.write_part` wrote.
    * ``folder:PATH``: pictures in ``train/CLASS`` and ``test/CLASS``, or in ``CLASS``: see
      `kipax.data.folder.read_folder`.

    Args:
        name: as above.
        validation_examples: number of training images to hold out, class-balanced, by content
            (smallest sha256 of the pixels within each class), independent of their order.
        data_dir: where TensorFlow Datasets lie; None for its default.
        image_size: side in pixels to which pictures of differing sizes are resized.

    Raises:
        UsageError: unknown name; too many validation examples; arrays that are not a data set
            (shapes, dtypes, labels out of range, pixels that are not finite, an empty class,
            a single class).
        FileError: an unreadable, truncated or pickled file; a set that is missing while
            there is no network to fetch it.
        ImportError: an extra is missing; the message names it.

    Example:
        >>> load_dataset("digits", validation_examples=180)
        digits · 8×8×1 · 10 classes · 1,257 train / 180 validation / 360 test
    """
    name = _as_text(name)
    _check_size(image_size)
    source, arrays, note, one_scale = _read(name, data_dir, image_size)
    return make_dataset(name, source, arrays, validation_examples, note=note, one_scale=one_scale)


def _read(
    name: str, data_dir: Path | str | None, image_size: int | None
) -> tuple[str, dict[str, np.ndarray], str, bool]:
    """Returns a set's source, its arrays, a note, and whether one rule made all images."""
    kind, _, path = name.partition(":")
    if image_size is not None and kind in ("npz", "digits"):
        raise UsageError(f"image_size is for pictures in folders and of TFDS; {kind} has one size.")
    if kind in _PATHS:
        path = _path_of(name)
        arrays, note = part.read_arrays(path) if kind == "npz" else read_folder(path, image_size)
    elif name == "digits":
        arrays, note = files.read_npz(Path(__file__).with_name("digits.npz"), ARRAYS), ""
    else:
        _check_name(name)
        data_dir = None if data_dir is None else files.expand(data_dir)
        arrays, note = tfds.read_tfds(name, data_dir=data_dir, image_size=image_size)
    # Pictures, and parts, which have a note, were made by one rule for training and test images.
    one_scale = kind == "folder" or bool(kind == "npz" and note) or kind not in (*_PATHS, "digits")
    return path if kind in _PATHS else name, arrays, note, one_scale


def _path_of(name: str) -> str:
    """Returns the path that follows ``npz:`` or ``folder:``."""
    kind, _, path = name.partition(":")
    if not path:
        raise UsageError(f"a path must follow {kind}: as in {kind}:PATH; got {name!r}.")
    return str(files.expand(path))


def _as_text(name: Any) -> str:
    if isinstance(name, (str, os.PathLike)):
        return os.fspath(name)
    raise UsageError(f"a data set is given by its name, as text ({_FORMS}); got {name!r}.")


def _check_size(image_size: Any) -> None:
    if image_size is None:
        return
    whole = isinstance(image_size, numbers.Integral) and not isinstance(image_size, bool)
    if not (whole and 0 < image_size <= _LARGEST_SIDE):
        raise UsageError(
            f"image_size is a whole number of pixels from 1 to {_LARGEST_SIDE}; got {image_size!r}."
        )


def describe_dataset(name: str) -> DatasetFacts | None:
    """Returns the facts of a set of `kipax.data.known`, else None; reads nothing.

    Example:
        >>> describe_dataset("cifar100").image_shape
        (32, 32, 3)
    """
    return KNOWN.get(name)


def _check_name(name: str) -> None:
    """Raises a `UsageError` for a name unknown to kipax and to TensorFlow Datasets."""
    if name in KNOWN or tfds.is_registered(name):
        return
    for kind, there in (("npz", os.path.isfile(name)), ("folder", os.path.isdir(name))):
        if there:
            raise UsageError(f"unknown dataset {name!r}; did you mean {kind}:{name}?")
    missing = "" if tfds.is_installed() else " (these need pip install 'kipax[data]')"
    check_choice("dataset", name, KNOWN, also=_FORMS + missing)
