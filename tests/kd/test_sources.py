"""Sources: pure functions of seed and index, in the teacher's units."""

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import kipax
from kipax.augment.geometry import random_box
from kipax.data import Dataset
from kipax.errors import FileError, UsageError
from kipax.kd.sources import Images, ImageSpace, Matched, SourceReader, make_pyramid
from kipax.kd.sources.arrays import _with_channels
from kipax.kd.sources.fields import FIELDS
from kipax.kd.sources.leaves import _draw_leaves, _inside, _Leaves, draw_leaves
from kipax.kd.sources.photo import _patch, _sample
from kipax.kd.sources.shaders import Shaders, _few_colours

GREY = ImageSpace((8, 8, 1), 0.0, 16.0, (4.9,), (6.0,))
COLOUR = ImageSpace((12, 10, 3), -1.0, 1.0, (0.1, -0.2, 0.0), (0.5, 0.4, 0.6))


def _reader(space=COLOUR, data=None):
    return SourceReader(space, lambda: data or kipax.load_dataset("digits"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(120, 160, 3)), (6, 6, 0))
    pixels = np.clip(128 + 900 * smooth, 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


NAMES = [
    "photo",
    "shaders",
    "leaves",
    "fractals",
    "noise",
    "noise:uniform",
    "matched:leaves",
    "blend:0.3:shaders,noise",
    "concat:photo,shaders",
]


@pytest.mark.parametrize("space", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_made_again_from_seed_and_index(name, space):
    source = _reader(space).read(name)
    index = np.array([3, 90, 41, 3])
    some = source.images(index, seed=5)
    assert some.shape == (4, *space.shape)
    assert some.dtype == np.float32
    np.testing.assert_array_equal(some[0], some[3])
    many = source.images(np.arange(100), seed=5)
    np.testing.assert_array_equal(some, many[index])
    assert not np.array_equal(some, source.images(index, seed=6))
    assert len({image.tobytes() for image in many}) == 100
    assert many.min() >= space.low - 1e-5
    assert many.max() <= space.high + 1e-5
    assert source.name == name
    assert source.describe()


def test_noise_has_the_teachers_statistics():
    space = ImageSpace((16, 16, 3), -9.0, 9.0, (0.1, -0.2, 0.0), (0.5, 0.4, 0.6))
    drawn = _reader(space).read("noise").images(np.arange(500), seed=0)
    np.testing.assert_allclose(drawn.mean(axis=(0, 1, 2)), space.mean, atol=0.01)
    np.testing.assert_allclose(drawn.std(axis=(0, 1, 2)), space.deviation, atol=0.01)
    flat = _reader(space).read("noise:uniform").images(np.arange(500), seed=0)
    np.testing.assert_allclose([flat.mean(), flat.std()], [0, 18 / 12**0.5], atol=0.1)
    unknown = ImageSpace((4, 4, 1), 0.0, 1.0)
    with pytest.raises(UsageError, match=r"does not say mean and deviation.*noise:uniform"):
        _reader(unknown).read("noise")


def test_matched_images_have_the_teachers_statistics_each():
    space = ImageSpace((16, 12, 3), -9.0, 9.0, (0.1, -0.2, 0.0), (0.5, 0.4, 0.6))
    images = _reader(space).read("matched:photo").images(np.arange(20), seed=0)
    np.testing.assert_allclose(images.mean(axis=(1, 2)), [space.mean] * 20, atol=1e-5)
    np.testing.assert_allclose(images.std(axis=(1, 2)), [space.deviation] * 20, rtol=1e-4)
    # What the teacher could not have seen is cut off; an image of one grey keeps the mean.
    pixels = np.stack([np.eye(8), np.full((8, 8), 0.3)])[..., None]
    grey = Images("two", pixels, "two images", labels=np.array([3, -1]))
    narrow = ImageSpace((8, 8, 1), 0.0, 1.0, (0.2,), (0.6,))
    matched = Matched(grey, narrow)
    line, flat = matched.images(np.arange(2), seed=0)
    assert (line.min(), line.max()) == (0.0, 1.0)
    np.testing.assert_allclose(flat, 0.2, atol=1e-4)
    assert matched.size == 2
    np.testing.assert_array_equal(matched.classes(np.arange(2)), [3, -1])
    with pytest.raises(
        UsageError, match=r"mean and deviation.*matched:shaders needs: take shaders"
    ):
        _reader(ImageSpace((4, 4, 1), 0.0, 1.0)).read("matched:shaders")


# -- photos --------------------------------------------------------------------------------------


def test_the_finest_level_of_a_pyramid_is_the_photo_and_the_next_its_half():
    photo = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    pyramid = make_pyramid(photo)
    grid = np.stack(np.meshgrid(np.arange(40.0), np.arange(50.0), indexing="ij"), -1)
    np.testing.assert_allclose(_sample(pyramid, 0, grid), photo / 255, atol=1e-6)
    half = photo.reshape(20, 2, 25, 2, 3).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(_sample(pyramid, 1, grid[::2, ::2] + 0.5), half, atol=1e-5)


@pytest.mark.slow
def test_a_patch_lies_where_the_composed_steps_say():
    """The warp of a photo of coordinates gives each pixel's place; the steps one by one agree."""
    rows, columns = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    photo = np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)
    pyramid, shape, side = make_pyramid(photo), (16, 16), 128
    seen, ranges = 0, {"scale": (2e-3, 1.0), "ratio": (3 / 4, 4 / 3)}
    for number in range(6):
        key = jax.random.key(number)
        keys = jax.random.split(key, 7)
        patch = 255 * np.asarray(_patch(pyramid, key, shape, side))
        if jax.random.bernoulli(keys[5]):
            continue  # its colours were changed: they tell no place
        crop = np.floor(np.asarray(jax.random.uniform(keys[0], (2,))) * (256 - side + 1))
        corner, box, _ = map(np.asarray, random_box(keys[1], (side, side), **ranges))
        turn, shear = (
            np.deg2rad(float(jax.random.uniform(k, (), minval=-30.0, maxval=30.0)))
            for k in keys[2:4]
        )
        mirror = np.where(np.asarray(jax.random.bernoulli(keys[4], shape=(2,))), -1, 1)
        frame = int(2**0.5 * 16)
        for place in ((3, 4), (8, 8), (12, 2)):
            d = (np.array(place) - 7.5) * mirror
            d = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) @ d
            d = np.array([[1, 0], [np.tan(shear), 1]]) @ d
            at = crop + corner + (d + (frame - 1) / 2 + 0.5) * box / frame - 0.5
            inside = np.all((d + frame / 2 > 0) & (d + frame / 2 < frame))
            if inside and np.all((at > 8) & (at < 247)):
                np.testing.assert_allclose(patch[place][:2], at, atol=1.5)
                seen += 1
    assert seen > 3


