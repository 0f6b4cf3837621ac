"""Measures the accuracy of real images and of Label Solve on random subsets of one pool.

Every kernel is computed once, for the whole pool; those of the subsets are parts of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files, ridge
from kipax.blocks import MakeExecutor, make_local
from kipax.config import config_field
from kipax.data import Dataset
from kipax.distill.config import Method, RunConfig
from kipax.distill.label_solve import stream_sums
from kipax.distill.run import Run, RunArguments, start_run
from kipax.errors import UsageError, read_whole_numbers
from kipax.files import hash_arrays
from kipax.report import Progress, Reporter

__all__ = ["SubsetRow", "SubsetsConfig", "run_subsets"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubsetsConfig(RunConfig):
    """Subsets of a pool of `support` class-balanced real images.

    Example:
        >>> SubsetsConfig(support=20, natural="1,2", solved="1").sizes("natural")
        (1, 2)
    """

    support: int = config_field(100, "images in the pool, a multiple of the classes")
    natural: str = config_field(
        "1,2,4,8", "images a class of random subsets with true labels", may_change=True
    )
    solved: str = config_field(
        "1,10", "images a class of disjoint subsets with solved labels", may_change=True
    )
    draws: int = config_field(20, "random subsets of each size", may_change=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws < 1:
            raise UsageError(f"draws must be at least 1; got {self.draws}.")
        for name in ("natural", "solved"):
            self.sizes(name)

    def sizes(self, name: str) -> tuple[int, ...]:
        """Returns the numbers of images per class in the field `name`."""
        return read_whole_numbers(name, getattr(self, name))

    def check_dataset(self, dataset: Dataset) -> None:
        """Raises a `UsageError` for a size for which the pool has too few images."""
        available = self.support // dataset.num_classes
        wanted = max((*self.sizes("natural"), *self.sizes("solved")), default=0)
        if wanted > available:
            raise UsageError(
                f"a pool of {self.support} images has {available} a class; got {wanted}: "
                f"take support={wanted * dataset.num_classes}."
            )


SUBSETS = Method(name="subsets", title="random subsets", config=SubsetsConfig, suffix="subsets")


@dataclasses.dataclass(frozen=True)
class SubsetRow:
    """Test accuracy of subsets of one size: mean and deviation over draws, fractions."""

    labels: str
    per_class: int
    draws: int
    mean: float
    std: float


@dataclasses.dataclass(frozen=True, eq=False)
class _Pool:
    """Kernels of the whole pool; the sums are None if no labels are solved."""

    classes: np.ndarray
    k_ss: np.ndarray
    k_test: np.ndarray
    test_classes: np.ndarray
    gram: np.ndarray | None
    cross: np.ndarray | None


def run_subsets(
    config: SubsetsConfig,
    *,
    dataset: Dataset | None = None,
    workdir: Path | str | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
    make_executor: MakeExecutor = make_local,
    kernel_fn: Callable[..., Any] | None = None,
) -> list[SubsetRow]:
    """Measures the accuracy of random subsets of a pool, with true and with solved labels.

    Subsets with true labels are drawn at random and may overlap (the whole pool is one draw);
    those with solved labels are disjoint, as many as the pool holds. A
    killed run resumes, also with other sizes; where labels are solved, the pool's kernel and the
    sums over all targets are left in ``workdir/sums.npz``.

    Arguments and errors are those of `kipax.distill.run_kip`; a size for which the pool has too
    few images of a class is a `UsageError` as well.

    Source: Nguyen et al. 2021, Table A1 (true labels, 20 draws) and Table 1 (LS, one draw).
    """
    arguments = RunArguments(
        dataset=dataset,
        workdir=workdir,
        resume=resume,
        reporter=reporter,
        make_executor=make_executor,
        kernel_fn=kernel_fn,
    )
    with start_run(config, SUBSETS, arguments) as run:
        pool = _make_pool(run)
    rows = [_natural(pool, size, config) for size in config.sizes("natural")]
    rows += [_solved(pool, size, config) for size in config.sizes("solved")]
    return rows


def _make_pool(run: Run) -> _Pool:
    config = run.config
    assert isinstance(config, SubsetsConfig)
    run.executor.set_support(run.first_images, version=0)
    gram = cross = None
    if config.sizes("solved"):
        gram, cross = stream_sums(run)
    k_ss = run.executor.support_kernel(kernel=run.kernel)
    if gram is not None and cross is not None:
        content = {"k_ss": k_ss, "gram": gram, "cross": cross, "classes": run.first_classes}
        files.write_npz(run.workdir.path / "sums.npz", content)
    k_test, test_classes = _test_kernel(run)
    return _Pool(np.asarray(run.first_classes), k_ss, k_test, test_classes, gram, cross)


def _test_kernel(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Returns ``k_ts`` of the test images; saves each block in a file, so that it resumes."""
    x, y = run.test_images()
    kernel_fn = run.kernel.make()
    digest = hash_arrays({"x": x})[:16]  # other test images have other kernels
    folder = run.workdir.path / f"test-{digest}"
    folder.mkdir(exist_ok=True)
    parts = []
    for start, stop in run.executor.plan.target_blocks(len(x)):
        file = folder / f"{start:06d}.npz"
        if not file.exists():
            block = np.asarray(kernel_fn(x[start:stop], run.first_images), np.float64)
            files.write_npz(file, {"k": block})
            run.reporter.progress(Progress(stop, len(x), unit="test image"))
        parts.append(files.read_npz(file, ["k"])["k"])
    return np.concatenate(parts), y


def _natural(pool: _Pool, size: int, config: SubsetsConfig) -> SubsetRow:
    rng = np.random.default_rng([config.seed, size])  # does not depend on the other sizes

    def draw() -> np.ndarray:
        by_class = (np.flatnonzero(pool.classes == c) for c in np.unique(pool.classes))
        return np.concatenate([rng.choice(members, size, replace=False) for members in by_class])

    labels = ridge.one_hot(pool.classes, int(pool.classes.max()) + 1)
    whole_pool = size * labels.shape[1] == len(pool.classes)
    scores = []
    for _ in range(1 if whole_pool else config.draws):
        chosen = draw()
        scores.append(_accuracy(pool, chosen, labels[chosen], config.ridge))
    return _row("true", size, scores)


def _solved(pool: _Pool, size: int, config: SubsetsConfig) -> SubsetRow:
    assert pool.gram is not None
    assert pool.cross is not None
    scores = []
    for chosen in _disjoint(pool.classes, size):
        square = np.ix_(chosen, chosen)
        labels = ridge.label_solve(
            pool.k_ss[square], pool.gram[square], pool.cross[chosen], ridge=config.ridge
        )
        scores.append(_accuracy(pool, chosen, labels, config.ridge))
    return _row("solved", size, scores)


def _disjoint(classes: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yields disjoint class-balanced subsets with `size` images of each class."""
    members = [np.flatnonzero(classes == c) for c in np.unique(classes)]
    for i in range(min(map(len, members)) // size):
        yield np.concatenate([m[i * size : (i + 1) * size] for m in members])


def _accuracy(pool: _Pool, chosen: np.ndarray, labels: np.ndarray, relative: float) -> float:
    solution = ridge.solve(pool.k_ss[np.ix_(chosen, chosen)], labels, ridge=relative)
    scores = ridge.predict(pool.k_test[:, chosen], solution.alpha)
    return ridge.accuracy(scores, pool.test_classes)


def _row(labels: str, size: int, scores: list[float]) -> SubsetRow:
    return SubsetRow(labels, size, len(scores), float(np.mean(scores)), float(np.std(scores)))
