"""Gives a trained network a new head for other classes, with frozen or trainable features."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kipax import ridge
from kipax.config import given
from kipax.data import Dataset
from kipax.errors import UsageError
from kipax.kd.config import TeacherConfig
from kipax.kd.presets import with_slow_backbone
from kipax.kd.teachers import NetworkTeacher
from kipax.kd.trainee import Trainee
from kipax.networks import TrainedNetwork, load_network
from kipax.probes.features import (
    COLLAPSED,
    check_features,
    column_moments,
    features_of,
    relative_variance,
)
from kipax.probes.linear import Linear
from kipax.students import classifier_of, classifier_path, with_classifier
from kipax.training import CrossEntropy, Descent, LabelledBatches

__all__ = ["LinearProbe", "adopt", "begin_with", "open_start"]


def open_start(config: TeacherConfig) -> TrainedNetwork | None:
    """Opens the network that gets a new head, or returns None if the config names none.

    Raises:
        FileError: the file is missing, damaged, or no network.
    """
    path = config.linear_probe if config.fine_tune is None else config.fine_tune
    if path == "":
        raise UsageError("a new head needs a network's file or run; got an empty name.")
    return None if path is None else load_network(path)


def adopt(config: TeacherConfig, network: TrainedNetwork) -> TeacherConfig:
    """Returns a config with the network's own architecture and preprocessing, and its hash.

    The hash takes the place of the path, so that a run is continued wherever the file lies, and
    with another network it is not.

    Args:
        config: the config, with ``linear_probe`` or ``fine_tune``.
        network: the network of that file.

    Raises:
        UsageError: the config asks for another architecture or preprocessing.
    """
    spec = network.spec
    own: dict[str, Any] = {
        "network": spec.name,
        "width": spec.width,
        "normalisation": spec.normalisation,
        "preprocessing": network.preprocessor.name,
    }
    fields = TeacherConfig.__dataclass_fields__
    for name, value in own.items():
        asked = getattr(config, name)
        if asked not in (fields[name].default, value):
            raise UsageError(
                f"a new head keeps the network of its file, whose {name} is {value}; got {asked}: "
                f"leave --{name} out."
            )
    place = "linear_probe" if config.fine_tune is None else "fine_tune"
    own[place] = f"network {NetworkTeacher(network).facts['teacher_hash']}"
    return dataclasses.replace(config, **own)


def begin_with(trainee: Trainee, network: TrainedNetwork, backbone_rate: float) -> Trainee:
    """Changes a training so that it begins from a trained network with a newly drawn head.

    Args:
        trainee: a trainee of the same architecture, for any number of classes.
        network: the trained network.
        backbone_rate: the rate of all other layers as a share of the head's.
    """
    descent = trainee.descent
    head = classifier_path(trainee.module)
    direction = with_slow_backbone(descent.direction, head, backbone_rate)

    def start(drawn: dict[str, Any]) -> dict[str, Any]:
        new = classifier_of(trainee.module, drawn)
        return with_classifier(network.module, network.variables, *new)

    slowed = Descent(direction, descent.schedule, descent.steps)
    return dataclasses.replace(trainee, descent=slowed, start=start)


class LinearProbe:
    """Trains a linear classifier of a network's frozen features, to be the network's new head.

    Features f are computed once, without augmentation. Their columns are standardised,
    ``z = (f / s - m) / d`` with the training features' mean length s, and mean m and deviation d
    of ``f / s``; a classifier ``z W + b`` is then the head ``f (W / (d s)) + b - (m / d) W``.
    `kipax.probes.linear_probe` scales each image's features to length 1, which no linear head
    can; this is the only difference.

    Args:
        network: the trained network.
        data: images of its shape and scale, of any classes.

    Raises:
        UsageError: the features are not finite, or the same for all images.

    Cost: one forward pass an image, and a linear layer's training.

    Source: Koohpayegani et al. 2020, arXiv:2010.14713; Farhat & Chen 2023 (DAPT) train such heads
    with batch normalisation in training mode, here it is in evaluation mode.
    """

    def __init__(self, network: TrainedNetwork, data: Dataset):
        self._network, self._data = network, data
        features = features_of(network, data.x_train)
        check_features(features, data.y_train.astype(int))
        variance = relative_variance(features)
        if variance < COLLAPSED:
            raise UsageError(
                "a head tells images apart by their features; this network's are the same for all "
                f"images (variance {variance:.1e} of their mean square): train it anew."
            )
        self._length = float(np.mean(np.linalg.norm(features, axis=1)))
        self._mean, self._deviation = column_moments(features / self._length)
        self._features = self._standardise(features)

    def _standardise(self, features: np.ndarray) -> np.ndarray:
        scaled = (features / self._length - self._mean) / self._deviation
        return scaled[:, None, None, :].astype(np.float32)  # as images of one pixel

    def trainee(self, config: TeacherConfig) -> Trainee:
        """Builds the training of the classifier.

        Args:
            config: the resolved settings, with the number of steps.
        """
        data = self._data
        validation = None
        if len(data.x_validation):
            features = features_of(self._network, data.x_validation)
            validation = self._standardise(features), data.y_validation
        labels = ridge.one_hot(data.y_train, data.num_classes)
        size = given(config.batch_size)
        return Trainee(
            module=Linear(data.num_classes),
            batches=LabelledBatches(self._features, labels, size=size, seed=config.seed),
            objective=CrossEntropy(config.smoothing),
            descent=config.descent,
            setting=config.setting,
            chosen_by=validation,
        )

    def folded(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Returns the network's variables with the trained classifier as its head.

        Args:
            variables: the classifier's variables.
        """
        layer = variables["params"]["Dense_0"]
        kernel, bias = np.asarray(layer["kernel"], np.float64), np.asarray(layer["bias"])
        kernel = kernel / self._deviation[:, None].astype(np.float64)
        shifted = bias - self._mean.astype(np.float64) @ kernel
        network = self._network
        return with_classifier(network.module, network.variables, kernel / self._length, shifted)
