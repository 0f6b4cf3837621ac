"""Tables of distillations: the ledger, the order, the verdicts."""

import dataclasses

import numpy as np
import pytest

from experiments.paper.kd_table import judge
from kipax.errors import UsageError
from kipax.kd import Cell, CellResult, NetworkTeacher, run_cells
from tests.kd.cases import SMALL, Listener, in_pieces

TINY = dataclasses.replace(SMALL, images=60, steps=2, source="noise", eval_examples=100)
CELLS = (Cell("noise", {}), Cell("plain", {"mix": "none"}))


def _run(taught, folder, config=TINY, cells=CELLS, seeds=(0, 1)):
    listener = Listener()
    teacher = NetworkTeacher(taught.network)
    results = run_cells(
        config, cells, seeds=seeds, teacher=teacher, workdir=folder, reporter=listener
    )
    return results, listener.said


def test_a_table_is_run_once_and_seed_by_seed(taught, tmp_path):
    results, said = _run(taught, tmp_path)
    order = [line.split(":")[0] for line in said if ", seed " in line]
    assert order == ["noise, seed 0", "plain, seed 0", "noise, seed 1", "plain, seed 1"]
    assert [r.name for r in results] == ["noise", "plain"]
    assert results[0].accuracies.shape == (2,)
    assert results[0].test_examples == 100
    assert len(list(tmp_path.glob("drawn-*"))) == 2  # both cells show the same images
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert len(lines) == 4
    again, _ = _run(taught, tmp_path)
    assert (tmp_path / "results.jsonl").read_text().splitlines() == lines
    np.testing.assert_array_equal(again[1].accuracies, results[1].accuracies)
    assert results[0].deviation == pytest.approx(np.std(results[0].accuracies, ddof=1))


def test_a_table_that_time_cut_off_goes_on(taught, tmp_path):
    hurried = dataclasses.replace(TINY, max_seconds=1e-9)
    results, stops = in_pieces(
        lambda: _run(taught, tmp_path, config=hurried, cells=CELLS[:1], seeds=(0,))[0]
    )
    assert stops
    whole, _ = _run(taught, tmp_path / "whole", cells=CELLS[:1], seeds=(0,))
    np.testing.assert_array_equal(results[0].accuracies, whole[0].accuracies)


def test_a_table_needs_test_images(taught, tmp_path):
    with pytest.raises(UsageError, match="needs images to test on"):
        _run(taught, tmp_path, config=dataclasses.replace(TINY, dataset="none"))


def _cell(accuracies, examples=10_000):
    a = np.array(accuracies)
    return CellResult("cell", a, a, a, a, examples)


def test_a_verdict_takes_two_standard_errors():
    assert judge(_cell([0.70]), _cell([0.75])) == "holds"
    assert judge(_cell([0.75]), _cell([0.70])) == "does not hold"
    assert judge(_cell([0.700]), _cell([0.705])) == "within noise"
    # 100 test images, or seeds that differ by more than the cells do.
    assert judge(_cell([0.70], 100), _cell([0.75], 100)) == "within noise"
    assert judge(_cell([0.60, 0.80]), _cell([0.65, 0.85])) == "within noise"
