"""The memory that a block of kernel entries needs, and the free memory of a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax

from kipax.blocks.plan import BlockPlan
from kipax.kernels import KernelSpec
from kipax.kernels.window import KEPT_TABLES_BYTES

__all__ = ["available_bytes", "bytes_per_image", "bytes_per_pair", "needed_bytes"]

_ENTRY_BYTES = 64  # per kernel entry: values and cotangents, float32 and float64
_IMAGE_BYTES_PER_PIXEL = 4 * 12  # a target's pixels and the per-image maps beside them


def bytes_per_pair(specs: Sequence[KernelSpec], image_shape: tuple[int, ...]) -> int:
    """Returns the bytes that the gradient of one kernel entry keeps, for the largest kernel."""
    return _ENTRY_BYTES + max(spec.kept_bytes(image_shape) for spec in specs)


def bytes_per_image(image_shape: tuple[int, ...]) -> int:
    """Returns the bytes that one target image takes in a block."""
    height, width, channels = image_shape
    return _IMAGE_BYTES_PER_PIXEL * height * width * channels


def needed_bytes(
    plan: BlockPlan,
    specs: Sequence[KernelSpec],
    *,
    targets: int,
    supports: int,
    image_shape: tuple[int, ...],
) -> int:
    """Returns the bytes of a plan's largest block on a worker, data left out."""
    rows, side = min(plan.target_rows, targets), min(plan.support_rows, supports)
    pairs = max(rows * supports, side**2)
    kept = bytes_per_pair(specs, image_shape) - _ENTRY_BYTES
    images = (rows + supports) * bytes_per_image(image_shape)
    return pairs * _ENTRY_BYTES + min(pairs * kept, KEPT_TABLES_BYTES) + images


def available_bytes(device: jax.Device) -> int | None:
    """Returns the free bytes of a device (for CPUs, of this machine); None if unknown."""
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        limit = stats.get("bytes_limit")
        return None if limit is None else limit - stats.get("bytes_in_use", 0)
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return 1024 * kilobytes[0] if kilobytes else None
