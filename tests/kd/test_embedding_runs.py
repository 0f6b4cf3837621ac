"""Teachers that give embeddings, and students that are trained on these."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
from scipy.special import softmax

import kipax
from kipax.data import load_dataset
from kipax.errors import FailedRunError, UsageError
from kipax.kd import (
    KDConfig,
    NetworkTeacher,
    TeacherConfig,
    run_kd,
    run_teacher,
)
from kipax.kd.contrast import CRD
from kipax.students import Outputs
from tests.kd.cases import (
    EMBEDDED,
    function_teacher,
    opened,
    some_pixels,
    stops_before_the_same_bytes,
)


def test_a_network_gives_its_penultimate_outputs(taught):
    teacher = NetworkTeacher(taught.network)
    x = taught.network.preprocess(load_dataset("digits").x_test[:5])
    out = teacher.outputs(x, x)
    expected = taught.network.outputs(x)
    np.testing.assert_allclose(out.logits, expected.logits, rtol=1e-5)
    np.testing.assert_allclose(out.penultimate, expected.penultimate.reshape(5, -1), rtol=1e-5)
    assert teacher.embedding_size == out.penultimate.shape[1]


def test_a_function_gives_a_pair_or_embeddings_alone():
    raw = load_dataset("digits").x_test[:6].astype(np.float32)
    pair = function_teacher(lambda x: (np.ones((len(x), 10)), some_pixels(x)), embedding_size=4)
    out = pair.outputs(raw, raw)
    np.testing.assert_array_equal(out.logits, np.ones((6, 10)))
    np.testing.assert_array_equal(out.penultimate, some_pixels(raw))
    assert "logits of 10 classes and embeddings of length 4" in pair.describe()
    alone = function_teacher(some_pixels, known_classes=0, embedding_size=4)
    assert alone.outputs(raw, raw).penultimate.shape == (6, 4)
    with pytest.raises(UsageError, match="gives a pair, logits and embeddings"):
        function_teacher(some_pixels, embedding_size=4).outputs(raw, raw)
    with pytest.raises(UsageError, match=r"row of 5 numbers an image, here \(6, 5\)"):
        function_teacher(some_pixels, known_classes=0, embedding_size=5).outputs(raw, raw)
    with pytest.raises(UsageError, match="known_classes is a number"):
        function_teacher(some_pixels, known_classes=0)
    with pytest.raises(FailedRunError, match="not finite"):
        function_teacher(
            lambda x: some_pixels(x) * np.nan, known_classes=0, embedding_size=4
        ).outputs(raw, raw)


def test_a_diagnosis_needs_classes(taught):
    teacher = function_teacher(some_pixels, known_classes=0, embedding_size=4)
    with pytest.raises(UsageError, match="a diagnosis needs a teacher that classifies"):
        opened(taught, teacher=teacher, loss="anchors").diagnose()


def test_a_collapsed_teacher_is_told(tmp_path):
    teacher = function_teacher(lambda x: np.ones((len(x), 4)), known_classes=0, embedding_size=4)
    with pytest.raises(UsageError, match=r"is 0.0e\+00 of their mean square: the teacher"):
        run_kd(
            dataclasses.replace(EMBEDDED, loss="anchors"),
            teacher=teacher,
            dataset=load_dataset("digits"),
            workdir=tmp_path,
        )


def _objective(run, folder):
    folder.mkdir(exist_ok=True)
    return run.trainee(*run.draw(folder)).objective


def test_a_contrast_sees_the_labels_that_it_may_and_the_images_that_are_trained_on(
    taught, tmp_path
):
    whole = _objective(opened(taught, loss="crd"), tmp_path)
    assert whole.images == len(whole.trained) == 300  # nothing is held out for it
    assert np.all(whole.classes >= 0)
    few = _objective(opened(taught, loss="crd", labels=0.1), tmp_path)
    assert few.classes is None
    chosen = _objective(opened(taught, loss="ce+crd+kl"), tmp_path).terms[1][1]
    assert (chosen.images, len(chosen.trained)) == (300, 270)


def test_a_students_step_is_chosen_by_its_teachers_answers_where_it_classifies(taught, tmp_path):
    """By its loss against them, or by agreement where the loss compares no logits."""
    cases = {"kl": (True, True), "ce+l2": (True, True), "ce+align_uniform": (True, False)}
    for loss, (shown, by_loss) in (cases | {"ce": (False,) * 2, "anchors": (False,) * 2}).items():
        run = opened(taught, loss=loss)
        trainee = run.trainee(*run.draw(tmp_path))
        assert (trainee.chosen_by is not None) == shown, loss
        assert (trainee.distance is not None) == by_loss, loss


def test_a_steps_distance_is_the_loss_of_held_out_images(taught, tmp_path):
    run = opened(taught, loss="kl", temperature=3.0)
    trainee = run.trainee(*run.draw(tmp_path))
    images, classes = trainee.chosen_by
    logits = np.asarray(taught.network.outputs(images).logits)
    np.testing.assert_array_equal(np.argmax(logits, axis=1), classes)
    assert trainee.distance(logits) == pytest.approx(0, abs=1e-5)
    flat = np.zeros_like(logits)
    p = softmax(logits / 3, axis=1)
    expected = np.mean(np.sum(p * np.log(p / 0.1), axis=1))
    assert trainee.distance(flat) == pytest.approx(expected, rel=1e-4)


def test_a_training_knows_how_many_labels_it_uses(taught, tmp_path):
    counts = {("ce+kl", 1.0): 270, ("ce+kl", 0.001): 10, ("kl", 1.0): None}
    for (loss, share), count in counts.items():
        run = opened(taught, loss=loss, labels=share)
        assert run.trainee(*run.draw(tmp_path)).labels == count, loss


def test_negatives_differ_between_seeds(taught):
    one = CRD(images=20, negatives=50)
    shapes = (Outputs(np.zeros((2, 3)), np.zeros((2, 4)), {}),) * 2
    drawn = [
        np.asarray(one._draw(one.init(jax.random.key(seed), *shapes)[1], np.array([0, 1])))
        for seed in (0, 1)
    ]
    assert np.any(drawn[0] != drawn[1])


def test_a_student_of_embeddings_alone_does_not_classify(tmp_path):
    teacher = function_teacher(some_pixels, known_classes=0, embedding_size=4)
    config = dataclasses.replace(EMBEDDED, loss="anchors", source="shaders")
    result = run_kd(config, teacher=teacher, workdir=tmp_path)
    assert result.test_accuracy is None
    assert result.network.metadata["classifies"] is False
    assert result.facts == {"agreement": None, "relative_entropy": None, "verdict": None}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(
            {"loss": "anchors", "augmentation": "crop", "cached": True}, marks=pytest.mark.slow
        ),
        pytest.param({"loss": "ce+crd+kl", "labels": 0.5, "negatives": 20}, marks=pytest.mark.slow),
        {"loss": "queued_crd+anchors", "averaging": 0.9, "augmentation": "crop"},
    ],
    ids=["anchors", "crd", "queues"],
)
def test_queues_and_memories_survive_a_stop(taught, tmp_path, fields):
    config = dataclasses.replace(EMBEDDED, **fields)
    run = functools.partial(
        run_kd, teacher=NetworkTeacher(taught.network), dataset=load_dataset("digits")
    )
    assert stops_before_the_same_bytes(run, config, tmp_path) >= 3


def _lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("loss", ["clusters", "similarities", "srrl", "regression_bn"])
def test_every_other_term_trains(taught, tmp_path, loss):
    pytest.importorskip("sklearn")
    config = dataclasses.replace(EMBEDDED, loss=loss, cached=loss == "clusters", steps=12)
    result = run_kd(
        config,
        teacher=NetworkTeacher(taught.network),
        dataset=load_dataset("digits"),
        workdir=tmp_path,
    )
    losses = [line["train_loss"] for line in _lines(tmp_path)]
    assert losses[-1] < losses[0]
    assert result.last.metadata["step"] == 12


@pytest.mark.slow
def test_few_labels_and_a_teacher_beat_few_labels(tmp_path):
    digits = load_dataset("digits").hold_out(100)
    taught = run_teacher(
        TeacherConfig(width=16, steps=500), dataset=digits, workdir=tmp_path / "teacher"
    )
    common = {"source": "data", "labels": 0.02, "steps": 1200, "width": 16, "learning_rate": 4e-3}
    run = functools.partial(run_kd, teacher=NetworkTeacher(taught.network), dataset=digits)
    few = run(KDConfig(preset="scratch", **common), workdir=tmp_path / "scratch")
    more = run(KDConfig(preset="dapt", **common), workdir=tmp_path / "dapt")
    assert more.test_accuracy > few.test_accuracy + 0.02
    assert kipax.load_network(tmp_path / "dapt").metadata["config"]["labels"] == 0.02
