"""`run_teacher`: trains a network in a folder, from labels, without them, or from a network."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kipax import ridge
from kipax.config import check_arguments, given
from kipax.data import Dataset, Preprocessor, fit_preprocessor, load_dataset
from kipax.data.datasets import check_dataset
from kipax.data.known import may_be_mirrored, short_name
from kipax.errors import UsageError
from kipax.kd.config import FORMULAS, TeacherConfig, identify, resolve
from kipax.kd.heads import LinearProbe, adopt, begin_with, open_start
from kipax.kd.selfsupervised import MoCo, NTXent
from kipax.kd.sources.base import ImageSpace
from kipax.kd.teacher_kinds import SELF_SUPERVISED
from kipax.kd.trainee import (
    Trainee,
    TrainingResult,
    finish_training,
    tested_network,
    train_in_folder,
)
from kipax.kd.views import ViewedBatches, Views, labelled
from kipax.networks import TrainedNetwork
from kipax.pixels import PixelFacts
from kipax.probes.features import COLLAPSED, features_of, relative_variance
from kipax.probes.linear import LINEAR_RULE
from kipax.probes.table import check_fits
from kipax.report import Reporter, limit_time
from kipax.runs import RunFolder
from kipax.students import StudentSpec, without_classifier
from kipax.training import Batch, CrossEntropy, Epochs, Objective, Selection
from kipax.version import __version__

__all__ = ["run_teacher"]

_NOT_RECORDED = ("dataset", "data_dir", "max_seconds", "eval_examples")
_ASKED = 500  # training images by whose features a collapse is noticed


def run_teacher(
    config: TeacherConfig,
    *,
    dataset: Dataset | None = None,
    workdir: Path | str | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> TrainingResult:
    """Trains a network and writes it to a folder as ``network.npz``.

    ``config.objective`` says from what: ``labels``, or no labels (``simclr``, ``moco``), which
    gives features and no classes. ``config.linear_probe`` gives a trained network a new head on
    frozen features, ``config.fine_tune`` trains all of it.

    Validation images choose the best step; test images are only reported. Without labels, and for
    a linear probe, no images are held out unless the config says so, and the last step is kept.
    The same call with the same machine and versions gives the same bytes, whether it was
    interrupted or not.

    Args:
        config: the settings; fields that are None are filled in by preset.
        dataset: the data with their validation images; None loads ``config.dataset``.
        workdir: the run's folder; by default ``runs/<dataset>-teacher``, or what is trained
            in place of ``teacher``.
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
    remedy = "continue with --resume"
    reporter = limit_time(reporter or Reporter(), config.max_seconds, remedy=remedy)
    config, learned = _open(config, dataset, reporter)
    folder = RunFolder(workdir or _default_workdir(config))
    with folder.open(identify("teacher", config, learned.hashes), resume=resume):
        reporter.say(f"{learned.spec.describe()} · {_describe(config)}")
        if learned.start is not None:
            reporter.say(f"begins as {learned.start}")
        lesson = _prepare(config, learned)
        selection = train_in_folder(folder, lesson.trainee, reporter)
        return _finish(folder, config, learned, (lesson, selection), reporter)


def _open(
    config: TeacherConfig, dataset: Dataset | None, reporter: Reporter
) -> tuple[TeacherConfig, _Learned]:
    """Opens the data of a training and fills in every field of its config."""
    start = open_start(config)
    config = _resolve(config if start is None else adopt(config, start), dataset)
    data = dataset or _load(config)
    reporter.say(f"{data!r} · {config.preprocessing} preprocessing")
    if data.note:
        reporter.say(data.note)
    learned = _Learned.of(config, data, start)
    return _fit_to_data(config, data), learned


def _resolve(config: TeacherConfig, dataset: Dataset | None) -> TeacherConfig:
    """Fills in the fields that depend on the preset and on the data's name."""
    if dataset is not None:
        dataset.check_held_out(config.validation_examples)
    config = resolve(config)
    if dataset is not None:  # its name and split count
        held = len(dataset.x_validation)
        config = dataclasses.replace(config, dataset=dataset.name, validation_examples=held)
    if config.mirror is None:
        config = dataclasses.replace(config, mirror=may_be_mirrored(config.dataset))
    return config


