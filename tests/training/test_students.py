"""Training students: the appendix's loss, optimiser, schedule and critical rate, and divergence."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kipax.errors import UsageError
from kipax.students import StudentSpec, empirical_ntk, init_variables
from kipax.training import (
    LabelledBatches,
    Recipe,
    Setting,
    accuracy,
    critical_learning_rate,
    predict,
    train_student,
    train_together,
)
from kipax.training.fit import _update
from kipax.training.recipes import SCHEDULES

SHAPE = (4, 4, 1)


def _data(n=12, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.normal(size=(n, *SHAPE)).astype(np.float32) + y[:, None, None, None]
    return x, np.eye(classes, dtype=np.float32)[y] - 1 / classes, y


def _network(name="fc1", width=8, **fields) -> nn.Module:
    return StudentSpec(name=name, width=width, **fields).build(3, SHAPE)


def _train(recipe, setting, n=12, network=None, **kwargs):
    x, y, _ = _data(n)
    return train_student(network or _network(), x, y, recipe=recipe, setting=setting, **kwargs)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["mse", "xent"])
def test_training_is_optax_with_l2_momentum_and_cosine(loss):
    """The same thirty steps, written with optax's own optimiser and schedule."""
    network, (x, y, _) = _network(), _data()
    recipe = Recipe(loss=loss, steps=30)
    trained = train_student(network, x, y, recipe=recipe, setting=Setting(0.1, 1e-2, 3))
    params = init_variables(network, jax.random.key(3), SHAPE)["params"]
    schedule = optax.cosine_decay_schedule(0.1, 30)
    optimizer = optax.sgd(schedule, momentum=0.9)

    def loss_fn(params):
        logits = network.apply({"params": params}, x).logits
        if loss == "mse":
            value = jnp.sum((logits - y) ** 2) / 2 / y.size
        else:
            value = -jnp.mean(
                jnp.take_along_axis(jax.nn.log_softmax(logits), y.argmax(1)[:, None], 1)
            )
        return value + 0.5e-2 * optax.tree.norm(params, squared=True)

    state = optimizer.init(params)
    for _ in range(30):
        value, gradient = jax.value_and_grad(loss_fn)(params)
        update, state = optimizer.update(gradient, state)
        params = optax.apply_updates(params, update)
    assert trained.loss == pytest.approx(float(value), rel=1e-4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5),
        trained.last["params"],
        params,
    )


def test_one_compilation_serves_every_point():
    network = _network(width=7)  # of this test alone
    _train(Recipe(steps=2), Setting(0.1, 0.0, 0), network=network)
    before = _update._cache_size()
    for setting in (Setting(0.2, 1e-3, 1), Setting(0.01, 1e-1, 2), Setting(0.4, 1e-7, 3)):
        _train(Recipe(steps=3), setting, network=network)
    assert _update._cache_size() == before
    _train(Recipe(steps=2, loss="xent"), Setting(0.1, 0.0, 0), network=network)
    assert _update._cache_size() == before + 1


def test_training_repeats_itself():
    runs = [_train(Recipe(steps=5, batch_size=4), Setting(0.1, 0.0, 1)) for _ in range(2)]
    jax.tree.map(np.testing.assert_array_equal, runs[0].last, runs[1].last)
    other = _train(Recipe(steps=5, batch_size=4), Setting(0.1, 0.0, 2))
    assert other.loss != runs[0].loss


def test_early_stopping_keeps_the_best_validation_network():
    x, y, classes = _data()
    x_val, _, y_val = _data(30, seed=1)
    network = _network()
    recipe = Recipe(steps=40, evaluations=8, schedule="constant")
    trained = train_student(
        network, x, y, recipe=recipe, setting=Setting(0.1, 0.3, 0), validation=(x_val, y_val)
    )
    assert sorted(trained.validation) == [5, 10, 15, 20, 25, 30, 35, 40]
    best = max(trained.validation.values())
    assert trained.validation[trained.best_step] == best
    assert accuracy(network, trained.best, x_val, y_val) == best
    assert accuracy(network, trained.last, x_val, y_val) == trained.validation[40]
    assert len(classes) == 12


