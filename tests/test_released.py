"""The authors' released sets: names, index, and the preprocessing that reproduces them.

There is no network here: files and index are written by the tests, in the released form.
"""

import numpy as np
import pytest

from kipax import Dataset, make_kernel_fn, ridge
from kipax.data.zca import ZCA
from kipax.errors import FileError, UsageError
from kipax.released import load_released, parse_name, read_index

NAME = "cifar10/ConvNet_ssize10_zca_l_noaug_ckpt1000.npz"
LOGIN = "https://storage.cloud.google.com/kip-datasets/kip/"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (NAME, ("cifar10", "convnet", 10, True, True, False, 1000)),
        (
            "kip/svhn_cropped/ConvNet3_ssize500_nozca_nol_aug_ckpt50000.npz",
            ("svhn_cropped", "convnet3", 500, False, False, True, 50000),
        ),
        (
            "ls/cifar100/ConvNet_ssize100_zca.npz",
            ("cifar100", "convnet", 100, True, True, False, None),
        ),
        ("mnist/ssize10_nozca_l_noaug_ckpt0.npz", ("mnist", "convnet", 10, False, True, False, 0)),
    ],
)
def test_names(name, expected):
    entry = parse_name(name)
    fields = ("dataset", "architecture", "support", "zca", "learned_labels", "augmented", "step")
    assert tuple(getattr(entry, f) for f in fields) == expected


def test_lambda_is_the_papers():
    def of(name):
        return parse_name(name).zca_lambda

    assert of(NAME) == 0.1
    assert of("svhn_cropped/ConvNet_ssize10_zca_l_aug_ckpt1.npz") == 100.0
    assert of("svhn_cropped/ConvNet_ssize10_zca_l_noaug_ckpt1.npz") == 0.1
    assert of("svhn_cropped/ConvNet_ssize10_zca.npz") == 100.0


def test_foreign_name():
    with pytest.raises(UsageError, match="a released set is called"):
        parse_name("cifar10/support.npz")


def _write_index(path, rows):
    header = "architecture,dataset,ssize,zca,l,aug,ckpt,test_acc,test_mse,URL\n"
    lines = [f"ConvNet,cifar10,10,True,True,False,1000,{a},0.04,{LOGIN}{n}" for n, a in rows]
    path.write_text(header + "\n".join(lines) + "\n")
    return path


def test_index(tmp_path):
    (row,) = read_index(_write_index(tmp_path / "kip.csv", [(NAME, 0.5)]))
    assert row.url == f"https://storage.googleapis.com/kip-datasets/kip/{NAME}"
    assert row.test_accuracy == 0.5
    assert row.step == 1000


def test_bad_index(tmp_path):
    with pytest.raises(FileError, match="could not read the index"):
        read_index(tmp_path / "none.csv")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FileError, match=r"line 2 of .* is no row of the index"):
        read_index(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("URL,test_acc\n")
    with pytest.raises(FileError, match="has no rows"):
        read_index(tmp_path / "b.csv")


# -- sets -----------------------------------------------------------------------------------


def _images(y, seed):
    """8 x 8 pictures whose class shows in their colour, though not always."""
    rng = np.random.default_rng(seed)
    x = 128 + rng.normal(0, 45, (len(y), 8, 8, 3)) + rng.normal(0, 30, (len(y), 1, 1, 3))
    x[np.arange(len(y)), :, :, y] += 40
    return np.clip(x, 0, 255)


@pytest.fixture(scope="module")
def data():
    y, y_test = np.arange(5202) % 3, np.arange(300) % 3
    x, x_test = (_images(*p).astype(np.uint8) for p in ((y, 0), (y_test, 1)))
    arrays = {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}
    return Dataset.from_arrays(arrays, class_names=list("abc"))


def _released(folder, data, preprocessor):
    """A file in the released form, and the test accuracy that its index would give."""
    images = preprocessor.apply(data.x_train[:9])
    labels = ridge.one_hot(data.y_train[:9], 3)
    (folder / "cifar10").mkdir()
    path = folder / "cifar10" / "ConvNet_ssize9_zca_l_noaug_ckpt4.npz"
    np.savez(path, images=images, labels=labels)
    kernel_fn = make_kernel_fn("convnet")
    alpha = ridge.solve(np.asarray(kernel_fn(images)), labels, ridge=1e-6).alpha
    k_ts = np.asarray(kernel_fn(preprocessor.apply(data.x_test), images))
    return path, ridge.accuracy(ridge.predict(k_ts, alpha), data.y_test)


def test_the_fit_that_reproduces_the_index_is_kept(tmp_path, data):
    """Of the notebook's two possible fits, whichever the index's accuracy belongs to."""
    x = data.x_train
    kinds = {
        "zca on all": ZCA.fit(x, zca_lambda=0.1),
        "zca on the first 202": ZCA.fit(x[:202], zca_lambda=0.1, standardise_on=x),
    }
    accuracies = {}
    for name, zca in kinds.items():
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        path, accuracy = _released(folder, data, zca)
        accuracies[name] = accuracy
        (entry,) = read_index(
            _write_index(folder / "kip.csv", [(f"cifar10/{path.name}", accuracy)])
        )
        support = load_released(path, data, entry=entry)
        assert support.metadata["preprocessing_fit"] == name
        assert support.metadata["reproduced"] is True
        assert support.metadata["test_accuracy"] == accuracy
        assert "step 4; test accuracy" in str(support)
    assert len(set(accuracies.values())) == 2  # else the test could not tell them apart
    assert min(accuracies.values()) > 0.36


def test_without_an_index_the_notebooks_fit_is_taken(tmp_path, data):
    zca = ZCA.fit(data.x_train[:202], zca_lambda=0.1, standardise_on=data.x_train)
    path, accuracy = _released(tmp_path, data, zca)
    support = load_released(path, data)
    assert support.metadata["test_accuracy"] == accuracy
    assert support.metadata["reproduced"] is False


def test_bad_files(tmp_path, data):
    (tmp_path / "cifar10").mkdir()
    path = tmp_path / "cifar10" / "ConvNet_ssize9_nozca_l_noaug_ckpt4.npz"
    np.savez(path, images=np.zeros((9, 8, 8, 3)))
    with pytest.raises(FileError, match="lacks labels"):
        load_released(path, data)
    np.savez(path, images=np.zeros((8, 8, 8, 3)), labels=np.zeros((8, 3)))
    with pytest.raises(FileError, match="holds 8 images, its name says 9"):
        load_released(path, data)
    np.savez(path, images=np.zeros((9, 4, 4, 3)), labels=np.zeros((9, 3)))
    with pytest.raises(UsageError, match=r"takes images \(4, 4, 3\) of 3 classes"):
        load_released(path, data)
    np.savez(path, images=np.zeros((9, 8, 8, 3)), labels=np.zeros((9, 5)))
    with pytest.raises(UsageError, match="5 classes"):
        load_released(path, data)
    path.write_bytes(b"no file of theirs")
    with pytest.raises(FileError, match="not an npz file"):
        load_released(path, data)
    np.savez(path, images=np.zeros((9, 8, 8, 3)), labels=np.zeros((9, 3)))
    with pytest.raises(UsageError, match="with validation_examples=0"):
        load_released(path, data.hold_out(10))
