"""The configs of a teacher's training and of a distillation, from which flags are made."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeVar

from kipax.config import MAX_SECONDS_HELP, check_values, config_field
from kipax.data import fit
from kipax.errors import UsageError, check_choice
from kipax.kd.objectives import LOSSES, SIGNALS
from kipax.kd.presets import OPTIMIZERS, PRESETS, SCHEDULES, TEACHER_PRESETS
from kipax.kd.views import LEVELS, MIXES
from kipax.students import StudentSpec, is_finite_only

__all__ = ["KDConfig", "TeacherConfig", "resolve"]

_POSITIVE = (
    "batch_size",
    "eval_examples",
    "image_size",
    "images",
    "learning_rate",
    "max_seconds",
    "mix_alpha",
    "scale",
    "steps",
    "temperature",
    "width",
)


def _check(config: Any) -> None:
    """Checks the fields that both configs share; raises a `UsageError`."""
    check_values(config)
    for name in _POSITIVE:
        value = getattr(config, name, None)
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise UsageError(f"{name} must be positive; got {value}.")
    for name in ("weight_decay", "validation_examples"):
        value = getattr(config, name, None)
        if value is not None and not (value >= 0 and math.isfinite(value)):
            raise UsageError(f"{name} must not be negative; got {value}.")
    if not 0 <= config.seed < 2**32:
        raise UsageError(f"seed must lie between 0 and 2**32 - 1; got {config.seed}.")
    for name, choices in (
        ("augmentation", LEVELS),
        ("optimizer", OPTIMIZERS),
        ("schedule", SCHEDULES),
        ("loss", LOSSES),
        ("signal", SIGNALS),
        ("mix", MIXES),
    ):
        value = getattr(config, name, None)
        if value is not None:
            check_choice(name, value, choices)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """The settings of a network trained from labels; ``--help`` explains each field.

    Raises:
        UsageError: a value out of range or an unknown name.
    """

    dataset: str = config_field(
        "digits", "the data set to learn, as for kipax kip", may_change=True
    )
    data_dir: str | None = config_field(
        None, "where prepared TensorFlow Datasets lie (its own default)", may_change=True
    )
    image_size: int | None = config_field(
        None, "side in pixels for pictures of differing sizes (32)"
    )
    network: str = config_field("convnet1", "the network, see kipax.students.student_names()")
    width: int | None = config_field(None, "its channels (64; the network's own in the zoo)")
    normalisation: str | None = config_field(
        None, "none, layer, instance or batch (batch; the network's own in the zoo)"
    )
    preprocessing: str = config_field("standard", "standard, zca or zca_paper")
    preset: str = config_field("small", f"constants of a paper: {', '.join(TEACHER_PRESETS)}")
    steps: int | None = config_field(None, "number of updates (by preset)")
    batch_size: int | None = config_field(None, "images a step (by preset)")
    learning_rate: float | None = config_field(None, "the first (by preset)")
    optimizer: str | None = config_field(None, "adam, momentum or nesterov (by preset)")
    schedule: str | None = config_field(None, "constant, cosine or steps (by preset)")
    weight_decay: float | None = config_field(None, "times the weights, a step (by preset)")
    smoothing: float = config_field(0.0, "label smoothing")
    augmentation: str | None = config_field(None, f"{', '.join(LEVELS)} (by preset)")
    mirror: bool | None = config_field(
        None, "whether images may be mirrored (by data set: not digits and letters)"
    )
    seed: int = config_field(0, "seed of every random choice")
    validation_examples: int | None = config_field(
        None, "training images held out, which choose the best step (a tenth, at most 5,000)"
    )
    eval_examples: int | None = config_field(
        None, "test on this many test images, a fixed balanced part (all)", may_change=True
    )
    max_seconds: float | None = config_field(None, MAX_SECONDS_HELP, may_change=True)

    def __post_init__(self) -> None:
        check_choice("preset", self.preset, tuple(TEACHER_PRESETS))
        check_choice("preprocessing", self.preprocessing, fit.names())
        _check(self)
        if not 0 <= self.smoothing < 1:
            raise UsageError(f"smoothing runs from 0 to below 1; got {self.smoothing}.")
        _ = self.spec

    @property
    def spec(self) -> StudentSpec:
        """The network."""
        return _spec(self.network, self.width, self.normalisation)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KDConfig:
    """The settings of a network distilled from a teacher; ``--help`` explains each field.

    Raises:
        UsageError: a value out of range or an unknown name.
    """

    teacher: str = config_field(
        "runs/digits-teacher",
        "a network's file or run, a distilled set's (or a shipped one's name), or "
        "python:MODULE:NAME",
        may_change=True,  # told by content
    )
    source: str = config_field(
        "shaders",
        "images to distil on: data, data:N, dataset:NAME, support:FILE, photo, photo:FILE, "
        "shaders, fractals, noise, noise:uniform, blend:W:A,B or concat:A,B",
    )
    student: str = config_field("convnet1", "the network, see kipax.students.student_names()")
    width: int | None = config_field(None, "its channels (32; the network's own in the zoo)")
    normalisation: str | None = config_field(
        None, "none, layer, instance or batch (batch; the network's own in the zoo)"
    )
    dataset: str | None = config_field(
        None, "data set to test on, or none (the teacher's own)", may_change=True
    )
    data_dir: str | None = config_field(
        None, "where prepared TensorFlow Datasets lie (its own default)", may_change=True
    )
    image_size: int | None = config_field(
        None, "side in pixels for test pictures of differing sizes (32)", may_change=True
    )
    preset: str = config_field("", f"constants of a paper: {', '.join(PRESETS)} (by teacher)")
    images: int | None = config_field(None, "images drawn once and kept (by preset)")
    steps: int | None = config_field(None, "number of updates (by preset)")
    batch_size: int | None = config_field(None, "images a step (by preset)")
    learning_rate: float | None = config_field(None, "the first (by preset)")
    optimizer: str | None = config_field(None, "adam, momentum or nesterov (by preset)")
    schedule: str | None = config_field(None, "constant, cosine or steps (by preset)")
    weight_decay: float | None = config_field(None, "times the weights, a step (by preset)")
    loss: str | None = config_field(None, f"{', '.join(LOSSES)} (by preset)")
    temperature: float | None = config_field(None, "of the softmax, tau (by preset)")
    scale: float | None = config_field(
        None, "factor of the loss; tau^2 keeps gradients the same size (by preset)"
    )
    signal: str = config_field("full", f"what of the teacher is told: {', '.join(SIGNALS)}")
    top_k: int = config_field(5, "classes that the signal top_k tells")
    smoothing: float = config_field(0.1, "of the signal smoothed")
    augmentation: str | None = config_field(None, f"{', '.join(LEVELS)} (by preset)")
    mix: str | None = config_field(None, f"{', '.join(MIXES)}, of images alone (by preset)")
    mix_alpha: float | None = config_field(None, "shares are drawn from Beta(a, a) (by preset)")
    mix_per_example: bool | None = config_field(
        None, "a share for each image instead of one for the batch (by preset)"
    )
    mirror: bool | None = config_field(
        None, "whether images may be mirrored (by the teacher's data set: not digits and letters)"
    )
    cached: bool | None = config_field(
        None, "ask the teacher once for each image; without augmentation and mixing (by preset)"
    )
    seed: int = config_field(0, "seed of every random choice")
    eval_examples: int | None = config_field(
        None, "test on this many test images, a fixed balanced part (all)", may_change=True
    )
    max_seconds: float | None = config_field(None, MAX_SECONDS_HELP, may_change=True)

    def __post_init__(self) -> None:
        if self.preset:
            check_choice("preset", self.preset, tuple(PRESETS))
        _check(self)
        _ = self.spec

    @property
    def spec(self) -> StudentSpec:
        """The student."""
        return _spec(self.student, self.width, self.normalisation, width_of_named=32)


def _spec(
    name: str, width: int | None, normalisation: str | None, *, width_of_named: int = 64
) -> StudentSpec:
    """Returns a network; architectures get our width and batch normalisation by default."""
    if not is_finite_only(name):
        width = width_of_named if width is None else width
        normalisation = normalisation or "batch"
    return StudentSpec(name=name, width=width, normalisation=normalisation)


Config = TypeVar("Config", TeacherConfig, KDConfig)


def resolve(config: Config, *, preset: str | None = None) -> Config:
    """Fills in every field for which the preset has a value; returns a new config.

    Args:
        config: the config as the user gave it.
        preset: the preset if the config names none.
    """
    name = config.preset or preset or "small"
    presets: dict[str, Any] = TEACHER_PRESETS if isinstance(config, TeacherConfig) else PRESETS
    values = presets[name]()
    missing = {k: v for k, v in values.items() if getattr(config, k) is None}
    return dataclasses.replace(config, preset=name, **missing)
