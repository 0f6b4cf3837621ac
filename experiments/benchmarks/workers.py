"""A pool of workers: blocks a second, bytes on the wire, the server's share; and a model.

Claim: two single-threaded workers reach at least 90 % of the blocks a second of the local
executor with two threads; the server's CPU time is under 5 % of the workers' at 500 supports
and 5,000 targets.

Command:  python -m experiments.benchmarks.workers --dataset=npz:cifar10.npz --target_batch=4000
Expected: see experiments/benchmarks/README.md; some minutes. Any flag of kipax kip.
Needs:    Python 3.10 with kipax[launchpad].
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.benchmarks import timing
from experiments.benchmarks.pool_model import (
    PoolCosts,
    StepShape,
    efficiency,
    limits,
    predict_seconds,
)
from kipax import flags as config_flags
from kipax.blocks.courier import check_installed, connect
from kipax.blocks.server import PoolServer
from kipax.blocks.tasks import (
    GramTask,
    Parts,
    SupportKernelTask,
    SupportVJPTask,
    TargetPassTask,
    Task,
)
from kipax.blocks.worker import Worker
from kipax.console import ConsoleReporter, run_command
from kipax.distill import KIPConfig
from kipax.distill.kip import KIP, Loop
from kipax.distill.run import RunArguments, start_run

config_flags.define_flags(KIPConfig)
flags.DEFINE_integer("repeats", 3, "steps timed; the fastest counts, since others share the cores")
flags.DEFINE_list("pool_sizes", ["1", "2", "3", "4"], "numbers of single-threaded workers")
flags.DEFINE_list("sleeper_sizes", ["1", "4", "16", "64"], "numbers of workers that sleep")
flags.DEFINE_list("sizes", ["10", "100", "500"], "supports to model")
flags.DEFINE_integer("model_targets", 5000, "targets a step to model")
flags.DEFINE_float("network_gbit", 10.0, "assumed network of the server, gigabits a second")
flags.DEFINE_string("role", "", "local or sleepers: what this process is; for itself")
flags.DEFINE_string("server", "", "of sleepers")
flags.DEFINE_integer("sleepers", 1, "in this process")
flags.DEFINE_float("pair_seconds", 0.0, "that sleepers sleep for a pair with gradient")


# -- workers that sleep --------------------------------------------------------------------------


class SleepingComputer:
    """Answers of the right shape after the time that a block would take."""

    def __init__(self, pair_seconds: float):
        self.devices = (jax.local_devices()[0],)
        self._pair_seconds = pair_seconds
        self._shapes = dict[int, tuple[int, ...]]()

    def has_support(self, version: int) -> bool:
        """Returns whether the support set of a version was fetched."""
        return version in self._shapes

    def set_support(self, x_support: np.ndarray, version: int) -> None:
        """Keeps the version and the shape of the support set."""
        self._shapes = {version: x_support.shape}

    def compute(self, task: Task) -> Parts:
        """Returns zeros after a wait; for the support kernel, a matrix that can be solved."""
        shape = self._shapes[task.version]
        time.sleep(self._pair_seconds * _pairs(task, shape[0]))
        parts = {
            name: np.zeros(part, dtypes[0])
            for name, (dtypes, part) in task.expected_parts(shape, 10).items()
        }
        if isinstance(task, SupportKernelTask) and task.block.rows == task.block.columns:
            parts["k"] = np.eye(len(parts["k"]), dtype=np.float32)
        return parts


def _pairs(task: Task, supports: int) -> float:
    if isinstance(task, TargetPassTask | GramTask):
        return task.used * supports
    assert isinstance(task, SupportKernelTask | SupportVJPTask)
    rows, columns = (stop - start for start, stop in (task.block.rows, task.block.columns))
    return rows * columns


def _sleep() -> dict[str, Any]:
    def work() -> None:
        computer: Any = SleepingComputer(flags.FLAGS.pair_seconds)
        Worker(connect(flags.FLAGS.server), load=lambda recipe: computer).run()

    threads = [threading.Thread(target=work) for _ in range(flags.FLAGS.sleepers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {}


# -- steps ---------------------------------------------------------------------------------------


def _steps(config: KIPConfig, repeats: int, **options: Any) -> tuple[Any, list[float]]:
    """Returns the run and the seconds of its steps except the first, which compiles."""
    with (
        tempfile.TemporaryDirectory() as folder,
        start_run(config, KIP, RunArguments(workdir=folder, **options)) as run,
    ):
        loop, times = Loop(run), []
        for _ in range(repeats + 1):
            began = time.perf_counter()
            loop.update()
            times.append(time.perf_counter() - began)
    return run, times[1:]


def _subprocess(*changed: str, threads: int) -> subprocess.Popen:
    """Starts this command with other flags in a separate process."""
    environment = os.environ | {"KIPAX_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [*changed], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def _same_command(*changed: str) -> list[str]:
    return [sys.executable, "-m", "experiments.benchmarks.workers", *sys.argv[1:], *changed]


@dataclasses.dataclass
class Measured:
    """Steps on a pool: the seconds of the fastest step, other numbers per step."""

    workers: int
    seconds: float
    blocks: int
    bytes_out: float
    bytes_in: float
    server_cpu: float
    idle: float


def _on_pool(config: KIPConfig, commands: list[list[str]], workers: int) -> Measured:
    """Measures steps on worker processes; the server is this process."""
    import courier

    server, repeats = PoolServer(), flags.FLAGS.repeats
    carrier = courier.Server()
    carrier.Bind("handle", server.handle)
    carrier.Start()
    commands = [[*c, f"--server=localhost:{carrier.port}"] for c in commands]
    processes = [_subprocess(*command, threads=1) for command in commands]
    marks: list[tuple[float, ...]] = []

    def make_executor(job):
        executor = server.executor(job)
        deadline = time.monotonic() + 120
        while server.counts().workers < workers and time.monotonic() < deadline:
            time.sleep(0.1)
        return _Marking(executor, lambda: marks.append(_now(server)))

    try:
        _, times = _steps(config, repeats, make_executor=make_executor)
        marks.append(_now(server))
    finally:
        server.close()
        for process in processes:
            process.terminate()
            process.wait()
        carrier.Stop()
    spent = [(b - a) / repeats for a, b in zip(marks[1], marks[-1], strict=True)]
    counted, out, into, cpu, idle, wall = spent
    return Measured(workers, min(times), round(counted), out, into, cpu, idle / wall)


class _Marking:
    """An executor that records when a step begins."""

    def __init__(self, executor: Any, mark: Callable[[], None]):
        self._executor = executor
        self._mark = mark

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def set_support(self, x_support: np.ndarray, *, version: int) -> None:
        """Replaces the support set and records that a step begins."""
        self._mark()
        self._executor.set_support(x_support, version=version)


def _now(server: PoolServer) -> tuple[float, ...]:
    counted = server.counts().counted
    spent = time.process_time(), server.waited_seconds, time.perf_counter()
    return (counted, server.bytes_out, server.bytes_in, *spent)


# -- the report ----------------------------------------------------------------------------------


def _measure_workers(config: KIPConfig, reporter: ConsoleReporter) -> list[dict[str, Any]]:
    """Compares real workers with the local executor with two threads."""
    process = _subprocess(*_same_command("--role=local"), threads=2)
    local = json.loads(process.communicate()[0])
    reporter.say(f"local executor, 2 threads: {local['seconds']:.2f} s a step")
    rows = []
    for count in map(int, flags.FLAGS.pool_sizes):
        command = [sys.executable, "-m", "launch.worker"]
        found = _on_pool(config, [command] * count, count)
        rate = found.blocks / found.seconds
        row = dataclasses.asdict(found) | {
            "blocks_per_second": rate,
            "of_local": local["seconds"] / found.seconds,
            "server_cpu_share": found.server_cpu / found.seconds,
        }
        reporter.say(
            f"{count} workers: {found.seconds:.2f} s a step · {rate:.2f} blocks/s · "
            f"{row['of_local']:.0%} of local · {found.bytes_out / 1e6:.2f} MB out, "
            f"{found.bytes_in / 1e6:.2f} MB in · server idle {found.idle:.0%}"
        )
        rows.append(row)
    return [{"local_seconds": local["seconds"]}, *rows]


def _measure_pair(config: KIPConfig) -> float:
    """Returns seconds of a pair with gradient on one thread, of this run's kernel and images."""
    command = _same_command("--role=local", "--target_batch=200", "--support=10", "--repeats=2")
    found = json.loads(_subprocess(*command, threads=1).communicate()[0])
    return found["seconds"] / (200 * 10 + 10 * 10)


