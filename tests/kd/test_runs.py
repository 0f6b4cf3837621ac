"""Distillations: the same bytes when resumed, what they leave, what they refuse."""

import dataclasses
import functools
import json

import numpy as np
import pytest

import kipax
from kipax.errors import UsageError
from kipax.kd import (
    Distillation,
    FunctionTeacher,
    ImageSpace,
    KDConfig,
    NetworkTeacher,
    TeacherConfig,
    run_kd,
    run_teacher,
)
from kipax.kd.stored import StoredImages, ask_teacher
from kipax.networks import load_network
from kipax.report import Reporter
from tests.kd.cases import (
    DIGITS,
    SMALL,
    Listener,
    in_pieces,
    network_files,
    stops_before_the_same_bytes,
)


@pytest.mark.slow
@pytest.mark.pictures
def test_a_student_learns_from_formulae_what_the_teacher_knows(taught, tmp_path):
    config = dataclasses.replace(SMALL, width=16, images=1000, steps=150)
    listener = Listener()
    result = run_kd(
        config, teacher=NetworkTeacher(taught.network), workdir=tmp_path, reporter=listener
    )
    assert result.test_accuracy > 0.4  # chance is 0.1
    assert result.facts["agreement"] > 0.5
    assert any("the teacher sees" in sentence for sentence in listener.said)
    for name in ("network.npz", "network_last.npz", "metrics.jsonl", "curve.png", "seen.png"):
        assert (tmp_path / name).exists(), name
    student = load_network(tmp_path)
    assert student.metadata["source"].startswith("pictures of")
    assert student.metadata["teacher"]["teacher_hash"]
    assert student.class_names == taught.network.class_names
    json.dumps(result.summary())


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True])
def test_a_distillation_in_pieces_has_the_bytes_of_one_run(taught, tmp_path, cached):
    mix = {"cached": True, "mix": "none"} if cached else {"augmentation": "crop"}
    config = dataclasses.replace(SMALL, steps=8, **mix)
    run = functools.partial(run_kd, teacher=NetworkTeacher(taught.network))
    assert stops_before_the_same_bytes(run, config, tmp_path) >= 7


