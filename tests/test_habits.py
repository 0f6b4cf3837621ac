"""What people do to the public functions: other types, other places, other pictures."""

import dataclasses
import os

import jax
import numpy as np
import pytest
from PIL import Image

import kipax
from kipax import (
    Dataset,
    KIPConfig,
    LabelSolveConfig,
    load_dataset,
    ridge,
    run_kip,
    run_label_solve,
)
from kipax.data import fit_preprocessor
from kipax.errors import FailedRunError, FileError, UsageError
from kipax.students import StudentSpec
from kipax.transfer import EvaluateConfig, evaluate
from kipax.transfer.subjects import check_data
from tests.real import real_dataset
from tests.test_pixels import _digits, _learned
from tests.test_support import make_support

TINY = {"architecture": "fc1", "steps": 1, "target_batch": 20, "eval_examples": 20}


# -- pictures and pixels --------------------------------------------------------------------------


def test_palette_pictures_are_no_brightness():
    picture = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).convert("P")
    with pytest.raises(UsageError, match=r'give picture\.convert\("RGB"\)'):
        make_support().predict([picture, picture])
    with pytest.raises(UsageError, match="palette"):
        make_support().predict(picture)
    grey = Image.fromarray(np.full((4, 4), 9, np.uint8))
    assert make_support().predict([grey, grey]).shape == (2,)


def test_inverted_ink_is_told():
    data = real_dataset("mnist")
    facts = data.pixels
    assert facts.mismatch(data.x_test[:500]) is None
    words = facts.mismatch(255 - data.x_test[:10])
    assert words.startswith("these images are on average 2")
    assert words.endswith("as if one were the other's negative")


def test_pixels_less_their_mean_are_told():
    facts = load_dataset("digits").pixels
    x = load_dataset("digits").x_test[:5].astype(np.float32)
    assert "run from -5" in facts.mismatch(x - 5)
    overshoot = np.where(x == 0, -0.05, x).astype(np.float32)  # of a resampling filter
    assert facts.mismatch(overshoot) is None


def test_a_channel_that_was_constant_is_told():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (40, 4, 4, 4)).astype(np.uint8)
    x[..., 3] = 255  # opaque
    arrays = {"x_train": x, "y_train": np.arange(40) % 2, "x_test": x[:8], "y_test": [0, 1] * 4}
    support = _learned(arrays)
    support.predict(x[:5])
    clear = x[:5].copy()
    clear[:, :2, :, 3] = 0
    with pytest.warns(UserWarning, match="channel 3 of these images varies, .* was 255 throughout"):
        support.predict(clear)


