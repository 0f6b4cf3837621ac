"""Operations of training batches against Pillow, SciPy, colorsys and formulas."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage, stats

from kipax.augment import (
    color_jitter,
    cutmix,
    cutout,
    elastic,
    greyscale,
    mixup,
    rand_augment,
    random_erasing,
    random_resized_crop,
    warp,
)
from kipax.augment.colour import hue
from kipax.augment.geometry import crop_and_resize, random_box, sample
from tests.augment.pictures import made_up

KEY = jax.random.key(0)


def _many(function, x, n):
    """The function with `n` keys, of one image."""
    made = jax.jit(jax.vmap(lambda k, x: function(k, x), in_axes=(0, None)))
    return np.asarray(made(jax.random.split(KEY, n), jnp.asarray(x)))


# -- geometry ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["constant", "nearest"])
@pytest.mark.parametrize("order", [0, 1])
def test_sampling_is_scipys(order, mode):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(7, 9, 2)).astype(np.float32)
    places = rng.uniform(-2, 10, size=(5, 6, 2)).astype(np.float32)
    got = sample(jnp.asarray(x), jnp.asarray(places), order=order, mode=mode, fill=0.5)
    scipys = "grid-constant" if mode == "constant" else mode  # blends with the fill, as JAX does
    for channel in range(2):
        expected = ndimage.map_coordinates(
            x[..., channel], np.moveaxis(places, -1, 0), order=order, mode=scipys, cval=0.5
        )
        np.testing.assert_allclose(got[..., channel], expected, atol=1e-5)


def test_an_elastic_change_is_blurred_noise():
    x = np.random.default_rng(0).uniform(size=(20, 24, 1)).astype(np.float32)
    noise = np.asarray(jax.random.uniform(KEY, (2, 20, 24), minval=-1, maxval=1))
    rows, columns = (ndimage.gaussian_filter(n, 2.0, mode="mirror", truncate=4.0) for n in noise)
    grid = np.indices((20, 24)) + 15.0 * np.stack([rows, columns])
    expected = ndimage.map_coordinates(x[..., 0], grid, order=1, mode="grid-constant", cval=0.3)
    got = elastic(KEY, jnp.asarray(x), alpha=30.0, sigma=2.0, fill=0.3)
    np.testing.assert_allclose(got[..., 0], expected, atol=2e-3)
    assert elastic(KEY, jnp.asarray(x[:4, :4])).shape == (4, 4, 1)  # smaller than the blur
    assert elastic(KEY, jnp.asarray(x[:1, :1])).shape == (1, 1, 1)


@pytest.mark.parametrize(("method", "pillows"), [("linear", Image.BILINEAR), ("cubic", None)])
@pytest.mark.parametrize("size", [(8, 8), (16, 24), (48, 40)])
def test_a_crop_at_another_size_is_pillows(method, pillows, size):
    x = made_up(1)[0]
    box = (3, 5, 3 + 20, 5 + 14)  # left, upper, right, lower
    got = crop_and_resize(
        jnp.asarray(x, jnp.float32), jnp.array([5, 3]), jnp.array([14, 20]), size, method=method
    )
    for channel in range(3):
        plane = Image.fromarray(x[..., channel].astype(np.float32))
        # Pillow's bicubic has a = -1/2, as has JAX's.
        reference = plane.resize(size[::-1], pillows or Image.BICUBIC, box=box)
        np.testing.assert_allclose(got[..., channel], reference, atol=0.05)


def test_random_boxes_are_drawn_evenly_in_area_and_log_ratio():
    draw = jax.jit(jax.vmap(lambda k: random_box(k, (100, 80), scale=(0.1, 0.4), ratio=(0.5, 2.0))))
    corner, size, fits = map(np.asarray, draw(jax.random.split(KEY, 4000)))
    assert fits.all()
    assert (size <= [100, 80]).all()
    assert (corner >= 0).all()
    assert (corner + size <= [100, 80]).all()
    area = size.prod(axis=1) / 8000
    assert stats.kstest(area, "uniform", (0.1, 0.3)).statistic < 0.04
    ratio = np.log(size[:, 1] / size[:, 0])
    assert stats.kstest(ratio, "uniform", (-np.log(2), 2 * np.log(2))).statistic < 0.04
    room = (100 - size[:, 0]) + 1
    assert stats.kstest((corner[:, 0] + 0.5) / room, "uniform").statistic < 0.04


def test_where_no_box_fits_the_middle_is_taken():
    x = jnp.broadcast_to(jnp.arange(40.0)[None, :, None], (8, 40, 1))
    out = _many(lambda k, x: random_resized_crop(k, x, (8, 8), scale=(1.0, 1.0)), x, 4)
    # Height 8 and width 8 * 4 / 3, rounded to 11, from column 14 on.
    np.testing.assert_allclose(out[0, 0, [0, -1], 0], [14.2, 23.8], atol=0.4)
    np.testing.assert_allclose(out, np.broadcast_to(out[:1], out.shape))
    whole = _many(lambda k, x: random_resized_crop(k, x, (3, 4)), jnp.ones((6, 6, 3)), 2)
    np.testing.assert_allclose(whole, np.ones((2, 3, 4, 3)), rtol=1e-5)


def test_a_warp_by_the_identity_is_the_image():
    x = made_up(1)[0].astype(np.float32)
    for order, mode in ((0, "constant"), (1, "nearest"), (1, "constant")):
        np.testing.assert_array_equal(warp(x, jnp.eye(2), order=order, mode=mode), x)


# -- covering ------------------------------------------------------------------------------------


def test_cutout_covers_a_square_about_any_pixel():
    out = _many(lambda k, x: cutout(k, x, 4, fill=7.0), np.ones((8, 8, 2)), 500)
    covered = (out == 7).all(axis=-1)
    areas = covered.sum(axis=(1, 2))
    assert set(areas) == {4, 6, 8, 9, 12, 16} - {9} | ({9} & set(areas))
    assert (areas == 16).mean() == pytest.approx((5 / 8) ** 2, abs=0.07)
    rows, columns = covered.any(axis=2).sum(axis=1), covered.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(rows * columns, areas)
    assert ((out == 1) | (out == 7)).all()


def test_erasing_covers_a_box_of_the_range_with_its_probability():
    erase = lambda k, x: random_erasing(k, x, probability=0.6, fill=-1.0)  # noqa: E731
    out = _many(erase, np.ones((32, 32, 1)), 2000)[..., 0]
    covered = out == -1
    share = covered.mean(axis=(1, 2))
    assert (share > 0).mean() == pytest.approx(0.6, abs=0.04)
    drawn = share[share > 0]
    assert drawn.min() > 0.015
    assert drawn.max() < 0.345
    rows, columns = covered.any(axis=2).sum(axis=1), covered.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(rows * columns, covered.sum(axis=(1, 2)))


# -- colour --------------------------------------------------------------------------------------


def test_hue_is_colorsys():
    x = made_up(2)[0]
    for turn in (-0.3, 0.0, 0.1):
        got = np.asarray(hue(jnp.asarray(x, jnp.float32), turn))
        for row, column in ((0, 0), (7, 9), (20, 31), (31, 3)):
            h, s, v = colorsys.rgb_to_hsv(*(x[row, column] / 255))
            expected = 255 * np.array(colorsys.hsv_to_rgb((h + turn) % 1.0, s, v))
            np.testing.assert_allclose(got[row, column], expected, atol=0.51)


def test_greyscale_is_pillows():
    x = made_up(2)[1]
    expected = np.asarray(ImageOps.grayscale(Image.fromarray(x)))
    got = np.asarray(greyscale(jnp.asarray(x, jnp.float32)))
    np.testing.assert_array_equal(got, np.repeat(expected[..., None], 3, axis=-1))


@pytest.mark.slow
def test_colour_jitter_stays_in_its_ranges_and_changes_the_order():
    grey = np.full((2, 2, 3), 100.0, np.float32)
    only = {"contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    out = _many(lambda k, x: color_jitter(k, x, brightness=0.4, **only), grey, 400)[:, 0, 0, 0]
    assert 60 <= out.min() < 63
    assert 137 < out.max() <= 140
    strong = _many(lambda k, x: color_jitter(k, x, brightness=2.0, **only), grey, 400)
    assert strong.min() >= 0  # factors below zero are not drawn
    assert strong.max() <= 255
    none = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0)
    x = made_up(1)[0].astype(np.float32)
    np.testing.assert_array_equal(color_jitter(KEY, x, **none), x)
    # Each of the orders, with Pillow's own enhancers.
    changes, orders = ("Brightness", "Contrast", "Color"), set()
    jitter = jax.jit(lambda k, x: color_jitter(k, x, brightness=0.4, contrast=0.4, hue=0.0))
    for key in jax.random.split(KEY, 6):
        of_order, of_amounts = jax.random.split(key)
        amounts = jax.random.uniform(of_amounts, (4,), minval=0.6, maxval=1.4)
        order = [int(kind) for kind in jax.random.permutation(of_order, 4) if kind < 3]
        picture = Image.fromarray(made_up(1)[0])
        for kind in order:
            picture = getattr(ImageEnhance, changes[kind])(picture).enhance(float(amounts[kind]))
        # A grey level more or less a step, where Pillow cuts off a float.
        assert np.abs(np.asarray(picture) - np.asarray(jitter(key, x))).max() <= 4
        orders.add(tuple(order))
    assert len(orders) >= 3
    jittered = _many(color_jitter, x, 200)
    assert len({j.tobytes() for j in jittered}) == 200
    assert (jittered >= 0).all()
    assert (jittered <= 255).all()


# -- policies ------------------------------------------------------------------------------------


def _outcomes(picture, level):
    """What each of RandAugment's operations makes of a picture, by Pillow."""
    share = level / 30
    outcomes = {"Identity": picture}
    for sign in (-1, 1):
        shear, move = sign * 0.3 * share, sign * int(150 / 331 * 32 * share)
        for name, matrix in {
            "ShearX": (1, shear, 0, 0, 1, 0),
            "ShearY": (1, 0, 0, shear, 1, 0),
            "TranslateX": (1, 0, move, 0, 1, 0),
            "TranslateY": (1, 0, 0, 0, 1, move),
        }.items():
            outcomes[name, sign] = picture.transform((32, 32), Image.AFFINE, matrix)
        outcomes["Rotate", sign] = picture.rotate(sign * 30 * share)
        for name in ("Brightness", "Color", "Contrast", "Sharpness"):
            enhancer = getattr(ImageEnhance, name)(picture)
            outcomes[name, sign] = enhancer.enhance(1 + sign * 0.9 * share)
    outcomes["Posterize"] = ImageOps.posterize(picture, 6)
    outcomes["Solarize"] = ImageOps.solarize(picture, int(np.ceil(255 - 255 * share)))
    outcomes["AutoContrast"] = ImageOps.autocontrast(picture)
    outcomes["Equalize"] = ImageOps.equalize(picture)
    return {name: np.asarray(made).astype(float) for name, made in outcomes.items()}


