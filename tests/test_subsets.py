"""Subsets of a pool: as kernel ridge regression and Label Solve on each of them."""

import numpy as np
import pytest

from kipax import LabelSolveConfig, run_label_solve
from kipax.data import Dataset
from kipax.distill import SubsetsConfig, run_subsets
from kipax.errors import UsageError


@pytest.fixture
def dataset():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (96, 6, 6, 1)).astype(np.uint8)
    y = np.arange(96) % 3
    x[..., 0, 0, 0] = 80 * y  # something to learn
    x[:, :2] = x[:, :2] // 4 + 40 * y[:, None, None, None].astype(np.uint8)
    return Dataset.from_arrays(
        {"x_train": x[:72], "y_train": y[:72], "x_test": x[72:], "y_test": y[72:]}
    )


def _config(**changes):
    return SubsetsConfig(
        **{"support": 12, "architecture": "convnet1", "natural": "1,4", "solved": "4"} | changes
    )


def test_the_whole_pool_is_label_solve(tmp_path, dataset):
    rows = run_subsets(_config(), dataset=dataset, workdir=tmp_path / "a")
    config = LabelSolveConfig(support=12, architecture="convnet1")
    solved = run_label_solve(config, dataset=dataset, workdir=tmp_path / "b")
    assert [(r.labels, r.per_class, r.draws) for r in rows] == [
        ("true", 1, 20),
        ("true", 4, 1),  # a pool has one subset of its size
        ("solved", 4, 1),
    ]
    assert rows[1].mean == solved.initial.test_accuracy
    assert rows[1].std == 0
    assert rows[2].mean == solved.evaluation.test_accuracy
    assert rows[0].std > 0


def test_a_size_has_its_own_draws(tmp_path, dataset):
    both = run_subsets(_config(natural="1,2", solved=""), dataset=dataset, workdir=tmp_path / "a")
    one = run_subsets(_config(natural="2", solved=""), dataset=dataset, workdir=tmp_path / "b")
    assert both[1:] == one


def test_a_killed_run_resumes(tmp_path, dataset):
    config = _config(natural="2", solved="1,2")
    whole = run_subsets(config, dataset=dataset, workdir=tmp_path)
    stored = sorted(tmp_path.glob("test-*/*.npz"))
    for file in stored[1:]:
        file.unlink()
    assert run_subsets(config, dataset=dataset, workdir=tmp_path, resume=True) == whole
    assert [r.draws for r in whole] == [20, 4, 2]  # disjoint ones: as many as there is room for


def test_resuming_with_other_test_images_and_sizes(tmp_path, dataset):
    run_subsets(_config(eval_examples=12), dataset=dataset, workdir=tmp_path / "a")
    changed = _config(natural="2", solved="2")
    again = run_subsets(changed, dataset=dataset, workdir=tmp_path / "a", resume=True)
    assert again == run_subsets(changed, dataset=dataset, workdir=tmp_path / "b")


def test_bad_values(tmp_path, dataset):
    with pytest.raises(UsageError, match="has 4 a class; got 8: take support=24"):
        run_subsets(_config(natural="8"), dataset=dataset, workdir=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(
        UsageError, match="natural is a comma-separated list of whole numbers from 1; got '1,x'"
    ):
        _config(natural="1,x")
    with pytest.raises(UsageError, match="draws must be at least 1; got 0"):
        _config(draws=0)
