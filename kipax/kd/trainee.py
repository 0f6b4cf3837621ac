"""Trains a network in a run's folder: progress, metrics, resuming, the best and the last."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from kipax import files, plots
from kipax.data import Dataset
from kipax.errors import FailedRunError, Interrupted, OutOfTime
from kipax.networks import NETWORK_FILE, TrainedNetwork
from kipax.report import Progress, Reporter
from kipax.runs import RunFolder
from kipax.training import (
    Batches,
    Checkpoint,
    Descent,
    Hook,
    Objective,
    Selection,
    Setting,
    Teacher,
    TrainState,
    accuracy,
    evenly_spaced,
    fit,
)

__all__ = [
    "LAST_NETWORK",
    "Trainee",
    "TrainingResult",
    "finish_training",
    "saving_when_stopped",
    "tested_network",
    "train_in_folder",
]

LAST_NETWORK = "network_last.npz"
_EVALUATIONS = 10
_LAST = "last step"


@contextlib.contextmanager
def saving_when_stopped(folder: RunFolder, save: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """Saves a run's state when the user or a time limit stops it; the error says how to continue.

    Args:
        folder: folder of the run.
        save: saves the state; returns facts about it, such as ``step``.

    Raises:
        Interrupted, OutOfTime: the run was stopped; the state is saved.
    """
    try:
        yield
    except KeyboardInterrupt:
        facts = save()
        after = f" after step {facts['step']}" if "step" in facts else ""
        raise Interrupted(f"stopped{after}; continue with --resume") from None
    except OutOfTime as error:
        raise OutOfTime(str(error), **save(), workdir=str(folder.path)) from None


@dataclasses.dataclass(frozen=True, eq=False)
class Trainee:
    """A network with its batches, objective and optimiser.

    Attributes:
        module: the Flax network.
        batches: the batches of its steps.
        objective: the objective of its training.
        descent: optimiser, schedule and number of steps.
        setting: learning rate, L2 and seed.
        teacher: gives the teacher's outputs for a batch; None without a teacher.
        chosen_by: preprocessed images and classes that choose the best step; None for the last.
        distance: distance of the logits of these images, of which the lowest is chosen; None
            chooses by the highest share of right classes.
        what: what the share of right classes is called, such as "validation accuracy".
        start: returns the variables to begin with, given the ones that were drawn; None for these.
        labels: number of training images whose label the objective may use; None if it uses none.
    """

    module: nn.Module
    batches: Batches
    objective: Objective
    descent: Descent
    setting: Setting
    teacher: Teacher | None = None
    chosen_by: tuple[np.ndarray, np.ndarray] | None = None
    distance: Callable[[np.ndarray], float] | None = None
    what: str = "validation accuracy"
    start: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    labels: int | None = None


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """The networks of a finished training, and numbers about them.

    Attributes:
        network: the network of the best step, also in ``workdir/network.npz``.
        last: the network after the last step, also in ``workdir/network_last.npz``.
        workdir: the run's folder.
        facts: further numbers.
    """

    network: TrainedNetwork
    last: TrainedNetwork
    workdir: Path
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def test_accuracy(self) -> float | None:
        """Test accuracy of `network`; None without test images."""
        return self.network.metadata.get("test_accuracy")

    @property
    def last_accuracy(self) -> float | None:
        """Test accuracy of `last`; None without test images."""
        return self.last.metadata.get("test_accuracy")

    @property
    def best_step(self) -> int:
        """Number of updates of `network`."""
        return self.network.metadata["step"]

    def summary(self) -> dict[str, Any]:
        """Returns the values that a command prints, JSON-ready."""
        return {
            "test_accuracy": self.test_accuracy,
            "test_accuracy_last": self.last_accuracy,
            "best_step": self.best_step,
            "steps": self.last.metadata["step"],
            **self.facts,
            "workdir": str(self.workdir),
        }


class _Start(Hook):
    """Replaces the drawn variables before the first step; it stands before every other hook."""

    def __init__(self, start: Callable[[dict[str, Any]], dict[str, Any]]):
        self._start = start

    def begin(self, state: TrainState) -> TrainState:
        variables = dict(self._start(state.variables))
        params = variables.pop("params")
        copy = params if jax.tree.leaves(state.averaged) else state.averaged
        return state._replace(params=params, batch_stats=variables, averaged=copy)


class _Truncation(Hook):
    """Drops the metrics of steps that are taken again; stands behind the checkpoint."""

    def __init__(self, folder: RunFolder):
        self._folder = folder

    def begin(self, state: TrainState) -> TrainState:
        self._folder.truncate_metrics(int(state.step) + 1)
        return state


class _Metrics(Hook):
    """Writes a line after each evaluated step, and fails where the loss is not finite."""

    def __init__(self, folder: RunFolder, selection: Selection, what: str):
        self._folder, self._selection = folder, selection
        self._key = what.replace(" ", "_")

    def after(self, step: int, state: TrainState, metrics: dict[str, jax.Array]) -> None:
        if step not in self._selection.steps:
            return
        line: dict[str, Any] = {"step": step}
        line |= {k: round(float(v), 6) for k, v in metrics.items()}
        line["train_loss"] = line.pop("loss")
        if not np.isfinite(line["train_loss"]):
            raise FailedRunError(
                f"the loss is not finite after step {step}: begin again in another workdir with "
                "a smaller learning_rate."
            )
        found = self._selection.accuracies[0, self._selection.steps.index(step)]
        if not np.isnan(found):
            line[self._key] = round(float(found), 6)
        self._folder.add_metrics(line)


class _Progress(Hook):
    """Reports the progress; the reporter then checks the time limit ``max_seconds``."""

    def __init__(self, reporter: Reporter, selection: Selection, steps: int, words: str):
        self._reporter, self._selection = reporter, selection
        self._steps, self._words = steps, words
        self._compiled: tuple[int, float] | None = None  # step and time after the first update
        self._loss: float | None = None
        self._agreement: float | None = None
        self._told = 0.0

    def after(self, step: int, state: TrainState, metrics: dict[str, jax.Array]) -> None:
        now = time.monotonic()
        if self._compiled is None:
            self._compiled = step, now
        if now - self._told > 0.5 or step in self._selection.steps:  # reading a number waits
            self._loss = float(metrics["loss"])
            if "agreement" in metrics:
                self._agreement = float(metrics["agreement"])
            self._told = now
        first, began = self._compiled
        pace = (now - began) / (step - first) if step > first else None
        status = f"agreement {self._agreement:.3f}" if self._agreement is not None else ""
        seen = self._selection.accuracies[0]
        known = seen[~np.isnan(seen)]
        if len(known):
            status += f"{' · ' if status else ''}{self._words} {known[-1]:.3f}"
        self._reporter.progress(
            Progress(step, self._steps, loss=self._loss, seconds_per_step=pace, status=status)
        )


def train_in_folder(folder: RunFolder, trainee: Trainee, reporter: Reporter) -> Selection:
    """Trains to the end, from the state in the folder if there is one.

    Args:
        folder: folder of the run, locked by this process.
        trainee: the network and its training.
        reporter: is told the progress.

    Raises:
        Interrupted, OutOfTime: the training was stopped; the state is saved.
        FailedRunError: the loss is not finite.
    """
    steps = evenly_spaced(trainee.descent.steps, _EVALUATIONS)
    selection = Selection(
        trainee.module, steps, validation=trainee.chosen_by, distance=trainee.distance
    )
    checkpoint = Checkpoint(folder, beside=[selection])
    progress = _Progress(reporter, selection, trainee.descent.steps, trainee.what)
    with saving_when_stopped(
        folder, lambda: {"step": checkpoint.save(), "steps": trainee.descent.steps}
    ):
        fit(
            trainee.module,
            trainee.batches,
            objective=trainee.objective,
            descent=trainee.descent,
            settings=[trainee.setting],
            teacher=trainee.teacher,
            # Metrics first: what is saved has its line.
            hooks=[
                *([_Start(trainee.start)] if trainee.start else []),
                selection,
                _Metrics(folder, selection, trainee.what),
                checkpoint,
                _Truncation(folder),
                progress,
            ],
        )
    return selection


def finish_training(
    folder: RunFolder,
    selection: Selection,
    tested: Callable[[Any, dict[str, Any]], TrainedNetwork],
    *,
    chosen_by: str = "validation accuracy",
    title: str,
    reporter: Reporter,
) -> TrainingResult:
    """Tests and saves the best and the last network, and draws the curve.

    Args:
        folder: folder of the run; ``network.npz``, ``network_last.npz`` and ``curve.png`` are
            written there.
        selection: the networks of a finished training.
        tested: ``tested(variables, facts)`` returns a tested network with these facts.
        chosen_by: quantity that chose the best step, in words.
        title: title of the curve.
        reporter: is told if there is no curve.
    """
    rule = f"best step by {chosen_by}" if selection.validation else _LAST
    best = tested(selection.best, {"step": int(selection.best_step[0]), "rule": rule})
    last = tested(selection.last, {"step": selection.steps[-1], "rule": _LAST})
    last.save(folder.path / LAST_NETWORK)
    best.save(folder.path / NETWORK_FILE)
    try:
        names = ("validation_accuracy", "held-out_agreement", "agreement")
        figure = plots.draw_curve(folder.read_metrics(), title, accuracies=names, of="network")
        files.write_bytes(folder.path / "curve.png", plots.to_png(figure))
    except (ImportError, ValueError) as error:
        reporter.say(f"not all pictures are there: {error}")
    return TrainingResult(best, last, folder.path)


def tested_network(
    network: TrainedNetwork, data: Dataset | None, eval_examples: int | None
) -> TrainedNetwork:
    """Returns the network with its test accuracy in the metadata, if there are test images.

    A network that was trained without labels has none.

    Args:
        network: a network.
        data: the data with the test images; None for none.
        eval_examples: number of test images, a fixed balanced part; None for all.
    """
    if data is None or not len(data.x_test) or not network.classifies:
        return network
    x, y = data.test_part(eval_examples)
    found = accuracy(network.module, network.variables, network.preprocessor.apply(x), y)
    facts = dict(network.metadata) | {"test_accuracy": found, "test_examples": len(x)}
    return dataclasses.replace(network, metadata=facts)
