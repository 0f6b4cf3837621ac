"""Data sets, splits by content, preprocessing, sampling, and what is said of bad files."""

import pathlib

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kipax import Dataset, load_dataset
from kipax.data import Standard, balanced_batch, fit_preprocessor
from kipax.data.content import balanced_order
from kipax.data.fit import from_arrays
from kipax.data.sampling import check_support_size
from kipax.errors import FileError, KipaxError, UsageError

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data"


def _arrays(n=40, classes=4, shape=(5, 4, 3)):
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (n, *shape)).astype(np.uint8),
        "y_train": np.arange(n) % classes,
        "x_test": rng.integers(0, 256, (8, *shape)).astype(np.uint8),
        "y_test": np.arange(8) % classes,
    }


def _save(tmp_path, **changes):
    path = tmp_path / "set.npz"
    np.savez(path, **{k: v for k, v in (_arrays() | changes).items() if v is not None})
    return f"npz:{path}"


def test_digits():
    data = load_dataset("digits", validation_examples=180)
    assert repr(data) == ("digits · 8×8×1 · 10 classes · 1,257 train / 180 validation / 360 test")
    assert data.training_hash == load_dataset("digits").training_hash
    assert data.x_train.max() == 16
    assert np.bincount(data.y_validation).tolist() == [18] * 10
    assert np.bincount(data.y_test).tolist() == [36] * 10


def test_npz(tmp_path):
    data = load_dataset(_save(tmp_path, label_names=np.array(list("abcd"))))
    assert data.class_names == ("a", "b", "c", "d")
    assert data.image_shape == (5, 4, 3)
    grey = load_dataset(_save(tmp_path, x_train=np.zeros((40, 3, 3)), x_test=np.ones((8, 3, 3))))
    assert grey.image_shape == (3, 3, 1)
    assert grey.x_train.dtype == np.float32


def test_held_out_by_content_whatever_the_order():
    arrays = _arrays()
    one = Dataset.from_arrays(arrays, validation_examples=10)
    order = np.random.default_rng(1).permutation(40)
    shuffled = arrays | {"x_train": arrays["x_train"][order], "y_train": arrays["y_train"][order]}
    other = Dataset.from_arrays(shuffled, validation_examples=10)
    assert one.training_hash == other.training_hash
    images = [{x.tobytes() for x in d.x_validation} for d in (one, other)]
    assert images[0] == images[1]
    assert np.bincount(one.y_validation).tolist() in ([3, 3, 2, 2],)
    assert not images[0] & {x.tobytes() for x in one.x_train}
    relabelled = Dataset.from_arrays(arrays | {"y_train": arrays["y_train"][::-1]})
    assert relabelled.training_hash != one.training_hash


_NAN = np.full((40, 5, 4, 3), np.nan)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": None}, "lacks x_test; it holds"),
        ({"x_train": np.zeros((40, 5), np.uint8)}, r"must form an array .* got \(40, 5\)"),
        ({"x_test": np.zeros((8, 4, 4, 3), np.uint8)}, "must have one shape"),
        ({"x_train": _NAN}, "40 of the images of x_train in .* hold NaN or infinite"),
        ({"x_train": np.full((40, 5, 4, 3), 1e39)}, "40 of the images of x_train in .* hold NaN"),
        ({"x_train": np.full((40, 5, 4, 3), "a")}, "of x_train in .* must hold numbers"),
        ({"x_test": np.zeros((8, 5, 4, 3), np.float32)}, "x_train holds uint8, x_test float32"),
        ({"y_train": 20240101 + np.arange(40) % 4}, r"none of \[0, 1, 2, 3\]"),
        ({"y_train": np.arange(39) % 4}, "one class for each of the 40 images"),
        ({"y_train": np.arange(40) % 4 - 1}, "integers from 0; got -1"),
        ({"y_train": (np.arange(40) % 4) * 0.5}, "integers from 0; got float64"),
        ({"y_train": (np.arange(40) % 2) * 2}, r"none of \[1\]"),
        ({"y_test": np.full(8, 4)}, "labels run from 0 to 3; y_test holds 4"),
        ({"label_names": np.array(list("ab"))}, "labels run from 0 to 1"),
        ({"label_names": np.arange(4)}, "list of strings"),
        ({"y_train": np.array([[1], [2, 3]], dtype=object)}, "pickled objects"),
    ],
)
def test_bad_arrays(tmp_path, changes, message):
    with pytest.raises(KipaxError, match=message):
        load_dataset(_save(tmp_path, **changes))


