"""Makes the trainee of a distillation from its images and the teacher's answers."""

from __future__ import annotations

import flax.linen as nn
import numpy as np

from kipax.config import given
from kipax.errors import UsageError
from kipax.kd.config import KDConfig
from kipax.kd.gathering import Answers
from kipax.kd.stored import StoredImages, ask, asked_live, remembered
from kipax.kd.teachers import NetworkTeacher, Teacher
from kipax.kd.terms import TERMS, Material, build_objective
from kipax.kd.trainee import Trainee
from kipax.kd.views import ViewedBatches, Views, labelled
from kipax.probes.clusters import find_clusters, nearest_centre
from kipax.probes.few import labelled_part
from kipax.students import classifier_of
from kipax.training import Batches, Epochs

__all__ = ["CHOSEN_BY", "prepare_trainee"]

CHOSEN_BY = "held-out agreement"
_IMAGES_A_CLUSTER = 80  # CompRess: 16,000 clusters of 1.28 million images


def prepare_trainee(
    config: KDConfig,
    teacher: Teacher,
    module: nn.Module,
    views: Views,
    images: StoredImages,
    answers: Answers,
) -> Trainee:
    """Makes the student with its batches, objective and optimiser.

    Args:
        config: the resolved settings.
        teacher: the teacher.
        module: the student's Flax network.
        views: how images are changed.
        images: the images.
        answers: the teacher's answers to them.

    Raises:
        UsageError: the loss needs labels that the images do not have, or more images.
    """
    trained, held = images.hold_out()
    batches = _batches(config, teacher, views, images, trained)
    answer = None
    if config.teaches:
        answer = asked_live(teacher) if answers.of_all is None else remembered(answers.of_all)
    agrees = any(TERMS[name].logits for _, name in config.terms)
    return Trainee(
        module=module,
        batches=batches,
        objective=build_objective(config, _material(config, teacher, images, answers)),
        descent=config.descent,
        setting=config.setting,
        teacher=answer,
        chosen_by=_held_out(teacher, images, held, answers) if agrees and len(held) else None,
        what=CHOSEN_BY,
    )


def _batches(
    config: KDConfig, teacher: Teacher, views: Views, images: StoredImages, trained: np.ndarray
) -> Batches:
    """Returns batches of the images to train on, with their labels if the loss uses them."""
    domain, labels = teacher.domain, None
    if config.uses_labels:
        labels = _labels(config, images, trained, len(domain.class_names))
        if not config.teaches:  # images without a label would not count
            trained = np.flatnonzero(labels.any(axis=1))
    epochs = Epochs(len(trained), given(config.batch_size), seed=config.seed)
    seen = ViewedBatches(
        images.raw,
        lambda step: trained[epochs(step)],
        space=domain.space,
        preprocessor=domain.preprocessor,
        views=views,
        seed=config.seed,
    )
    return seen if labels is None else labelled(seen, labels)


def _held_out(
    teacher: Teacher, images: StoredImages, held: np.ndarray, answers: Answers
) -> tuple[np.ndarray, np.ndarray]:
    """Returns held-out images, preprocessed, and the classes that the teacher gives them."""
    raw = images.raw(held)
    logits = ask(teacher, raw) if answers.of_all is None else answers.of_all.logits[held]
    return teacher.domain.preprocessor.apply(raw), np.argmax(logits, axis=1)


def _labels(
    config: KDConfig, images: StoredImages, trained: np.ndarray, num_classes: int
) -> np.ndarray:
    """Returns a row of labels for each image, of zeros where the label is not to be used."""
    known = images.classes
    labelled = trained if known is None else trained[known[trained] >= 0]
    if known is None or not len(labelled):
        raise UsageError(
            "the term ce needs labels, and these images have none: take a source with the "
            "teacher's classes, such as data, or another loss."
        )
    if config.labels < 1:
        labelled = labelled[labelled_part(known[labelled], share=config.labels, seed=config.seed)]
    rows = np.zeros((len(images), num_classes), np.float32)
    rows[labelled] = np.eye(num_classes, dtype=np.float32)[known[labelled]]
    return rows


def _material(
    config: KDConfig, teacher: Teacher, images: StoredImages, answers: Answers
) -> Material:
    """Returns what the objective must know of the images."""
    clusters = None
    if "clusters" in [name for _, name in config.terms]:
        assert answers.of_all is not None
        embeddings = np.asarray(answers.of_all.penultimate)
        count = config.clusters or max(2, len(images) // _IMAGES_A_CLUSTER)
        if count > len(images):
            raise UsageError(
                f"clusters are at most as many as images, {len(images):,}; got {count:,}."
            )
        centres = find_clusters(embeddings, count, seed=config.seed)
        clusters = nearest_centre(embeddings, centres)
    classifier = None
    if isinstance(teacher, NetworkTeacher) and teacher.known_classes is None:
        kernel, bias = classifier_of(teacher.network.module, teacher.network.variables)
        classifier = np.asarray(kernel), np.asarray(bias)
    return Material(len(images), images.classes, clusters, classifier)
