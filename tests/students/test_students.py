"""Students: the kernel's limit, shapes, normalisation, names."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kipax import architectures, make_kernel_fn
from kipax.errors import UsageError
from kipax.students import (
    FeedForward,
    StudentSpec,
    empirical_ntk,
    init_variables,
    largest_eigenvalue,
    student_names,
)

SHAPE = (8, 8, 3)


def _images(n=4, shape=SHAPE, seed=0):
    return jax.random.normal(jax.random.key(seed), (n, *shape))


def _network(name, shape=SHAPE, classes=10, **fields):
    return StudentSpec(name=name, **fields).build(classes, shape)


def _error(name, width, seeds=5):
    """Relative distance of the empirical NTK to the exact kernel, averaged over draws."""
    x, network = _images(), _network(name, width=width, parameterisation="ntk")
    exact = np.asarray(make_kernel_fn(name)(x), np.float64)
    kernels = (
        empirical_ntk(network, init_variables(network, jax.random.key(s), SHAPE), x)
        for s in range(seeds)
    )
    return np.mean([np.linalg.norm(k - exact) / np.linalg.norm(exact) for k in kernels])


@pytest.mark.parametrize(
    "name",
    [
        "fc2",
        "convvec2",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("convnet2", "myrtle5")),
    ],
)
def test_the_empirical_ntk_approaches_the_exact_kernel(name):
    wide = 64 if name == "myrtle5" else 128
    narrow_error, wide_error = _error(name, 8), _error(name, wide)
    # Errors fall like 1 / sqrt(width); a wrong scale anywhere leaves a constant.
    assert wide_error < 0.75 * narrow_error
    assert wide_error < 0.35


def test_both_parameterisations_draw_the_same_functions():
    """Standard outputs have the NTK parameterisation's variance: the scales agree."""
    x = _images(1)
    for spec in ("standard", "ntk"):
        network = _network("convnet1", width=16, parameterisation=spec, classes=400)
        draw = jax.jit(lambda k, n=network: n.apply(n.init(k, x), x).logits)
        logits = [np.asarray(draw(jax.random.key(s))) for s in range(10)]
        nngp = float(np.asarray(make_kernel_fn("convnet1", kind="nngp")(x))[0, 0])
        assert np.var(logits) == pytest.approx(nngp, rel=0.25)


def test_largest_eigenvalue_is_the_kernels():
    x, network = _images(), _network("convnet2", width=16)
    variables = init_variables(network, jax.random.key(0), SHAPE)
    expected = np.linalg.eigvalsh(empirical_ntk(network, variables, x))[-1]
    assert largest_eigenvalue(network, variables, x) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "shape", "width"),
    [
        ("convnet", SHAPE, 4),
        ("fc1", SHAPE, 4),
        ("dc-convnet3", SHAPE, 4),
        ("dc-convnet3", (28, 28, 1), 4),
        ("frepo-convnet3", SHAPE, 4),
        ("resnet18", (16, 16, 3), 2),
        ("vgg11", (28, 28, 1), 2),
        ("wrn10-1", SHAPE, None),
    ],
)
def test_one_apply_gives_everything(name, shape, width):
    network = _network(name, shape, classes=5, width=width)
    variables = jax.eval_shape(lambda k: network.init(k, jnp.zeros((1, *shape))), jax.random.key(0))
    x = jnp.zeros((3, *shape))
    out, _ = jax.eval_shape(
        lambda v, x: network.apply(v, x, train=True, mutable=["batch_stats"]), variables, x
    )
    assert out.logits.shape == (3, 5)
    assert out.penultimate.ndim == 2
    assert len(out.features) >= 1
    assert all(len(a) == 3 for a in out.features.values())
    assert ("batch_stats" in variables) == name.startswith("wrn")


def test_convnet3s_of_others_have_their_sizes():
    count = {}
    for name in ("dc-convnet3", "frepo-convnet3"):
        network = _network(name, (32, 32, 3))
        drawn = jax.eval_shape(
            lambda k, n=network: n.init(k, jnp.zeros((1, 32, 32, 3))), jax.random.key(0)
        )
        count[name] = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(drawn))
    # DC's code: 3 convolutions, 3 x (scale, shift), a dense layer of 2,048 inputs.
    dc = (27 * 128 + 128) + 2 * (1152 * 128 + 128) + 3 * 256 + (2048 * 10 + 10)
    frepo = (27 * 128 + 128) + (1152 * 256 + 256) + (2304 * 512 + 512) + (8192 * 10 + 10)
    assert count == {"dc-convnet3": dc, "frepo-convnet3": frepo}


