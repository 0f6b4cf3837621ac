"""Label Solve: real images, labels in closed form over the whole target set."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from kipax import ridge
from kipax.blocks import MakeExecutor, TargetRows, make_local
from kipax.data import Dataset
from kipax.distill.config import LabelSolveConfig
from kipax.distill.report import Progress, Reporter
from kipax.distill.run import Run, RunResult, start_run
from kipax.errors import FileError

__all__ = ["run_label_solve"]

_SECONDS_BETWEEN_SAVES = 10.0


def run_label_solve(
    config: LabelSolveConfig,
    *,
    dataset: Dataset | None = None,
    workdir: Path | str | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
    make_executor: MakeExecutor = make_local,
) -> RunResult:
    """Solves for the labels of class-balanced real images (the paper's equation 2).

    The sums over all training images are streamed a block at a time and saved on the way, so
    that a killed run resumes.

    Args and errors: as `kipax.distill.run_kip`.

    Source: Nguyen et al. 2021, section 2.
    """
    run = start_run(
        config,
        method="label_solve",
        dataset=dataset,
        workdir=workdir,
        resume=resume,
        reporter=reporter or Reporter(),
        make_executor=make_executor,
    )
    run.executor.set_support(run.first_images, version=0)
    initial = run.evaluate(run.initial_support())
    try:
        gram, cross = stream_sums(run)
    except FileError as error:
        raise FileError(f"{error} Mend the cause and continue with --resume.") from error
    k_ss = run.executor.kernel(None, kernel=config.kernel_spec)
    labels = ridge.label_solve(k_ss, gram, cross, ridge=config.ridge)
    support = run.support_set(run.first_images, labels, learned_labels=True, step=None)
    evaluation = run.evaluate(support)
    support = run.support_set(
        run.first_images, labels, learned_labels=True, step=None, **evaluation.to_dict()
    )
    support.save(run.workdir.path / "support.npz")
    run.draw(support)
    return RunResult(support, evaluation, initial, 0, None, run.workdir.path)


def stream_sums(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """``k_ts^T k_ts`` and ``k_ts^T y_t`` over all training images, resumable."""
    size, classes = run.config.support, run.dataset.num_classes
    gram, cross, cursor = np.zeros((size, size)), np.zeros((size, classes)), 0
    stored = run.workdir.load_latest()
    if stored:
        gram, cross, cursor = stored["gram"], stored["cross"], int(stored["cursor"])
    total, saved_at, began, first = len(run.dataset.x_train), time.monotonic(), None, cursor
    blocks = [b for b in run.executor.plan.target_blocks(total) if b[0] >= cursor]
    skip = len(run.executor.plan.target_blocks(total)) - len(blocks)
    rows, kernel = TargetRows(np.arange(total)), run.config.kernel_spec
    parts = run.executor.gram_parts(rows, kernel=kernel, skip=skip)
    for (_, stop), part in zip(blocks, parts, strict=True):
        gram, cross, cursor = gram + part[0], cross + part[1], stop
        now = time.monotonic()
        if now - saved_at > _SECONDS_BETWEEN_SAVES:
            arrays = {"gram": gram, "cross": cross, "cursor": np.asarray(cursor)}
            run.workdir.save_latest(arrays)
            saved_at = now
        if began is None:
            began, first = now, cursor  # the first block compiles
        pace = (now - began) / (cursor - first) if cursor > first else None
        status = run.executor.status()
        run.reporter.progress(
            Progress(cursor, total, unit="target", seconds_per_step=pace, status=status)
        )
    return gram, cross
