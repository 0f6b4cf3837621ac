"""Augmentations: each operation does what it says, differentiably, siamese where asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kipax.augment import batches as module
from kipax.augment.batches import Strengths
from kipax.errors import UsageError
from kipax.transfer import augment_batch, augment_pair

DSA = Strengths()


def _images(n=6, shape=(8, 8, 3)):
    return jax.random.normal(jax.random.key(0), (n, *shape))


def test_shift_moves_whole_pixels_and_fills_with_zeros():
    x = 1 + jnp.abs(_images(50))
    out = np.asarray(module._shift(x, jax.random.key(1), DSA, False))
    moves = set()
    for before, after in zip(np.asarray(x), out, strict=True):
        padded = np.pad(before, [(1, 1), (1, 1), (0, 0)])
        found = [
            (i, j)
            for i in range(3)
            for j in range(3)
            if np.array_equal(padded[i : i + 8, j : j + 8], after)
        ]
        assert len(found) == 1
        moves.update(found)
    assert len(moves) == 9


def test_cutout_zeroes_a_square_of_half_the_side_at_most():
    out = np.asarray(module._cutout(jnp.ones((200, 8, 8, 1)), jax.random.key(1), DSA, False))
    areas = (out[..., 0] == 0).sum(axis=(1, 2))
    assert areas.max() == 16
    assert areas.min() >= 4  # half of the square lies inside along either axis
    assert set(np.unique(out)) == {0.0, 1.0}


def test_flip_mirrors_half_of_the_images():
    x = _images(400, (2, 3, 1))
    out = module._flip(x, jax.random.key(1), DSA, False)
    same = np.asarray(jnp.all(out == x, axis=(1, 2, 3)))
    mirrored = np.asarray(jnp.all(out == x[:, :, ::-1], axis=(1, 2, 3)))
    assert (same ^ mirrored).all()
    assert 0.4 < same.mean() < 0.6


def test_rotation_and_scale_keep_the_centre_and_change_the_rest():
    disk = jnp.hypot(*jnp.meshgrid(jnp.arange(9) - 4.0, jnp.arange(9) - 4.0))[None, ..., None]
    turned = module._rotate(disk, jax.random.key(1), DSA, False)
    inner = np.s_[0, 2:7, 2:7, 0]
    np.testing.assert_allclose(turned[inner], disk[inner], atol=0.35)
    x = jnp.broadcast_to(jnp.arange(9.0)[None, None, :, None] - 4, (300, 9, 9, 1))
    tilted = np.asarray(module._rotate(x, jax.random.key(1), DSA, False))[:, 3:6, 3:6, 0]
    slope = np.arctan2(tilted[:, 2, 1] - tilted[:, 0, 1], tilted[:, 1, 2] - tilted[:, 1, 0])
    np.testing.assert_allclose(np.degrees([slope.min(), slope.max()]), [-15, 15], atol=0.3)
    ramp = jnp.broadcast_to(jnp.arange(9.0)[None, :, None, None] - 4, (300, 9, 9, 1))
    scaled = np.asarray(module._scale(ramp, jax.random.key(1), DSA, False))
    factors = scaled[:, 5, 4, 0]  # one pixel from the centre
    np.testing.assert_allclose([factors.min(), factors.max()], [1 / 1.2, 1.2], atol=0.02)
    np.testing.assert_allclose(scaled[:, 4], 0, atol=1e-5)


def test_colour_follows_its_strengths():
    grey = jnp.full((300, 4, 4, 3), 2.0)
    shift = np.asarray(
        module._brightness(grey, jax.random.uniform(jax.random.key(1), (300, 2)), DSA)
    )
    assert -0.5 <= (shift - 2).min() < -0.45
    assert 0.45 < (shift - 2).max() <= 0.5
    x, u = _images(2), jnp.array([[0.5, 0.0], [0.5, 0.0]])
    for change in (module._saturation, module._contrast):
        np.testing.assert_allclose(change(x, u, DSA), x, atol=1e-5)  # the middle is the image
    flat = module._saturation(x, jnp.zeros((2, 2)), DSA)
    np.testing.assert_allclose(
        flat, jnp.broadcast_to(x.mean(-1, keepdims=True), x.shape), atol=1e-5
    )


@pytest.mark.parametrize("name", ["dsa", "frepo", "flip_crop"])
def test_batches_change_differentiably_and_alike_for_equal_keys(name):
    x = _images(4)
    keys = [jax.random.key(k) for k in range(8)]
    change = jax.jit(lambda x, key: augment_batch(name, x, key))
    changed = [change(x, key) for key in keys]
    assert sum(bool(jnp.any(c != x)) for c in changed) >= 6
    np.testing.assert_array_equal(changed[0], change(x, keys[0]))
    gradient = jax.jit(jax.grad(lambda x, key: jnp.sum(change(x, key) ** 2)))
    for key in keys:
        assert bool(jnp.all(jnp.isfinite(gradient(x, key))))
        assert bool(jnp.any(gradient(x, key) != 0))


@pytest.mark.slow
def test_siamese_draws_are_one_for_all():
    x = jnp.broadcast_to(_images(1), (5, 8, 8, 3))
    spread = 0
    pair = jax.jit(lambda key: augment_pair("dsa", x, x[:2], key))
    single = jax.jit(lambda key: augment_batch("dsa", x, key))
    for k in range(8):
        first, second = pair(jax.random.key(k))
        np.testing.assert_allclose(first, jnp.broadcast_to(first[:1], x.shape), atol=1e-6)
        np.testing.assert_allclose(second, first[:2], atol=1e-6)
        own = single(jax.random.key(k))
        spread += bool(jnp.any(jnp.abs(own - own[:1]) > 1e-6))
    assert spread >= 6


def test_digits_are_never_flipped():
    x = jnp.broadcast_to(jnp.arange(9.0)[None, None, :, None] - 4, (300, 9, 9, 1))
    tilted = np.asarray(module._rotate(x, jax.random.key(1), DSA, False))[:, 3:6, 3:6, 0]
    slope = np.arctan2(tilted[:, 2, 1] - tilted[:, 0, 1], tilted[:, 1, 2] - tilted[:, 1, 0])
    np.testing.assert_allclose(np.degrees([slope.min(), slope.max()]), [-15, 15], atol=0.3)
    ramp = jnp.broadcast_to(jnp.arange(8.0)[None, None, :, None], (4, 8, 8, 1))
    change = jax.jit(lambda key: augment_batch("dsa_noflip", ramp, key))
    for k in range(20):
        out = change(jax.random.key(k))
        assert not bool(jnp.any(jnp.all(out == ramp[:, :, ::-1], axis=(1, 2, 3))))
    assert augment_batch("none", ramp, jax.random.key(0)) is ramp


def test_unknown_names():
    with pytest.raises(UsageError, match="unknown augmentation 'dsaa'; did you mean dsa"):
        augment_batch("dsaa", _images(1), jax.random.key(0))
