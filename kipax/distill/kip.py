"""The KIP loop: steps, evaluation, checkpoints, resuming."""

from __future__ import annotations

import collections
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kipax.blocks import MakeExecutor, TargetRows, make_local
from kipax.data import Dataset, balanced_batch, step_key
from kipax.data.sampling import Purpose
from kipax.distill.config import KIPConfig, Method
from kipax.distill.run import Evaluation, Run, RunArguments, RunResult, start_run
from kipax.distill.state import DistillState, make_optimizer, make_state
from kipax.distill.step import Gradient, apply_update, compute_gradient, image_norms
from kipax.errors import FailedRunError, FileError, Interrupted, OutOfTime, PoolError
from kipax.kernels import KernelSpec
from kipax.report import Progress, Reporter
from kipax.runs import GRID, SECONDS_BETWEEN_SAVES
from kipax.support import SupportSet

__all__ = ["KIP", "Loop", "run_kip"]

# A step of the paper has so many targets. The loss of fewer is noise: the checkpoint of the
# luckiest batch would be called the best.
_TARGETS_OF_A_LOSS = 5000

KIP = Method(name="kip", title="KIP", config=KIPConfig, in_steps=True)


def run_kip(
    config: KIPConfig,
    *,
    dataset: Dataset | None = None,
    workdir: Path | str | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
    make_executor: MakeExecutor = make_local,
    kernel_fn: Callable[..., Any] | None = None,
) -> RunResult:
    """Learns a support set by KIP and writes everything to a folder.

    The support set after the last step is the result; the five checkpoints of lowest training
    loss and those of the paper's grid of steps lie beside it. The same call with the same machine,
    versions and thread count gives the same bytes, whether it was interrupted or not.

    Args:
        config: the settings; fields that are None are filled in by data set.
        dataset: the data, for example from `Dataset.from_arrays`; None loads ``config.dataset``.
        workdir: the run's folder; by default ``runs/<dataset>-<architecture>-<support>``.
        resume: True continues the run in `workdir`, and starts one if there is none.
        reporter: is told sentences and progress.
        make_executor: makes the executor of the kernel blocks; this process by default.
        kernel_fn: the differentiable kernel that ``config.architecture``, python:NAME, stands
            for: images ``(n1, H, W, C)`` and ``(n2, H, W, C)`` to ``(n1, n2)``.

    Raises:
        UsageError, FileError: wrong input; nothing is lost.
        FailedRunError: the loss is not finite or has diverged; the last good state is saved.
        PoolError: workers cannot compute a block; the state is saved.
        Interrupted: the user pressed Ctrl-C; the state is saved, `resume` continues.
        OutOfTime: ``config.max_seconds`` are over; the state is saved, `resume` continues.

    Source: Nguyen et al. 2021, sections 2 and 2.1, appendix A.
    """
    arguments = RunArguments(
        dataset=dataset,
        workdir=workdir,
        resume=resume,
        reporter=reporter,
        make_executor=make_executor,
        kernel_fn=kernel_fn,
    )
    with start_run(config, KIP, arguments) as run:
        return Loop(run).run()


