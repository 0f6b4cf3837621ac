"""Data sets by name: folders of pictures, TensorFlow Datasets, and what is known by heart."""

import io
import json
import sys
import urllib.request

import numpy as np
import pytest
from PIL import Image

from kipax import Dataset, load_dataset
from kipax.data.content import split_by_content
from kipax.data.known import KNOWN
from kipax.data.sources import describe_dataset
from kipax.errors import FileError, UsageError


def _picture(seed, size=(12, 12), mode="RGB"):
    rng = np.random.default_rng(seed)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
    return Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode)


def _write(folder, n, seed=0, suffix="png", **options):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        _picture(seed + i, **options).save(folder / f"{i}.{suffix}")


# -- folders --------------------------------------------------------------------------------


def test_folder_with_parts(tmp_path):
    for part, n in (("train", 6), ("test", 2)):
        for i, name in enumerate(["cat", "dog"]):
            _write(tmp_path / part / name, n, seed=100 * i + (part == "test") * 10)
    data = load_dataset(f"folder:{tmp_path}", validation_examples=2)
    assert repr(data).endswith("12×12×3 · 2 classes · 10 train / 2 validation / 4 test")
    assert data.class_names == ("cat", "dog")
    assert data.note == ""
    pixels = {x.tobytes() for x in np.concatenate([data.x_train, data.x_validation])}
    assert np.asarray(_picture(100)).tobytes() in pixels


def test_folder_of_classes_is_split_by_content(tmp_path):
    for name, seed in (("a", 0), ("b", 50)):
        _write(tmp_path / "one" / name, 13, seed=seed)
        _write(tmp_path / "two" / name, 13, seed=seed)
        for i in range(13):  # other names, so another order
            file = tmp_path / "two" / name / f"{i}.png"
            file.rename(file.with_name(f"{(i * 5) % 13}-renamed.png"))
    one, two = (load_dataset(f"folder:{tmp_path / p}") for p in ("one", "two"))
    assert (len(one.x_train), len(one.x_test)) == (22, 4)
    assert one.training_hash == two.training_hash
    assert {x.tobytes() for x in one.x_test} == {x.tobytes() for x in two.x_test}


def test_pictures_of_differing_sizes_are_made_equal(tmp_path):
    _write(tmp_path / "a", 2, size=(80, 40), suffix="jpg")
    _write(tmp_path / "b", 2, seed=9, size=(30, 30), mode="RGBA")
    _write(tmp_path / "c", 2, seed=20, size=(20, 90), mode="L", suffix="JPEG")
    data = load_dataset(f"folder:{tmp_path}")
    assert data.image_shape == (32, 32, 3)
    assert data.note == "6 pictures of 3 sizes cut and resized to 32×32"
    assert load_dataset(f"folder:{tmp_path}", image_size=16).image_shape == (16, 16, 3)


def test_grey_pictures_stay_grey(tmp_path):
    for name, seed in (("a", 0), ("b", 9)):
        _write(tmp_path / name, 3, seed=seed, mode="L", size=(9, 7))
    assert load_dataset(f"folder:{tmp_path}").image_shape == (7, 9, 1)


def test_large_pictures_of_one_size_are_resized(tmp_path):
    for name, seed in (("a", 0), ("b", 9)):
        _write(tmp_path / name, 2, seed=seed, size=(200, 100))
    data = load_dataset(f"folder:{tmp_path}")
    assert data.note == "4 pictures of 200×100 cut and resized to 32×32"


