"""Image classification sets as arrays: the embedded digits and a user's own npz."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kipax import files
from kipax.errors import UsageError, check_choice

__all__ = ["Dataset", "balanced_order", "image_hashes", "load_dataset", "names"]

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Raw images and classes; training, validation and test parts are disjoint.

    Attributes:
        name: what it was loaded as.
        x_train: images ``(n, H, W, C)``, uint8 or float32, unprocessed.
        y_train: classes ``(n,)`` int64, from 0.
        x_validation, y_validation: held out of the training images; may be empty.
        x_test, y_test: for reporting, never for choosing.
        class_names: one for each class.
        training_hash: sha256 over the sorted hashes of training and validation images with
            their labels: independent of the order and of what is held out.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_validation: np.ndarray
    y_validation: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    training_hash: str

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return tuple(self.x_train.shape[1:])

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        *,
        name: str = "arrays",
        class_names: Sequence[str] | None = None,
        validation_examples: int = 0,
    ) -> Dataset:
        """A data set from ``x_train y_train x_test y_test``; rules as in `load_dataset`."""
        named = dict(arrays)
        if class_names is not None:
            named["label_names"] = np.array(list(class_names))
        missing = [key for key in _ARRAYS if key not in named]
        if missing:
            raise UsageError(f"a data set needs {', '.join(_ARRAYS)}; missing: {missing}.")
        return _make_dataset(name, name, named, validation_examples)

    def __repr__(self) -> str:
        height, width, channels = self.image_shape
        return (
            f"{self.name} · {height}×{width}×{channels} · {self.num_classes} classes · "
            f"{len(self.x_train):,} train / {len(self.x_validation):,} validation / "
            f"{len(self.x_test):,} test"
        )


def image_hashes(x: np.ndarray) -> np.ndarray:
    """sha256 of each image's bytes (C order), as an array of 32-byte strings.

    Example:
        >>> image_hashes(np.zeros((2, 1, 1, 1), np.uint8)).shape
        (2,)
    """
    x = np.ascontiguousarray(x)
    return np.array([hashlib.sha256(image.tobytes()).digest() for image in x], dtype="V32")


def balanced_order(ranking: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """An order of all images whose every prefix is as class-balanced as the set allows.

    Within a class, images come by ascending `ranking`; classes take turns.

    Example:
        >>> balanced_order(np.array([3, 1, 2, 0]), np.array([0, 0, 0, 1])).tolist()
        [1, 3, 2, 0]
    """
    if ranking.dtype.kind == "V":  # bytes compare as numbers, most significant first
        ranking = np.array([r.tobytes() for r in ranking], dtype=object)
    within = np.lexsort((np.argsort(np.argsort(ranking, kind="stable")), classes))
    turn = np.empty(len(classes), np.int64)
    sorted_classes = np.asarray(classes)[within]
    starts = np.searchsorted(sorted_classes, sorted_classes)
    turn[within] = np.arange(len(classes)) - starts
    return np.lexsort((classes, turn))


def _training_hash(hashes: np.ndarray, classes: np.ndarray) -> str:
    lines = sorted(f"{h.tobytes().hex()} {c}" for h, c in zip(hashes, classes, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def names() -> tuple[str, ...]:
    """Names of the data sets that need no path."""
    return tuple(_NAMED)


def load_dataset(name: str, *, validation_examples: int = 0) -> Dataset:
    """Loads a data set by name.

    * ``digits``: 1,797 real 8 x 8 digits that come with the package.
    * ``npz:PATH``: ``x_train y_train x_test y_test`` and, optionally, ``label_names``; images
      ``(n, H, W)`` or ``(n, H, W, C)``, labels integers from 0.

    Args:
        name: as above.
        validation_examples: training images to hold out, class-balanced, chosen by content
            (smallest sha256 of the pixels within each class), whatever their order.

    Raises:
        UsageError: unknown name; too many validation examples; arrays that are no data set
            (shapes, dtypes, labels out of range, pixels that are not finite, an empty class).
        FileError: an unreadable, truncated or pickled file.

    Example:
        >>> load_dataset("digits", validation_examples=180)
        digits · 8×8×1 · 10 classes · 1,257 train / 180 validation / 360 test
    """
    kind, colon, path = name.partition(":")
    if colon and kind == "npz":
        arrays, source = files.read_npz(path, _ARRAYS, optional=["label_names"]), path
    else:
        check_choice("dataset", name, names(), also="npz:PATH")
        arrays, source = _NAMED[name](), name
    return _make_dataset(name, source, arrays, validation_examples)


def _read_digits() -> dict[str, np.ndarray]:
    return files.read_npz(Path(__file__).with_name("digits.npz"), _ARRAYS)


_NAMED = {"digits": _read_digits}


def _make_dataset(name: str, source: str, arrays: dict, validation_examples: int) -> Dataset:
    x_train, x_test = (_check_images(source, key, arrays[key]) for key in ("x_train", "x_test"))
    if x_train.shape[1:] != x_test.shape[1:]:
        raise UsageError(
            f"{source}: training and test images must have one shape; got {x_train.shape[1:]} "
            f"and {x_test.shape[1:]}."
        )
    y_train = _check_labels(source, "y_train", arrays["y_train"], len(x_train))
    y_test = _check_labels(source, "y_test", arrays["y_test"], len(x_test))
    class_names = _class_names(source, arrays.get("label_names"), y_train)
    empty = sorted(set(range(len(class_names))) - set(y_train.tolist()))
    if empty:
        raise UsageError(
            f"{source}: every class needs a training image; there is none of {empty[:5]}: "
            "number the classes from 0 without gaps."
        )
    for key, labels in (("y_train", y_train), ("y_test", y_test)):
        if labels.max(initial=0) >= len(class_names):
            raise UsageError(
                f"{source}: labels run from 0 to {len(class_names) - 1}; {key} holds "
                f"{labels.max()}."
            )
    return _hold_out(name, (x_train, y_train, x_test, y_test), class_names, validation_examples)


def _hold_out(name: str, arrays, class_names, validation_examples: int) -> Dataset:
    x_train, y_train, x_test, y_test = arrays
    spare = len(x_train) - len(class_names)
    if not 0 <= validation_examples <= spare:
        raise UsageError(
            f"validation_examples must lie between 0 and {spare}, so that every class keeps a "
            f"training image; got {validation_examples}."
        )
    hashes = image_hashes(x_train)
    order = balanced_order(hashes, y_train)
    held, kept = np.sort(order[:validation_examples]), np.sort(order[validation_examples:])
    return Dataset(
        name=name,
        x_train=x_train[kept],
        y_train=y_train[kept],
        x_validation=x_train[held],
        y_validation=y_train[held],
        x_test=x_test,
        y_test=y_test,
        class_names=class_names,
        training_hash=_training_hash(hashes, y_train),
    )


def _check_images(source: str, key: str, x: np.ndarray) -> np.ndarray:
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4 or 0 in x.shape:
        raise UsageError(
            f"{source}: {key} must hold images (n, height, width[, channels]); got {x.shape}."
        )
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind not in "fiu":
        raise UsageError(f"{source}: {key} must hold numbers, best uint8; got {x.dtype}.")
    x = x.astype(np.float32)
    if not np.all(np.isfinite(x)):
        bad = int(np.sum(~np.isfinite(x).all(axis=(1, 2, 3))))
        raise UsageError(f"{source}: {bad} images of {key} hold NaN or infinite pixels.")
    return x


def _check_labels(source: str, key: str, y: np.ndarray, images: int) -> np.ndarray:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (images,):
        raise UsageError(
            f"{source}: {key} must hold one class for each of the {images} images; got the "
            f"shape {y.shape}."
        )
    if y.dtype.kind not in "iu":
        raise UsageError(f"{source}: {key} must hold integers from 0; got {y.dtype}.")
    if y.min(initial=0) < 0:
        raise UsageError(f"{source}: {key} must hold integers from 0; got {y.min()}.")
    return y.astype(np.int64)


def _class_names(source: str, given: np.ndarray | None, y_train: np.ndarray) -> tuple[str, ...]:
    if given is None:
        return tuple(str(i) for i in range(int(y_train.max()) + 1))
    if given.ndim != 1 or given.dtype.kind not in "US":
        raise UsageError(f"{source}: label_names must be a list of strings; got {given.dtype}.")
    return tuple(str(n, "utf8") if isinstance(n, bytes) else str(n) for n in given)