def test_rand_augment_draws_each_of_pillows_operations():
    picture = Image.fromarray(made_up(2)[1])
    outcomes = _outcomes(picture, 14)
    assert len(outcomes) == 5 + 2 * 9
    x = np.asarray(picture).astype(np.float32)
    drawn = _many(lambda k, x: rand_augment(k, x, number=1, level=14), x, 600)
    stacked = np.stack(list(outcomes.values()))
    off = np.abs(drawn[:, None] - stacked[None]).mean(axis=(2, 3, 4))
    assert off.min(axis=1).max() < 0.1  # each is one of them, but for a grey level here and there
    counts = np.bincount(off.argmin(axis=1), minlength=len(outcomes))
    assert counts.min() > 5
    assert counts[0] == pytest.approx(600 / 14, abs=25)


@pytest.mark.slow
def test_rand_augment_takes_grey_images_and_more_operations():
    x = made_up(1)[0, ..., :1].astype(np.float32)
    few = _many(lambda k, x: rand_augment(k, x, number=1, level=14), x, 50)
    many = _many(lambda k, x: rand_augment(k, x, number=3, level=30, fill=128.0), x, 50)
    assert few.shape == many.shape == (50, 32, 32, 1)
    changed = [np.abs(out - x).mean() for out in (few, many)]
    assert changed[1] > 1.3 * changed[0]


