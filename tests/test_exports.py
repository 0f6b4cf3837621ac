"""Exports: layouts, labels, PNG files, tensors."""

import csv
import dataclasses
import sys

import numpy as np
import pytest
from PIL import Image

import kipax
from kipax.errors import FileError, UsageError
from tests.test_support import make_support

pytestmark = pytest.mark.pictures


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_arrays(layout):
    support = make_support()
    arrays = support.to_arrays(layout, preprocessed=False)
    images = arrays["images"] if layout == "NHWC" else arrays["images"].transpose(0, 2, 3, 1)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, support.to_uint8_images())
    np.testing.assert_array_equal(arrays["soft_labels"], support.labels)
    assert arrays["labels"].tolist() == [0, 1, 2, 0, 1, 2]
    arrays = support.to_arrays(layout)
    assert arrays["images"].dtype == np.float32
    before = support.images.copy(), support.labels.copy()
    for name in ("images", "soft_labels"):  # copies: the set itself stays as it is
        arrays[name] *= 0
    np.testing.assert_array_equal(support.images, before[0])
    np.testing.assert_array_equal(support.labels, before[1])
    with pytest.raises(UsageError, match="unknown layout 'HWC'"):
        support.to_arrays("HWC")


def test_png(tmp_path):
    support = make_support()
    support.save_png(tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size[0] > 50


@pytest.mark.parametrize("shape", [(4, 4, 1), (4, 4, 3)])
def test_folder(tmp_path, shape):
    support = make_support(shape=shape, class_names=["cat/dog", "T-shirt", "ant"])
    support.save_folder(tmp_path / "out")
    with open(tmp_path / "out" / "labels.csv") as f:
        rows = list(csv.reader(f))
    assert rows[0] == ["file", "class", "cat/dog", "T-shirt", "ant"]
    assert rows[1][:2] == ["000_cat_dog/00000.png", "cat/dog"]
    for i, row in enumerate(rows[1:]):
        with Image.open(tmp_path / "out" / row[0]) as file:
            picture = np.asarray(file).reshape(shape)
        np.testing.assert_array_equal(picture, support.to_uint8_images()[i])
        np.testing.assert_allclose([float(v) for v in row[2:]], support.labels[i], rtol=1e-5)


def test_a_copy_with_other_images_shows_its_own():
    """This set keeps pictures in its file, since its whitening is a recipe."""
    support = kipax.load("cifar10-convnet-10-zca")
    assert support.pictures is not None
    statistics = np.zeros_like(support.statistics)
    same = dataclasses.replace(support, labels=support.labels + 1, statistics=statistics)
    np.testing.assert_array_equal(same.to_uint8_images(), support.to_uint8_images())
    other = dataclasses.replace(support, images=support.images[::-1])
    assert other.pictures is None
    assert dataclasses.replace(other, labels=support.labels).pictures is None


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="could not make"):
        make_support().save_folder(tmp_path / "file")


def test_folder_of_another_set(tmp_path):
    make_support().save_folder(tmp_path / "out")
    with pytest.raises(FileError, match="out holds files: name another"):
        make_support().save_folder(tmp_path / "out")


def test_tensors():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    support = make_support()
    tensors = support.to_torch()
    assert tensors["images"].shape == (6, 1, 4, 4)
    assert tensors["images"].dtype == torch.float32
    assert tensors["labels"].tolist() == [0, 1, 2, 0, 1, 2]
    assert support.to_torch(preprocessed=False)["images"].dtype == torch.uint8


def test_without_torch_or_pillow(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="pip install torch"):
        make_support().to_torch()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        make_support().save_folder(tmp_path)