def test_photos_that_do_not_serve(tmp_path, photo):
    assert _reader().read(f"photo:{photo}").images(np.arange(3), seed=0).shape == (3, 12, 10, 3)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(FileError, match="does not decode as a picture"):
        _reader().read(f"photo:{tmp_path / 'text.png'}")
    with pytest.raises(FileError):
        _reader().read("photo:not_there.png")
    small = tmp_path / "small.png"
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(small)
    with pytest.raises(UsageError, match="twice the pixels of a patch along each side, here 24"):
        _reader().read(f"photo:{small}")


# -- formulae ------------------------------------------------------------------------------------


def test_every_formula_is_finite_and_shows_something():
    assert len(FIELDS) >= 32
    images = Shaders(ImageSpace((16, 16, 3), 0.0, 1.0)).images(np.arange(8 * len(FIELDS)), seed=0)
    assert np.all(np.isfinite(images))
    few = [_few_colours(image) for image in images]
    assert sum(few) == 0
    for number, name in enumerate(FIELDS):
        own = images[number :: len(FIELDS)]
        assert len({image.tobytes() for image in own}) == 8, name
        assert np.median(own.std(axis=(1, 2)).max(axis=1)) > 0.02, name
    assert _few_colours(np.zeros((4, 4, 3)))
    assert not _few_colours(np.eye(3)[None] / 2 + np.zeros((3, 3, 3)))


# -- given images --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (40, 12, 10, 3)).astype(np.uint8)
    y = np.arange(40) % 4
    return Dataset.from_arrays({"x_train": x, "y_train": y, "x_test": x[:8], "y_test": y[:8]})


def test_own_data_are_as_they_are_and_a_part_is_balanced(pictures):
    reader = _reader(COLOUR, pictures)
    whole = reader.read("data")
    np.testing.assert_array_equal(whole.images(np.arange(40), seed=3), pictures.x_train)
    part = reader.read("data:12")
    assert part.size == 12
    classes = [
        pictures.y_train[np.flatnonzero((pictures.x_train == image).all(axis=(1, 2, 3)))[0]]
        for image in part.images(np.arange(12), seed=0)
    ]
    assert np.bincount(classes).tolist() == [3] * 4
    tail = reader.read("data:20:8")
    same = (pictures.x_train[:, None] == tail.images(np.arange(20), seed=0)).all(axis=(2, 3, 4))
    assert np.bincount(pictures.y_train[same.argmax(0)]).tolist() == [11, 5, 3, 1]  # 8 to 1
    assert "a long tail of 8 to 1" in tail.describe()
    for wrong in ("data:0", "data:-4", "data:8:0.5", "data:8:x"):
        with pytest.raises(UsageError, match="data:N:R the largest class over the smallest"):
            reader.read(wrong)
    with pytest.raises(UsageError, match="got a part of 100"):
        reader.read("data:100")
    with pytest.raises(UsageError, match="a multiple of the 4 classes; got 7"):
        reader.read("data:7")