def test_parts_of_one_container_may_differ_in_brightness():
    """Night and day: whole numbers, whose limits the training part need not reach."""
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
    y = np.arange(40) % 2
    data = Dataset.from_arrays({"x_train": x // 3, "y_train": y, "x_test": x, "y_test": y})
    assert data.pixels.high == 85


def test_few_flat_pictures_are_a_data_set(tmp_path):
    for name, greys in {"dark": (10, 40), "mid": (90, 140)}.items():
        (tmp_path / name).mkdir()
        for grey in greys:
            Image.new("RGB", (16, 16), (grey,) * 3).save(tmp_path / name / f"{grey}.png")
    assert load_dataset(f"folder:{tmp_path}").num_classes == 2


def test_values_that_count_from_white_or_are_transparent(tmp_path):
    values = np.full((8, 8), 2570, np.uint16)
    for name in "ab":
        (tmp_path / "tiff" / name).mkdir(parents=True)
        (tmp_path / "png" / name).mkdir(parents=True)
        for i in range(2):
            picture = Image.fromarray(values + np.uint16(i))
            picture.save(tmp_path / "tiff" / name / f"{i}.tiff", tiffinfo={262: 0})
            picture.save(tmp_path / "png" / name / f"{i}.png", transparency=0)
    with pytest.raises(FileError, match="counts its values from white: save it with 8 bits"):
        load_dataset(f"folder:{tmp_path}/tiff")
    with pytest.raises(FileError, match="has a transparent value: save it with 8 bits"):
        load_dataset(f"folder:{tmp_path}/png")


def test_data_sets_keep_what_they_were_given():
    arrays = {k: np.array(v) for k, v in _digits().items()}
    data = Dataset.from_arrays(arrays)
    before = data.x_test.copy()
    for array in arrays.values():
        array.fill(0)
    np.testing.assert_array_equal(data.x_test, before)


# -- folders --------------------------------------------------------------------------------------


def test_folders_that_no_run_could_end_with(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.new("L", (4, 4), 9 * i).save(tmp_path / name / f"{i}.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")  # reading it would wait for ever
    assert "other files (1: pipe.png)" in load_dataset(f"folder:{tmp_path}").note
    (tmp_path / "a").rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    with pytest.raises(UsageError, match=r"text in UTF-8; got b'caf\\xe9': rename the folder"):
        load_dataset(f"folder:{tmp_path}")


def test_parts_inside_classes_are_not_mixed(tmp_path):
    for name in ("a", "b"):
        for part in ("train", "test"):
            (tmp_path / name / part).mkdir(parents=True)
            Image.new("L", (4, 4), 9).save(tmp_path / name / part / "0.png")
    with pytest.raises(UsageError, match=r"as in train/a; .*a holds train and test: turn the two"):
        load_dataset(f"folder:{tmp_path}")


def test_long_class_names_are_cut_in_folders(tmp_path):
    names = ["x" * 252, "y" * 300, "z"]
    support = make_support(class_names=names)
    support.save_folder(tmp_path / "out")
    assert (tmp_path / "out" / "labels.csv").read_text().startswith(f"file,class,{names[0]},")


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"dog": 1, "cat": 0}, "in the order of the classes"),
        ({"dog", "cat"}, "in the order of the classes"),
        (7, "in the order of the classes"),
        ([b"caf\xe9", b"caf\xe8"], "must be text or UTF-8"),
    ],
)
def test_lists_of_names_that_are_none(names, message):
    x, y = np.zeros((8, 4, 4, 1), np.uint8), np.arange(8) % 2
    arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    with pytest.raises(UsageError, match=message):
        Dataset.from_arrays(arrays, class_names=names)
    with pytest.raises(UsageError, match="not both"):
        Dataset.from_arrays(arrays | {"label_names": np.array(["a", "b"])}, class_names=["b", "a"])


def test_signs_and_points_of_numbers_count():
    for own, other in (
        (["-4", "5", "6"], ["4", "-5", "6"]),
        (["0.1", "0.2", "1"], ["01", "02", "1"]),
    ):
        x, y = np.full((6, 4, 4, 1), 9, np.uint8), np.arange(6) % 3
        data = Dataset.from_arrays(
            {"x_train": x, "y_train": y, "x_test": x, "y_test": y}, class_names=other
        )
        with pytest.raises(UsageError, match="mean different classes"):
            check_data(make_support(class_names=own), data)


# -- other types ----------------------------------------------------------------------------------


def _data():
    return Dataset.from_arrays(_digits())


