"""The program, apart from launching it; and what its command lines refuse."""

import importlib.util
import subprocess
import sys

import pytest

from kipax import KIPConfig
from kipax.distill import Progress
from kipax.errors import UsageError
from launch.nodes import Outcome, RunRequest
from launch.program import Resources, make_program, make_resources
from launch.relay import Relay, RelayReporter
from tests.launch.programs import ROOT

has_launchpad = importlib.util.find_spec("launchpad") is not None
has_ray = importlib.util.find_spec("ray") is not None
needs_launchpad = pytest.mark.skipif(not has_launchpad, reason="launchpad is not installed here")
REQUEST = RunRequest("kip", KIPConfig(), num_workers=3)


@needs_launchpad
def test_the_program(tmp_path):
    program = make_program(REQUEST, folder=str(tmp_path), port=12345)
    assert list(program.groups) == ["server", "worker0", "worker1", "worker2"]
    (server,) = program.groups["server"]
    server.bind_addresses()
    assert server.courier_address.resolve() == "localhost:12345"
    resources = make_resources(Resources(gpus_per_worker=1), 3, folder="there")
    assert resources["worker2"].env["CUDA_VISIBLE_DEVICES"] == "2"
    assert resources["server"].env["JAX_PLATFORMS"] == "cpu"


@needs_launchpad
def test_processes_share_what_they_compile(monkeypatch):
    def environment():
        return make_resources(Resources(), 0, folder="there")["server"].env

    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    assert environment()["JAX_COMPILATION_CACHE_DIR"] == "there/compiled"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "the user's")
    assert "JAX_COMPILATION_CACHE_DIR" not in environment()


def test_resources():
    with pytest.raises(UsageError, match="not negative"):
        Resources(threads_per_worker=-1)
    assert Resources(worker_platform="tpu").worker_environment(0, 1)["JAX_PLATFORMS"] == "tpu"
    assert Resources().server_environment() == {}
    assert "CUDA_VISIBLE_DEVICES" not in Resources(gpus_per_worker=2).ray_environment(1, 2)


def test_outcomes_and_reports_cross_processes(tmp_path):
    outcome = Outcome(0, {"test_accuracy": 0.5})
    outcome.write(tmp_path / "outcome.json")
    assert Outcome.read(tmp_path / "outcome.json") == outcome

    class Heard:
        said = ()

        def say(self, sentence):
            self.said += (sentence,)

        def progress(self, progress):
            self.said += (progress,)

        def close(self):
            self.said += ("closed",)

    heard, path = Heard(), tmp_path / "reports.jsonl"
    relay, reporter = Relay(path, heard), RelayReporter(path)
    relay.show()
    progress = Progress(3, 9, loss=0.5, status="2 workers")
    reporter.say("8×8")
    relay.show()
    reporter.progress(progress)
    reporter.close()
    with open(path, "a") as f:
        f.write('{"say": "cut o')
    relay.show()
    relay.show()
    assert heard.said == ("8×8", progress, "closed")


def _run(module, *flags):
    done = subprocess.run(
        [sys.executable, "-m", module, *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(has_launchpad, reason="launchpad is installed here")
@pytest.mark.parametrize("module", ["launch.kip", "launch.label_solve"])
def test_without_launchpad(module):
    status, out, err = _run(module, "--dataset=digits")
    assert (status, out) == (2, "")
    assert "pip install 'kipax[launchpad]'" in err.splitlines()[-1]
    if sys.version_info[:2] != (3, 10):
        assert "Python 3.10 only" in err
        assert "--engine=ray with pip install 'kipax[ray]'" in err


@pytest.mark.skipif(has_ray, reason="ray is installed here")
def test_without_ray():
    status, _, err = _run("launch.kip", "--engine=ray")
    assert status == 2
    assert "pip install 'kipax[ray]'" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("module", "flags", "words"),
    [
        ("launch.kip", ["--engine=dask"], "unknown engine 'dask'"),
        pytest.param(
            "launch.kip",
            ["--num_workers=-1"],
            "num_workers must not be negative",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "launch.kip",
            ["--engine=ray", "--num_workers=0"],
            "--num_workers=1 or more",
            marks=pytest.mark.slow,
        ),
        ("launch.kip", ["--engine=ray", "--ray_address=10.9.8.7:6379"], "--allow_network"),
        pytest.param(
            "launch.kip",
            ["--engine=ray", "--port=7400"],
            "--port has no effect with --engine=ray",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "launch.kip",
            ["--ray_address=auto"],
            "--ray_address has no effect",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "launch.kip",
            ["--silence_seconds=0"],
            "silence_seconds must be positive; got 0.0",
            marks=pytest.mark.slow,
        ),
        ("launch.worker", [], "--server=HOST:PORT is needed"),
        pytest.param(
            "launch.worker", ["--server=10.9.8.7:1"], "--allow_network", marks=pytest.mark.slow
        ),
        pytest.param(
            "launch.worker", ["--server=localhost"], "a server is HOST:PORT", marks=pytest.mark.slow
        ),
        pytest.param(
            "launch.worker",
            ["--server=nonsense", "--allow_network"],
            "a server is HOST:PORT",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_refused(module, flags, words):
    status, out, err = _run(module, *flags)
    assert (status, out) == (2, "")
    assert words in err.splitlines()[-1]
    assert "Traceback" not in err


@needs_launchpad
@pytest.mark.parametrize(
    "flag", ["--threads_per_worker=1", "--gpus_per_worker=1", "--worker_platform=cpu"]
)
def test_workers_in_threads_have_no_environment(flag):
    status, _, err = _run("launch.kip", "--lp_launch_type=local_mt", flag)
    assert status == 2
    assert f"{flag.split('=')[0]} has no effect with --lp_launch_type=local_mt" in err


@needs_launchpad
def test_an_unreachable_server():
    status, _, err = _run("launch.worker", "--server=localhost:9", "--patience_seconds=1")
    assert status == 1
    assert "out of reach" in err


def test_the_help_warns():
    _, out, _ = _run("launch.kip", "--help")
    text = " ".join(out.split())
    for words in ("without authentication", "unpickles", "Trusted networks only", "run code"):
        assert words in text
