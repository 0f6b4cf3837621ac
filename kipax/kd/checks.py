"""Checks the settings of a distillation against its teacher, before anything is drawn."""

from __future__ import annotations

from kipax.errors import UsageError
from kipax.kd.boundary import check_gradients
from kipax.kd.config import KDConfig
from kipax.kd.objectives import Distil
from kipax.kd.teachers import Teacher
from kipax.kd.views import Views

__all__ = ["check_settings"]


def check_settings(config: KDConfig, teacher: Teacher, objective: Distil, views: Views) -> None:
    """Raises a `UsageError` for settings that contradict each other or the teacher.

    Args:
        config: the resolved settings.
        teacher: the teacher.
        objective: the student's objective.
        views: how images are changed before both see them.
    """
    if not teacher.classifies:
        raise UsageError(
            f"the loss {config.loss} compares logits, and this teacher, trained without labels, "
            "gives features alone: give it a head with kipax teacher --linear_probe=FILE."
        )
    if config.cached and views.changes:
        raise UsageError(
            "a cached teacher is asked about images as they are; got augmentation "
            f"{config.augmentation} and mix {config.mix}: take --augmentation=none --mix=none, or "
            "--cached=false."
        )
    if config.boundary:
        check_gradients(teacher)
    needed, known = objective.needed, teacher.known_classes
    if known is not None and (needed is None or needed > known):
        remedy = "argmax" if known == 1 else f"top_k --top_k={known}"
        raise UsageError(
            f"loss {config.loss} with signal {config.signal} needs {needed or 'all'} of the "
            f"teacher's classes, and it gives {known}: take --loss=kl --signal={remedy}."
        )
