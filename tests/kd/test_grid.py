"""Tables of distillations: the ledger, the order, the verdicts."""

import dataclasses
import json

import numpy as np
import pytest

from kipax.errors import UsageError
from kipax.kd import (
    Cell,
    CellResult,
    NetworkTeacher,
    judge_equal,
    judge_gap,
    judge_order,
    rank_correlation,
    run_cells,
)
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_cells_share_what_they_are_shown_and_no_more(taught, tmp_path):
    cells = (
        Cell("balanced", {"pool": 90}),
        Cell("tail", {"pool": 90, "imbalance": 9.0}),
        Cell("balanced, plain", {"pool": 90, "mix": "none"}),
        Cell("moved", {"boundary": True}),
    )
    config = dataclasses.replace(TINY, source="shaders")
    results, _ = _run(taught, tmp_path, config=config, cells=cells, seeds=(0,))
    assert len(results) == 4
    assert len(list(tmp_path.glob("drawn-*"))) == 3
    assert results[0].to_dict()["agreement"] is None  # of 60 images none is held out


def test_another_test_part_is_another_point_but_not_another_training(taught, tmp_path):
    _run(taught, tmp_path, cells=CELLS[:1], seeds=(0,))
    fewer = dataclasses.replace(TINY, eval_examples=50)
    results, _ = _run(taught, tmp_path, config=fewer, cells=CELLS[:1], seeds=(0,))
    assert results[0].test_examples == 50
    assert len(list(tmp_path.glob("noise-*"))) == 1


@pytest.mark.parametrize(
    ("cells", "seeds", "message"),
    [
        ((), (0,), "a table has cells and seeds"),
        (CELLS, (), "a table has cells and seeds"),
        ((CELLS[0], CELLS[0]), (0,), "have different names; got 'noise' twice"),
        ((Cell("a", {"teacher": "other"}),), (0,), "'a' changes teacher"),
        ((Cell("a", {"seed": 3}),), (0,), "'a' changes seed"),
        ((Cell("a", {"colour": 3}),), (0,), "'a' changes colour"),
    ],
)
def test_wrong_tables_are_refused(taught, tmp_path, cells, seeds, message):
    with pytest.raises(UsageError, match=message):
        _run(taught, tmp_path / "table", cells=cells, seeds=seeds)
    assert not (tmp_path / "table").exists()


def _cell(accuracies, examples=10_000):
    a = np.array(accuracies)
    return CellResult("cell", a, a, a, a, examples)


def test_a_table_in_json_knows_no_nan():
    """Labels alone have no agreement and no entropy, an untrained cell no last step."""
    nothing = np.array([np.nan])
    bare = dataclasses.replace(
        _cell([0.5]), last=nothing, agreements=nothing, relative_entropies=nothing
    )
    row = json.loads(json.dumps(bare.to_dict(), allow_nan=False))
    assert (row["last"], row["agreement"], row["relative_entropy"]) == ([None], None, None)
    assert row["accuracy"] == 0.5


def test_a_verdict_takes_two_standard_errors():
    assert judge_order(_cell([0.70]), _cell([0.75])) == "holds"
    assert judge_order(_cell([0.75]), _cell([0.70])) == "does not hold"
    assert judge_order(_cell([0.700]), _cell([0.705])) == "within noise"
    # 100 test images, or seeds that differ by more than the cells do.
    assert judge_order(_cell([0.70], 100), _cell([0.75], 100)) == "within noise"
    assert judge_order(_cell([0.60, 0.80]), _cell([0.65, 0.85])) == "within noise"


def test_equal_accuracies_gaps_and_correlations():
    assert judge_equal(_cell([0.70]), _cell([0.705])) == "holds"
    assert judge_equal(_cell([0.70]), _cell([0.75])) == "does not hold"
    wide, narrow = (_cell([0.5]), _cell([0.7])), (_cell([0.6]), _cell([0.7]))
    assert judge_gap(wide, narrow) == "holds"
    assert judge_gap(narrow, wide) == "does not hold"
    assert judge_gap(wide, wide) == "within noise"
    entropies = [0.1, 0.9, 0.5, 0.7]
    rows = [
        dataclasses.replace(_cell([a]), relative_entropies=np.array([e]))
        for a, e in zip([0.2, 0.8, 0.5, 0.6], entropies, strict=True)
    ]
    assert rank_correlation(rows) == 1.0
    assert rank_correlation(rows[:3]) is None
    same = [dataclasses.replace(row, accuracies=np.array([0.5])) for row in rows]
    assert rank_correlation(same) is None
