"""The command lines as a user types them."""

import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import kipax
from kipax import console
from kipax.distill.run import Evaluation, RunResult
from kipax.report import Progress

ROOT = pathlib.Path(__file__).parents[1]
FAST = ["--architecture=fc1", "--support=20", "--steps=3", "--target_batch=50"]


def _start(program, *flags):
    command = [sys.executable, "-m", f"experiments.{program}", *flags]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _run(program, *flags):
    process = _start(program, *flags)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def test_kip(tmp_path):
    status, out, err = _run("kip", *FAST, "--movie", f"--workdir={tmp_path}")
    assert status == 0, err
    assert "curve.png movie.gif metrics.jsonl" in err
    assert (tmp_path / "movie.gif").read_bytes().startswith(b"GIF89a")
    result = json.loads(out)  # one line, and nothing else, on stdout
    assert 0 <= result["test_accuracy"] <= 1
    assert result["steps"] == 3
    assert result["workdir"] == str(tmp_path)
    assert result["seconds_per_step"] > 0
    assert "digits · 8×8×1 · 10 classes" in err
    assert "learning_rate 0.02" in err
    assert "test accuracy" in err
    assert len(kipax.load(tmp_path / "support.npz")) == 20


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({"dataset": "digits"}, ""),
        ({"dataset": "npz:my birds.npz"}, " --dataset='npz:my birds.npz'"),
        ({"dataset": "mnist:3.0.1", "data_dir": "d"}, " --dataset=mnist:3.0.1 --data_dir=d"),
        ({"dataset": "folder:b", "image_size": 8}, " --dataset=folder:b --image_size=8"),
    ],
)
def test_the_command_that_evaluates_finds_the_data(tmp_path, capsys, given, flags):
    nothing = Evaluation(None, None)
    support = kipax.load("fashion_mnist-convnet-10")
    result = RunResult(support, nothing, nothing, 1, None, tmp_path)
    console.summarise(console.ConsoleReporter(), result, kipax.KIPConfig(**given))
    assert f"{tmp_path}/support.npz --baselines{flags}\n" in capsys.readouterr().err


_TEXT = "leaves < matched:leaves: holds [bold]twice[/bold]"


def test_text_is_printed_as_it_is(capsys):
    console.ConsoleReporter().say(_TEXT)
    assert capsys.readouterr().err == f"{_TEXT}\n"