def test_bad_files(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        load_dataset(f"npz:{tmp_path}/none.npz")
    with pytest.raises(FileError, match="Is a directory"):
        load_dataset(f"npz:{tmp_path}")
    path = pathlib.Path(_save(tmp_path).removeprefix("npz:"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="truncated"):
        load_dataset(f"npz:{path}")
    path.write_bytes(b"\x80\x04]\x94.")
    with pytest.raises(FileError, match="not an npz file"):
        load_dataset(f"npz:{path}")
    broken = bytearray(whole)
    broken[200:260] = b"x" * 60
    path.write_bytes(broken)
    with pytest.raises(KipaxError):
        load_dataset(f"npz:{path}")


def test_unknown_dataset_lists_choices():
    with pytest.raises(UsageError, match=r"did you mean digits\? Choices: digits, mnist"):
        load_dataset("digit")


def test_too_many_validation_examples():
    with pytest.raises(UsageError, match="between 0 and 36"):
        Dataset.from_arrays(_arrays(), validation_examples=37)


def test_every_class_keeps_a_training_image():
    arrays = _arrays() | {"y_train": np.array([1] * 5 + [0] * 29 + [2] * 3 + [3] * 3)}
    data = Dataset.from_arrays(arrays, validation_examples=30)
    assert np.bincount(data.y_train).min() >= 1
    assert len(data.x_validation) == 30


def test_lists_are_arrays():
    arrays = {name: a.tolist() for name, a in _arrays().items()}
    assert Dataset.from_arrays(arrays).image_shape == (5, 4, 3)


def test_holding_out_again():
    data = Dataset.from_arrays(_arrays(), validation_examples=10)
    again = data.hold_out(0).hold_out(10)
    assert {x.tobytes() for x in again.x_validation} == {x.tobytes() for x in data.x_validation}
    assert again.training_hash == data.training_hash


# -- preprocessing --------------------------------------------------------------------------


def test_standard_streams_and_inverts():
    x = np.random.default_rng(0).integers(0, 256, (2503, 5, 2, 2)).astype(np.uint8)
    standard = fit_preprocessor("standard", x)
    assert isinstance(standard, Standard)
    np.testing.assert_allclose(standard.mean, x.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(standard.std, x.std(axis=(0, 1, 2)), rtol=1e-12)
    z = standard.apply(x)
    assert z.dtype == np.float32
    np.testing.assert_allclose(standard.invert(z), x, atol=1e-3)
    again = from_arrays("standard", standard.to_arrays())
    np.testing.assert_array_equal(again.apply(x), z)


def test_standard_of_a_constant_channel():
    x = np.full((4, 2, 2, 1), 7, np.uint8)
    assert np.all(fit_preprocessor("standard", x).apply(x) == 0)


def test_preprocessing_errors():
    standard = fit_preprocessor("standard", np.zeros((2, 3, 3, 3)))
    with pytest.raises(UsageError, match="height, width, 3"):
        standard.apply(np.zeros((2, 3, 3, 1)))
    with pytest.raises(UsageError, match="unknown preprocessing 'zcaa'"):
        fit_preprocessor("zcaa", np.zeros((2, 3, 3, 3)))
    with pytest.raises(FileError, match="incomplete"):
        from_arrays("standard", {})


# -- sampling -------------------------------------------------------------------------------


@given(seed=st.integers(0, 1000), data=st.data())
def test_batches_are_balanced_and_distinct(seed, data):
    classes = np.random.default_rng(seed).integers(0, 4, 30)
    classes[:4] = np.arange(4)
    size = data.draw(st.integers(1, 30))
    batch = balanced_batch(jax.random.key(seed), classes, size)
    assert len(np.unique(batch)) == size
    available, drawn = np.bincount(classes, minlength=4), np.bincount(classes[batch], minlength=4)
    unfilled = drawn < available
    # A class that still has images left is at most one short of any other.
    assert drawn[unfilled].min(initial=99) >= drawn.max() - 1
    np.testing.assert_array_equal(batch, balanced_batch(jax.random.key(seed), classes, size))


def test_batches_differ_by_key():
    classes = np.arange(100) % 10
    one, other = (balanced_batch(jax.random.key(s), classes, 20) for s in (0, 1))
    assert not np.array_equal(one, other)


def test_balanced_order_prefers_low_ranking():
    order = balanced_order(np.array([5.0, 1.0, 3.0, 9.0]), np.array([1, 1, 0, 0]))
    assert order.tolist() == [2, 1, 3, 0]


@pytest.mark.parametrize(
    ("support", "message"),
    [
        (15, "nearest are 10 and 20"),
        (3, "take 10"),
        (0, "take 10"),
        (100, "class 9 has 8 training images; got 100: take at most 80"),
    ],
)
def test_support_size(support, message):
    with pytest.raises(UsageError, match=message):
        check_support_size(support, np.append(np.repeat(np.arange(9), 12), [9] * 8))


# -- real data ------------------------------------------------------------------------------


@pytest.mark.skipif(not SHARED.exists(), reason="the real data sets are not beside the project")
@pytest.mark.parametrize(("name", "train"), [("fashion_mnist", 60_000), ("mnist", 60_000)])
def test_real_npz(name, train):
    data = load_dataset(f"npz:{SHARED / name}.npz", validation_examples=5000)
    assert len(data.x_train) == train - 5000
    assert np.bincount(data.y_validation).tolist() == [500] * 10
    assert data.image_shape == (28, 28, 1)
