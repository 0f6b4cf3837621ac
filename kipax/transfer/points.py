"""One point of an evaluation: a network trained on a set, or a kernel regressed on it."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from typing import Any

import numpy as np

from kipax import ridge
from kipax.architectures import from_name
from kipax.data import Dataset
from kipax.data.datasets import balanced_order, image_hashes
from kipax.distill.report import Progress, Reporter
from kipax.students import StudentSpec
from kipax.support import SupportSet
from kipax.transfer.ledger import Ledger, array_hash, key_of
from kipax.transfer.training import (
    Recipe,
    Setting,
    accuracy,
    critical_learning_rate,
    train_student,
)

__all__ = ["Point", "Session", "with_architecture"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """What one training is told.

    Attributes:
        student: the network.
        recipe: what the grid shares.
        rate: learning rate, or a factor of the critical one if `relative`.
        relative: see `rate`.
        l2: half of it times the squared norm of the parameters is added to the loss.
        seed: of the network's draw.
    """

    student: StudentSpec
    recipe: Recipe
    rate: float
    relative: bool
    l2: float
    seed: int


class Session:
    """The data, the finished points and the progress of an evaluation.

    Attributes:
        dataset: see below.
        images: size of the support set.
        whitened: whether its preprocessing is a whitening.
        test, validation: preprocessed images and classes; the latter may be None.
        total: number of steps (sets, for kernels) to do, for the progress.

    Args:
        support: gives the preprocessing of the data.
        dataset: whose held-out images choose and whose test images are reported.
        eval_examples: a fixed balanced part of the test images; None for all.
        ledger: finished points.
        reporter: hears the progress.
    """

    def __init__(
        self,
        support: SupportSet,
        dataset: Dataset,
        *,
        eval_examples: int | None = None,
        ledger: Ledger | None = None,
        reporter: Reporter | None = None,
    ):
        self.dataset = dataset
        self.images = len(support)
        self.whitened = support.preprocessor.name != "standard"
        self.reporter = reporter or Reporter()
        self.ledger = ledger or Ledger(None)
        x, y = _part(dataset.x_test, dataset.y_test, eval_examples)
        self.test = support.preprocess(x), y
        held = dataset.x_validation
        self.validation = (support.preprocess(held), dataset.y_validation) if len(held) else None
        self.total = 0
        self._done, self._trained, self._seconds = 0, 0, 0.0
        self._critical: dict[Any, float] = {}

    @functools.cached_property
    def _data_hash(self) -> str:
        return array_hash(*self.test, *(self.validation or ()))

    # -- progress --------------------------------------------------------------------------

    def _advance(self, steps: int, unit: str, seconds: float | None = None, **facts: Any) -> None:
        self._done += steps
        if seconds is not None:
            self._trained, self._seconds = self._trained + steps, self._seconds + seconds
        pace = self._seconds / self._trained if self._trained else None
        total = max(self.total, self._done)
        self.reporter.progress(
            Progress(self._done, total, unit=unit, seconds_per_step=pace, **facts)
        )

    # -- students --------------------------------------------------------------------------

    def train(self, support: SupportSet, point: Point) -> dict[str, Any]:
        """Trains and tests one network, or finds that done in the ledger.

        Returns:
            JSON-ready: the point, ``learning_rate``, ``validation_best`` and ``_last``,
            ``test_best`` and ``_last`` (best: early-stopped by validation), ``best_step``,
            ``diverged_at`` and ``seconds``. A diverged network has no accuracies.
        """
        facts = dataclasses.asdict(point) | {
            "set": array_hash(support.images, support.labels),
            "data": self._data_hash,
        }
        key, steps = key_of(facts), point.recipe.steps
        done = self.ledger.get(key)
        if done is not None:
            self._advance(steps, "step")
            return done
        began = time.monotonic()
        network = point.student.build(support.labels.shape[1], support.images.shape[1:])
        rate = point.rate
        if point.relative:
            rate *= self._critical_rate(support, point, facts["set"])
        clock = [began]

        def on_step(step: int) -> None:
            now = time.monotonic()
            self._advance(1, "step", now - clock[0])
            clock[0] = now

        trained = train_student(
            network,
            support.images,
            support.labels,
            recipe=point.recipe,
            setting=Setting(rate, point.l2, point.seed),
            validation=self.validation,
            on_step=on_step,
        )
        record = facts | {
            "method": support.metadata.get("method"),
            "learning_rate": rate if math.isfinite(rate) else None,
            "best_step": trained.best_step,
            "loss": trained.loss if math.isfinite(trained.loss) else None,
            "diverged_at": trained.diverged_at,
        }
        if trained.diverged_at is not None:
            self._advance(steps - trained.diverged_at, "step")
        else:
            record |= self._accuracies(network, trained)
        record["seconds"] = round(time.monotonic() - began, 2)
        return self.ledger.add(key, record)

    def _accuracies(self, network, trained) -> dict[str, Any]:
        test_last = accuracy(network, trained.last, *self.test)
        same = trained.best is trained.last or trained.best_step == max(
            trained.validation, default=trained.best_step
        )
        return {
            "validation_best": max(trained.validation.values(), default=None),
            "validation_last": next(reversed(trained.validation.values()), None),
            "test_best": test_last if same else accuracy(network, trained.best, *self.test),
            "test_last": test_last,
        }

    def _critical_rate(self, support: SupportSet, point: Point, set_hash: str) -> float:
        key = (set_hash, point.student, point.seed)
        if key not in self._critical:
            network = point.student.build(support.labels.shape[1], support.images.shape[1:])
            self._critical[key] = critical_learning_rate(
                network, support.images, support.labels.shape[1], seed=point.seed
            )
        return self._critical[key]

    # -- kernels ---------------------------------------------------------------------------

    def regress(self, support: SupportSet, architecture: str) -> dict[str, Any]:
        """Kernel ridge regression with an architecture's kernel, or finds that in the ledger.

        Returns:
            JSON-ready: ``test_best`` and, with validation images, ``validation_best``.
        """
        if architecture:
            support = with_architecture(support, architecture)
        facts = {
            "protocol": "krr",
            "architecture": support.architecture.to_dict(),
            "kernel": support.metadata["kernel"],
            "ridge": support.metadata["ridge"],
            "set": array_hash(support.images, support.labels),
            "data": self._data_hash,
        }
        key = key_of(facts)
        done = self.ledger.get(key)
        if done is None:
            began = time.monotonic()
            record = facts | {"test_best": self._krr_accuracy(support, self.test)}
            if self.validation is not None:
                record["validation_best"] = self._krr_accuracy(support, self.validation)
            record["seconds"] = round(time.monotonic() - began, 2)
            done = self.ledger.add(key, record | {"method": support.metadata.get("method")})
            self._advance(1, "set", done["seconds"])
        else:
            self._advance(1, "set")
        return done

    @staticmethod
    def _krr_accuracy(support: SupportSet, part: tuple[np.ndarray, np.ndarray]) -> float:
        return ridge.accuracy(support.scores_of_preprocessed(part[0]), part[1])


def with_architecture(support: SupportSet, architecture: str) -> SupportSet:
    """The set with another architecture's kernel.

    Raises:
        UsageError: an unknown architecture, or too deep for the images.
    """
    net = from_name(architecture)
    net.check_image_shape(support.images.shape[1:])
    metadata = dict(support.metadata) | {"architecture": net.to_dict()}
    return dataclasses.replace(support, metadata=metadata)


def _part(x: np.ndarray, y: np.ndarray, size: int | None) -> tuple[np.ndarray, np.ndarray]:
    if size is None or size >= len(x):
        return x, y
    chosen = np.sort(balanced_order(image_hashes(x), y)[:size])
    return x[chosen], y[chosen]
