"""The distilled sets that come with kipax: listed, whole, and as accurate as they say."""

import pathlib

import pytest

import kipax
from kipax import ridge
from kipax.errors import FileError
from tests.real import real_dataset


@pytest.mark.parametrize("name", kipax.available())
def test_loads_by_name(name):
    support = kipax.load(name)
    data, network, size = name.split("-")[:3]
    assert support.metadata["dataset"] == data
    assert support.architecture.name == network
    assert len(support) == int(size)
    assert 0 < support.metadata["test_accuracy"] < 1
    assert "lowest training loss" in str(support)
    assert support.to_uint8_images().shape == support.images.shape
    assert sum(f.stat().st_size for f in [kipax.shipped.find(name)]) < 500_000


@pytest.mark.parametrize("name", kipax.available())
def test_as_accurate_as_it_says(name):
    support = kipax.load(name)
    if support.preprocessor.name != "standard":
        pytest.skip("its whitening takes a minute to fit again: test_whitened_sets, slow")
    _check_slice(support)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in kipax.available() if "zca" in n])
def test_whitened_sets(name):
    data = _data(kipax.load(name))
    _check_slice(kipax.load(name, dataset=data), data)


def _check_slice(support, data=None):
    data = data or _data(support)
    expected = support.metadata["slice"]
    x, y = data.test_part(expected["examples"])
    found = ridge.accuracy(support.scores(x), y)
    assert abs(found - expected["test_accuracy"]) <= 2 / len(x)  # rounding may turn an image


def _data(support):
    data = real_dataset(support.metadata["dataset"])
    assert data.training_hash == support.metadata["training_hash"]
    return data


def test_the_list():
    assert kipax.available() == (
        "cifar10-convnet-10-zca",
        "digits-convnet-10",
        "fashion_mnist-convnet-10",
        "mnist-convnet-10",
    )


def test_an_unknown_name():
    with pytest.raises(FileError, match="no file mnits and no shipped set of that name; there are"):
        kipax.load("mnits")


def test_a_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("here").write_bytes(b"no set")
    with pytest.raises(FileError, match="not an npz file"):
        kipax.load("here")
