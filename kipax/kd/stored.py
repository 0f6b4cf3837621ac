"""Draws a source's images, asks a teacher about them, and keeps both in a folder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kipax import files
from kipax.errors import FailedRunError
from kipax.files import hash_arrays
from kipax.kd.answers import decode, encode
from kipax.kd.sources.arrays import Images
from kipax.kd.sources.base import ImageSpace, Source, classes_of
from kipax.kd.teachers import Teacher
from kipax.ledger import array_hash
from kipax.report import Progress, Reporter
from kipax.runs import SECONDS_BETWEEN_SAVES
from kipax.students import Outputs
from kipax.training import Batch

__all__ = [
    "Keeping",
    "StoredImages",
    "ask",
    "ask_outputs",
    "ask_teacher",
    "asked_live",
    "chosen_index",
    "draw_images",
    "images_at_once",
    "make_in_parts",
    "remembered",
    "whole_levels",
]

_PART = 1024  # images drawn, or asked about, between two progresses
_PIXELS = 2**22  # pixels that a teacher is asked about at once: 1,024 images of 64 x 64
_HELD_OUT = 500  # images that measure agreement: at most a tenth of all
_LEAST = 100  # of fewer images none is held out
_DEAR = 0.01  # an image whose copies are a larger share of all is not held out
_FILE, _ANSWERS, _EMBEDDINGS = "source.npz", "answers.npz", "embeddings.npz"


@dataclasses.dataclass(frozen=True, eq=False)
class StoredImages:
    """The raw images of a distillation: unchanged, or as 256 levels of the teacher's range.

    Attributes:
        pixels: raw images, or uint8 levels if `levels_of` is given, ``(n, H, W, C)``.
        levels_of: the space whose range the levels divide; None for raw images.
        origins: a number for each image ``(n,)``, the same for copies of one image and for
            images made from it; None if all are different.
        classes: the label of each image ``(n,)``, -1 where it has none; None if no image has one.
    """

    pixels: np.ndarray
    levels_of: ImageSpace | None = None
    origins: np.ndarray | None = None
    classes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def raw(self, index: np.ndarray) -> np.ndarray:
        """Returns the images `index` in the teacher's units, float32."""
        chosen = np.asarray(self.pixels[index], np.float32)
        return chosen if self.levels_of is None else self.levels_of.from_levels(chosen)

    def hold_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Divides the images into those to train on and the last ones, which measure agreement.

        At most a tenth and at most 500 are held out, none of fewer than 100. Copies of an image
        stay together, so that none is both trained on and held out. An image whose copies are more
        than a hundredth of all is trained on: it may be the only one of its class. All others are
        held out as they come, whatever the number of their copies, so that the rarer classes are
        among them.

        Returns:
            Positions of the images to train on, and of those held out, in rising order.
        """
        count = len(self)
        most = min(_HELD_OUT, count // 10) if count >= _LEAST else 0
        origins = np.arange(count) if self.origins is None else self.origins
        _, group, sizes = np.unique(origins, return_inverse=True, return_counts=True)
        cheap = sizes[group] <= max(_DEAR * count, sizes.min())
        last = np.array(list(dict.fromkeys(group[cheap][::-1].tolist())), int)
        held = np.isin(group, last[np.cumsum(sizes[last]) <= most])
        return np.flatnonzero(~held), np.flatnonzero(held)

    @property
    def hash(self) -> str:
        """The hash that identifies these images."""
        return hash_arrays({"pixels": self.pixels, "space": np.array(str(self.levels_of))})[:16]


def chosen_index(source: Source, count: int, seed: int) -> np.ndarray:
    """Chooses images of a source: the first `count`, or a random `count` of a finite source.

    Args:
        source: the source.
        count: largest number of images.
        seed: seed of the choice.

    Returns:
        Indices of the images.
    """
    if source.size is None:
        return np.arange(count)
    return np.random.default_rng(seed).permutation(source.size)[:count]


def draw_images(
    folder: Path,
    source: Source,
    index: np.ndarray,
    space: ImageSpace,
    *,
    seed: int,
    reporter: Reporter,
) -> StoredImages:
    """Draws images of a source, or reads those that an earlier call has saved.

    Args:
        folder: where ``source.npz`` is written, except for existing images.
        source: the source.
        index: indices of the images.
        space: the images that the teacher takes.
        seed: seed of the images.
        reporter: is told the progress.
    """
    classes = classes_of(source, index)
    if isinstance(source, Images):
        origins = index if source.origins is None else source.origins[index]
        return StoredImages(source.raw[index], origins=origins, classes=classes)
    levels = make_in_parts(
        folder / _FILE,
        np.array([source.name, array_hash(index), str(seed), str(space)]),
        lambda part: whole_levels(source.images(index[part], seed=seed), space),
        count=len(index),
        unit="image",
        reporter=reporter,
    )
    # A finite source may hold copies of one image, which must be held out together.
    origins = index if source.size is None else _number_by_content(levels)
    return StoredImages(levels, space, origins, classes)


def _number_by_content(levels: np.ndarray) -> np.ndarray:
    """Returns a number for each image ``(n,)``, which is the same for images of the same pixels."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(image.tobytes(), len(numbers)) for image in levels])


def whole_levels(raw: np.ndarray, space: ImageSpace) -> np.ndarray:
    """Returns the nearest of 256 levels, uint8; values outside the range get the end level."""
    return np.rint(np.clip(space.to_levels(raw), 0, 255)).astype(np.uint8)


