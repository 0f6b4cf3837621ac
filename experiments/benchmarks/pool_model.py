"""Models the time of a step on many workers from measurements on a few."""

from __future__ import annotations

import dataclasses
import math

__all__ = ["PoolCosts", "StepShape", "limits", "predict_seconds"]


@dataclasses.dataclass(frozen=True)
class StepShape:
    """The tasks and sizes of a step.

    Attributes:
        target_blocks: number of target tasks, which run in parallel.
        support_blocks: number of support kernel tasks, before the target tasks and again after.
        target_seconds, support_seconds: seconds of one such task on one worker; for the support
            kernel, of kernel and pullback together.
        support_bytes: bytes of the support set, which each worker fetches.
        answer_bytes: bytes of the answer to a target task.
    """

    target_blocks: int
    support_blocks: int
    target_seconds: float
    support_seconds: float
    support_bytes: int
    answer_bytes: int

    @property
    def work_seconds(self) -> float:
        """The seconds of one worker for all tasks."""
        targets = self.target_blocks * self.target_seconds
        return targets + self.support_blocks * self.support_seconds


@dataclasses.dataclass(frozen=True)
class PoolCosts:
    """The measured costs of the server.

    Attributes:
        byte_seconds: CPU seconds of the server for a byte in or out.
        task_seconds: CPU seconds of the server for a task of any size.
        step_seconds: seconds of the solve and the update, in which no worker computes.
        network_bytes: bytes per second in and out of the server.
    """

    byte_seconds: float
    task_seconds: float
    step_seconds: float
    network_bytes: float


def predict_seconds(shape: StepShape, costs: PoolCosts, workers: int) -> float:
    """Returns the seconds of a step on `workers` workers.

    The target tasks take as long as the slowest of the workers, the server and the network, which
    work at the same time; the support kernel and the solve come before and after.
    """
    serial = math.ceil(shape.support_blocks / workers) * shape.support_seconds
    rounds = math.ceil(shape.target_blocks / workers) * shape.target_seconds
    return costs.step_seconds + serial + max(rounds, *_server_and_network(shape, costs, workers))


def _server_and_network(shape: StepShape, costs: PoolCosts, workers: int) -> tuple[float, float]:
    fetched = min(workers, shape.target_blocks) * shape.support_bytes
    moved = fetched + shape.target_blocks * shape.answer_bytes
    tasks = shape.target_blocks + 2 * shape.support_blocks
    return moved * costs.byte_seconds + tasks * costs.task_seconds, moved / costs.network_bytes


def efficiency(shape: StepShape, costs: PoolCosts, workers: int) -> float:
    """Returns the efficiency of `workers` workers relative to one worker without a server."""
    return shape.work_seconds / (workers * predict_seconds(shape, costs, workers))


def limits(shape: StepShape, costs: PoolCosts) -> dict[str, int | None]:
    """Returns from how many workers on server or network are the bottleneck; None for never."""
    found: dict[str, int | None] = {"server": None, "network": None}
    for workers in range(1, 4097):
        rounds = shape.target_blocks * shape.target_seconds / workers
        pairs = zip(found, _server_and_network(shape, costs, workers), strict=True)
        for name, seconds in pairs:
            if found[name] is None and seconds > rounds:
                found[name] = workers
    return found
