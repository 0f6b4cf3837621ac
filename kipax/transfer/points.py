"""One point of an evaluation: a network trained on a set, or a kernel regressed on it."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from kipax import ridge
from kipax.architectures import Architecture, is_named
from kipax.data import Dataset
from kipax.data.known import short_name
from kipax.errors import FailedRunError, UsageError
from kipax.kernels import KernelSpec, descriptions
from kipax.ledger import Ledger, array_hash, key_of
from kipax.report import Progress, Reporter
from kipax.students import StudentSpec, is_finite_only, takes_width
from kipax.support import SupportSet
from kipax.training import (
    Recipe,
    Setting,
    Trained,
    accuracy,
    critical_learning_rate,
    train_together,
)
from kipax.transfer.keeping import network_file, save_network
from kipax.transfer.protocols import EvaluationProtocol

__all__ = ["FORMULAS", "Point", "Session", "choose_student", "with_architecture"]

FORMULAS = 2  # increased when results change, so that older finished points are not used


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """The settings of one training.

    Attributes:
        student: the network.
        recipe: the settings that all points of the grid share.
        rate: learning rate, or a factor of the critical one if `relative`.
        relative: whether `rate` is a factor of the critical learning rate.
        l2: ``l2 / 2`` times the squared norm of the parameters is added to the loss.
        seed: seed of the network's initial parameters.
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
        support: the support set, whose preprocessor treats the data.
        dataset: the data set that the session tests on.
        name: name of the data set without a path.
        images: number of support images.
        whitened: whether the support set's preprocessing is a whitening.
        test, validation: preprocessed images and their classes; `validation` is None where no
            images are held out.
        total: number of steps (for kernels, of sets) to do, for the progress.

    Args:
        support: the support set, which gives the preprocessing of the data.
        dataset: its held-out images choose, its test images are reported.
        eval_examples: size of a fixed balanced part of the test images; None for all.
        ledger: the finished points.
        reporter: is told the progress.
        together: number of points that are trained at once; None for one on CPUs, where more
            are slower, and 20 elsewhere. Halved when the device's memory is too small.
        networks: folder that keeps every trained network as a file; None keeps none. A finished
            point without its file is trained again.
    """

    def __init__(
        self,
        support: SupportSet,
        dataset: Dataset,
        *,
        eval_examples: int | None = None,
        ledger: Ledger | None = None,
        reporter: Reporter | None = None,
        together: int | None = None,
        networks: Path | None = None,
    ):
        self._networks = networks
        self.together = together or (1 if jax.default_backend() == "cpu" else 20)
        self.dataset = dataset
        self.name = short_name(dataset.name)
        self.support = support
        self.images = len(support)
        self.whitened = support.preprocessor.name != "standard"
        self.reporter = reporter or Reporter()
        self.ledger = ledger or Ledger(None)
        x, y = dataset.test_part(eval_examples)
        self.test = support.preprocess(x), y
        held = dataset.x_validation
        self.validation = (support.preprocess(held), dataset.y_validation) if len(held) else None
        self.total = 0
        self._done = 0
        self._timed: dict[str, tuple[int, float]] = {}  # by unit: count and seconds
        self._critical: dict[Any, float] = {}

    @functools.cached_property
    def _data_hash(self) -> str:
        return array_hash(*self.test, *(self.validation or ()))

    # -- progress --------------------------------------------------------------------------

    def _advance(self, steps: int, unit: str, seconds: float | None = None, **facts: Any) -> None:
        self._done += steps
        timed, spent = self._timed.get(unit, (0, 0.0))
        if seconds is not None:
            timed, spent = timed + steps, spent + seconds
            self._timed[unit] = timed, spent
        pace = spent / timed if timed else None
        total = max(self.total, self._done + (self.total == 0))  # if unknown, never reached
        self.reporter.progress(
            Progress(self._done, total, unit=unit, seconds_per_step=pace, **facts)
        )

    # -- students --------------------------------------------------------------------------

    def train(self, support: SupportSet, point: Point) -> dict[str, Any]:
        """Trains and tests one network, or takes the result from the ledger.

        Returns:
            JSON-ready: the point, ``learning_rate``, ``validation_best`` and ``_last``,
            ``test_best`` and ``_last`` (best: early-stopped by validation), ``best_step``,
            ``diverged_at`` and ``seconds``. A diverged network has no accuracies.
        """
        return self.train_grid(support, [point])[0]

    def train_grid(self, support: SupportSet, points: Sequence[Point]) -> list[dict[str, Any]]:
        """Trains several points as `train` does, up to `together` of them at once."""
        facts = [self._facts(support, point) for point in points]
        waiting: dict[Any, list[int]] = {}  # points that differ in rates alone are trained at once
        for i, point in enumerate(points):
            if not self._is_finished(point, key_of(facts[i])):
                waiting.setdefault((point.student, point.recipe, point.seed), []).append(i)
            else:
                self._done += point.recipe.steps
        for group in waiting.values():
            while group:
                part = group[: self.together]
                if self._fits(support, [points[i] for i in part], [facts[i] for i in part]):
                    group = group[len(part) :]
        found = [self.ledger.get(key_of(f)) for f in facts]
        return [record for record in found if record is not None]

    def _is_finished(self, point: Point, key: str) -> bool:
        """Returns whether the ledger has a point and, if networks are kept, its file exists."""
        record = self.ledger.get(key)
        if record is None or self._networks is None or record.get("diverged_at") is not None:
            return record is not None
        return network_file(self._networks, point.student, key).exists()

    def _facts(self, support: SupportSet, point: Point) -> dict[str, Any]:
        """Returns everything that a point's result depends on."""
        return dataclasses.asdict(point) | {
            "formulas": FORMULAS,
            "set": array_hash(support.images, support.labels),
            "data": self._data_hash,
        }

    def _fits(
        self, support: SupportSet, points: Sequence[Point], facts: Sequence[dict[str, Any]]
    ) -> bool:
        """Trains points; if memory is too small, lowers `together` and returns False.

        Raises:
            FailedRunError: the device cannot hold even one.
        """
        try:
            self._train(support, points, facts)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            student = points[0].student
            if len(points) == 1:
                raise FailedRunError(
                    f"the device's memory does not hold {student.describe()} with batches of "
                    f"{min(points[0].recipe.batch_size, len(support))} images of "
                    f"{' x '.join(map(str, support.images.shape[1:3]))}: take a smaller --width; "
                    "finished points are kept."
                ) from error
            self.together = len(points) // 2
            self.reporter.say(
                f"the device's memory does not hold {len(points)} networks at once: "
                f"{self.together} from now on"
            )
            return False
        return True

    def _train(
        self, support: SupportSet, points: Sequence[Point], facts: Sequence[dict[str, Any]]
    ) -> None:
        """Trains points that differ in learning rate and L2 alone; keeps results in the ledger."""
        began, first = time.monotonic(), points[0]
        network = first.student.build(support.labels.shape[1], support.images.shape[1:])
        critical = 1.0
        if any(point.relative for point in points):
            critical = self._critical_rate(support, first, facts[0]["set"])
        rates = [point.rate * (critical if point.relative else 1.0) for point in points]
        settings = [Setting(r, p.l2, p.seed) for r, p in zip(rates, points, strict=True)]
        clock, behind, steps, told = [began], len(points), first.recipe.steps, [0]

        def on_step(step: int) -> None:
            if step == steps:
                return  # reported after the points are kept, since a report may stop the work
            now, told[0] = time.monotonic(), step
            self._advance(behind, "step", now - clock[0] if step > 1 else None)  # step 1 compiles
            clock[0] = now

        trained = train_together(
            network,
            support.images,
            support.labels,
            recipe=first.recipe,
            settings=settings,
            validation=self.validation,
            on_step=on_step,
        )
        for fact, rate, one in zip(facts, rates, trained, strict=True):
            record = fact | {
                "method": support.metadata.get("method"),
                "learning_rate": rate if math.isfinite(rate) else None,
                "best_step": one.best_step,
                "loss": one.loss if math.isfinite(one.loss) else None,
                "diverged_at": one.diverged_at,
            }
            if one.diverged_at is None:
                record |= self._accuracies(network, one)
                if self._networks is not None:
                    file = network_file(self._networks, first.student, key_of(fact))
                    save_network(file, support, first.student, one.best, record)
            record["seconds"] = round((time.monotonic() - began) / len(points), 2)
            self.ledger.add(key_of(fact), record)
        self._advance(behind * (steps - told[0]), "step")

    def _accuracies(self, network: nn.Module, trained: Trained) -> dict[str, Any]:
        test_last = accuracy(network, trained.last, *self.test)
        last_is_best = not trained.validation or trained.best_step == max(trained.validation)
        return {
            "validation_best": max(trained.validation.values(), default=None),
            "validation_last": next(reversed(trained.validation.values()), None),
            "test_best": test_last if last_is_best else accuracy(network, trained.best, *self.test),
            "test_last": test_last,
        }

    def _critical_rate(self, support: SupportSet, point: Point, set_hash: str) -> float:
        key = (set_hash, point.student, point.seed, point.recipe.loss)
        if key not in self._critical:
            network = point.student.build(support.labels.shape[1], support.images.shape[1:])
            self._critical[key] = critical_learning_rate(
                network,
                support.images,
                support.labels.shape[1],
                loss=point.recipe.loss,
                seed=point.seed,
            )
        return self._critical[key]

    # -- kernels ---------------------------------------------------------------------------

    def regress(self, support: SupportSet, architecture: str) -> dict[str, Any]:
        """Evaluates an architecture's kernel, or takes the result from the ledger.

        Returns:
            Accuracies of kernel ridge regression, JSON-ready: ``test_best`` and, with validation
            images, ``validation_best``.
        """
        if architecture:
            support = with_architecture(support, architecture)
        facts = {
            "protocol": "krr",
            "formulas": FORMULAS,
            "architecture": support.architecture.to_dict(),
            "kernel": support.kernel,
            "ridge": support.ridge,
            "set": array_hash(support.images, support.labels),
            "data": self._data_hash,
        }
        before = self.ledger.added
        done = self.ledger.remember(facts, lambda: self._regress(support))
        if self.ledger.added > before:
            self._advance(1, "set", done["seconds"])
        else:
            self._done += 1
        return done

    def _regress(self, support: SupportSet) -> dict[str, Any]:
        began = time.monotonic()
        record = {"test_best": self._krr_accuracy(support, self.test)}
        if self.validation is not None:
            record["validation_best"] = self._krr_accuracy(support, self.validation)
        record["seconds"] = round(time.monotonic() - began, 2)
        return record | {"method": support.metadata.get("method")}

    @staticmethod
    def _krr_accuracy(support: SupportSet, part: tuple[np.ndarray, np.ndarray]) -> float:
        return ridge.accuracy(support.scores_of_preprocessed(part[0]), part[1])


