"""The output of commands: sentences and a progress bar on stderr, one JSON line on stdout.

Exit status: 0 done, or stopped by ``--max_seconds``, 1 failed, 2 wrong use, 130 stopped by the
user. An error that kipax raises is printed as a sentence, with ``--debug`` also its traceback;
any other error is printed with its traceback.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from absl import flags
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from kipax import flags as config_flags
from kipax import report
from kipax.data.known import short_name
from kipax.distill import RunResult
from kipax.distill.config import RunConfig
from kipax.errors import KipaxError, OutOfTime, UsageError

if TYPE_CHECKING:
    from kipax.kd import TrainingResult

__all__ = [
    "ConsoleReporter",
    "describe_duration",
    "fail",
    "print_result",
    "run_command",
    "run_experiment",
    "summarise",
    "tell_next",
]

flags.disclaim_key_flags()  # the calling program owns the flags


_RESULTS = (
    "support.npz",
    "images.png",
    "labels.png",
    "curve.png",
    "movie.gif",
    "metrics.jsonl",
)
_SECONDS_BETWEEN_LINES = 20.0  # without a terminal


def describe_duration(seconds: float) -> str:
    """Returns a short text: ``12 ms``, ``1.4 s``, ``3:05``, ``2:10:00``, ``4.5 days``."""
    if seconds < 0.0995:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 60:
        return f"{seconds:.2g} s"
    return _clock(seconds) if seconds < 2 * 86_400 else f"{seconds / 86_400:.1f} days"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def describe_progress(progress: report.Progress) -> str:
    """Returns loss, accuracy, seconds per step and time left in one line."""
    parts = [] if progress.loss is None else [f"loss {progress.loss:.4f}"]
    if progress.validation_accuracy is not None:
        parts.append(f"validation {progress.validation_accuracy:.3f}")
    elif progress.test_accuracy is not None:
        parts.append(f"test {progress.test_accuracy:.3f}")
    pace = progress.seconds_per_step
    if pace is not None:
        unit = f"{pace:.2f} s" if pace >= 0.1 else describe_duration(pace)
        left = (progress.total - progress.step) * pace
        parts += [f"{unit}/{progress.unit}", f"{_clock(left)} left"]
    if progress.status:
        parts.append(progress.status)
    return " · ".join(parts)


class _Console(Console):
    """A rich console that raises `BrokenPipeError`, where rich itself would discard stdout."""

    def on_broken_pipe(self) -> None:
        raise  # the error that is being handled


class ConsoleReporter(report.Reporter):
    """Prints sentences and a bar; without a terminal, a line now and then."""

    def __init__(self) -> None:
        # With emojis rich would print a picture for the ":leaves:" in "matched:leaves: holds".
        self._console = _Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._printed_at = -_SECONDS_BETWEEN_LINES
        self._mute = False  # True once nobody reads the output: the run continues

    def say(self, sentence: str) -> None:
        if self._mute:
            return
        try:
            self._console.print(sentence, markup=False)
        except OSError:  # nobody reads the output
            self._mute = True
            _discard(sys.stderr)

    def progress(self, progress: report.Progress) -> None:
        text = describe_progress(progress)
        place = f"{progress.unit} {progress.step:,}/{progress.total:,}"
        if not self._console.is_terminal:
            due = time.monotonic() - self._printed_at > _SECONDS_BETWEEN_LINES
            if due or progress.step == progress.total:
                self.say(f"{place} · {text}" if text else place)
                self._printed_at = time.monotonic()
            return
        if self._bar is None:
            columns = (
                TextColumn("{task.fields[place]}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[text]}", markup=False),
            )
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task("", total=progress.total, place=place, text=text)
            self._bar.start()
        assert self._task is not None
        done, total = progress.step, progress.total  # the total of this part of the work
        self._bar.update(self._task, completed=done, total=total, place=place, text=text)

    def close(self) -> None:
        """Ends the progress bar and leaves it on the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def summarise(reporter: report.Reporter, result: RunResult, config: RunConfig) -> dict[str, Any]:
    """Prints the results, where they are and what to do next; returns the JSON line."""
    before, after = result.initial.test_accuracy, result.evaluation.test_accuracy
    if after is not None:
        since = f", from {before:.3f} with the initial images" if before is not None else ""
        reporter.say(f"test accuracy {after:.3f}{since}")
    written = [f for f in _RESULTS if (result.workdir / f).exists()]
    reporter.say(f"{result.workdir}/  {' '.join(written)}")
    support = f"{result.workdir}/support.npz"
    own = result.support.function is not None  # no file holds it
    in_python, in_shell = (", kernel_fn=...", " --kernel_fn=MODULE:FUNCTION") if own else ("", "")
    reporter.say(f'next: kipax.load("{support}"{in_python}).predict(my_images)')
    evaluate = f"kipax evaluate {shlex.quote(support)} --baselines"
    reporter.say(f"      {evaluate}{in_shell}{_where_data_lie(config)}")
    return result.summary()


def _where_data_lie(config: RunConfig) -> str:
    """Returns the flags for the location of a run's data, which a support set does not hold."""
    known = short_name(config.dataset) == config.dataset
    given = {
        "dataset": None if known else config.dataset,
        "data_dir": config.data_dir,
        "image_size": config.image_size,
    }
    return "".join(f" --{k}={shlex.quote(str(v))}" for k, v in given.items() if v is not None)


