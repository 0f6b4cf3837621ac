"""Teachers other than networks, and teachers by name."""

import dataclasses

import numpy as np
import pytest

import kipax
from kipax.commands.kd import _tell
from kipax.data import Standard
from kipax.errors import FailedRunError, FileError, UsageError
from kipax.kd import (
    Diagnosis,
    Distillation,
    Ensemble,
    FunctionTeacher,
    KDConfig,
    KernelTeacher,
    NetworkTeacher,
    diagnose_source,
    kernel_teacher,
    run_kd,
)
from kipax.kd.opening import open_teacher
from kipax.networks import load_network
from kipax.ridge import accuracy
from tests.kd.cases import DIGITS, SMALL, Listener
from tests.kernels.cases import skip_unless_it_runs


@pytest.mark.parametrize(
    ("backend", "computed_by"), [("portable", "portable on cpu"), ("fused", "fused (")]
)
def test_a_distilled_set_tells_what_computes_its_logits(backend, computed_by):
    skip_unless_it_runs(backend)
    support = dataclasses.replace(kipax.load("digits-convnet-10"), backend=backend)
    words = kernel_teacher(support).describe()
    assert f"its scores times 10 (fixed) are the logits, computed by backend {computed_by}" in words


@pytest.mark.slow
def test_a_distilled_set_teaches(tmp_path):
    data = kipax.load_dataset("digits").hold_out(200)
    support = kipax.run_kip(
        kipax.KIPConfig(architecture="fc1", steps=5, target_batch="100"), workdir=tmp_path / "kip"
    ).support
    teacher = kernel_teacher(support, data)
    # The factor is a minimum of the cross-entropy on the validation images.
    scores = support.scores(data.x_validation)

    def loss(factor):
        z = factor * scores
        z = z - z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        return -np.mean(log_p[np.arange(200), data.y_validation])

    assert loss(teacher.scale) < min(loss(teacher.scale * 1.3), loss(teacher.scale / 1.3))
    raw = data.x_test[:50].astype(np.float32)
    logits = teacher.logits(raw, teacher.domain.preprocessor.apply(raw))
    np.testing.assert_allclose(logits, teacher.scale * support.scores(raw), rtol=1e-5)
    assert kernel_teacher(support).scale == 10.0
    config = dataclasses.replace(SMALL, source="data", images=400, steps=150)
    result = run_kd(config, teacher=teacher, workdir=tmp_path / "kd")
    assert result.network.metadata["config"]["preset"] == "bridge"
    assert (tmp_path / "kd" / "answers.npz").exists()
    kernel = accuracy(support.scores(data.x_test), data.y_test)
    assert result.test_accuracy > kernel - 0.15


def _nearest_mean(data):
    means = np.stack([data.x_train[data.y_train == c].mean(axis=0) for c in range(10)])

    def scores(raw):
        assert raw.dtype == np.float32
        raw += 0  # a copy of its own
        return -0.01 * np.sum((raw[:, None] - means[None]) ** 2, axis=(2, 3, 4))

    return scores


def test_any_function_of_raw_images_teaches(tmp_path):
    data = kipax.load_dataset("digits")
    scores = _nearest_mean(data)
    teacher = FunctionTeacher(scores, DIGITS, data.class_names, name="nearest mean")
    assert isinstance(teacher.domain.preprocessor, Standard)
    config = dataclasses.replace(SMALL, steps=100, dataset="digits")
    result = run_kd(config, teacher=teacher, workdir=tmp_path / "a")
    assert result.test_accuracy > 0.3
    student = load_network(tmp_path / "a")
    assert student.pixels.high == 16.0
    assert "on no data set" in str(student)
    probabilities = FunctionTeacher(
        lambda raw: np.eye(10)[np.argmax(scores(raw), axis=1)],
        DIGITS,
        data.class_names,
        probabilities=True,
    )
    raw = data.x_test[:5].astype(np.float32)
    logits = probabilities.logits(raw, raw)
    np.testing.assert_array_equal(np.argmax(logits, 1), np.argmax(scores(raw), 1))
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("known", "fields", "remedy"),
    [
        (
            1,
            {},
            "needs all of the teacher's classes, and it gives 1: take kl with --signal=argmax",
        ),
        (5, {"loss": "l2"}, "gives 5: take kl with --signal=top_k --top_k=5"),
        (3, {"signal": "top_k"}, "needs 5 of the teacher's classes, and it gives 3"),
        (1, {"signal": "standardised"}, "needs all"),
        (1, {"signal": "argmax"}, None),
        (1, {"loss": "hard"}, None),
        (5, {"signal": "top_k"}, None),
    ],
)
def test_a_student_does_not_use_what_the_teacher_does_not_give(known, fields, remedy):
    teacher = FunctionTeacher(
        lambda raw: np.zeros((len(raw), 10)), DIGITS, tuple("0123456789"), known_classes=known
    )
    with pytest.raises(UsageError, match="give the logits of all classes"):
        Ensemble([teacher, teacher])
    config = dataclasses.replace(SMALL, dataset="none", source="noise", **fields)
    if remedy is None:
        Distillation.open(config, teacher=teacher, reporter=Listener())
    else:
        with pytest.raises(UsageError, match=remedy):
            Distillation.open(config, teacher=teacher, reporter=Listener())


