"""Networks of other papers by name. Weights are drawn as PyTorch draws them by default.

No maintained Flax package has them for small images; the published tables were made with PyTorch.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any

import flax.linen as nn

from kipax import architectures
from kipax.students.feedforward import FeedForward
from kipax.students.zoo.mobilenet import MobileNetV2
from kipax.students.zoo.plain import VGG, VGG_STAGES, AlexNet, Planar, PointClassifier
from kipax.students.zoo.resnets import ResNet, WideResNet
from kipax.students.zoo.transformers import VIT_SIZES, ConvNeXt, VisionTransformer

__all__ = [
    "VGG",
    "ZOO",
    "AlexNet",
    "ConvNeXt",
    "Kind",
    "MobileNetV2",
    "Planar",
    "PointClassifier",
    "ResNet",
    "VisionTransformer",
    "WideResNet",
    "find",
]


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is known of a network of the zoo before its number of classes is.

    Attributes:
        build: ``build(classes=..., **options)`` returns the Flax network; options are ``width``,
            ``normalisation`` and ``first_padding``, as far as the fields below say.
        width: its channels; None if the name says them, so that they cannot be chosen.
        normalisation: its normalisation.
        normalises: whether another normalisation can be chosen.
        halvings: how often a side is halved before the last normalisation.
        least_side: least side of an image in pixels, before the first padding is counted.
        pads: whether the first convolution pads grey images of 28 pixels to 32, as DC does.
        patch: a divisor of the sides of an image; 1 for any side.
    """

    build: Callable[..., nn.Module]
    width: int | None = None
    normalisation: str = "batch"
    normalises: bool = True
    halvings: int = 0
    least_side: int = 1
    pads: bool = False
    patch: int = 1

    def needed_side(self, normalisation: str, padding: int) -> int:
        """Returns the least side in pixels of an image.

        Pools need it, and so does instance normalisation: one pixel alone would become zero.

        Args:
            normalisation: the normalisation that is used.
            padding: padding of the first convolution, if it `pads`.
        """
        least = self.least_side - 2 * (padding - 1) if self.pads else self.least_side
        return max(1, least, 2**self.halvings + 1 if normalisation == "instance" else 1)


def _resnet(name: str) -> Kind:
    """Returns the residual network of a name, such as ``resnet18`` or ``imagenet-resnet18``."""
    family, _, depth = name.rpartition("resnet")
    stages = {
        20: (3, 3, 3),
        56: (9, 9, 9),
        18: (2, 2, 2, 2),
        34: (3, 4, 6, 3),
        50: (3, 4, 6, 3),
        101: (3, 4, 23, 3),
    }[int(depth)]
    build = functools.partial(
        ResNet,
        blocks=stages,
        bottleneck=int(depth) in (50, 101),
        stem="imagenet" if family else "small",
    )
    halvings = len(stages) - 1 + (2 if family else 0)
    own = "instance" if name == "resnet18" else "batch"
    return Kind(build, 16 if len(stages) == 3 else 64, own, halvings=halvings)


def _vgg(depth: int, normalisation: str) -> Kind:
    build = functools.partial(VGG, stages=VGG_STAGES[depth])
    return Kind(build, 64, normalisation, least_side=32, pads=True)


def _convnet3(normalisation: str, **options: Any) -> Kind:
    build = functools.partial(FeedForward, architectures.from_name("convnet3"), **options)
    return Kind(build, 128, normalisation, least_side=8, pads=True)


ZOO: dict[str, Kind] = {
    "dc-convnet3": _convnet3("instance", parameterisation="uniform"),
    "frepo-convnet3": _convnet3("none", parameterisation="lecun", doubling=True),
    **{f"resnet{depth}": _resnet(f"resnet{depth}") for depth in (18, 20, 34, 50, 56, 101)},
    **{
        f"imagenet-resnet{depth}": _resnet(f"imagenet-resnet{depth}") for depth in (18, 34, 50, 101)
    },
    "vgg11": _vgg(11, "instance"),
    "vgg16": _vgg(16, "batch"),
    "vgg19": _vgg(19, "batch"),
    "mobilenetv2": Kind(MobileNetV2, 32, halvings=5),
    "alexnet": Kind(AlexNet, None, "none", normalises=False, least_side=63),
    "convnext-t": Kind(ConvNeXt, None, "layer", normalises=False, least_side=32),
    "planar": Kind(Planar, 64, least_side=4, halvings=1),
}
_WRN = re.compile(r"wrn(\d+)-(\d+)")
_VIT = re.compile(r"vit-(ti|s|b)(?:-p(\d+))?")


def find(name: str) -> Kind | None:
    """Returns the network of a name; None for a name that is not in the zoo."""
    if match := _WRN.fullmatch(name):
        depth, widen = int(match[1]), int(match[2])
        if depth < 10 or depth % 6 != 4 or widen < 1:
            return None
        return Kind(functools.partial(WideResNet, depth=depth, widen=widen), halvings=2)
    if match := _VIT.fullmatch(name):
        width, heads = VIT_SIZES[match[1]]
        patch = int(match[2] or 16)
        if patch < 1:
            return None
        build = functools.partial(VisionTransformer, width=width, heads=heads, patch=patch)
        return Kind(build, None, "layer", normalises=False, least_side=patch, patch=patch)
    return ZOO.get(name)
