"""Builds the training of a student from a distillation's images and the teacher's answers."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from kipax.config import given
from kipax.errors import UsageError
from kipax.kd.checks import NO_LABELS
from kipax.kd.config import KDConfig
from kipax.kd.gathering import Answers
from kipax.kd.objectives import LOSSES
from kipax.kd.stored import StoredImages, ask, asked_live, remembered
from kipax.kd.teachers import Teacher
from kipax.kd.terms import Material, build_objective, distil
from kipax.kd.trainee import Trainee
from kipax.kd.views import ViewedBatches, Views, labelled
from kipax.probes.clusters import find_clusters, nearest_centre
from kipax.probes.few import labelled_part
from kipax.training import Batches, Epochs

__all__ = ["chosen_by_words", "prepare_trainee"]

AGREEMENT = "held-out agreement"
_IMAGES_A_CLUSTER = 80  # CompRess: 16,000 clusters of 1.28 million images


def prepare_trainee(
    config: KDConfig,
    teacher: Teacher,
    module: nn.Module,
    views: Views,
    images: StoredImages,
    answers: Answers,
) -> Trainee:
    """Builds the training of a student: its batches, objective and optimiser.

    Args:
        config: the resolved settings.
        teacher: the teacher.
        module: the student's Flax network.
        views: how images are changed.
        images: the images.
        answers: the teacher's answers to them.

    Raises:
        UsageError: the loss needs labels, and the images have none, or it needs more images.
    """
    # Images are held out only where agreement with the teacher can choose the best step.
    agrees = config.needs.asks and config.needs.classifies and teacher.known_classes != 0
    everything = np.arange(len(images))
    trained, held = images.hold_out() if agrees else (everything, everything[:0])
    classes = _usable_classes(config, images, trained)
    if not config.needs.asks:  # from labels alone, an image without one teaches nothing
        assert classes is not None
        trained = np.flatnonzero(classes >= 0)
    answer = None
    if config.needs.asks:
        answer = asked_live(teacher) if answers.of_all is None else remembered(answers.of_all)
    material = Material(
        len(images),
        trained,
        classes,
        _clusters(config, images, answers),
        teacher.classifier if "srrl" in [name for _, name in config.terms] else None,
    )
    chosen_by = distance = None
    if len(held):
        chosen_by, distance = _held_out(config, teacher, images, held, answers)
    return Trainee(
        module=module,
        batches=_batches(config, teacher, views, images, material),
        objective=build_objective(config, material),
        descent=config.descent,
        setting=config.setting,
        teacher=answer,
        chosen_by=chosen_by,
        distance=distance,
        what=AGREEMENT,
        labels=_used_labels(config, classes, trained),
    )


def _batches(
    config: KDConfig, teacher: Teacher, views: Views, images: StoredImages, material: Material
) -> Batches:
    """Returns batches of the images to train on, with their labels if the loss needs them."""
    domain, trained = teacher.domain, material.trained
    epochs = Epochs(len(trained), given(config.batch_size), seed=config.seed)
    seen = ViewedBatches(
        images.raw,
        lambda step: trained[epochs(step)],
        space=domain.space,
        preprocessor=domain.preprocessor,
        views=views,
        seed=config.seed,
    )
    if not config.needs.labels:
        return seen
    assert material.classes is not None
    known = np.flatnonzero(material.classes >= 0)
    rows = np.zeros((len(images), len(domain.class_names)), np.float32)
    rows[known, material.classes[known]] = 1
    return labelled(seen, rows)


def _held_out(
    config: KDConfig, teacher: Teacher, images: StoredImages, held: np.ndarray, answers: Answers
) -> tuple[tuple[np.ndarray, np.ndarray], Callable[[np.ndarray], float] | None]:
    """Prepares the held-out images, and the function that compares a student on them.

    Returns:
        The held-out images, preprocessed, with the classes that the teacher sees in them; and the
        distance of a student's logits from the teacher's, None where the loss compares no logits.
    """
    raw = images.raw(held)
    logits = ask(teacher, raw) if answers.of_all is None else answers.of_all.logits[held]
    shown = teacher.domain.preprocessor.apply(raw), np.argmax(logits, axis=1)
    compared = _compared(config)
    if compared is None:
        return shown, None
    term, told = distil(config, compared), jnp.asarray(logits)
    return shown, lambda student: float(term.distance(jnp.asarray(student), told))


def _compared(config: KDConfig) -> str | None:
    """Returns the first term of the loss that compares logits; None if there is none."""
    return next((name for _, name in config.terms if name in LOSSES), None)


def chosen_by_words(config: KDConfig) -> str:
    """Returns the rule by which the best step is chosen, in words."""
    return AGREEMENT if _compared(config) is None else "held-out loss"


def _usable_classes(
    config: KDConfig, images: StoredImages, trained: np.ndarray
) -> np.ndarray | None:
    """Returns the class of each image whose label the loss may use, -1 for the others.

    ``config.labels`` of the labelled images of each class are used, drawn from those that are
    trained on.

    Raises:
        UsageError: the loss needs labels, and no image has one.
    """
    if not config.needs.reads_labels:
        return None
    known = images.classes
    labelled_ones = trained if known is None else trained[known[trained] >= 0]
    if known is None or not len(labelled_ones):
        if config.needs.labels:
            raise UsageError(NO_LABELS)
        return None
    if config.labels < 1:
        part = labelled_part(known[labelled_ones], share=config.labels, seed=config.seed)
        labelled_ones = labelled_ones[part]
    usable = np.full(len(images), -1)
    usable[labelled_ones] = known[labelled_ones]
    return usable


def _used_labels(config: KDConfig, classes: np.ndarray | None, trained: np.ndarray) -> int | None:
    """Returns the number of labels that the loss uses; None if it uses none.

    A loss that does not need labels uses those of all images or none.
    """
    if classes is None or not (config.needs.labels or np.all(classes[trained] >= 0)):
        return None
    return int(np.count_nonzero(classes >= 0))


def _clusters(config: KDConfig, images: StoredImages, answers: Answers) -> np.ndarray | None:
    """Clusters the teacher's embeddings if the loss has the term clusters; None without it.

    Returns:
        The number of the cluster of each image ``(n,)``.
    """
    if "clusters" not in [name for _, name in config.terms]:
        return None
    assert answers.of_all is not None
    embeddings = np.asarray(answers.of_all.penultimate)
    count = config.clusters or max(2, len(images) // _IMAGES_A_CLUSTER)
    return nearest_centre(embeddings, find_clusters(embeddings, count, seed=config.seed))
