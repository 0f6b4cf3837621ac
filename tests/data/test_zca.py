"""Both whitenings against independent NumPy, their spectrum, their inverse, their rules."""

import pathlib

import numpy as np
import pytest

from kipax import Dataset, files
from kipax.data import fit_preprocessor, from_arrays
from kipax.data.zca import ZCA, ZCAPaper
from kipax.errors import FileError, UsageError

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data"
LAMBDA = 0.1


def _images(n, shape=(5, 4, 3), seed=0):
    """Smooth random pictures: a spectrum that falls, as real ones have."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(n, *shape)).cumsum(axis=1).cumsum(axis=2)
    return np.clip(128 + 20 * steps, 0, 255).astype(np.uint8)


def _layer_norm(u, size):
    centred = u - u.mean(axis=1, keepdims=True)
    return centred / size(centred)[:, None]


def _norm(rows):
    return np.sqrt((rows**2).sum(axis=1))


def _deviation(rows):
    return np.sqrt((rows**2).mean(axis=1))


def _reference(x, zca_lambda, variant):
    """Written from the formulas, by singular values instead of eigenvalues; float64."""
    x = x.astype(np.float64)
    axes = (0, 1, 2) if variant == "zca" else (0,)
    u = ((x - x.mean(axis=axes)) / x.std(axis=axes)).reshape(len(x), -1)
    rows = _layer_norm(u, _norm) if variant == "zca" else u
    moment = np.einsum("ni,nj->ij", rows, rows) / len(x)
    share = np.trace(moment) / len(moment)
    left, values, _ = np.linalg.svd(moment + zca_lambda * share * np.eye(len(moment)))
    factors = values**-0.5
    if variant == "zca":
        factors[len(x) :] = 1.0
    matrix = left @ np.diag(factors) @ left.T
    return matrix, _layer_norm(u, _norm if variant == "zca" else _deviation) @ matrix


@pytest.mark.parametrize("variant", ["zca", "zca_paper"])
@pytest.mark.parametrize("n", [40, 1200])  # fewer and more images than the 60 features
def test_against_numpy(variant, n):
    x = _images(n)
    matrix, whitened = _reference(x, LAMBDA, variant)
    fitted = fit_preprocessor(variant, x, zca_lambda=LAMBDA)
    assert np.abs(fitted.matrix - matrix).max() <= 1e-6 * np.abs(matrix).max()
    z = fitted.apply(x)
    assert z.dtype == np.float32
    assert z.shape == x.shape
    error = np.abs(z.reshape(n, -1) - whitened).max()
    assert error <= 1e-5 * np.abs(whitened).max()


@pytest.mark.skipif(not SHARED.exists(), reason="the real data sets are not beside the project")
@pytest.mark.parametrize("variant", ["zca", "zca_paper"])
def test_against_numpy_on_real_images(variant):
    data = files.read_npz(SHARED / "fashion_mnist.npz", ["x_test"], optional=[])
    x = data["x_test"][:3000, 4:24, 4:24]
    matrix, whitened = _reference(x, LAMBDA, variant)
    fitted = fit_preprocessor(variant, x, zca_lambda=LAMBDA)
    assert np.abs(fitted.matrix - matrix).max() <= 1e-6 * np.abs(matrix).max()
    error = np.abs(fitted.apply(x).reshape(len(x), -1) - whitened).max()
    assert error <= 1e-5 * np.abs(whitened).max()


@pytest.mark.parametrize("zca_lambda", [0.01, 0.1, 100.0])
def test_spectrum_of_the_whitened_fit_set(zca_lambda):
    x = _images(500)
    rows = _layer_norm(
        ((x - x.mean(axis=(0, 1, 2))) / x.std(axis=(0, 1, 2))).reshape(500, -1), _norm
    )
    values = np.linalg.eigvalsh(rows.T @ rows / 500)
    z = ZCA.fit(x, zca_lambda=zca_lambda).apply(x).reshape(500, -1).astype(np.float64)
    found = np.linalg.eigvalsh(z.T @ z / 500)
    share = values.sum() / len(values)
    np.testing.assert_allclose(found, values / (values + zca_lambda * share), atol=2e-6)


@pytest.mark.parametrize("kind", [ZCA, ZCAPaper])
def test_inverse(kind):
    x = _images(300)
    fitted = kind.fit(x, zca_lambda=LAMBDA)
    back = fitted.invert(fitted.apply(x), fitted.statistics(x))
    np.testing.assert_allclose(back, x, atol=2e-2)
    typical = fitted.invert(fitted.apply(x))  # without statistics: right up to contrast
    correlation = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(typical, x, strict=True)]
    assert np.median(correlation) > 0.9


def test_constant_images_and_features():
    x = _images(200)
    x[:5] = 77
    x[:, 0, 0] = 9  # a constant feature in every other image
    for kind in (ZCA, ZCAPaper):
        fitted = kind.fit(x, zca_lambda=LAMBDA)
        flat = np.full((1, 5, 4, 3), 50, np.uint8)
        assert np.all(np.isfinite(fitted.apply(x)))
        assert np.all(np.isfinite(fitted.apply(flat)))
    grey = _images(200, (5, 4, 1))
    whitened = ZCA.fit(grey, zca_lambda=LAMBDA).apply(np.full((1, 5, 4, 1), 200, np.uint8))
    assert np.all(whitened == 0)


def test_scale_of_the_pixels_does_not_matter():
    x = _images(200)
    z = ZCA.fit(x, zca_lambda=LAMBDA).apply(x)
    scaled = x.astype(np.float64) / 255 - 3
    np.testing.assert_allclose(ZCA.fit(scaled, zca_lambda=LAMBDA).apply(scaled), z, atol=1e-5)


def test_official_fit_takes_channel_statistics_from_all():
    x = _images(300)
    part = ZCA.fit(x[:200], zca_lambda=LAMBDA, standardise_on=x)
    np.testing.assert_array_equal(part.standard.mean, ZCA.fit(x, zca_lambda=1).standard.mean)
    assert not np.allclose(part.matrix, ZCA.fit(x, zca_lambda=LAMBDA).matrix, atol=1e-4)


@pytest.mark.parametrize("zca_lambda", [0.0, -0.1, float("nan"), float("inf")])
def test_lambda_must_be_positive(zca_lambda):
    with pytest.raises(UsageError, match="zca_lambda must be positive, since layer-normalised"):
        ZCA.fit(_images(10), zca_lambda=zca_lambda)


def test_errors():
    with pytest.raises(UsageError, match="every one given is"):
        ZCA.fit(np.full((10, 2, 2, 3), 7, np.uint8), zca_lambda=LAMBDA)
    with pytest.raises(UsageError, match="standard has no use for it"):
        fit_preprocessor("standard", _images(10), zca_lambda=0.1)
    fitted = ZCA.fit(_images(100), zca_lambda=LAMBDA)
    with pytest.raises(UsageError, match=r"images of 60 values; got the shape \(2, 4, 4, 3\)"):
        fitted.apply(np.zeros((2, 4, 4, 3)))
    with pytest.raises(FileError, match="the zca preprocessing is incomplete"):
        from_arrays("zca", fitted.to_arrays() | {"matrix": np.zeros((3, 2))})


@pytest.mark.parametrize("variant", ["zca", "zca_paper"])
def test_arrays_restore_it(variant):
    x = _images(100)
    fitted = fit_preprocessor(variant, x, zca_lambda=0.3)
    again = from_arrays(variant, fitted.to_arrays())
    assert again.settings == {"zca_lambda": 0.3}
    np.testing.assert_array_equal(again.apply(x), fitted.apply(x))


# -- the cache ----------------------------------------------------------------------------------


def _dataset(seed=0, **options):
    x = _images(120, seed=seed)
    arrays = {
        "x_train": x,
        "y_train": np.arange(120) % 3,
        "x_test": x[:9],
        "y_test": np.arange(9) % 3,
    }
    return Dataset.from_arrays(arrays, **options)


def test_a_data_sets_whitening_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("KIPAX_CACHE", str(tmp_path / "cache"))
    data = _dataset()
    first = fit_preprocessor("zca", data, zca_lambda=LAMBDA)
    (kept,) = (tmp_path / "cache").iterdir()
    monkeypatch.setattr(ZCA, "fit", None)  # from here on nothing can be fitted
    second = fit_preprocessor("zca", data, zca_lambda=LAMBDA)
    np.testing.assert_array_equal(first.matrix, second.matrix)
    for changed in (_dataset(seed=1), _dataset(validation_examples=6)):
        with pytest.raises(TypeError):
            fit_preprocessor("zca", changed, zca_lambda=LAMBDA)
    with pytest.raises(TypeError):
        fit_preprocessor("zca", data, zca_lambda=0.2)
    kept.write_bytes(b"damaged")
    with pytest.raises(TypeError):
        fit_preprocessor("zca", data, zca_lambda=LAMBDA)


def test_an_unwritable_cache_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("KIPAX_CACHE", str(tmp_path / "file"))
    assert fit_preprocessor("zca", _dataset()).settings == {"zca_lambda": 0.1}
