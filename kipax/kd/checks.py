"""Checks the settings of a distillation against its teacher, before anything is drawn."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np

from kipax.data import Dataset
from kipax.errors import UsageError
from kipax.kd.boundary import check_gradients
from kipax.kd.config import KDConfig
from kipax.kd.gathering import drawn_count
from kipax.kd.objectives import LOSSES
from kipax.kd.sources.base import Source, classes_of, parts_of
from kipax.kd.teachers import Teacher
from kipax.kd.terms import TERMS, check_queue, distil
from kipax.kd.views import Views
from kipax.probes.clusters import check_scikit_learn
from kipax.report import Reporter

__all__ = [
    "NO_LABELS",
    "check_apart",
    "check_classifies",
    "check_effect",
    "check_images",
    "check_settings",
    "idle_settings",
]

_REPEATED = 0.01  # share of the test images that a source may show

# Settings that have an effect only with certain values of other settings: the name, whether a
# resolved config ignores the setting, and the flag with which it has an effect.
_UNUSED: tuple[tuple[str, Callable[[KDConfig], bool], str], ...] = (
    ("top_k", lambda c: "top_k" not in (c.signal, c.answers), "--signal=top_k or --answers=top_k"),
    ("smoothing", lambda c: c.signal != "smoothed", "--signal=smoothed"),
    ("mix_alpha", lambda c: c.mix == "none", "--mix"),
    ("mix_per_example", lambda c: c.mix == "none", "--mix"),
    ("mirror", lambda c: c.augmentation == "none", "--augmentation"),
    ("averaging", lambda c: c.anchor_mode == "1q", "--anchor_mode=2q"),
)

NO_LABELS = (
    "the term ce needs labels, and these images have none: take a source with the teacher's "
    "classes, such as data, or another loss."
)


def check_settings(config: KDConfig, teacher: Teacher, views: Views) -> None:
    """Raises a `UsageError` for settings that contradict each other or the teacher.

    Args:
        config: the resolved settings.
        teacher: the teacher.
        views: how images are changed before both see them.
    """
    names = [name for _, name in config.terms]
    if config.cached:
        _check_cached(config, views)
    _check_answers(config, names)
    if config.boundary or config.pool:
        check_classifies(teacher, "a pool and boundaries need")
    if config.boundary:
        check_gradients(teacher)
    for name in names:
        if name in LOSSES:
            _check_logits(config, name, teacher)
    if config.needs.embeddings and (teacher.embedding_size or 0) < 2:
        raise UsageError(
            f"loss {config.loss} compares embeddings of length 2 or more; this teacher's have the "
            f"length {teacher.embedding_size or 0}: take another teacher, or the loss kl."
        )
    if "clusters" in names:
        check_scikit_learn()
    if "clusters" in names and not config.cached:
        raise UsageError(
            "clusters are found in the teacher's saved embeddings; got cached false: take --cached."
        )
    if config.needs.indexed and (views.mix != "none" or config.boundary):
        raise UsageError(
            f"loss {config.loss} identifies images, which must not be mixed or moved; got mix "
            f"{views.mix} and boundary {config.boundary}: take --mix=none."
        )
    if "srrl" in names and teacher.classifier is None:
        raise UsageError(
            "srrl needs the last layer of a network that classifies; this teacher has none: take "
            "regression, or another teacher."
        )
    if "align_uniform" in names and config.batch_size == 1:
        raise UsageError(
            "align_uniform compares the images of a batch; got batch_size 1: take 2 or more."
        )


def check_images(config: KDConfig, source: Source, index: np.ndarray) -> None:
    """Raises a `UsageError` if images lack labels that a loss needs, or are too few for it.

    Args:
        config: the resolved settings.
        source: the source.
        index: indices of the images that are drawn from.
    """
    if config.needs.labels:
        classes = classes_of(source, index)
        if classes is None or not np.any(classes >= 0):
            raise UsageError(NO_LABELS)
    count = drawn_count(config, source)
    if "queue" in config.needs.settings:
        check_queue(config, count)
    if config.clusters is not None and config.clusters > count:
        raise UsageError(
            f"clusters are at most as many as images, {count:,}; got {config.clusters:,}."
        )


def check_apart(source: Source, data: Dataset | None, reporter: Reporter) -> None:
    """Raises a `UsageError` if a source, or one that it is made of, shows test images.

    Compares the images of folders and data sets, as they are before they are made to fit the
    teacher, with the test images, pixel by pixel. Known data sets repeat a few images themselves:
    up to one test image in a hundred is said and accepted.

    Args:
        source: the source.
        data: the data to test on; None for none.
        reporter: is told how many test images a source shows.
    """
    existing: list[tuple[str, np.ndarray]] = [
        (part.name, images)
        for part in parts_of(source)
        if (images := getattr(part, "unfitted", None)) is not None
    ]
    if data is None or not existing:
        return
    tests = _contents(data.x_test)
    for name, images in existing:
        shared = len(tests & _contents(images))
        if shared > _REPEATED * len(tests):
            raise UsageError(
                f"a student is tested on images that it has not seen; {shared:,} test images of "
                f"{data.name} are among the images of {name}: put them in a folder test beside a "
                "folder train, or name other data with --dataset."
            )
        if shared:
            reporter.say(f"{shared:,} test images of {data.name} are in {name} too")


def _contents(images: np.ndarray) -> set[bytes]:
    """Returns the hashes of the images, each of its pixels converted to float32."""
    return {hashlib.sha256(np.asarray(x, np.float32).tobytes()).digest() for x in images}


def idle_settings(config: KDConfig) -> set[str]:
    """Returns the names of settings that belong only to terms which a loss does not have.

    Args:
        config: the resolved settings.
    """
    owned = {setting for term in TERMS.values() for setting in term.settings}
    kept = {"top_k"} if config.answers == "top_k" else set()
    return owned - set(config.needs.settings) - kept


def check_effect(config: KDConfig, resolved: KDConfig) -> None:
    """Raises a `UsageError` if the user gave a setting that has no effect with this loss.

    Args:
        config: the settings as the user gave them.
        resolved: the same, resolved.
    """
    idle = idle_settings(resolved)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in idle and value != field.default:
            owners = [name for name, term in TERMS.items() if field.name in term.settings]
            raise UsageError(
                f"{field.name} is for {', '.join(owners)}; got {value} with loss {resolved.loss}: "
                "leave it out, or add such a term."
            )
    for name, is_idle, remedy in _UNUSED:
        value = getattr(config, name)
        if value != type(config).__dataclass_fields__[name].default and is_idle(resolved):
            raise UsageError(f"{name} has no effect without {remedy}; got {value}: leave it out.")
    if config.cached and not resolved.needs.asks:
        raise UsageError(
            f"cached asks the teacher, whom loss {resolved.loss} does not: leave it out."
        )


def _check_cached(config: KDConfig, views: Views) -> None:
    """Raises a `UsageError` if a student would be shown other images than the teacher was.

    Terms of embeddings alone allow it for augmented images, as CompRess does to save time.
    """
    if views.mix != "none" or (views.changes and config.needs.logits):
        raise UsageError(
            "a cached teacher is asked about images as they are; got augmentation "
            f"{config.augmentation} and mix {config.mix}: take --augmentation=none --mix=none, or "
            "--cached=false."
        )


def check_classifies(teacher: Teacher, what: str) -> None:
    """Raises a `UsageError` for a teacher that gives embeddings alone.

    Args:
        teacher: the teacher.
        what: how the message begins, such as "loss kl needs".
    """
    if teacher.known_classes == 0:
        raise UsageError(
            f"{what} a teacher that classifies; this one gives embeddings alone: take "
            "--preset=compress, or give it a head with kipax teacher --linear_probe=FILE."
        )


def _check_answers(config: KDConfig, names: list[str]) -> None:
    """Raises a `UsageError` if a form of saved answers leaves out what a term of the loss needs."""
    if config.answers == "full":
        return
    if not config.cached:
        raise UsageError(
            f"answers says how --cached keeps them; got {config.answers} without cached: leave it "
            "out, or take --cached."
        )
    for name in names if config.answers == "top_k" else []:
        needed = distil(config, name).needed if name in LOSSES else None
        if TERMS[name].logits and (needed is None or needed > config.top_k):
            raise UsageError(
                f"answers top_k keep {config.top_k} logits of an image, and {name} with signal "
                f"{config.signal} needs {needed or 'all'}: take --answers=half, or "
                "--signal=top_k."
            )


def _check_logits(config: KDConfig, name: str, teacher: Teacher) -> None:
    """Raises a `UsageError` if a teacher does not give the logits that a term needs."""
    check_classifies(teacher, f"loss {config.loss} needs")
    needed, known = distil(config, name).needed, teacher.known_classes
    if known is not None and (needed is None or needed > known):
        remedy = "argmax" if known == 1 else f"top_k --top_k={known}"
        raise UsageError(
            f"{name} with signal {config.signal} needs {needed or 'all'} of the teacher's classes, "
            f"and it gives {known}: take kl with --signal={remedy}."
        )
