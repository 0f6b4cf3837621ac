"""Finite networks in Flax Linen: the kernels' architectures, and those used in other papers."""

from kipax.students.classifier import (
    classifier_of,
    classifier_path,
    with_classifier,
    without_classifier,
)
from kipax.students.feedforward import FeedForward
from kipax.students.layers import NORMALISATIONS, PARAMETERISATIONS, Outputs
from kipax.students.ntk import empirical_ntk, largest_eigenvalue
from kipax.students.prediction import predict
from kipax.students.published import PUBLISHED, Published, load_weights
from kipax.students.registry import (
    StudentSpec,
    init_variables,
    is_finite_only,
    student_names,
    takes_width,
)
from kipax.students.zoo import (
    VGG,
    AlexNet,
    ConvNeXt,
    MobileNetV2,
    Planar,
    PointClassifier,
    ResNet,
    VisionTransformer,
    WideResNet,
)

__all__ = [
    "NORMALISATIONS",
    "PARAMETERISATIONS",
    "PUBLISHED",
    "VGG",
    "AlexNet",
    "ConvNeXt",
    "FeedForward",
    "MobileNetV2",
    "Outputs",
    "Planar",
    "PointClassifier",
    "Published",
    "ResNet",
    "StudentSpec",
    "VisionTransformer",
    "WideResNet",
    "classifier_of",
    "classifier_path",
    "empirical_ntk",
    "init_variables",
    "is_finite_only",
    "largest_eigenvalue",
    "load_weights",
    "predict",
    "student_names",
    "takes_width",
    "with_classifier",
    "without_classifier",
]
