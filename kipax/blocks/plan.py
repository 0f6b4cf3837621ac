"""Cuts a kernel matrix into blocks; works with integers alone.

A plan depends on shapes and the memory limit alone, never on who computes the blocks; it is
made when a run begins and saved with it, because another cut rounds sums differently and
Adam amplifies such differences.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator

from kipax.errors import UsageError

__all__ = ["MOST_TASKS", "Block", "BlockPlan", "default_memory_gb", "plan_blocks", "spans"]

DEFAULT_MEMORY_FRACTION = 0.25
# The gradient of a task is as large as the support set. When a pass has more blocks than this,
# consecutive blocks share a task, so that the bytes sent stop growing with the targets.
MOST_TASKS = 256
LANES = 16  # number of targets that one vector holds


@dataclasses.dataclass(frozen=True)
class Block:
    """Half-open ranges of rows and columns of a kernel matrix."""

    rows: tuple[int, int]
    columns: tuple[int, int]


def spans(size: int, step: int) -> list[tuple[int, int]]:
    """Cuts ``size`` into half-open ranges of at most ``step``; the last may be shorter.

    Example:
        >>> spans(5, 2)
        [(0, 2), (2, 4), (4, 5)]
    """
    if size < 0 or step < 1:
        raise UsageError(f"a span needs size >= 0 and step >= 1; got {size} and {step}.")
    return [(start, min(start + step, size)) for start in range(0, size, step)]


@dataclasses.dataclass(frozen=True)
class BlockPlan:
    """Block sizes of the two matrices of a KIP step.

    Attributes:
        target_rows: targets in a block of ``k_ts``; such a block spans all supports, because
            a target's residual needs its whole row.
        support_rows: supports in each direction of a block of ``k_ss``.

    Example:
        >>> plan = BlockPlan(target_rows=2, support_rows=2)
        >>> [(b.rows, b.columns) for b in plan.support_blocks(3)]
        [((0, 2), (0, 2)), ((0, 2), (2, 3)), ((2, 3), (2, 3))]
    """

    target_rows: int
    support_rows: int

    def __post_init__(self) -> None:
        if min(self.target_rows, self.support_rows) < 1:
            raise UsageError(f"block sizes must be positive; got {self}.")

    def target_blocks(self, targets: int) -> list[tuple[int, int]]:
        """Returns the row ranges that cover ``targets`` rows of ``k_ts`` once."""
        return spans(targets, self.target_rows)

    def support_blocks(self, supports: int) -> Iterator[Block]:
        """Yields the blocks that cover ``k_ss`` on and above its diagonal blocks once."""
        cuts = spans(supports, self.support_rows)
        for i, rows in enumerate(cuts):
            for columns in cuts[i:]:
                yield Block(rows, columns)

    def to_dict(self) -> dict[str, int]:
        """Returns a JSON-ready mapping; ``BlockPlan(**d)`` reads it."""
        return dataclasses.asdict(self)


def default_memory_gb() -> float:
    """Returns a quarter of this machine's total memory, in GB, however much is in use."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return round(total * DEFAULT_MEMORY_FRACTION / 1e9, 1)


def plan_blocks(
    targets: int,
    supports: int,
    *,
    bytes_per_pair: int,
    bytes_per_image: int,
    memory_gb: float,
    most_pairs: int | None = None,
) -> BlockPlan:
    """Returns the largest blocks that stay under the memory limit.

    Args:
        targets: number of rows of ``k_ts`` in a step.
        supports: number of columns of ``k_ts``.
        bytes_per_pair: bytes that one kernel entry's gradient keeps (`kipax.kernels.pair_bytes`).
        bytes_per_image: bytes that one target image takes in a block.
        memory_gb: the limit for one process, in 1e9 bytes.
        most_pairs: most kernel entries of a block, so that progress is seen; None for no limit.

    Raises:
        UsageError: the limit is not positive.

    Example:
        >>> plan_blocks(100, 10, bytes_per_pair=10**6, bytes_per_image=0, memory_gb=1.0)
        BlockPlan(target_rows=48, support_rows=10)

    Cost: none; half of the limit is left for the compiler's temporaries and the data.
    """
    if not memory_gb > 0:
        raise UsageError(f"memory_gb must be positive; got {memory_gb}.")
    budget = 0.5e9 * memory_gb
    row_bytes = max(1, supports * bytes_per_pair + bytes_per_image)
    most = most_pairs or max(targets, supports) * supports
    target_rows = max(1, min(targets, int(budget // row_bytes), most // supports))
    side = int((budget / max(1, bytes_per_pair)) ** 0.5)
    support_rows = max(1, min(supports, side, math.isqrt(most)))
    cuts = -(-supports // support_rows)
    return BlockPlan(_even_rows(targets, target_rows), -(-supports // cuts))


def _even_rows(targets: int, most: int) -> int:
    """Returns a block height of at most `most`; the last block is padded to the same height.

    All blocks have one shape, so that one program is compiled. The height is chosen for whole
    vectors, little padding and few blocks; a further block counts as much as one vector of work.
    """
    if targets <= most or most < LANES:
        return -(-targets // -(-targets // most))
    heights = range(most // LANES * LANES, 0, -LANES)
    return min(heights, key=lambda height: -(-targets // height) * (height + LANES))
