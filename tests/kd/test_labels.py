"""Labels of sources: where they come from, and that test images and copies stay apart."""

import dataclasses

import numpy as np
import pytest

from kipax.data import load_dataset
from kipax.errors import UsageError
from kipax.kd import (
    Distillation,
    ImageSpace,
    NetworkTeacher,
)
from kipax.kd.sources.base import classes_of
from kipax.report import Reporter
from tests.kd.cases import (
    EMBEDDED,
    NAMES,
    function_teacher,
    opened,
    read_source,
)


def test_images_have_the_labels_of_their_data():
    digits = load_dataset("digits")
    index = np.array([5, 900, 3])
    source = read_source().read("data")
    np.testing.assert_array_equal(classes_of(source, index), digits.y_train[index])
    swapped = (*NAMES[:3], "8", *NAMES[4:8], "3", "9")
    there = classes_of(read_source(swapped).read("data"), index)
    np.testing.assert_array_equal(np.array(swapped)[there], np.array(NAMES)[digits.y_train[index]])
    part = read_source().read("data:100")
    assert np.bincount(classes_of(part, np.arange(100))).tolist() == [10] * 10
    assert classes_of(read_source(tuple("abcdefghij")).read("data"), index) is None
    assert classes_of(read_source().read("shaders"), index) is None


def test_sources_together_keep_their_labels_apart():
    digits = load_dataset("digits")
    turns = read_source().read("concat:data,shaders")
    found = classes_of(turns, np.array([0, 1, 2, 3]))
    np.testing.assert_array_equal(found, [digits.y_train[0], -1, digits.y_train[1], -1])
    assert classes_of(read_source().read("concat:noise,shaders"), np.arange(3)) is None
    both = read_source().read("join:data:10,data")
    assert both.size == 10 + len(digits.x_train)
    index = np.array([1446, 2, 10])
    np.testing.assert_array_equal(both.images(index, seed=0)[[0, 2]], digits.x_train[[1436, 0]])
    np.testing.assert_array_equal(classes_of(both, index)[[0, 2]], digits.y_train[[1436, 0]])
    with pytest.raises(UsageError, match="shaders has no end: take concat"):
        read_source().read("join:data,shaders")
    with pytest.raises(UsageError, match="two sources or more"):
        read_source().read("join:data")


def test_a_folder_of_a_generator_has_the_labels_of_its_classes(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for name, grey in (("3", 30), ("7", 200)):
        (tmp_path / name).mkdir()
        for number in range(2):
            picture = np.full((20, 20, 3), grey, np.uint8)
            image.fromarray(picture).save(tmp_path / name / f"{number}.png")
    source = read_source().read(f"folder:{tmp_path}")
    images, classes = source.images(np.arange(4), seed=0), classes_of(source, np.arange(4))
    assert images.shape == (4, 8, 8, 1)
    assert sorted(classes.tolist()) == [3, 3, 7, 7]
    np.testing.assert_allclose(images[classes == 7], 200 * 16 / 255, rtol=1e-5)  # of 0 to 16
    with pytest.raises(UsageError, match="folder needs a name, as in folder:PATH"):
        read_source().read("folder")


def test_a_folders_test_images_are_not_trained_on(taught, tmp_path):
    image = pytest.importorskip("PIL.Image")
    digits = load_dataset("digits")
    for part, x, y in (
        ("train", digits.x_train[:60], digits.y_train[:60]),
        ("test", digits.x_test[:30], digits.y_test[:30]),
    ):
        for number, (picture, name) in enumerate(zip(x, y, strict=True)):
            where = tmp_path / "parts" / part / str(name)
            where.mkdir(parents=True, exist_ok=True)
            grey = np.uint8(picture[..., 0] * 15)
            image.fromarray(grey).save(where / f"{number}.png")
    apart = read_source().read(f"folder:{tmp_path / 'parts'}")
    assert apart.size == 60
    mine = load_dataset(f"folder:{tmp_path / 'parts' / 'train'}", image_size=8)
    teacher = function_teacher(
        lambda x: np.ones((len(x), 10)),
        space=ImageSpace((8, 8, 1), 0, 255, mean=(70,), deviation=(80,)),
    )
    seen = f"folder:{tmp_path / 'parts/train'}"
    for source in (seen, f"matched:{seen}", f"concat:noise:uniform,matched:{seen}"):
        with pytest.raises(
            UsageError, match=r"has not seen; 10 test images of .* are among the images of folder"
        ):
            Distillation.open(
                dataclasses.replace(EMBEDDED, loss="kl", source=source),
                teacher=teacher,
                dataset=mine,
                reporter=Reporter(),
            )


def test_default_numbers_are_no_class_names_of_other_data(tmp_path):
    x = np.zeros((20, 8, 8, 1), np.uint8)
    y = np.arange(20) % 10
    np.savez(tmp_path / "plain.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    source = read_source().read(f"dataset:npz:{tmp_path / 'plain.npz'}")
    assert classes_of(source, np.arange(20)) is None
    assert "1,437 of them with a class" in read_source().read("dataset:digits").describe()


def test_classes_that_the_teacher_has_not_are_named(tmp_path):
    x, y = np.zeros((20, 8, 8, 1), np.uint8), np.arange(20) % 10
    names = np.array([*"012345678", "cat"])
    np.savez(tmp_path / "pets.npz", x_train=x, y_train=y, x_test=x, y_test=y, label_names=names)
    words = read_source().read(f"dataset:npz:{tmp_path / 'pets.npz'}").describe()
    assert "18 of them with a class of the teacher's (not cat)" in words


def test_copies_in_two_sources_are_held_out_together(taught, tmp_path):
    run = opened(taught, loss="kl", source="join:data:200,data", images=2000)
    images, _ = run.draw(tmp_path)
    trained, held = images.hold_out()
    seen = {image.tobytes() for image in images.raw(trained)}
    assert not any(image.tobytes() in seen for image in images.raw(held))


def _nameless(teacher):
    """The teacher without the hash of its data, so that other data count as its own."""
    facts = dict(teacher.network.metadata) | {"training_hash": "", "images_hash": ""}
    return NetworkTeacher(dataclasses.replace(teacher.network, metadata=facts))


def test_labels_identify_a_run_that_uses_them(taught):
    digits = load_dataset("digits")
    other = dataclasses.replace(digits, y_train=(digits.y_train + 1) % 10)
    for loss, same in (("crd", False), ("ce+kl", False), ("kl", True)):
        teacher = dataclasses.replace(NetworkTeacher(taught.network))
        hashes = [
            opened(taught, data, _nameless(teacher), loss=loss).identity.hashes["source"]
            for data in (digits, other)
        ]
        assert (hashes[0] == hashes[1]) == same, loss
