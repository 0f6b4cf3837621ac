"""Support sets whose whitening is kept as a recipe: small files, restored and proved."""

import dataclasses
import json

import numpy as np
import pytest

import kipax
from kipax import Dataset, architectures, files, ridge
from kipax.data import fit_preprocessor
from kipax.data.recipe import Deferred
from kipax.errors import FileError, UsageError
from kipax.kd import KDConfig, run_kd
from kipax.support import SupportSet
from kipax.transfer import EvaluateConfig, evaluate


def _images(n, seed):
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(n, 6, 6, 3)).cumsum(axis=1).cumsum(axis=2)
    return np.clip(128 + 20 * steps, 0, 255).astype(np.uint8)


@pytest.fixture(autouse=True)
def _all_is_large(monkeypatch):
    monkeypatch.setattr("kipax.support_file._LARGE_BYTES", 0)


@pytest.fixture
def npz(tmp_path):
    path = tmp_path / "toys.npz"
    x, y = _images(300, 0), np.arange(300) % 3
    np.savez(path, x_train=x, y_train=y, x_test=_images(30, 1), y_test=np.arange(30) % 3)
    return path


@pytest.fixture
def data(npz):
    return kipax.load_dataset(f"npz:{npz}", validation_examples=30)


@pytest.fixture
def support(data):
    zca = fit_preprocessor("zca", data, zca_lambda=0.1)
    metadata = {
        "method": "KIP",
        "dataset": "toys",
        "training_hash": data.training_hash,
        "config": {"validation_examples": 30},
        "class_names": list(data.class_names),
        "architecture": architectures.from_name("fc1").to_dict(),
        "kernel": "ntk",
        "ridge": 1e-6,
        "learned_labels": False,
        "step": 0,
        "test_accuracy": 0.5,
        "protocol": "krr",
    }
    raw = data.x_train[:6]
    labels = ridge.one_hot(data.y_train[:6], 3)
    return SupportSet(zca.apply(raw), labels, zca, metadata, zca.statistics(raw))


@pytest.fixture
def small(support, tmp_path):
    path = tmp_path / "small.npz"
    support.save(path, embed_preprocessor=False)
    return path


def test_pictures_come_back_from_the_whitened_space(support, data):
    off = np.abs(support.to_uint8_images().astype(int) - data.x_train[:6])
    assert off.max() <= 1


def test_embedded_file_suffices(support, tmp_path):
    support.save(tmp_path / "whole.npz")
    again = kipax.load(tmp_path / "whole.npz")
    x = _images(5, 3)
    np.testing.assert_array_equal(again.scores(x), support.scores(x))
    np.testing.assert_array_equal(again.to_uint8_images(), support.to_uint8_images())


def test_recipe_is_fitted_again_only_when_needed(support, small, npz, data, monkeypatch):
    assert "preprocessor_matrix" not in files.read_npz(small)
    with monkeypatch.context() as patch:  # looking needs no whitening
        patch.setattr("kipax.data.zca.ZCA.fit", None)
        again = kipax.load(small, dataset=f"npz:{npz}")
        assert "zca preprocessing" in str(again)
        np.testing.assert_array_equal(again.to_uint8_images(), support.to_uint8_images())
        assert again.plot() is not None
    x = _images(5, 3)
    np.testing.assert_allclose(again.scores(x), support.scores(x), atol=1e-5)
    given = kipax.load(small, dataset=data.hold_out(0))  # a data set itself, split otherwise
    np.testing.assert_allclose(given.preprocess(x), support.preprocess(x), atol=1e-5)


def test_recipe_takes_the_matrix_from_the_cache(support, small, data, tmp_path, monkeypatch):
    monkeypatch.setenv("KIPAX_CACHE", str(tmp_path / "cache"))
    x = _images(5, 3)
    kipax.load(small, dataset=data).preprocess(x)  # fits it, and keeps it
    monkeypatch.setattr("kipax.data.zca.ZCA.fit", None)
    np.testing.assert_allclose(kipax.load(small).preprocess(x), support.preprocess(x), atol=1e-5)
    (kept,) = (tmp_path / "cache").iterdir()
    wrong = fit_preprocessor("standard", data).to_arrays()
    files.write_npz(kept, wrong)
    monkeypatch.undo()
    monkeypatch.setattr("kipax.support_file._LARGE_BYTES", 0)
    monkeypatch.setenv("KIPAX_CACHE", str(tmp_path / "cache"))
    again = kipax.load(small, dataset=data).preprocess(x)
    np.testing.assert_allclose(again, support.preprocess(x), atol=1e-5)
    assert "matrix" in files.read_npz(kept)  # the foreign entry was replaced


