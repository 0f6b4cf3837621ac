"""Checks the settings of a distillation against its teacher, before anything is drawn."""

from __future__ import annotations

from kipax.errors import UsageError
from kipax.kd.boundary import check_gradients
from kipax.kd.config import KDConfig
from kipax.kd.objectives import LOSSES
from kipax.kd.teachers import Teacher
from kipax.kd.terms import TERMS, distil
from kipax.kd.views import Views

__all__ = ["check_settings"]


def check_settings(config: KDConfig, teacher: Teacher, views: Views) -> None:
    """Raises a `UsageError` for settings that contradict each other or the teacher.

    Args:
        config: the resolved settings.
        teacher: the teacher.
        views: how images are changed before both see them.
    """
    names = [name for _, name in config.terms]
    if config.cached:
        _check_cached(config, views, names)
    if config.boundary or config.pool:
        _check_classifies(teacher, "a pool and boundaries need")
    if config.boundary:
        check_gradients(teacher)
    for name in names:
        if name in LOSSES:
            _check_logits(config, name, teacher)
    if config.embeds and (teacher.embedding_size or 0) < 2:
        raise UsageError(
            f"loss {config.loss} compares embeddings of length 2 or more; those of "
            f"{teacher.describe()} have the length {teacher.embedding_size or 0}: take another "
            "teacher, or the loss kl."
        )
    if "clusters" in names and not config.cached:
        raise UsageError(
            "clusters are those of images as they are; got cached false: take --cached."
        )
    if config.uses_labels and (views.mix != "none" or config.boundary):
        raise UsageError(
            "labels belong to images that are neither mixed nor moved; got loss "
            f"{config.loss}, mix {views.mix} and boundary {config.boundary}."
        )


def _check_cached(config: KDConfig, views: Views, names: list[str]) -> None:
    """Raises a `UsageError` if saved answers are not those to the images that are shown."""
    of_logits = [name for name in names if TERMS[name].logits]
    if views.mix != "none" or (views.changes and of_logits):
        raise UsageError(
            "a cached teacher is asked about images as they are; got augmentation "
            f"{config.augmentation} and mix {config.mix}: take --augmentation=none --mix=none, or "
            "--cached=false."
        )


def _check_classifies(teacher: Teacher, what: str) -> None:
    """Raises a `UsageError` for a teacher that gives embeddings alone.

    Args:
        teacher: the teacher.
        what: subject and verb of the sentence.
    """
    if teacher.known_classes == 0:
        raise UsageError(
            f"{what} a teacher that classifies; {teacher.describe()} gives embeddings alone: take "
            "--preset=compress, or give it a head with kipax teacher --linear_probe=FILE."
        )


def _check_logits(config: KDConfig, name: str, teacher: Teacher) -> None:
    """Raises a `UsageError` if a teacher does not give the logits that a term needs."""
    _check_classifies(teacher, f"loss {config.loss} needs")
    needed, known = distil(config, name).needed, teacher.known_classes
    if known is not None and (needed is None or needed > known):
        remedy = "argmax" if known == 1 else f"top_k --top_k={known}"
        raise UsageError(
            f"loss {config.loss} with signal {config.signal} needs {needed or 'all'} of the "
            f"teacher's classes, and it gives {known}: take --loss=kl --signal={remedy}."
        )