class Loop:
    """The state of a KIP loop in this process; `run` runs it to its end."""

    def __init__(self, run: Run):
        assert isinstance(run.config, KIPConfig)
        self._run = run
        self._config = run.config
        assert self._config.learning_rate is not None and self._config.steps is not None
        self._steps: int = self._config.steps
        self._optimizer = make_optimizer(
            self._config.learning_rate,
            label_rate=self._config.label_learning_rate,
            temperature_rate=self._config.temperature_learning_rate,
            final=self._config.final_learning_rate,
            steps=self._steps,
        )
        state = make_state(
            run.first_images,
            run.first_classes,
            run.dataset.num_classes,
            self._optimizer,
            temperature=self._config.temperature,
        )
        stored = run.workdir.load_latest(state.to_arrays())
        self._state = state.restore(stored) if stored else state
        # As they were at step 0, so that a resumed run has the same ones.
        self._norms = (
            image_norms(jnp.asarray(run.first_images)) if self._config.keep_norms else None
        )
        self._good: DistillState | None = None  # the last state with a finite loss
        self._saved_at = time.monotonic()
        self._seconds: list[float] = []
        batch = self._config.batch_size(len(run.dataset.x_train))
        steps = max(1, round(_TARGETS_OF_A_LOSS / batch))
        self._losses: collections.deque[float] = collections.deque(maxlen=steps)
        self._evaluation = Evaluation(None, None)
        self._initial = Evaluation(None, None)

    def run(self) -> RunResult:
        workdir, reporter = self._run.workdir, self._run.reporter
        if self._state.step > self._steps:
            reporter.say(f"the run is at step {self._state.step}, beyond steps={self._steps}")
            self._steps = self._state.step
        if self._state.step:
            reporter.say(f"continuing at step {self._state.step}")
        workdir.truncate_metrics(self._state.step)
        records = workdir.read_metrics()
        self._losses.extend(line["train_loss"] for line in records if "train_loss" in line)
        evaluated = [m for m in records if "test_accuracy" in m]
        if evaluated:
            self._initial = _evaluation_of(evaluated[0])
            self._evaluation = _evaluation_of(evaluated[-1])
            if evaluated[0] != evaluated[0] | self._tested:  # evaluated on other test images
                self._initial = self._run.evaluate(self._run.initial_support())
        try:
            while self._state.step < self._steps:
                self.advance()
            return self._finish()
        except KeyboardInterrupt:
            self._save_latest(self._state)
            raise Interrupted(
                f"stopped after step {self._state.step}; continue with --resume"
            ) from None
        except OutOfTime as error:
            self._save_latest(self._state)
            raise OutOfTime(str(error), **self._facts()) from None
        except FailedRunError as error:
            raise self._failure(error) from error
        except PoolError as error:
            self._save_latest(self._state)
            raise PoolError(f"{error} {self._whereabouts()}") from error
        except FileError as error:
            raise FileError(f"{error} {self._whereabouts()}") from error

    @property
    def _tested(self) -> dict[str, Any]:
        """The fields of a record that identify the test images."""
        return {"test_examples": self._run.test_examples, "test_hash": self._run.test_hash}

    # -- one step ------------------------------------------------------------------------

    def advance(self) -> None:
        """Takes a step: measures the present state, records it, and updates it."""
        step, began = self._state.step, time.monotonic()
        gradient, following = self._compute_step()
        seconds = time.monotonic() - began
        self._seconds.append(seconds)
        assert self._config.eval_every is not None
        self._record(gradient, seconds, evaluate=step % self._config.eval_every == 0)
        self._keep_checkpoint(gradient.loss)
        self._state = following  # last, so that a state saved after Ctrl-C has its records
        if time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES:
            self._save_latest(following)
        if self._state.step < self._steps:
            self._show(gradient.loss)

    def update(self) -> float:
        """Does the arithmetic of a step without records; returns the loss before the step."""
        gradient, self._state = self._compute_step()
        return gradient.loss

    def _compute_step(self) -> tuple[Gradient, DistillState]:
        gradient = self._measure()
        following = apply_update(
            self._state,
            gradient,
            self._optimizer,
            learn_labels=self._config.learn_labels,
            norms=self._norms,
        )
        following.images.block_until_ready()
        return gradient, following

    def _measure(self) -> Gradient:
        """Returns loss and gradient of the present state, on the batch and kernel of its step."""
        state = self._state
        gradient = compute_gradient(
            state,
            self._batch(state.step),
            self._run.executor,
            kernel=self._kernel(state.step),
            ridge_scale=self._config.ridge,
            loss=self._config.chosen_loss,
        )
        self._good = state
        return gradient

    def _batch(self, step: int) -> TargetRows:
        """Returns the targets of a step: a function of seed and step alone."""
        classes = self._run.dataset.y_train
        seed = self._config.seed if self._config.augment_fraction > 0 else None
        if self._config.target_batch == "all":
            return TargetRows(np.arange(len(classes)), step, seed)
        size = self._config.batch_size(len(classes))
        key = step_key(self._config.seed, Purpose.BATCH, step)
        return TargetRows(balanced_batch(key, classes, size), step, seed)

    def _kernel(self, step: int) -> KernelSpec:
        """Returns the kernel of a step; a random one where the run samples kernels."""
        specs = self._run.kernels
        if len(specs) == 1:
            return specs[0]
        key = step_key(self._config.seed, Purpose.ARCHITECTURE, step)
        return specs[int(jax.random.randint(key, (), 0, len(specs)))]

    # -- records -------------------------------------------------------------------------

    def _support_set(self, state: DistillState, **facts) -> SupportSet:
        learned = self._config.learn_labels and state.step > 0
        return self._run.support_set(
            state.images, state.labels, learned_labels=learned, step=state.step, **facts
        )

    def _record(self, gradient: Gradient, seconds: float, *, evaluate: bool) -> None:
        line = {"step": self._state.step, "train_loss": gradient.loss}
        line |= {"train_accuracy": gradient.accuracy, "seconds": round(seconds, 4)}
        if self._state.temperature is not None:
            line["temperature"] = self._state.temperature
        if evaluate:
            self._evaluation = self._run.evaluate(self._support_set(self._state))
            line |= self._evaluation.to_dict() | self._tested
            if self._state.step == 0:
                self._initial = self._evaluation
        self._run.workdir.add_metrics(line)
        self._losses.append(gradient.loss)

    def _keep_checkpoint(self, loss: float) -> None:
        step = self._state.step
        if step % self._config.checkpoint_every == 0 or step in GRID:
            self._save_checkpoint(self._support_set(self._state, train_loss=loss))
            self._save_latest(self._state)

    def _save_checkpoint(self, support: SupportSet) -> None:
        """Saves the present state's set; a regular one competes by the mean of recent losses."""
        step = self._state.step
        regular = step % self._config.checkpoint_every == 0
        recent = statistics.fmean(self._losses) if regular else None
        self._run.workdir.save_checkpoint(support, step, train_loss=recent)

    def _save_latest(self, state: DistillState) -> None:
        self._run.workdir.save_latest(state.to_arrays())
        self._saved_at = time.monotonic()

    def _show(self, loss: float) -> None:
        evaluation = self._evaluation
        self._run.reporter.progress(
            Progress(
                self._state.step,
                self._steps,
                loss=loss,
                validation_accuracy=evaluation.validation_accuracy,
                test_accuracy=evaluation.test_accuracy,
                seconds_per_step=self._seconds_per_step(),
                status=self._run.executor.status(),
            )
        )

    def _seconds_per_step(self) -> float | None:
        settled = self._seconds[1:]  # without the first step, which compiles
        return statistics.median(settled) if settled else None

    # -- ends ----------------------------------------------------------------------------

    def _finish(self) -> RunResult:
        """Measures and saves the last state, and writes the results."""
        state, run = self._state, self._run
        self._save_latest(state)
        gradient = self._measure()
        loss = gradient.loss
        self._record(gradient, 0.0, evaluate=True)
        self._show(loss)
        facts = {"train_loss": loss} | self._evaluation.to_dict()
        support = self._support_set(state, **facts)
        self._save_checkpoint(support)
        self._save_latest(state)
        support.save(run.workdir.path / "support.npz")
        run.draw(support)
        return RunResult(
            support,
            self._evaluation,
            self._initial,
            state.step,
            self._seconds_per_step(),
            run.workdir.path,
        )

    def _facts(self) -> dict[str, Any]:
        """Returns the step, accuracies and folder of an unfinished run."""
        facts = {"step": self._state.step, "steps": self._steps}
        accuracies = self._evaluation.to_dict()
        return facts | accuracies | {"workdir": str(self._run.workdir.path)}

    def _failure(self, error: FailedRunError) -> FailedRunError:
        """Saves the last good state, if this process has seen one, and says where it is."""
        words, good = f"stopped at step {self._state.step}: {error}", self._good
        if good is None:
            return FailedRunError(f"{words} Start again in another workdir.")
        self._save_latest(good)
        path = self._run.workdir.checkpoint_path(good.step)
        if not path.exists():
            self._run.workdir.save_checkpoint(self._support_set(good), good.step, train_loss=None)
        return FailedRunError(
            f"{words} The set of step {good.step}, the last good one, is in {path}; start again in "
            "another workdir."
        )

    def _whereabouts(self) -> str:
        file = self._run.workdir.path / "latest.npz"
        if not file.exists():
            return "Nothing of this run was saved yet."
        return f"The last saved state is safe in {file}: mend the cause and continue with --resume."


def _evaluation_of(line: dict) -> Evaluation:
    return Evaluation(line.get("validation_accuracy"), line.get("test_accuracy"))