def test_a_diverged_network_is_reported_and_stops():
    steps = []
    x_val, _, y_val = _data(30, seed=1)
    trained = _train(
        Recipe(steps=100), Setting(1e6, 0.0, 0), on_step=steps.append, validation=(x_val, y_val)
    )
    assert trained.diverged_at == 10
    assert steps == list(range(1, 11))
    assert not math.isfinite(trained.loss)


def test_the_critical_rate_divides_stable_from_diverging():
    """On a linearised problem gradient descent diverges just above 2 / (largest curvature)."""
    network, (x, y, _) = _network(width=2048, parameterisation="ntk"), _data()
    rate = critical_learning_rate(network, x, 3, seed=0)
    variables = init_variables(network, jax.random.key(0), SHAPE)
    largest = np.linalg.eigvalsh(empirical_ntk(network, variables, jnp.asarray(x)))[-1]
    assert rate == pytest.approx(2 * 12 * 3 / largest, rel=1e-3)

    assert critical_learning_rate(network, x, 3, loss="xent", seed=0) == pytest.approx(rate / 3)
    start = variables["params"]

    def outputs(params):
        return network.apply({"params": params}, x).logits

    def loss(params):  # of the network linearised about its first parameters
        moved = jax.tree.map(jnp.subtract, params, start)
        value, change = jax.jvp(outputs, (start,), (moved,))
        return jnp.sum((value + change - y) ** 2) / 2 / y.size

    step = jax.jit(lambda p, r: jax.tree.map(lambda a, g: a - r * g, p, jax.grad(loss)(p)))
    final = {}
    for factor in (0.8, 1.3):
        params = start
        for _ in range(30):
            params = step(params, factor * rate)
        final[factor] = float(loss(params)) / float(loss(start))
    # A single output's kernel deviates from the mean's by chance, hence the margins.
    assert final[0.8] < 1 < 100 < final[1.3]


@pytest.mark.parametrize("augmentation", ["none", "flip_crop"])
def test_points_trained_together_are_those_trained_one_by_one(augmentation):
    x, y, _ = _data()
    x_val, _, y_val = _data(30, seed=1)
    network = _network(normalisation="batch")
    recipe = Recipe(steps=20, evaluations=4, batch_size=5, augmentation=augmentation)
    settings = [Setting(0.1, 1e-3, 1), Setting(1e30, 0.0, 1), Setting(0.02, 0.1, 1)]
    common = {"recipe": recipe, "validation": (x_val, y_val)}
    at_once = train_together(network, x, y, settings=settings, **common)
    for setting, one in zip(settings, at_once, strict=True):
        alone = train_student(network, x, y, setting=setting, **common)
        assert one.diverged_at == alone.diverged_at
        assert one.validation == alone.validation
        assert one.best_step == alone.best_step
        if alone.diverged_at is None:
            assert one.loss == pytest.approx(alone.loss, rel=1e-4)
            for name in ("last", "best"):
                jax.tree.map(
                    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
                    getattr(one, name),
                    getattr(alone, name),
                )
    assert at_once[1].diverged_at == 5
    with pytest.raises(UsageError, match="share a seed"):
        train_together(network, x, y, settings=[Setting(1, 0, 0), Setting(1, 0, 1)], recipe=recipe)
    with pytest.raises(UsageError, match="one or more"):
        train_together(network, x, y, settings=[], recipe=recipe)


@pytest.mark.parametrize("train", [train_student, train_together])
def test_labels_and_classes_of_another_shape(train):
    network, (x, y, classes) = _network(), _data()
    setting = {"setting": Setting(0.1, 0, 0)}
    if train is train_together:
        setting = {"settings": [Setting(0.1, 0, 0), Setting(0.2, 0, 0)]}
    for wrong in (classes, y[:, :2], y[:-1]):
        with pytest.raises(UsageError, match=r"here \(12, 3\); got .*one_hot"):
            train(network, x, wrong, recipe=Recipe(steps=1), **setting)
    variables = init_variables(network, jax.random.key(0), list(SHAPE))
    for images, given in ((x[:0], classes[:0]), (x, y), (x, classes[:-1])):
        with pytest.raises(UsageError, match="accuracy needs images and a class for each"):
            accuracy(network, variables, images, given)


