"""Names, rules and messages of architectures."""

import json

import pytest

from kipax import architectures
from kipax.architectures import Architecture
from kipax.errors import UsageError


def test_convnet_is_convnet3_with_one_more_block():
    three = architectures.from_name("convnet3")
    assert architectures.from_name("convnet").layers == ("conv", "relu", *three.layers)


@pytest.mark.parametrize(("name", "convs"), [("myrtle5", 4), ("myrtle7", 6), ("myrtle10", 9)])
def test_myrtle_depths(name, convs):
    layers = architectures.from_name(name).layers
    assert layers.count("conv") == convs
    assert layers.count("avg_pool") == 2
    assert layers[-3:] == ("relu", "global_avg_pool", "dense")


@pytest.mark.parametrize("name", ["convnot", "fc", "fc0", "myrtle6", "convvec", "FC2", "fc<d>", ""])
def test_unknown_names(name):
    with pytest.raises(UsageError, match=r"Choices: fc<d>|try fc3"):
        architectures.from_name(name)


@pytest.mark.parametrize(
    "layers",
    [
        ("conv", "relu", "dense"),
        ("flatten", "conv", "dense"),
        ("flatten", "dense", "flatten", "dense"),
        ("dense", "flatten", "dense"),
        ("flatten", "dense", "relu"),
        ("flatten", "tanh", "dense"),
        ("relu", "conv", "flatten", "dense"),
        ("conv", "relu", "relu", "flatten", "dense"),
    ],
)
def test_impossible_layers(layers):
    with pytest.raises(UsageError):
        Architecture(layers)


@pytest.mark.parametrize("scales", [{"W_std": 0.0}, {"b_std": -1.0}, {"W_std": float("nan")}])
def test_bad_scales(scales):
    with pytest.raises(UsageError, match="must be"):
        architectures.from_name("fc1", **scales)


def test_json_round_trip_and_identity():
    a = architectures.from_name("convnet2", W_std=1.25)
    assert Architecture.from_dict(json.loads(json.dumps(a.to_dict()))) == a
    assert Architecture(a.layers, W_std=1.25, name="other") == a
    assert hash(Architecture(a.layers, W_std=1.25, name="other")) == hash(a)


def test_too_small_images():
    with pytest.raises(UsageError, match="pools 3 times and needs images of at least 8 x 8"):
        architectures.from_name("convnet").check_image_shape((7, 32, 3))