def run_experiment(
    config_class: type,
    run: Callable[..., Any],
    *,
    tell: Callable[..., dict[str, Any]] = summarise,
    where: str = "runs/<data>-<network>-<support>...",
    about: str | None = None,
) -> None:
    """Runs a whole command: makes flags from a config dataclass, runs once, prints the results.

    Args:
        config_class: a dataclass of `kipax.config`'s fields.
        run: ``run(config, workdir=, resume=, reporter=)`` returns a result.
        tell: ``tell(reporter, result, config)`` prints the results and returns the JSON line.
        where: the default folder in the help text of ``--workdir``.
        about: the text of ``--help`` before the flags; None for the program's docstring.
    """
    config_flags.define_flags(config_class)
    flags.DEFINE_string("workdir", None, f"folder of the run ({where})")
    flags.DEFINE_boolean("resume", False, "continue the run in the workdir, if there is one")

    def command(reporter: ConsoleReporter) -> dict[str, Any]:
        chosen = flags.FLAGS
        config: Any = config_flags.config_from_flags(config_class)
        result = run(config, workdir=chosen.workdir, resume=chosen.resume, reporter=reporter)
        reporter.close()
        return tell(reporter, result, config)

    run_command(command, about=about)


class _HelpFlag(flags.BooleanFlag):
    """Prints the text and flags of a command and exits with status 0 (absl's exits with 1)."""

    def __init__(self, about: str) -> None:
        super().__init__("help", False, "show this help", short_name="?")
        self._about = about

    def parse(self, argument: Any) -> None:
        super().parse(argument)
        if self.value:
            print_result(f"{self._about.strip()}\n\nflags:\n{flags.FLAGS.main_module_help()}")
            sys.exit(0)


def run_command(
    command: Callable[..., dict[str, Any]],
    *,
    operand: str | None = None,
    about: str | None = None,
) -> None:
    """Parses the flags, runs a command and prints its result as one JSON line.

    Args:
        command: is called with a reporter and the operand, if any; returns what to print.
        operand: name of the one argument besides the flags, such as a file; None for flags only.
        about: the text of ``--help`` before the flags; None for the program's docstring.
    """
    flags.DEFINE_boolean("debug", False, "show the traceback of an error")
    flags.DEFINE_flag(_HelpFlag(about or sys.modules["__main__"].__doc__ or ""))
    reporter = ConsoleReporter()
    try:
        try:
            words = flags.FLAGS(sys.argv)[1:]
            _check_words(words, operand)
            result = command(reporter, *words)
        finally:
            reporter.close()  # before anything is printed below the progress bar
    except flags.Error as error:
        fail(f"{error} (--help lists the flags)", status=2)
    except OutOfTime as error:
        reporter.say(str(error))
        print_result(json.dumps(error.facts))
    except KeyboardInterrupt as error:
        fail(str(error) or "stopped", status=130)
    except (KipaxError, ImportError) as error:
        if flags.FLAGS.is_parsed() and flags.FLAGS.debug:
            raise
        fail(str(error), status=2 if isinstance(error, UsageError) else 1)
    else:
        print_result(json.dumps(result))
    finally:
        _settle(sys.stderr)


def print_result(text: str) -> None:
    """Prints to stdout; ignores a closed pipe (``| head``), but not a full disk."""
    try:
        print(text, flush=True)
    except OSError as error:
        _discard(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            fail(f"could not print the result: {error.strerror or error}.", status=1)


def _discard(stream: TextIO | None) -> None:
    """Redirects a stream to the null device, so that Python can flush it when it exits."""
    if stream is not None:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def _settle(stream: TextIO | None) -> None:
    """Flushes a stream, and discards output that cannot be written; a closed stream is None."""
    try:
        if stream is not None:
            stream.flush()
    except OSError:
        _discard(stream)


def _check_words(words: list[str], operand: str | None) -> None:
    if operand is None and words:
        raise UsageError(f"everything is a --flag; got {words[0]!r} (--help lists the flags).")
    if operand is not None and len(words) != 1:
        given = " ".join(words) or "nothing"
        raise UsageError(f"one {operand} is needed beside the flags; got {given} (see --help).")


def fail(message: str, *, status: int) -> NoReturn:
    """Prints a sentence on stderr and exits with `status`."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)
    sys.exit(status)


def tell_next(
    reporter: report.Reporter, result: TrainingResult, of_classes: str, dataset: str | None = None
) -> None:
    """Suggests what to do next with a network that a command has trained.

    Args:
        reporter: is told the suggestion.
        result: the result of the training.
        of_classes: the suggestion for a network that classifies.
        dataset: the data set as the user named it; None leaves it to the network's metadata.
    """
    if result.network.classifies:
        reporter.say(f"next: {of_classes}")
        return
    where = shlex.quote(str(result.workdir))
    probed = f" --dataset={shlex.quote(dataset)}" if dataset else ""
    if not dataset and not result.network.metadata["dataset"]:
        probed = " --dataset=..."
    reporter.say(f"it gives features and no classes; next: kipax probe {where}{probed}")
    reporter.say(f"      kipax teacher --linear_probe={where} --dataset=...")
