"""Evaluates a distilled set and its baselines under a named protocol."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kipax import files
from kipax.data import Dataset
from kipax.data.datasets import check_dataset
from kipax.errors import FailedRunError, OutOfTime, UsageError
from kipax.ledger import Ledger, array_hash
from kipax.report import SAME_COMMAND, Reporter, limit_time
from kipax.students import StudentSpec
from kipax.support import SupportSet
from kipax.training import Recipe
from kipax.transfer import subjects
from kipax.transfer.config import EvaluateConfig
from kipax.transfer.points import FORMULAS, Point, Session, choose_student, with_architecture
from kipax.transfer.protocols import EvaluationProtocol
from kipax.transfer.results import Result
from kipax.transfer.subjects import Subject

__all__ = [
    "Evaluated",
    "Opened",
    "count_work",
    "evaluate",
    "evaluate_subject",
    "grid_points",
    "open_session",
    "solved_set",
]

_TOP = 20  # the paper's deviation is over this many points, the best by validation


def evaluate_subject(
    session: Session, subject: Subject, *, protocol: EvaluationProtocol, network: str = ""
) -> Result:
    """Evaluates one cell: the grid with the first network, then more at the chosen point.

    Args:
        session: the data and the finished points.
        subject: the set, or several sets.
        protocol: the protocol to follow.
        network: name of the student; empty for the protocol's, or the set's own architecture.

    Raises:
        UsageError: a network that is unknown or does not take these images.
    """
    if not protocol.trains:
        return _regress(session, subject, network)
    first = next(iter(subject.alternatives.values()))[0]
    student = choose_student(protocol, first, network)
    records = []
    for name, draws in subject.alternatives.items():
        points = grid_points(session, subject, protocol, student, draws[0])
        for record, point in zip(session.train_grid(draws[0], points), points, strict=True):
            records.append((record, name, point))
    alive = [r for r in records if r[0]["diverged_at"] is None]
    words = student.describe()
    counts: dict[str, Any] = {"diverged": len(records) - len(alive), "points": len(records)}
    if not alive:
        return Result(subject=subject.name, network=words, accuracy=None, count=0, **counts)
    if protocol.validation_examples:
        alive.sort(key=lambda r: -r[0]["validation_best"])
    best, name, point = alive[0]
    further = _repeat(session, subject.alternatives[name], point, protocol.seeds)
    runs = [best, *(run for run in further if run["diverged_at"] is None)]
    counts["points"] += len(further)
    counts["diverged"] += 1 + len(further) - len(runs)
    chosen = {"loss": point.recipe.loss, "rate": point.rate, "l2": point.l2}
    chosen |= {"learning_rate": best["learning_rate"], "steps": best["best_step"]}
    if len(subject.alternatives) > 1:
        chosen["checkpoint"] = name
    return Result(
        subject=subject.name,
        network=words,
        accuracy=float(np.mean([r["test_best"] for r in runs])),
        deviation=_deviation(runs),
        last=float(np.mean([r["test_last"] for r in runs])),
        count=len(runs),
        top_deviation=_deviation([record for record, *_ in alive[:_TOP]]),
        chosen=chosen,
        **counts,
    )


def _repeat(
    session: Session, draws: Sequence[SupportSet], point: Point, seeds: int
) -> list[dict[str, Any]]:
    """Trains the chosen point with seeds from 1 on, each on the next draw."""
    return [
        session.train(draws[seed % len(draws)], dataclasses.replace(point, seed=seed))
        for seed in range(1, seeds)
    ]


def _deviation(records: Sequence[dict[str, Any]]) -> float | None:
    """Returns the deviation of the test accuracies of several trainings; None for one."""
    tests = [record["test_best"] for record in records]
    return float(np.std(tests)) if len(tests) > 1 else None


def grid_points(
    session: Session,
    subject: Subject,
    protocol: EvaluationProtocol,
    student: StudentSpec,
    support: SupportSet,
) -> list[Point]:
    """Returns the grid points of a set under a protocol, for the first network."""
    common: dict[str, Any] = {"student": student, "relative": protocol.relative, "seed": 0}
    recipes = {loss: _recipe(session, subject, protocol, support, loss) for loss in protocol.losses}
    return [Point(recipe=recipes[a], rate=b, l2=c, **common) for a, b, c in protocol.points]


def _recipe(
    session: Session,
    subject: Subject,
    protocol: EvaluationProtocol,
    support: SupportSet,
    loss: str,
) -> Recipe:
    """Returns the protocol's recipe for a set, with the changes that `subject` makes."""
    recipe = protocol.recipe(loss, images=len(support), dataset=session.name)
    if subject.augmentation is not None:
        recipe = dataclasses.replace(recipe, augmentation=subject.augmentation)
    if subject.steps is not None:
        recipe = dataclasses.replace(recipe, steps=subject.steps(loss))
    return recipe