def test_transparency_is_laid_on_white(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.new("RGBA", (4, 4), (i, 0, 0, 0)).save(tmp_path / name / f"{i}.png")
    assert np.all(load_dataset(f"folder:{tmp_path}").x_train == 255)


def test_bad_folders(tmp_path):
    with pytest.raises(FileError, match="no such folder"):
        load_dataset(f"folder:{tmp_path}/none")
    with pytest.raises(UsageError, match="found none"):
        load_dataset(f"folder:{tmp_path}")
    _write(tmp_path / "one", 3)
    with pytest.raises(UsageError, match="found only 'one'"):
        load_dataset(f"folder:{tmp_path}")
    _write(tmp_path / "two", 1, seed=5)
    with pytest.raises(UsageError, match=r"at least two images.*'two' has 1"):
        load_dataset(f"folder:{tmp_path}")
    (tmp_path / "two" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    with pytest.raises(FileError, match=r"two/broken\.png does not decode"):
        load_dataset(f"folder:{tmp_path}")
    with pytest.raises(UsageError, match="a path must follow folder"):
        load_dataset("folder:")


def test_a_class_without_pictures_is_not_lost(tmp_path):
    for seed, name in enumerate("abc"):
        _write(tmp_path / name, 2, seed=5 * seed)
    _write(tmp_path / "d", 2, seed=20, suffix="ppm")
    with pytest.raises(UsageError, match=r"/d holds 0\.ppm .*rename the folder to \.d to leave it"):
        load_dataset(f"folder:{tmp_path}")
    (tmp_path / "d").rename(tmp_path / ".d")
    (tmp_path / "bb").mkdir()
    with pytest.raises(UsageError, match=r"/bb holds nothing: put pictures there, or rename"):
        load_dataset(f"folder:{tmp_path}")
    (tmp_path / "bb").rmdir()
    data = load_dataset(f"folder:{tmp_path}")
    assert data.class_names == ("a", "b", "c")
    assert data.note == "left out: hidden files and folders (1: .d)"


def test_bad_parts(tmp_path):
    _write(tmp_path / "train" / "a", 2)
    _write(tmp_path / "train" / "b", 2, seed=5)
    with pytest.raises(FileError, match="needs test/ too"):
        load_dataset(f"folder:{tmp_path}")
    _write(tmp_path / "test" / "c", 1)
    with pytest.raises(UsageError, match=r"classes without training pictures: \['c'\]"):
        load_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize("names", [("training", "testing"), ("Train", "Test")])
def test_parts_by_other_names_are_no_classes(tmp_path, names):
    for part in names:
        _write(tmp_path / part / "a", 2)
    with pytest.raises(UsageError, match="call the parts train and test"):
        load_dataset(f"folder:{tmp_path}")


def test_what_a_file_manager_leaves_behind(tmp_path):
    for name, seed in (("a", 0), ("b", 9)):
        _write(tmp_path / name, 2, seed=seed)
        (tmp_path / name / "._0.png").write_bytes(b"no picture")
        (tmp_path / name / "x.png").mkdir()
        _write(tmp_path / name / ".checkpoints", 2, seed=30)
    assert len(load_dataset(f"folder:{tmp_path}").x_train) == 2


def test_turned_pictures_have_the_size_that_they_show(tmp_path):
    for name, seed in (("a", 0), ("b", 9)):
        (tmp_path / name).mkdir()
        for i in range(2):
            exif = Image.Exif()
            exif[0x0112] = 6
            _picture(seed + i, size=(12, 20)).save(tmp_path / name / f"{i}.jpg", exif=exif)
    assert load_dataset(f"folder:{tmp_path}").image_shape == (12, 20, 3)


def test_a_size_for_what_has_one(tmp_path):
    with pytest.raises(UsageError, match="digits has one size"):
        load_dataset("digits", image_size=16)


def test_split_by_content_takes_the_same_images_in_any_order():
    x = np.random.default_rng(0).integers(0, 256, (60, 2, 2, 1)).astype(np.uint8)
    y = np.arange(60) % 3
    order = np.random.default_rng(1).permutation(60)
    parts = [split_by_content(a, b, "abc") for a, b in ((x, y), (x[order], y[order]))]
    tests = [{i.tobytes() for i in p["x_test"]} for p in parts]
    assert tests[0] == tests[1]
    assert np.bincount(parts[0]["y_test"]).tolist() == [3, 3, 3]


def test_one_class_is_no_data_set():
    x = np.zeros((4, 2, 2, 1), np.uint8)
    y = np.zeros(4, int)
    with pytest.raises(UsageError, match="at least two classes"):
        Dataset.from_arrays({"x_train": x, "y_train": y, "x_test": x, "y_test": y})


# -- TensorFlow Datasets --------------------------------------------------------------------


def _arrays(shape, classes, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (60, *shape)).astype(np.uint8),
        "y_train": np.arange(60) % classes,
        "x_test": rng.integers(0, 256, (20, *shape)).astype(np.uint8),
        "y_test": np.arange(20) % classes,
    }


def _prepare(tfds, name, root, arrays):
    """A data set of the catalogue with these images, stored without TensorFlow."""
    builder = tfds.builder(name, data_dir=str(root), file_format="array_record")

    def examples(part):
        for i, (image, label) in enumerate(
            zip(arrays[f"x_{part}"], arrays[f"y_{part}"], strict=True)
        ):
            png = io.BytesIO()
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(png, "png")
            png.seek(0)
            features = {"image": png, "label": int(label), "id": str(i), "coarse_label": 0}
            yield i, {k: v for k, v in features.items() if k in builder.info.features}

    builder._split_generators = lambda dl: {p: examples(p) for p in ("train", "test")}
    builder.download_and_prepare()
    return builder


@pytest.fixture(scope="module")
def tfds():
    return pytest.importorskip("tensorflow_datasets", reason="needs the extra data")


@pytest.mark.filterwarnings("ignore")  # of the catalogue's own making
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_tfds_and_npz_are_one_data_set(tfds, tmp_path, name):
    facts = KNOWN[name]
    arrays = _arrays(facts.image_shape, 10)
    _prepare(tfds, name, tmp_path, arrays)
    np.savez(tmp_path / "set.npz", label_names=np.array(facts.class_names), **arrays)
    data = load_dataset(name, data_dir=tmp_path, validation_examples=20)
    other = load_dataset(f"npz:{tmp_path / 'set.npz'}", validation_examples=20)
    assert data.training_hash == other.training_hash
    assert data.class_names == other.class_names == facts.class_names
    for part in ("train", "validation", "test"):  # stored in another order
        sets = [
            sorted(
                zip(
                    (x.tobytes() for x in getattr(d, f"x_{part}")),
                    getattr(d, f"y_{part}"),
                    strict=True,
                )
            )
            for d in (data, other)
        ]
        assert sets[0] == sets[1]


@pytest.mark.filterwarnings("ignore")
def test_tfds_stored_as_tfrecord_names_the_extra(tfds, tmp_path, monkeypatch):
    builder = _prepare(tfds, "mnist", tmp_path, _arrays((28, 28, 1), 10))
    info = next(tmp_path.rglob("dataset_info.json"))
    content = json.loads(info.read_text())
    content["fileFormat"] = "tfrecord"
    info.write_text(json.dumps(content))
    for record in info.parent.glob("*array_record*"):
        record.rename(str(record).replace("array_record", "tfrecord"))
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError, match=r"stored as tfrecord .* pip install 'kipax\[tfds\]'"):
        load_dataset("mnist", data_dir=tmp_path)
    del builder


