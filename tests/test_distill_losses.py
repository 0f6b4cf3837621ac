"""The gradient of KIP's losses, their temperature, and the optimiser's rates."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kipax
from kipax import KIPConfig, run_kip
from kipax.blocks import TargetRows
from kipax.distill import Interrupted, Reporter, state, step
from kipax.distill.config import resolve
from kipax.distill.kip import KIP
from kipax.distill.run import RunArguments, start_run
from kipax.errors import UsageError
from tests.closeness import assert_close

SMALL = KIPConfig(
    architecture="fc1", support=20, steps=6, target_batch="60", learning_rate=0.04, eval_every=3
)
XENT = dataclasses.replace(SMALL, loss="xent")


def test_a_falling_rate_ends_where_it_should():
    optimizer = state.make_optimizer(0.1, final=0.02, steps=4)
    at, sizes = optimizer.init(np.ones(1)), []
    for _ in range(5):
        update, at = optimizer.update(np.ones(1), at)
        sizes.append(-float(update[0]))
    np.testing.assert_allclose(sizes, [0.1, 0.0883, 0.06, 0.0317, 0.02], atol=1e-4)


@pytest.mark.parametrize("final", [None, 0.02])
def test_labels_with_a_rate_of_their_own(final):
    """Each part moves as Adam with its own rate would, down the same curve."""
    rng = np.random.default_rng(0)
    gradients = [(rng.normal(size=3), rng.normal(size=2)) for _ in range(4)]
    both = _updates(state.make_optimizer(0.1, label_rate=0.03, final=final, steps=4), gradients)
    images = _updates(state.make_optimizer(0.1, final=final, steps=4), gradients)
    slow = None if final is None else 0.3 * final
    labels = _updates(state.make_optimizer(0.03, final=slow, steps=4), gradients)
    for got, of_images, of_labels in zip(both, images, labels, strict=True):
        np.testing.assert_array_equal(got[0], of_images[0])
        np.testing.assert_allclose(got[1], of_labels[1], rtol=1e-5)


def _updates(optimizer, gradients):
    at, updates = optimizer.init(gradients[0]), []
    for gradient in gradients:
        update, at = optimizer.update(gradient, at)
        updates.append(update)
    return updates


def test_kept_norms_scale_the_update_and_leave_a_black_image_finite():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 4, 4, 2))
    images[2] = 0.0
    optimizer = optax.sgd(0.5)
    first = state.make_state(images, np.arange(3), 3, optimizer)
    d_images = rng.normal(size=images.shape)
    d_images[2] = 0.0
    gradient = step.Gradient(0.0, 0.0, d_images, np.ones((3, 3)), 1.0)
    norms = step.image_norms(first.images)
    found = step.apply_update(first, gradient, optimizer, learn_labels=True, norms=norms)
    free = step.apply_update(first, gradient, optimizer, learn_labels=True)
    moved = images - 0.5 * d_images
    np.testing.assert_allclose(free.images, moved, atol=1e-6)
    lengths = [np.sqrt(np.sum(a[:2] ** 2, axis=(1, 2, 3), keepdims=True)) for a in (images, moved)]
    np.testing.assert_allclose(found.images[:2], moved[:2] * lengths[0] / lengths[1], atol=1e-6)
    assert not np.any(found.images[2])
    np.testing.assert_array_equal(found.labels, free.labels)


# -- the gradient -------------------------------------------------------------------------------


def _mse(scores, labels):
    return 0.5 * jnp.mean((scores - labels) ** 2)


def _xent(scores, labels):
    return -jnp.mean(jnp.sum((labels + 0.1) * jax.nn.log_softmax(scores), axis=1))


CASES = [
    ("fc2", "mse", None),
    ("fc2", "xent", 0.2),
    pytest.param("convnet1", "mse", None, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("architecture", "loss", "temperature"), CASES)
def test_gradient_of_the_whole_loss(x64, tmp_path, architecture, loss, temperature):
    """Against jax.grad of equation 1 in float64: kernel, solve, ridge, temperature and all."""
    settings = dataclasses.replace(SMALL, architecture=architecture, ridge=1e-3)
    with start_run(settings, KIP, RunArguments(workdir=tmp_path)) as run:
        at = state.make_state(
            run.first_images,
            run.first_classes,
            10,
            state.make_optimizer(0.1),
            temperature=temperature,
        )
        rows, spec = TargetRows(np.arange(30)), run.config.kernel_spec
        gradient = step.compute_gradient(
            at, rows, run.executor, kernel=spec, ridge_scale=1e-3, loss=loss
        )

    x_target = jnp.asarray(run.preprocessor.apply(run.dataset.x_train[:30]), jnp.float64)
    y_target = jnp.asarray(kipax.ridge.one_hot(run.dataset.y_train[:30], 10))
    kernel_fn, formula = spec.make(), {"mse": _mse, "xent": _xent}[loss]

    def whole(images, labels, log_temperature=0.0):
        k_ss, k_ts = kernel_fn(images), kernel_fn(x_target, images)
        size = len(images)
        alpha = jnp.linalg.solve(k_ss + 1e-3 * jnp.trace(k_ss) / size * jnp.eye(size), labels)
        return formula(k_ts @ alpha / jnp.exp(log_temperature), y_target)

    parameters = [jnp.asarray(a, jnp.float64) for a in at.parameters]
    places = tuple(range(len(parameters)))
    expected, derivatives = jax.jit(jax.value_and_grad(whole, places))(*parameters)
    assert gradient.loss == pytest.approx(float(expected), rel=1e-4)
    assert len(gradient.leaves) == len(derivatives)
    for got, derivative in zip(gradient.leaves, derivatives, strict=True):
        assert_close(got, derivative, 2e-3)


# -- cross-entropy ------------------------------------------------------------------------------


class _Stop(Reporter):
    def progress(self, progress):
        if progress.step == 4:
            raise KeyboardInterrupt


def _metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def with_xent(tmp_path_factory):
    return run_kip(XENT, workdir=tmp_path_factory.mktemp("xent"))


def test_cross_entropy_learns_images_labels_and_temperature(with_xent):
    lines = _metrics(with_xent.workdir)
    assert lines[-1]["train_loss"] < 0.8 * lines[0]["train_loss"]
    assert with_xent.evaluation.test_accuracy > with_xent.initial.test_accuracy
    temperatures = [line["temperature"] for line in lines]
    assert temperatures[0] == pytest.approx(0.1)
    assert len(set(temperatures)) == len(temperatures)
    assert max(temperatures) < 0.12


def test_cross_entropy_resumes_bit_for_bit(with_xent, tmp_path):
    with pytest.raises(Interrupted):
        run_kip(XENT, workdir=tmp_path, reporter=_Stop())
    run_kip(XENT, workdir=tmp_path, resume=True)
    again, whole = tmp_path / "support.npz", with_xent.workdir / "support.npz"
    assert again.read_bytes() == whole.read_bytes()
    assert _metrics(tmp_path)[-1]["temperature"] == _metrics(with_xent.workdir)[-1]["temperature"]


def test_a_rate_of_zero_keeps_the_temperature(tmp_path):
    fixed = dataclasses.replace(XENT, steps=2, temperature=0.3, temperature_learning_rate=0.0)
    run_kip(fixed, workdir=tmp_path)
    for line in _metrics(tmp_path):
        assert line["temperature"] == pytest.approx(0.3)


def test_a_run_says_and_keeps_its_loss(with_xent):
    recorded = json.loads((with_xent.workdir / "run.json").read_text())["config"]
    assert (recorded["loss"], recorded["temperature"]) == ("xent", 0.1)
    assert recorded["temperature_learning_rate"] == 0.01
    assert resolve(SMALL).temperature is None
    with pytest.raises(UsageError, match="loss"):
        run_kip(SMALL, workdir=with_xent.workdir, resume=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss": "hinge"}, "unknown loss 'hinge'. Choices: mse, xent"),
        ({"temperature": 0.1}, "temperature belongs to loss=xent; got 0.1 with loss=mse"),
        ({"temperature_learning_rate": 0.1}, "temperature_learning_rate belongs to loss=xent"),
        ({"loss": "xent", "temperature": 0.0}, "temperature must be positive"),
        ({"loss": "xent", "temperature_learning_rate": -1.0}, "must not be negative; got -1"),
    ],
)
def test_what_a_loss_does_not_take(settings, words):
    with pytest.raises(UsageError, match=words):
        KIPConfig(**settings)


# -- presets of the config -----------------------------------------------------------------------


def test_a_preset_fills_what_is_not_given():
    paper, ours = (KIPConfig(dataset="mnist", preset=name) for name in ("paper", "small_steps"))
    assert paper == KIPConfig(dataset="mnist")
    paper, ours = resolve(paper), resolve(ours, training_examples=60_000)
    assert (paper.loss, paper.learning_rate, paper.target_batch) == ("mse", 0.01, "5000")
    assert (paper.final_learning_rate, paper.label_learning_rate) == (None, None)
    assert (ours.loss, ours.temperature, ours.target_batch) == ("xent", 0.1, "48")
    assert (ours.learning_rate, ours.final_learning_rate) == (0.03, 0.0)
    assert (paper.keep_norms, ours.keep_norms) == (False, True)
    assert (ours.label_learning_rate, ours.steps) == (0.008, 5000)
    assert resolve(ours) == ours
    mixed = KIPConfig(preset="small_steps", loss="mse", steps=9, learning_rate=0.02)
    mixed = resolve(mixed)
    assert (mixed.loss, mixed.steps, mixed.learning_rate) == ("mse", 9, 0.02)
    assert mixed.temperature is None
    fixed = resolve(KIPConfig(preset="small_steps", learn_labels=False))
    assert fixed.label_learning_rate is None
    assert resolve(ours).may_change == resolve(paper).may_change - {"steps"}
    with pytest.raises(UsageError, match="unknown preset 'papers'; did you mean paper"):
        KIPConfig(preset="papers")
    with pytest.raises(UsageError, match=r"must not exceed learning_rate, which is 0.03; got 0.1"):
        resolve(KIPConfig(preset="small_steps", final_learning_rate=0.1))


def test_svhn_falls_back_to_the_rates_of_cifar_with_every_preset():
    svhn = {"dataset": "svhn_cropped", "preprocessing": "zca"}
    paper = resolve(KIPConfig(**svhn))
    assert (paper.learning_rate, paper.zca_lambda) == (0.04, 0.1)
    ours = resolve(KIPConfig(**svhn, preset="small_steps"))
    assert (ours.learning_rate, ours.zca_lambda) == (0.03, 0.1)
    augmented = resolve(KIPConfig(**svhn, augment_fraction=1.0))
    assert (augmented.learning_rate, augmented.zca_lambda) == (0.01, 100.0)


def test_a_preset_is_the_same_run_as_its_values(tmp_path):
    whole = dataclasses.replace(SMALL, preset="small_steps", steps=3)
    run_kip(whole, workdir=tmp_path)
    spelt = dataclasses.replace(resolve(whole), preset="paper")
    assert run_kip(spelt, workdir=tmp_path, resume=True).workdir == tmp_path
    with pytest.raises(UsageError, match="loss"):
        run_kip(dataclasses.replace(SMALL, steps=3), workdir=tmp_path, resume=True)
