"""The configs of runs: one frozen dataclass for each method, from which flags are made.

Fields whose default is None depend on the preset and the data set: `resolve` fills them from
`kipax.distill.presets`, and a run prints and records the values that it used.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeVar

from kipax import ridge
from kipax.blocks import default_memory_gb
from kipax.config import (
    DATA_DIR_HELP,
    IMAGE_SIZE_HELP,
    MAX_SECONDS_HELP,
    changeable,
    check_not_negative,
    check_positive,
    check_seed,
    check_values,
    config_field,
)
from kipax.data import Dataset, fit
from kipax.data.known import short_name
from kipax.data.zca import check_lambda
from kipax.distill.presets import PRESETS, XENT_DEFAULTS, paper
from kipax.errors import UsageError, check_choice, split_list
from kipax.files import plain_name
from kipax.kernels import BACKENDS, KernelSpec, descriptions

__all__ = [
    "Config",
    "KIPConfig",
    "LabelSolveConfig",
    "Method",
    "default_workdir",
    "resolve",
]

INITS = ("real", "noise")
_DEFAULT_ARCHITECTURE = "convnet"


@dataclasses.dataclass(frozen=True)
class Method:
    """A distillation method.

    Attributes:
        name: its name in run.json.
        title: its name in sentences and in the metadata of the sets that it makes.
        config: the class of its configs.
        suffix: end of the names of its default folders.
        in_steps: True if it learns images step by step; False for one pass over all targets.
    """

    name: str
    title: str
    config: type
    suffix: str = ""
    in_steps: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The fields that every method has; ``--help`` explains each.

    Raises:
        UsageError: a value out of range or an unknown name.
    """

    dataset: str = config_field(
        "digits",
        "digits, mnist, fashion_mnist, svhn_cropped, cifar10, cifar100, another set of "
        "TensorFlow Datasets, npz:PATH or folder:PATH",
        may_change=True,  # images are identified by content
    )
    data_dir: str | None = config_field(None, DATA_DIR_HELP, may_change=True)
    image_size: int | None = config_field(None, IMAGE_SIZE_HELP)
    support: int = config_field(10, "number of distilled images, a multiple of the classes")
    architecture: str = config_field(
        _DEFAULT_ARCHITECTURE,
        "network whose kernel is used; or rbf, laplace (rbf:0.5: gamma 0.5), or "
        "python:MODULE:FUNCTION",
    )
    kernel: str = config_field("", "ntk or nngp, for a network (ntk)")
    preprocessing: str = config_field(
        "standard", "how raw pixels are treated: standard, zca or zca_paper"
    )
    zca_lambda: float | None = config_field(
        None,
        "regularisation of zca, relative to the mean eigenvalue (0.1; SVHN 100, except for KIP "
        "without augmentation: 0.1)",
    )
    ridge: float = config_field(1e-6, "ridge relative to tr(k_ss) / support")
    seed: int = config_field(0, "seed of every random choice")
    validation_examples: int | None = config_field(
        None, "training images to hold out (by data set)"
    )
    eval_examples: int | None = config_field(
        None, "evaluate on this many test images, a fixed balanced part (all)", may_change=True
    )
    backend: str = config_field(
        "auto",
        "what computes kernels: auto, portable, or fused (GPUs: by request)",
        may_change=True,
    )
    memory_gb: float | None = config_field(
        None, "memory limit of a process; a quarter of the machine's", may_change=True
    )
    max_seconds: float | None = config_field(None, MAX_SECONDS_HELP, may_change=True)

    def __post_init__(self) -> None:
        check_values(self)
        check_choice("backend", self.backend, BACKENDS)
        first = self._spec(self._networks[0])  # an unknown name is refused here
        object.__setattr__(self, "kernel", first.kind)
        check_choice("preprocessing", self.preprocessing, fit.names())
        sizes = ("support", "ridge", "memory_gb", "eval_examples", "image_size", "max_seconds")
        check_positive(self, *sizes)
        check_not_negative(self, "validation_examples")
        check_seed(self.seed)
        if self.zca_lambda is not None:
            self._check_zca_lambda(self.zca_lambda)

    @property
    def may_change(self) -> set[str]:
        """Names of the fields whose values may differ when a run is resumed."""
        return changeable(self)

    @property
    def augmentation(self) -> float:
        """Probability that a target of a step is augmented."""
        return 0.0

    def targets_per_step(self, training_examples: int) -> int:
        """Returns how many of `training_examples` images a step, or the one pass, uses."""
        return training_examples

    def check_dataset(self, dataset: Dataset) -> None:
        """Raises a `UsageError` for what a data set does not allow, before a folder is claimed."""

    def _check_zca_lambda(self, zca_lambda: float) -> None:
        check_lambda(zca_lambda)
        if self.preprocessing == "standard":
            raise UsageError("zca_lambda needs preprocessing=zca or zca_paper; got standard.")

    @property
    def _networks(self) -> list[str]:
        """The names of the architectures whose kernels the steps of the run may use."""
        return [self.architecture]

    def _spec(self, architecture: str) -> KernelSpec:
        return KernelSpec(descriptions.from_name(architecture), self.kernel, self.backend)

    @property
    def kernel_spec(self) -> KernelSpec:
        """The kernel of `architecture`."""
        return self._spec(self.architecture)

    @property
    def kernel_specs(self) -> tuple[KernelSpec, ...]:
        """The kernels that the steps of the run may use; where there are several, KIP draws one."""
        return tuple(self._spec(name) for name in self._networks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KIPConfig(RunConfig):
    """A Kernel Inducing Points run (Nguyen et al. 2021, section 2).

    Example:
        >>> resolve(KIPConfig(dataset="digits", support=20)).learning_rate
        0.02
    """

    preset: str = config_field(
        "paper",
        "what the fields below are that are not given: paper (Nguyen et al. 2021), or small_steps "
        "(ours, for kernel ridge regression: cross-entropy, 48 targets a step, a falling rate)",
        may_change=True,  # what it sets is recorded
    )
    steps: int | None = config_field(
        None, "number of updates (by preset and data set)", may_change=True
    )
    target_batch: str | int | None = config_field(
        None,
        "targets a step, class-balanced, or 'all' for the full-batch gradient (by preset and data "
        "set)",
    )
    learning_rate: float | None = config_field(
        None, "Adam's learning rate (by preset and data set)"
    )
    final_learning_rate: float | None = config_field(
        None,
        "go down to this rate along a cosine over --steps, which are then fixed (paper: constant)",
    )
    label_learning_rate: float | None = config_field(
        None, "the labels' rate (paper: learning_rate); slower ones keep each image in its class"
    )
    loss: str | None = config_field(
        None,
        "mse, as in the paper, or xent: cross-entropy of the scores over a temperature (by preset)",
    )
    temperature: float | None = config_field(
        None, "the first temperature of --loss=xent, which is learned (0.1)"
    )
    temperature_learning_rate: float | None = config_field(
        None, "Adam's rate of the temperature's logarithm; 0 keeps the first (0.01)"
    )
    keep_norms: bool | None = config_field(
        None,
        "each image keeps the norm with which it begins (by preset; paper: free); free images grow "
        "over many steps, and networks learn less from them",
    )
    augment_fraction: float = config_field(
        0.0, "share of the targets of a step that is augmented (the paper: 0, 0.25, 0.5, 1)"
    )
    learn_labels: bool = config_field(True, "learn the labels as well as the images")
    init: str = config_field("real", "first images: real ones, or uniform noise over their range")
    sample_architectures: str = config_field(
        "",
        "comma-separated networks, a kernel drawn each step; the first evaluates, or "
        "--architecture if among them",
    )
    eval_every: int | None = config_field(
        None, "evaluate every so many steps (about ten times a run)", may_change=True
    )
    checkpoint_every: int = config_field(
        50,
        "consider a checkpoint every so many steps; the five of lowest training loss, over the "
        "last 5,000 targets, are kept",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("init", self.init, INITS)
        check_choice("preset", self.preset, PRESETS)
        if not 0 <= self.augment_fraction <= 1:
            raise UsageError(f"augment_fraction runs from 0 to 1; got {self.augment_fraction}.")
        check_positive(
            self, "learning_rate", "label_learning_rate", "eval_every", "checkpoint_every"
        )
        if self.label_learning_rate is not None and not self.learn_labels:
            raise UsageError(
                "label_learning_rate has no effect where labels are not learned; got "
                f"{self.label_learning_rate}: leave it out, or take learn_labels=True."
            )
        self._check_final_learning_rate()
        self._check_loss()
        if self.steps is not None and self.steps < 0:
            raise UsageError(f"steps must be a whole number from 0 on; got {self.steps}.")
        if self.target_batch not in (None, "all"):
            batch = str(self.target_batch)
            if not batch.isdecimal() or int(batch) < 1:
                raise UsageError(f"target_batch is a positive integer or 'all'; got {batch!r}.")
            object.__setattr__(self, "target_batch", batch)
        self._check_samples()

    def _check_final_learning_rate(self) -> None:
        final, first = self.final_learning_rate, self.learning_rate
        if final is None:
            return
        if not (final >= 0 and math.isfinite(final)):
            raise UsageError(f"final_learning_rate must be a number from 0 on; got {final}.")
        if first is not None and final > first:
            raise UsageError(
                f"final_learning_rate must not exceed learning_rate, which is {first}; got {final}."
            )

    def _check_loss(self) -> None:
        loss = self.chosen_loss
        check_choice("loss", loss, ridge.LOSSES)
        check_positive(self, "temperature")
        check_not_negative(self, "temperature_learning_rate")
        for name in XENT_DEFAULTS:
            value = getattr(self, name)
            if value is not None and loss != "xent":
                raise UsageError(
                    f"{name} belongs to loss=xent; got {value} with loss={loss}: leave it out."
                )

    @property
    def chosen_loss(self) -> str:
        """The loss as it was given, or else the preset's, which is the same for all data sets."""
        return PRESETS[self.preset]("")["loss"] if self.loss is None else self.loss

    @property
    def may_change(self) -> set[str]:
        """As in `RunConfig`, without ``steps`` where the learning rate depends on them."""
        fixed = {"steps"} if self.final_learning_rate is not None else set()
        return super().may_change - fixed

    @property
    def _networks(self) -> list[str]:
        return split_list(self.sample_architectures) or [self.architecture]

    def _check_samples(self) -> None:
        """Makes `architecture`, which evaluates, one of the sampled architectures."""
        specs = self.kernel_specs  # unknown names are refused here
        if len(specs) > 1 and any(spec.architecture.in_process_only for spec in specs):
            raise UsageError(
                f"sample_architectures draws among kernels known by name; got "
                f"{self.sample_architectures}: a function of yours is run alone."
            )
        if self.architecture in self._networks:
            return
        if self.architecture != _DEFAULT_ARCHITECTURE:
            raise UsageError(
                f"architecture, which evaluates, must be one of sample_architectures; got "
                f"{self.architecture}, and {self.sample_architectures}."
            )
        object.__setattr__(self, "architecture", self._networks[0])

    @property
    def augmentation(self) -> float:
        """Probability that a target of a step is augmented."""
        return self.augment_fraction

    def targets_per_step(self, training_examples: int) -> int:
        """Returns `batch_size`; every method has this function."""
        return self.batch_size(training_examples)

    def batch_size(self, targets: int) -> int:
        """Targets a step, of `targets` training images."""
        if self.target_batch in (None, "all"):
            return targets
        size = int(str(self.target_batch))
        if size > targets:
            raise UsageError(
                f"target_batch must not exceed the {targets} training images; got {size}: "
                "use target_batch=all."
            )
        return size


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelSolveConfig(RunConfig):
    """A Label Solve run: real images, labels in closed form (the paper's equation 2)."""


Config = TypeVar("Config", bound=RunConfig)


def resolve(config: Config, *, training_examples: int | None = None) -> Config:
    """Returns a config whose empty fields are filled in by preset, data set and machine.

    Args:
        config: the config as the user gave it.
        training_examples: number of targets; a default batch that is larger takes all of them.
    """
    values = {k: v for k, v in _defaults(config).items() if hasattr(config, k)}
    if isinstance(config, KIPConfig):
        if config.chosen_loss == "xent":
            values |= XENT_DEFAULTS
        if not config.learn_labels:
            values.pop("label_learning_rate", None)
    batch = values.get("target_batch")
    if batch is not None:
        beyond = training_examples is not None and batch > training_examples
        values["target_batch"] = "all" if beyond else str(batch)
    missing = {k: v for k, v in values.items() if getattr(config, k) is None}
    config = dataclasses.replace(config, **missing)
    if isinstance(config, KIPConfig) and config.eval_every is None:
        every = max(1, -(-(config.steps or 1) // 10))
        config = dataclasses.replace(config, eval_every=every)
    return config


def _defaults(config: RunConfig) -> dict[str, Any]:
    """Returns the preset's values, changed for whitening, by special rules for SVHN."""
    kind = config.dataset.partition(":")[0]
    of_kind = PRESETS[config.preset] if isinstance(config, KIPConfig) else paper
    values = of_kind(kind) | {"memory_gb": default_memory_gb()}
    if config.preprocessing == "standard":
        return values
    if kind != "svhn_cropped":
        return values | {"zca_lambda": 0.1}
    if isinstance(config, KIPConfig) and config.augment_fraction == 0:
        # The paper found such runs unstable and fell back to CIFAR-10's hyperparameters.
        return values | of_kind("cifar10") | {"zca_lambda": 0.1}
    return values | {"zca_lambda": 100.0}


def default_workdir(config: RunConfig, *, suffix: str = "") -> str:
    """Returns ``runs/<dataset>-<architecture>-<support>``, with the suffix appended if given."""
    network = "sampled" if getattr(config, "sample_architectures", "") else config.architecture
    name = f"runs/{short_name(config.dataset)}-{plain_name(network)}-{config.support}"
    return f"{name}-{suffix}" if suffix else name