def test_a_recipe_survives_another_save(small, tmp_path):
    again = kipax.load(small)
    assert isinstance(again.preprocessor, Deferred)
    again.save(tmp_path / "copy.npz", embed_preprocessor=False)
    assert (tmp_path / "copy.npz").read_bytes() == small.read_bytes()


def test_where_the_data_set_is_not_to_be_had(small):
    with pytest.raises(
        FileError, match=r"recipe, to be fitted again on toys, .*dataset='npz:PATH'"
    ):
        kipax.load(small).predict(_images(1, 0))


def test_another_data_set_is_refused(small):
    x = _images(300, 9)
    arrays = {
        "x_train": x,
        "y_train": np.arange(300) % 3,
        "x_test": x,
        "y_test": np.arange(300) % 3,
    }
    with pytest.raises(FileError, match="their hash differs"):
        kipax.load(small, dataset=Dataset.from_arrays(arrays)).predict(_images(1, 0))


def test_a_fit_that_misses_the_probes_is_refused(small, data):
    content = files.read_npz(small)
    metadata = json.loads(str(content["metadata"][()]))
    metadata["preprocessor_recipe"]["settings"]["zca_lambda"] = 0.2
    files.write_npz(small, content | {"metadata": np.array(json.dumps(metadata))})
    with pytest.raises(FileError, match=r"differs by .* on the probe images"):
        kipax.load(small, dataset=data).predict(_images(1, 0))


def test_a_truncated_matrix_would_miss_the_probes(support):
    """The tolerance lies far below what leaving out small components does."""
    zca = support.preprocessor
    values, vectors = np.linalg.eigh(zca.matrix.astype(np.float64))
    cut = (vectors[:, 10:] * values[10:]) @ vectors[:, 10:].T
    truncated = dataclasses.replace(zca, matrix=cut.astype(np.float32))
    noise = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3))
    off = np.abs(truncated.apply(noise) - zca.apply(noise)).max() / np.abs(zca.apply(noise)).max()
    assert off > 1e-3


def test_a_set_without_facts_cannot_be_a_recipe(support, tmp_path):
    bare = dataclasses.replace(
        support, metadata={k: v for k, v in support.metadata.items() if k != "training_hash"}
    )
    with pytest.raises(UsageError, match="a recipe needs 'training_hash'"):
        bare.save(tmp_path / "bare.npz", embed_preprocessor=False)


def test_a_small_preprocessor_is_embedded_anyway(support, tmp_path, monkeypatch):
    monkeypatch.setattr("kipax.support_file._LARGE_BYTES", 1_000_000)
    support.save(tmp_path / "whole.npz", embed_preprocessor=False)
    assert "preprocessor_matrix" in files.read_npz(tmp_path / "whole.npz")


def test_evaluations_fit_it_on_its_own_data_alone(support, npz, tmp_path):
    support.save(tmp_path / "set.npz", embed_preprocessor=False)
    found = evaluate(tmp_path / "set.npz", EvaluateConfig(dataset=f"npz:{npz}")).results[0]
    data = kipax.load_dataset(f"npz:{npz}")
    assert found.accuracy == np.mean(support.predict(data.x_test) == data.y_test)
    x, y = _images(30, 2), np.arange(30) % 3
    np.savez(tmp_path / "others.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    config = EvaluateConfig(dataset=f"npz:{tmp_path / 'others.npz'}")
    with pytest.raises(FileError, match="fitted again on toys, which could not be loaded"):
        evaluate(tmp_path / "set.npz", config)


def test_a_whitened_set_teaches_where_its_data_are_named(small, npz, tmp_path):
    config = KDConfig(
        teacher=str(small),
        source="data",
        student="fc1",
        width=4,
        images=20,
        steps=2,
        batch_size=8,
        data_dir=str(tmp_path),
    )
    with pytest.raises(FileError, match=r"could not be loaded.*--dataset=npz:PATH"):
        run_kd(config, workdir=tmp_path / "without")
    assert not (tmp_path / "without").exists()
    found = run_kd(dataclasses.replace(config, dataset=f"npz:{npz}"), workdir=tmp_path / "run")
    raw = _images(30, 1)
    network = kipax.load_network(tmp_path / "run")  # holds the whitening itself
    np.testing.assert_allclose(network.predict(raw), found.network.predict(raw))
    whitened = network.preprocess(raw)
    np.testing.assert_allclose(
        whitened, kipax.load(small, dataset=f"npz:{npz}").preprocess(raw), atol=1e-5
    )