def test_known_classes_are_a_number_of_classes():
    for known in (0, 11):
        with pytest.raises(UsageError, match="known_classes is a number of the 10 classes"):
            FunctionTeacher(np.zeros, DIGITS, tuple("0123456789"), known_classes=known)


@pytest.mark.parametrize(
    ("gives", "error", "message"),
    [
        (lambda x: np.zeros((len(x), 9)), UsageError, r"a row of 10 numbers an image"),
        (lambda x: np.zeros(len(x)), UsageError, r"a row of 10 numbers an image"),
        (
            lambda x: np.full((len(x), 10), np.nan),
            FailedRunError,
            "gave numbers that are not finite",
        ),
    ],
)
def test_functions_that_do_not_teach(tmp_path, gives, error, message):
    teacher = FunctionTeacher(gives, DIGITS, tuple("0123456789"), name="mine")
    with pytest.raises(error, match=message):
        run_kd(SMALL, teacher=teacher, workdir=tmp_path)


def test_an_ensemble_averages_probabilities(taught):
    one = NetworkTeacher(taught.network)
    raw = kipax.load_dataset("digits").x_test[:20].astype(np.float32)
    x = one.domain.preprocessor.apply(raw)
    logits = np.asarray(one.logits(raw, x))
    both = Ensemble([one, one]).logits(raw, x)
    shifted = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(both, shifted, atol=1e-4)
    with pytest.raises(UsageError, match="one teacher or more; got none"):
        Ensemble([])
    other = FunctionTeacher(lambda x: np.zeros((len(x), 10)), DIGITS, tuple("abcdefghij"))
    with pytest.raises(UsageError, match="share images, classes and preprocessing"):
        Ensemble([one, other])


def test_teachers_by_name(taught):
    assert isinstance(open_teacher(str(taught.workdir)), NetworkTeacher)
    assert isinstance(open_teacher(str(taught.workdir / "network.npz")), NetworkTeacher)
    with pytest.raises(FileError, match="there is no teacher runs/none: train one with"):
        open_teacher("runs/none")
    with pytest.raises(UsageError, match=r"python:MODULE:NAME; got python:os"):
        open_teacher("python:os")
    with pytest.raises(UsageError, match="names no teacher"):
        open_teacher("python:os:nothing")
    with pytest.raises(UsageError, match=r"must be or return a kipax\.kd\.Teacher.*got a str"):
        open_teacher("python:os:getcwd")


def test_a_shipped_set_teaches_without_its_data():
    teacher = open_teacher("fashion_mnist-convnet-10", data_dir="nowhere")
    assert isinstance(teacher, KernelTeacher)
    assert teacher.scale == 10.0
    assert teacher.domain.space.shape == (28, 28, 1)


def test_data_that_do_not_fit_the_teacher(taught, tmp_path):
    np.savez(
        tmp_path / "other.npz",
        x_train=np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3)).astype(np.uint8),
        y_train=np.arange(20) % 2,
        x_test=np.random.default_rng(1).integers(0, 255, (6, 8, 8, 3)).astype(np.uint8),
        y_test=np.arange(6) % 2,
    )
    config = dataclasses.replace(SMALL, dataset=f"npz:{tmp_path / 'other.npz'}")
    with pytest.raises(UsageError, match=r"takes images \(8, 8, 1\) of 10 classes; .*--dataset"):
        run_kd(config, teacher=NetworkTeacher(taught.network), workdir=tmp_path / "run")


def test_diagnosis_trains_nothing(taught, tmp_path):
    teacher = NetworkTeacher(taught.network)
    found = diagnose_source(dataclasses.replace(SMALL, source="data"), teacher=teacher)
    assert found.verdict == "likely"
    assert found.relative_entropy > 0.9
    assert set(found.to_dict()) >= {"relative_entropy", "confidence", "verdict"}
    dark = FunctionTeacher(lambda x: np.eye(10)[np.zeros(len(x), int)], DIGITS, tuple("0123456789"))
    assert diagnose_source(SMALL, teacher=dark).verdict == "unlikely"
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_the_teacher_sees_few_classes_in_may_be_matched():
    few, many = Diagnosis(0.2, 0.8, 2, 10, "unlikely"), Diagnosis(0.9, 0.8, 10, 10, "likely")
    cases = {("photo", few): True, ("photo", many): False, ("matched:photo", few): False}
    for (source, found), advised in (cases | {("data:100", few): False}).items():
        listener = Listener()
        assert _tell(listener, found, KDConfig(source=source)) == found.to_dict()
        assert any("--source=matched:photo" in line for line in listener.said) == advised
