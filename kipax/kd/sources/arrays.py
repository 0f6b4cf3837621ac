"""Sources of existing images: of a data set, or of a distilled set."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kipax.data import Dataset, balanced_batch
from kipax.data.known import KNOWN, short_name
from kipax.errors import UsageError
from kipax.kd.selection import pseudo_balance
from kipax.kd.sources.base import ImageSpace, luma
from kipax.support import SupportSet

__all__ = ["Images", "Part", "from_dataset", "from_support"]

_NAMED = 5  # unknown classes that a sentence names


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """A source of existing images.

    Attributes:
        name: its name on a command line.
        raw: images in the teacher's units, float32 or uint8 ``(n, H, W, C)``.
        words: where they come from and how they were made to fit.
        origins: a number for each image ``(n,)``, the same for copies; None without copies.
        labels: the teacher's class of each image ``(n,)``, -1 for none; None without labels.
        unfitted: the images before they were made to fit the teacher; None for the training
            images of its own data set, and for distilled images.
    """

    name: str
    raw: np.ndarray
    words: str
    origins: np.ndarray | None = None
    labels: np.ndarray | None = None
    unfitted: np.ndarray | None = None

    @property
    def size(self) -> int:
        """The number of images."""
        return len(self.raw)

    def images(self, index: np.ndarray, *, seed: int) -> np.ndarray:
        """Returns the images with these indices; the seed has no effect, as nothing is drawn."""
        return np.asarray(self.raw[index], np.float32)

    def classes(self, index: np.ndarray) -> np.ndarray | None:
        """Returns the labels of the images; see `kipax.kd.sources.base.classes_of`."""
        return None if self.labels is None else self.labels[index]

    def describe(self) -> str:
        """Describes where the images come from and how they were made to fit the teacher."""
        return self.words


class Part(NamedTuple):
    """A part of a data set.

    Attributes:
        size: number of images, equally many of each class.
        imbalance: more than 1 gives it a long tail, see `kipax.kd.selection.class_sizes`.
        seed: seed of the choice.
    """

    size: int
    imbalance: float = 1.0
    seed: int = 0


def from_dataset(
    name: str,
    dataset: Dataset,
    space: ImageSpace,
    *,
    own: bool,
    part: Part | None = None,
    span: tuple[float, float] | None = None,
    class_names: Sequence[str] = (),
) -> Images:
    """Makes a source of a data set's training images, resized and converted if needed.

    Args:
        name: its name on a command line.
        dataset: the data set; its labels choose a balanced part, and are those of the images.
        space: the images that the teacher takes.
        own: whether the teacher was trained on it, so that its pixels are in the teacher's units;
            otherwise they are spread from their range to the teacher's.
        part: which part of the images; None for all.
        span: the range of its pixels; None for that of its training images.
        class_names: the teacher's classes; images of a class of the same name have its label.

    Raises:
        UsageError: the part is larger than the set, or not a multiple of the classes.
    """
    x, words = dataset.x_train, f"{len(dataset.x_train):,} training images of {dataset.name}"
    labels = _labels(dataset, class_names, own=own)
    origins = None
    if part is not None:
        chosen = np.sort(_choose(name, dataset, part))
        kind = "balanced" if part.imbalance == 1 else f"a long tail of {part.imbalance:g} to 1"
        different = len(np.unique(chosen))
        repeated = "" if different == part.size else f" ({different:,} different ones)"
        x, words, origins = x[chosen], f"{part.size:,}{repeated} of the {words}, {kind}", chosen
        labels = None if labels is None else labels[chosen]
    unfitted = None if own else x
    if not own:
        low, high = span or (dataset.pixels.low, dataset.pixels.high)
        words += _changes(x.shape[1:], space)
        x = _fit(x, low, high, space)
        if labels is not None:
            words += f", {np.count_nonzero(labels >= 0):,} of them with a class of the teacher's"
            words += _unknown(dataset.class_names, class_names)
    return Images(name, x, words, origins, labels, unfitted)


def _labels(dataset: Dataset, class_names: Sequence[str], *, own: bool) -> np.ndarray | None:
    """Returns the label of each training image: the teacher's class of the same name, or -1.

    Another data set whose classes are named by plain numbers has no labels, unless it is one of
    the known sets of digits: such names are what a file without names gets.
    """
    numbers = tuple(str(c) for c in range(dataset.num_classes))
    facts = KNOWN.get(short_name(dataset.name))
    of_digits = facts is not None and facts.class_names == numbers
    if not own and dataset.class_names == numbers and not of_digits:
        return None
    number = {name: place for place, name in enumerate(class_names)}
    known = np.array([number.get(name, -1) for name in dataset.class_names])
    return known[np.asarray(dataset.y_train, int)] if np.any(known >= 0) else None


def _unknown(names: Sequence[str], class_names: Sequence[str]) -> str:
    """Lists up to five of a data set's classes that the teacher lacks; "" if it lacks none."""
    unknown = [name for name in names if name not in class_names]
    more = ", ..." if len(unknown) > _NAMED else ""
    return f" (not {', '.join(unknown[:_NAMED])}{more})" if unknown else ""


