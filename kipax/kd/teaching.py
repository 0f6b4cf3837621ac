"""`run_teacher`: a network trained from labels, in a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kipax import ridge
from kipax.data import Dataset, Preprocessor, fit_preprocessor, load_dataset
from kipax.data.known import may_be_mirrored, short_name
from kipax.errors import UsageError
from kipax.kd.config import TeacherConfig, resolve
from kipax.kd.presets import make_descent
from kipax.kd.sources.base import ImageSpace
from kipax.kd.trainee import Trainee, save_networks, train_in_folder
from kipax.kd.views import ViewedBatches, Views
from kipax.networks import TrainedNetwork
from kipax.report import Reporter, limit_time
from kipax.runs import Identity, RunFolder
from kipax.training import Batch, CrossEntropy, Epochs, Selection, Setting, accuracy
from kipax.version import __version__

__all__ = ["TrainingResult", "run_teacher"]


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """The result of a finished training.

    Attributes:
        network: the network of the best step, also in ``workdir/network.npz``.
        workdir: the run's folder.
        test_accuracy: test accuracy of `network`; None without test images.
        last_accuracy: test accuracy of the network after the last step.
        best_step: the step of `network`.
        steps: number of updates.
        facts: further numbers.
    """

    network: TrainedNetwork
    workdir: Path
    test_accuracy: float | None
    last_accuracy: float | None
    best_step: int
    steps: int
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Returns the values that a command prints, JSON-ready."""
        return {
            "test_accuracy": self.test_accuracy,
            "test_accuracy_last": self.last_accuracy,
            "best_step": self.best_step,
            "steps": self.steps,
            **self.facts,
            "workdir": str(self.workdir),
        }


