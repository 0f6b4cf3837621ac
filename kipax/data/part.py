"""A part of a data set as one small file: chosen by content, compressed without loss.

Deflate reduces photographs only to nine tenths, since neighbouring pixels are similar but seldom
equal. Each pixel is therefore predicted from its neighbours, and only the errors, which are small
numbers, are stored, compressed by LZMA::

    planes    green, red - green, blue - green (three channels); each channel as it is (others)
    predicted by the median of west, north and west + north - northwest; a first row by its
              west, a first column by its north, the first pixel as 0
    kept      (pixel - predicted) modulo 256, from -128 to 127, as 0, -1, 1, -2, ... -> 0, 1, 2, 3

The pixels of a CIFAR-10 image take 1.6 kB instead of 3.1.

Source: the predictor is LOCO-I's (Weinberger, Seroussi, Sapiro 2000), without its contexts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files
from kipax.data.content import balanced_order, image_hashes
from kipax.data.datasets import ARRAYS, Dataset, make_dataset
from kipax.data.known import short_name
from kipax.errors import FileError, UsageError

__all__ = ["decode", "encode", "read_arrays", "take_part", "write_part"]

_FORMAT = 1
_MEMBERS = ("part", "x_train_errors", "y_train", "x_test_errors", "y_test", "label_names")
_IMAGES_AT_ONCE = 5000  # bounds the memory of 16-bit copies


def encode(x: np.ndarray) -> np.ndarray:
    """Returns the prediction errors of images, from which `decode` restores them exactly.

    Args:
        x: uint8 ``(n, H, W, C)``.

    Returns:
        uint8 ``(C, n, H, W)``.

    Example:
        >>> encode(np.full((1, 2, 2, 1), 7, np.uint8)).ravel().tolist()
        [14, 0, 0, 0]
    """
    out = np.empty((x.shape[3], *x.shape[:3]), np.uint8)
    for start in range(0, len(x), _IMAGES_AT_ONCE):
        span = slice(start, start + _IMAGES_AT_ONCE)
        y = np.moveaxis(x[span], 3, 0).astype(np.int16)
        y[_others(y)] -= y[_base(y)][:1]
        errors = y.copy()
        errors[..., 0, 1:] -= y[..., 0, :-1]
        errors[..., 1:, 0] -= y[..., :-1, 0]
        errors[..., 1:, 1:] -= _median(y[..., 1:, :-1], y[..., :-1, 1:], y[..., :-1, :-1])
        errors = ((errors + 128) & 255) - 128
        out[:, span] = (errors << 1) ^ (errors >> 15)
    return out


def decode(errors: np.ndarray) -> np.ndarray:
    """Returns the images of `encode`'s result, uint8 ``(n, H, W, C)``.

    Cost: a few array operations per pixel position; six seconds for 30,000 images of 32 x 32 x 3.
    """
    channels, count, height, width = errors.shape
    out = np.empty((count, height, width, channels), np.uint8)
    for start in range(0, count, _IMAGES_AT_ONCE):
        span = slice(start, start + _IMAGES_AT_ONCE)
        # Rows and columns first, so that the values of a position lie side by side for all images.
        kept = np.ascontiguousarray(np.moveaxis(errors[:, span].astype(np.int16), (2, 3), (0, 1)))
        kept = (kept >> 1) ^ -(kept & 1)
        y = np.zeros_like(kept)
        base, others = _base(errors), _others(errors)
        for i, j in np.ndindex(height, width):
            if i and j:
                predicted = _median(y[i, j - 1], y[i - 1, j], y[i - 1, j - 1])
            else:
                predicted = y[i, j - 1] if j else y[i - 1, j] if i else np.zeros_like(y[0, 0])
            value = kept[i, j] + predicted
            pixel = value[base] & 255
            value[others] = ((value[others] + pixel[:1]) & 255) - pixel[:1]
            value[base] = pixel
            y[i, j] = value
        y[:, :, others] += y[:, :, base][:, :, :1]
        out[span] = np.moveaxis(y, (2, 3), (3, 0))
    return out


def _base(y: np.ndarray) -> slice:
    """Returns the channels that are kept as they are: green for colour images, else all."""
    return slice(1, 2) if len(y) == 3 else slice(0, len(y))


def _others(y: np.ndarray) -> list[int]:
    """Returns the channels from which the first channel of `_base` is subtracted."""
    return [0, 2] if len(y) == 3 else []


def _median(west: np.ndarray, north: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Returns the median of west, north and west + north - corner."""
    low, high = np.minimum(west, north), np.maximum(west, north)
    return np.clip(west + north - corner, low, high)


