"""What a training carries from step to step."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["TrainState"]


class TrainState(NamedTuple):
    """The state before a step. Several settings trained at once are stacked in each array.

    Attributes:
        step: number of updates so far.
        params: the student's parameters.
        batch_stats: its other variables by collection, such as running averages.
        averaged: parameters of its averaged copy; empty where the objective asks for none.
        aux: the objective's own parameters.
        objective_state: the objective's state.
        opt_state: optax's, of ``{"params": params, "aux": aux}``.
    """

    step: Any
    params: Any
    batch_stats: dict[str, Any]
    averaged: Any
    aux: dict[str, Any]
    objective_state: dict[str, Any]
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What ``network.apply`` takes."""
        return {"params": self.params, **self.batch_stats}
