"""A source's images drawn once, and a teacher's answers to them, kept in the run's folder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from kipax import files
from kipax.errors import FailedRunError
from kipax.files import hash_arrays
from kipax.kd.sources.arrays import Images
from kipax.kd.sources.base import ImageSpace, Source
from kipax.kd.teachers import Teacher
from kipax.report import Progress, Reporter
from kipax.runs import RunFolder
from kipax.students import Outputs
from kipax.training import Batch

__all__ = [
    "StoredImages",
    "ask_teacher",
    "asked_live",
    "chosen_index",
    "draw_images",
    "remembered",
]

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
            return np.asarray(chosen, np.float32)
        return np.float32(self.low) + np.float32((self.high - self.low) / 255.0) * chosen

    @property
    def hash(self) -> str:
        """The hash that identifies these images."""
        return hash_arrays({"pixels": self.pixels, "range": np.array([self.low, self.high])})[:16]


def chosen_index(source: Source, count: int, seed: int) -> np.ndarray:
    """Which images of a source are taken: the first, or a random `count` of a finite one's.

    Args:
        source: of the images.
        count: how many at most.
        seed: of the choice.
    """
    if source.size is None:
        return np.arange(count)
    return np.random.default_rng(seed).permutation(source.size)[:count]


def draw_images(
    folder: RunFolder,
    source: Source,
    space: ImageSpace,
    *,
    count: int,
    seed: int,
    reporter: Reporter,
) -> StoredImages:
    """The chosen images of a source, drawn once and then read from the folder.

    Args:
        folder: of the run; ``source.npz`` is written, unless the images are given ones.
        source: of the images.
        space: of the teacher.
        count: how many at most, see `chosen_index`.
        seed: of their choice and draw.
        reporter: hears progress.
    """
    index = chosen_index(source, count, seed)
    if isinstance(source, Images):
        return StoredImages(source.raw[index], 0.0, 255.0)  # as they are
    levels = _in_parts(
        folder.path / _FILE,
        np.array([source.name, str(len(index)), str(seed), str(space)]),
        lambda part: _as_levels(source.images(index[part], seed=seed), space),
        count=len(index),
        unit="image",
        reporter=reporter,
    )
    return StoredImages(levels, space.low, space.high)


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

    def answer(part: np.ndarray) -> np.ndarray:
        raw = images.raw(part)
        logits = teacher.logits(raw, teacher.preprocessor.apply(raw))
        check_answers(np.asarray(logits))
        return np.asarray(logits, np.float32)

    return _in_parts(
        folder.path / _ANSWERS,
        np.array([images.hash, str(teacher.facts)]),
        answer,
        count=len(images),
        unit="answer",
        reporter=reporter,
    )


def _in_parts(
    path: Path,
    facts: np.ndarray,
    make: Callable[[np.ndarray], np.ndarray],
    *,
    count: int,
    unit: str,
    reporter: Reporter,
) -> np.ndarray:
    """Rows made part by part and kept in a file; what lies there of them is not made again.

    Args:
        path: of the file.
        facts: tell the rows from others.
        make: the rows of given numbers.
        count: how many rows.
        unit: of the progress.
        reporter: hears it; may raise, as at the end of the time: the rows so far are saved.
    """
    parts = _kept(path, facts)
    done, began = sum(map(len, parts)), time.monotonic()
    first, saved = done, done
    try:
        while done < count:
            stop = min(done + _PART, count)
            parts.append(make(np.arange(done, stop)))
            done = stop
            pace = (time.monotonic() - began) / (done - first)
            reporter.progress(Progress(done, count, unit=unit, seconds_per_step=pace))
    finally:
        if done > saved:
            files.write_npz(path, {"rows": np.concatenate(parts), "facts": facts})
    return np.concatenate(parts)


def _kept(path: Path, facts: np.ndarray) -> list[np.ndarray]:
    """The rows that a file holds; none where they are of other facts."""
    if not path.exists():
        return []
    content = files.read_npz(path)
    return [content["rows"]] if np.array_equal(content.get("facts", ""), facts) else []


def check_answers(logits: np.ndarray) -> None:
    """Raises a `FailedRunError` for answers that are not finite."""
    wrong = ~np.all(np.isfinite(logits), axis=1)
    if wrong.any():
        raise FailedRunError(
            f"the teacher's answers must be finite; {int(wrong.sum())} of {len(logits)} are not."
        )


def asked_live(teacher: Teacher) -> Callable[[Batch], Outputs]:
    """Returns a teacher as `kipax.training.fit` calls it, asked about what the student sees."""

    def answer(batch: Batch) -> Outputs:
        return _as_outputs(jnp.asarray(teacher.logits(batch.x_teacher, batch.x), jnp.float32))

    return answer


def remembered(answers: np.ndarray) -> Callable[[Batch], Outputs]:
    """Returns a teacher's kept answers ``(n, classes)``, found by the images' index."""

    def answer(batch: Batch) -> Outputs:
        return _as_outputs(jnp.asarray(answers[batch.index]))

    return answer


def _as_outputs(logits: jax.Array) -> Outputs:
    return Outputs(logits, logits, {})