# -- mixing --------------------------------------------------------------------------------------


def _numbered(n=64, side=8):
    """Image i is filled with 2**i's place: its number."""
    x = np.broadcast_to(np.arange(n, dtype=np.float32)[:, None, None, None], (n, side, side, 1))
    return jnp.asarray(x), jnp.eye(n)


@pytest.mark.parametrize("per_example", [False, True])
def test_mixup_mixes_images_and_labels_by_the_same_shares(per_example):
    x, y = _numbered()
    mixed, labels = mixup(KEY, x, y, alpha=0.5, per_example=per_example)
    share = np.asarray(labels[np.arange(64), np.arange(64)])
    # The image is the labels' average of the numbers.
    np.testing.assert_allclose(
        mixed[:, 0, 0, 0], np.asarray(labels) @ np.arange(64.0), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(np.sum(labels, axis=1), 1, rtol=1e-5)
    assert len(np.unique(np.round(share, 5))) > 40 if per_example else len(np.unique(share)) <= 2
    # Partners are a permutation: each image is in its own row and in one other, or its own alone.
    rows = np.sum(np.asarray(labels) > 0, axis=0)
    assert set(rows) <= {1, 2}
    np.testing.assert_allclose(share[rows == 1], 1, rtol=1e-6)
    assert mixup(KEY, x)[1] is None


def test_shares_are_beta():
    shares = []
    for alpha in (1.0, 0.25):
        keys = jax.random.split(KEY, 300)
        two, one = jnp.arange(2.0)[:, None, None, None] + jnp.zeros((2, 1, 1, 1)), jnp.eye(2)
        mix = lambda k, a=alpha, x=two, y=one: mixup(k, x, y, alpha=a)[1]  # noqa: E731
        labels = jax.jit(jax.vmap(mix))(keys)
        drawn = np.asarray(labels)[:, 0, 0]
        shares.append(drawn[drawn < 1])  # partners of themselves have 1
    assert stats.kstest(shares[0], "uniform").pvalue > 0.01
    assert stats.kstest(shares[1], "beta", (0.25, 0.25)).pvalue > 0.01


@pytest.mark.parametrize("per_example", [False, True])
def test_cutmix_swaps_a_box_and_mixes_labels_by_its_area(per_example):
    x, y = _numbered(64, 16)
    mixed, labels = cutmix(KEY, x, y, per_example=per_example)
    boxes = set()
    for i, (image, label) in enumerate(zip(np.asarray(mixed)[..., 0], labels, strict=True)):
        numbers, counts = np.unique(image, return_counts=True)
        for number, count in zip(numbers, counts, strict=True):
            assert label[int(number)] == pytest.approx(count / 256, abs=1e-5)
        taken = image != i
        rows, columns = taken.any(axis=1), taken.any(axis=0)
        assert rows.sum() * columns.sum() == taken.sum()
        if taken.any():
            boxes.add((rows.tobytes(), columns.tobytes()))
    assert len(boxes) > 20 if per_example else len(boxes) == 1
    assert cutmix(KEY, x)[1] is None


def test_a_cutmix_box_has_the_sides_of_its_share():
    x, _ = _numbered(2, 100)
    keys = jax.random.split(KEY, 200)
    mixed = np.asarray(jax.jit(jax.vmap(lambda k: cutmix(k, x)[0]))(keys))[:, 0, ..., 0]
    taken = mixed != 0
    inner = taken.any(axis=2).sum(axis=1), taken.any(axis=1).sum(axis=1)
    middle = [
        (a, b) for a, b, t in zip(*inner, taken, strict=True) if t[1:-1, 1:-1].sum() == t.sum()
    ]
    assert len(middle) > 20
    assert all(a == b for a, b in middle)  # not cut off: square in a square