def take_part(data: Dataset, examples: int, test_examples: int | None = None) -> Dataset:
    """Returns a class-balanced part of a data set, chosen by content, in the stored order.

    Args:
        data: the whole data set; held-out images count as training images.
        examples: number of training images, those of the smallest sha256 of the pixels in each
            class.
        test_examples: number of test images, chosen in the same way; None for all.

    Raises:
        UsageError: fewer than one image of each class, or more than there are.

    Example:
        >>> take_part(kipax.load_dataset("digits"), 100, 50)
        digits · 8×8×1 · 10 classes · 100 train / 0 validation / 50 test
    """
    whole = data.hold_out(0)
    if not data.num_classes <= examples <= len(whole.x_train):
        raise UsageError(
            f"examples must lie between {data.num_classes}, one of each class, and the "
            f"{len(whole.x_train)} training images; got {examples}."
        )
    if test_examples is not None and not 0 < test_examples <= len(whole.x_test):
        raise UsageError(
            f"test_examples must lie between 1 and the {len(whole.x_test)} test images; got "
            f"{test_examples}."
        )
    order = balanced_order(image_hashes(whole.x_train), whole.y_train)
    chosen = np.sort(order[:examples])
    x_test, y_test = whole.test_part(test_examples)
    arrays = {"x_train": whole.x_train[chosen], "y_train": whole.y_train[chosen]}
    arrays |= {"x_test": x_test, "y_test": y_test}
    arrays |= {"label_names": np.array(data.class_names)}
    note = data.reader_note
    return make_dataset(data.name, data.name, arrays, 0, note=note, one_scale=True)


def write_part(path: Path | str, part: Dataset, whole: Dataset) -> None:
    """Writes a part as a file for `read_arrays`; equal parts give equal bytes.

    Raises:
        UsageError: the images are not uint8.
        FileError: it could not be written.
    """
    for x in (part.x_train, part.x_test):
        if x.dtype != np.uint8:
            raise UsageError(
                f"a part holds uint8 images; those of {part.name} are {x.dtype}: "
                "a part of such a set is no smaller than its npz."
            )
    facts = {
        "format": _FORMAT,
        "of": short_name(whole.name),
        "train": len(whole.x_train) + len(whole.x_validation),
        "test": len(whole.x_test),
    }
    arrays = {
        "part": np.array(json.dumps(facts)),
        "x_train_errors": encode(part.x_train),
        "y_train": part.y_train,
        "x_test_errors": encode(part.x_test),
        "y_test": part.y_test,
        "label_names": np.array(part.class_names),
    }
    files.write_npz(path, arrays, lzma=True)


def read_arrays(path: Path | str) -> tuple[dict[str, np.ndarray], str]:
    """Returns the arrays of a data set's npz, plain or of a part, and a note on them.

    Raises:
        FileError: as `kipax.files.read_npz`, or the part is damaged.
    """
    if "part" not in files.read_npz(path, optional=["part"]):
        return files.read_npz(path, ARRAYS, optional=["label_names"]), ""
    held = files.read_npz(path, _MEMBERS)
    facts = _read_facts(path, held)
    arrays = {name: held[name] for name in ("y_train", "y_test", "label_names")}
    for name in ("x_train", "x_test"):
        errors = held[f"{name}_errors"]
        if errors.ndim != 4 or errors.dtype != np.uint8 or 0 in errors.shape:
            raise FileError(f"{path} is damaged: its {name} are no images.")
        arrays[name] = decode(errors)
    train, test = len(arrays["x_train"]), len(arrays["x_test"])
    note = (
        f"a part of {facts['of']}, class-balanced, chosen by content: {train:,} of its "
        f"{facts['train']:,} training and {test:,} of its {facts['test']:,} test images"
    )
    return arrays, note


def _read_facts(path: Path | str, held: Mapping[str, np.ndarray]) -> dict[str, Any]:
    try:
        facts = json.loads(str(held["part"][()]))
        version = int(facts["format"])
        told = {"of": str(facts["of"]), "train": int(facts["train"]), "test": int(facts["test"])}
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise FileError(f"{path} is damaged: its note on the part says {error!r}.") from error
    if version != _FORMAT:
        raise FileError(f"{path} has format {version} of a part; this kipax reads {_FORMAT}.")
    return told
