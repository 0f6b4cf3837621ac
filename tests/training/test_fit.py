"""The loop: exact resuming, teachers, views, parameters and state of an objective, devices."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kipax.errors import FileError
from kipax.runs import RunFolder
from kipax.students import Outputs, StudentSpec, init_variables
from kipax.training import (
    Batch,
    Checkpoint,
    CrossEntropy,
    Descent,
    Hook,
    LabelledBatches,
    MeanSquare,
    Objective,
    Selection,
    Setting,
    fit,
)
from tests.devices import arrays_on_one_and_four_devices, assert_same_arrays

SHAPE, CLASSES, SIZE = (4, 4, 1), 3, 6
ADAM = optax.scale_by_adam()


@dataclasses.dataclass(frozen=True)
class Embedded(Objective):
    """A projector of its own, a queue of teacher logits, and an averaged copy."""

    queue: int = 8

    @property
    def averaging(self):
        return 0.9

    def init(self, key, student, teacher):
        shape = student.penultimate.shape[1], teacher.logits.shape[1]
        queue = jnp.zeros((self.queue, teacher.logits.shape[1]))
        return {"projector": 0.1 * jax.random.normal(key, shape)}, {"queue": queue}

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        projected = student.penultimate @ aux["projector"]
        gap = jnp.mean((projected - teacher.logits) ** 2)
        drift = jnp.mean((student.logits - averaged.logits) ** 2)
        queue = jnp.concatenate([teacher.logits, state["queue"]])[: self.queue]
        return gap + 0.1 * drift, {"drift": drift, "queued": jnp.sum(queue)}, {"queue": queue}


class Record(Hook):
    """What was reported."""

    def __init__(self):
        self.metrics = []

    def after(self, step, state, metrics):
        self.metrics.append({name: float(value) for name, value in metrics.items()})


class Stop(Hook):
    """Ends a training after a step."""

    def __init__(self, step):
        self.step = step

    def after(self, step, state, metrics):
        return step == self.step


def _network(**fields):
    return StudentSpec(name="fc1", width=8, **fields).build(CLASSES, SHAPE)


def _data(n=20):
    rng = np.random.default_rng(0)
    y = np.arange(n) % CLASSES
    x = rng.normal(size=(n, *SHAPE)).astype(np.float32) + y[:, None, None, None]
    return x, np.eye(CLASSES, dtype=np.float32)[y], y


def _teacher(batch):
    logits = np.asarray(batch.x).reshape(len(batch.x), -1)[:, :CLASSES]
    return Outputs(logits, logits, {})


def _fit(steps=12, hooks=(), objective=None, **fields):
    x, y, _ = _data()
    given = {
        "objective": objective or Embedded(),
        "descent": Descent(ADAM, optax.cosine_decay_schedule(1.0, 12), steps),
        "settings": [Setting(0.05, 1e-3, 0)],
        "teacher": _teacher,
    } | fields
    network = given.pop("network", None) or _network(normalisation="batch")
    batches = given.pop("batches", None) or LabelledBatches(x, y, size=SIZE, seed=0)
    return fit(network, batches, hooks=hooks, **given)


def _assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("settings", [[Setting(0.05, 0.0, 0)], [Setting(0.05, 0.0, 0)] * 2])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, settings):
    """Parameters, running averages, averaged copy, projector, queue, optimiser, best network."""
    x, _, y = _data(9)
    network = _network(normalisation="batch")

    def hooks(folder):
        selection = Selection(network, range(1, 13), settings=len(settings), validation=(x, y))
        return selection, Checkpoint(RunFolder(folder), beside=[selection], seconds=0)

    common = {"network": network, "settings": settings}
    (tmp_path / "whole").mkdir()
    best, last = hooks(tmp_path / "whole")
    whole = _fit(hooks=[best, last], **common)
    (tmp_path / "parts").mkdir()
    for stop in (5, 9, None):
        again, last = hooks(tmp_path / "parts")
        resumed = _fit(hooks=[again, Stop(stop), last], **common)
    _assert_same(whole, resumed)
    _assert_same(best.carried, again.carried)
    assert np.max(resumed.step) == 12
    assert jax.tree.leaves(whole.averaged)
    assert np.any(np.asarray(whole.objective_state["queue"]))


def test_a_distance_chooses_in_place_of_the_accuracy():
    """The last of the lowest is chosen; infinite distances count as the highest."""
    x, _, y = _data(9)
    network, told = _network(normalisation="batch"), iter([3.0, 1.0, math.nan, 2.0, 1.0, math.inf])
    seen = []

    def distance(logits):
        seen.append(np.mean(np.argmax(logits, axis=1) == y))
        return next(told)

    selection = Selection(network, range(2, 13, 2), validation=(x, y), distance=distance)
    _fit(hooks=[selection], network=network)
    assert selection.best_step.tolist() == [10]
    np.testing.assert_allclose(selection.accuracies[0], seen)
    np.testing.assert_array_equal(selection.worth[0], [-3, -1, -math.inf, -2, -1, -math.inf])


def test_the_state_of_another_training_is_refused(tmp_path):
    _fit(hooks=[Checkpoint(RunFolder(tmp_path))])
    with pytest.raises(FileError, match=r"not the state of this training: its .*queue"):
        _fit(objective=Embedded(queue=9), hooks=[Checkpoint(RunFolder(tmp_path))])
    with pytest.raises(FileError, match=r"not the state of this training: it has a .* too"):
        _fit(
            network=_network(normalisation="layer"),
            hooks=[Checkpoint(RunFolder(tmp_path))],
            objective=MeanSquare(),
        )


def test_own_parameters_state_and_averaged_copy_are_what_a_plain_loop_makes():
    network, objective = _network(), Embedded()
    x, y, _ = _data()
    batches = LabelledBatches(x, y, size=SIZE, seed=0)
    record = Record()
    state = _fit(5, hooks=[record], network=network, batches=batches)

    params = init_variables(network, jax.random.key(0), SHAPE)["params"]
    key = jax.random.fold_in(jax.random.key(0), 2)
    first = _teacher(batches(0))
    aux, carried = objective.init(key, network.apply({"params": params}, batches(0).x), first)
    copy = params
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 12))
    opt_state = optimizer.init((params, aux))

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss_fn(trained, copy, carried, batch, teacher):
        student = network.apply({"params": trained[0]}, batch.x)
        averaged = network.apply({"params": copy}, batch.x)
        loss, metrics, after = objective(trained[1], carried, student, teacher, batch, averaged)
        norm = optax.tree.norm(trained, squared=True)
        return loss + 0.5e-3 * norm, (metrics, after)

    for step in range(5):
        batch = batches(step)
        (loss, (metrics, carried)), gradient = loss_fn(
            (params, aux), copy, carried, batch, _teacher(batch)
        )
        update, opt_state = optimizer.update(gradient, opt_state)
        params, aux = optax.apply_updates((params, aux), update)
        copy = jax.tree.map(lambda a, p: 0.9 * a + 0.1 * p, copy, params)
        assert record.metrics[step]["loss"] == pytest.approx(float(loss), rel=1e-4)
        assert record.metrics[step]["drift"] == pytest.approx(
            float(metrics["drift"]), rel=1e-3, abs=1e-7
        )
    for found, expected in (
        (state.params, params),
        (state.aux, aux),
        (state.averaged, copy),
        (state.objective_state, carried),
    ):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5), found, expected
        )


@dataclasses.dataclass(frozen=True)
class Views(Objective):
    """Two views by the student, a third by its copy, a fourth by the teacher."""

    @property
    def averaging(self):
        return 0.5

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        one, two = jnp.split(student.logits, 2)
        loss = jnp.mean((one - averaged.logits) ** 2 + (two - teacher.logits) ** 2)
        return loss, {"copy": jnp.sum(averaged.logits), "teacher": jnp.sum(teacher.logits)}, state


def test_student_copy_and_teacher_see_their_own_views():
    x, _, _ = _data(12)
    network = _network()
    batch = Batch(
        np.concatenate([x[:3], x[3:6]]), index=np.arange(3), x_teacher=x[6:9], x_averaged=x[9:]
    )
    seen = []

    def teacher(batch):
        seen.append(batch.x_teacher)
        return _teacher(Batch(batch.x_teacher))

    record = Record()
    _fit(
        1,
        objective=Views(),
        network=network,
        batches=lambda step: batch,
        teacher=teacher,
        hooks=[record],
    )
    params = init_variables(network, jax.random.key(0), SHAPE)
    copy = network.apply(params, x[9:]).logits
    assert record.metrics[0]["copy"] == pytest.approx(float(jnp.sum(copy)), rel=1e-4)
    expected = float(np.sum(_teacher(Batch(x[6:9])).logits))
    assert record.metrics[0]["teacher"] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(seen[-1], x[6:9])


def test_label_smoothing_is_the_formula():
    rng = np.random.default_rng(0)
    logits, (_, y, classes) = rng.normal(size=(20, CLASSES)).astype(np.float32), _data()
    student = Outputs(jnp.asarray(logits), jnp.asarray(logits), {})
    loss, metrics, _ = CrossEntropy(0.1)({}, {}, student, None, Batch(None, y))
    log_p = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    expected = -np.mean(0.9 * log_p[np.arange(20), classes] + 0.1 * log_p.mean(axis=1))
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert metrics == {}


_DEVICES = """
import jax, numpy as np, optax
from kipax.training import Descent
from tests.devices import arrays_on_one_and_four_devices, assert_same_arrays
from tests.training.test_fit import Record, _fit
assert len(jax.devices()) == {count}
record = Record()
plain = Descent(optax.identity(), optax.constant_schedule(1.0), 12)  # Adam magnifies rounding
state = _fit(hooks=[record], descent=plain)
np.savez({out!r}, *jax.tree.leaves(state), loss=[m["loss"] for m in record.metrics])
"""


@pytest.mark.slow
def test_a_batch_shared_by_devices_trains_the_same_network(tmp_path):
    """Of four devices, two divide a batch of six; averages over the batch are over all of it."""
    assert_same_arrays(*arrays_on_one_and_four_devices(_DEVICES, tmp_path), atol=1e-5)


def test_batches_are_divided_among_devices_that_divide_them(monkeypatch):
    from kipax.training import sharing

    monkeypatch.setattr(jax, "local_devices", lambda: list("abcdefgh"))
    monkeypatch.setattr(sharing, "Mesh", lambda devices, names: devices.tolist())
    batch = Batch(np.zeros((12, 2)), index=np.zeros(6))
    assert sharing.mesh_for(batch) == ["a", "b"]
    assert sharing.mesh_for(Batch(np.zeros((5, 2)))) is None
