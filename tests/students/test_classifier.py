"""The last dense layer of every student: it gives the logits, and another one takes its place."""

import functools

import jax
import numpy as np
import pytest

from kipax.errors import UsageError
from kipax.students import (
    StudentSpec,
    classifier_of,
    classifier_path,
    init_variables,
    is_finite_only,
    student_names,
    with_classifier,
)

_NUMBERS = {"wrn<d>-<k>": "wrn10-1", "vit-s-p<pixels>": "vit-s-p4"}


def _case(name):
    """A student as small as its name allows, and images."""
    name = _NUMBERS.get(name, name).replace("<d>", "2")
    spec = StudentSpec(name=name, width=None if is_finite_only(name) else 4)
    side = next(side for side in (16, 32, 64, 224) if _builds(spec, side))
    return spec, (side, side, 3)


def _builds(spec, side):
    try:
        spec.build(3, (side, side, 3))
    except UsageError:
        return False
    return True


_QUICK = {"fc<d>", "convvec<d>", "convnet<d>", "planar", "wrn<d>-<k>"}


@pytest.mark.parametrize("name", student_names())
def test_every_student_has_its_classifier_where_it_is_sought(name):
    """By shapes, so that the largest networks cost nothing."""
    spec, shape = _case(name)
    network = spec.build(3, shape)
    init = functools.partial(init_variables, network, image_shape=shape)
    variables = jax.eval_shape(init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((2, *shape), np.float32)
    out = jax.eval_shape(network.apply, variables, x)
    kernel, bias = jax.eval_shape(functools.partial(classifier_of, network), variables)
    assert kernel.shape == (out.penultimate.shape[1], 3)
    assert bias.shape == (3,)


@pytest.mark.parametrize(
    "name",
    [n if n in _QUICK else pytest.param(n, marks=pytest.mark.slow) for n in student_names()],
)
def test_the_classifier_gives_the_logits(name):
    spec, shape = _case(name)
    network = spec.build(3, shape)
    variables = init_variables(network, jax.random.key(0), shape)
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    out = jax.jit(network.apply)(variables, x)
    kernel, bias = classifier_of(network, variables)
    np.testing.assert_allclose(out.penultimate @ kernel + bias, out.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["fc2", "convnet1", "planar", pytest.param("wrn10-1", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
def test_another_classifier_takes_its_place(name, parameterisation):
    if parameterisation == "ntk" and is_finite_only(name):
        pytest.skip("architectures alone have it")
    width = None if name == "wrn10-1" else 4
    spec = StudentSpec(name=name, width=width, parameterisation=parameterisation)
    network, shape = spec.build(3, (8, 8, 1)), (8, 8, 1)
    variables = init_variables(network, jax.random.key(0), shape)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, *shape)).astype(np.float32)
    before = network.apply(variables, x)
    features = before.penultimate.shape[1]
    kernel, bias = rng.normal(size=(features, 5)), rng.normal(size=5)
    changed = with_classifier(network, variables, kernel, bias)
    after = spec.build(5, shape).apply(changed, x)
    np.testing.assert_array_equal(after.penultimate, before.penultimate)
    np.testing.assert_allclose(after.logits, before.penultimate @ kernel + bias, atol=1e-4)
    np.testing.assert_array_equal(network.apply(variables, x).logits, before.logits)
    for bad in (kernel[:-1], kernel[:, :-1], kernel[0]):
        with pytest.raises(UsageError, match=rf"a kernel \({features}, classes\) and a bias; got"):
            with_classifier(network, variables, bad, bias)


def test_paths_are_keys_from_the_outside_in():
    def path(name):
        return classifier_path(StudentSpec(name=name).build(3, (16, 16, 3)))

    assert path("fc2") == ("dense5",)
    assert path("planar") == ("classifier", "head")
    assert path("resnet18") == ("head",)