def _regress(session: Session, subject: Subject, network: str) -> Result:
    rows = {
        name: [session.regress(draw, network) for draw in draws]
        for name, draws in subject.alternatives.items()
    }
    chosen = next(iter(rows))
    if len(rows) > 1:
        chosen = max(rows, key=lambda name: rows[name][0]["validation_best"])
    accuracies = [r["test_best"] for r in rows[chosen]]
    return Result(
        subject=subject.name,
        network=network or rows[chosen][0]["architecture"]["name"],
        accuracy=float(np.mean(accuracies)),
        deviation=float(np.std(accuracies)) if len(accuracies) > 1 else None,
        count=len(accuracies),
        chosen={"checkpoint": chosen} if len(rows) > 1 else {},
    )


class Evaluated(NamedTuple):
    """The result of an evaluation: cells row by row, the protocol as followed, the session."""

    results: list[Result]
    protocol: EvaluationProtocol
    session: Session


@dataclasses.dataclass(frozen=True, eq=False)
class Opened:
    """A support set, its data, and a protocol resolved for them.

    Attributes:
        support: the set.
        path: its file, or None.
        protocol: the protocol as it is followed.
        session: the data and the finished points.
    """

    support: SupportSet
    path: Path | None
    protocol: EvaluationProtocol
    session: Session


def open_session(
    support: SupportSet | Path | str,
    config: EvaluateConfig,
    *,
    dataset: Dataset | None = None,
    reporter: Reporter | None = None,
) -> Opened:
    """Loads a set and the data that it is tested on; arguments and errors as `evaluate`."""
    reporter = limit_time(reporter or Reporter(), config.max_seconds, remedy=SAME_COMMAND)
    check_dataset(dataset)
    path = None if isinstance(support, SupportSet) else subjects.find_support(support)
    if path is not None:
        support = subjects.load_support(path, data_dir=config.data_dir, kernel_fn=config.kernel_fn)
    elif config.kernel_fn is not None:
        raise UsageError(
            "kernel_fn names the kernel of a set's file, and a set in memory has its own; got "
            f"{config.kernel_fn}: leave it out."
        )
    assert isinstance(support, SupportSet)
    if dataset is None:
        dataset = subjects.load_test_data(
            support, config.dataset, data_dir=config.data_dir, image_size=config.image_size
        )
    else:
        subjects.check_data(support, dataset)
    support = support.fitted_on(dataset)
    training = len(dataset.x_train) + len(dataset.x_validation)
    held = support.metadata.get("config", {}).get("validation_examples") or 0
    protocol = config.resolve_protocol(training_examples=training, held_out=held)
    dataset = dataset.hold_out(protocol.validation_examples)
    _check_columns(config.networks or ("",), protocol, support)
    out = config.out or _default_out(path)
    session = Session(
        support,
        dataset,
        eval_examples=config.eval_examples,
        ledger=Ledger(out),
        reporter=reporter,
        together=config.together,
        networks=None if config.save_networks is None else files.expand(config.save_networks),
    )
    reporter.say(_describe_data(support, session, protocol))
    return Opened(support, path, protocol, session)


def _default_out(path: Path | None) -> Path | None:
    """Returns a path beside the set's file, in ``runs`` for a shipped set; None in memory."""
    if path is None:
        return None
    folder = path.parent if path.exists() else Path("runs")
    return folder / f"{path.stem}-evaluate.jsonl"


def evaluate(
    support: SupportSet | Path | str,
    config: EvaluateConfig | None = None,
    *,
    dataset: Dataset | None = None,
    reporter: Reporter | None = None,
) -> Evaluated:
    """Evaluates a support set, and its baselines, under a protocol.

    Finished points are kept in ``config.out`` (for a file, beside it), so that the same call
    after a kill, or with further rows or networks, computes only what is missing.

    Args:
        support: the set, its file, its run's folder, or the name of one that comes with kipax.
        config: the settings; None for kernel ridge regression with the set's own kernel.
        dataset: the data; None loads those that `config` or the file names.
        reporter: is told what happens; None for no messages.

    Raises:
        UsageError: set and data do not fit, a network is unknown, or nothing is there to choose
            by.
        FailedRunError: every point of every row diverged; the finished ones are kept.
        OutOfTime: ``config.max_seconds`` are over; the finished points are kept, and the facts
            of the error hold the finished cells.
    """
    config = config or EvaluateConfig()
    opened = open_session(support, config, dataset=dataset, reporter=reporter)
    protocol, session = opened.protocol, opened.session
    columns = config.networks or ("",)
    rows = _rows(opened, config)
    session.total = count_work(session, rows, protocol=protocol, columns=len(columns))
    results: list[Result] = []
    try:
        for row, column in itertools.product(rows, columns):
            results.append(evaluate_subject(session, row, protocol=protocol, network=column))
    except OutOfTime as error:
        hint = "" if session.ledger.added else " (no point was finished in this time: give more)"
        facts = {"protocol": protocol.name, "results": [dataclasses.asdict(r) for r in results]}
        raise OutOfTime(f"{error}{hint}", **facts) from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "stopped; the same command goes on with the points that are missing"
        ) from None
    if all(r.accuracy is None for r in results):
        raise FailedRunError(
            f"every one of the {sum(r.points for r in results)} trainings diverged: try "
            "other networks or a smaller learning rate (grid=small and paper have factor 0.5), "
            "or look at the images; finished points are kept."
        )
    return Evaluated(results, protocol, session)