@pytest.mark.filterwarnings("ignore")
def test_prepares_what_is_not_there_and_reads_it(tfds, tmp_path, monkeypatch):
    """With a network and TensorFlow, both played here."""
    arrays = _arrays((28, 28, 1), 10)
    make = tfds.builder

    def builder(name, **options):
        made = make(name, **options)
        if options.get("file_format"):
            monkeypatch.setattr(made, "download_and_prepare", lambda: fill(name))
        return made

    def fill(name):
        with monkeypatch.context() as patch:
            patch.setattr(tfds, "builder", make)
            _prepare(tfds, name, tmp_path, arrays)

    monkeypatch.setattr(tfds, "builder", builder)
    monkeypatch.setattr("kipax.data.tfds._has_network", lambda: True)
    monkeypatch.setattr("kipax.data.tfds._import_tensorflow", lambda why: None)
    data = load_dataset("mnist", data_dir=tmp_path)
    assert (len(data.x_train), len(data.x_test)) == (60, 20)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["emnist/letters", "mnist:3.0.1"])
def test_configs_and_versions_are_known(tfds, tmp_path, monkeypatch, name):
    monkeypatch.setattr("kipax.data.tfds._has_network", lambda: False)
    with pytest.raises(FileError, match=f"{name} is not in {tmp_path} and there is no network"):
        load_dataset(name, data_dir=tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_without_a_network(tfds, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(FileError, match=r"cifar10 is not in .* no network: put .*npz:PATH"):
        load_dataset("cifar10", data_dir=tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_preparing_names_the_extra(tfds, tmp_path, monkeypatch):
    monkeypatch.setattr("kipax.data.tfds._has_network", lambda: True)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError, match=r"preparing cifar10 needs .* 'kipax\[tfds\]'"):
        load_dataset("cifar10", data_dir=tmp_path)


def test_without_tensorflow_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'kipax\[data\]'"):
        load_dataset("cifar10")
    with pytest.raises(UsageError, match="did you mean cifar10 or cifar100"):
        load_dataset("cifar")
    with pytest.raises(UsageError, match=r"these need pip install 'kipax\[data\]'"):
        load_dataset("eurosat")


@pytest.mark.filterwarnings("ignore")
def test_a_set_without_classes_is_refused(tfds, tmp_path):
    with pytest.raises(UsageError, match="no image classification set"):
        load_dataset("ag_news_subset", data_dir=tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_known_by_heart_is_what_the_catalogue_says(tfds, tmp_path):
    for name, facts in KNOWN.items():
        if name == "digits":
            continue
        features = tfds.builder(name, data_dir=str(tmp_path)).info.features
        assert features["image"].shape == facts.image_shape
        assert (
            features["label"].num_classes == len(facts.class_names) == len(set(facts.class_names))
        )
        if not features["label"].names[0].isdigit():
            assert tuple(features["label"].names) == facts.class_names


def test_digits_are_as_known():
    data, facts = load_dataset("digits"), describe_dataset("digits")
    assert (len(data.x_train), len(data.x_test)) == (facts.train_examples, facts.test_examples)
    assert (data.image_shape, data.class_names) == (facts.image_shape, facts.class_names)
    assert describe_dataset("npz:set.npz") is None
