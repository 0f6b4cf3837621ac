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
from kipax.students.zoo import VGG, ResNet, WideResNet

__all__ = ["StudentSpec", "init_variables", "is_finite_only", "student_names"]

_ZOO = ("dc-convnet3", "frepo-convnet3", "resnet18", "vgg11", "wrn<d>-<k>")
_WRN = re.compile(r"wrn(\d+)-(\d+)")
_WIDTHS = {"dc-convnet3": 128, "frepo-convnet3": 128, "resnet18": 64, "vgg11": 64}
_NORMALISED = {"dc-convnet3": "instance", "resnet18": "instance", "vgg11": "instance"}


def student_names() -> tuple[str, ...]:
    """Returns the names of students to offer a user: architectures and networks of the zoo."""
    return (*architectures.names(), *_ZOO)


def _is_wrn(name: str) -> bool:
    match = _WRN.fullmatch(name)
    if match is None:
        return False
    depth, widen = int(match[1]), int(match[2])
    return depth >= 10 and depth % 6 == 4 and widen > 0


def is_finite_only(name: str) -> bool:
    """Returns whether a network has no kernel here, since it is not a `kipax.Architecture`."""
    return name in _WIDTHS or _is_wrn(name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentSpec:
    """A network described by names and numbers, as in a table.

    Attributes:
        name: an architecture's name (``convnet``, ``fc3``, ...); ``dc-convnet3``, the ConvNet-3
            of DC, DSA, DM and MTT (128 channels, instance normalisation); ``frepo-convnet3``
            (128, 256 and 512 channels, none); ``resnet18``, ``vgg11`` (instance
            normalisation, as DC evaluates them); ``wrn16-4`` and similar (batch normalisation).
        width: channels; None for the network's own (architectures: the paper's 1024). Not used
            by a WideResNet, whose name contains it.
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
        if not is_finite_only(self.name):
            if _WRN.fullmatch(self.name):
                raise UsageError(
                    f"unknown network {self.name!r}: a WideResNet has 10, 16, 22, ... layers and a "
                    "width from 1, as in wrn16-4."
                )
            try:
                architectures.from_name(self.name)
            except UsageError:
                check_choice("network", self.name, student_names())
                raise UsageError(
                    f"<d> and <k> in {self.name} stand for numbers; try convvec3 or wrn16-4."
                ) from None
        if self.parameterisation != "standard" and is_finite_only(self.name):
            raise UsageError(
                f"{self.name} has a parameterisation of its own; {self.parameterisation} is for "
                "the architectures, such as convnet."
            )
        if self.width is not None and self.width < 1:
            raise UsageError(f"width must be positive; got {self.width}.")
        if self.width is not None and _is_wrn(self.name):
            raise UsageError(f"the name {self.name} says its width; got width {self.width} too.")
        check_choice("normalisation", self.normalisation or "none", NORMALISATIONS)
        check_choice("parameterisation", self.parameterisation, PARAMETERISATIONS[:2])

    @property
    def own_normalisation(self) -> str:
        """The normalisation that is used: the one asked for, or the network's own."""
        own = "batch" if _is_wrn(self.name) else _NORMALISED.get(self.name, "none")
        return self.normalisation or own

    def describe(self) -> str:
        """Returns a short description for a caption."""
        words = [self.name]
        if not _is_wrn(self.name):
            words.append(f"width {self.width or _WIDTHS.get(self.name, 1024)}")
        norm = self.own_normalisation
        words.append("no normalisation" if norm == "none" else f"{norm} normalisation")
        if self.parameterisation != "standard":
            words.append(f"{self.parameterisation} parameterisation")
        return ", ".join(words)

    def build(self, classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Returns the Flax network for images ``(H, W, C)``.

        Raises:
            UsageError: the images are too small for its pools.
        """
        whole = isinstance(classes, numbers.Integral) and classes > 0
        if not whole or len(image_shape) != 3:
            raise UsageError(
                "a network is built for a number of classes and images (height, width, channels); "
                f"got {classes!r} and {image_shape!r}."
            )
        padding = 3 if image_shape[-1] == 1 else 1  # as DC and FRePo enlarge 28 pixels to 32
        least = self._least_side(padding)
        if min(image_shape[:2]) < least:
            raise UsageError(
                f"{self.name} with {self.own_normalisation} normalisation needs images of {least} "
                f"pixels or more; got {image_shape[0]} x {image_shape[1]}: take a shallower "
                "architecture, such as convnet1."
            )
        common: dict[str, Any] = {"classes": classes, "normalisation": self.own_normalisation}
        if match := _WRN.fullmatch(self.name):
            return WideResNet(depth=int(match[1]), widen=int(match[2]), **common)
        common["width"] = self.width or _WIDTHS.get(self.name, 1024)
        if self.name == "resnet18":
            return ResNet(**common)
        if self.name == "vgg11":
            return VGG(first_padding=padding, **common)
        if self.name in _WIDTHS:
            is_frepo = self.name == "frepo-convnet3"
            return FeedForward(
                architectures.from_name("convnet3"),
                parameterisation="lecun" if is_frepo else "uniform",
                first_padding=padding,
                doubling=is_frepo,
                **common,
            )
        architecture = architectures.from_name(self.name)
        architecture.check_image_shape(image_shape)
        return FeedForward(architecture, parameterisation=self.parameterisation, **common)

    def _least_side(self, padding: int) -> int:
        """Returns the least side in pixels.

        Pools need it, and so does instance normalisation: one pixel alone would become zero.
        """
        if self.name == "resnet18":
            return 9 if self.own_normalisation == "instance" else 1
        sides = {"dc-convnet3": 8, "frepo-convnet3": 8, "vgg11": 32}
        return max(1, sides.get(self.name, 1) - 2 * (padding - 1))


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
