"""The configs of a teacher's training and of a distillation, from which flags are made."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar

import jax

from kipax.config import (
    DATA_DIR_HELP,
    EVAL_EXAMPLES_HELP,
    IMAGE_SIZE_HELP,
    MAX_SECONDS_HELP,
    changeable,
    check_not_negative,
    check_positive,
    check_seed,
    check_share,
    check_values,
    config_field,
    given,
    resolved_defaults,
)
from kipax.data import fit
from kipax.errors import UsageError, check_choice
from kipax.kd.answers import KEPT
from kipax.kd.objectives import SIGNALS
from kipax.kd.presets import OPTIMIZERS, PRESETS, SCHEDULES, make_descent
from kipax.kd.projectors import PROJECTORS
from kipax.kd.teacher_kinds import KINDS, OBJECTIVES, check_kind, kind_of
from kipax.kd.teacher_presets import TEACHER_PRESETS
from kipax.kd.term_config import TermConfig
from kipax.kd.terms import TERMS, Term, join_terms, parse_loss
from kipax.kd.views import LEVELS, MIXES
from kipax.runs import Identity
from kipax.students import StudentSpec, is_finite_only
from kipax.training import Descent, Setting
from kipax.version import __version__

__all__ = ["FORMULAS", "KDConfig", "TeacherConfig", "identify", "resolve"]

FORMULAS = 1  # increased when results change, so that older ones are neither used nor resumed
_CHOICES = {
    "augmentation": LEVELS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "signal": SIGNALS,
    "mix": MIXES,
    "answers": KEPT,
    "objective": OBJECTIVES,
    "projector": PROJECTORS,
}


def _describe_terms() -> str:
    return "; ".join(f"{name} ({term.words})" for name, term in TERMS.items())


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The settings that every training of a network has."""

    data_dir: str | None = config_field(None, DATA_DIR_HELP, may_change=True)
    width: int | None = config_field(None, "channels (64; a student's 32; the zoo's own)")
    normalisation: str | None = config_field(
        None, "none, layer, instance or batch (batch; some networks have their own)"
    )
    steps: int | None = config_field(None, "number of updates (by preset)")
    batch_size: int | None = config_field(None, "images a step (by preset)")
    learning_rate: float | None = config_field(None, "the first learning rate (by preset)")
    optimizer: str | None = config_field(None, f"{', '.join(OPTIMIZERS)} (by preset)")
    schedule: str | None = config_field(
        None, f"of the learning rate: {', '.join(SCHEDULES)} (by preset)"
    )
    weight_decay: float | None = config_field(
        None, "factor of the weights that are added to their gradient; with Adam, apart (by preset)"
    )
    augmentation: str | None = config_field(None, f"{', '.join(LEVELS)} (by preset)")
    mirror: bool | None = config_field(
        None, "whether images may be mirrored (by data set: not digits and letters)"
    )
    seed: int = config_field(0, "seed of every random choice")
    eval_examples: int | None = config_field(None, EVAL_EXAMPLES_HELP, may_change=True)
    max_seconds: float | None = config_field(None, MAX_SECONDS_HELP, may_change=True)

    def __post_init__(self) -> None:
        check_values(self)
        sizes = ("width", "steps", "batch_size", "learning_rate", "eval_examples", "max_seconds")
        check_positive(self, *sizes)
        check_not_negative(self, "weight_decay")
        check_seed(self.seed)
        for name, choices in _CHOICES.items():
            value = getattr(self, name, None)
            if value is not None:
                check_choice(name, value, choices)

    @property
    def descent(self) -> Descent:
        """Optimiser, schedule and number of steps, of a resolved config."""
        return make_descent(
            given(self.optimizer),
            given(self.schedule),
            steps=given(self.steps),
            weight_decay=given(self.weight_decay),
        )

    @property
    def setting(self) -> Setting:
        """Learning rate and seed, of a resolved config."""
        return Setting(given(self.learning_rate), 0.0, self.seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherConfig(TrainingConfig):
    """The settings of a teacher's training; ``--help`` explains each field.

    Raises:
        UsageError: a value out of range or an unknown name.
    """

    dataset: str = config_field(
        "digits", "the data set to learn, as for kipax kip", may_change=True
    )
    image_size: int | None = config_field(None, IMAGE_SIZE_HELP)
    network: str = config_field("convnet1", "the network, see kipax.students.student_names()")
    preprocessing: str = config_field("standard", "standard, zca or zca_paper")
    preset: str = config_field(
        "", f"constants of a paper: {', '.join(TEACHER_PRESETS)} (by what is trained)"
    )
    objective: str = config_field(
        "labels", "what it learns: labels, or without them simclr or moco, which give features"
    )
    temperature: float | None = config_field(None, "tau, for simclr and moco (by preset)")
    queue: int | None = config_field(None, "keys of earlier batches, for moco (by preset)")
    averaging: float | None = config_field(
        None, "momentum of the averaged copy, for moco (by preset)"
    )
    projector: str | None = config_field(
        None, f"{', '.join(PROJECTORS)}, for simclr and moco (by preset)"
    )
    linear_probe: str | None = config_field(
        None, "a network's file or run that gets a new head for --dataset, its other layers frozen"
    )
    fine_tune: str | None = config_field(
        None, "a network's file or run that gets a new head and is trained on for --dataset"
    )
    backbone_rate: float | None = config_field(
        None, "rate of all layers but the head, as a share of its rate, for --fine_tune (by preset)"
    )
    smoothing: float = config_field(0.0, "label smoothing")
    validation_examples: int | None = config_field(
        None,
        "training images held out, which choose the best step (a tenth, at most 5,000; none for "
        "simclr, moco and --linear_probe, which keep the last)",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.preset:
            check_choice("preset", self.preset, tuple(TEACHER_PRESETS))
        check_choice("preprocessing", self.preprocessing, fit.names())
        check_positive(self, "image_size", "temperature", "queue", "backbone_rate")
        check_not_negative(self, "validation_examples")
        check_kind(self)
        check_share(self, "smoothing")
        _ = self.spec  # raises for a network that does not exist

    @property
    def kind(self) -> str:
        """The kind of training: an objective, ``linear_probe`` or ``fine_tune``."""
        return kind_of(self)

    @property
    def spec(self) -> StudentSpec:
        """The network."""
        return _spec(self.network, self.width, self.normalisation, default_width=64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KDConfig(TrainingConfig, TermConfig):
    """The settings of a network distilled from a teacher; ``--help`` explains each field.

    Raises:
        UsageError: a value out of range or an unknown name.
    """

    teacher: str = config_field(
        "runs/digits-teacher",
        "a network's file or run, a distilled set's (or a shipped one's name), or "
        "python:MODULE:NAME",
        may_change=True,  # teachers are compared by content
    )
    source: str = config_field(
        "shaders",
        "images to distil on: data, data:N, data:N:R, dataset:NAME, folder:PATH, support:FILE, "
        "photo, photo:FILE, shaders, leaves, fractals, noise, noise:uniform, matched:A, "
        "blend:W:A,B, concat:A,B or join:A,B",
    )
    student: str | None = config_field(
        None, "the network, see kipax.students.student_names() (by preset)"
    )
    dataset: str | None = config_field(
        None, "data set to test on; none for no test (the teacher's own, if here)", may_change=True
    )
    image_size: int | None = config_field(None, IMAGE_SIZE_HELP, may_change=True)
    preset: str = config_field("", f"constants of a paper: {', '.join(PRESETS)} (by teacher)")
    images: int | None = config_field(None, "images drawn once and kept (by preset)")
    pool: int | None = config_field(
        None,
        "images that the teacher is asked about, of which --images are chosen, as many of each "
        "class that it predicts (the first ones, whatever their class)",
    )
    imbalance: float = config_field(
        1.0, "of a choice from the pool: the largest class over the smallest"
    )
    boundary: bool = config_field(
        False, "move each image to a class boundary of the teacher: four images on its two sides"
    )
    epochs: int | None = config_field(
        None, "passes over the drawn images, which give the number of steps (by preset)"
    )
    loss: str | None = config_field(
        None, f"a term, or a sum of terms such as ce+0.5*kl: {_describe_terms()} (by preset)"
    )
    temperature: float | None = config_field(None, "tau of kl, l1 and l2 (by preset)")
    scale: float | None = config_field(
        None, "factor of these terms; tau^2 keeps gradients the same size (by preset)"
    )
    signal: str = config_field(
        "full", f"the part of the teacher's answer that is used: {', '.join(SIGNALS)}"
    )
    top_k: int = config_field(5, "number of classes of the signal top_k")
    smoothing: float = config_field(0.1, "label smoothing of the signal smoothed")
    mix: str | None = config_field(None, f"{', '.join(MIXES)}, of images alone (by preset)")
    mix_alpha: float | None = config_field(None, "shares are drawn from Beta(a, a) (by preset)")
    mix_per_example: bool | None = config_field(
        None, "a share for each image instead of one for the batch (by preset)"
    )
    cached: bool | None = config_field(
        None, "ask the teacher once for each image; without augmentation and mixing (by preset)"
    )
    answers: str = config_field(
        "full",
        "how --cached keeps answers: full, half (float16), or top_k (the --top_k largest logits)",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.preset:
            check_choice("preset", self.preset, tuple(PRESETS))
        sizes = ("image_size", "images", "epochs", "pool", "temperature", "scale", "mix_alpha")
        check_positive(self, *sizes)
        self.check_terms()
        if self.loss is not None:
            parse_loss(self.loss)
        if self.epochs is not None and self.steps is not None:
            raise UsageError(
                "epochs and steps both say how long to train; got "
                f"{self.epochs} and {self.steps}: leave one out."
            )
        given_one = self.imbalance >= 1 and math.isfinite(self.imbalance)
        if not given_one or (self.imbalance > 1 and self.pool is None):
            raise UsageError(
                "imbalance is the largest class over the smallest, from 1 on, of images chosen "
                f"from a pool; got {self.imbalance} and pool {self.pool}."
            )
        if self.student is not None:
            _ = self.spec  # raises for a network that does not exist

    @property
    def spec(self) -> StudentSpec:
        """The student of a config that names it; a resolved config does."""
        return _spec(given(self.student), self.width, self.normalisation, default_width=32)

    @property
    def terms(self) -> tuple[tuple[float, str], ...]:
        """The weight and the name of each term of a resolved config's loss."""
        return parse_loss(given(self.loss))

    @property
    def needs(self) -> Term:
        """What the loss of a resolved config needs and trains."""
        return join_terms([name for _, name in self.terms])

    def with_steps(self, images: int) -> KDConfig:
        """Returns the config with a number of steps in the place of its epochs, if it has epochs.

        Every drawn image counts, whether or not it has a label or is held out, so that presets
        which differ in these train for the same number of steps.

        Args:
            images: number of drawn images.

        Raises:
            UsageError: images are moved to boundaries, which changes their number.
        """
        if self.epochs is None:
            return self
        if self.boundary:
            raise UsageError(
                "how many images can be moved to boundaries is not known beforehand; got epochs "
                f"{self.epochs}: take --steps."
            )
        batch = min(given(self.batch_size), images)
        steps = max(1, round(self.epochs * images / batch))
        return dataclasses.replace(self, epochs=None, steps=steps)


def _spec(
    name: str, width: int | None, normalisation: str | None, *, default_width: int
) -> StudentSpec:
    """Returns the description of a network, with this room's default width and normalisation.

    Architectures have `default_width` channels and batch normalisation unless the user says more.

    Evaluations give resnet18 and vgg11 instance normalisation, as DC does; here they have batch
    normalisation, as their own papers do.
    """
    if not is_finite_only(name):
        width = default_width if width is None else width
    if not is_finite_only(name) or name in ("resnet18", "vgg11"):
        normalisation = normalisation or "batch"
    return StudentSpec(name=name, width=width, normalisation=normalisation)


Config = TypeVar("Config", TeacherConfig, KDConfig)


def resolve(config: Config, *, preset: str | None = None) -> Config:
    """Fills in every field for which the preset has a value; returns a new config.

    Args:
        config: the config as the user gave it.
        preset: the preset if the config names none; None for that of what is trained.
    """
    presets: dict[str, Any] = PRESETS
    if isinstance(config, TeacherConfig):
        presets, preset = TEACHER_PRESETS, preset or KINDS[config.kind].presets[0]
    name = config.preset or preset or "small"
    values = presets[name]()
    for own, other in (("steps", "epochs"), ("epochs", "steps")):
        if getattr(config, own, None) is not None:  # the user's own one of the two counts
            values.pop(other, None)
    missing = {k: v for k, v in values.items() if getattr(config, k) is None}
    return dataclasses.replace(config, preset=name, **missing)


def identify(method: str, config: Config, hashes: Mapping[str, str]) -> Identity:
    """Returns the facts that identify a training's run.

    Args:
        method: its name in run.json.
        config: its resolved config.
        hashes: the hashes of its images and, if it has one, of its teacher.
    """
    return Identity(
        method=method,
        config=dataclasses.asdict(config),
        hashes=hashes,
        facts={"versions": {"kipax": __version__, "jax": jax.__version__}},
        free=changeable(config),
        defaults=resolved_defaults(config, resolve),
    )