def images_at_once(space: ImageSpace) -> int:
    """Returns the number of images that a network is given at once, to limit its memory."""
    height, width, _ = space.shape
    return max(1, min(_PART, _PIXELS // (height * width)))


def ask(teacher: Teacher, raw: np.ndarray) -> np.ndarray:
    """Asks a teacher about raw images; returns its logits, float32 ``(n, classes)``.

    Raises:
        FailedRunError: an answer is not finite.
    """
    return np.asarray(ask_outputs(teacher, raw, embeddings=False).logits)


def ask_outputs(teacher: Teacher, raw: np.ndarray, *, embeddings: bool = True) -> Outputs:
    """Asks a teacher about raw images; returns its logits and embeddings, float32 NumPy arrays.

    Args:
        teacher: the teacher.
        raw: images in its units.
        embeddings: False leaves embeddings of length 0.

    Raises:
        FailedRunError: an answer is not finite.
    """
    parts = np.array_split(raw, -(-len(raw) // images_at_once(teacher.domain.space)))
    preprocess = teacher.domain.preprocessor.apply
    found = []
    for part in parts:
        out = teacher.outputs(part, preprocess(part))
        width = None if embeddings else 0
        found.append((np.asarray(out.logits), np.asarray(out.penultimate)[:, :width]))
    logits, vectors = (np.concatenate(rows).astype(np.float32) for rows in zip(*found, strict=True))
    finite = np.all(np.isfinite(logits), axis=1) & np.all(np.isfinite(vectors), axis=1)
    if not finite.all():
        raise FailedRunError(
            "the teacher's answers must be finite; "
            f"{int(np.sum(~finite))} of {len(logits)} are not."
        )
    return Outputs(logits, vectors, {})


class Keeping(NamedTuple):
    """How a teacher's answers are kept.

    Attributes:
        embeddings: whether embeddings are kept too.
        form: one of `kipax.kd.answers.KEPT`.
        top_k: number of logits of the form ``top_k``.
    """

    embeddings: bool = False
    form: str = "full"
    top_k: int = 5


def ask_teacher(
    folder: Path,
    teacher: Teacher,
    images: StoredImages,
    *,
    keeping: Keeping | None = None,
    reporter: Reporter,
) -> Outputs:
    """Asks a teacher about every stored image, once; returns its outputs, float32 NumPy arrays.

    Args:
        folder: where the answers are written, and read if they are this teacher's.
        teacher: the teacher that is asked.
        images: the images that it is asked about.
        keeping: how they are kept; None for whole logits alone.
        reporter: is told the progress.

    Raises:
        FailedRunError: an answer is not finite.
    """
    embeddings, form, top_k = keeping or Keeping()
    facts = [images.hash, str(teacher.facts)]
    facts += [] if form == "full" else [f"{form} {top_k}"]

    def make(part: np.ndarray) -> np.ndarray:
        return encode(ask_outputs(teacher, images.raw(part), embeddings=embeddings), form, top_k)

    rows = make_in_parts(
        folder / (_EMBEDDINGS if embeddings else _ANSWERS),
        np.array(facts),
        make,
        count=len(images),
        unit="answer",
        reporter=reporter,
    )
    return decode(rows, form, top_k, len(teacher.domain.class_names))


def make_in_parts(
    path: Path,
    facts: np.ndarray,
    make: Callable[[np.ndarray], np.ndarray],
    *,
    count: int,
    unit: str,
    reporter: Reporter,
    size: int = _PART,
) -> np.ndarray:
    """Computes the rows of an array part by part and saves them, even if it is interrupted.

    They are saved at the end, when it is stopped, and so often that a kill costs little more than
    ten seconds of work. Rows that the file holds already are not made again.

    Args:
        path: the file.
        facts: facts that identify the rows; rows of other facts are replaced.
        make: ``make(numbers)`` returns the rows of these numbers.
        count: number of rows.
        unit: unit of the progress.
        reporter: is told the progress; it may raise, for example at a time limit.
        size: number of rows that are made at once.
    """
    parts = _kept(path, facts)
    done, began = sum(map(len, parts)), time.monotonic()
    first, saved = done, done

    def save() -> None:
        files.write_npz(path, {"rows": np.concatenate(parts), "facts": facts})

    saved_at, pause = began, SECONDS_BETWEEN_SAVES
    try:
        while done < count:
            stop = min(done + size, count)
            parts.append(make(np.arange(done, stop)))
            done = stop
            pace = (time.monotonic() - began) / (done - first)
            now = time.monotonic()
            if done < count and now - saved_at > pause:
                save()
                saved, saved_at = done, time.monotonic()
                pause = max(SECONDS_BETWEEN_SAVES, 10 * (saved_at - now))  # a tenth for saving
            reporter.progress(Progress(done, count, unit=unit, seconds_per_step=pace))
    finally:
        if done > saved:
            save()
    return np.concatenate(parts)


def _kept(path: Path, facts: np.ndarray) -> list[np.ndarray]:
    """Reads the rows that a file holds for these facts, as a list of arrays; empty if none."""
    if not path.exists():
        return []
    content = files.read_npz(path)
    return [content["rows"]] if np.array_equal(content.get("facts", ""), facts) else []


def asked_live(teacher: Teacher) -> Callable[[Batch], Outputs]:
    """Returns a function for `kipax.training.fit` that asks a teacher about each batch.

    Args:
        teacher: the teacher.
    """

    def answer(batch: Batch) -> Outputs:
        out = teacher.outputs(batch.x_teacher, batch.x)
        return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), out)

    return answer


def remembered(answers: Outputs) -> Callable[[Batch], Outputs]:
    """Returns a function for `kipax.training.fit` that gives saved answers for each batch.

    Args:
        answers: a teacher's outputs for all images, in the images' order.
    """

    def answer(batch: Batch) -> Outputs:
        return jax.tree.map(lambda a: jnp.asarray(a[batch.index]), answers)

    return answer