def _sleepers(config: KIPConfig, count: int, pair_seconds: float) -> Measured:
    command = _same_command("--role=sleepers", f"--sleepers={count}")
    return _on_pool(config, [[*command, f"--pair_seconds={pair_seconds}"]], count)


def _shape(run_plan, config: KIPConfig, shape: tuple[int, ...], pair_seconds: float) -> StepShape:
    targets, supports = int(str(config.target_batch)), config.support
    blocks = len(run_plan.target_blocks(targets))
    squares = list(run_plan.support_blocks(supports))
    pixels = int(np.prod(shape))
    pairs = sum((b.rows[1] - b.rows[0]) * (b.columns[1] - b.columns[0]) for b in squares)
    return StepShape(
        target_blocks=blocks,
        support_blocks=len(squares),
        target_seconds=pair_seconds * targets * supports / blocks,
        support_seconds=2 * pair_seconds * pairs / len(squares),
        support_bytes=4 * supports * pixels,
        answer_bytes=4 * supports * pixels + 8 * supports * 10,
    )


def _model(config: KIPConfig, pair_seconds: float, reporter: ConsoleReporter) -> list[dict]:
    """Takes costs from computing workers and compares the model with sleeping ones."""
    rows = []
    for supports in map(int, flags.FLAGS.sizes):
        targets = str(flags.FLAGS.model_targets)
        sized = dataclasses.replace(config, support=supports, target_batch=targets)
        with (
            tempfile.TemporaryDirectory() as folder,
            start_run(sized, KIP, RunArguments(workdir=folder)) as run,
        ):
            shape = _shape(run.executor.plan, sized, run.dataset.image_shape, pair_seconds)
        busy = _sleepers(sized, 1, 0.0)
        moved = busy.bytes_in + busy.bytes_out
        costs = PoolCosts(
            byte_seconds=busy.server_cpu / moved,
            task_seconds=0.0,
            step_seconds=max(0.0, busy.seconds * (1 - busy.idle)),
            network_bytes=flags.FLAGS.network_gbit * 1e9 / 8,
        )
        row: dict[str, Any] = {
            "supports": supports,
            "shape": dataclasses.asdict(shape),
            "costs": dataclasses.asdict(costs),
            "server_cpu_of_workers": busy.server_cpu / shape.work_seconds,
            "limits": limits(shape, costs),
            "efficiency": {n: efficiency(shape, costs, n) for n in (1, 4, 16, 64, 256)},
            "checked": [],
        }
        for count in map(int, flags.FLAGS.sleeper_sizes):
            if predict_seconds(shape, costs, count) > 60:
                continue  # more time would give no new information
            found = _sleepers(sized, count, pair_seconds)
            predicted = predict_seconds(shape, costs, count)
            row["checked"].append(
                {"workers": count, "seconds": found.seconds, "predicted": predicted}
                | {"bytes": found.bytes_in + found.bytes_out, "idle": found.idle}
                | {"server_cpu_of_workers": found.server_cpu / shape.work_seconds}
            )
        reporter.say(json.dumps(row))
        rows.append(row)
    return rows


def main(reporter: ConsoleReporter) -> dict[str, Any]:
    """Measures a few workers, then workers that sleep, then models many."""
    config: KIPConfig = config_flags.config_from_flags(KIPConfig)
    if flags.FLAGS.role == "sleepers":
        return _sleep()
    if flags.FLAGS.role == "local":
        return {"seconds": min(_steps(config, flags.FLAGS.repeats)[1])}
    check_installed()
    measured = _measure_workers(config, reporter) if any(flags.FLAGS.pool_sizes) else []
    pair_seconds = _measure_pair(config)
    reporter.say(f"{1e3 * pair_seconds:.3f} ms a pair with gradient on one thread")
    modelled = _model(config, pair_seconds, reporter)
    return timing.machine() | {
        "measured": measured,
        "pair_ms": 1e3 * pair_seconds,
        "median_idle": statistics.median(m["idle"] for m in measured[1:]) if measured else None,
        "model": modelled,
    }


if __name__ == "__main__":
    run_command(main)
