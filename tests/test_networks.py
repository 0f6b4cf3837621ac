"""A trained network as a file: the same predictions, and a clear error for any other file."""

import dataclasses
import json
import warnings

import jax
import numpy as np
import pytest

import kipax
from kipax.data import Dataset, fit_preprocessor
from kipax.errors import FileError, UsageError
from kipax.networks import TrainedNetwork, load_network
from kipax.pixels import PixelFacts
from kipax.students import StudentSpec, init_variables


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 8, 8, 1)).astype(np.uint8)
    y = np.arange(60) % 3
    return Dataset.from_arrays({"x_train": x, "y_train": y, "x_test": x[:9], "y_test": y[:9]})


@pytest.fixture(scope="module")
def network(data):
    spec = StudentSpec(name="convnet1", width=4, normalisation="batch")
    module = spec.build(3, (8, 8, 1))
    variables = init_variables(module, jax.random.key(0), (8, 8, 1))
    metadata = {
        "dataset": "made up",
        "class_names": ["a", "b", "c"],
        "image_shape": [8, 8, 1],
        "pixels": PixelFacts.of(data.x_train, data.y_train).to_metadata(),
        "method": "trained",
        "test_accuracy": 0.5,
        "rule": "last step",
    }
    return TrainedNetwork(spec, variables, fit_preprocessor("standard", data), metadata)


def test_a_file_gives_the_same_network(network, data, tmp_path):
    network.save(tmp_path / "network.npz")
    first = (tmp_path / "network.npz").read_bytes()
    again = load_network(tmp_path / "network.npz")
    np.testing.assert_array_equal(again.scores(data.x_test), network.scores(data.x_test))
    np.testing.assert_array_equal(
        again.predict(data.x_test), np.argmax(network.scores(data.x_test), axis=1)
    )
    assert str(again) == str(network)
    assert "convnet1, width 4, batch normalisation, for images of 8×8×1 (3 classes)" in str(again)
    assert "test accuracy 0.500 (last step)" in str(again)
    again.save(tmp_path / "network.npz")
    assert (tmp_path / "network.npz").read_bytes() == first
    assert load_network(tmp_path).spec == network.spec  # a run's folder
    outputs = again.outputs(again.preprocess(data.x_test), features=("hidden1",))
    assert outputs.features["hidden1"].shape[0] == 9
    np.testing.assert_array_equal(outputs.logits, network.scores(data.x_test))


def test_a_network_without_labels_gives_features_alone(network, data, tmp_path):
    """Files of before have no such fact and classify."""
    assert network.classifies
    facts = dict(network.metadata) | {"classifies": False, "method": "trained without labels (x)"}
    del facts["test_accuracy"]
    dataclasses.replace(network, metadata=facts).save(tmp_path / "network.npz")
    again = load_network(tmp_path)
    assert not again.classifies
    assert "(features, no classes), trained without labels (x) on made up" in str(again)
    for use in (again.scores, again.predict):
        with pytest.raises(UsageError, match=r"without labels \(x\): .*--linear_probe=FILE"):
            use(data.x_test)
    x = again.preprocess(data.x_test)
    np.testing.assert_array_equal(again.outputs(x).penultimate, network.outputs(x).penultimate)


def test_images_are_checked_as_a_support_sets_are(network, data):
    with pytest.raises(UsageError, match=r"shape \(n, 8, 8, 1\); got \(2, 4, 4, 1\)"):
        network.predict(np.zeros((2, 4, 4, 1), np.uint8))
    with pytest.warns(UserWarning, match="give images in the same units"):
        network.predict(data.x_test / 255.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.predict(data.x_test)


def test_what_is_no_network_is_refused(network, data):
    wider = dataclasses.replace(network.spec, width=5)
    with pytest.raises(UsageError, match=r"not a convnet1: its .* is float32"):
        dataclasses.replace(network, spec=wider)
    broken = jax.tree.map(lambda a: a * np.nan, network.variables)
    with pytest.raises(UsageError, match=r"a trained network is finite; its .* is not"):
        dataclasses.replace(network, variables=broken)
    facts = {k: v for k, v in network.metadata.items() if k != "pixels"}
    with pytest.raises(UsageError, match="metadata of a network lack pixels"):
        dataclasses.replace(network, metadata=facts)
    facts = dict(network.metadata) | {"extra": np.zeros(3)}
    odd = dataclasses.replace(network, metadata=facts)
    with pytest.raises(UsageError, match="JSON's plain values"):
        odd.save("never.npz")


def _changed(path, change):
    with np.load(path, allow_pickle=False) as content:
        arrays = dict(content)
    change(arrays)
    np.savez(path, **arrays)


def _metadata(**changes):
    def change(arrays):
        facts = json.loads(str(arrays["metadata"]))
        for key, value in changes.items():
            facts.pop(key, None) if value is None else facts.update({key: value})
        arrays["metadata"] = np.array(json.dumps(facts))

    return change


def _dropped(arrays):
    del arrays[next(k for k in arrays if k.startswith("variables"))]


def _wider(arrays):
    name = next(k for k in arrays if k.startswith("variables"))
    arrays[name] = np.zeros((2, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("metadata"), "no network: it lacks metadata"),
        (_metadata(kind=None), "no network: its metadata do not say so"),
        (_metadata(format_version=2), "format version 2; this kipax reads 1: upgrade"),
        (_metadata(spec={"name": "convnut"}), "damaged: .*unknown network|damaged: unknown"),
        (_metadata(spec={"width": 3}), "damaged"),
        (_metadata(image_shape=[8, 8]), "damaged"),
        (_metadata(image_shape=[10**9, 8, 1]), "damaged"),
        (_metadata(class_names=["a"]), "damaged"),
        (_metadata(pixels="no"), "damaged"),
        (_metadata(preprocessing="magic"), "unknown preprocessing"),
        (_dropped, "damaged: .*it has no"),
        (_wider, "damaged: .*is float64"),
        (lambda a: a.update(metadata=np.array("{")), "damaged"),
        (lambda a: a.update(metadata=np.array("[1]")), "no network"),
    ],
)
def test_damaged_files(network, tmp_path, change, message):
    path = tmp_path / "network.npz"
    network.save(path)
    _changed(path, change)
    with pytest.raises(FileError, match=message):
        load_network(path)


def test_other_files(network, tmp_path):
    with pytest.raises(FileError, match=r"folder without a network\.npz"):
        load_network(tmp_path)
    shipped = kipax.load("fashion_mnist-convnet-10")
    shipped.save(tmp_path / "support.npz")
    with pytest.raises(FileError, match=r"It is a support set: kipax\.load reads it"):
        load_network(tmp_path / "support.npz")
    path = tmp_path / "cut.npz"
    network.save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FileError):
        load_network(path)
    path.write_bytes(b"not a zip")
    with pytest.raises(FileError):
        load_network(path)
