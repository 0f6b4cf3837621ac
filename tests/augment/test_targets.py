"""Augmentations against Pillow and SciPy, and keys that depend on the image alone."""

import jax
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

from kipax.augment import colour, policies, rotation, warp
from kipax.augment.policies import NAMES, POLICY, apply_operation, magnitude
from kipax.augment.targets import augment
from kipax.errors import UsageError
from tests.augment.pictures import PHOTOS, made_up, photos

GREY = (128, 128, 128)


@pytest.fixture(params=["made up", "photos"])
def pictures(request):
    if request.param == "made up":
        return made_up()
    if not PHOTOS.exists():
        pytest.skip("the photos are not beside the project")
    return photos()


def _pillow(name, picture, amount):
    affine = {
        "ShearX": (1, amount, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, amount, 1, 0),
        "TranslateX": (1, 0, amount, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, amount),
    }
    if name in affine:
        return picture.transform(picture.size, Image.AFFINE, affine[name], fillcolor=GREY)
    if name == "Rotate":
        return picture.rotate(amount, fillcolor=GREY)
    if name in ("AutoContrast", "Invert", "Equalize"):
        return getattr(ImageOps, name.lower())(picture)
    if name in ("Solarize", "Posterize"):
        return getattr(ImageOps, name.lower())(picture, int(amount))
    return getattr(ImageEnhance, name)(picture).enhance(amount)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "Identity"])
def test_operation_is_pillows(name, pictures):
    batched = jax.jit(jax.vmap(apply_operation, (None, 0, None, None)))
    signs = (1.0, -1.0) if name in policies._GEOMETRIC else (1.0,)
    for level in (0, 1, 5, 9):
        for sign in signs:
            amount = magnitude(name, level)
            got = np.asarray(batched(NAMES.index(name), pictures.astype(np.float32), amount, sign))
            reference = [
                np.asarray(_pillow(name, Image.fromarray(p), sign * amount)) for p in pictures
            ]
            off = np.abs(got - np.stack(reference))
            # Pillow cuts off a float; one grey level where it falls on a whole number.
            assert off.max() <= 1, (level, sign)
            assert np.mean(off > 0) <= 0.02, (level, sign)
            if name in policies._GEOMETRIC:
                assert off.max() == 0


def test_flat_images_stay():
    flat = np.full((4, 4, 3), 90.0, np.float32)
    for operation in (colour.auto_contrast, colour.equalize):
        np.testing.assert_array_equal(operation(flat, 0.0), flat)


@pytest.mark.parametrize(("degrees", "shift"), [(10.0, (0.0, 0.0)), (-7.3, (1.4, -2.6))])
def test_resampling_is_a_rotation_and_a_shift(degrees, shift, pictures):
    """What Keras does: SciPy's affine transform about the centre, linear, nearest border."""
    x = pictures[0, ..., :1].astype(np.float32)
    turn = np.asarray(rotation(degrees))
    got = warp(x, turn, turn @ np.array(shift), order=1, mode="nearest")
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = np.array([15.5, 15.5])
    offset = centre - matrix @ centre + matrix @ np.array(shift)
    reference = ndimage.affine_transform(x[..., 0], matrix, offset, order=1, mode="nearest")
    np.testing.assert_allclose(got[..., 0], reference, atol=1e-2)


def test_jitter_stays_within_its_range():
    """A dot off the centre moves by no more than the rotation and shifts allow."""
    x = np.zeros((64, 28, 28, 1), np.uint8)
    x[:, 9:11, 9:11] = 255
    moved = augment(x, np.arange(64), seed=0, step=0, fraction=1.0)
    rows, columns = np.indices((28, 28))
    weight = moved[..., 0].astype(float)
    centres = [(weight * axis).sum((1, 2)) / weight.sum((1, 2)) - 9.5 for axis in (rows, columns)]
    away = np.abs(np.stack(centres))
    # 2.8 pixels of shift and 10 degrees about (13.5, 13.5): at most 0.17 of 4 pixels more.
    assert 1.5 < away.max() < 2.8 + 0.8
    assert len(np.unique(np.round(centres[0], 3))) > 50


@pytest.mark.parametrize("channels", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_an_image_is_augmented_alike_in_any_block(channels):
    x = made_up(12)[..., :channels]
    indices = np.arange(100, 112)
    whole = augment(x, indices, seed=3, step=5, fraction=0.7)
    order = np.array([7, 2, 2, 11])
    part = augment(x[order], indices[order], seed=3, step=5, fraction=0.7)
    np.testing.assert_array_equal(part, whole[order])


@pytest.mark.parametrize("change", [{"seed": 4}, {"step": 6}])
def test_every_step_and_seed_draws_anew(change):
    x, indices = made_up(12), np.arange(12)
    options = {"seed": 3, "step": 5, "fraction": 1.0}
    one, other = (augment(x, indices, **options | c) for c in ({}, change))
    assert np.mean([not np.array_equal(a, b) for a, b in zip(one, other, strict=True)]) > 0.6


def test_fraction():
    x = np.tile(made_up(1), (400, 1, 1, 1))[..., :1]
    indices = np.arange(400)
    np.testing.assert_array_equal(augment(x, indices, seed=0, step=0, fraction=0.0), x)
    half = augment(x, indices, seed=0, step=0, fraction=0.5)
    changed = np.mean(np.any(half != x, axis=(1, 2, 3)))
    assert 0.4 < changed < 0.6


@pytest.mark.slow
def test_every_sub_policy_and_flip_is_drawn():
    assert [len(sub) for sub in POLICY] == [2] * 25
    picture = np.tile(made_up(1), (2000, 1, 1, 1))
    out = augment(picture, np.arange(2000), seed=0, step=0, fraction=1.0)
    plain = np.mean([np.array_equal(o, picture[0]) for o in out])
    flipped = np.mean([np.array_equal(o, picture[0][:, ::-1]) for o in out])
    assert 0.02 < plain < 0.3  # neither operation taken, no flip
    assert abs(plain - flipped) < 0.05
    assert len({o.tobytes() for o in out}) > 60


@pytest.mark.parametrize(
    "x", [np.zeros((1, 4, 4, 3), np.float32), np.zeros((1, 4, 4, 2), np.uint8)]
)
def test_what_cannot_be_augmented(x):
    with pytest.raises(UsageError, match="uint8 images with 1 or 3 channels"):
        augment(x, np.arange(1), seed=0, step=0, fraction=1.0)
