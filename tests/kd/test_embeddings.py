"""Objectives on embeddings against NumPy, finite differences, and a plain loop of queues."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kipax.errors import UsageError
from kipax.kd.anchors import Anchors, enqueue
from kipax.kd.embeddings import SRRL, AlignUniform, Regression, RegressionBN
from kipax.kd.projectors import PROJECTORS, init_projector, project
from kipax.training import CrossEntropy, MeanSquare, Sum
from tests.kd.embedded import (
    BATCH,
    CLASSES,
    D_S,
    D_T,
    STUDENT,
    TEACHER,
    N,
    begin,
    check_gradients,
    layers,
    loss,
    outputs,
    unit,
)


def test_alignment_and_uniformity_are_the_sums(x64):
    objective = AlignUniform(features=4, alpha=1.5, t=0.7, alignment=2.0, uniformity=0.5)
    aux, state = begin(objective)
    s = unit(layers(aux["student"], STUDENT.penultimate))
    t = unit(layers(aux["teacher"], TEACHER.penultimate))
    align = np.mean([np.linalg.norm(a - b) ** 1.5 for a, b in zip(s, t, strict=True)])

    def uniform(z):
        pairs = [np.exp(-0.7 * np.sum((z[i] - z[j]) ** 2)) for i in range(N) for j in range(i)]
        return np.log(np.mean(pairs))

    expected = 2.0 * align + 0.5 * (uniform(s) + uniform(t)) / 2
    assert loss(objective, aux, state) == pytest.approx(expected)


def test_regressions_are_mean_squares(x64):
    aux, state = begin(Regression())
    made = layers({"layer0": aux}, STUDENT.penultimate)
    expected = np.mean((made - TEACHER.penultimate) ** 2)
    assert loss(Regression(), aux, state) == pytest.approx(expected)

    def whiten(x):
        return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)

    expected = np.mean((whiten(made) - whiten(TEACHER.penultimate)) ** 2)
    assert loss(RegressionBN(), aux, state) == pytest.approx(expected)


def test_srrl_compares_embeddings_and_logits(x64):
    rng = np.random.default_rng(4)
    w, b = rng.normal(size=(D_T, CLASSES)), rng.normal(size=CLASSES)
    aux, state = begin(SRRL())
    hidden = np.maximum(layers({"layer0": aux["first"]}, STUDENT.penultimate), 0)
    made = layers({"layer0": aux["second"]}, hidden)
    alone = np.mean((made - TEACHER.penultimate) ** 2)
    assert loss(SRRL(), aux, state) == pytest.approx(alone)
    logits = np.mean((made @ w + b - TEACHER.logits) ** 2)
    assert loss(SRRL((w, b), weight=0.3), aux, state) == pytest.approx(alone + 0.3 * logits)


def _ranking(q, anchors, tau):
    scores = q @ anchors.T / tau
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("mode", ["1q", "2q"])
@pytest.mark.parametrize("softmax", [True, False])
def test_anchors_are_ranked_as_the_teacher_ranks_them(x64, mode, softmax):
    objective = Anchors(mode, tau=0.3, queue=9, momentum=0.0, softmax=softmax)
    aux, state = begin(objective)
    t = unit(TEACHER.penultimate)
    if mode == "1q":
        s, own = unit(layers({"layer0": aux}, STUDENT.penultimate)), np.asarray(state["teacher"])
    else:
        s, own = unit(STUDENT.penultimate), np.asarray(state["student"])
    theirs = np.asarray(state["teacher"])
    if softmax:
        p, q = _ranking(t, theirs, 0.3), _ranking(s, own, 0.3)
        expected = np.mean(np.sum(p * np.log(p / q), axis=1))
    else:
        expected = np.mean((s @ own.T - t @ theirs.T) ** 2)
    loss, _, after = objective(aux, state, STUDENT, TEACHER, BATCH)
    assert loss == pytest.approx(expected)
    np.testing.assert_allclose(after["teacher"][:N], t)
    np.testing.assert_array_equal(after["teacher"][N:], theirs[N:])
    assert after["place"] == N
    if mode == "2q":
        np.testing.assert_allclose(after["student"][:N], unit(STUDENT.penultimate))


def test_the_averaged_copy_fills_the_students_queue():
    objective = Anchors("2q", queue=8, momentum=0.9)
    assert objective.averaging == 0.9
    assert Anchors("2q", momentum=0.0).averaging is None
    assert Anchors("1q", momentum=0.9).averaging is None
    aux, state = begin(objective)
    averaged = outputs(D_S, 7)
    _, _, after = objective(aux, state, STUDENT, TEACHER, BATCH, averaged)
    np.testing.assert_allclose(after["student"][:N], unit(averaged.penultimate), rtol=1e-6)


@pytest.mark.parametrize(("size", "count"), [(5, 2), (5, 5), (3, 7), (4, 4)])
def test_the_oldest_are_replaced(size, count):
    rng = np.random.default_rng(0)
    queue, place, plain = jnp.zeros((size, 2)), 0, [np.zeros(2)] * size
    for _ in range(6):
        rows = rng.normal(size=(count, 2)).astype(np.float32)
        queue = enqueue(queue, jnp.asarray(rows), jnp.int32(place))
        place = (place + count) % size
        plain = [*plain, *rows][-size:]
    oldest_first = np.roll(np.asarray(queue), -place, axis=0)
    np.testing.assert_array_equal(oldest_first, np.stack(plain))


@pytest.mark.parametrize(
    "objective",
    [
        AlignUniform(features=4),
        AlignUniform(features=4, projector="simclr"),
        SRRL(),
        Regression(),
        RegressionBN(),
        Anchors("1q", tau=0.5, queue=8),
        Anchors("2q", tau=0.5, queue=8, momentum=0.0),
        CrossEntropy() + 0.5 * AlignUniform(features=4),
    ],
    ids=lambda o: type(o).__name__,
)
def test_gradients_are_finite_differences(x64, objective):
    check_gradients(objective, *begin(objective))


@pytest.mark.parametrize("kind", PROJECTORS)
def test_projections_have_length_one(kind):
    params = init_projector(kind, jax.random.key(0), 6, 4)
    z = np.asarray(project(params, np.random.default_rng(0).normal(size=(9, 6))))
    assert z.shape == (9, 4)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)


def test_a_sum_keeps_each_terms_parameters_and_state():
    both = CrossEntropy() + 2 * Anchors("1q", queue=8) + 0.5 * Regression()
    assert isinstance(both, Sum)
    assert [weight for weight, _ in both.terms] == [1.0, 2.0, 0.5]
    aux, state = begin(both)
    loss, metrics, after = both(aux, state, STUDENT, TEACHER, BATCH)
    parts = [
        term(aux[str(i)], state[str(i)], STUDENT, TEACHER, BATCH)[0]
        for i, (_, term) in enumerate(both.terms)
    ]
    assert float(loss) == pytest.approx(float(parts[0] + 2 * parts[1] + 0.5 * parts[2]), rel=1e-6)
    assert float(metrics["loss_Anchors"]) == pytest.approx(float(parts[1]))
    assert after["1"]["place"] == N
    tripled = 3 * both
    assert [weight for weight, _ in tripled.terms] == [3.0, 6.0, 1.5]
    assert (Anchors("2q", momentum=0.5) + MeanSquare()).averaging == 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AlignUniform(projector="moco"), "unknown projector 'moco'"),
        (lambda: AlignUniform(alpha=0.0), "alpha must be positive"),
        (lambda: Anchors("3q"), "unknown mode '3q'"),
        (lambda: Anchors(tau=0.0), "tau and queue must be positive"),
        (lambda: Anchors(momentum=1.0), "momentum runs from 0 to below 1"),
        (lambda: Sum(()), "a sum has terms"),
        (lambda: float("nan") * MeanSquare(), "finite weights"),
        (
            lambda: Anchors(momentum=0.5) + Anchors(momentum=0.9),
            "terms share one averaged copy",
        ),
    ],
)
def test_wrong_objectives_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()