def _fit_to_data(config: TeacherConfig, data: Dataset) -> TeacherConfig:
    """Fills in the steps that depend on the number of images.

    Raises:
        UsageError: a queue that holds more keys than there are images.
    """
    count = len(data.x_train)
    if config.kind == "moco" and given(config.queue) > count:
        raise UsageError(
            f"a queue holds keys of different images, here at most {count:,}; got "
            f"{config.queue:,}: take a smaller --queue."
        )
    if config.kind == "linear_probe" and config.steps is None:
        rule = LINEAR_RULE._replace(batch_size=given(config.batch_size))
        return dataclasses.replace(config, steps=rule.steps(count))
    return config


def _default_workdir(config: TeacherConfig) -> str:
    kind = "teacher" if config.kind == "labels" else config.kind
    return f"runs/{short_name(config.dataset)}-{kind}"


class _Learned(NamedTuple):
    """The data of a training, with their preprocessing, and the network that it begins from."""

    data: Dataset
    preprocessor: Preprocessor
    pixels: PixelFacts
    spec: StudentSpec
    start: TrainedNetwork | None

    @classmethod
    def of(cls, config: TeacherConfig, data: Dataset, start: TrainedNetwork | None) -> _Learned:
        pixels = data.pixels.with_moments(data.x_train)
        if start is None:
            preprocessor = fit_preprocessor(config.preprocessing, data)
            return cls(data, preprocessor, pixels, config.spec, None)
        check_fits(start, data)
        return cls(data, start.preprocessor, pixels, start.spec, start)

    @property
    def hashes(self) -> dict[str, str]:
        """The facts that identify the training data in the record of a run."""
        held, training = f"{len(self.data.y_validation)}", self.data.training_hash
        return {"training_hash": training, "held": held, "formulas": str(FORMULAS)}


class _Lesson(NamedTuple):
    """A training, and the function that turns what it trains into a network's variables."""

    trainee: Trainee
    of_network: Callable[[dict[str, Any]], dict[str, Any]]


def _prepare(config: TeacherConfig, learned: _Learned) -> _Lesson:
    """Builds the training that the config asks for."""
    if config.kind == "linear_probe":
        probed = LinearProbe(given(learned.start), learned.data)
        return _Lesson(probed.trainee(config), probed.folded)
    if config.kind in SELF_SUPERVISED:
        trainee = _unlabelled(config, learned)
        return _Lesson(trainee, functools.partial(without_classifier, trainee.module))
    trainee = _labelled(config, learned)
    if config.kind == "fine_tune":
        trainee = begin_with(trainee, given(learned.start), given(config.backbone_rate))
    return _Lesson(trainee, lambda variables: variables)


def _finish(
    folder: RunFolder,
    config: TeacherConfig,
    learned: _Learned,
    trained: tuple[_Lesson, Selection],
    reporter: Reporter,
) -> TrainingResult:
    """Tests and saves the best and the last network."""
    data, (lesson, selection) = learned.data, trained
    facts = _facts(config, learned)

    def tested(variables: Any, own: dict[str, Any]) -> TrainedNetwork:
        network = TrainedNetwork(
            learned.spec, lesson.of_network(variables), learned.preprocessor, facts | own
        )
        return tested_network(network, data, config.eval_examples)

    title = f"{config.network} · {short_name(config.dataset)}"
    result = finish_training(folder, selection, tested, title=title, reporter=reporter)
    if config.kind in SELF_SUPERVISED:
        variance = relative_variance(features_of(result.network, data.x_train[:_ASKED]))
        if variance < COLLAPSED:
            reporter.say(
                f"the features are the same for all images (variance {variance:.1e} of their mean "
                "square): they have collapsed; take a smaller learning_rate or another temperature"
            )
    return result


