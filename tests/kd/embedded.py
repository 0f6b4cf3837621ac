"""Outputs of a student and a teacher for one batch, and plain formulae for them."""

import jax
import numpy as np
from jax.test_util import check_grads

from kipax.students import Outputs
from kipax.training import Batch

N, D_S, D_T, CLASSES = 6, 5, 7, 3


def outputs(features, seed):
    rng = np.random.default_rng(seed)
    return Outputs(rng.normal(size=(N, CLASSES)), rng.normal(size=(N, features)), {})


STUDENT, TEACHER = outputs(D_S, 0), outputs(D_T, 1)
BATCH = Batch(np.zeros((N, 1, 1, 1)), y=np.eye(CLASSES)[np.arange(N) % CLASSES], index=np.arange(N))


def begin(objective):
    shapes = jax.eval_shape(lambda: (STUDENT, TEACHER))
    return objective.init(jax.random.key(0), *shapes)


def loss(objective, aux, state, student=STUDENT):
    return objective(aux, state, student, TEACHER, BATCH)[0]


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def layers(params, x):
    """A projector without normalisation, in NumPy."""
    for i in range(len(params)):
        layer = params[f"layer{i}"]
        x = x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        if i < len(params) - 1:
            x = np.maximum(x, 0)
    return x


def check_gradients(objective, aux, state, batch=BATCH):
    """Gradients of the student's outputs and of the objective's parameters by differences."""

    def found(logits, embedding, aux):
        student = Outputs(logits, embedding, {})
        return objective(aux, state, student, TEACHER, batch)[0]

    arguments = STUDENT.logits, STUDENT.penultimate, aux
    check_grads(found, arguments, order=1, modes=["rev"], atol=1e-4, rtol=1e-4)
