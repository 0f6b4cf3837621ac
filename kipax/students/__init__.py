"""Finite networks in Flax Linen: the kernels' architectures, and those used in other papers."""

from kipax.students.feedforward import FeedForward
from kipax.students.layers import NORMALISATIONS, PARAMETERISATIONS, Outputs
from kipax.students.ntk import empirical_ntk, largest_eigenvalue
from kipax.students.prediction import predict
from kipax.students.registry import StudentSpec, init_variables, is_finite_only, student_names
from kipax.students.zoo import VGG, ResNet, WideResNet

__all__ = [
    "NORMALISATIONS",
    "PARAMETERISATIONS",
    "VGG",
    "FeedForward",
    "Outputs",
    "ResNet",
    "StudentSpec",
    "WideResNet",
    "empirical_ntk",
    "init_variables",
    "is_finite_only",
    "largest_eigenvalue",
    "predict",
    "student_names",
]