def test_a_bars_text_is_printed_as_it_is(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("COLUMNS", "200")
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    reporter = console.ConsoleReporter()
    reporter.progress(Progress(1, 2, status=_TEXT))
    reporter.close()
    assert _TEXT in written.getvalue()


_FAILS = """
from kipax import console

def fail(reporter):
    raise RuntimeError("out of something")

console.ConsoleReporter.close = lambda self: print("closed")
console.run_command(fail)
"""


def test_the_bar_is_closed_whatever_fails():
    """Else it would be drawn into the traceback, and hide the cursor for good."""
    process = subprocess.run([sys.executable, "-c", _FAILS], capture_output=True, text=True)
    assert (process.returncode, process.stdout) == (1, "closed\n")
    assert "RuntimeError: out of something" in process.stderr


def test_label_solve(tmp_path):
    status, out, err = _run(
        "label_solve", "--architecture=fc1", "--support=20", f"--workdir={tmp_path}"
    )
    assert status == 0, err
    result = json.loads(out)
    assert result["test_accuracy"] > result["initial_test_accuracy"]


@pytest.mark.parametrize(
    ("flags", "message", "expected"),
    [
        (["--dataset=digit"], "unknown dataset 'digit'; did you mean digits?", 2),
        (["--nonsense=1"], "Unknown command line flag 'nonsense'", 2),
        (["--support=15"], "the nearest are 10 and 20", 2),
        (["digits"], "everything is a --flag; got 'digits'", 2),
        (["--movie", "--steps=0"], "over the steps of a run; got --steps=0", 2),
        (["--dataset=npz:/nowhere.npz"], "could not read /nowhere.npz: No such file", 1),
    ],
)
def test_errors_are_one_sentence(tmp_path, flags, message, expected):
    status, out, err = _run("kip", *flags, f"--workdir={tmp_path / 'run'}")
    assert status == expected
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
    assert out == ""


def test_debug_shows_the_traceback(tmp_path):
    status, _, err = _run("kip", "--dataset=digit", "--debug", f"--workdir={tmp_path / 'run'}")
    assert status != 0
    assert "Traceback" in err


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_resumed_is_the_same_run(tmp_path, how):
    flags = [*FAST[:2], "--target_batch=50", "--steps=150", "--checkpoint_every=5"]
    status, _, err = _run("kip", *flags, f"--workdir={tmp_path / 'whole'}")
    assert status == 0, err
    process = _start("kip", *flags, f"--workdir={tmp_path / 'cut'}")
    deadline = time.monotonic() + 120
    while not (tmp_path / "cut" / "checkpoints" / "step_000040.npz").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "continue with --resume" in err
    assert not (tmp_path / "cut" / "support.npz").exists()
    status, _, err = _run("kip", *flags, f"--workdir={tmp_path / 'cut'}", "--resume")
    assert status == 0, err
    assert "continuing at step" in err
    whole, cut = ((tmp_path / run / "support.npz").read_bytes() for run in ("whole", "cut"))
    assert whole == cut


_OTHER_PLACES = [
    pytest.param(place, marks=pytest.mark.slow) for place in ("/dev/full", "closed", "messages")
]


@pytest.mark.parametrize("place", ["pipe", *_OTHER_PLACES])
def test_a_result_that_nobody_reads(tmp_path, place):
    """A run is saved and prints no traceback, whatever becomes of its output.

    The output goes to a program that does not read it, to a full disk, or to a closed stream. If
    only the messages are not read, the result is still printed.
    """
    run = f"{sys.executable} -m experiments.kip {' '.join(FAST)} --workdir={tmp_path / 'run'}"
    after = {"pipe": "2>&1 | true", "/dev/full": ">/dev/full", "closed": ">&-"}
    after["messages"] = "2> >(true)"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {run} {after[place]}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert len(kipax.load(tmp_path / "run")) == 20
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    if place == "/dev/full":
        assert done.returncode == 1
        assert done.stderr.endswith("could not print the result: No space left on device.\n")
    else:
        assert done.returncode == 0
    if place == "messages":
        assert json.loads(done.stdout)["steps"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("preprocessing", ["zca", "standard"])
def test_a_user_without_a_home(tmp_path, preprocessing):
    """A container's unknown user id; whitenings are then not kept."""
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME")}
    code = (
        "import os, pwd; pwd.getpwuid = lambda uid: (_ for _ in ()).throw(KeyError(uid))\n"
        "import kipax; kipax.run_kip(kipax.KIPConfig(architecture='fc1', steps=1, target_batch=20,"
        f" eval_examples=20, preprocessing={preprocessing!r}), workdir={str(tmp_path / 'run')!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={k: v for k, v in environment.items() if k != "KIPAX_CACHE"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


@pytest.mark.slow
def test_tables_of_kip(tmp_path):
    """Rows are ways, columns validation and test images; finished runs are not run again."""
    flags = ["--architecture=fc1", "--support=20", "--seeds=2"]
    for program, way in (("batches", "--targets=100"), ("losses", "--steps=2")):
        extra = ["--batches=50,20"] if program == "batches" else ["--target_batch=50"]
        command = (program, *flags, way, *extra, f"--workdir={tmp_path / program}")
        status, out, err = _run(*command)
        assert status == 0, err
        rows = json.loads(out)["rows"]
        assert list(rows) == (["50", "20"] if program == "batches" else ["mse", "xent"])
        assert all(len(row["validation"]) == len(row["test"]) == 2 for row in rows.values())
        assert json.loads(_run(*command)[1])["rows"] == rows
    assert (tmp_path / "batches" / "20-1" / "support.npz").exists()
    steps = json.loads((tmp_path / "batches" / "20-1" / "run.json").read_text())["config"]["steps"]
    assert steps == 5
    status, _, err = _run("batches", "--targets=20")
    assert status != 0
    assert "targets for at least one step" in err
