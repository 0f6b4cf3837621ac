"""Checks images: their layout, their type of number, and the scale of their pixels.

Everything that takes images from a user calls these functions, so that one rule holds for data
sets, support sets, kernels and students.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kipax.errors import UsageError

__all__ = [
    "PixelFacts",
    "as_array",
    "as_images",
    "channel_moments",
    "check_layout",
    "check_preprocessed",
]

_CHANNELS = (1, 3, 4)
_LARGEST = float(np.finfo(np.float32).max)
_ROWS = 1000  # number of images read together

# The limits by which images are on another scale; see `PixelFacts.mismatch`.
_SHARE = 0.9  # share of the images of every class that reach `floor` and `ceiling`
_ENOUGH = 4  # number of images: that all miss what nine in ten reach has probability 1e-4
_ENOUGH_OF_OLD = 20  # number of images, for older sets without `floor` and `ceiling`
_MUCH_NARROWER = 10.0
_REACHED = ("dimmest", "brightest", "floor", "ceiling")
_SCALES = ((0.0, 1.0), (-1.0, 1.0), (-0.5, 0.5), (0.0, 255.0), (0.0, 65535.0))


# -- arrays of images -------------------------------------------------------------------------


def as_array(x: Any, what: str) -> np.ndarray:
    """Returns `x` as a NumPy array in this machine's byte order.

    Args:
        x: an array, or anything that NumPy converts to one.
        what: its name in messages, a plural such as "the images".

    Raises:
        UsageError: the value is ragged, masked, or not an array.

    Example:
        >>> as_array([[1, 2], [3, 4]], "the labels").shape
        (2, 2)
    """
    if np.ma.is_masked(x):
        raise UsageError(f"{what} have masked entries, which have no value: fill them first.")
    if any(_has_palette(image) for image in (x if isinstance(x, (list, tuple)) else [x])):
        raise UsageError(
            f"{what} are pictures with a palette, whose numbers are no brightness: give "
            'picture.convert("RGB").'
        )
    try:
        array = np.asarray(x)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{what} must form one array, all of one shape ({reason}).") from error
    if array.dtype.isnative:
        return array
    return array.astype(array.dtype.newbyteorder("="))


def _has_palette(image: Any) -> bool:
    """Returns whether this is a Pillow picture whose pixels are indices into a palette."""
    return hasattr(image, "getpalette") and getattr(image, "mode", "") in ("P", "PA")


def as_images(x: Any, what: str) -> np.ndarray:
    """Returns `x` as images ``(n, H, W, C)`` of finite numbers; a missing channel axis is added.

    Args:
        x: images ``(n, H, W)`` or ``(n, H, W, C)`` of integers or floating-point numbers.
        what: their name in messages.

    Raises:
        UsageError: another shape or layout, another kind of number, or NaN or infinite pixels.

    Example:
        >>> as_images(np.zeros((2, 8, 8), np.uint8), "the images").shape
        (2, 8, 8, 1)
    """
    array = as_array(x, what)
    if array.dtype.kind not in "fiu":
        raise UsageError(f"{what} must hold numbers, best uint8; got {array.dtype}.")
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or 0 in array.shape[1:]:
        raise UsageError(
            f"{what} must form an array (n, height, width[, channels]); got {np.shape(x)}."
        )
    check_layout(array.shape, what)
    _check_finite(array, what)
    return array


def check_layout(shape: Sequence[int], what: str) -> None:
    """Raises a `UsageError` for the layout ``(n, channels, height, width)``.

    A shape of four numbers with 1, 3 or 4 in the second place and another number in the last
    is taken for that layout, except for vectors ``(n, 1, 1, d)``.

    Example:
        >>> check_layout((5, 3, 32, 32), "the images")
        Traceback (most recent call last):
        kipax.errors.UsageError: the images must have the shape (n, height, width, channels); got \
(5, 3, 32, 32), which looks like (n, channels, height, width): give x.transpose(0, 2, 3, 1).
    """
    vectors = len(shape) == 4 and shape[1] == shape[2] == 1
    if len(shape) == 4 and not vectors and shape[1] in _CHANNELS and shape[3] not in _CHANNELS:
        raise UsageError(
            f"{what} must have the shape (n, height, width, channels); got {tuple(shape)}, which "
            "looks like (n, channels, height, width): give x.transpose(0, 2, 3, 1)."
        )


def check_preprocessed(x: Any, who: str) -> None:
    """Raises a `UsageError` unless `x` is a batch of floating-point images ``(n, H, W, C)``.

    Checks type and shape alone, so that it accepts traced arrays.

    Args:
        x: a NumPy or JAX array.
        who: what takes the images, such as "a kernel".

    Example:
        >>> check_preprocessed(np.zeros((1, 8, 8, 1), np.uint8), "a kernel")
        Traceback (most recent call last):
        kipax.errors.UsageError: a kernel takes preprocessed floating-point images; got uint8: \
