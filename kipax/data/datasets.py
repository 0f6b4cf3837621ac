"""`Dataset`: raw images and classes, checked once, split by content."""

from __future__ import annotations

import dataclasses
import functools
import numbers
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from kipax.data.content import balanced_order, image_hashes, images_hash, training_hash
from kipax.data.known import DatasetFacts
from kipax.errors import UsageError
from kipax.pixels import PixelFacts, as_array, as_images

__all__ = [
    "ARRAYS",
    "Dataset",
    "check_dataset",
    "make_dataset",
]

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Raw images and classes; no validation image is a training image.

    Attributes:
        name: the name by which it was loaded.
        x_train: images ``(n, H, W, C)``, uint8 or float32, unprocessed.
        y_train: classes ``(n,)`` int64, from 0.
        x_validation, y_validation: held out of the training images; may be empty.
        x_test, y_test: for reporting, never for choosing.
        class_names: one for each class.
        training_hash: sha256 over the sorted hashes of training and validation images with
            their labels: independent of the order and of what is held out.
        note: what a reader changed or found in the images, in words; empty for nothing.
        images_hash: as `training_hash`, without the labels; empty where it was not computed.
        reader_note: the part of `note` that a reader wrote.
        one_scale: whether a reader made both parts by one rule, so that their units agree.
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
    note: str = ""
    images_hash: str = ""
    reader_note: str = ""
    one_scale: bool = False

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return tuple(self.x_train.shape[1:])

    @property
    def facts(self) -> DatasetFacts:
        """Shape, classes and sizes; held-out images count as training images."""
        train = len(self.x_train) + len(self.x_validation)
        return DatasetFacts(self.image_shape, self.class_names, train, len(self.x_test))

    @functools.cached_property
    def pixels(self) -> PixelFacts:
        """The `PixelFacts` of the training images, without moments."""
        return PixelFacts.of(self.x_train, self.y_train)

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        *,
        name: str = "arrays",
        class_names: Sequence[str] | None = None,
        validation_examples: int = 0,
    ) -> Dataset:
        """Returns a data set from ``x_train y_train x_test y_test``; rules as in `load_dataset`."""
        if not isinstance(arrays, Mapping):
            raise UsageError(
                f"a data set is made from a dictionary of {', '.join(ARRAYS)}; got a "
                f"{type(arrays).__name__}."
            )
        named = {str(key): as_array(a, f"{name}: {key}") for key, a in arrays.items()}
        if class_names is not None:
            if "label_names" in named:
                raise UsageError(f"{name}: give class_names or label_names, not both.")
            if isinstance(class_names, (str, Mapping, Set)) or not isinstance(
                class_names, Iterable
            ):
                raise UsageError(
                    f"class_names is a list, in the order of the classes; got {class_names!r}."
                )
            named["label_names"] = as_array(list(class_names), f"{name}: class_names")
        missing = [key for key in ARRAYS if key not in named]
        if missing:
            raise UsageError(f"a data set needs {', '.join(ARRAYS)}; missing: {missing}.")
        return make_dataset(name, name, named, validation_examples)

    def test_part(self, examples: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns a fixed class-balanced part of the test images, by content; None for all."""
        if examples is not None and not (isinstance(examples, numbers.Integral) and examples > 0):
            raise UsageError(f"a part has a whole number of test images from 1; got {examples!r}.")
        if examples is None or examples >= len(self.x_test):
            return self.x_test, self.y_test
        order = balanced_order(image_hashes(self.x_test), self.y_test)
        chosen = np.sort(order[:examples])
        return self.x_test[chosen], self.y_test[chosen]

    def check_held_out(self, validation_examples: int | None) -> None:
        """Raises a `UsageError` if a config asks for another number of validation images."""
        held = len(self.x_validation)
        if validation_examples not in (None, held):
            raise UsageError(
                f"the data set given holds out {held} validation images; the config says "
                f"{validation_examples}: use dataset.hold_out({validation_examples})."
            )

    def hold_out(self, validation_examples: int) -> Dataset:
        """Returns the same images with another number held out of training, by content.

        Images that return to training come after the others: load the set again where the
        stored order matters.

        Raises:
            UsageError: `validation_examples` images cannot be held out.
        """
        if validation_examples == len(self.x_validation):
            return self
        x = np.concatenate([self.x_train, self.x_validation])
        y = np.concatenate([self.y_train, self.y_validation])
        arrays = x, y, self.x_test, self.y_test
        names, hashes = self.class_names, image_hashes(x)
        data = _hold_out(self.name, arrays, names, validation_examples, hashes)
        kept = {k: getattr(self, k) for k in ("note", "reader_note", "one_scale")}
        return dataclasses.replace(data, **kept)

    def without_duplicates(self) -> Dataset:
        """Returns the set without the training and validation images that are test images too.

        The test part stays whole, so that accuracies remain comparable with published ones.

        Raises:
            UsageError: a class would be left without a training image.
        """
        tested = set(image_hashes(self.x_test).tolist())
        x, y, held = self.x_train, self.y_train, len(self.x_validation)
        x, y = np.concatenate([x, self.x_validation]), np.concatenate([y, self.y_validation])
        hashes = image_hashes(x).tolist()
        kept = np.array([h not in tested for h in hashes])
        lost = [n for i, n in enumerate(self.class_names) if not np.any(y[kept] == i)]
        if lost:
            raise UsageError(
                f"every class needs a training image; all of {', '.join(lost)} are test images too."
            )
        arrays = {"x_train": x[kept], "y_train": y[kept], "x_test": self.x_test}
        arrays |= {"y_test": self.y_test, "label_names": np.array(self.class_names)}
        held -= int(np.count_nonzero(~kept[len(self.x_train) :]))
        held = min(held, int(np.count_nonzero(kept)) - self.num_classes)
        note, one_scale = self.reader_note, self.one_scale
        return make_dataset(self.name, self.name, arrays, held, note=note, one_scale=one_scale)

    def __repr__(self) -> str:
        height, width, channels = self.image_shape
        return (
            f"{self.name} · {height}×{width}×{channels} · {self.num_classes} classes · "
            f"{len(self.x_train):,} train / {len(self.x_validation):,} validation / "
            f"{len(self.x_test):,} test"
        )


def check_dataset(given: Any) -> None:
    """Raises a `UsageError` unless an argument ``dataset=`` is a `Dataset` or None."""
    if given is not None and not isinstance(given, Dataset):
        raise UsageError(
            "dataset= is a kipax.Dataset, from load_dataset or Dataset.from_arrays; got a "
            f"{type(given).__name__}."
        )


def make_dataset(
    name: str,
    source: str,
    arrays: Mapping[str, np.ndarray],
    validation_examples: int,
    *,
    note: str = "",
    one_scale: bool = False,
) -> Dataset:
    """Returns a `Dataset` of checked arrays.

    Args:
        name: the name by which it is loaded.
        source: its name in messages.
        arrays: ``x_train y_train x_test y_test`` and, optionally, ``label_names``.
        validation_examples: number of training images to hold out.
        note: beginning of the set's note.
        one_scale: whether a reader made both parts by one rule, so that their units agree.

    Raises:
        UsageError: the arrays are not a data set, see `load_dataset`.
    """
    x_train, x_test = (_check_images(source, key, arrays[key]) for key in ("x_train", "x_test"))
    if x_train.shape[1:] != x_test.shape[1:]:
        raise UsageError(
            f"{source}: training and test images must have one shape; got {x_train.shape[1:]} "
            f"and {x_test.shape[1:]}."
        )
    y_train = _check_labels(source, "y_train", arrays["y_train"], x_train)
    y_test = _check_labels(source, "y_test", arrays["y_test"], x_test)
    class_names = _class_names(source, arrays.get("label_names"), len(np.unique(y_train)))
    _check_classes(source, class_names, y_train, y_test)
    hashes = image_hashes(x_train)
    parts = x_train, y_train, np.array(x_test), y_test  # a copy: the caller may change theirs
    data = _hold_out(name, parts, class_names, validation_examples, hashes)
    if not one_scale:
        _check_scale(source, arrays, data)
    repeated = _describe_repetitions(hashes, y_train, image_hashes(x_test))
    words = "; ".join(filter(None, [note, *repeated]))
    return dataclasses.replace(data, note=words, reader_note=note, one_scale=one_scale)


def _check_classes(
    source: str, names: Sequence[str], y_train: np.ndarray, y_test: np.ndarray
) -> None:
    if len(names) < 2:
        raise UsageError(f"{source}: a data set needs at least two classes; got one.")
    empty = np.setdiff1d(np.arange(len(names)), y_train).tolist()
    if empty:
        raise UsageError(
            f"{source}: every class needs a training image; there is none of {empty[:5]}: "
            "number the classes from 0 without gaps."
        )
    for key, labels in (("y_train", y_train), ("y_test", y_test)):
        if labels.max(initial=0) >= len(names):
            raise UsageError(
                f"{source}: labels run from 0 to {len(names) - 1}; {key} holds {labels.max()}."
            )


def _check_scale(source: str, arrays: Mapping[str, np.ndarray], data: Dataset) -> None:
    """Raises a `UsageError` for a test part in other units than the training part."""
    train, test = (np.asarray(arrays[key]).dtype for key in ("x_train", "x_test"))
    if (train.kind == "f") != (test.kind == "f"):
        raise UsageError(
            f"{source}: x_train holds {train}, x_test {test}: give both in the same units and as "
            "the same kind of number."
        )
    words = data.pixels.mismatch(data.x_test, "x_test", "x_train")
    if words is not None:
        raise UsageError(f"{source}: {words}: give both in the same units.")


def _describe_repetitions(train: np.ndarray, classes: np.ndarray, test: np.ndarray) -> list[str]:
    """Returns sentences on images that are in both parts or in more than one class."""
    found: dict[bytes, set[int]] = {}
    for digest, label in zip(train.tolist(), classes.tolist(), strict=True):
        found.setdefault(digest, set()).add(label)
    words = []
    both = sum(digest in found for digest in test.tolist())
    if both:
        words.append(
            f"{both:,} of the {len(test):,} test images are training images too "
            "(Dataset.without_duplicates leaves those out of training)"
        )
    torn = sum(len(found[digest]) > 1 for digest in train.tolist())
    if torn:
        words.append(f"{torn:,} training images stand in several classes")
    return words


def _hold_out(
    name: str, arrays, class_names, validation_examples: int, hashes: np.ndarray
) -> Dataset:
    """Splits training images into kept and held-out ones by their hashes."""
    x_train, y_train, x_test, y_test = arrays
    spare = len(x_train) - len(class_names)
    whole = isinstance(validation_examples, numbers.Integral)
    if not (whole and 0 <= validation_examples <= spare):
        raise UsageError(
            f"validation_examples must lie between 0 and {spare}, so that every class keeps a "
            f"training image; got {validation_examples!r}."
        )
    order = balanced_order(hashes, y_train)
    # The last image of each class stays in training, even in a small class.
    last = np.zeros(len(order), bool)
    last[[np.flatnonzero(y_train[order] == c)[-1] for c in range(len(class_names))]] = True
    order = np.concatenate([order[~last], order[last]])
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
        training_hash=training_hash(hashes, y_train),
        images_hash=images_hash(hashes),
    )


def _check_images(source: str, key: str, x: np.ndarray) -> np.ndarray:
    """Returns images as uint8 where they are integers from 0 to 255, else as float32."""
    x = as_images(x, f"the images of {key} in {source}")
    if not len(x):
        raise UsageError(f"{source}: {key} must hold images; it is empty.")
    if x.dtype.kind in "iu" and x.min() >= 0 and x.max() <= 255:
        return x.astype(np.uint8, copy=False)
    return x.astype(np.float32)


def _check_labels(source: str, key: str, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    y = as_array(y, f"{source}: {key}")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (len(x),):
        last = y.ndim == 1 and x.shape[-1] == len(y)
        hint = ": the images' axis must come first, np.moveaxis(x, -1, 0)" if last else ""
        raise UsageError(
            f"{source}: {key} must hold one class for each of the {len(x)} images; got the "
            f"shape {y.shape}{hint}."
        )
    if y.dtype.kind not in "iu":
        raise UsageError(
            f"{source}: {key} must hold integers from 0; got {y.dtype}: np.unique(names, "
            "return_inverse=True) makes them of names."
        )
    if y.min() < 0 or y.max() > np.iinfo(np.int32).max:
        bad = y.min() if y.min() < 0 else y.max()
        raise UsageError(f"{source}: {key} must hold integers from 0; got {bad}.")
    return y.astype(np.int64)


def _class_names(source: str, given: np.ndarray | None, classes: int) -> tuple[str, ...]:
    if given is None:
        return tuple(str(i) for i in range(classes))
    if given.ndim != 1 or given.dtype.kind not in "US":
        raise UsageError(f"{source}: label_names must be a list of strings; got {given.dtype}.")
    try:
        return tuple(n.decode() if isinstance(n, bytes) else str(n) for n in given)
    except UnicodeDecodeError as error:
        raise UsageError(f"{source}: label_names must be text or UTF-8; {error}.") from error
