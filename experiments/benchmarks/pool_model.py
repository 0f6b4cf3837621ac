"""How long a step takes on many workers: what is measured on a few, and arithmetic."""

from __future__ import annotations

import dataclasses
import math

__all__ = ["PoolCosts", "StepShape", "limits", "predict_seconds"]


@dataclasses.dataclass(frozen=True)
class StepShape:
    """What a step is made of.

    Attributes:
        target_blocks: tasks of targets, side by side.
        support_blocks: tasks of the support kernel, before them and again after them.
        target_seconds, support_seconds: of one such task on one worker; the latter of kernel
            and pullback together.
        support_bytes: of the support set, which each worker fetches.
        answer_bytes: of a target task's answer.
    """

    target_blocks: int
    support_blocks: int
    target_seconds: float
    support_seconds: float
    support_bytes: int
    answer_bytes: int

    @property
    def work_seconds(self) -> float:
        """Of one worker, for everything."""
        targets = self.target_blocks * self.target_seconds
        return targets + self.support_blocks * self.support_seconds


@dataclasses.dataclass(frozen=True)
class PoolCosts:
    """What the server pays, measured.

    Attributes:
        byte_seconds: CPU of the server for a byte in or out.
        task_seconds: for a task, whatever its size.
        step_seconds: of the solve and the update; nobody else works then.
        network_bytes: a second, in and out of the server.
    """

    byte_seconds: float
    task_seconds: float
    step_seconds: float
    network_bytes: float


def predict_seconds(shape: StepShape, costs: PoolCosts, workers: int) -> float:
    """Returns a step on so many workers.

    The target tasks take the longest of the workers' time, the server's and the network's,
    which overlap; the support kernel's and the solve come before and after.
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
    """Of so many workers, against one that had no server to talk to."""
    return shape.work_seconds / (workers * predict_seconds(shape, costs, workers))


def limits(shape: StepShape, costs: PoolCosts) -> dict[str, int | None]:
    """From how many workers on the server, or the network, is slower than they; None: never."""
    found: dict[str, int | None] = {"server": None, "network": None}
    for workers in range(1, 4097):
        rounds = shape.target_blocks * shape.target_seconds / workers
        pairs = zip(found, _server_and_network(shape, costs, workers), strict=True)
        for name, seconds in pairs:
            if found[name] is None and seconds > rounds:
                found[name] = workers
    return found