def test_batches_cover_every_image_equally():
    x = np.arange(10)[:, None, None, None]
    batches = LabelledBatches(x, np.eye(10), size=4, seed=0)
    order = [batches(step) for step in range(5)]
    seen = np.concatenate([batch.index for batch in order])
    assert np.bincount(seen).tolist() == [2] * 10
    # Two shuffled epochs, one after the other, as one generator draws them.
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(seen, np.r_[rng.permutation(10), rng.permutation(10)])
    for step in (3, 0, 4, 1, 2):  # addressed by step, whatever was asked for before
        batch = batches(step)
        np.testing.assert_array_equal(batch.index, order[step].index)
        np.testing.assert_array_equal(batch.x.ravel(), batch.index)
        np.testing.assert_array_equal(np.argmax(batch.y, axis=1), batch.index)
    whole = LabelledBatches(x, np.eye(10), size=10, seed=0)(7)
    np.testing.assert_array_equal(whole.x, x)


def test_schedules():
    """As the protocols state them, whatever optax's own say at the ends."""

    def cosine(step, steps):
        return 0.5 * (1 + math.cos(math.pi * step / steps))

    def warmup_cosine(step, steps):
        warmup = min(500, steps // 2)
        if step < warmup:
            return (step + 1) / warmup
        return 0.01 + 0.99 * cosine(step - warmup, steps - warmup)

    expected = {
        "constant": lambda step, steps: 1.0,
        "cosine": cosine,
        "drop": lambda step, steps: 1.0 if step <= steps // 2 else 0.1,
        "warmup_cosine": warmup_cosine,
    }
    assert set(expected) == set(SCHEDULES)
    for name, schedule in expected.items():
        for steps in (1, 2, 7, 1500):
            values = jax.jit(jax.vmap(SCHEDULES[name](steps)))(jnp.arange(steps))
            wanted = [schedule(step, steps) for step in range(steps)]
            np.testing.assert_allclose(values, wanted, atol=1e-6, err_msg=f"{name}, {steps}")


def test_batch_normalisation_trains():
    trained = _train(
        Recipe(steps=20), Setting(0.05, 0.0, 0), network=_network(normalisation="batch")
    )
    assert trained.diverged_at is None
    assert "batch_stats" in trained.last


def test_predictions_stream_ragged_batches():
    network = _network()
    variables = init_variables(network, jax.random.key(0), SHAPE)
    x, _, y = _data(11)
    whole = network.apply(variables, x)
    streamed = predict(network, variables, x, features=("hidden1",), size=4)
    np.testing.assert_allclose(streamed.logits, whole.logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(streamed.penultimate, whole.penultimate, rtol=1e-5, atol=1e-6)
    assert list(streamed.features) == ["hidden1"]
    assert accuracy(network, variables, x, y) == np.mean(np.argmax(whole.logits, axis=1) == y)
    with pytest.raises(UsageError, match="one image or more; got none"):
        predict(network, variables, x[:0])


def test_what_is_not_finite_is_wrong():
    network = _network()
    variables = init_variables(network, jax.random.key(0), SHAPE)
    x, _, _ = _data(4)
    x[1] = np.nan
    classes = np.argmax(network.apply(variables, x).logits, axis=1)
    assert accuracy(network, variables, x, classes) == 0.75


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": "mae"}, "unknown loss 'mae'"),
        ({"optimizer": "sgdm"}, "unknown optimizer"),
        ({"schedule": "cosin"}, "did you mean cosine"),
        ({"augmentation": "das"}, "did you mean dsa"),
        ({"steps": 0}, "steps must be positive; got 0"),
    ],
)
def test_wrong_recipes(fields, message):
    with pytest.raises(UsageError, match=message):
        Recipe(**fields)