def _load(config: TeacherConfig) -> Dataset:
    data = load_dataset(config.dataset, data_dir=config.data_dir, image_size=config.image_size)
    held = config.validation_examples
    if held is None:  # only what chooses its best step by labels needs held-out images
        chooses = config.kind in ("labels", "fine_tune")
        held = min(5000, len(data.x_train) // 10) if chooses else 0
    return data.hold_out(held) if held else data


def _viewed(config: TeacherConfig, learned: _Learned, *, count: int = 1) -> ViewedBatches:
    """Returns batches of `count` views of the training images, without labels."""
    x, pixels = learned.data.x_train, learned.pixels
    return ViewedBatches(
        lambda index: np.asarray(x[index], np.float32),
        Epochs(len(x), given(config.batch_size), seed=config.seed),
        space=ImageSpace(
            learned.data.image_shape, pixels.low, pixels.high, pixels.mean, pixels.deviation
        ),
        preprocessor=learned.preprocessor,
        views=Views(level=given(config.augmentation), mirror=given(config.mirror)),
        seed=config.seed,
        count=count,
    )


def _labelled(config: TeacherConfig, learned: _Learned) -> Trainee:
    """Builds the training of a network from labels."""
    data, preprocessor = learned.data, learned.preprocessor
    labels = ridge.one_hot(data.y_train, data.num_classes)
    held = len(data.x_validation)
    validation = (preprocessor.apply(data.x_validation), data.y_validation) if held else None
    return Trainee(
        module=learned.spec.build(data.num_classes, data.image_shape),
        batches=together(labelled(_viewed(config, learned), labels)),
        objective=CrossEntropy(config.smoothing),
        descent=config.descent,
        setting=config.setting,
        chosen_by=validation,
    )


def _unlabelled(config: TeacherConfig, learned: _Learned) -> Trainee:
    """Builds the training of a network without labels, from two views of each image."""
    seen = _viewed(config, learned, count=2)
    temperature, projector = given(config.temperature), given(config.projector)
    objective: Objective = NTXent(temperature=temperature, projector=projector)
    if config.kind == "moco":
        objective = MoCo(
            temperature=temperature,
            queue=given(config.queue),
            momentum=given(config.averaging),
            projector=projector,
        )
    data = learned.data
    return Trainee(
        module=learned.spec.build(data.num_classes, data.image_shape),
        batches=apart(seen) if config.kind == "moco" else together(seen),
        objective=objective,
        descent=config.descent,
        setting=config.setting,
    )


def together(seen: Callable[[int], Batch]) -> Callable[[int], Batch]:
    """Returns batches without the raw images, which only a teacher would need."""
    return lambda step: seen(step)._replace(x_teacher=None)


def apart(seen: Callable[[int], Batch]) -> Callable[[int], Batch]:
    """Returns batches whose second views go to the averaged copy of the network, for `MoCo`.

    Args:
        seen: ``seen(step)`` returns two views of each image, the first ones first.
    """

    def batches(step: int) -> Batch:
        batch = seen(step)
        count = len(batch.x) // 2
        return batch._replace(x=batch.x[:count], x_averaged=batch.x[count:], x_teacher=None)

    return batches


def _describe(config: TeacherConfig) -> str:
    decay = f", weight decay {config.weight_decay:g}" if config.weight_decay else ""
    words = {
        "labels": "from labels",
        "linear_probe": "a new head, all else frozen",
        "fine_tune": f"a new head, all else at {config.backbone_rate or 0:g} of its rate",
    }
    views = f"{config.kind} at temperature {config.temperature}, projector {config.projector}"
    if config.kind == "moco":
        views += f", {config.queue:,} keys"
    return (
        f"{words.get(config.kind, views)} · {config.steps:,} steps of {config.batch_size} · "
        f"{config.optimizer} {config.learning_rate:g}, {config.schedule}{decay} · "
        f"augmentation {config.augmentation}"
    )


def _facts(config: TeacherConfig, learned: _Learned) -> dict[str, Any]:
    """Returns the metadata of the trained networks."""
    data, pixels, start = learned.data, learned.pixels, learned.start
    unlabelled = config.kind in SELF_SUPERVISED
    method = f"trained without labels ({config.kind})" if unlabelled else "trained from labels"
    if start is not None:
        how = "a linear probe of" if config.kind == "linear_probe" else "fine-tuned from"
        before, where = start.metadata.get("method", "trained"), start.metadata["dataset"]
        method = f"{how} a network that was {before} on {where or 'no data set'}, from labels"
    return {
        "method": method,
        **({"classifies": False} if unlabelled else {}),
        "dataset": short_name(config.dataset),
        "training_hash": data.training_hash,
        "images_hash": data.images_hash,
        "class_names": list(data.class_names),
        "image_shape": list(data.image_shape),
        "pixels": pixels.to_metadata(),
        "config": {k: v for k, v in dataclasses.asdict(config).items() if k not in _NOT_RECORDED},
        "kipax_version": __version__,
    }