@pytest.mark.parametrize(
    "kind", [pytest.param("layer", marks=pytest.mark.slow), "instance", "batch"]
)
def test_normalisation_normalises(kind):
    """Scaling an image changes nothing once its pre-activations are normalised."""
    shape = (8, 8, 1)
    network = _network("convnet2", shape, width=4, normalisation=kind)
    variables = init_variables(network, jax.random.key(0), shape)
    x = 3 * _images(4, shape) + 1
    # Biases are drawn, so that only large images are invariant.
    first, second = (
        network.apply(variables, c * x, train=True, mutable=["batch_stats"])[0].logits
        for c in (1e3, 2e3)
    )
    np.testing.assert_allclose(first, second, rtol=0.02, atol=0.02)
    plain = _network("convnet2", shape, width=4)
    drawn = init_variables(plain, jax.random.key(0), shape)
    a, b = (plain.apply(drawn, c * x).logits for c in (1e3, 2e3))
    assert float(jnp.max(jnp.abs(b - a))) > 100


def test_batch_statistics_move_in_training_only():
    network = _network("convnet2", width=4, normalisation="batch")
    variables = init_variables(network, jax.random.key(0), SHAPE)
    _, updated = network.apply(variables, _images() + 1, train=True, mutable=["batch_stats"])
    moved = jax.tree.map(
        lambda a, b: bool(jnp.any(a != b)), variables["batch_stats"], updated["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))
    assert isinstance(network.apply(variables, _images()), tuple)


def test_the_stem_of_convnet_has_no_normalisation():
    for name, norms in (("convnet", 3), ("convnet3", 3), ("convvec3", 3), ("fc2", 2)):
        network = _network(name, width=2, normalisation="layer")
        drawn = jax.eval_shape(
            lambda k, n=network: n.init(k, jnp.zeros((1, *SHAPE))), jax.random.key(0)
        )
        params = drawn["params"]
        assert sum(key.startswith("norm") for key in params) == norms, name


def test_penultimate_and_logits_belong_together():
    network = _network("convnet2", width=4)
    variables = init_variables(network, jax.random.key(0), SHAPE)
    out = network.apply(variables, _images())
    last = variables["params"]["dense7"]
    np.testing.assert_allclose(
        out.penultimate @ last["kernel"] + last["bias"], out.logits, rtol=1e-4, atol=1e-5
    )
    assert list(out.features) == ["hidden1", "hidden2"]


def test_any_architecture_makes_a_network():
    net = architectures.Architecture(("conv", "relu", "flatten", "dense", "relu", "dense"))
    network = FeedForward(net, classes=3, width=4)
    variables = init_variables(network, jax.random.key(0), (4, 4, 1))
    assert network.apply(variables, _images(2, (4, 4, 1))).logits.shape == (2, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "reset18"}, "unknown network 'reset18'; did you mean resnet18?"),
        ({"name": "wrn15-2"}, "unknown network 'wrn15-2': a WideResNet has 10, 16, 22"),
        ({"name": "resnet18", "parameterisation": "ntk"}, "has a parameterisation of its own"),
        ({"name": "wrn<d>-<k>"}, "stand for numbers"),
        ({"name": "convnet", "width": 0}, "width must be positive; got 0"),
        ({"name": "wrn16-4", "width": 3}, "says its width"),
        ({"name": "convnet", "normalisation": "group"}, "unknown normalisation 'group'"),
        ({"name": "convnet", "parameterisation": "lecun"}, "unknown parameterisation"),
    ],
)
def test_wrong_specs(fields, message):
    with pytest.raises(UsageError, match=message):
        StudentSpec(**fields)


def test_too_small_images():
    with pytest.raises(UsageError, match=r"vgg11 with instance .* needs images of 32 .* got 8 x 8"):
        _network("vgg11")
    with pytest.raises(
        UsageError, match=r"resnet18 with instance .* needs images of 9 .* got 8 x 8"
    ):
        _network("resnet18")  # its last maps would be one pixel, normalised to zero
    _network("resnet18", normalisation="batch")
    with pytest.raises(UsageError, match="pools 3 times"):
        _network("convnet", (4, 4, 1))


def test_every_name_is_described():
    assert "vgg11" in student_names()
    assert StudentSpec(name="wrn16-4").describe() == "wrn16-4, batch normalisation"
    assert StudentSpec(name="dc-convnet3").describe() == (
        "dc-convnet3, width 128, instance normalisation"
    )
