"""Weights that torchvision publishes: its logits, and files that are not what they seem."""

import functools

import jax
import numpy as np
import pytest

from kipax.errors import FileError, UsageError
from kipax.networks import from_torchvision
from kipax.students import PUBLISHED, init_variables, load_weights, predict, student_names
from kipax.students.registry import StudentSpec
from tests.golden.torchvision_cases import answers_of, image, state_of

safetensors = pytest.importorskip("safetensors.numpy", reason="the extra weights is not installed")
_FAST = ("resnet18", "mobilenet_v2")


@functools.cache
def _parameters(name, classes, side=32):
    network = StudentSpec(name=name).build(classes, (side, side, 3))
    init = functools.partial(init_variables, network, image_shape=(side, side, 3))
    params = jax.eval_shape(init, jax.random.key(0))["params"]
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("name", "side", "classes", "parameters"),
    [
        ("imagenet-resnet18", 224, 1000, 11_689_512),
        ("imagenet-resnet34", 224, 1000, 21_797_672),
        ("imagenet-resnet50", 224, 1000, 25_557_032),
        ("imagenet-resnet101", 224, 1000, 44_549_160),
        ("mobilenetv2", 224, 1000, 3_504_872),
        ("alexnet", 224, 1000, 61_100_840),
        ("vit-b", 224, 1000, 86_567_656),
        ("convnext-t", 224, 1000, 28_589_128),
        ("wrn40-2", 32, 10, 2_243_546),
        ("resnet20", 32, 10, 272_474),  # with projections; 269,722 without
    ],
)
def test_networks_have_the_published_number_of_parameters(name, side, classes, parameters):
    assert _parameters(name, classes, side) == parameters


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    safetensors.save_file(state_of("resnet18"), file)
    return file


@pytest.mark.parametrize(
    "name", [n if n in _FAST else pytest.param(n, marks=pytest.mark.slow) for n in PUBLISHED]
)
def test_logits_are_torchvisions(name, tmp_path):
    file = tmp_path / "weights.safetensors"
    safetensors.save_file(state_of(name), file)
    spec, variables, classes = load_weights(name, file)
    assert classes == 1000
    network = spec.build(classes, (224, 224, 3))
    logits = predict(network, variables, image(name)).logits[:, :8]
    scale = np.abs(answers_of(name)).max()
    np.testing.assert_allclose(logits / scale, answers_of(name) / scale, atol=1e-4)


def test_published_weights_are_a_teacher(resnet18, tmp_path):
    network = from_torchvision("resnet18", resnet18)
    network.save(tmp_path / "network.npz")
    assert "published by torchvision" in str(network)
    black = network.preprocess(np.zeros((1, 224, 224, 3), np.float32))
    expected = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    np.testing.assert_allclose(black[0, 0, 0], expected, 1e-5)
    with pytest.raises(UsageError, match="is of 1000 classes; got 2 names"):
        from_torchvision("resnet18", resnet18, ["cat", "dog"])


def test_files_of_other_networks_are_refused(resnet18, tmp_path):
    with pytest.raises(FileError, match=r"is no resnet34 of torchvision: it has no layer1\.2\."):
        load_weights("resnet34", resnet18)
    with pytest.raises(FileError, match=r"is no alexnet of torchvision: it has no classifier\.6"):
        load_weights("alexnet", resnet18)
    with pytest.raises(UsageError, match="unknown network 'resnet19'"):
        load_weights("resnet19", resnet18)
    more = tmp_path / "more.safetensors"
    safetensors.save_file(state_of("resnet18") | {"extra": np.zeros(3)}, more)
    with pytest.raises(FileError, match="it has extra too"):
        load_weights("resnet18", more)
    other = state_of("resnet18")
    other["conv1.weight"] = other["conv1.weight"][:, :1].copy()
    safetensors.save_file(other, more)
    with pytest.raises(FileError, match=r"its \.?\['params'\]\['stem'\]|stem"):
        load_weights("resnet18", more)
    (tmp_path / "bad.safetensors").write_bytes(b"not weights")
    with pytest.raises(FileError, match="holds no weights that can be read"):
        load_weights("resnet18", tmp_path / "bad.safetensors")
    with pytest.raises(FileError, match="no such file"):
        load_weights("resnet18", tmp_path / "missing.safetensors")


@pytest.mark.parametrize(
    ("name", "fields", "shape", "message"),
    [
        ("vit-s", {}, (32, 40, 3), "patches of 16 pixels"),
        ("vit-s-p5", {}, (32, 32, 3), "patches of 5 pixels"),
        ("vit-s", {"width": 8}, None, "says its width"),
        ("convnext-t", {"normalisation": "batch"}, None, "a normalisation of its own"),
        ("alexnet", {}, (32, 32, 3), "images of 63 pixels or more"),
        ("wrn16-1", {"normalisation": "instance"}, (4, 4, 3), "images of 5 pixels or more"),
        ("vit-s-p<pixels>", {}, None, "stand for numbers"),
        ("wrn11-1", {}, None, "10, 16, 22"),
    ],
)
def test_wrong_uses_of_the_zoo(name, fields, shape, message):
    with pytest.raises(UsageError, match=message):
        StudentSpec(name=name, **fields).build(10, shape or (32, 32, 3))


@pytest.mark.parametrize("name", ["resnet20", "mobilenetv2", "planar", "convnext-t", "vit-ti-p8"])
def test_networks_of_the_zoo_give_outputs_of_small_images(name):
    network = StudentSpec(name=name).build(7, (32, 32, 3))
    variables = jax.eval_shape(
        functools.partial(init_variables, network, image_shape=(32, 32, 3)), jax.random.key(0)
    )
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), "float32")
    out = jax.eval_shape(network.apply, variables, x)
    assert out.logits.shape == (2, 7)
    assert out.penultimate.shape[0] == 2
    assert all(feature.shape[0] == 2 for feature in out.features.values())
    assert name in student_names() or "-p" in name
