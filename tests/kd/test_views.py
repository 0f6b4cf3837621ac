"""Views: the same images for student and teacher, changed as each level says."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from kipax.data import Standard
from kipax.errors import UsageError
from kipax.kd import ImageSpace, Views, views
from kipax.kd.views import LEVELS, MIXES, ViewedBatches
from kipax.training import Epochs

SPACE = ImageSpace((16, 16, 3), -2.0, 6.0, (1.0, 1.0, 1.0), (2.0, 2.0, 2.0))


def _batches(views, n=12, seed=0, count=1):
    rng = np.random.default_rng(0)
    levels = np.round(rng.uniform(0, 255, (n, 16, 16, 3)))
    raw = (SPACE.low + levels * (8.0 / 255)).astype(np.float32)
    preprocessor = Standard.fit(raw)
    batches = ViewedBatches(
        lambda index: raw[index],
        Epochs(n, 6, seed=seed),
        space=SPACE,
        preprocessor=preprocessor,
        views=views,
        seed=seed,
        count=count,
    )
    return batches, raw, preprocessor


_STRONG = [pytest.param(level, marks=pytest.mark.slow) for level in LEVELS[3:]]


def _one_image(views):
    """Every step shows the same image, many times."""
    batches, _, _ = _batches(views)
    batches._epochs = lambda step: np.zeros(6, np.int64)
    return batches


def test_levels_beyond_the_range_are_cut_off_before_the_policy():
    """Sets that are not clipped have pixels that a table of 256 levels does not know."""
    batches, raw, _ = _batches(Views(level="standard"))
    batches._raw = lambda index: raw[index] * 3 - 4
    for step in range(3):
        seen = np.asarray(batches(step).x_teacher)
        assert seen.min() >= SPACE.low - 1e-3
        assert seen.max() <= SPACE.high + 1e-3


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("level", [*LEVELS[:3], *_STRONG])
def test_student_and_teacher_see_the_same(level, mix):
    if mix != "none" and level not in ("none", "crop"):
        pytest.skip("mixing follows any level alike")
    batches, raw, preprocessor = _batches(Views(level=level, mix=mix))
    batch = batches(3)
    np.testing.assert_allclose(batch.x, preprocessor.apply(np.asarray(batch.x_teacher)), atol=1e-5)
    again = batches(3)
    np.testing.assert_array_equal(batch.x, again.x)
    plain = raw[batch.index]
    changed = np.any(np.abs(np.asarray(batch.x_teacher) - plain) > 1e-4, axis=(1, 2, 3))
    assert changed.any() == (level != "none" or mix != "none")
    assert np.asarray(batch.x_teacher).min() >= SPACE.low - 1e-3
    assert np.asarray(batch.x_teacher).max() <= SPACE.high + 1e-3
    # Another step changes the same images otherwise.
    one, other = (_one_image(Views(level=level, mix=mix))(step) for step in (3, 4))
    same = np.allclose(one.x, other.x, atol=1e-4)  # a mix of equal images is rounded
    assert same == (level == "none")


def test_crops_move_by_two_pixels_of_sixteen_and_mirror_if_they_may():
    for mirror in (False, True):
        batches, raw, _ = _batches(Views(level="crop", mirror=mirror))
        seen = set()
        for step in range(12):
            batch = batches(step)
            for index, image in zip(batch.index, np.asarray(batch.x_teacher), strict=True):
                padded = np.pad(raw[index], [(2, 2), (2, 2), (0, 0)], constant_values=np.nan)
                for flipped in (False, True):
                    for i in range(5):
                        for j in range(5):
                            crop = padded[i : i + 16, j : j + 16]
                            crop = crop[:, ::-1] if flipped else crop
                            known = ~np.isnan(crop)
                            if np.allclose(image[known], crop[known], atol=1e-4):
                                seen.add((i, j, flipped))
        assert len({(i, j) for i, j, _ in seen}) > 15
        assert {f for *_, f in seen} == ({True, False} if mirror else {False})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"level": "wild"}, "unknown augmentation 'wild'"),
        ({"mix": "cut"}, "unknown mix 'cut'; did you mean cutmix"),
        ({"alpha": 0.0}, "mix_alpha must be positive"),
    ],
)
def test_wrong_views(fields, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(Views(), **fields)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["standard", "extreme"])
def test_images_one_by_one_have_the_bits_of_all_at_once(level, monkeypatch):
    space = ImageSpace((16, 16, 3), 0, 255, (120.0,) * 3, (60.0,) * 3)
    raw = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3)).astype(np.float32)
    seen = []
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr("jax.default_backend", lambda name=backend: name)
        view = jax.jit(functools.partial(views._view.__wrapped__, Views(level=level), space))
        seen.append(np.asarray(view(jax.random.key(3), raw)))
    np.testing.assert_array_equal(seen[0], seen[1])
    assert (seen[0] != raw).any(axis=(1, 2, 3)).all()


def test_extreme_views_are_the_high_ones_and_more(monkeypatch):
    """Each operation is called for the levels that the paper says."""
    used = {}
    for name in ("rand_augment", "elastic", "random_erasing", "random_crop"):

        def record(key, x, name=name, **options):
            used.setdefault(level, {})[name] = options
            return x

        monkeypatch.setattr(views, name, record)
    x = np.zeros((16, 16, 3), np.float32)
    for level in ("crop", "standard", "high", "extreme"):
        views._change(Views(level=level), 0.0, jax.random.key(0), x)
    assert set(used["crop"]) == {"random_crop"}
    assert set(used["standard"]) == {"rand_augment", "random_crop"}
    assert set(used["high"]) == {"rand_augment", "elastic", "random_crop"}
    assert set(used["extreme"]) == {*used["high"], "random_erasing"}
    del used["crop"]
    policies = {level: calls["rand_augment"] for level, calls in used.items()}
    amounts = {level: (p["number"], p["level"]) for level, p in policies.items()}
    assert amounts == {"standard": (2, 14), "high": (4, 14), "extreme": (8, 30)}
