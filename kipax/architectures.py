"""Networks as pure data: one description, read as an exact kernel or a finite network.

An `Architecture` is a tuple of layer names plus the weight and bias scales. It holds no
JAX: `kipax.kernels` reads it as an exact infinite-width kernel,
`kipax.kernels.reference` as a neural-tangents kernel.

Layers, in the NTK parameterisation (design constants of Nguyen et al. 2021, appendix A):

* ``conv``: 3x3, stride 1, zero (SAME) padding;
* ``relu``;
* ``avg_pool``: 2x2, stride 2, VALID (odd sizes drop the last row or column);
* ``flatten`` or ``global_avg_pool``: the readout, exactly once;
* ``dense``: fully connected, only after the readout; the last layer.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import ClassVar

from kipax.errors import UsageError, check_choice

__all__ = ["LAYERS", "Architecture", "check_image", "from_name", "is_named", "names"]

LAYERS = ("conv", "relu", "avg_pool", "flatten", "global_avg_pool", "dense")
READOUTS = ("flatten", "global_avg_pool")


def check_image(shape: tuple[int, ...]) -> None:
    """Checks that `shape` is an image's ``(height, width, channels)``, all positive.

    Raises:
        UsageError: it is not.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise UsageError(f"an image is (height, width, channels), all positive; got {shape}.")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A feed-forward network, read as an infinitely wide or as a finite one.

    Attributes:
        layers: layer names in order of application, see `LAYERS`.
        W_std: standard deviation of the weights (NTK parameterisation), positive.
        b_std: standard deviation of the biases, zero or positive.
        name: its name in messages and metadata; not compared for equality.
        kinds, is_network, in_process_only: see `kipax.kernels.descriptions`.

    Raises:
        UsageError: unknown layers, no single readout, layers in an impossible order or
            scales out of range.

    Example:
        >>> tiny = Architecture(("conv", "relu", "avg_pool", "flatten", "dense"), name="tiny")
        >>> tiny.spatial_layers, tiny.readout, tiny.head_layers
        (('conv', 'relu', 'avg_pool'), 'flatten', ('dense',))
    """

    layers: tuple[str, ...]
    W_std: float = math.sqrt(2.0)
    b_std: float = 0.1
    name: str = dataclasses.field(default="custom", compare=False)

    kinds: ClassVar[tuple[str, ...]] = ("ntk", "nngp")
    is_network: ClassVar[bool] = True
    in_process_only: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        for layer in self.layers:
            check_choice("layer", layer, LAYERS)
        if sum(layer in READOUTS for layer in self.layers) != 1:
            raise UsageError(
                f"an architecture has exactly one readout ({' or '.join(READOUTS)}); "
                f"got the layers {', '.join(self.layers)}."
            )
        if "dense" in self.spatial_layers or set(self.head_layers) - {"dense", "relu"}:
            raise UsageError(
                "conv and avg_pool stand before the readout, dense after it; "
                f"got the layers {', '.join(self.layers)}."
            )
        if self.layers[-1] != "dense":
            raise UsageError(
                f"the last layer is dense, the network's output; got {self.layers[-1]!r}."
            )
        self._check_relus()
        if not (math.isfinite(self.W_std) and self.W_std > 0):
            raise UsageError(f"W_std must be positive and finite; got {self.W_std}.")
        if not (math.isfinite(self.b_std) and self.b_std >= 0):
            raise UsageError(f"b_std must be finite and not negative; got {self.b_std}.")

    def _check_relus(self) -> None:
        gaussian = False  # whether the inputs here are outputs of an infinitely wide layer
        for layer in self.layers:
            if layer == "relu" and not gaussian:
                raise UsageError(
                    "every relu needs a conv or dense of its own before it; got the layers "
                    f"{', '.join(self.layers)}."
                )
            gaussian = layer in ("conv", "dense") or (gaussian and layer != "relu")

    @property
    def _readout_at(self) -> int:
        return next(i for i, layer in enumerate(self.layers) if layer in READOUTS)

    @property
    def spatial_layers(self) -> tuple[str, ...]:
        """The layers before the readout."""
        return self.layers[: self._readout_at]

    @property
    def readout(self) -> str:
        """``flatten`` or ``global_avg_pool``."""
        return self.layers[self._readout_at]

    @property
    def head_layers(self) -> tuple[str, ...]:
        """The layers after the readout."""
        return self.layers[self._readout_at + 1 :]

    def describe(self, kind: str) -> str:
        """Returns the name of the network's NTK or NNGP as messages print it.

        Example:
            >>> from_name("fc1").describe("ntk")
            'NTK of fc1'
        """
        return f"{kind.upper()} of {self.name}"

    def check_image_shape(self, shape: tuple[int, ...]) -> None:
        """Raises a `UsageError` if images of this ``(height, width, channels)`` cannot pass.

        Every avg_pool halves height and width, rounding down; neither may reach zero.
        """
        check_image(shape)
        pools = self.spatial_layers.count("avg_pool")
        if min(shape[:2]) < 2**pools:
            raise UsageError(
                f"{self.name} pools {pools} times and needs images of at least {2**pools} x "
                f"{2**pools} pixels; got {shape[0]} x {shape[1]}: take larger images or an "
                "architecture with fewer pools."
            )

    def to_dict(self) -> dict:
        """Returns a JSON-ready description; `Architecture.from_dict` reads it."""
        return dataclasses.asdict(self) | {"layers": list(self.layers)}

    @classmethod
    def from_dict(cls, description: dict) -> Architecture:
        """Returns the architecture that `to_dict` described."""
        return cls(**description)


_CONV, _BLOCK = ("conv", "relu"), ("conv", "relu", "avg_pool")
_MYRTLE_BLOCKS = {5: (1, 1, 1), 7: (1, 2, 2), 10: (2, 3, 3)}
_PATTERNS = "fc<d>, convvec<d>, convnet, convnet<d>, myrtle5, myrtle7, myrtle10"


def _fc(depth: int) -> tuple[str, ...]:
    return ("flatten", *("dense", "relu") * depth, "dense")


def _convvec(depth: int) -> tuple[str, ...]:
    return (*_CONV * depth, "flatten", "dense")


def _convnet(depth: int) -> tuple[str, ...]:
    return (*_BLOCK * depth, "flatten", "dense")


def _myrtle(depth: int) -> tuple[str, ...]:
    first, second, third = _MYRTLE_BLOCKS[depth]
    pooled = (*_CONV * first, "avg_pool", *_CONV * second, "avg_pool")
    return (*_CONV, *pooled, *_CONV * third, "global_avg_pool", "dense")


def names() -> tuple[str, ...]:
    """Returns the names to offer a user; `<d>` stands for a depth of 1 or more."""
    return tuple(_PATTERNS.split(", "))


def from_name(name: str, *, W_std: float = math.sqrt(2.0), b_std: float = 0.1) -> Architecture:
    """Returns the architecture that the literature calls `name`.

    * ``fc<d>``: flatten, d x [dense, relu], dense.
    * ``convvec<d>``: d x [conv, relu], flatten, dense.
    * ``convnet<d>``: d x [conv, relu, avg_pool], flatten, dense.
    * ``convnet``: the paper's ConvNet: one [conv, relu], then convnet3. (convnet3 alone is its
      tables A11 and A12.)
    * ``myrtle5``, ``myrtle7``, ``myrtle10``: Shankar et al. 2020; global_avg_pool readout.

    Raises:
        UsageError: for any other name; the message lists the choices.

    Example:
        >>> from_name("convnet1").layers
        ('conv', 'relu', 'avg_pool', 'flatten', 'dense')

    Source: Nguyen et al. 2021, section 2 and appendix A; arXiv:2107.13034.
    """
    if not isinstance(name, str):
        raise UsageError(f"an architecture is given by its name, as in convnet; got {name!r}.")
    match = re.fullmatch(r"(fc|convvec|convnet|myrtle)([1-9]\d?)?", name)
    family, depth = (match[1], int(match[2] or 0)) if match else ("", 0)
    if name == "convnet":
        layers = (*_CONV, *_convnet(3))
    elif family == "myrtle" and depth in _MYRTLE_BLOCKS:
        layers = _myrtle(depth)
    elif family in ("fc", "convvec", "convnet") and depth:
        layers = {"fc": _fc, "convvec": _convvec, "convnet": _convnet}[family](depth)
    else:
        check_choice("architecture", name, names())
        raise UsageError(f"<d> in {name} stands for a depth; try {name.replace('<d>', '3')}.")
    return Architecture(layers, W_std=W_std, b_std=b_std, name=name)


def is_named(architecture: Architecture) -> bool:
    """Returns whether `from_name` gives the same layers and scales for its name.

    Example:
        >>> is_named(from_name("fc1")), is_named(from_name("fc1", b_std=0.0))
        (True, False)
    """
    try:
        return from_name(architecture.name) == architecture
    except UsageError:
        return False
