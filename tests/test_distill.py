"""KIP and Label Solve: gradients, exact resuming, checkpoints, and how runs fail."""

import dataclasses
import errno
import json
import shutil
import sys

import numpy as np
import pytest

import kipax
from kipax import Dataset, KIPConfig, LabelSolveConfig, run_kip, run_label_solve
from kipax.distill import Interrupted, Reporter, step
from kipax.distill.workdir import Workdir
from kipax.errors import FailedRunError, FileError, UsageError
from tests.closeness import assert_close
from tests.stopping import StopAt

SMALL = KIPConfig(
    architecture="fc1",
    support=20,
    steps=9,
    target_batch="60",
    learning_rate=0.04,
    checkpoint_every=2,
    eval_every=3,
)


def _bytes(folder, *names):
    return [(folder / name).read_bytes() for name in names]


def _without_seconds(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


# -- runs ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return run_kip(SMALL, workdir=folder)


def test_learns(finished):
    losses = [m["train_loss"] for m in _without_seconds(finished.workdir)]
    assert losses[-1] < 0.7 * losses[0]
    assert finished.evaluation.test_accuracy > finished.initial.test_accuracy
    assert finished.support.metadata["test_accuracy"] == finished.evaluation.test_accuracy
    assert finished.support.metadata["learned_labels"] is True


def test_everything_is_there(finished):
    names = {p.name for p in finished.workdir.iterdir()}
    pictures = {"images.png", "labels.png", "curve.png"}
    wanted = {"run.json", "latest.npz", "metrics.jsonl", "support.npz", *pictures}
    assert wanted <= names
    loaded = kipax.load(finished.workdir / "support.npz")
    data = kipax.load_dataset("digits")
    accuracy = np.mean(loaded.predict(data.x_test) == data.y_test)
    assert accuracy == pytest.approx(finished.evaluation.test_accuracy)


def _recent_losses(by_step):
    """Means over the last 5,000 targets, here over all steps so far."""
    means = np.cumsum([by_step[step] for step in sorted(by_step)]) / np.arange(1, len(by_step) + 1)
    return dict(zip(sorted(by_step), means, strict=True))


def test_checkpoints_of_lowest_loss_and_grid(finished):
    by_step = {m["step"]: m["train_loss"] for m in _without_seconds(finished.workdir)}
    recent = _recent_losses(by_step)
    regular = sorted((s for s in by_step if s % 2 == 0), key=recent.get)[:5]
    expected = {0, 1, 4, 9, *regular}
    folder = finished.workdir / "checkpoints"
    assert {int(p.stem.removeprefix("step_")) for p in folder.iterdir()} == expected
    for path in folder.iterdir():
        assert kipax.load(path).metadata["train_loss"] == by_step[kipax.load(path).metadata["step"]]
    first = kipax.load(folder / "step_000000.npz")
    assert first.metadata["learned_labels"] is False
    workdir = Workdir(finished.workdir)
    workdir.load_latest()
    assert workdir.lowest_losses == pytest.approx({step: recent[step] for step in regular})


def test_a_state_without_its_checkpoints_names_none(finished, tmp_path):
    shutil.copy(finished.workdir / "latest.npz", tmp_path)
    copied, whole = Workdir(tmp_path), Workdir(finished.workdir)
    assert copied.load_latest().keys() == whole.load_latest().keys()
    assert len(whole.lowest_losses) == 5
    assert copied.lowest_losses == {}


@pytest.mark.parametrize("stop_after", [1, 4, 7])
def test_resumes_bit_for_bit(finished, tmp_path, stop_after):
    with pytest.raises(Interrupted, match=f"after step {stop_after}; continue with --resume"):
        run_kip(SMALL, workdir=tmp_path, reporter=StopAt(stop_after))
    run_kip(SMALL, workdir=tmp_path, resume=True)
    names = ["support.npz", "checkpoints/step_000004.npz", "checkpoints/step_000009.npz"]
    assert _bytes(tmp_path, *names) == _bytes(finished.workdir, *names)
    assert _without_seconds(tmp_path) == _without_seconds(finished.workdir)
    listed = [
        sorted(p.name for p in (f / "checkpoints").iterdir()) for f in (tmp_path, finished.workdir)
    ]
    assert listed[0] == listed[1]
    again, whole = Workdir(tmp_path), Workdir(finished.workdir)
    again.load_latest(), whole.load_latest()
    assert again.lowest_losses == whole.lowest_losses


def test_more_steps_continue_the_same_run(finished, tmp_path):
    run_kip(dataclasses.replace(SMALL, steps=5), workdir=tmp_path)
    longer = run_kip(SMALL, workdir=tmp_path, resume=True)
    np.testing.assert_array_equal(longer.support.images, finished.support.images)


def test_resume_on_an_empty_folder_starts(finished, tmp_path):
    run_kip(SMALL, workdir=tmp_path / "new", resume=True)
    name = "support.npz"
    assert _bytes(tmp_path / "new", name) == _bytes(finished.workdir, name)


def test_a_cut_off_metrics_line_is_dropped(finished, tmp_path):
    with pytest.raises(Interrupted):
        run_kip(SMALL, workdir=tmp_path, reporter=StopAt(3))
    with open(tmp_path / "metrics.jsonl", "a") as f:
        f.write('{"step": 3, "train')
    run_kip(SMALL, workdir=tmp_path, resume=True)
    assert _without_seconds(tmp_path) == _without_seconds(finished.workdir)


def test_seed_changes_the_run(finished, tmp_path):
    other = run_kip(dataclasses.replace(SMALL, seed=1, steps=1), workdir=tmp_path)
    assert not np.array_equal(other.support.images, finished.support.images)


@pytest.mark.parametrize(
    "changes",
    [
        {"learn_labels": False},
        {"init": "noise"},
        {"target_batch": "all"},
        {"sample_architectures": "fc1,fc2"},
        {"kernel": "nngp"},
        {"preprocessing": "zca"},
        {"preprocessing": "zca_paper", "zca_lambda": 1.0, "augment_fraction": 0.5},
    ],
    ids=str,
)
def test_variants(tmp_path, changes):
    result = run_kip(dataclasses.replace(SMALL, **changes, steps=4), workdir=tmp_path)
    losses = [m["train_loss"] for m in _without_seconds(tmp_path)]
    assert min(losses[1:]) < losses[0]
    fixed = np.array_equal(
        result.support.labels, kipax.ridge.one_hot(np.arange(20) // 2, 10).astype(np.float32)
    )
    assert fixed == (not changes.get("learn_labels", True))


def test_sampling_draws_every_kernel_again_on_resume(tmp_path):
    settings = dataclasses.replace(SMALL, sample_architectures="fc1,fc2,convvec1")
    whole = run_kip(settings, workdir=tmp_path / "whole")
    with pytest.raises(Interrupted):
        run_kip(settings, workdir=tmp_path / "cut", reporter=StopAt(4))
    cut = run_kip(settings, workdir=tmp_path / "cut", resume=True)
    np.testing.assert_array_equal(cut.support.images, whole.support.images)


def test_a_sampled_run_is_evaluated_with_a_kernel_that_it_used(tmp_path):
    settings = dataclasses.replace(
        SMALL, architecture="convnet", sample_architectures="fc2,fc1", steps=1
    )
    support = run_kip(settings, workdir=tmp_path).support
    assert support.metadata["architecture"]["name"] == "fc2"


def test_a_given_data_sets_split_is_recorded(tmp_path):
    data = kipax.load_dataset("digits").hold_out(60)
    settings = dataclasses.replace(SMALL, steps=1, preprocessing="zca")
    support = run_kip(settings, dataset=data, workdir=tmp_path / "run").support
    assert support.metadata["config"]["validation_examples"] == 60
    other = dataclasses.replace(settings, validation_examples=50)
    with pytest.raises(UsageError, match=r"holds out 60 .* the config says 50: use dataset.hold"):
        run_kip(other, dataset=data, workdir=tmp_path / "other")
    turned = dataclasses.replace(data, x_train=data.x_train[::-1], y_train=data.y_train[::-1])
    for targets in (data.hold_out(0), turned):
        with pytest.raises(UsageError, match=r"--resume needs"):
            run_kip(settings, dataset=targets, workdir=tmp_path / "run", resume=True)


def test_augmented_targets_are_drawn_again_on_resume(tmp_path):
    settings = dataclasses.replace(SMALL, augment_fraction=0.5)
    whole = run_kip(settings, workdir=tmp_path / "whole")
    with pytest.raises(Interrupted):
        run_kip(settings, workdir=tmp_path / "cut", reporter=StopAt(4))
    cut = run_kip(settings, workdir=tmp_path / "cut", resume=True)
    np.testing.assert_array_equal(cut.support.images, whole.support.images)
    plain = run_kip(SMALL, workdir=tmp_path / "plain")
    assert not np.array_equal(plain.support.images, whole.support.images)


def test_a_whitened_run_draws_its_own_images(tmp_path):
    """Before the first step the pictures are the real images, through the whitening and back."""
    settings = dataclasses.replace(SMALL, preprocessing="zca", steps=0)
    support = run_kip(settings, workdir=tmp_path).support
    scaled = kipax.load_dataset("digits").x_train * (255.0 / 16)
    pictures = kipax.load(tmp_path / "support.npz").to_uint8_images()
    assert all(np.abs(scaled - p).max(axis=(1, 2, 3)).min() <= 0.6 for p in pictures)
    assert support.statistics.shape == (20, 2)
    assert support.metadata["config"]["zca_lambda"] == 0.1


def test_own_arrays_and_a_callback(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = rng.normal(size=(40, 6, 5, 2)) + 2 * y[:, None, None, None]
    arrays = {"x_train": x[:30], "y_train": y[:30], "x_test": x[30:], "y_test": y[30:]}
    data = Dataset.from_arrays(arrays, class_names=["low", "high"])
    heard = []

    class Listen(Reporter):
        def progress(self, progress):
            heard.append(progress.loss)

    settings = KIPConfig(architecture="fc1", support=4, steps=3, target_batch="30")
    result = run_kip(settings, dataset=data, workdir=tmp_path, reporter=Listen())
    assert len(heard) == 3
    assert result.evaluation.test_accuracy == 1.0
    assert result.support.metadata["dataset"] == "arrays"
    assert result.evaluation.validation_accuracy is None


def test_evaluates_on_a_balanced_part_of_the_test_images(tmp_path):
    result = run_kip(dataclasses.replace(SMALL, steps=0, eval_examples=50), workdir=tmp_path)
    accuracy = result.evaluation.test_accuracy
    assert accuracy * 50 == pytest.approx(round(accuracy * 50))
    assert (
        accuracy
        != run_kip(
            dataclasses.replace(SMALL, steps=0), workdir=tmp_path / "all"
        ).evaluation.test_accuracy
    )


def test_without_matplotlib_it_goes_on_and_says_which_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    heard = []

    class Listen(Reporter):
        def say(self, sentence):
            heard.append(sentence)

    run_kip(dataclasses.replace(SMALL, steps=1), workdir=tmp_path, reporter=Listen())
    assert sum("pip install 'kipax[plots]'" in sentence for sentence in heard) == 1
    assert (tmp_path / "support.npz").exists()
    assert not (tmp_path / "images.png").exists()


# -- Label Solve --------------------------------------------------------------------------------


def test_label_solve(tmp_path):
    settings = LabelSolveConfig(architecture="fc1", support=50)
    result = run_label_solve(settings, workdir=tmp_path)
    assert result.evaluation.test_accuracy > result.initial.test_accuracy + 0.03
    data = kipax.load_dataset("digits", validation_examples=180)
    support = result.support
    kernel_fn = support.kernel_fn()
    k_ts = np.asarray(kernel_fn(support.preprocess(data.x_train), support.images), np.float64)
    k_ss = np.asarray(kernel_fn(support.images), np.float64)
    k_reg = k_ss + 1e-6 * np.trace(k_ss) / 50 * np.eye(50)
    b = np.linalg.solve(k_reg, k_ts.T).T
    expected = np.linalg.pinv(b) @ kipax.ridge.one_hot(data.y_train, 10)
    assert_close(support.labels, expected, 1e-3)


def test_label_solve_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr("kipax.distill.label_solve.SECONDS_BETWEEN_SAVES", 0.0)
    settings = LabelSolveConfig(architecture="fc1", support=20, memory_gb=1e-4)
    whole = run_label_solve(settings, workdir=tmp_path / "whole")
    steps = json.loads((tmp_path / "whole" / "run.json").read_text())["plan"]["target_rows"]
    assert steps < 400
    with pytest.raises(KeyboardInterrupt):
        run_label_solve(settings, workdir=tmp_path / "cut", reporter=StopAt(2 * steps))
    cut = run_label_solve(settings, workdir=tmp_path / "cut", resume=True)
    np.testing.assert_array_equal(cut.support.labels, whole.support.labels)


# -- what goes wrong ----------------------------------------------------------------------------


def test_a_folder_that_holds_a_run(finished):
    with pytest.raises(UsageError, match=r"this run already: continue it with --resume \(resume"):
        run_kip(SMALL, workdir=finished.workdir)


def test_resume_with_other_flags(finished):
    other = dataclasses.replace(SMALL, ridge=1e-4, seed=3, steps=20, eval_every=1)
    with pytest.raises(UsageError) as error:
        run_kip(other, workdir=finished.workdir, resume=True)
    assert "--ridge was 1e-06, now 0.0001; --seed was 0, now 3" in str(error.value)
    assert "--steps" not in str(error.value)
    with pytest.raises(UsageError, match="method was kip, now label_solve"):
        run_label_solve(
            LabelSolveConfig(architecture="fc1", support=20),
            workdir=finished.workdir,
            resume=True,
        )


def test_not_finite_keeps_the_last_good_state(tmp_path, monkeypatch):
    real, calls = step.ridge.mean_square_error, []

    def poisoned(*args):
        calls.append(len(args[0]) > 1)  # one row alone is the loss of predicting nothing
        loss, gradient = real(*args)
        return (loss, gradient * np.nan) if sum(calls) == 4 and calls[-1] else (loss, gradient)

    monkeypatch.setitem(step.ridge.LOSSES, "mse", poisoned)
    with pytest.raises(FailedRunError) as error:
        run_kip(SMALL, workdir=tmp_path)
    message = str(error.value)
    assert "stopped at step 3: the loss or its gradient is not finite; condition of k_ss" in message
    assert "try a larger ridge or a smaller learning rate" in message
    good = tmp_path / "checkpoints" / "step_000002.npz"
    assert str(good) in message
    assert kipax.load(good).metadata["step"] == 2


def test_divergence_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("kipax.distill.step._DIVERGED", 0.1)
    with pytest.raises(
        FailedRunError, match=r"at step 0: the loss has diverged to .* try a larger"
    ):
        run_kip(SMALL, workdir=tmp_path)


def test_a_full_disk_says_what_is_safe(tmp_path, monkeypatch):
    import os

    real, calls = os.fsync, []

    def full(fd):
        calls.append(1)
        if len(calls) > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FileError, match=r"No space left.*is safe in .*latest.npz.*--resume"):
        run_kip(SMALL, workdir=tmp_path)
    monkeypatch.undo()
    run_kip(SMALL, workdir=tmp_path, resume=True)
    assert kipax.load(tmp_path / "support.npz").metadata["step"] == 9


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"support": 15}, "multiple of the 10 classes; got 15: the nearest are 10 and 20"),
        ({"support": 5000}, "class 8 has 12. training images; got 5000: take at most 12.0"),
        ({"target_batch": "2000"}, "not exceed the 1257 .* target_batch=all"),
        ({"architecture": "convnet4"}, "at least 16 x 16 pixels; got 8 x 8"),
        ({"dataset": "cifar"}, "unknown dataset 'cifar'"),
    ],
)
def test_bad_runs_leave_nothing_behind(tmp_path, flags, message):
    with pytest.raises(UsageError, match=message):
        run_kip(dataclasses.replace(SMALL, **flags), workdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
