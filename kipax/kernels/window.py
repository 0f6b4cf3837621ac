"""Plans which displacements between two images a readout depends on; works with integers alone.

Write the second position as ``p' = p - d``. Convolutions and ReLUs keep the displacement
``d``; a 2x2 pool with stride 2 maps displacements ``2 D - 1 .. 2 D + 1`` to ``D``. Flatten
reads only ``D = 0``, global_avg_pool every displacement. Going backwards through a pool
the radius therefore grows from r to 2 r + 1: ConvNet on 32 x 32 pixels needs radius 7 of
31, which is 5.8 times fewer position pairs for exactly the same number.
"""

from __future__ import annotations

import dataclasses
import math

from kipax.architectures import Architecture

__all__ = ["KEPT_TABLES_BYTES", "Level", "pair_bytes", "plan_levels", "position_pairs"]

# A gradient keeps at most so many bytes of its pairs' pooled tables, and computes the rest again.
KEPT_TABLES_BYTES = 2 * 1024**3


@dataclasses.dataclass(frozen=True)
class Level:
    """The layers between two pools and the displacements that they are computed for.

    Attributes:
        layers: ``conv`` and ``relu``, in order.
        shape: height and width of the positions.
        radius: largest displacement needed of a pair of images, ``(y, x)``.
        self_radius: largest displacement needed of an image with itself, where later ReLUs use its
            variances; None if nothing after this level's input needs them.
    """

    layers: tuple[str, ...]
    shape: tuple[int, int]
    radius: tuple[int, int]
    self_radius: tuple[int, int] | None

    @property
    def displacements(self) -> int:
        """The number of displacement slices of a pair of images at this level."""
        return (2 * self.radius[0] + 1) * (2 * self.radius[1] + 1)


def _widen(radius: tuple[int, int]) -> tuple[int, int]:
    return 2 * radius[0] + 1, 2 * radius[1] + 1


def plan_levels(architecture: Architecture, shape: tuple[int, int]) -> tuple[Level, ...]:
    """Returns the levels of an architecture on images of ``(height, width)``, finest first.

    Example:
        >>> from kipax import architectures
        >>> [level.radius[0] for level in plan_levels(architectures.from_name("convnet"), (32, 32))]
        [7, 3, 1, 0]
    """
    groups: list[list[str]] = [[]]
    for layer in architecture.spatial_layers:
        if layer == "avg_pool":
            groups.append([])
        else:
            groups[-1].append(layer)
    shapes = [shape]
    for _ in groups[1:]:
        shapes.append((shapes[-1][0] // 2, shapes[-1][1] // 2))

    everything = (shapes[-1][0] - 1, shapes[-1][1] - 1)
    radius = (0, 0) if architecture.readout == "flatten" else everything
    self_radius = radius if "relu" in architecture.head_layers else None
    levels: list[Level] = []
    for layers, level_shape in zip(reversed(groups), reversed(shapes), strict=True):
        if levels:
            radius = _widen(radius)
            self_radius = _widen(self_radius) if self_radius is not None else None
        if self_radius is None and "relu" in layers:
            self_radius = (0, 0)
        levels.append(Level(tuple(layers), level_shape, radius, self_radius))
    return tuple(reversed(levels))


def position_pairs(architecture: Architecture, shape: tuple[int, int]) -> int:
    """Returns the number of position pairs of an image pair over all levels.

    The work of an image pair is proportional to it.
    """
    total = 0
    for level in plan_levels(architecture, shape):
        (height, width), (ry, rx) = level.shape, level.radius
        rows, columns = (
            sum(max(0, size - abs(d)) for d in range(-r, r + 1))
            for size, r in ((height, ry), (width, rx))
        )
        total += rows * columns
    return total


def pair_bytes(architecture: Architecture, shape: tuple[int, int], *, ntk: bool = True) -> int:
    """Returns the bytes of one image pair's pooled tables in float32, which a gradient keeps.

    Args:
        architecture: the network.
        shape: height and width of the images.
        ntk: True for the NTK, False for the NNGP alone.
    """
    levels = plan_levels(architecture, shape)
    floats = sum(level.displacements * math.prod(level.shape) for level in levels[1:])
    return 4 * (2 if ntk else 1) * floats
