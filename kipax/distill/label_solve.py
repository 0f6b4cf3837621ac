"""Label Solve: real images, labels in closed form over the whole target set."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kipax import ridge
from kipax.blocks import MakeExecutor, TargetRows, make_local
from kipax.data import Dataset
from kipax.distill.config import LabelSolveConfig, Method
from kipax.distill.run import Run, RunArguments, RunResult, start_run
from kipax.errors import FileError, Interrupted, OutOfTime, PoolError
from kipax.report import Progress, Reporter
from kipax.runs import SECONDS_BETWEEN_SAVES

__all__ = ["run_label_solve"]

LABEL_SOLVE = Method(
    name="label_solve", title="Label Solve", config=LabelSolveConfig, suffix="label_solve"
)


def run_label_solve(
    config: LabelSolveConfig,
    *,
    dataset: Dataset | None = None,
    workdir: Path | str | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
    make_executor: MakeExecutor = make_local,
    kernel_fn: Callable[..., Any] | None = None,
) -> RunResult:
    """Solves for the labels of class-balanced real images (the paper's equation 2).

    The sums over all training images are streamed a block at a time and saved on the way, so
    that a killed run resumes.

    Arguments and errors are those of `kipax.distill.run_kip`.

    Source: Nguyen et al. 2021, section 2.
    """
    arguments = RunArguments(
        dataset=dataset,
        workdir=workdir,
        resume=resume,
        reporter=reporter,
        make_executor=make_executor,
        kernel_fn=kernel_fn,
    )
    with start_run(config, LABEL_SOLVE, arguments) as run:
        return _solve(run)


def _solve(run: Run) -> RunResult:
    run.executor.set_support(run.first_images, version=0)
    initial = run.evaluate(run.initial_support())
    try:
        gram, cross = stream_sums(run)
    except FileError as error:
        raise FileError(f"{error} Mend the cause and continue with --resume.") from error
    k_ss = run.executor.support_kernel(kernel=run.kernel)
    labels = ridge.label_solve(k_ss, gram, cross, ridge=run.config.ridge)
    support = run.support_set(run.first_images, labels, learned_labels=True, step=None)
    evaluation = run.evaluate(support)
    support = run.support_set(
        run.first_images, labels, learned_labels=True, step=None, **evaluation.to_dict()
    )
    support.save(run.workdir.path / "support.npz")
    run.draw(support)
    return RunResult(support, evaluation, initial, 0, None, run.workdir.path)


def stream_sums(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Returns ``k_ts^T k_ts`` and ``k_ts^T y_t`` over all training images; resumes earlier sums.

    Raises:
        Interrupted: the user pressed Ctrl-C; the sums so far are saved.
        OutOfTime: ``config.max_seconds`` are over; the sums so far are saved.
        PoolError: workers cannot compute a block; the sums so far are saved.
    """
    sums = _Sums.load(run)
    try:
        for further in _continue(run, sums):
            sums = further
    except KeyboardInterrupt:
        sums.save(run)
        raise Interrupted(
            f"stopped after {sums.cursor:,} targets; continue with --resume"
        ) from None
    except OutOfTime as error:
        sums.save(run)
        facts = {"targets": sums.cursor, "workdir": str(run.workdir.path)}
        raise OutOfTime(str(error), **facts) from None
    except PoolError as error:
        sums.save(run)
        raise PoolError(f"{error} The sums so far are saved: continue with --resume.") from error
    sums.save(run)
    return sums.gram, sums.cross


@dataclasses.dataclass(frozen=True, eq=False)
class _Sums:
    """The sums over the first `cursor` targets."""

    gram: np.ndarray
    cross: np.ndarray
    cursor: int

    @classmethod
    def load(cls, run: Run) -> _Sums:
        size, classes = run.config.support, run.dataset.num_classes
        none = cls(np.zeros((size, size)), np.zeros((size, classes)), 0)
        stored = run.workdir.load_latest(none.to_arrays())
        if stored is None:
            return none
        return cls(stored["gram"], stored["cross"], int(stored["cursor"]))

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {"gram": self.gram, "cross": self.cross, "cursor": np.asarray(self.cursor)}

    def save(self, run: Run) -> None:
        run.workdir.save_latest(self.to_arrays())


def _continue(run: Run, sums: _Sums) -> Iterator[_Sums]:
    """Yields the sums after each further block; saves them and reports progress."""
    total, saved_at, began, first = len(run.dataset.x_train), time.monotonic(), None, 0
    every = run.executor.plan.target_blocks(total)
    blocks = [b for b in every if b[0] >= sums.cursor]
    rows, kernel = TargetRows(np.arange(total)), run.kernel
    parts = run.executor.gram_parts(rows, kernel=kernel, skip=len(every) - len(blocks))
    for (_, stop), part in zip(blocks, parts, strict=True):
        sums = _Sums(sums.gram + part[0], sums.cross + part[1], stop)
        yield sums
        now = time.monotonic()
        if now - saved_at > SECONDS_BETWEEN_SAVES:
            sums.save(run)
            saved_at = now
        if began is None:
            began, first = now, stop  # the first block compiles
        pace = (now - began) / (stop - first) if stop > first else None
        status = run.executor.status()
        run.reporter.progress(
            Progress(stop, total, unit="target", seconds_per_step=pace, status=status)
        )
