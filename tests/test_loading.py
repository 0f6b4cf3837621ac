"""Loading a support set: unfinished runs, folders, and six hundred files with one array changed."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

import kipax
from kipax import files
from kipax.data import fit_preprocessor
from kipax.errors import FileError, UsageError
from tests.test_support import make_support


def _whitened():
    raw = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 1)).astype(np.uint8)
    preprocessor = fit_preprocessor("zca", raw, zca_lambda=0.1)
    support = make_support()
    return dataclasses.replace(
        support,
        images=preprocessor.apply(raw[:6]),
        preprocessor=preprocessor,
        statistics=preprocessor.statistics(raw[:6]),
    )


def _changes(array):
    """Other arrays than this one, such as a damaged or foreign file holds."""
    yield from (array[None], np.stack([array, array]), array.reshape(-1)[:0], np.array(3.5))
    yield from (array.astype(np.float16), array.astype(np.int32), array.astype(bool))
    yield from (array * np.nan, array * np.inf, array * 0, -np.abs(array) - 1)
    if array.ndim:
        yield from (array[1:], np.concatenate([array, array]), array[..., :-1])
        yield from (np.moveaxis(array, -1, 0), array.reshape(-1), array[..., None])
        yield array.reshape((1,) * (6 - array.ndim) + array.shape)
    yield from (array.astype(str), np.zeros((0, 3)), np.zeros(array.shape, "V4"))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("make", [make_support, _whitened])
def test_a_file_with_an_array_changed_is_a_set_or_an_error(tmp_path, make):
    """Whatever loads can be used: an array that does not fit the others is told of at once."""
    path, raw = tmp_path / "set.npz", np.full((2, 4, 4, 1), 9.0)
    raw[0, 0] = 200
    make().save(path)
    whole = files.read_npz(path)
    tried = loaded = 0
    for name, array in whole.items():
        if name == "metadata":
            continue
        for changed in _changes(array):
            files.write_npz(path, whole | {name: changed})
            tried += 1
            try:
                support = kipax.load(path)
            except FileError:
                continue
            loaded += 1
            assert support.images.shape == (6, 4, 4, 1), (name, changed.shape)
            try:
                assert support.scores(raw).shape == (2, 3)
                assert support.to_uint8_images().shape == support.images.shape
            except kipax.errors.KipaxError:
                pass  # such as a kernel that cannot be solved
    assert tried > 90
    assert 0 < loaded < tried / 2


def test_an_unfinished_run_is_called_that(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    files.write_json(tmp_path / "run" / "run.json", {})
    with pytest.raises(
        FileError, match=r"not finished: continue it with --resume, or load a checkpoint"
    ):
        kipax.load(tmp_path / "run")
    make_support().save(tmp_path / "run" / "support.npz")
    assert len(kipax.load(tmp_path / "run")) == 6


def test_a_folder_without_a_set_is_called_that(tmp_path):
    with pytest.raises(FileError, match=r"is a folder without a support\.npz"):
        kipax.load(tmp_path)


# -- what was computed stays true -----------------------------------------------------------------


@pytest.mark.parametrize(
    "again", [lambda s: s, copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))]
)
def test_arrays_are_read_only(again):
    support = make_support()
    x = np.random.default_rng(1).integers(0, 256, (5, 4, 4, 1))
    before = support.scores(x)
    support = again(support)
    for array in (support.images, support.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    np.testing.assert_array_equal(support.scores(x), before)
    other = support.with_labels(-support.labels)
    np.testing.assert_allclose(other.scores(x), -before, rtol=1e-6)
    with pytest.raises(UsageError, match="labels"):
        support.with_labels(support.labels[:, :2])


def test_the_arrays_that_were_given_stay_writeable():
    images = make_support().images.copy()
    support = dataclasses.replace(make_support(), images=images)
    images[...] = 0
    assert np.abs(support.images).max() > 0


def test_a_ridge_that_is_changed_counts():
    support = make_support()
    x = np.random.default_rng(1).integers(0, 256, (5, 4, 4, 1))
    before = support.scores(x)
    support.metadata["ridge"] = 10.0
    assert np.abs(support.scores(x) - before).max() > 0.1
