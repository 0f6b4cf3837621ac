"""Programs as a user types them, watched and killed."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]
# A step of about a second in ten blocks of targets, of real 8 x 8 images.
SMALL = ["--dataset=digits", "--architecture=convnet2", "--checkpoint_every=5", "--eval_every=1000"]
SLOW = [*SMALL, "--support=60", "--target_batch=all", "--memory_gb=0.0018"]
QUICK = [*SMALL, "--support=20", "--target_batch=400", "--memory_gb=0.001"]


def engine_flags(engine):
    return ["--engine=ray"] if engine == "ray" else []


class Program:
    """A running command; everything it says lands in a file."""

    def __init__(self, folder, module, *flags, **more_environment):
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"log{time.monotonic_ns()}"
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "KIPAX_NUM_THREADS": "1"}
        environment |= more_environment
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *flags],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def said(self):
        return self.log.read_text()

    def finish(self, timeout=300):
        """The exit status and the JSON line."""
        out, _ = self.process.communicate(timeout=timeout)
        return self.process.returncode, json.loads(out) if out else None

    def await_words(self, pattern, timeout=90, times=1):
        """All matches of a pattern, once there are so many."""
        return wait_until(lambda: _enough(re.findall(pattern, self.said()), times), timeout, self)

    def workers(self):
        """Processes of the workers that have joined so far."""
        return [int(pid) for pid in re.findall(r"worker \S+@\S+/(\d+) joined", self.said())]


def _enough(found, times):
    return found if len(found) >= times else None


def wait_until(condition, timeout, program=None):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        if program is not None and program.process.poll() is not None:
            raise AssertionError(f"it ended: {program.said()}")
        time.sleep(0.02)
    raise AssertionError(f"waited {timeout} s in vain: {program and program.said()}")


def steps_done(workdir):
    """Steps that a run has recorded."""
    file = workdir / "metrics.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def run(folder, module, *flags, timeout=300):
    with Program(folder, module, *flags) as program:
        status, result = program.finish(timeout)
        assert status == 0, program.said()
        return result


def same_set(one, other):
    return (one / "support.npz").read_bytes() == (other / "support.npz").read_bytes()


def expected_blocks(workdir):
    """Blocks of a whole run by its plan: support kernel twice and targets, each step and after."""
    from kipax.blocks import BlockPlan

    description = json.loads((workdir / "run.json").read_text())
    plan, config = BlockPlan(**description["plan"]), description["config"]
    batch = 1257 if config["target_batch"] == "all" else int(config["target_batch"])
    support = len(list(plan.support_blocks(config["support"])))
    return (config["steps"] + 1) * (2 * support + len(plan.target_blocks(batch)))


def kill(pid, how=signal.SIGKILL):
    os.kill(pid, how)