apply the preprocessing first.
    """
    if x.dtype.name not in ("float16", "bfloat16") and x.dtype.kind != "f":
        raise UsageError(
            f"{who} takes preprocessed floating-point images; got {x.dtype}: apply the "
            "preprocessing first."
        )
    if x.ndim != 4:
        raise UsageError(f"images have the shape (n, height, width, channels); got {x.shape}.")
    check_layout(x.shape, f"the images that {who} takes")


def _check_finite(x: np.ndarray, what: str) -> None:
    """Checks for finite numbers before any cast, which could hide an infinite float16."""
    if x.dtype.kind != "f":
        return
    bad = 0
    for start in range(0, len(x), _ROWS):
        part = x[start : start + _ROWS]
        if not _is_finite(part):
            bad += sum(not _is_finite(image) for image in part)
    if bad:
        raise UsageError(f"{bad} of {what} hold NaN or infinite pixels, in float32.")


def _is_finite(x: np.ndarray) -> bool:
    with np.errstate(all="ignore"):  # NaN in float16 warns
        return float(x.min()) >= -_LARGEST and float(x.max()) <= _LARGEST


def channel_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation per channel of images and positions, float64 ``(C,)``.

    Cost: two passes over `x`, 1,000 images at a time.
    """
    mean = _stream_mean(x, lambda batch: batch)
    return mean, np.sqrt(_stream_mean(x, lambda batch: (batch - mean) ** 2))


