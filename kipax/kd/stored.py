"""A source's images drawn once, and a teacher's answers to them, kept in the run's folder."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from kipax import files
from kipax.errors import FailedRunError
from kipax.files import hash_arrays
from kipax.kd.sources.arrays import Images
from kipax.kd.sources.base import ImageSpace, Source
from kipax.kd.teachers import Teacher
from kipax.report import Progress, Reporter
from kipax.runs import RunFolder

__all__ = ["StoredImages", "ask_teacher", "draw_images"]

_PART = 1024  # images drawn, or asked about, between two progresses
_FILE, _ANSWERS = "source.npz", "answers.npz"


@dataclasses.dataclass(frozen=True, eq=False)
class StoredImages:
    """Raw images: drawn images as 256 levels from `low` to `high`, given images unchanged.

    Attributes:
        pixels: uint8 levels or float32, ``(n, H, W, C)``.
        low: pixel value of level 0.
        high: pixel value of level 255.
    """

    pixels: np.ndarray
    low: float
    high: float

    def __len__(self) -> int:
        return len(self.pixels)

    def raw(self, index: np.ndarray) -> np.ndarray:
        """Returns the images `index` in the teacher's units, float32."""
        chosen = self.pixels[index]
        if chosen.dtype != np.uint8:
            return chosen
        return np.float32(self.low) + np.float32((self.high - self.low) / 255.0) * chosen

    @property
    def hash(self) -> str:
        """The hash that identifies these images."""
        return hash_arrays({"pixels": self.pixels, "range": np.array([self.low, self.high])})[:16]


def draw_images(
    folder: RunFolder,
    source: Source,
    space: ImageSpace,
    *,
    count: int,
    seed: int,
    reporter: Reporter,
) -> StoredImages:
    """Returns the first `count` images of a source, drawn once and then read from the folder.

    Args:
        folder: folder of the run; ``source.npz`` is written there.
        source: the source; a finite one gives all its images, or a random `count` of them.
        space: the images that the teacher takes.
        count: number of images.
        seed: seed of their draw.
        reporter: is told the progress.
    """
    if isinstance(source, Images):
        order = np.random.default_rng(seed).permutation(len(source.raw))[:count]
        return StoredImages(source.raw[np.sort(order)], 0.0, 255.0)  # as they are
    count = count if source.size is None else min(count, source.size)
    path = folder.path / _FILE
    facts = np.array([source.name, str(count), str(seed)])
    if path.exists():
        content = files.read_npz(path)
        if np.array_equal(content.get("facts", facts[:0]), facts):
            low, high = content["range"].tolist()
            return StoredImages(content["pixels"], low, high)
    parts, began = [], time.monotonic()
    for start in range(0, count, _PART):
        stop = min(start + _PART, count)
        parts.append(_as_levels(source.images(np.arange(start, stop), seed=seed), space))
        pace = (time.monotonic() - began) / stop
        reporter.progress(Progress(stop, count, unit="image", seconds_per_step=pace))
    limits = np.array([space.low, space.high])
    stored = StoredImages(np.concatenate(parts), space.low, space.high)
    files.write_npz(path, {"pixels": stored.pixels, "range": limits, "facts": facts})
    return stored


def _as_levels(raw: np.ndarray, space: ImageSpace) -> np.ndarray:
    """Returns the nearest of 256 levels, uint8; values outside the range get the end level."""
    levels = (raw - space.low) * (255.0 / (space.high - space.low))
    return np.rint(np.clip(levels, 0, 255)).astype(np.uint8)


def ask_teacher(
    folder: RunFolder, teacher: Teacher, images: StoredImages, reporter: Reporter
) -> np.ndarray:
    """Returns the teacher's logits of every stored image, float32 ``(n, classes)``; asked once.

    Args:
        folder: folder of the run; ``answers.npz`` is written there, and read if this teacher's.
        teacher: the teacher that is asked.
        images: the images that it is asked about.
        reporter: is told the progress.

    Raises:
        FailedRunError: an answer is not finite.
    """
    path = folder.path / _ANSWERS
    key = np.array([images.hash, str(teacher.facts)])
    if path.exists():
        content = files.read_npz(path)
        if np.array_equal(content.get("facts", key[:0]), key):
            return content["logits"]
    parts, began = [], time.monotonic()
    for start in range(0, len(images), _PART):
        raw = images.raw(np.arange(start, min(start + _PART, len(images))))
        x = teacher.preprocessor.apply(raw)
        parts.append(np.asarray(teacher.logits(raw, x), np.float32))
        stop = start + len(raw)
        pace = (time.monotonic() - began) / stop
        reporter.progress(
            Progress(stop, len(images), unit="answer of the teacher", seconds_per_step=pace)
        )
    logits = np.concatenate(parts)
    check_answers(logits)
    files.write_npz(path, {"logits": logits, "facts": key})
    return logits


def check_answers(logits: np.ndarray) -> None:
    """Raises a `FailedRunError` for answers that are not finite."""
    wrong = ~np.all(np.isfinite(logits), axis=1)
    if wrong.any():
        raise FailedRunError(
            f"the teacher's answers must be finite; {int(wrong.sum())} of {len(logits)} are not."
        )
