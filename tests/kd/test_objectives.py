"""Distances between student and teacher against NumPy, gradients against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kipax.errors import UsageError
from kipax.kd import Distil, diagnose, relative_entropy
from kipax.kd.objectives import teacher_probabilities
from kipax.students import Outputs


def _logits(seed, n=6, classes=5):
    return np.random.default_rng(seed).normal(size=(n, classes)) * 3


def _loss(objective, student, teacher):
    out = [Outputs(jnp.asarray(a), jnp.asarray(a), {}) for a in (student, teacher)]
    loss, metrics, state = objective({}, {}, *out, None)
    assert state == {}
    return loss, metrics


def _softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _told(z, objective):
    best = np.eye(z.shape[1])[z.argmax(axis=1)]
    if objective.signal == "argmax":
        return best
    if objective.signal == "smoothed":
        return (1 - objective.smoothing) * best + objective.smoothing / z.shape[1]
    if objective.signal == "top_k":
        kept = np.argsort(-z, axis=1)[:, : objective.top_k]
        p = np.zeros_like(z)
        for row, columns in enumerate(kept):
            p[row, columns] = _softmax(z[row, columns] / objective.temperature)
        return p
    if objective.signal == "standardised":
        z = (z - z.mean(axis=1, keepdims=True)) / z.std(axis=1, keepdims=True)
    return _softmax(z / objective.temperature)


OBJECTIVES = [
    Distil(),
    Distil(temperature=8.0, scale=64.0),
    Distil(signal="top_k", top_k=2),
    Distil(signal="top_k", top_k=9),
    Distil(signal="argmax"),
    Distil(signal="smoothed", smoothing=0.2),
    Distil(signal="standardised", temperature=2.0),
    Distil(loss="l1", temperature=2.0),
    Distil(loss="l2", temperature=2.0, scale=0.5),
    Distil(loss="hard"),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_losses_are_their_formulae(x64, objective):
    student, teacher, tau = _logits(0), _logits(1), objective.temperature
    loss, metrics = _loss(objective, student, teacher)
    if objective.loss == "kl":
        p, q = _told(teacher, objective), _softmax(student / tau)
        expected = np.mean(
            np.sum(np.where(p > 0, p * (np.log(np.maximum(p, 1e-300)) - np.log(q)), 0), 1)
        )
        np.testing.assert_allclose(
            teacher_probabilities(jnp.asarray(teacher), objective), p, atol=1e-7
        )
    elif objective.loss == "hard":
        expected = -np.mean(np.log(_softmax(student)[np.arange(6), teacher.argmax(axis=1)]))
    else:
        gap = (student - teacher) / tau
        expected = np.mean(np.abs(gap)) if objective.loss == "l1" else np.mean(gap**2)
    assert float(loss) == pytest.approx(objective.scale * expected, rel=1e-6)
    same = np.mean(student.argmax(axis=1) == teacher.argmax(axis=1))
    assert float(metrics["agreement"]) == pytest.approx(same)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_gradients_are_finite_differences(x64, objective):
    student, teacher, direction = _logits(0), _logits(1), _logits(2)
    slope = jax.grad(lambda t: _loss(objective, student + t * direction, teacher)[0])(0.0)
    step = 1e-5
    ends = [_loss(objective, student + t * direction, teacher)[0] for t in (-step, step)]
    assert float(slope) == pytest.approx(float(ends[1] - ends[0]) / (2 * step), rel=1e-6, abs=1e-8)


def test_agreeing_costs_nothing():
    z = _logits(0)
    for objective in (Distil(), Distil(loss="l1"), Distil(loss="l2")):
        assert float(_loss(objective, z, z)[0]) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": "mse"}, "unknown loss 'mse'"),
        ({"signal": "soft"}, "unknown signal"),
        ({"temperature": 0.0}, "temperature must be positive; got 0"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"smoothing": 1.0}, "smoothing runs from 0 to below 1"),
        ({"loss": "l2", "signal": "argmax"}, "signal has no effect on l2"),
    ],
)
def test_wrong_objectives(fields, message):
    with pytest.raises(UsageError, match=message):
        Distil(**fields)


def test_relative_entropy_and_verdicts():
    assert relative_entropy(np.arange(10), 10) == pytest.approx(1.0)
    assert relative_entropy(np.zeros(10, int), 10) == 0.0
    p = np.array([0.7, 0.2, 0.1])
    classes = np.repeat([0, 1, 2], [7, 2, 1])
    assert relative_entropy(classes, 3) == pytest.approx(-np.sum(p * np.log(p)) / np.log(3))
    even = diagnose(20 * np.eye(10)[np.arange(100) % 10])
    assert (even.verdict, even.classes_seen) == ("likely", 10)
    assert even.confidence == pytest.approx(1.0)
    assert diagnose(np.eye(10)[np.zeros(100, int)]).verdict == "unlikely"
    assert diagnose(np.eye(10)[np.arange(100) % 4]).verdict == "doubtful"