def with_architecture(support: SupportSet, architecture: str) -> SupportSet:
    """Returns the set with another architecture's kernel.

    Raises:
        UsageError: an unknown architecture, one without a kernel, or too deep for the images.
    """
    if is_finite_only(architecture):
        raise UsageError(
            f"{architecture} has no kernel: take protocol=kip-nn, or one of "
            f"{', '.join(descriptions.names())}."
        )
    other = descriptions.from_name(architecture)
    other.check_image_shape(support.images.shape[1:])
    kind = support.kernel if support.kernel in other.kinds else other.kinds[0]
    KernelSpec(other, kind, support.backend).make()  # refuses a function that was not given
    metadata = dict(support.metadata) | {"architecture": other.to_dict(), "kernel": kind}
    return dataclasses.replace(support, metadata=metadata)


def choose_student(
    protocol: EvaluationProtocol, support: SupportSet, network: str = ""
) -> StudentSpec:
    """Returns the network called `network`, else the protocol's, else the set's architecture.

    Raises:
        UsageError: the set's own architecture is not fully described by its name, or is a kernel
            without a network.
    """
    name = network or protocol.network or _own_network(support, protocol)
    width = protocol.width if takes_width(name) else None
    return StudentSpec(name=name, width=width, normalisation=protocol.normalisation)


def _own_network(support: SupportSet, protocol: EvaluationProtocol) -> str:
    """Returns the name of the set's own architecture; raises as `choose_student`."""
    own = support.architecture
    if not isinstance(own, Architecture):
        raise UsageError(
            f"{protocol.name} trains networks, and the kernel of this set is that of none, the "
            f"{own.describe(support.kernel)}: say which network to take with --architectures, or "
            "take --protocol=krr."
        )
    if not is_named(own):
        raise UsageError(
            f"networks are made by name, and {own.name} is not this set's architecture, which has "
            "other layers or scales: say which to take with --architectures."
        )
    return own.name