def _check_columns(columns: Sequence[str], protocol: EvaluationProtocol, support) -> None:
    """Builds every network, so that a wrong one is refused before the work begins."""
    for column in columns:
        if protocol.trains:
            network = choose_student(protocol, support, column)
            network.build(support.labels.shape[1], support.images.shape[1:])
        elif column:
            with_architecture(support, column)


def _describe_data(support: SupportSet, session: Session, protocol: EvaluationProtocol) -> str:
    data = session.dataset
    words = f"{support}\ntested on {len(session.test[1]):,} images of {data!r}"
    if data.note:
        words += f"\n{data.note}"
    if support.metadata.get("training_hash") not in (None, data.training_hash):
        words += "\nthese are not the training images that the set was distilled from"
    held = support.metadata.get("config", {}).get("validation_examples")
    if protocol.validation_examples and held is not None and held < len(data.x_validation):
        words += "\nthe validation images were among the targets that the set was distilled from"
    return words


def _rows(opened: Opened, config: EvaluateConfig) -> list[Subject]:
    support, protocol, session = opened.support, opened.protocol, opened.session
    own = str(support.metadata["method"])
    if config.baselines:
        own = subjects.name_beside_baselines(support)
    alternatives: dict[str, Sequence[SupportSet]] = {"": [support]}
    if config.checkpoints:
        if not protocol.validation_examples:
            raise UsageError(
                "checkpoints needs validation images to choose by: give validation_examples."
            )
        found = subjects.load_checkpoints(opened.path, support) | {"the set itself": support}
        alternatives = {name: [one] for name, one in found.items()}
    rows = [Subject(own, alternatives)]
    if config.baselines:
        draws = config.draws or (protocol.seeds if protocol.trains else 20)
        real = [subjects.random_set(support, session.dataset, draw=d) for d in range(draws)]
        rows.append(Subject("Label Solve", {"": [solved_set(real[0], session)]}))
        rows.append(Subject("random real", {"": real}))
    if config.full_data:
        whole = subjects.full_data_set(support, session.dataset)
        change = "flip_crop" if protocol.mirrors(session.name) else "crop"
        told = f"all real, {change.replace('_', ' and ')}"
        for augmentation, name in (("none", "all real"), (change, told)):
            steps = None if config.steps else subjects.full_data_steps(augmentation)
            rows.append(Subject(name, {"": [whole]}, augmentation=augmentation, steps=steps))
    return rows


def solved_set(real: SupportSet, session: Session) -> SupportSet:
    """Returns `real` with Label Solve's labels, which are kept with the finished points."""
    facts = {
        "formulas": FORMULAS,
        "label_solve": array_hash(real.images),
        "training": array_hash(session.dataset.y_train, session.dataset.x_train[:1]),
        "held": len(session.dataset.x_validation),
        "hash": session.dataset.training_hash,
        "architecture": real.architecture.to_dict(),
        "kernel": real.kernel,
        "ridge": real.ridge,
    }

    def solve() -> dict[str, Any]:
        solved = subjects.solve_labels(real, session.dataset, session.reporter)
        return {"labels": solved.labels.tolist()}

    labels = np.asarray(session.ledger.remember(facts, solve)["labels"])
    return subjects.as_solved(real, labels)


def count_work(
    session: Session, rows: Sequence[Subject], *, protocol: EvaluationProtocol, columns: int = 1
) -> int:
    """Returns the number of updates (for kernels, of sets) of `evaluate_subject` on all rows."""
    if not protocol.trains:
        return columns * sum(len(d) for row in rows for d in row.alternatives.values())
    total = 0
    for row in rows:
        first = next(iter(row.alternatives.values()))[0]
        steps = [_recipe(session, row, protocol, first, loss).steps for loss, *_ in protocol.points]
        again = (protocol.seeds - 1) * math.ceil(float(np.mean(steps)))
        total += sum(steps) * len(row.alternatives) + again
    return total * columns
