"""Properties of the public entry points: whatever is given, the right answer or a `UsageError`.

Images of every kind of number, layout, range and list of names; never another exception, never
an answer that differs from that of the same pictures as plain uint8.
"""

import functools
import warnings

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import kipax
from kipax import Dataset
from kipax.data import fit_preprocessor
from kipax.errors import UsageError
from tests.test_support import make_support

DTYPES = [
    "u1",
    "<u2",
    ">u2",
    "i2",
    ">i4",
    "i8",
    "u8",
    "f2",
    ">f4",
    "f4",
    "f8",
    "g",
    "?",
    "c8",
    "U3",
]
LAYOUTS = {
    "NHWC": lambda x: x,
    "NCHW": lambda x: x.transpose(0, 3, 1, 2),
    "HWCN": lambda x: np.moveaxis(x, 0, -1),
    "NHW": lambda x: x[..., 0],
    "flat": lambda x: x.reshape(len(x), -1),
    "one": lambda x: x[0],
    "list": list,
    "nested lists": lambda x: x.tolist(),
    "ragged": lambda x: [x[0], x[1][1:], *x[2:]],
    "none": lambda x: None,
    "objects": lambda x: x.astype(object),
}
RANGES = {
    "as they are": lambda x: x,
    "0 to 1": lambda x: x / 255,
    "-1 to 1": lambda x: x / 127.5 - 1,
    "0 or 1": lambda x: x // 128,
    "16 bits": lambda x: x * 257,
    "dark": lambda x: x // 4,
    "with a NaN": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 9, np.nan, x),
    "with an infinity": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 9, np.inf, x),
    "huge": lambda x: x * 1e38,
}
SHAPE = (6, 5, 3)


def _raw(n, seed=0):
    """Images that reach both ends of the range, as real ones nearly do."""
    x = np.random.default_rng(seed).integers(0, 256, (n, *SHAPE))
    x[:, 0, 0], x[:, 1, 1] = 0, 255
    return x


@functools.cache
def _support():
    raw = _raw(60).astype(np.uint8)
    classes = np.arange(60) % 3
    arrays = {"x_train": raw, "y_train": classes, "x_test": raw[:9], "y_test": classes[:9]}
    data = Dataset.from_arrays(arrays)
    preprocessor = fit_preprocessor("standard", data)
    base = make_support(shape=SHAPE)
    metadata = dict(base.metadata) | {
        "pixels": data.pixels.with_moments(data.x_train).to_metadata()
    }
    labels = kipax.ridge.one_hot(classes[:6], 3)
    return kipax.SupportSet(preprocessor.apply(raw[:6]), labels, preprocessor, metadata)


def _cast(x, dtype):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return x.astype(dtype)


def _given(dtype, layout, scale, n=8, seed=1):
    """What a user may hold of the same pictures, and whether it is right."""
    wanted = RANGES[scale](_raw(n, seed))
    x = _cast(wanted, dtype)
    if x.dtype.kind in "iuf":  # a cast that made other pictures is past telling
        with np.errstate(all="ignore"):
            hypothesis.assume(np.allclose(x.astype(float), wanted, rtol=1e-2, equal_nan=True))
    right = layout in ("NHWC", "list", "nested lists") and scale == "as they are"
    return LAYOUTS[layout](x), right and x.dtype.kind in "iuf"


given = hypothesis.given(
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(sorted(LAYOUTS)),
    scale=st.sampled_from(sorted(RANGES)),
)
often = hypothesis.settings(
    max_examples=150, suppress_health_check=[hypothesis.HealthCheck.filter_too_much]
)


@given
@often
def test_scores(dtype, layout, scale):
    support = _support()
    x, right = _given(dtype, layout, scale)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            scores = support.scores(x)
        except UsageError:
            assert not right
            return
    assert np.all(np.isfinite(scores))
    expected = support.scores(_raw(8, 1).astype(np.uint8))
    if right:
        assert not said
        np.testing.assert_array_equal(scores, expected)
    elif not np.allclose(scores, expected, rtol=1e-3, atol=1e-3):
        told = any("same units" in str(w.message) for w in said)
        assert told or scale == "dark", "another answer without a word"


@given
@often
def test_data_sets(dtype, layout, scale):
    train, right = _given(dtype, layout, scale, n=12)
    test, _ = _given(dtype, layout, scale, n=8, seed=2)
    y = np.arange(12) % 2
    try:
        data = Dataset.from_arrays(
            {"x_train": train, "y_train": y, "x_test": test, "y_test": y[:8]}
        )
    except UsageError:
        assert not right
        return
    assert data.x_train.dtype in (np.uint8, np.float32)
    assert np.all(np.isfinite(data.x_train))
    if layout in ("NHWC", "list", "nested lists"):
        held = np.asarray(train)
        np.testing.assert_array_equal(data.x_train, held.astype(data.x_train.dtype))
    if right:
        assert data.x_train.dtype == np.uint8 or np.asarray(train).dtype.kind == "f"


@given
@often
def test_kernels(dtype, layout, scale):
    x, right = _given(dtype, layout, scale, n=3)
    try:
        k = np.asarray(kipax.make_kernel_fn("fc1")(x))
    except UsageError:
        assert not (right and np.asarray(x).dtype.kind == "f")
        return
    assert np.asarray(x).dtype.kind == "f"
    assert k.shape == (len(x), len(x))
    if scale not in ("with a NaN", "with an infinity", "huge"):
        assert np.all(np.isfinite(k))


LABELS = st.one_of(
    st.lists(st.integers(-2, 4), min_size=0, max_size=14),
    st.lists(st.floats(allow_nan=True), min_size=12, max_size=12),
    st.lists(st.text(max_size=2), min_size=12, max_size=12),
    st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=2), min_size=12, max_size=12),
    st.none(),
    st.integers(),
)
NAMES = st.one_of(
    st.none(),
    st.lists(st.text(max_size=3), max_size=4),
    st.lists(st.integers(), max_size=3),
    st.text(max_size=3),
    st.lists(st.none(), min_size=2, max_size=2),
)


@hypothesis.given(y_train=LABELS, y_test=LABELS, names=NAMES, held=st.integers(-2, 20))
@hypothesis.settings(max_examples=120)
@hypothesis.example(list(range(2)) * 6, [0, 1] * 6, None, 4)
@hypothesis.example(np.arange(12, dtype=np.uint64) % 2, [2**63, *[0] * 11], None, 0)
def test_labels_and_names(y_train, y_test, names, held):
    x = _raw(12).astype(np.uint8)
    try:
        data = Dataset.from_arrays(
            {"x_train": x, "y_train": y_train, "x_test": x, "y_test": y_test},
            class_names=names,
            validation_examples=held,
        )
    except UsageError:
        return
    kept = sorted([*data.y_train.tolist(), *data.y_validation.tolist()])
    assert kept == sorted(np.asarray(y_train).ravel().tolist())
    assert set(kept) == set(range(data.num_classes))
    assert len(data.y_validation) == held
    if names is not None:
        assert data.class_names == tuple(names)


@hypothesis.given(
    name=st.one_of(
        st.none(), st.integers(), st.binary(max_size=4), st.text(max_size=8), st.just([])
    ),
    size=st.one_of(st.none(), st.integers(-3, 0), st.floats(), st.booleans(), st.text(max_size=2)),
)
@hypothesis.settings(max_examples=50)
def test_names_of_data_sets(name, size):
    with pytest.raises((UsageError, kipax.errors.FileError)):
        kipax.load_dataset(name, image_size=size)
