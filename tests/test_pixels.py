"""What pixels may be, and how images on another scale are told from dark or few ones."""

import jax
import numpy as np
import pytest

import kipax
from kipax import Dataset, load_dataset
from kipax.errors import UsageError
from kipax.pixels import PixelFacts, as_images
from kipax.students import StudentSpec
from tests.real import real_dataset
from tests.test_support import make_support


def _scales(top, mean, deviation):
    """Functions that store the same pictures as people do: as bytes, from 0 to 1, and so on."""
    return {
        "raw": lambda x: x,
        "wide": lambda x: x.astype(np.int64),
        "float": lambda x: x.astype(np.float32),
        "unit": lambda x: (x / top).astype(np.float32),
        "twice": lambda x: (x / top / 255).astype(np.float32),
        "signed": lambda x: (x / (top / 2) - 1).astype(np.float32),
        "centred": lambda x: (x / top - 0.5).astype(np.float32),
        "standardised": lambda x: ((x - mean) / deviation).astype(np.float32),
        "sixteen bits": lambda x: x.astype(np.uint16) * 257,
    }


SAME = {"raw", "wide", "float"}
# The ranges of these overlap, so that only the distribution of pixels tells them apart.
ALIKE = {("standardised", "signed"), ("standardised", "centred"), ("signed", "centred")}


@pytest.mark.parametrize("trained", _scales(1, 0, 1))
@pytest.mark.parametrize(
    "name", ["digits", "mnist", pytest.param("cifar10", marks=pytest.mark.slow)]
)
def test_scales_are_told_apart_and_nothing_else(name, trained):
    data = real_dataset(name)
    x, y = data.x_train[:4000], data.y_train[:4000]
    top = float(x.max())
    ways = _scales(top, x.mean(axis=(0, 1, 2)), x.std(axis=(0, 1, 2)))
    facts = PixelFacts.of(ways[trained](x), y)
    x_test, y_test = data.x_test[:300], data.y_test[:300]
    for way, change in ways.items():
        new = change(x_test)
        if way == trained or {way, trained} <= SAME:
            assert facts.mismatch(new) is None
            for c in range(10):  # images of one class, and one alone
                assert facts.mismatch(new[y_test == c]) is None
                assert facts.mismatch(new[y_test == c][:1]) is None
            assert facts.mismatch(new[np.argsort(x_test.mean(axis=(1, 2, 3)))[:1]]) is None
        elif (trained, way) not in ALIKE:
            assert facts.mismatch(new) is not None, way
            assert facts.mismatch(new[:10]) is not None, way


def test_what_is_silent():
    data = load_dataset("digits")
    facts, x = data.pixels, data.x_test
    dark = x[:1] // 8
    for images in (dark, dark.astype(float), 0 * x, x[:0], np.full_like(x, 16), x.astype(">i4")):
        assert facts.mismatch(images) is None
    narrower = np.clip(x.astype(float), 2, 13)
    assert facts.mismatch(narrower) is None


def test_whole_numbers_of_0_and_1():
    """(raw > 127).astype(int), or images divided and cast."""
    x = (np.random.default_rng(0).random((40, 8, 8, 1)) * 256).astype(np.uint8)
    facts = PixelFacts.of(x, np.arange(40) % 4)
    words = facts.mismatch((x > 127).astype(np.int32))
    assert words == (
        "pixels of these images run from 0 to 1, those of the training images from 0 to 255"
    )
    assert facts.mismatch((x[:1] > 127).astype(np.int32)) is None  # one dark picture


def _learned(arrays):
    """A set of one image a class, learned in no step from these arrays."""
    data = Dataset.from_arrays(arrays)
    facts = data.pixels.with_moments(data.x_train).to_metadata()
    facts = {"pixels": facts, "class_names": list(data.class_names)}
    preprocessor = kipax.data.fit_preprocessor("standard", data)
    chosen = [int(np.flatnonzero(data.y_train == c)[0]) for c in range(data.num_classes)]
    return kipax.SupportSet(
        preprocessor.apply(data.x_train[chosen]),
        kipax.ridge.one_hot(np.arange(data.num_classes), data.num_classes),
        preprocessor,
        dict(make_support().metadata) | facts,
    )


def _digits(change=lambda x: x, test_change=None):
    data = load_dataset("digits")
    return {
        "x_train": change(data.x_train),
        "y_train": data.y_train,
        "x_test": (test_change or change)(data.x_test),
        "y_test": data.y_test,
    }


def test_a_set_of_fractions_takes_fractions(recwarn):
    arrays = _digits(lambda x: x / np.float32(16))
    support = _learned(arrays)
    for part in (arrays["x_test"], arrays["x_test"][:1], arrays["x_test"][:7] * 0.2):
        support.predict(part)
    assert not recwarn
    with pytest.warns(UserWarning, match="run from 0 to 16, those of the training images from 0"):
        support.predict(arrays["x_test"] * 16)


def test_a_set_whose_lowest_pixel_is_not_0_tells_too():
    arrays = _digits(lambda x: np.maximum(x, 1) * 15)
    support = _learned(arrays)
    support.predict(arrays["x_test"])  # warnings are errors here
    with pytest.warns(UserWarning, match="give images in the same units"):
        support.predict(arrays["x_test"] / 255)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (lambda x: x / 16.0, lambda x: x.astype(float)),
        (lambda x: x.astype(float) * 15, lambda x: x / 16.0),
        (lambda x: x * 15, lambda x: x.astype(np.uint16) * 4096),
        (lambda x: x.astype(np.uint16) * 4096, lambda x: x * 15),
    ],
)
def test_parts_in_other_units_are_refused(train, test):
    with pytest.raises(UsageError, match=r"pixels of x_test run .* x_train from .* same units"):
        Dataset.from_arrays(_digits(train, test))


