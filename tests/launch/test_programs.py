"""Real processes on real images: a program with workers gives the local run's bytes, whoever dies.

Launchpad needs Python 3.10, Ray its extra; each is tested where it is installed.
"""

import contextlib
import importlib.util
import os
import random
import signal
import time

import pytest

from tests.launch.programs import (
    QUICK,
    SLOW,
    Program,
    engine_flags,
    expected_blocks,
    kill,
    run,
    same_set,
    steps_done,
    wait_until,
)

ENGINES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(name) is None, reason=f"{name} is not installed here"
        ),
    )
    for name in ("launchpad", "ray")
]
engines = pytest.mark.parametrize("engine", ENGINES)
launchpad_only = pytest.mark.parametrize("engine", ENGINES[:1])
pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def slow(folder):
    """The local run that the others must equal, 30 steps of about a second."""
    run(folder / "local", "experiments.kip", *SLOW, "--steps=30", f"--workdir={folder / 'slow'}")
    return folder / "slow"


@engines
def test_kip(folder, engine):
    flags = [*QUICK, "--steps=8"]
    local, pooled = folder / "quick", folder / f"quick_{engine}"
    if not local.exists():
        run(folder / "local", "experiments.kip", *flags, f"--workdir={local}")
    extra = [*engine_flags(engine), "--num_workers=2", f"--workdir={pooled}"]
    result = run(folder / engine, "launch.kip", *flags, *extra)
    assert same_set(local, pooled)
    assert result["blocks"]["counted"] == expected_blocks(pooled)
    assert result["blocks"]["lost"] == 0
    assert result["steps"] == 8


@engines
def test_label_solve(folder, engine):
    flags = ["--architecture=fc1", "--support=20", "--memory_gb=0.002"]
    local, pooled = folder / "solved", folder / f"solved_{engine}"
    if not local.exists():
        run(folder / "local", "experiments.label_solve", *flags, f"--workdir={local}")
    extra = [*engine_flags(engine), "--num_workers=2", f"--workdir={pooled}"]
    run(folder / engine, "launch.label_solve", *flags, *extra)
    assert same_set(local, pooled)


def _kill_one(program, killed, chance, *, delay=0.0):
    """Kills a worker that has joined, whichever, once there is one."""
    alive = lambda: sorted(set(program.workers()) - killed)  # noqa: E731
    wait_until(alive, 60, program)
    time.sleep(delay)
    victim = chance.choice(alive())
    kill(victim)
    killed.add(victim)


@launchpad_only
def test_workers_are_killed_and_replaced(folder, slow, engine):
    """Every second step a random worker dies; launch.worker replaces it."""
    workdir, chance = folder / "killed", random.Random(0)
    flags = [*SLOW, "--steps=30", "--num_workers=2", f"--workdir={workdir}"]
    replacements, killed = [], set()
    with Program(folder / engine, "launch.kip", *flags) as program:
        (address,) = program.await_words(r"--server=(\S+)")
        for step in range(0, 28, 2):
            wait_until(lambda at=step: steps_done(workdir) >= at, 120, program)
            _kill_one(program, killed, chance, delay=chance.uniform(0, 0.5))
            joiner = Program(folder / engine, "launch.worker", f"--server={address}")
            replacements.append(joiner)
        status, result = program.finish()
        said = program.said()
        for replacement in replacements:
            replacement.__exit__()
    assert status == 0, said
    assert len(killed) == 14
    assert len(program.workers()) > 2
    assert same_set(slow, workdir)
    assert result["blocks"]["counted"] == expected_blocks(workdir)
    assert result["blocks"]["retries"] > 0


@engines
def test_a_stopped_worker_is_overtaken(folder, slow, engine):
    workdir = folder / f"stopped_{engine}"
    flags = [*SLOW, "--steps=30", "--num_workers=2", f"--workdir={workdir}"]
    with Program(folder / engine, "launch.kip", *flags, *engine_flags(engine)) as program:
        program.await_words("joined", times=2)
        wait_until(lambda: steps_done(workdir) >= 3, 120, program)
        stopped = program.workers()[0]
        kill(stopped, signal.SIGSTOP)
        try:
            status, result = program.finish()
        finally:
            with contextlib.suppress(ProcessLookupError):  # the launcher ended it
                kill(stopped)
    assert status == 0, program.said()
    assert same_set(slow, workdir)
    assert result["blocks"]["counted"] == expected_blocks(workdir)
    assert result["blocks"]["retries"] > 0


@engines
def test_the_server_is_killed_and_resumed(folder, slow, engine):
    workdir = folder / f"server_{engine}"
    flags = [*SLOW, "--steps=30", "--num_workers=2", f"--workdir={workdir}", *engine_flags(engine)]
    with Program(folder / engine, "launch.kip", *flags) as program:
        wait_until(lambda: steps_done(workdir) >= 8, 120, program)
        if engine == "launchpad":
            (server,) = program.await_words(r"server is process (\d+)")
            kill(int(server))
            status, _ = program.finish(60)
            assert status == 1
            assert "the server died; continue with --resume" in program.said()
        else:  # the server is the program itself
            kill(program.process.pid)
            program.process.wait()
    assert not (workdir / "support.npz").exists()
    with Program(folder / engine, "launch.kip", *flags, "--resume") as program:
        status, _ = program.finish()
        assert status == 0, program.said()
        assert "continuing at step" in program.said()
    assert same_set(slow, workdir)


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_ray_restarts_killed_workers(folder, slow, engine):
    workdir, chance = folder / "ray_killed", random.Random(1)
    flags = [*SLOW, "--steps=30", "--num_workers=2", f"--workdir={workdir}", "--engine=ray"]
    killed = set()
    with Program(folder / engine, "launch.kip", *flags) as program:
        for step in range(2, 26, 4):
            wait_until(lambda at=step: steps_done(workdir) >= at, 120, program)
            _kill_one(program, killed, chance)
        status, result = program.finish()
    assert status == 0, program.said()
    assert len(killed) == 6
    assert len(program.workers()) >= 2 + 5  # the last one may still be loading
    assert same_set(slow, workdir)
    assert result["blocks"]["counted"] == expected_blocks(workdir)


@pytest.mark.parametrize("engine", ENGINES[1:])
@pytest.mark.parametrize(("platform", "status"), [("cpu", 0), ("nonsense", 1)])
def test_ray_workers_have_their_own_platform(folder, engine, platform, status):
    """And the server the CPU, whatever both inherit: no process here could have a TPU."""
    flags = [*QUICK, "--steps=1", f"--workdir={folder / platform}", "--engine=ray"]
    flags += [f"--worker_platform={platform}"]
    with Program(folder / engine, "launch.kip", *flags, JAX_PLATFORMS="tpu") as program:
        assert program.finish(120)[0] == status, program.said()
        assert ("no worker could join" in program.said()) == bool(status)


@engines
def test_interrupted_and_resumed(folder, slow, engine):
    """Ctrl-C reaches everybody at once; the state is saved."""
    workdir = folder / f"interrupted_{engine}"
    flags = [*SLOW, "--steps=30", "--num_workers=2", f"--workdir={workdir}", *engine_flags(engine)]
    with Program(folder / engine, "launch.kip", *flags) as program:
        wait_until(lambda: steps_done(workdir) >= 7, 120, program)
        os.killpg(program.process.pid, signal.SIGINT)
        status, result = program.finish(60)
    assert (status, result) == (130, None), program.said()
    assert "continue with --resume" in program.said()
    with Program(folder / engine, "launch.kip", *flags, "--resume") as program:
        status, _ = program.finish()
        assert status == 0, program.said()
    assert same_set(slow, workdir)
