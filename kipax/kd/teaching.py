"""`run_teacher`: a network trained from labels, in a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kipax import ridge
from kipax.config import check_arguments, given
from kipax.data import Dataset, Preprocessor, fit_preprocessor, load_dataset
from kipax.data.datasets import check_dataset
from kipax.data.known import may_be_mirrored, short_name
from kipax.kd.config import FORMULAS, TeacherConfig, identify, resolve
from kipax.kd.sources.base import ImageSpace
from kipax.kd.trainee import (
    Trainee,
    TrainingResult,
    finish_training,
    tested_network,
    train_in_folder,
)
from kipax.kd.views import ViewedBatches, Views
from kipax.networks import TrainedNetwork
from kipax.pixels import PixelFacts
from kipax.report import Reporter, limit_time
from kipax.runs import RunFolder
from kipax.training import Batch, CrossEntropy, Epochs, Selection
from kipax.version import __version__

__all__ = ["run_teacher"]

_NOT_RECORDED = ("dataset", "data_dir", "max_seconds", "eval_examples")


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
    check_arguments(TeacherConfig, config, resume=resume)
    check_dataset(dataset)
    config = _resolve(config, dataset)
    remedy = "continue with --resume"
    reporter = limit_time(reporter or Reporter(), config.max_seconds, remedy=remedy)
    data = dataset or _load(config)
    reporter.say(f"{data!r} · {config.preprocessing} preprocessing")
    if data.note:
        reporter.say(data.note)
    pixels = data.pixels.with_moments(data.x_train)
    learned = _Learned(data, fit_preprocessor(config.preprocessing, data), pixels)
    hashes = {"training_hash": data.training_hash, "held": f"{len(data.y_validation)}"}
    hashes["formulas"] = str(FORMULAS)
    folder = RunFolder(workdir or f"runs/{short_name(config.dataset)}-teacher")
    with folder.open(identify("teacher", config, hashes), resume=resume):
        trainee = _trainee(config, learned)
        reporter.say(f"{config.spec.describe()} · {_describe(config)}")
        selection = train_in_folder(folder, trainee, reporter)
        return _finish(folder, config, learned, selection, reporter)


def _resolve(config: TeacherConfig, dataset: Dataset | None) -> TeacherConfig:
    """Fills in the fields that depend on the preset and the data."""
    config = resolve(config)
    if dataset is not None:  # its name and split count
        held = len(dataset.x_validation)
        config = dataclasses.replace(config, dataset=dataset.name, validation_examples=held)
    if config.mirror is None:
        config = dataclasses.replace(config, mirror=may_be_mirrored(config.dataset))
    return config


class _Learned(NamedTuple):
    """The data that a network was trained on, as it was preprocessed."""

    data: Dataset
    preprocessor: Preprocessor
    pixels: PixelFacts


def _finish(
    folder: RunFolder,
    config: TeacherConfig,
    learned: _Learned,
    selection: Selection,
    reporter: Reporter,
) -> TrainingResult:
    """Tests and saves the best and the last network."""
    data, preprocessor, pixels = learned
    facts = _facts(config, data, pixels)

    def tested(variables: Any, own: dict[str, Any]) -> TrainedNetwork:
        network = TrainedNetwork(config.spec, variables, preprocessor, facts | own)
        return tested_network(network, data, config.eval_examples)

    title = f"{config.network} · {short_name(config.dataset)}"
    return finish_training(folder, selection, tested, title=title, reporter=reporter)


def _load(config: TeacherConfig) -> Dataset:
    data = load_dataset(config.dataset, data_dir=config.data_dir, image_size=config.image_size)
    held = config.validation_examples
    if held is None:
        held = min(5000, len(data.x_train) // 10)
    return data.hold_out(held) if held else data


def _trainee(config: TeacherConfig, learned: _Learned) -> Trainee:
    data, preprocessor, pixels = learned
    x, labels = data.x_train, ridge.one_hot(data.y_train, data.num_classes)
    seen = ViewedBatches(
        lambda index: np.asarray(x[index], np.float32),
        Epochs(len(x), given(config.batch_size), seed=config.seed),
        space=ImageSpace(data.image_shape, pixels.low, pixels.high, pixels.mean, pixels.deviation),
        preprocessor=preprocessor,
        views=Views(level=given(config.augmentation), mirror=given(config.mirror)),
        seed=config.seed,
    )
    held = len(data.x_validation)
    validation = (preprocessor.apply(data.x_validation), data.y_validation) if held else None
    return Trainee(
        module=config.spec.build(data.num_classes, data.image_shape),
        batches=labelled(seen, labels),
        objective=CrossEntropy(config.smoothing),
        descent=config.descent,
        setting=config.setting,
        chosen_by=validation,
    )


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


def _facts(config: TeacherConfig, data: Dataset, pixels: PixelFacts) -> dict[str, Any]:
    """Returns the metadata of the trained networks."""
    return {
        "method": "trained from labels",
        "dataset": short_name(config.dataset),
        "training_hash": data.training_hash,
        "images_hash": data.images_hash,
        "class_names": list(data.class_names),
        "image_shape": list(data.image_shape),
        "pixels": pixels.to_metadata(),
        "config": {k: v for k, v in dataclasses.asdict(config).items() if k not in _NOT_RECORDED},
        "kipax_version": __version__,
    }