def _choose(name: str, dataset: Dataset, part: Part) -> np.ndarray:
    """Chooses the training images of a part; returns indices, which repeat if a class is short."""
    size, imbalance, seed = part
    if size > len(dataset.x_train):
        raise UsageError(
            f"{name} has {len(dataset.x_train):,} training images; got a part of {size:,}."
        )
    if imbalance != 1:
        return pseudo_balance(
            dataset.y_train,
            size,
            num_classes=dataset.num_classes,
            seed=seed,
            imbalance=imbalance,
        )
    if size % dataset.num_classes:
        raise UsageError(
            f"a balanced part is a multiple of the {dataset.num_classes} classes; got {size}."
        )
    return np.asarray(balanced_batch(jax.random.key(seed), dataset.y_train, size))


def from_support(name: str, support: SupportSet, space: ImageSpace) -> Images:
    """Makes a source of a distilled set's images, with whitening undone and not clipped.

    Sources made of others (`blend`, `concat`, `join`, `matched`) clip them to the teacher's range.

    Args:
        name: its name on a command line.
        support: the set.
        space: the images that the teacher takes.
    """
    raw = support.preprocessor.invert(support.images, support.statistics)
    low, high = support.preprocessor.low, support.preprocessor.high
    words = f"{len(support)} distilled images, {support.preprocessor.name} preprocessing undone"
    words += ", not clipped" + _changes(raw.shape[1:], space)
    return Images(name, _fit(raw, low, high, space), words)


def _fit(x: np.ndarray, low: float, high: float, space: ImageSpace) -> np.ndarray:
    """Returns the images in a teacher's size, channels and units."""
    height, width, channels = space.shape
    made = _with_channels(np.asarray(x, np.float32), channels, high)
    if made.shape[1:3] != (height, width):
        shape = (len(made), height, width, channels)
        made = np.asarray(jax.image.resize(jnp.asarray(made), shape, "linear"))
    return space.low + (made - low) * ((space.high - space.low) / max(high - low, 1e-12))


def _with_channels(x: np.ndarray, channels: int, high: float) -> np.ndarray:
    """Converts images to a number of channels.

    Args:
        x: images ``(n, H, W, C)``.
        channels: number of channels of the result.
        high: pixel value of full opacity, for a new fourth channel.

    Raises:
        UsageError: there is no usual conversion between these numbers of channels.
    """
    own = x.shape[-1]
    if own == channels:
        return x
    if own in (3, 4) and channels == 1:
        return luma(x[..., :3])
    if own == 4 and channels == 3:
        return x[..., :3]
    if own == 3 and channels == 4:
        return np.concatenate([x, np.full_like(x[..., :1], high)], axis=-1)
    if own == 1 and channels == 4:
        return _with_channels(np.repeat(x, 3, axis=-1), 4, high)
    if own == 1:
        return np.repeat(x, channels, axis=-1)
    raise UsageError(f"images of {own} channels do not become images of {channels}.")


def _changes(shape: tuple[int, ...], space: ImageSpace) -> str:
    words = f", spread over the teacher's {space.low:g} to {space.high:g}"
    if tuple(shape[:2]) != space.shape[:2]:
        words += f", resized from {shape[0]} x {shape[1]}"
    if shape[2] != space.shape[2]:
        words += {
            (1, 3): ", its one channel repeated",
            (1, 4): ", its one channel repeated, with an opaque fourth",
            (3, 4): ", with an opaque fourth channel",
            (4, 3): ", its fourth channel left out",
        }.get((shape[2], space.shape[2]), ", in grey")
    return words
