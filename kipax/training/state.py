"""`TrainState`: what a training carries from step to step."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["TrainState"]


class TrainState(NamedTuple):
    """The state before a step. Several settings trained at once are stacked in each array.

    Attributes:
        step: number of updates so far.
        params: the student's parameters.
        batch_stats: the student's other variables by collection, such as running averages.
        averaged: parameters of the averaged copy; empty without a copy.
        aux: the objective's own parameters.
        objective_state: the objective's state.
        opt_state: optax's state for ``{"params": params, "aux": aux}``.
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
        """The variables that ``network.apply`` takes."""
        return {"params": self.params, **self.batch_stats}
