"""``--max_seconds``: long work stops with everything saved and goes on to the same bytes."""

import dataclasses
import functools
import json
import pathlib

import numpy as np
import pytest

from kipax import KIPConfig, LabelSolveConfig, run_kip, run_label_solve
from kipax.blocks import BlockPlan, make_local
from kipax.config import resolved_defaults
from kipax.distill import SubsetsConfig, run_subsets
from kipax.distill.config import resolve
from kipax.distill.workdir import Workdir
from kipax.errors import OutOfTime, UsageError
from kipax.report import Progress, Reporter, limit_time
from kipax.runs import Identity
from kipax.transfer import EvaluateConfig, evaluate
from launch.nodes import RunRequest, execute
from tests.test_programs import FAST, _run

AT_ONCE = 1e-9  # over before the first step is: each call does one
KIP = KIPConfig(
    architecture="fc1", support=10, steps=4, target_batch="60", learning_rate=0.04, eval_every=2
)
STATES = sorted(pathlib.Path(__file__).parents[1].glob("experiments/results/state/*/run.json"))


def _until_finished(run, most):
    """The facts of every stop, and the result; `run` is called again until it gives one."""
    stops = []
    for _ in range(most):
        try:
            return stops, run()
        except OutOfTime as error:
            stops.append((str(error), error.facts))
    raise AssertionError(f"not finished: {stops[-1]}")