def _stream_mean(x: np.ndarray, f: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Returns the mean of ``f(x)`` per channel, in float64."""
    total = np.zeros(x.shape[-1])
    for start in range(0, len(x), _ROWS):
        total += f(x[start : start + _ROWS].astype(np.float64)).sum(axis=(0, 1, 2))
    return total / (x.size / x.shape[-1])


# -- scales -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class PixelFacts:
    """Facts about the pixels of training images, by which images on another scale are found.

    Attributes:
        dtype: NumPy's name of their type; empty if unknown.
        low, high: the smallest and the largest pixel.
        mean, deviation: per channel; empty where they were not computed (`with_moments`).
        dimmest, brightest: the lowest and the highest average of an image; None if unknown.
        floor: nine in ten images of every class have a pixel that is at most this; None if
            unknown.
        ceiling: nine in ten images of every class have a pixel that is at least this; None if
            unknown.

    Example:
        >>> x = np.array([0, 255], np.uint8).reshape(1, 1, 2, 1)
        >>> PixelFacts.of(x, np.array([0])).with_moments(x).mean
        (127.5,)
    """

    dtype: str
    low: float
    high: float
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    dimmest: float | None = None
    brightest: float | None = None
    floor: float | None = None
    ceiling: float | None = None

    @classmethod
    def of(cls, x: np.ndarray, classes: np.ndarray) -> PixelFacts:
        """Returns the facts of images ``(n, H, W, C)``, at least one, and their classes ``(n,)``.

        Cost: three passes; `mean` and `deviation` are left out.
        """
        flat = x.reshape(len(x), -1)
        lows, highs, averages = flat.min(axis=1), flat.max(axis=1), _averages(flat)
        members = [classes == c for c in np.unique(classes)]
        return cls(
            dtype=x.dtype.name,
            low=float(lows.min()),
            high=float(highs.max()),
            dimmest=float(averages.min()),
            brightest=float(averages.max()),
            floor=float(max(_quantile(lows[m], _SHARE) for m in members)),
            ceiling=float(min(-_quantile(-highs[m].astype(float), _SHARE) for m in members)),
        )

    def with_moments(self, x: np.ndarray) -> PixelFacts:
        """Returns the same facts with `mean` and `deviation` of the images ``(n, H, W, C)``."""
        mean, deviation = (tuple(m.tolist()) for m in channel_moments(x))
        return dataclasses.replace(self, mean=mean, deviation=deviation)

    def to_metadata(self) -> dict[str, Any]:
        """Returns the facts, JSON-ready."""
        return dataclasses.asdict(self) | {
            "mean": list(self.mean),
            "deviation": list(self.deviation),
        }

    @classmethod
    def from_metadata(cls, facts: Mapping[str, Any]) -> PixelFacts:
        """Reads what `to_metadata` wrote; else raises a ValueError, TypeError or KeyError."""
        return cls(
            dtype=str(facts["dtype"]),
            low=float(facts["low"]),
            high=float(facts["high"]),
            mean=tuple(float(v) for v in facts["mean"]),
            deviation=tuple(float(v) for v in facts["deviation"]),
            **{name: _optional(facts.get(name)) for name in _REACHED},
        )

    def mismatch(
        self, x: np.ndarray, what: str = "these images", of: str = "the training images"
    ) -> str | None:
        """Describes a sign that images are on another scale; returns None without one.

        A few images may be dark, bright or all of one class. They are therefore judged together,
        by signs that images on the same scale cannot show:

        * pixels far beyond `low` and `high`: any by three times the range, or, of floating-point
          images, more than one in a hundred by a quarter of it;
        * more than one negative pixel in a hundred where there were none;
        * fractions between 0 and 1 where images reached 10 or more;
        * variation in a channel that was constant;
        * of four or more images that are not blank: a range ten times narrower than that from
          `floor` to `ceiling`; no negative pixel where nine in ten images had one; a range
          that is exactly -1 to 1 or the like, inside that from `floor` to `ceiling`; averages
          that are all darker than `dimmest`, or brighter than `brightest`, by a tenth of the range,
          where those of the images' negatives are not;
        * if these facts are unknown, of twenty or more: a range ten times narrower than all.

        Args:
            x: finite images ``(n, H, W, C)``.
            what: their name in the clause.
            of: the name of the images of these facts in the clause.

        Returns:
            A clause such as "pixels of these images run from 0 to 1, those of the training images
            from 0 to 255", or None.
        """
        if not x.size or not self.low < self.high:
            return None
        low, high = float(x.min()), float(x.max())
        channel = self._revived_channel(x)
        if channel is not None:
            return (
                f"channel {channel} of {what} varies, that of {of} was {self.mean[channel]:g} "
                "throughout"
            )
        if not (self._is_beyond(x, low, high) or self._is_scaled(x, low, high)):
            return self._describe_averages(x, low, high, what, of)
        return (
            f"pixels of {what} run from {low:g} to {high:g}, those of {of} from {self.low:g} to "
            f"{self.high:g}"
        )

    def _is_beyond(self, x: np.ndarray, low: float, high: float) -> bool:
        span = self.high - self.low
        if low < self.low - 3 * span or high > self.high + 3 * span:
            return True
        if self.floor is None:
            return False
        if self.low >= 0 and low < 0 and _share(x < -0.01 * span) > 0.01:
            return True
        lower, upper = self.low - span / 4, self.high + span / 4
        # The training part may not reach the limits of a type of whole numbers.
        whole = self.dtype.startswith(("int", "uint"))
        if whole or (lower <= low and high <= upper):
            return False
        return _share((x < lower) | (x > upper)) > 0.01

    def _revived_channel(self, x: np.ndarray) -> int | None:
        """Returns a channel that varies here and was constant before, such as opacity, or None."""
        for channel, deviation in enumerate(self.deviation):
            if deviation == 0 and channel < x.shape[-1]:
                off = np.abs(x[..., channel].astype(np.float64) - self.mean[channel])
                if _share(off > 0.01 * (self.high - self.low)) > 0.01:
                    return channel
        return None

    def _describe_averages(
        self, x: np.ndarray, low: float, high: float, what: str, of: str
    ) -> str | None:
        """Describes images that are all darker, or all brighter, than every training image."""
        if self.dimmest is None or self.brightest is None or len(x) < _ENOUGH:
            return None
        flat, margin = x.reshape(len(x), -1), 0.1 * (self.high - self.low)
        if low < self.low - margin or high > self.high + margin:
            return None  # another range, not inverted
        shown = flat[flat.min(axis=1) < flat.max(axis=1)]
        if len(shown) < _ENOUGH:
            return None
        averages = _averages(shown)
        least, most = float(averages.min()), float(averages.max())
        if least <= self.brightest + margin and most >= self.dimmest - margin:
            return None
        ends = self.low + self.high  # minus a pixel gives the inverted pixel
        if ends - most < self.dimmest - margin or ends - least > self.brightest + margin:
            return None
        return (
            f"{what} are on average {least:.3g} to {most:.3g} bright, {of} "
            f"{self.dimmest:.3g} to {self.brightest:.3g}, as if one were the other's negative"
        )

    def _is_scaled(self, x: np.ndarray, low: float, high: float) -> bool:
        """Returns whether the images are divided or standardised, unlike those of the set."""
        reached = self.high if self.ceiling is None else self.ceiling
        if self.low >= 0 and low < -0.2 and high < self.high / 5 and _share(x < 0) > 0.01:
            return True
        unit = -0.2 <= low < high <= 1.2 and reached >= 10
        if unit and x.dtype.kind == "f" and bool(np.any(x != np.rint(x))):
            return True
        return self._is_narrow(x, low, high)

    def _is_narrow(self, x: np.ndarray, low: float, high: float) -> bool:
        """Returns whether several images together show a narrower or another range than the set."""
        flat, span = x.reshape(len(x), -1), self.high - self.low
        shown = np.count_nonzero(flat.min(axis=1) < flat.max(axis=1))  # blank images do not count
        if self.floor is None or self.ceiling is None:
            return bool(shown >= _ENOUGH_OF_OLD and (high - low) * _MUCH_NARROWER < span)
        if shown < _ENOUGH:
            return False
        usual = self.ceiling - self.floor
        if (high - low) * _MUCH_NARROWER < usual:
            return True
        if low >= 0 and self.floor < -0.1 * span:
            return True
        inside = low > self.floor + 0.1 * span and high < self.ceiling - 0.1 * span
        return inside and any(
            max(abs(low - a), abs(high - b)) <= 0.03 * (b - a) for a, b in _SCALES
        )


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


def _share(where: np.ndarray) -> float:
    return float(np.mean(where))


def _averages(flat: np.ndarray) -> np.ndarray:
    """Returns the average of each row, in float64."""
    return flat.mean(axis=1, dtype=np.float64)


def _quantile(values: np.ndarray, share: float) -> float:
    """Returns the smallest of the values that at least this share of them does not exceed."""
    return float(np.quantile(values, share, method="higher"))
