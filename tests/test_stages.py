"""What is prepared for a GPU: stages that are time-boxed and recorded, and runs in small files."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import time

import pytest

from experiments.benchmarks.pack import pack
from experiments.benchmarks.stage import NOT_BEGUN, OUT_OF_TIME, run_stage
from kipax import KIPConfig, load, run_kip
from kipax.errors import OutOfTime, UsageError

ROOT = pathlib.Path(__file__).parents[1]
PROGRAM = """
import json, subprocess, sys, time
print(json.dumps({"microseconds": 3}), flush=True)
print("not {json}", flush=True)
"""
FOREVER = PROGRAM + "subprocess.run(['sleep', '60'])"


def _lines(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_a_stage_is_recorded(tmp_path, capfd):
    assert run_stage(tmp_path, "kernels", 30, [sys.executable, "-c", PROGRAM]) == 0
    result, end = _lines(tmp_path)
    assert result == {"stage": "kernels", "result": {"microseconds": 3}}
    assert (end["exit"], end["last"], end["limit"]) == (0, "not {json}", 30.0)
    assert (tmp_path / "log.txt").read_text() == capfd.readouterr().out


def test_a_late_stage_leaves_what_it_had_and_no_children(tmp_path):
    began = time.monotonic()
    assert run_stage(tmp_path, "late", 2.5, [sys.executable, "-c", FOREVER]) == OUT_OF_TIME
    assert time.monotonic() - began < 10
    assert run_stage(tmp_path, "next", 30, [sys.executable, "-c", "raise SystemExit(3)"]) == 3
    assert run_stage(tmp_path, "missing", 30, [str(tmp_path / "no_program")]) == 127
    lines = _lines(tmp_path)
    assert lines[0]["result"] == {"microseconds": 3}
    assert [line["exit"] for line in lines[1:]] == [OUT_OF_TIME, 3, 127]


def test_the_scripts_end_is_every_stages(tmp_path, monkeypatch):
    monkeypatch.setenv("KIPAX_END", str(time.time() + 2.5))
    assert run_stage(tmp_path, "a", 600, [sys.executable, "-c", FOREVER]) == OUT_OF_TIME
    assert run_stage(tmp_path, "b", 600, [sys.executable, "-c", FOREVER]) == NOT_BEGUN
    assert [line.get("exit") for line in _lines(tmp_path)] == [None, OUT_OF_TIME, NOT_BEGUN]


def test_a_killed_stage_leaves_the_rest(tmp_path):
    """Kills the runner itself: what the stage had printed before is in the file."""
    command = [sys.executable, "-m", "experiments.benchmarks.stage", str(tmp_path), "a", "60"]
    # With the runner gone, nothing ends the stage: wait until it ends by itself.
    short = FOREVER.replace("60", "3")
    process = subprocess.Popen([*command, sys.executable, "-c", short], cwd=ROOT)
    file = tmp_path / "results.jsonl"
    for _ in range(200):
        if file.exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert _lines(tmp_path)[0]["result"] == {"microseconds": 3}
    assert run_stage(tmp_path, "b", 30, [sys.executable, "-c", PROGRAM]) == 0


CONFIG = KIPConfig(
    architecture="fc1",
    support=10,
    steps=4,
    target_batch="60",
    checkpoint_every=2,
    preprocessing="zca",
)


def test_a_run_goes_on_from_its_archive(tmp_path, monkeypatch):
    monkeypatch.setattr("kipax.support_file._LARGE_BYTES", 0)  # a whitening counts as large
    whole = run_kip(CONFIG, workdir=tmp_path / "whole").support
    timed = KIPConfig(**vars(CONFIG) | {"max_seconds": 1e-9})
    for _ in range(3):
        with pytest.raises(OutOfTime):
            run_kip(timed, workdir=tmp_path / "cut", resume=True)
    pack(tmp_path / "cut", tmp_path / "cut.tar")
    with tarfile.open(tmp_path / "cut.tar") as tar:
        assert sorted(tar.getnames()) == ["latest.npz", "metrics.jsonl", "run.json", "support.npz"]
        tar.extractall(tmp_path / "there", filter="data")
    checkpoint = load(tmp_path / "there" / "support.npz")
    assert checkpoint.metadata["step"] == 2
    assert checkpoint.preprocessor.name == "zca"
    (tmp_path / "there" / "support.npz").unlink()
    resumed = run_kip(CONFIG, workdir=tmp_path / "there", resume=True).support
    assert resumed.images.tobytes() == whole.images.tobytes()
    assert resumed.labels.tobytes() == whole.labels.tobytes()
    with pytest.raises(UsageError, match=r"holds a run.json; there is none in"):
        pack(tmp_path, tmp_path / "none.tar")


def test_runs_of_an_earlier_call_are_not_overwritten(tmp_path):
    (tmp_path / "cifar10-10.tar").touch()
    script = ROOT / "experiments" / "benchmarks" / "gpu.sh"
    done = subprocess.run([script, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "continue with gpu_results.sh --resume" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["cifar10-10.tar"]


@pytest.mark.parametrize(
    ("script", "words", "message"),
    [
        ("gpu.sh", [], "usage: gpu.sh OUT_DIR"),
        ("gpu.sh", ["out", "--seconds=soon"], "--seconds is a whole number; got soon"),
        ("gpu.sh", ["out", "--resume"], "gpu.sh begins anew"),
        ("gpu_results.sh", ["out", "--fast"], "got --fast"),
    ],
)
def test_wrong_use_is_one_sentence(tmp_path, script, words, message):
    words = [str(tmp_path / word) if word == "out" else word for word in words]
    done = subprocess.run(
        [ROOT / "experiments" / "benchmarks" / script, *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"KIPAX_REHEARSE": "1"},
        timeout=60,
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
