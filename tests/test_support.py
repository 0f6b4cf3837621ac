"""The support set and its file: round trips, use, and every way a file can be wrong."""

import dataclasses
import errno
import io
import json
import pickle
import tracemalloc

import numpy as np
import pytest

import kipax
from kipax import architectures, files, make_kernel_fn, ridge
from kipax.data import fit_preprocessor
from kipax.errors import FileError, KipaxError, UsageError
from kipax.support import SupportSet


def make_support(architecture="fc1", shape=(4, 4, 1), **facts) -> SupportSet:
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (30, *shape)).astype(np.uint8)
    preprocessor = fit_preprocessor("standard", raw)
    metadata = {
        "method": "KIP",
        "dataset": "toys",
        "class_names": ["cat", "dog", "eel"],
        "architecture": architectures.from_name(architecture).to_dict(),
        "kernel": "ntk",
        "ridge": 1e-6,
        "learned_labels": False,
        "step": 7,
        "test_accuracy": 0.5,
        "protocol": "krr",
    } | facts
    labels = ridge.one_hot(np.arange(6) % 3, 3)
    return SupportSet(preprocessor.apply(raw[:6]), labels, preprocessor, metadata)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "support.npz"
    make_support().save(path)
    return path


def test_round_trip(saved):
    before, after = make_support(), kipax.load(saved)
    np.testing.assert_array_equal(after.images, before.images)
    np.testing.assert_array_equal(after.labels, before.labels)
    assert dict(after.metadata) == dict(before.metadata)
    assert after.architecture == before.architecture == architectures.from_name("fc1")
    assert (after.kernel, after.ridge) == ("ntk", 1e-6)
    raw = np.random.default_rng(1).integers(0, 256, (5, 4, 4, 1))
    np.testing.assert_array_equal(after.scores(raw), before.scores(raw))


def test_equal_sets_give_equal_bytes(saved, tmp_path):
    make_support().save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == saved.read_bytes()


def test_scores_are_kernel_ridge_regression(saved, monkeypatch):
    support = kipax.load(saved)
    raw = np.random.default_rng(1).integers(0, 256, (5, 4, 4, 1))
    kernel_fn = make_kernel_fn("fc1")
    k_ts = np.asarray(kernel_fn(support.preprocess(raw), support.images), np.float64)
    alpha = ridge.solve(np.asarray(kernel_fn(support.images)), support.labels, ridge=1e-6).alpha
    np.testing.assert_allclose(support.scores(raw), k_ts @ alpha, rtol=1e-5)
    monkeypatch.setattr("kipax.support._SCORE_PAIRS", 12)  # blocks of two images
    np.testing.assert_allclose(support.scores(raw), k_ts @ alpha, rtol=1e-5)
    np.testing.assert_array_equal(support.predict(raw[..., 0]), (k_ts @ alpha).argmax(1))
    assert support.scores(raw[:0]).shape == (0, 3)


def test_uint8_images_undo_the_preprocessing():
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (30, 4, 4, 1)).astype(np.uint8)
    raw[0, 0, 0], raw[0, 0, 1] = 0, 255
    preprocessor = fit_preprocessor("standard", raw)
    support = SupportSet(
        preprocessor.apply(raw[:6]), make_support().labels, preprocessor, make_support().metadata
    )
    np.testing.assert_array_equal(support.to_uint8_images(), raw[:6])


def test_reads_like_a_sentence():
    assert str(make_support()) == (
        "6 images of 4×4×1 (3 classes) from toys by KIP with the NTK of fc1, standard "
        "preprocessing, fixed labels, step 7; test accuracy 0.500 (krr)."
    )
    assert make_support()._repr_html_().startswith("<p>6 images of")


def test_wrong_images_for_prediction(saved):
    with pytest.raises(UsageError, match=r"shape \(n, 4, 4, 1\); got \(2, 5, 4, 1\)"):
        kipax.load(saved).predict(np.zeros((2, 5, 4, 1)))


@pytest.mark.parametrize(
    "change",
    [
        {"images": np.full((6, 4, 4, 1), np.nan)},
        {"images": np.zeros((5, 4, 4, 1))},
        {"labels": np.zeros((6, 2))},
        {"images": np.zeros((6, 4, 4, 1), int)},
    ],
)
def test_sets_that_do_not_fit_together(change):
    good = make_support()
    parts = {"images": good.images, "labels": good.labels} | change
    with pytest.raises(UsageError):
        SupportSet(parts["images"], parts["labels"], good.preprocessor, good.metadata)


# -- damaged, foreign and hostile files ---------------------------------------------------------


def _rewrite(path, **changes):
    arrays = files.read_npz(path) | changes
    files.write_npz(path, {k: v for k, v in arrays.items() if v is not None})