def test_another_data_set_is_made_to_fit_and_says_so(tmp_path, pictures):
    np.savez(
        tmp_path / "other.npz",
        x_train=pictures.x_train,
        y_train=pictures.y_train,
        x_test=pictures.x_test,
        y_test=pictures.y_test,
    )
    source = _reader(GREY).read(f"dataset:npz:{tmp_path / 'other.npz'}")
    images = source.images(np.arange(40), seed=0)
    assert images.shape == (40, 8, 8, 1)
    assert images.min() >= 0
    assert images.max() <= 16
    for words in ("spread over the teacher's 0 to 16", "resized from 12 x 10", "in grey"):
        assert words in source.describe()


def test_channels_are_converted_as_they_should_be():
    x = np.random.default_rng(0).uniform(0, 9, (2, 4, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(_with_channels(x, 3, 9.0), x[..., :3])
    np.testing.assert_array_equal(_with_channels(x[..., :3], 4, 9.0)[..., 3], 9.0)
    np.testing.assert_array_equal(_with_channels(x[..., :1], 3, 9.0)[..., 2], x[..., 0])
    luma = x[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(_with_channels(x, 1, 9.0)[..., 0], luma, rtol=1e-5)
    with pytest.raises(UsageError, match="images of 2 channels do not become images of 3"):
        _with_channels(x[..., :2], 3, 9.0)


def test_a_distilled_set_is_unwhitened():
    support = kipax.load("fashion_mnist-convnet-10")
    space = ImageSpace((28, 28, 1), 0.0, 255.0)
    source = _reader(space).read("support:fashion_mnist-convnet-10")
    images = source.images(np.arange(10), seed=0)
    expected = support.preprocessor.invert(support.images, support.statistics)
    np.testing.assert_allclose(images, expected, atol=1e-3)
    assert source.size == 10
    assert "not clipped" in source.describe()


def test_blends_and_rows_of_sources_are_what_they_say(pictures):
    reader = _reader(COLOUR, pictures)
    blend = reader.read("blend:0.25:shaders,noise")
    one = reader.read("shaders").images(np.arange(5), seed=2)
    two = reader.read("noise").images(np.arange(5), seed=3)
    np.testing.assert_allclose(
        blend.images(np.arange(5), seed=2), 0.25 * one + 0.75 * two, rtol=1e-5
    )
    row = reader.read("concat:shaders,data")
    images = row.images(np.arange(6), seed=2)
    np.testing.assert_array_equal(images[::2], reader.read("shaders").images(np.arange(3), seed=2))
    np.testing.assert_array_equal(images[1::2], pictures.x_train[:3])
    assert row.size == 80


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shader", "unknown source 'shader'; did you mean shaders"),
        ("noise:pink", "unknown noise 'pink'"),
        ("shaders:3", "nothing follows shaders in a source; got shaders:3"),
        ("data:x", "data:N takes a number of images"),
        ("photo:", "something must follow photo:"),
        ("dataset", "dataset needs a name, as in dataset:NAME"),
        ("blend:2:photo,noise", "a weight from 0 to 1 and two sources"),
        ("blend:0.5:photo", "a weight from 0 to 1 and two sources"),
        ("matched", "matched needs a name, as in matched:photo"),
        ("matched:shader", "unknown source 'shader'"),
        ("concat:photo", "concat takes two sources or more"),
    ],
)
def test_sources_that_there_are_not(text, message):
    with pytest.raises(UsageError, match=message):
        _reader().read(text)


@pytest.mark.slow
def test_leaves_cover_a_picture_and_their_radii_follow_a_power_law():
    keys = jax.random.split(jax.random.key(2), 64)
    pictures = np.asarray(draw_leaves(keys[:8], (20, 28)))
    assert pictures.shape == (8, 20, 28, 3)
    assert (pictures.sum(axis=-1) > 0).all()  # nothing stays black
    assert pictures.max() <= 1
    assert 20 < len(np.unique(pictures[0].reshape(-1, 3), axis=0)) < 20 * 28
    leaves = jax.vmap(lambda key: _draw_leaves(key, (20, 28)))(keys)
    circles = np.isfinite(np.asarray(leaves.radius))
    assert circles.mean() == pytest.approx(1 / 6, abs=0.02)
    radii = np.asarray(leaves.radius)[circles]
    low, high = 0.03 * 28, 28.0
    assert radii.min() >= low * 0.999
    assert radii.max() <= high * 1.001
    # The share of radii above t, if their density between low and high is proportional to r^-3.
    for t in (1.0, 2.0, 5.0):
        tail = (t**-2 - high**-2) / (low**-2 - high**-2)
        assert np.mean(radii > t) == pytest.approx(tail, abs=0.06)


def test_a_leaf_holds_the_pixels_of_its_shape():
    square = _Leaves(
        np.array([[4.0, 3.0]]),
        np.array([np.inf]),
        np.array([[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]]),
        np.full((1, 4), 2.0),
        np.ones((1, 3)),
    )
    columns, rows = np.arange(8) + 0.5, np.arange(6) + 0.5
    inside = np.asarray(_inside(square, columns, rows))[0]
    assert inside.sum() == 16
    assert inside[1:5, 2:6].all()
    circle = square._replace(radius=np.array([1.0]), offsets=np.full((1, 4), np.inf))
    assert np.asarray(_inside(circle, columns, rows))[0].sum() == 4