@pytest.mark.slow
def test_a_cached_teacher_says_what_a_live_one_says(taught, tmp_path):
    # Plain descent: Adam magnifies the rounding of the first steps.
    config = dataclasses.replace(
        SMALL, steps=10, mix="none", optimizer="momentum", learning_rate=1e-3
    )
    teacher = NetworkTeacher(taught.network)
    live = run_kd(config, teacher=teacher, workdir=tmp_path / "live")
    cached = dataclasses.replace(config, cached=True)
    kept = run_kd(cached, teacher=teacher, workdir=tmp_path / "kept")
    data = kipax.load_dataset("digits")
    np.testing.assert_allclose(
        kept.network.scores(data.x_test), live.network.scores(data.x_test), atol=5e-3
    )
    for changing in ({"augmentation": "crop"}, {"mix": "mixup"}):
        other = dataclasses.replace(cached, **changing)
        with pytest.raises(UsageError, match="a cached teacher is asked about images as they are"):
            run_kd(other, teacher=teacher, workdir=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_answers_of_another_teacher_are_not_taken(taught, tmp_path):
    config = dataclasses.replace(SMALL, steps=4, cached=True, mix="none")
    run_kd(config, teacher=NetworkTeacher(taught.network), workdir=tmp_path)
    other = FunctionTeacher(lambda x: np.zeros((len(x), 10)), DIGITS, tuple("0123456789"))
    with pytest.raises(UsageError, match="--resume needs the teacher and source of the run"):
        run_kd(config, teacher=other, workdir=tmp_path, resume=True)
    # The files themselves are known by teacher and images.
    folder, images = tmp_path, StoredImages(np.zeros((5, 8, 8, 1), np.uint8), DIGITS)
    kept = (tmp_path / "answers.npz").read_bytes()
    np.testing.assert_array_equal(ask_teacher(folder, other, images, reporter=Reporter()).logits, 0)
    assert (tmp_path / "answers.npz").read_bytes() != kept


@pytest.fixture
def sorted_digits(tmp_path):
    """Digits in a file, all zeros first."""
    data = kipax.load_dataset("digits")
    order = np.argsort(data.y_train, kind="stable")
    arrays = {"x_train": data.x_train[order], "y_train": data.y_train[order]}
    arrays |= {"x_test": data.x_test, "y_test": data.y_test}
    np.savez(tmp_path / "sorted.npz", **arrays)
    return tmp_path / "sorted.npz", arrays


def test_held_out_images_of_a_sorted_source_are_of_all_classes(taught, sorted_digits, tmp_path):
    config = dataclasses.replace(SMALL, source=f"dataset:npz:{sorted_digits[0]}", images=1000)
    seen = []

    def knows(raw):
        seen.append(len(raw))
        return np.asarray(
            NetworkTeacher(taught.network).logits(raw, teacher.domain.preprocessor.apply(raw))
        )

    teacher = FunctionTeacher(knows, DIGITS, taught.network.class_names)
    run = Distillation.open(config, teacher=teacher, reporter=Reporter())
    images, answers = run.draw(tmp_path)
    held = run.trainee(images, answers).chosen_by[1]
    assert len(held) == 100
    assert len(np.unique(held)) >= 8
    assert run.teacher.domain.space == DIGITS


def test_test_data_in_other_units_or_another_order_are_refused(taught, sorted_digits, tmp_path):
    teacher = NetworkTeacher(taught.network)
    arrays = dict(sorted_digits[1])
    for name in ("x_train", "x_test"):
        arrays[name] = arrays[name] / np.float32(16)
    unit = kipax.Dataset.from_arrays(arrays)
    with pytest.raises(UsageError, match="give images in the same units"):
        run_kd(SMALL, teacher=teacher, dataset=unit, workdir=tmp_path / "a")
    backwards = kipax.Dataset.from_arrays(sorted_digits[1], class_names=list("9876543210"))
    with pytest.raises(UsageError, match="class 0 is '0' in the teacher and '9' in arrays"):
        run_kd(SMALL, teacher=teacher, dataset=backwards, workdir=tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_a_given_data_set_is_recorded_by_its_own_name(sorted_digits, tmp_path):
    data = kipax.Dataset.from_arrays(sorted_digits[1], name="mine")
    config = TeacherConfig(width=4, steps=2)
    network = run_teacher(config, dataset=data, workdir=tmp_path / "run").network
    assert network.metadata["dataset"] == "mine"
    assert network.metadata["training_hash"] == data.training_hash
    with pytest.raises(UsageError, match="which are not here: say where they lie with --dataset"):
        run_kd(
            dataclasses.replace(SMALL, source="data"),
            teacher=NetworkTeacher(network),
            workdir=tmp_path / "kd",
        )
    own = dataclasses.replace(SMALL, source="data", dataset=f"npz:{sorted_digits[0]}", steps=2)
    run_kd(own, teacher=NetworkTeacher(network), workdir=tmp_path / "kd")


def test_a_source_that_changed_is_not_resumed_on(taught, sorted_digits, tmp_path):
    path, arrays = sorted_digits
    config = dataclasses.replace(SMALL, source=f"dataset:npz:{path}", steps=4)
    teacher = NetworkTeacher(taught.network)
    run_kd(config, teacher=teacher, workdir=tmp_path / "run")
    np.savez(path, **(arrays | {"x_train": arrays["x_train"][::-1]}))
    with pytest.raises(UsageError, match="--resume needs the source of the run"):
        run_kd(config, teacher=teacher, workdir=tmp_path / "run", resume=True)


def test_drawn_images_are_kept_when_time_is_over(taught, tmp_path):
    config = dataclasses.replace(SMALL, source="noise", images=3000, steps=2, max_seconds=1e-9)
    teacher = NetworkTeacher(taught.network)
    whole, stops = in_pieces(
        lambda: run_kd(config, teacher=teacher, workdir=tmp_path / "cut", resume=True), most=20
    )
    assert stops >= 3  # twice while drawing, then a step a time
    at_once = dataclasses.replace(config, max_seconds=None)
    other = run_kd(at_once, teacher=teacher, workdir=tmp_path / "whole")
    assert network_files(whole.workdir) == network_files(other.workdir)


def test_nobody_knows_whether_a_functions_images_may_be_mirrored(tmp_path):
    teacher = FunctionTeacher(lambda x: np.zeros((len(x), 10)), DIGITS, tuple("0123456789"))
    for dataset, mirror, expected in (
        (None, None, False),
        ("digits", None, False),
        (None, True, True),
    ):
        config = dataclasses.replace(SMALL, augmentation="crop", dataset=dataset, mirror=mirror)
        run = Distillation.open(config, teacher=teacher, reporter=Reporter())
        assert run.views.mirror is expected
        assert ("(mirrored)" if expected else "(not mirrored)") in run.describe()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mix_alpha": 0.0}, "mix_alpha must be positive"),
        ({"width": 0}, "width must be positive"),
        ({"scale": -1.0}, "scale must be positive"),
        ({"temperature": float("inf")}, "temperature must be positive"),
        ({"preset": "large"}, "unknown preset 'large'"),
    ],
)
def test_wrong_configs(fields, message):
    with pytest.raises(UsageError, match=message):
        KDConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": (8, 8)}, "height, width and channels"),
        ({"low": 3.0, "high": 3.0}, "from a lower to a higher number"),
        ({"mean": (1.0, 2.0)}, "mean has a number for each of the 1 channels"),
    ],
)
def test_wrong_spaces(fields, message):
    good = {"shape": (8, 8, 1), "low": 0.0, "high": 1.0}
    with pytest.raises(UsageError, match=message):
        ImageSpace(**good | fields)
