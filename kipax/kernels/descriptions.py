"""Describes kernels: of networks, of the distance between images, or a function of the user's.

A description is plain data, and stands wherever an architecture does: in a config as its
name, in files and messages as its `to_dict`. `kipax.Architecture`, `RadialKernel` and
`FunctionKernel` share one interface: ``name``, ``kinds`` (its kernels, the first by
default), ``is_network``, ``in_process_only`` (whether other processes cannot make it),
``describe(kind)``, ``check_image_shape(shape)`` and ``to_dict()``. `kipax.kernels.spec`
computes them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from kipax import architectures
from kipax.architectures import Architecture, check_image
from kipax.errors import UsageError, check_choice

__all__ = [
    "PREFIX",
    "RADIAL",
    "Description",
    "FunctionKernel",
    "RadialKernel",
    "from_dict",
    "from_name",
    "names",
]

PREFIX = "python:"  # the names of users' functions begin with it
RADIAL = ("rbf", "laplace")


@dataclasses.dataclass(frozen=True)
class RadialKernel:
    """A classical kernel, which depends on the distance between two images alone.

    An image is taken as one vector of all its values.

    With d values an image (height times width times channels) and images as the
    preprocessing leaves them:

    * ``rbf``: ``k(x, x') = exp(-gamma |x - x'|^2 / d)``;
    * ``laplace``: ``k(x, x') = exp(-gamma |x - x'| / sqrt(d))``.

    Attributes:
        family: ``rbf`` or ``laplace``.
        gamma: inverse bandwidth, positive. Distances are divided by d so that one value means
            the same for images of any size: standardised images that have nothing in common lie
            at ``|x - x'|^2 / d = 2``.

    Raises:
        UsageError: another family, or a gamma that is not positive and finite.

    Example:
        >>> RadialKernel("rbf", 0.5).name, RadialKernel("rbf").name
        ('rbf:0.5', 'rbf')

    Source: Nguyen et al. 2021, appendix B, names both kernels; scaling by d and gamma = 1 are
    those of ``stax.Rbf`` in neural-tangents, which the paper's kernels come from. That of
    laplace is our reading: the same distance, not squared.
    """

    family: str
    gamma: float = 1.0

    is_network: ClassVar[bool] = False
    in_process_only: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_choice("radial kernel", self.family, RADIAL)
        if not (math.isfinite(self.gamma) and self.gamma > 0):
            raise UsageError(
                f"the gamma of {self.family} must be positive and finite; got {self.gamma}."
            )
        object.__setattr__(self, "gamma", float(self.gamma))

    @property
    def name(self) -> str:
        """The name that `from_name` takes: the family, followed by gamma unless gamma is 1."""
        return self.family if self.gamma == 1 else f"{self.family}:{self.gamma!r}"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of its kernels: there is one, which has the name of the family."""
        return (self.family,)

    def describe(self, kind: str) -> str:
        """Returns the name of this kernel as messages print it; `kind` is one of `kinds`."""
        return f"{kind} kernel (gamma {self.gamma:g})"

    def check_image_shape(self, shape: tuple[int, ...]) -> None:
        """Checks that images can have this shape: ``(height, width, channels)``, all positive.

        Raises:
            UsageError: they cannot.
        """
        check_image(shape)

    def to_dict(self) -> dict:
        """Returns a JSON-ready description; `from_dict` reads it."""
        return {"name": self.name}


@dataclasses.dataclass(frozen=True)
class FunctionKernel:
    """A kernel that the user has written: a differentiable function of two image sets.

    Files and runs record its name and the values of `probe`, never code.

    Attributes:
        name: ``python:NAME`` or ``python:MODULE:FUNCTION``.
        probe: its values at the images of `kipax.kernels.functions.probe_images`, by which
            another function of that name is noticed; empty where not measured.
        function: ``function(x1, x2)`` returns ``(n1, n2)`` for images ``(n1, H, W, C)`` and
            ``(n2, H, W, C)``; None where the name alone is known.

    Raises:
        UsageError: another form of name.
    """

    name: str
    probe: tuple[float, ...] = dataclasses.field(default=(), compare=False)
    function: Callable[..., Any] | None = dataclasses.field(default=None, hash=False)

    kinds: ClassVar[tuple[str, ...]] = ("function",)
    is_network: ClassVar[bool] = False
    in_process_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        words = self.name.removeprefix(PREFIX)
        if not self.name.startswith(PREFIX) or not words.strip(": "):
            raise UsageError(
                f"a kernel of Python is called python:NAME or python:MODULE:FUNCTION; got "
                f"{self.name!r}."
            )

    def describe(self, kind: str) -> str:
        """Returns the name of this kernel as messages print it; `kind` is one of `kinds`."""
        return f"kernel {self.name}"

    def check_image_shape(self, shape: tuple[int, ...]) -> None:
        """Checks that images can have this shape: ``(height, width, channels)``, all positive.

        Raises:
            UsageError: they cannot.
        """
        check_image(shape)

    def to_dict(self) -> dict:
        """Returns a JSON-ready description without the function; `from_dict` reads it."""
        return {"name": self.name, "probe": list(self.probe)}


Description = Architecture | RadialKernel | FunctionKernel


def names() -> tuple[str, ...]:
    """Returns the names to offer a user; `<d>` stands for a depth of 1 or more."""
    return (*architectures.names(), *RADIAL)


def from_name(name: str) -> Description:
    """Returns the description of the kernel, or of the network, that a name stands for.

    * ``rbf``, ``laplace``, ``rbf:GAMMA``, ``laplace:GAMMA``: see `RadialKernel`.
    * ``python:NAME``: a `FunctionKernel` whose function is still to be given.
    * a network's name: see `kipax.architectures.from_name`.

    Raises:
        UsageError: for any other name; the message lists the choices.

    Example:
        >>> from_name("rbf:0.5")
        RadialKernel(family='rbf', gamma=0.5)
    """
    family, colon, gamma = name.partition(":") if isinstance(name, str) else ("", "", "")
    if family in RADIAL:
        return RadialKernel(family, _read_gamma(family, gamma)) if colon else RadialKernel(family)
    if colon and f"{family}:" == PREFIX:
        return FunctionKernel(name)
    try:
        return architectures.from_name(name)
    except UsageError:
        if isinstance(name, str):
            also = f"rbf:GAMMA, laplace:GAMMA, {PREFIX}MODULE:FUNCTION"
            check_choice("architecture", name, names(), also=also)
        raise


def _read_gamma(family: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"the gamma of {family} is a number, as in {family}:0.5; got {text!r}."
        ) from None


def from_dict(
    description: Mapping[str, Any], *, function: Callable[..., Any] | None = None
) -> Description:
    """Returns the description that `to_dict` has written.

    Args:
        description: the dictionary.
        function: the function of a `FunctionKernel`; ignored for others.

    Raises:
        UsageError, KeyError, TypeError, ValueError: it is none.
    """
    if "layers" in description:
        return Architecture.from_dict(dict(description))
    found = from_name(description["name"])
    if isinstance(found, FunctionKernel):
        probe = tuple(float(value) for value in description["probe"])
        return dataclasses.replace(found, probe=probe, function=function)
    if found.to_dict() != dict(description):
        raise UsageError(f"no kernel is described by {dict(description)!r:.100}.")
    return found
