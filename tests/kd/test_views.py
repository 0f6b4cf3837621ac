"""Views: the same images for student and teacher, changed as each level says."""

import dataclasses

import numpy as np
import pytest

from kipax.data import Standard
from kipax.errors import UsageError
from kipax.kd import ImageSpace, Views
from kipax.kd.views import LEVELS, MIXES, ViewedBatches
from kipax.training import Epochs

SPACE = ImageSpace((16, 16, 3), -2.0, 6.0, (1.0, 1.0, 1.0), (2.0, 2.0, 2.0))


def _batches(views, n=12, seed=0):
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
