"""What KIP and Label Solve runs share: data, executor, folder, evaluation, results."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kipax import files, plots, ridge
from kipax.blocks import (
    BlockExecutor,
    BlockJob,
    BlockPlan,
    DatasetTargets,
    MakeExecutor,
    TargetRecipe,
    hash_targets,
    make_local,
    plan_blocks,
)
from kipax.blocks.memory import bytes_per_image, bytes_per_pair
from kipax.config import check_arguments, resolved_defaults
from kipax.data import Dataset, Preprocessor, fit_preprocessor, load_dataset
from kipax.data.datasets import check_dataset
from kipax.data.known import short_name
from kipax.distill.config import (
    Config,
    Method,
    RunConfig,
    default_workdir,
    resolve,
)
from kipax.distill.own import check_resumed, given_function, open_kernels, own_facts
from kipax.distill.state import initial_images
from kipax.distill.words import describe_run, say_data, say_differences
from kipax.distill.workdir import Workdir
from kipax.files import hash_arrays
from kipax.kernels import KernelSpec
from kipax.report import Reporter, limit_time
from kipax.runs import Identity
from kipax.support import SupportSet
from kipax.version import __version__

__all__ = ["Evaluation", "Run", "RunArguments", "RunResult", "start_run"]

_NOT_RECORDED = ("dataset", "data_dir", "memory_gb", "eval_every", "backend", "max_seconds")
PROTOCOL = "krr: kernel ridge regression with the distilling kernel"
_BLOCK_POSITION_PAIRS = 10**10  # about five seconds on two cores


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Accuracies of a support set as fractions; None where there are no such images."""

    validation_accuracy: float | None
    test_accuracy: float | None

    def to_dict(self) -> dict[str, float]:
        """Returns the accuracies that are known, by name."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}


@dataclasses.dataclass(frozen=True)
class RunResult:
    """The result of a finished run.

    Attributes:
        support: the distilled set, also in ``workdir/support.npz``.
        evaluation: accuracies of the distilled set.
        initial: accuracies of the images that the run began with, with fixed labels.
        steps: number of updates (KIP), 0 for Label Solve.
        seconds_per_step: median over this process's steps except the first, which compiles;
            None without a second step.
        workdir: the run's folder.
    """

    support: SupportSet
    evaluation: Evaluation
    initial: Evaluation
    steps: int
    seconds_per_step: float | None
    workdir: Path

    def summary(self) -> dict[str, Any]:
        """Returns the values that a command prints, JSON-ready."""
        return {
            "test_accuracy": self.evaluation.test_accuracy,
            "initial_test_accuracy": self.initial.test_accuracy,
            "validation_accuracy": self.evaluation.validation_accuracy,
            "steps": self.steps,
            "seconds_per_step": self.seconds_per_step,
            "workdir": str(self.workdir),
        }


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class RunArguments:
    """The arguments that `run_kip`, `run_label_solve` and `run_subsets` share; see `run_kip`."""

    dataset: Dataset | None = None
    workdir: Path | str | None = None
    resume: bool = False
    reporter: Reporter | None = None
    make_executor: MakeExecutor = make_local
    kernel_fn: Callable[..., Any] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """The parts of a run that do not change from step to step.

    The accuracies are measured with `kernel`; each step uses one of `kernels`.
    """

    config: RunConfig
    kernel: KernelSpec
    kernels: tuple[KernelSpec, ...]
    dataset: Dataset
    preprocessor: Preprocessor
    executor: BlockExecutor
    workdir: Workdir
    reporter: Reporter
    first_images: np.ndarray
    first_statistics: np.ndarray
    first_classes: np.ndarray
    method: Method

    def support_set(self, images, labels, *, learned_labels: bool, **facts: Any) -> SupportSet:
        """Returns a support set of images and labels with this run's metadata and further facts."""
        config = self.config
        metadata = {
            "method": self.method.title,
            "dataset": short_name(config.dataset),
            "training_hash": self.dataset.training_hash,
            "images_hash": self.dataset.images_hash,
            "pixels": self._pixels,
            "training_examples": self.dataset.facts.train_examples,
            "class_names": list(self.dataset.class_names),
            "architecture": self.kernel.architecture.to_dict(),
            "kernel": config.kernel,
            "ridge": config.ridge,
            "label_convention": "centred one-hot (onehot - 1/classes)",
            "learned_labels": learned_labels,
            "seed": config.seed,
            "config": _recorded(config),
            "kipax_version": __version__,
            "protocol": PROTOCOL,
        } | facts
        return SupportSet(
            np.asarray(images),
            np.asarray(labels),
            self.preprocessor,
            metadata,
            self.first_statistics,
            backend=config.backend,
            function=given_function(self.kernel),
        )

    @functools.cached_property
    def _pixels(self) -> dict[str, Any]:
        return self.dataset.pixels.with_moments(self.dataset.x_train).to_metadata()

    def evaluate(self, support: SupportSet) -> Evaluation:
        """Evaluates kernel ridge regression on validation images and (chosen) test images."""
        x, y, held = self._evaluated
        scores = support.scores_of_preprocessed(x)
        return Evaluation(
            ridge.accuracy(scores[:held], y[:held]) if held else None,
            ridge.accuracy(scores[held:], y[held:]) if len(y) > held else None,
        )

    @functools.cached_property
    def test_hash(self) -> str:
        """The hash that identifies the (chosen) test images."""
        x, y = self.test_images()
        return hash_arrays({"x": x, "y": y})[:12]

    @property
    def test_examples(self) -> int:
        """Number of test images that evaluations use."""
        x, _, held = self._evaluated
        return len(x) - held

    def test_images(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the (chosen) test images, preprocessed, and their classes."""
        x, y, held = self._evaluated
        return x[held:], y[held:]

    @functools.cached_property
    def _evaluated(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Validation and test images, preprocessed; their classes; the number of the former."""
        data = self.dataset
        x_test, y_test = data.test_part(self.config.eval_examples)
        x = np.concatenate([data.x_validation, x_test])
        y = np.concatenate([data.y_validation, y_test])
        return self.preprocessor.apply(x), y, len(data.x_validation)

    def initial_support(self) -> SupportSet:
        """Returns the images that the run begins with, with fixed labels."""
        labels = ridge.one_hot(self.first_classes, self.dataset.num_classes)
        return self.support_set(self.first_images, labels, learned_labels=False, step=0)

    def draw(self, support: SupportSet) -> None:
        """Writes images.png, labels.png if labels were learned, and curve.png if there were steps.

        Tells the reporter about a picture that cannot be drawn.
        """
        panels = {"initial": self.initial_support().to_uint8_images()}
        if self.method.in_steps:
            panels["learned"] = support.to_uint8_images()
        try:
            names = self.dataset.class_names
            pictures = {"images.png": plots.draw_images(panels, self.first_classes, names)}
            if support.metadata["learned_labels"]:
                pictures["labels.png"] = plots.draw_labels(support.labels, names)
            metrics = self.workdir.read_metrics()
            if metrics:
                data = short_name(self.config.dataset)
                title = f"{self.method.title} · {data} · {len(support)} images"
                pictures["curve.png"] = plots.draw_curve(metrics, title)
            for name, figure in pictures.items():
                files.write_bytes(self.workdir.path / name, plots.to_png(figure))
        except (
            ImportError,
            ValueError,
        ) as error:  # no matplotlib, or values it cannot draw
            self.reporter.say(f"not all pictures are there: {error}")


def _recorded(config: RunConfig) -> dict[str, Any]:
    """Returns the config as metadata, without fields that neither define nor explain the set."""
    values = dataclasses.asdict(config)
    return {k: v for k, v in values.items() if k not in _NOT_RECORDED}


@contextlib.contextmanager
def start_run(
    config: RunConfig, method: Method, arguments: RunArguments | None = None
) -> Iterator[Run]:
    """Loads data, fits the preprocessing, plans the blocks and holds the folder meanwhile.

    See `kipax.distill.run_kip` for the arguments.

    Raises:
        UsageError, FileError: see `load_dataset` and `RunFolder.open`.
    """
    given = arguments or RunArguments()
    check_arguments(method.config, config, resume=given.resume)
    check_dataset(given.dataset)
    reporter = given.reporter or Reporter()
    reporter = limit_time(reporter, config.max_seconds, remedy="continue with --resume")
    config, dataset = _open_data(config, given.dataset)
    kernels = open_kernels(config, dataset.image_shape, given.kernel_fn)
    say_data(config, dataset, reporter)
    preprocessor = fit_preprocessor(config.preprocessing, dataset, zca_lambda=config.zca_lambda)
    targets = DatasetTargets(dataset, preprocessor, augment_fraction=config.augmentation)
    images, statistics, classes = initial_images(config, dataset, preprocessor)
    plan = _plan(config, dataset)

    identity = _identity(config, dataset, method=method, plan=plan, kernel=kernels[0])
    folder = Workdir(given.workdir or default_workdir(config, suffix=method.suffix))
    with folder.open(identity, resume=given.resume) as stored:
        check_resumed(stored, kernels[0], dataset.image_shape, folder.path)
        say_differences(stored, identity.to_json(), reporter)
        plan = BlockPlan(**stored["plan"])
        recipe = _recipe(config, dataset, preprocessor)
        job = _job(
            config,
            dataset,
            targets,
            kernels=kernels[1:],
            recipe=recipe,
            plan=plan,
            say=reporter.say,
        )
        run = Run(
            config=config,
            kernel=kernels[0],
            kernels=kernels[1:],
            dataset=dataset,
            preprocessor=preprocessor,
            executor=given.make_executor(job),
            workdir=folder,
            reporter=reporter,
            first_images=images,
            first_statistics=statistics,
            first_classes=classes,
            method=method,
        )
        reporter.say(describe_run(run))
        yield run


def _open_data(config: Config, dataset: Dataset | None) -> tuple[Config, Dataset]:
    """Returns the resolved config and its data set, loaded where none is given."""
    if dataset is None:
        dataset = load_dataset(
            config.dataset,
            validation_examples=resolve(config).validation_examples or 0,
            data_dir=config.data_dir,
            image_size=config.image_size,
        )
    else:
        config = _of_given(config, dataset)
    config = resolve(config, training_examples=len(dataset.x_train))
    config.check_dataset(dataset)
    return config, dataset


def _identity(
    config: RunConfig, dataset: Dataset, *, method: Method, plan: BlockPlan, kernel: KernelSpec
) -> Identity:
    fill_in = functools.partial(resolve, training_examples=len(dataset.x_train))
    return Identity(
        method=method.name,
        config=dataclasses.asdict(config),
        hashes={
            "training_hash": dataset.training_hash,
            "targets_hash": hash_targets(dataset),
        },
        facts={
            "plan": plan.to_dict(),
            "versions": {"kipax": __version__, "jax": jax.__version__, "numpy": np.__version__},
        }
        | own_facts(kernel),
        free=config.may_change,
        defaults=resolved_defaults(config, fill_in),
    )


def _of_given(config: Config, dataset: Dataset) -> Config:
    """Returns the config with the name and the validation images of a data set in memory."""
    dataset.check_held_out(config.validation_examples)
    held = len(dataset.x_validation)
    return dataclasses.replace(config, dataset=dataset.name, validation_examples=held)


def _job(run_config: RunConfig, dataset: Dataset, targets: DatasetTargets, **rest) -> BlockJob:
    """Returns the `BlockJob` from which an executor is made."""
    return BlockJob(
        targets=targets,
        num_targets=run_config.targets_per_step(len(dataset.x_train)),
        supports=run_config.support,
        image_shape=dataset.image_shape,
        memory_gb=run_config.memory_gb or 0.0,
        **rest,
    )


def _recipe(config: RunConfig, dataset: Dataset, preprocessor: Preprocessor) -> TargetRecipe:
    return TargetRecipe(
        dataset=config.dataset,
        data_dir=config.data_dir,
        image_size=config.image_size,
        validation_examples=config.validation_examples or 0,
        targets_hash=hash_targets(dataset),
        augment_fraction=config.augmentation,
        preprocessing=config.preprocessing,
        arrays=preprocessor.to_arrays(),
    )


def _plan(config: RunConfig, dataset: Dataset) -> BlockPlan:
    specs = config.kernel_specs
    work = max(spec.position_pairs(dataset.image_shape) for spec in specs)
    assert config.memory_gb is not None
    return plan_blocks(
        config.targets_per_step(len(dataset.x_train)),
        config.support,
        bytes_per_pair=bytes_per_pair(specs, dataset.image_shape),
        bytes_per_image=bytes_per_image(dataset.image_shape),
        memory_gb=config.memory_gb,
        most_pairs=max(1, _BLOCK_POSITION_PAIRS // work),
    )
