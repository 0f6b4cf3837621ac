"""The sentences that a run prints when it begins: its data, kernel, sizes and settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax

from kipax.data import Dataset
from kipax.distill.config import RunConfig
from kipax.report import Reporter

if TYPE_CHECKING:
    from kipax.distill.run import Run

__all__ = ["describe_run", "say_data", "say_differences"]


def say_data(config: RunConfig, dataset: Dataset, reporter: Reporter) -> None:
    """Says the data set, its preprocessing and augmentation, and what was found in it."""
    words = f"{dataset!r} · {config.preprocessing} preprocessing"
    if config.zca_lambda is not None:
        words += f" (lambda {config.zca_lambda:g})"
    if config.augmentation:
        words += f" · {config.augmentation:.0%} of the targets augmented"
    reporter.say(words)
    if dataset.note:
        reporter.say(dataset.note)


def say_differences(stored: Mapping, now: Mapping, reporter: Reporter) -> None:
    """Says where a resumed run differs from its beginning: the version of JAX, the blocks."""
    if stored["versions"]["jax"] != jax.__version__:
        reporter.say(
            f"begun with jax {stored['versions']['jax']}, continued with {jax.__version__}: "
            "results may differ in rounding"
        )
    if stored["plan"] != now["plan"]:
        reporter.say(
            "the blocks stay those of the run's beginning; the new memory_gb has no effect on them"
        )


def describe_run(run: Run) -> str:
    """Describes a run in three lines: kernel and backend, sizes and blocks, chosen values."""
    config, plan = run.config, run.executor.plan
    targets = config.targets_per_step(len(run.dataset.x_train))
    blocks = len(plan.target_blocks(targets)) + sum(1 for _ in plan.support_blocks(config.support))
    values: Mapping[str, Any] = dataclasses.asdict(config)
    shown = (
        "loss",
        "temperature",
        "learning_rate",
        "final_learning_rate",
        "label_learning_rate",
        "learn_labels",
        *(["keep_norms"] if values.get("keep_norms") else []),
        "ridge",
        "seed",
    )
    chosen = " · ".join(f"{k} {values[k]}" for k in shown if values.get(k) is not None)
    kernels = " or ".join(kernel.describe() for kernel in run.kernels)
    computed_by = " and ".join(dict.fromkeys(kernel.computed_by() for kernel in run.kernels))
    return (
        f"{kernels} · {computed_by}\n"
        f"{config.support} images against {targets:,} targets"
        + (" a step" if run.method.in_steps else "")
        + f" · {blocks} block{'s' * (blocks > 1)} · at most {config.memory_gb:g} GB\n{chosen}"
    )