def _records(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_kip_in_pieces_has_the_bytes_of_one_run(tmp_path):
    timed = dataclasses.replace(KIP, max_seconds=AT_ONCE)
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    stops, result = _until_finished(lambda: run_kip(timed, workdir=cut, resume=True), 4)
    expected = run_kip(KIP, workdir=whole)
    assert [facts["step"] for _, facts in stops] == [1, 2, 3]
    sentence, facts = stops[-1]
    assert sentence == (
        "stopped after step 3 of 4, as --max_seconds=1e-09 says; continue with --resume"
    )
    assert facts["finished"] is False
    assert facts["test_accuracy"] == _records(whole)[2]["test_accuracy"]
    assert facts["workdir"] == str(cut)
    assert result.initial == expected.initial
    assert _records(cut) == _records(whole)
    for path in whole.glob("**/*.npz"):
        same = cut / path.relative_to(whole)
        assert path.read_bytes() == same.read_bytes(), path.name


def test_label_solve_in_pieces(tmp_path):
    config = LabelSolveConfig(architecture="fc1", support=20, memory_gb=2e-3)
    whole = run_label_solve(config, workdir=tmp_path / "whole")
    timed = dataclasses.replace(config, max_seconds=AT_ONCE)
    run = lambda: run_label_solve(timed, workdir=tmp_path / "cut", resume=True)  # noqa: E731
    stops, _ = _until_finished(run, 100)
    plan = BlockPlan(**json.loads((tmp_path / "cut" / "run.json").read_text())["plan"])
    targets = [stop for _, stop in plan.target_blocks(1257)]
    assert [facts["targets"] for _, facts in stops] == targets[:-1]
    bytes_of = {(tmp_path / n / "support.npz").read_bytes() for n in ("whole", "cut")}
    assert len(bytes_of) == 1
    assert whole.evaluation.test_accuracy > 0.5


def test_subsets_in_pieces(tmp_path):
    config = SubsetsConfig(
        architecture="fc1", support=20, natural="1,2", solved="1", memory_gb=2e-3
    )
    timed = dataclasses.replace(config, max_seconds=AT_ONCE)
    run = lambda: run_subsets(timed, workdir=tmp_path / "cut", resume=True)  # noqa: E731
    stops, rows = _until_finished(run, 200)
    assert rows == run_subsets(config, workdir=tmp_path / "whole")
    assert any("after test image" in sentence for sentence, _ in stops)


def test_an_evaluation_goes_on_with_what_is_missing(tmp_path):
    config = EvaluateConfig(
        baselines=True, draws=2, eval_examples=60, out=str(tmp_path / "points.jsonl")
    )
    run_kip(KIP, workdir=tmp_path)
    whole = evaluate(tmp_path, dataclasses.replace(config, out=str(tmp_path / "w.jsonl"))).results
    # Labels are solved block by block, and a block is not kept: the time must do for all of them.
    evaluate(tmp_path, dataclasses.replace(config, draws=1))
    timed = dataclasses.replace(config, draws=3, max_seconds=AT_ONCE)
    expected = dataclasses.replace(config, draws=3, out=None)
    stops, found = _until_finished(lambda: evaluate(tmp_path, timed), 4)
    assert len(stops) == 1  # two of three draws were missing
    sentence, facts = stops[0]
    assert sentence.endswith("the same command goes on with what is missing")
    assert [r["subject"] for r in facts["results"]] == ["KIP", "Label Solve"]
    assert found.results == evaluate(tmp_path, expected).results
    assert whole[0] == found.results[0]


def test_a_network_goes_on_and_a_time_too_short_is_told(tmp_path):
    run_kip(KIP, workdir=tmp_path)
    config = EvaluateConfig(
        protocol="kip-nn", width=4, steps=2, grid="small", losses="mse", seeds=1, eval_examples=60
    )
    whole = evaluate(tmp_path, config).results
    (tmp_path / "support-evaluate.jsonl").unlink()
    with pytest.raises(OutOfTime, match=r"step 1 of 8.*\(no point was finished .*: give more\)"):
        evaluate(tmp_path, dataclasses.replace(config, max_seconds=AT_ONCE))
    single = dataclasses.replace(config, steps=1, max_seconds=AT_ONCE)
    stops, _ = _until_finished(lambda: evaluate(tmp_path, single), 4)  # a point a call is kept
    assert len(stops) == 3
    assert "give more" not in stops[0][0]
    assert evaluate(tmp_path, config).results == whole


def test_the_last_unit_is_no_reason_to_stop():
    timed = limit_time(Reporter(), AT_ONCE, remedy="go on")
    timed.progress(Progress(60, 60))
    with pytest.raises(OutOfTime, match=r"after block 59 of 60, .*; go on"):
        timed.progress(Progress(59, 60, unit="block"))


def test_time_is_not_over_before_it_is(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("kipax.report.time.monotonic", lambda: now[0])
    reporter = Reporter()
    assert limit_time(reporter, None, remedy="") is reporter
    timed = limit_time(reporter, 5.0, remedy="")
    now[0] = 104.9
    timed.progress(Progress(1, 2))
    now[0] = 105.0
    with pytest.raises(OutOfTime):
        timed.progress(Progress(1, 2))


@pytest.mark.parametrize("config", [KIPConfig, EvaluateConfig])
@pytest.mark.parametrize("seconds", [0, -1, float("inf")])
def test_what_is_no_time(config, seconds):
    with pytest.raises(UsageError, match="max_seconds must be positive"):
        config(max_seconds=seconds)


@pytest.mark.slow
def test_the_command_ends_well(tmp_path):
    flags = [*FAST, f"--workdir={tmp_path}", "--resume"]
    status, out, err = _run("kip", *flags, "--max_seconds=0.001")
    assert status == 0, err
    assert json.loads(out)["finished"] is False
    assert err.splitlines()[-1].endswith("says; continue with --resume")
    status, out, err = _run("kip", *flags)
    assert status == 0, err
    assert json.loads(out)["steps"] == 3


def test_a_run_with_workers_ends_well_too(tmp_path):
    class Pool:
        executor = staticmethod(make_local)

    class Heard(Reporter):
        said = ()

        def say(self, sentence):
            self.said += (sentence,)

        def close(self):
            self.said += ("closed",)

    timed = dataclasses.replace(KIP, max_seconds=AT_ONCE)
    heard = Heard()
    outcome = execute(RunRequest("kip", timed, workdir=str(tmp_path)), Pool(), heard)
    assert (outcome.status, outcome.result["finished"], outcome.result["step"]) == (0, False, 1)
    assert heard.said[-2].endswith("continue with --resume")


# -- runs that were begun before a flag was there ------------------------------------------------


def test_a_run_without_a_flag_of_today_has_its_default(tmp_path):
    run_kip(KIP, workdir=tmp_path)
    file = tmp_path / "run.json"
    stored = json.loads(file.read_text())
    for flag in ("max_seconds", "augment_fraction", "init", "label_learning_rate"):
        del stored["config"][flag]
    file.write_text(json.dumps(stored))
    with pytest.raises(UsageError, match=r"--augment_fraction was 0.0, now 0.5"):
        run_kip(dataclasses.replace(KIP, augment_fraction=0.5), workdir=tmp_path, resume=True)
    assert run_kip(dataclasses.replace(KIP, steps=5), workdir=tmp_path, resume=True).steps == 5


@pytest.mark.parametrize("file", STATES, ids=lambda f: f.parent.name)
def test_the_stored_states_continue(tmp_path, file):
    stored = json.loads(file.read_text())
    kind = {"kip": KIPConfig, "subsets": SubsetsConfig}[stored["method"]]
    given = kind(**stored["config"] | {"max_seconds": 60.0})
    today = resolve(given, training_examples=50_000)
    assert set(dataclasses.asdict(today)) > set(stored["config"])  # begun before some flag
    (tmp_path / "run.json").write_bytes(file.read_bytes())
    new = Identity(
        method=stored["method"],
        config=dataclasses.asdict(today),
        hashes={k: stored[k] for k in ("training_hash", "targets_hash")},
        facts={k: stored[k] for k in ("plan", "versions")},
        free=today.may_change,
        defaults=resolved_defaults(today, functools.partial(resolve, training_examples=50_000)),
    )
    with Workdir(tmp_path).open(new, resume=True) as held:
        assert held["config"]["max_seconds"] == 60.0
        np.testing.assert_equal(held["plan"], stored["plan"])
