"""`BlockJob`: what a run tells the function that makes its executor."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable

import jax

from kipax.blocks.executor import BlockExecutor
from kipax.blocks.local import LocalExecutor
from kipax.blocks.memory import bytes_per_image, bytes_per_pair, needed_bytes
from kipax.blocks.plan import BlockPlan
from kipax.blocks.targets import DatasetTargets, TargetRecipe
from kipax.errors import UsageError
from kipax.kernels import KernelSpec

__all__ = ["BlockJob", "MakeExecutor", "check_for_workers", "make_local"]


def check_for_workers(kernels: Iterable[KernelSpec]) -> None:
    """Checks that a run's kernels can be computed by workers, which build kernels by name.

    Raises:
        UsageError: one is a user's function, which workers do not have.
    """
    for spec in kernels:
        if spec.architecture.in_process_only:
            raise UsageError(
                f"workers make a kernel from its name, and {spec.architecture.name} is a "
                "function of this process alone: run it without workers."
            )


@dataclasses.dataclass(frozen=True, eq=False)
class BlockJob:
    """The blocks of a run.

    Attributes:
        targets: the run's targets, in this process.
        recipe: how other processes make the same targets.
        plan: the block sizes.
        kernels: every kernel that the run may use.
        num_targets: number of targets of a step.
        supports: number of support images.
        image_shape: height, width, channels.
        say: function that is called with sentences for the user.
        memory_gb: memory limit of a process, in units of 1e9 bytes.
    """

    targets: DatasetTargets
    recipe: TargetRecipe
    plan: BlockPlan
    kernels: tuple[KernelSpec, ...]
    num_targets: int
    supports: int
    image_shape: tuple[int, ...]
    say: Callable[[str], None]
    memory_gb: float = 0.0

    def needed_bytes(self) -> int:
        """Returns the bytes of the largest block on a worker."""
        return needed_bytes(
            self.plan,
            self.kernels,
            targets=self.num_targets,
            supports=self.supports,
            image_shape=self.image_shape,
        )

    def memory_gb_for(self, blocks: int) -> float:
        """Returns roughly the `memory_gb` with which a plan has `blocks` blocks of targets."""
        pair = bytes_per_pair(self.kernels, self.image_shape)
        row = self.supports * pair + bytes_per_image(self.image_shape)
        return 2 * math.ceil(self.num_targets / blocks) * row / 1e9


MakeExecutor = Callable[[BlockJob], BlockExecutor]


def make_local(job: BlockJob) -> LocalExecutor:
    """Returns an executor that computes in this process alone.

    On CPUs targets are preprocessed block by block, since the kernels take much longer. On other
    devices that would make the host the bottleneck: see `LocalExecutor`.
    """
    if jax.default_backend() == "cpu":
        return LocalExecutor(job.targets, job.plan)
    return LocalExecutor(job.targets, job.plan, keep_bytes=int(0.5e9 * job.memory_gb))