@pytest.mark.parametrize(
    "call",
    [
        lambda: KIPConfig(learn_labels="false"),
        lambda: KIPConfig(learn_labels=None),
        lambda: KIPConfig(kernel=None),
        lambda: KIPConfig(backend=["fused"]),
        lambda: KIPConfig(architecture=None),
        lambda: KIPConfig(architecture=kipax.architectures.from_name("fc1")),
        lambda: KIPConfig(ridge=10**400),
        lambda: EvaluateConfig(baselines="false"),
        lambda: EvaluateConfig(checkpoints="no"),
        lambda: run_kip(KIPConfig(**TINY), dataset="digits"),
        lambda: run_kip(KIPConfig(**TINY), dataset=_digits()),
        lambda: run_kip(TINY, dataset=_data()),
        lambda: run_kip(LabelSolveConfig(architecture="fc1"), dataset=_data()),
        lambda: run_label_solve(KIPConfig(**TINY), dataset=_data()),
        lambda: run_kip(KIPConfig(**TINY), dataset=_data(), resume="no"),
        lambda: evaluate(make_support(), EvaluateConfig(), dataset="digits"),
        lambda: evaluate(None, EvaluateConfig()),
        lambda: _data().test_part("5"),
        lambda: _data().test_part(-3),
        lambda: load_dataset("digits", validation_examples="3"),
        lambda: load_dataset("folder:x", image_size=10**6),
        lambda: load_dataset("cifar10", data_dir=5),
        lambda: fit_preprocessor(None, np.zeros((2, 4, 4, 1))),
        lambda: fit_preprocessor("zca", np.zeros((2, 4, 4, 1)), zca_lambda="abc"),
        lambda: kipax.make_kernel_fn(None),
        lambda: kipax.make_kernel_fn(["fc1"]),
        lambda: kipax.make_kernel_fn("fc1", kind=None),
        lambda: kipax.load(None),
        lambda: kipax.load(3),
        lambda: kipax.load("a" * 5000),
        lambda: make_support().save(""),
        lambda: make_support().save("/"),
        lambda: make_support().save("a\0b.npz"),
        lambda: make_support().save(None),
        lambda: make_support().save_folder(None),
        lambda: make_support().to_arrays(None),
        lambda: make_support(class_names=[1, 2, 3]),
        lambda: dataclasses.replace(make_support(), metadata={}),
        lambda: make_support(note=np.float32(3)).save("unwritten.npz"),
        lambda: jax.jit(make_support().scores)(np.zeros((1, 4, 4, 1))),
        lambda: ridge.one_hot([0, 1], 2.0),
        lambda: ridge.one_hot([], 0),
        lambda: ridge.loss_by_name(None),
        lambda: ridge.accuracy([[0.0, 1.0]], [7]),
        lambda: ridge.accuracy([[np.inf, 1.0]], [0]),
        lambda: ridge.solve(np.eye(3), np.eye(3), ridge=True),
        lambda: ridge.solve(np.eye(3), np.eye(3), ridge=1e-6).solve(np.eye(2)),
        lambda: StudentSpec(name=None),
        lambda: StudentSpec(name="convnet", width="64"),
        lambda: StudentSpec(name="convnet", width=64.5),
        lambda: StudentSpec(name="convnet", parameterisation=None),
        lambda: StudentSpec(name="convnet").build("3", (32, 32, 3)),
        lambda: StudentSpec(name="convnet").build(0, (32, 32, 3)),
    ],
)
def test_other_types_are_one_sentence(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        call()
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_numpy_says_true_and_false_too(tmp_path):
    config = KIPConfig(**TINY, learn_labels=np.bool_(False))
    assert config.learn_labels is False
    support = run_kip(config, workdir=tmp_path / "run").support
    assert support.metadata["learned_labels"] is False


def test_labels_may_be_whole_numbers():
    support = make_support()
    whole = np.eye(3, dtype=int)[np.arange(6) % 3]
    np.testing.assert_array_equal(support.with_labels(whole).labels, whole)
    np.testing.assert_array_equal(support.with_labels(whole.astype(bool)).labels, whole)


def test_a_loss_of_bytes_does_not_wrap():
    loss, gradient = ridge.mean_square_error(
        np.array([[1]], np.uint8), np.array([[2]], np.uint8), 1
    )
    assert (loss, gradient.tolist()) == (0.5, [[-1.0]])
    assert ridge.mean_square_error([[1.0]], [[2.0]], 1)[0] == 0.5


def test_a_matrix_that_is_no_kernel():
    with pytest.raises(FailedRunError, match="no negative eigenvalues"):
        ridge.solve(-np.eye(3), np.zeros((3, 1)), ridge=1e-6)


@pytest.mark.parametrize("name", ["fc1", "convnet1"])
def test_kernels_of_no_images(name):
    x = np.random.default_rng(0).random((4, 4, 4, 1))
    kernel_fn = kipax.make_kernel_fn(name)
    assert kernel_fn(x[:0], x).shape == (0, 4)
    assert kernel_fn(x, x[:0]).shape == (4, 0)
    assert kernel_fn(x[:0]).shape == (0, 0)


def test_an_image_set_without_its_own_training_images():
    arrays = _digits()
    same = Dataset.from_arrays(arrays | {"x_test": arrays["x_train"], "y_test": arrays["y_train"]})
    with pytest.raises(UsageError, match=r"every class needs a training image; all of 0, 1"):
        same.without_duplicates()
