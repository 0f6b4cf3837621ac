"""The config of an evaluation: one frozen dataclass, from which the flags are made."""

from __future__ import annotations

import dataclasses
from typing import Any

from kipax.config import (
    DATA_DIR_HELP,
    EVAL_EXAMPLES_HELP,
    IMAGE_SIZE_HELP,
    KERNEL_FN_HELP,
    MAX_SECONDS_HELP,
    check_not_negative,
    check_positive,
    check_values,
    config_field,
)
from kipax.errors import UsageError, check_choice, split_list
from kipax.transfer import protocols
from kipax.transfer.protocols import GRIDS, EvaluationProtocol

__all__ = ["EvaluateConfig"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """An evaluation of a support set; ``--help`` explains each field.

    Raises:
        UsageError: a value out of range or an unknown name.
    """

    protocol: str = config_field(
        "krr", "krr, kip-nn, dc, dsa or frepo; see kipax.transfer.protocols"
    )
    dataset: str | None = config_field(
        None, "data set to test on, as for kipax kip (what the file says)"
    )
    data_dir: str | None = config_field(None, DATA_DIR_HELP)
    image_size: int | None = config_field(None, IMAGE_SIZE_HELP)
    kernel_fn: str | None = config_field(None, KERNEL_FN_HELP)
    baselines: bool = config_field(False, "also random real images, and Label Solve on them")
    full_data: bool = config_field(
        False, "kip-nn: also the student on all training images, with and without flip and crop"
    )
    checkpoints: bool = config_field(
        False, "of a run's checkpoints (steps 0, 1, 4, 12, 37, ...) the best by validation"
    )
    architectures: str = config_field(
        "", "comma-separated networks, a column each (the protocol's, or the set's own)"
    )
    width: int | None = config_field(
        None, "channels of the students (the network's own; kip-nn 1024)"
    )
    normalisation: str | None = config_field(
        None, "none, layer, instance or batch (the network's own)"
    )
    mirror: bool | None = config_field(
        None, "whether training images may be mirrored (by data set: not digits and letters)"
    )
    losses: str = config_field("", "mse, xent or mse,xent (by protocol)")
    steps: int | None = config_field(None, "updates of a student (by protocol; kip-nn 5,000)")
    grid: str = config_field("paper", "points of kip-nn: paper (20), small (4) or one")
    seeds: int | None = config_field(None, "networks trained at the chosen point (by protocol)")
    draws: int | None = config_field(
        None, "random real sets (krr 20, otherwise one a network up to seeds)"
    )
    validation_examples: int | None = config_field(
        None,
        "training images held out to choose by (those that the run held out, else by protocol: "
        "kip-nn 5,000, at most a fifth)",
    )
    eval_examples: int | None = config_field(None, EVAL_EXAMPLES_HELP)
    together: int | None = config_field(
        None,
        "points of a grid trained at once (1 on CPUs, where more are slower; else 20, or as many "
        "as the device's memory holds)",
    )
    out: str | None = config_field(None, "file of finished points (beside the set)")
    save_networks: str | None = config_field(
        None, "folder that keeps every trained network, for kipax.load_network (none is kept)"
    )
    max_seconds: float | None = config_field(None, MAX_SECONDS_HELP)

    def __post_init__(self) -> None:
        check_values(self)
        protocols.protocol_by_name(self.protocol)
        check_choice("grid", self.grid, GRIDS)
        for name in ("width", "steps", "seeds", "draws", "eval_examples", "image_size", "together"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be a positive whole number; got {value}.")
        check_positive(self, "max_seconds")
        check_not_negative(self, "validation_examples")
        self._check_effects()
        self.resolve_protocol(training_examples=100_000)

    def _check_effects(self) -> None:
        """Raises a `UsageError` for fields that the protocol does not use."""
        idle: tuple[str, ...] = ("grid", "full_data") if self.protocol != "kip-nn" else ()
        if self.protocol == "krr":
            idle += ("width", "normalisation", "losses", "steps", "seeds", "mirror")
            idle += ("save_networks",)
        if self.protocol != "kip-nn":
            idle += ("together",)  # a single point is trained alone
        if self.draws is not None and not self.baselines:
            raise UsageError(
                f"draws={self.draws} has no effect without baselines: add baselines=True."
            )
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        for name in idle:
            if getattr(self, name) != defaults[name]:
                raise UsageError(
                    f"{name} has no effect under {self.protocol}; got {getattr(self, name)}: leave "
                    "it out, or take protocol=kip-nn."
                )

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks that were asked for, one for each column."""
        return tuple(dict.fromkeys(split_list(self.architectures)))

    def resolve_protocol(self, *, training_examples: int, held_out: int = 0) -> EvaluationProtocol:
        """Returns the protocol, changed by the fields of this config.

        Args:
            training_examples: number of training images, held-out ones included.
            held_out: how many of them were not used by the distillation.
        """
        protocol = protocols.protocol_by_name(self.protocol)
        changes: dict[str, Any] = {"checkpoints": self.checkpoints}
        if self.protocol == "kip-nn":
            changes["learning_rates"], changes["l2"] = GRIDS[self.grid]
        for name in ("width", "normalisation", "seeds", "mirror"):
            if getattr(self, name) is not None:
                changes[name] = getattr(self, name)
        if losses := tuple(dict.fromkeys(split_list(self.losses))):
            changes["losses"] = losses
        if self.steps is not None:
            changes["steps"] = lambda images, dataset, loss, steps=self.steps: steps
        held = self.validation_examples
        if held is None:
            held = min(protocol.validation_examples, training_examples // 5)
            if held_out and (held or self.checkpoints):
                held = min(held_out, training_examples // 5)
        return dataclasses.replace(protocol, validation_examples=held, **changes)
