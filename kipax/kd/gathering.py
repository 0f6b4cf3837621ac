"""Gathers the images that a student is trained on, and the teacher's answers to them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from kipax.config import given
from kipax.errors import UsageError
from kipax.kd.boundary import boundary_pairs
from kipax.kd.config import KDConfig
from kipax.kd.selection import pseudo_balance
from kipax.kd.sources import Source
from kipax.kd.stored import (
    Keeping,
    StoredImages,
    ask,
    ask_outputs,
    ask_teacher,
    chosen_index,
    draw_images,
    images_at_once,
    make_in_parts,
)
from kipax.kd.teachers import Teacher
from kipax.ledger import array_hash
from kipax.probes.features import COLLAPSED, relative_variance
from kipax.report import Reporter
from kipax.students import Outputs

__all__ = ["ASKED", "Answers", "drawn_count", "gather", "index_of"]

ASKED = 1000  # images that the teacher is asked about if not about all


class Answers(NamedTuple):
    """A teacher's answers to the images that its student is trained on.

    Attributes:
        sampled: numbers of at most a thousand images.
        of_sampled: the teacher's outputs for these images; none if the loss does not ask it.
        of_all: its outputs for all images; None if it was not asked about all.
    """

    sampled: np.ndarray
    of_sampled: Outputs
    of_all: Outputs | None


def drawn_count(config: KDConfig, source: Source) -> int:
    """Returns the number of images that are drawn, before any is moved to a boundary.

    A choice from a pool repeats images of rare classes and thus always has the number asked for.
    """
    images = given(config.images)
    return images if config.pool or source.size is None else min(images, source.size)


def index_of(config: KDConfig, source: Source) -> np.ndarray:
    """Returns the indices of the images that are drawn from, by a resolved config."""
    return chosen_index(source, config.pool or given(config.images), config.seed)


def gather(
    config: KDConfig, teacher: Teacher, source: Source, folder: Path, *, reporter: Reporter
) -> tuple[StoredImages, Answers]:
    """Draws the images of a source and asks the teacher about them.

    Chooses them from a pool and moves them to the teacher's boundaries, if the config says so.

    Args:
        config: the resolved settings.
        teacher: the teacher; it is asked about all images if ``config.cached``, else about some.
        source: the source.
        folder: where drawn images and answers are kept, and read again.
        reporter: is told sentences and progress.

    Raises:
        UsageError: the teacher has no gradients, no image could be moved to its boundaries, or
            its embeddings of all images are the same.
        FailedRunError: the teacher's answers are not finite.
    """
    index = index_of(config, source)
    if config.pool is not None:
        index = _choose(config, teacher, source, index, folder, reporter)
    images = draw_images(
        folder, source, index, teacher.domain.space, seed=config.seed, reporter=reporter
    )
    if config.boundary:
        images = _move(config, teacher, images, folder, reporter)
    if not config.needs.asks:
        nothing = np.zeros((0, 0), np.float32)
        return images, Answers(np.arange(0), Outputs(nothing, nothing, {}), None)
    sampled = np.linspace(0, len(images) - 1, min(ASKED, len(images))).astype(int)
    if config.cached:
        keeping = Keeping(config.needs.embeddings, config.answers, config.top_k)
        of_all = ask_teacher(folder, teacher, images, keeping=keeping, reporter=reporter)
        answers = Answers(sampled, jax.tree.map(lambda a: a[sampled], of_all), of_all)
    else:
        found = ask_outputs(teacher, images.raw(sampled), embeddings=config.needs.embeddings)
        answers = Answers(sampled, found, None)
    if config.needs.embeddings:
        _check_embeddings(np.asarray(answers.of_sampled.penultimate))
    return images, answers


def _check_embeddings(embeddings: np.ndarray) -> None:
    """Raises a `UsageError` for embeddings ``(n, d)`` that are the same for all images."""
    variance = relative_variance(embeddings)
    if variance < COLLAPSED:
        raise UsageError(
            "a teacher's embeddings must differ between images; the variance of these is "
            f"{variance:.1e} of their mean square: the teacher has collapsed."
        )


def _choose(
    config: KDConfig,
    teacher: Teacher,
    source: Source,
    index: np.ndarray,
    folder: Path,
    reporter: Reporter,
) -> np.ndarray:
    """Chooses images from a pool so that the teacher's classes are balanced; returns indices."""
    classes = make_in_parts(
        folder / "pool.npz",
        np.array([source.name, array_hash(index), str(config.seed), str(teacher.facts)]),
        lambda part: np.argmax(ask(teacher, source.images(index[part], seed=config.seed)), axis=1),
        count=len(index),
        unit="answer",
        reporter=reporter,
    )
    chosen = pseudo_balance(
        classes,
        given(config.images),
        num_classes=len(teacher.domain.class_names),
        seed=config.seed,
        imbalance=config.imbalance,
    )
    counts = np.bincount(classes, minlength=len(teacher.domain.class_names))
    reporter.say(
        f"{len(chosen):,} images ({len(np.unique(chosen)):,} different ones) chosen of "
        f"{len(index):,}, of which the teacher sees {', '.join(map(str, counts))} of each class"
    )
    return index[chosen]


def _move(
    config: KDConfig, teacher: Teacher, images: StoredImages, folder: Path, reporter: Reporter
) -> StoredImages:
    """Moves images to the teacher's class boundaries; returns four for each that succeeded."""

    def move(part: np.ndarray) -> np.ndarray:
        moved, found = boundary_pairs(teacher, images.raw(part), seed=config.seed + int(part[0]))
        return np.where(found[:, None, None, None, None], moved, np.nan)

    moved = make_in_parts(
        folder / "boundary.npz",
        np.array([images.hash, str(teacher.facts), str(config.seed)]),
        move,
        count=len(images),
        unit="search",
        reporter=reporter,
        size=max(1, images_at_once(teacher.domain.space) // 4),
    )
    found = np.isfinite(moved[:, 0, 0, 0, 0])
    reporter.say(f"{int(found.sum()):,} of {len(found):,} images moved to the teacher's boundaries")
    if not found.any():
        raise UsageError(
            "boundary needs images that can be moved to another class; the teacher keeps the class "
            "of all: take --boundary=false, or another source."
        )
    assert images.origins is not None
    origins = np.repeat(images.origins[found], moved.shape[1])
    return StoredImages(moved[found].reshape(-1, *moved.shape[2:]), origins=origins)