def test_a_wider_integer_type_is_the_same_set():
    narrow, wide = (Dataset.from_arrays(_digits(c)) for c in (lambda x: x, np.int64))
    assert wide.x_train.dtype == np.uint8
    assert wide.training_hash == narrow.training_hash
    Dataset.from_arrays(_digits(lambda x: x, np.uint16))


def test_facts_come_back_from_a_file(tmp_path):
    arrays = _digits()
    support = _learned(arrays)
    support.save(tmp_path / "set.npz")
    again = kipax.load(tmp_path / "set.npz")
    assert again.pixels == support.pixels
    assert again.pixels.dtype == "uint8"
    assert again.pixels.mean == (pytest.approx(float(arrays["x_train"].mean())),)
    assert again.pixels.deviation == (pytest.approx(float(arrays["x_train"].std())),)


def test_every_class_counts_for_what_images_reach():
    bright = np.random.default_rng(0).integers(100, 256, (90, 4, 4, 1)).astype(np.uint8)
    dark = np.random.default_rng(1).integers(0, 9, (10, 4, 4, 1)).astype(np.uint8)
    x, y = np.concatenate([bright, dark]), np.repeat([0, 1], [90, 10])
    facts = PixelFacts.of(x, y)
    assert facts.ceiling <= 8 < 100 <= facts.floor
    assert facts.mismatch(dark) is None


# -- layout, kinds, finiteness --------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 3, 8, 8), (40, 1, 8, 8), (40, 4, 8, 8)])
def test_channels_first_is_refused_with_what_mends_it(shape):
    x, y = np.zeros(shape, np.uint8), np.arange(40) % 4
    arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    with pytest.raises(UsageError, match=r"looks like .*give x\.transpose\(0, 2, 3, 1\)"):
        Dataset.from_arrays(arrays)
    kernel_fn = kipax.make_kernel_fn("convvec1")
    with pytest.raises(UsageError, match=r"give x\.transpose\(0, 2, 3, 1\)"):
        kernel_fn(x.astype(np.float32))
    support = make_support(shape=(8, 8, shape[1]))
    with pytest.raises(UsageError, match=r"give x\.transpose\(0, 2, 3, 1\)"):
        support.predict(x)


def test_images_last_is_refused_with_what_mends_it():
    x, y = np.zeros((8, 8, 3, 40), np.uint8), np.arange(40) % 4
    arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    with pytest.raises(UsageError, match=r"np\.moveaxis\(x, -1, 0\)"):
        Dataset.from_arrays(arrays)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_found_before_any_cast(dtype, value):
    x = np.zeros((3, 4, 4, 1), dtype)
    x[1, 0, 0] = value
    with pytest.raises(UsageError, match="1 of the images hold NaN or infinite pixels"):
        as_images(x, "the images")  # NumPy's warnings are errors here
    with pytest.raises(UsageError, match="1 of the images hold NaN or infinite pixels"):
        make_support().predict(x)


@pytest.mark.parametrize(
    "x",
    [
        None,
        "pictures",
        [[1, 2], [3]],
        [np.zeros((4, 4)), np.zeros((5, 4))],
        {"x": 1},
        np.zeros((2, 4, 4), bool),
        np.zeros((2, 4, 4), complex),
        np.zeros((2, 4, 4), object),
        np.zeros((2, 4, 4), "M8[s]"),
        np.ma.masked_equal(np.zeros((2, 4, 4)), 0),
        np.zeros((4, 4)),
        np.zeros((2, 0, 4, 1)),
    ],
)
def test_what_is_no_batch_of_images(x):
    with pytest.raises(UsageError):
        as_images(x, "the images")
    with pytest.raises(UsageError):
        make_support().predict(x)
    with pytest.raises(UsageError):
        kipax.make_kernel_fn("fc1")(x)


def test_one_image_is_told_how_to_be_a_batch():
    with pytest.raises(UsageError, match=r"got \(4, 4, 1\): give one image as x\[None\]"):
        make_support().predict(np.zeros((4, 4, 1), np.uint8))


@pytest.mark.parametrize("order", ["<", ">"])
def test_byte_order_is_no_matter(order):
    x = np.random.default_rng(0).random((3, 4, 4, 1))
    for kind in ("f4", "f8"):
        ordered = x.astype(order + kind)
        k = kipax.make_kernel_fn("fc1")(ordered)
        np.testing.assert_array_equal(k, kipax.make_kernel_fn("fc1")(x.astype(kind)))
    raw = (x * 255).astype(order + "u2")
    support = make_support()
    np.testing.assert_array_equal(support.scores(raw), support.scores(raw.astype(np.uint8)))


def test_a_kernel_takes_the_longest_floats():
    x = np.random.default_rng(0).random((3, 4, 4, 1))
    k = kipax.make_kernel_fn("fc1")(x.astype(np.longdouble))
    np.testing.assert_array_equal(k, kipax.make_kernel_fn("fc1")(x))


@pytest.mark.parametrize("name", ["convnet1", "dc-convnet3", "resnet18", "wrn10-1", "vgg11"])
def test_students_take_preprocessed_images_alone(name):
    width = None if name.startswith("wrn") else 4
    shape = (32, 32, 3)
    network = StudentSpec(name=name, width=width).build(3, shape)
    with pytest.raises(UsageError, match=r"a student takes preprocessed .* got uint8"):
        network.init(
            jax.random.key(0),
            np.zeros((1, *shape), np.uint8),
        )
