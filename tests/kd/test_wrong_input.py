"""Distillations refuse or report what would give a wrong result silently; kills lose little."""

import dataclasses

import numpy as np
import pytest

from kipax import files
from kipax.data import load_dataset
from kipax.errors import Interrupted, OutOfTime, UsageError
from kipax.kd import (
    Distillation,
    Ensemble,
    FunctionTeacher,
    ImageSpace,
    KDConfig,
    NetworkTeacher,
    TeacherConfig,
    run_kd,
    run_teacher,
)
from kipax.kd.opening import open_teacher
from kipax.kd.sources.base import classes_of
from kipax.kd.stored import make_in_parts
from kipax.report import Reporter
from tests.kd.cases import (
    DIGITS,
    EMBEDDED,
    SMALL,
    Listener,
    function_teacher,
    opened,
    read_source,
)


def _save(path, digits, **changes):
    arrays = {name: getattr(digits, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(path, **(arrays | changes))
    return f"npz:{path}"


def test_test_images_in_another_data_set_are_not_trained_on(taught, tmp_path):
    """Images are compared as they were before they were scaled to the teacher's range."""
    digits = load_dataset("digits")
    inside = np.clip(digits.x_train, 1, 15)
    given = {"x_train": inside, "x_test": np.clip(digits.x_test, 1, 15)}
    mine = load_dataset(_save(tmp_path / "mine.npz", digits, **given))
    apart = _save(tmp_path / "apart.npz", digits, x_train=inside)
    mixed = np.concatenate([inside, given["x_test"][:50]])
    classes = np.concatenate([digits.y_train, digits.y_test[:50]])
    seen = _save(tmp_path / "seen.npz", digits, x_train=mixed, y_train=classes)
    space = ImageSpace((8, 8, 1), 1, 15, mean=(5,), deviation=(5,))
    teacher = function_teacher(lambda x: np.ones((len(x), 10)), space=space)
    config = dataclasses.replace(EMBEDDED, loss="kl", source=f"dataset:{seen}")
    with pytest.raises(UsageError, match=r"not seen; 50 test images of .*mine.npz are among"):
        Distillation.open(config, teacher=teacher, dataset=mine, reporter=Reporter())
    config = dataclasses.replace(config, source=f"dataset:{apart}")
    Distillation.open(config, teacher=teacher, dataset=mine, reporter=Reporter())


def test_a_few_repeated_images_are_said(tmp_path):
    digits = load_dataset("digits")
    mixed = np.concatenate([digits.x_train[1:], digits.x_test[:1]])
    seen = _save(tmp_path / "seen.npz", digits, x_train=mixed)
    config = dataclasses.replace(EMBEDDED, loss="kl", source=f"dataset:{seen}")
    listener, teacher = Listener(), function_teacher(lambda x: np.ones((len(x), 10)))
    Distillation.open(config, teacher=teacher, dataset=digits, reporter=listener)
    assert f"1 test images of digits are in dataset:{seen} too" in listener.said


def test_other_data_of_the_same_name_are_not_tested_on(tmp_path):
    digits = load_dataset("digits")
    mine = _save(
        tmp_path / "digits.npz", digits, x_train=digits.x_train[:800], y_train=digits.y_train[:800]
    )
    config = TeacherConfig(dataset=mine, width=4, steps=1, validation_examples=10)
    network = run_teacher(config, workdir=tmp_path / "teacher").network
    listener = Listener()
    run = Distillation.open(SMALL, teacher=NetworkTeacher(network), reporter=listener)
    assert run.data is None
    assert any("digits has other images here than" in said for said in listener.said)
    config = dataclasses.replace(SMALL, dataset=mine)
    run = Distillation.open(config, teacher=NetworkTeacher(network), reporter=listener)
    assert len(run.data.x_train) == 800


def test_numbers_are_digits_in_sets_of_digits_alone(tmp_path):
    """A file of garments without names is no set of digits, whatever it is called."""
    digits = load_dataset("digits")
    for name, labelled in (("fashion_mnist", False), ("mnist", True)):
        source = read_source().read(f"dataset:{_save(tmp_path / f'{name}.npz', digits)}")
        assert (classes_of(source, np.arange(5)) is not None) == labelled, name


def test_validation_images_are_those_of_the_data_given():
    config = TeacherConfig(width=4, steps=1, validation_examples=100)
    with pytest.raises(UsageError, match="holds out 0 validation images; the config says 100"):
        run_teacher(config, dataset=load_dataset("digits"))


@pytest.mark.parametrize(
    ("fields", "remedy"),
    [
        ({"top_k": 3}, "--signal=top_k"),
        ({"smoothing": 0.4}, "--signal=smoothed"),
        ({"mix": "none", "mix_alpha": 0.2}, "--mix"),
        ({"mix": "none", "mix_per_example": False}, "--mix"),
        ({"augmentation": "none", "mirror": True}, "--augmentation"),
        ({"loss": "anchors", "anchor_mode": "1q", "averaging": 0.5}, "--anchor_mode=2q"),
    ],
)
def test_a_setting_without_effect_is_refused(taught, tmp_path, fields, remedy):
    name = list(fields)[-1]
    plain = {"mix": "none", "source": "data"} if "loss" in fields else {}
    config = KDConfig(width=4, steps=1, images=40, **(plain | fields))
    with pytest.raises(UsageError, match=f"{name} has no effect without {remedy}"):
        run_kd(config, teacher=NetworkTeacher(taught.network), workdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_logits_are_no_probabilities():
    teacher = FunctionTeacher(lambda x: x[:, :2, 0, 0] - 8, DIGITS, ("a", "b"), probabilities=True)
    with pytest.raises(UsageError, match=r"probabilities are not negative.* leave prob"):
        teacher.logits(np.zeros((3, 8, 8, 1)), None)
    nothing = dataclasses.replace(teacher, function=lambda x: np.zeros((len(x), 2)))
    with pytest.raises(UsageError, match="have a positive sum; function gave 0 and a sum of 0"):
        nothing.logits(np.zeros((3, 8, 8, 1)), None)


def test_a_constant_channel_is_standardised_by_one():
    space = ImageSpace((2, 2, 4), 0, 255, mean=(9, 9, 9, 255), deviation=(60, 60, 60, 0))
    teacher = FunctionTeacher(lambda x: x[:, 0, 0, :2], space, ("a", "b"))
    x = teacher.domain.preprocessor.apply(np.full((1, 2, 2, 4), 255, np.float32))
    np.testing.assert_array_equal(x[..., 3], 0)
    assert np.all(np.isfinite(x))
    for wrong in ((60, 60, 60, -1), (60, 60, 60, np.nan)):
        with pytest.raises(UsageError, match="deviation has finite numbers, a deviation none bel"):
            dataclasses.replace(space, deviation=wrong)


def test_a_loss_of_labels_alone_asks_no_teacher(tmp_path):
    asked = []

    def answer(raw):
        asked.append(len(raw))
        return np.ones((len(raw), 10))

    config = dataclasses.replace(EMBEDDED, loss="ce", cached=None)
    run = Distillation.open(
        config,
        teacher=function_teacher(answer),
        dataset=load_dataset("digits"),
        reporter=Reporter(),
    )
    run.train(tmp_path / "run")
    assert asked == []


def test_labels_that_a_contrast_does_not_use_are_not_counted(taught, tmp_path):
    for share, counted in ((0.1, False), (1.0, True)):
        run = opened(taught, loss="crd", labels=share)
        trainee = run.trainee(*run.draw(tmp_path))
        assert (trainee.labels is not None) == counted
        assert "of the labels" not in run.describe()


def test_a_teacher_that_rounds_otherwise_is_the_same_teacher(taught):
    names = tuple(map(str, range(1000)))
    rows = np.random.default_rng(0).normal(size=(8 * 8, 1000)).astype(np.float32)
    hashes = set()
    for noise in np.random.default_rng(1).normal(size=(6, 1000)) * 1e-6:
        teacher = FunctionTeacher(
            lambda x, noise=noise: x.reshape(len(x), -1) @ rows + noise, DIGITS, names
        )
        run = Distillation.open(SMALL, teacher=teacher, reporter=Reporter())
        hashes.add(run.identity.hashes["teacher"])
    assert len(hashes) == 1
    other = dataclasses.replace(teacher, function=lambda x: x.reshape(len(x), -1) @ rows * 1.1)
    run = Distillation.open(SMALL, teacher=other, reporter=Reporter())
    assert run.identity.hashes["teacher"] not in hashes
    one = NetworkTeacher(taught.network)
    assert Ensemble([one, one]).facts["teacher_hash"] != Ensemble([one]).facts["teacher_hash"]


def logits_of(raw):
    return np.ones((len(raw), 10))


def test_a_function_in_the_place_of_a_teacher_is_refused():
    with pytest.raises(UsageError, match="function has arguments: wrap it in a kipax"):
        open_teacher("python:tests.kd.test_wrong_input:logits_of")


def test_parts_are_saved_on_the_way(monkeypatch, tmp_path):
    """A killed process loses only the rows that it made after the last save."""
    monkeypatch.setattr("kipax.kd.stored.SECONDS_BETWEEN_SAVES", 0.0)
    path, there = tmp_path / "rows.npz", []

    def make(part):
        there.append(len(files.read_npz(path)["rows"]) if path.exists() else 0)
        return np.asarray(part)

    rows = make_in_parts(
        path, np.array(["facts"]), make, count=40, unit="row", reporter=Reporter(), size=10
    )
    np.testing.assert_array_equal(rows, np.arange(40))
    assert there[0] == 0
    assert there[1] == 10
    assert there == sorted(there)


@pytest.mark.parametrize("stop", [OutOfTime("over"), KeyboardInterrupt()])
def test_a_stop_before_the_first_step_says_how_to_continue(taught, tmp_path, stop):
    class Stopping(Reporter):
        def progress(self, progress):
            if progress.unit == "image":
                raise stop

    config = dataclasses.replace(SMALL, source="noise", images=1100)
    kind = OutOfTime if isinstance(stop, OutOfTime) else Interrupted
    with pytest.raises(kind) as caught:
        run_kd(
            config,
            teacher=NetworkTeacher(taught.network),
            workdir=tmp_path / "run",
            reporter=Stopping(),
        )
    if kind is OutOfTime:
        assert caught.value.facts == {"finished": False, "workdir": str(tmp_path / "run")}
    else:
        assert str(caught.value) == "stopped; continue with --resume"