def _metadata(path, **changes):
    metadata = json.loads(str(files.read_npz(path)["metadata"])) | changes
    kept = {k: v for k, v in metadata.items() if v is not None}
    return np.array(json.dumps(kept))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, "no support set: it lacks images"),
        ({"metadata": np.array("{")}, "damaged"),
        ({"metadata": np.array([1.0])}, "damaged"),
        ({"metadata": np.array("[]")}, "damaged"),
        ({"labels": np.zeros((6, 5), np.float32)}, "5 classes but there are 3"),
        ({"preprocessor_mean": None}, "incomplete"),
        (
            {"preprocessor_mean": np.array([np.nan])},
            "preprocessing is damaged: mean must be finite",
        ),
        ({"metadata": np.array("[" * 100_000)}, "damaged"),
        (
            {"images": np.zeros((0, 4, 4, 1), "f4"), "labels": np.zeros((0, 3), "f4")},
            "at least one image",
        ),
    ],
)
def test_wrong_content(saved, changes, message):
    _rewrite(saved, **changes)
    with pytest.raises(FileError, match=message):
        kipax.load(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 99}, "format version 99; this kipax reads 1"),
        ({"format_version": None}, "lacks 'format_version'"),
        ({"class_names": None}, "lacks 'class_names'"),
        ({"architecture": {"layers": ["tanh"]}}, "unknown layer 'tanh'"),
        ({"architecture": 3}, "damaged"),
        ({"ridge": None}, "lacks 'ridge'"),
        ({"ridge": "small"}, "its ridge is no number"),
        ({"kernel": "rbf"}, "unknown kernel 'rbf'"),
        ({"preprocessing": "magic"}, "unknown preprocessing 'magic'"),
    ],
)
def test_wrong_metadata(saved, changes, message):
    _rewrite(saved, metadata=_metadata(saved, **changes))
    with pytest.raises(FileError, match=message):
        kipax.load(saved)


def test_truncated_anywhere(saved, tmp_path):
    whole, cut = saved.read_bytes(), tmp_path / "cut.npz"
    for size in range(0, len(whole), max(1, len(whole) // 40)):
        cut.write_bytes(whole[:size])
        with pytest.raises(FileError, match=r"truncated|damaged"):
            kipax.load(cut)


def test_hostile_pickles_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was run",))

    path = tmp_path / "bomb.npz"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FileError, match="not an npz"):
        kipax.load(path)
    objects = np.array([Bomb()], dtype=object)
    buffer = io.BytesIO()
    np.savez(buffer, images=objects, labels=objects, metadata=objects)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(FileError, match="pickled objects, which kipax never loads"):
        kipax.load(path)


# -- writing ------------------------------------------------------------------------------------


def test_a_full_disk_keeps_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FileError, match=r"could not write .*support.npz: No space left"):
        make_support(step=8).save(saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == ["support.npz"]


def test_a_large_preprocessor_is_stored_once(tmp_path, monkeypatch):
    monkeypatch.setattr("kipax.support_file._LARGE_BYTES", 0)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for step in (1, 2):
        make_support(step=step).save(folder / f"step_{step}.npz", preprocessor_dir=tmp_path)
    assert len(list(tmp_path.glob("preprocessor-*.npz"))) == 1
    loaded, raw = kipax.load(folder / "step_2.npz"), np.full((1, 4, 4, 1), 9.0)
    np.testing.assert_array_equal(loaded.preprocess(raw), make_support().preprocess(raw))
    store = next(tmp_path.glob("preprocessor-*.npz"))
    _rewrite(store, mean=np.array([1.0]))
    with pytest.raises(FileError, match="its hash is another"):
        kipax.load(folder / "step_2.npz")
    store.unlink()
    with pytest.raises(FileError, match=r"needs preprocessor-\w+.npz beside it"):
        kipax.load(folder / "step_2.npz")


def test_pixels_that_the_set_cannot_take():
    support = make_support()
    pixels = np.full((2, 4, 4, 1), 100.0)
    pixels[1, 0, 0] = np.nan
    for bad in (
        pixels,
        pixels * 1e39,
        np.full((2, 4, 4, 1), np.inf),
        pixels.astype(complex),
        pixels.astype(str),
    ):
        with pytest.raises(UsageError, match=r"(1|2) of the images hold NaN|must hold numbers"):
            support.predict(bad)
    with pytest.raises(UsageError, match="finite"):
        dataclasses.replace(support, images=support.images.astype(np.float64) * 1e39)


@pytest.mark.parametrize("place", ["file/set.npz", "n" * 300 + ".npz", "missing/set.npz"])
def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(KipaxError, match=r"could not write|at most 255 bytes"):
        make_support().save(tmp_path / place)


@pytest.mark.parametrize("low", [0.0, 1.0])
@pytest.mark.parametrize("x", [[0.0, 0.5], [-1.0, 2.0], [0.0, 20_000.0], [-900.0, 9.0]])
def test_pixels_in_other_units_are_warned_of(x, low):
    support, images = make_support(), np.full((2, 4, 4, 1), x[0])
    images[0] = x[1]
    preprocessor = dataclasses.replace(support.preprocessor, low=low)
    with pytest.warns(UserWarning, match="give images in the same units"):
        dataclasses.replace(support, preprocessor=preprocessor).predict(images)


@pytest.mark.parametrize("pixel", [0, 1, 9, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
def test_dark_and_bright_images_are_no_other_units(pixel, dtype):
    low_at_zero = dataclasses.replace(make_support().preprocessor, low=0.0)
    support = dataclasses.replace(make_support(), preprocessor=low_at_zero)
    support.predict(np.full((2, 4, 4, 1), pixel, dtype))  # warnings are errors here


def test_a_ridge_of_zero_is_refused_where_it_is_read(tmp_path):
    make_support(ridge=0.0).save(tmp_path / "set.npz")
    with pytest.raises(FileError, match="its ridge is 0"):
        kipax.load(tmp_path / "set.npz")


def test_home_is_expanded_and_folders_do_not_hide_shipped_sets(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    make_support().save(tmp_path / "set.npz")
    assert kipax.load("~/set.npz").metadata["step"] == 7
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits-convnet-10").mkdir()
    assert kipax.load("digits-convnet-10").metadata["dataset"] == "digits"


def test_many_images_take_the_memory_of_few():
    support = make_support(shape=(32, 32, 3))
    raw = np.zeros((2000, 32, 32, 3), np.uint8)
    tracemalloc.start()
    support.preprocess(raw)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.1 * 4 * raw.size  # float32, and a part of it in float64