def run_teacher(
    config: TeacherConfig,
    *,
    dataset: Dataset | None = None,
    workdir: Path | str | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> TrainingResult:
    """Trains a network from labels and writes it to a folder as ``network.npz``.

    Validation images choose the best step; test images are only reported. The same call with
    the same machine and versions gives the same bytes, whether it was interrupted or not.

    Args:
        config: the settings; fields that are None are filled in by preset.
        dataset: the data with their validation images; None loads ``config.dataset``.
        workdir: the run's folder; by default ``runs/<dataset>-teacher``.
        resume: True continues the run in `workdir`, and starts one if there is none.
        reporter: is told sentences and progress.

    Raises:
        UsageError, FileError: wrong input; nothing is lost.
        FailedRunError: the loss is not finite.

    Example:
        >>> run_teacher(TeacherConfig(steps=0))
        Traceback (most recent call last):
        kipax.errors.UsageError: steps must be positive; got 0.
    """
    if not isinstance(config, TeacherConfig) or not isinstance(resume, bool):
        raise UsageError("run_teacher takes a TeacherConfig, and resume as True or False.")
    config = resolve(config)
    if dataset is not None:  # its name and split hold
        held = len(dataset.x_validation)
        config = dataclasses.replace(config, dataset=dataset.name, validation_examples=held)
    reporter = reporter or Reporter()
    reporter = limit_time(reporter, config.max_seconds, remedy="continue with --resume")
    data = dataset or _load(config)
    reporter.say(f"{data!r} · {config.preprocessing} preprocessing")
    if data.note:
        reporter.say(data.note)
    preprocessor = fit_preprocessor(config.preprocessing, data)
    folder = RunFolder(workdir or f"runs/{short_name(config.dataset)}-teacher")
    with folder.open(_identity(config, data), resume=resume):
        trainee = _trainee(config, data, preprocessor)
        reporter.say(f"{config.spec.describe()} · {_describe(config)}")
        selection = train_in_folder(folder, trainee, reporter)
        return _finish(folder, config, data, preprocessor, selection, reporter)


def _load(config: TeacherConfig) -> Dataset:
    data = load_dataset(config.dataset, data_dir=config.data_dir, image_size=config.image_size)
    held = config.validation_examples
    if held is None:
        held = min(5000, len(data.x_train) // 10)
    return data.hold_out(held) if held else data


def _identity(config: TeacherConfig, data: Dataset) -> Identity:
    changing = {f.name for f in dataclasses.fields(config) if f.metadata["may_change"]}
    held = data.y_validation
    return Identity(
        method="teacher",
        config=dataclasses.asdict(config),
        hashes={"training_hash": data.training_hash, "held": f"{len(held)}"},
        facts={"versions": {"kipax": __version__, "jax": jax.__version__}},
        free=changing,
        defaults={f.name: f.default for f in dataclasses.fields(config)},
    )


def space_of(data: Dataset) -> ImageSpace:
    """Returns the `ImageSpace` of a data set's raw images."""
    pixels = data.pixels.with_moments(data.x_train)
    return ImageSpace(data.image_shape, pixels.low, pixels.high, pixels.mean, pixels.deviation)


def _trainee(config: TeacherConfig, data: Dataset, preprocessor: Preprocessor) -> Trainee:
    mirror = may_be_mirrored(config.dataset) if config.mirror is None else config.mirror
    batch_size, learning_rate = _given(config.batch_size), _given(config.learning_rate)
    views = Views(level=config.augmentation or "none", mirror=mirror)
    x, labels = data.x_train, ridge.one_hot(data.y_train, data.num_classes)
    seen = ViewedBatches(
        lambda index: np.asarray(x[index], np.float32),
        Epochs(len(x), int(batch_size), seed=config.seed),
        space=space_of(data),
        preprocessor=preprocessor,
        views=views,
        seed=config.seed,
    )
    held = len(data.x_validation)
    validation = (preprocessor.apply(data.x_validation), data.y_validation) if held else None
    return Trainee(
        module=config.spec.build(data.num_classes, data.image_shape),
        batches=labelled(seen, labels),
        objective=CrossEntropy(config.smoothing),
        descent=make_descent(
            config.optimizer or "adam",
            config.schedule or "cosine",
            steps=int(_given(config.steps)),
            weight_decay=config.weight_decay or 0.0,
        ),
        setting=Setting(learning_rate, 0.0, config.seed),
        chosen_by=validation,
    )


def _given(value: float | None) -> float:
    """Returns a number that `resolve` has filled in, and so is not None."""
    assert value is not None
    return value


def labelled(seen: Callable[[int], Batch], labels: np.ndarray) -> Callable[[int], Batch]:
    """Returns batches with the labels ``(n, classes)`` of their images, without raw images."""

    def batches(step: int) -> Batch:
        batch = seen(step)
        return batch._replace(y=labels[batch.index], x_teacher=None)

    return batches


def _describe(config: TeacherConfig) -> str:
    decay = f", weight decay {config.weight_decay:g}" if config.weight_decay else ""
    return (
        f"{config.steps:,} steps of {config.batch_size} · {config.optimizer} "
        f"{config.learning_rate:g}, {config.schedule}{decay} · augmentation {config.augmentation}"
    )


def _finish(
    folder: RunFolder,
    config: TeacherConfig,
    data: Dataset,
    preprocessor: Preprocessor,
    selection: Selection,
    reporter: Reporter,
) -> TrainingResult:
    x, y = data.test_part(config.eval_examples)
    test = (preprocessor.apply(x), y) if len(x) else None
    rule = "best step by validation accuracy" if selection.validation else "last step"
    facts: dict[str, Any] = {
        "method": "trained from labels",
        "dataset": short_name(config.dataset),
        "training_hash": data.training_hash,
        "class_names": list(data.class_names),
        "image_shape": list(data.image_shape),
        "pixels": data.pixels.with_moments(data.x_train).to_metadata(),
        "config": {k: v for k, v in dataclasses.asdict(config).items() if k not in _NOT_RECORDED},
        "kipax_version": __version__,
        "test_examples": len(x),
    }
    made = {}
    for name, variables, step in (
        ("best", selection.best, int(selection.best_step[0])),
        ("last", selection.last, _given(config.steps)),
    ):
        own = facts | {"step": step, "rule": rule if name == "best" else "last step"}
        if test is not None:
            own["test_accuracy"] = accuracy(selection.network, variables, *test)
        made[name] = TrainedNetwork(config.spec, variables, preprocessor, own)
    title = f"{config.network} · {short_name(config.dataset)}"
    save_networks(folder, made["best"], made["last"], title=title, reporter=reporter)
    return TrainingResult(
        made["best"],
        folder.path,
        made["best"].metadata.get("test_accuracy"),
        made["last"].metadata.get("test_accuracy"),
        int(selection.best_step[0]),
        int(_given(config.steps)),
    )


_NOT_RECORDED = ("dataset", "data_dir", "max_seconds", "eval_examples")
