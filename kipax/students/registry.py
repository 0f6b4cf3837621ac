"""Students by name: a description that can be written down, and the network made from it."""

from __future__ import annotations

import dataclasses
import functools
import numbers
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kipax import architectures
from kipax.errors import UsageError, check_choice
from kipax.students.feedforward import FeedForward
from kipax.students.layers import NORMALISATIONS, PARAMETERISATIONS
from kipax.students.zoo import ZOO, Kind, find

__all__ = ["StudentSpec", "init_variables", "is_finite_only", "student_names", "takes_width"]

_WIDTH = 1024  # channels of an architecture; Nguyen et al. 2021
_PATTERNS = ("wrn<d>-<k>", "vit-ti", "vit-s", "vit-b", "vit-s-p<pixels>")


def student_names() -> tuple[str, ...]:
    """Returns the names of students to offer a user: architectures and networks of the zoo."""
    return (*architectures.names(), *ZOO, *_PATTERNS)


def is_finite_only(name: str) -> bool:
    """Returns whether a network has no kernel here, since it is not a `kipax.Architecture`."""
    return find(name) is not None


def takes_width(name: str) -> bool:
    """Returns whether a network's width can be chosen; it cannot if the name contains it."""
    kind = find(name)
    return kind is None or kind.width is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentSpec:
    """A network described by names and numbers, as in a table.

    Attributes:
        name: an architecture's name (``convnet``, ``fc3``, ...), or a network of the zoo:
            ``dc-convnet3``, the ConvNet-3 of DC, DSA, DM and MTT (128 channels, instance
            normalisation); ``frepo-convnet3`` (128, 256 and 512 channels, none); ``resnet18`` to
            ``resnet101``, ``resnet20`` and ``resnet56`` for small images; ``imagenet-resnet18`` to
            ``imagenet-resnet101``; ``vgg11``, ``vgg16``, ``vgg19``; ``wrn16-4`` and similar;
            ``mobilenetv2``; ``alexnet``; ``convnext-t``; ``vit-ti``, ``vit-s`` and ``vit-b`` with
            patches of 16 pixels, ``vit-s-p4`` with patches of 4; ``planar``. They have batch
            normalisation, except ``resnet18`` and ``vgg11`` (instance, as DC evaluates them).
        width: channels; None for the network's own (architectures: the paper's 1024). A network
            whose name contains its width has no other.
        normalisation: normalisation layers; None for the network's own.
        parameterisation: ``standard`` or ``ntk``; for architectures only.

    Raises:
        UsageError: an unknown name or kind, or a width that is not positive.

    Example:
        >>> StudentSpec(name="convnet", width=64).describe()
        'convnet, width 64, no normalisation'
    """

    name: str
    width: int | None = None
    normalisation: str | None = None
    parameterisation: str = "standard"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise UsageError(f"a network is given by its name, as in convnet; got {self.name!r}.")
        if self.width is not None and not isinstance(self.width, numbers.Integral):
            raise UsageError(f"width is a whole number of channels; got {self.width!r}.")
        kind = find(self.name)
        if kind is None:
            self._check_architecture()
        elif self.parameterisation != "standard":
            raise UsageError(
                f"{self.name} has a parameterisation of its own; {self.parameterisation} is for "
                "the architectures, such as convnet."
            )
        if self.width is not None and self.width < 1:
            raise UsageError(f"width must be positive; got {self.width}.")
        if self.width is not None and not takes_width(self.name):
            raise UsageError(f"the name {self.name} says its width; got width {self.width} too.")
        if self.normalisation is not None and kind is not None and not kind.normalises:
            raise UsageError(
                f"{self.name} has a normalisation of its own; got {self.normalisation} too."
            )
        check_choice("normalisation", self.normalisation or "none", NORMALISATIONS)
        check_choice("parameterisation", self.parameterisation, PARAMETERISATIONS[:2])

    def _check_architecture(self) -> None:
        """Raises a `UsageError` if the name is not that of an architecture."""
        if re.fullmatch(r"wrn\d+-\d+", self.name):
            raise UsageError(
                f"unknown network {self.name!r}: a WideResNet has 10, 16, 22, ... layers and a "
                "width from 1, as in wrn16-4."
            )
        try:
            architectures.from_name(self.name)
        except UsageError:
            check_choice("network", self.name, student_names())
            raise UsageError(
                f"<d>, <k> and <pixels> in {self.name} stand for numbers; try convvec3, wrn16-4 or "
                "vit-s-p4."
            ) from None

    @property
    def own_normalisation(self) -> str:
        """The normalisation that is used: the one asked for, or the network's own."""
        kind = find(self.name)
        return self.normalisation or ("none" if kind is None else kind.normalisation)

    def describe(self) -> str:
        """Returns a short description for a caption."""
        words, kind = [self.name], find(self.name)
        if takes_width(self.name):
            words.append(f"width {self.width or (kind and kind.width) or _WIDTH}")
        norm = self.own_normalisation
        words.append("no normalisation" if norm == "none" else f"{norm} normalisation")
        if self.parameterisation != "standard":
            words.append(f"{self.parameterisation} parameterisation")
        return ", ".join(words)

    def build(self, classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Returns the Flax network for images ``(H, W, C)``.

        Raises:
            UsageError: the images are too small for its pools, or its patches do not divide them.
        """
        whole = isinstance(classes, numbers.Integral) and classes > 0
        if not whole or len(image_shape) != 3:
            raise UsageError(
                "a network is built for a number of classes and images (height, width, channels); "
                f"got {classes!r} and {image_shape!r}."
            )
        kind = find(self.name)
        if kind is not None:
            return self._build_of_zoo(kind, classes, image_shape)
        architecture = architectures.from_name(self.name)
        architecture.check_image_shape(image_shape)
        return FeedForward(
            architecture,
            classes,
            width=self.width or _WIDTH,
            parameterisation=self.parameterisation,
            normalisation=self.own_normalisation,
        )

    def _build_of_zoo(
        self, kind: Kind, classes: int, image_shape: tuple[int, int, int]
    ) -> nn.Module:
        height, width, channels = image_shape
        padding = 3 if channels == 1 else 1  # as DC and FRePo enlarge 28 pixels to 32
        least = kind.needed_side(self.own_normalisation, padding)
        if min(height, width) < least:
            raise UsageError(
                f"{self.name} with {self.own_normalisation} normalisation needs images of {least} "
                f"pixels or more; got {height} x {width}: take a shallower "
                "architecture, such as convnet1."
            )
        if height % kind.patch or width % kind.patch:
            raise UsageError(
                f"{self.name} cuts images into patches of {kind.patch} pixels, which must divide "
                f"their sides; got {height} x {width}: take another patch, as in vit-s-p4."
            )
        options: dict[str, Any] = {"classes": classes}
        if kind.width is not None:
            options["width"] = self.width or kind.width
        if kind.normalises:
            options["normalisation"] = self.own_normalisation
        if kind.pads:
            options["first_padding"] = padding
        return kind.build(**options)


def init_variables(
    network: nn.Module, key: jax.Array, image_shape: tuple[int, int, int]
) -> dict[str, Any]:
    """Draws variables: ``{"params": ...}``, and ``"batch_stats"`` with batch normalisation.

    Args:
        network: a student.
        key: JAX key of the draw.
        image_shape: shape ``(H, W, C)`` of an image.
    """
    return dict(_init(network, tuple(image_shape), key))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _init(network: nn.Module, image_shape: tuple[int, int, int], key: jax.Array):
    return network.init(key, jnp.zeros((1, *image_shape), jnp.float32))
