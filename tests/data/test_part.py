"""A part of a data set: lossless, chosen by content, read like any other, proved in the whole."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kipax import Dataset, KIPConfig, files, load, load_dataset, run_kip
from kipax.data import part
from kipax.distill import Reporter
from kipax.errors import FileError, UsageError
from kipax.transfer import EvaluateConfig, evaluate
from tests.test_programs import _run


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)),
    channels=st.sampled_from([1, 2, 3, 4]),
    levels=st.sampled_from([1, 2, 256]),
)
def test_images_come_back(seed, shape, channels, levels):
    rng = np.random.default_rng(seed)
    x = (rng.integers(0, levels, (*shape, channels)) * (255 // max(1, levels - 1))).astype(np.uint8)
    errors = part.encode(x)
    assert errors.shape == (channels, *shape)
    assert errors.dtype == np.uint8
    np.testing.assert_array_equal(part.decode(errors), x)


def test_more_images_than_are_treated_at_once(monkeypatch):
    monkeypatch.setattr(part, "_IMAGES_AT_ONCE", 3)
    x = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3)).astype(np.uint8)
    np.testing.assert_array_equal(part.decode(part.encode(x)), x)


def test_smooth_pictures_have_small_errors():
    row, column = np.mgrid[:8, :8]
    x = np.stack([3 * row + 2 * column + c for c in (10, 0, 5)], axis=-1)[None].astype(np.uint8)
    errors = part.encode(x)
    assert errors[1].max() <= 6  # green: the slopes along the border, twice
    assert errors[[0, 2], 0, 1:, 1:].max() == 0  # the other two differ from it by a constant


def _data(n=60, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (n + 12, 4, 5, 3)).astype(np.uint8)
    y = np.arange(n + 12) % classes
    arrays = {"x_train": x[:n], "y_train": y[:n], "x_test": x[n:], "y_test": y[n:]}
    return Dataset.from_arrays(arrays, name="npz:a/birds.npz", class_names=["a", "b", "c"])


def test_a_part_is_chosen_by_content_and_balanced():
    whole = _data()
    some = part.take_part(whole, 20, 6)
    assert np.bincount(some.y_train).tolist() == [7, 7, 6]
    assert np.bincount(some.y_test).tolist() == [2, 2, 2]
    shuffled = np.random.default_rng(1).permutation(60)
    arrays = {"x_train": whole.x_train[shuffled], "y_train": whole.y_train[shuffled]}
    arrays |= {"x_test": whole.x_test, "y_test": whole.y_test}
    other = part.take_part(Dataset.from_arrays(arrays), 20, 6)
    assert other.training_hash == some.training_hash
    assert part.take_part(whole.hold_out(9), 20, 6).training_hash == some.training_hash
    larger = {x.tobytes() for x in part.take_part(whole, 30).x_train}
    assert {x.tobytes() for x in some.x_train} < larger


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((2, 3), "examples must lie between 3, one of each class, and the 60"),
        ((61, 3), "got 61"),
        ((20, 13), "test_examples must lie between 1 and the 12"),
        ((20, 0), "got 0"),
    ],
)
def test_what_is_no_part(sizes, words):
    with pytest.raises(UsageError, match=words):
        part.take_part(_data(), *sizes)


def test_floats_are_refused(tmp_path):
    data = _data()
    arrays = {"x_train": data.x_train / 2, "y_train": data.y_train}
    arrays |= {"x_test": data.x_test / 2, "y_test": data.y_test}
    floats = Dataset.from_arrays(arrays)
    with pytest.raises(UsageError, match="a part holds uint8 images; those of arrays are float32"):
        part.write_part(tmp_path / "p.npz", part.take_part(floats, 20), floats)


@pytest.fixture
def written(tmp_path):
    whole = _data()
    part.write_part(tmp_path / "p.npz", part.take_part(whole, 20, 6), whole)
    return tmp_path / "p.npz"


def test_it_is_read_like_any_other_set(written):
    some, read = part.take_part(_data(), 20, 6), load_dataset(f"npz:{written}")
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(read, name), getattr(some, name))
    assert read.class_names == ("a", "b", "c")
    assert read.training_hash == some.training_hash
    assert read.note == (
        "a part of birds, class-balanced, chosen by content: 20 of its 60 training and 6 of its "
        "12 test images"
    )
    again = written.with_name("again.npz")
    part.write_part(again, some, _data())
    assert again.read_bytes() == written.read_bytes()


@pytest.mark.slow
def test_the_note_is_said_when_a_run_starts(written, tmp_path):
    class Heard(Reporter):
        said = ()

        def say(self, sentence):
            self.said += (sentence,)

    heard = Heard()
    config = KIPConfig(
        dataset=f"npz:{written}", architecture="fc1", support=3, steps=1, target_batch="9"
    )
    run_kip(config, workdir=tmp_path / "run", reporter=heard)
    assert any(sentence.startswith("a part of birds") for sentence in heard.said)


def _damaged(written, **changes):
    held = files.read_npz(written) | changes
    files.write_npz(written, {k: v for k, v in held.items() if v is not None}, lzma=True)
    return f"npz:{written}"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x_train_errors": None}, "lacks x_train_errors"),
        ({"x_train_errors": np.zeros((3, 4), np.uint8)}, "its x_train are no images"),
        ({"x_test_errors": np.zeros((3, 6, 4, 5), np.float32)}, "its x_test are no images"),
        ({"part": np.array("{")}, "its note on the part says"),
        ({"part": np.array(3.0)}, "its note on the part says"),
        ({"part": np.array(json.dumps({"format": 1}))}, "its note on the part says"),
        (
            {"part": np.array(json.dumps({"format": 2, "of": "", "train": 1, "test": 1}))},
            "has format 2 of a part; this kipax reads 1",
        ),
    ],
)
def test_a_damaged_part_is_one_sentence(written, changes, words):
    with pytest.raises(FileError, match=words):
        load_dataset(_damaged(written, **changes))


def test_pickles_and_cut_files_are_refused(written):
    content = written.read_bytes()
    middle = len(content) // 2
    written.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    with pytest.raises(FileError, match="damaged"):
        load_dataset(f"npz:{written}")
    np.savez(written, part=np.array([{}], object))
    with pytest.raises(FileError, match="pickled objects"):
        load_dataset(f"npz:{written}")


@pytest.mark.slow
def test_a_set_learned_from_a_part_is_tested_on_the_whole(tmp_path, written, monkeypatch):
    """Its whitening, kept as a recipe, is fitted again on the part's images in the whole."""
    monkeypatch.setattr("kipax.support_file._LARGE_BYTES", 0)
    config = KIPConfig(
        dataset=f"npz:{written}",
        architecture="fc1",
        preprocessing="zca",
        support=3,
        steps=2,
        target_batch="9",
    )
    learned = run_kip(config, workdir=tmp_path / "run").support
    learned.save(tmp_path / "small.npz", embed_preprocessor=False)
    whole = _data()
    expected = np.mean(learned.predict(whole.x_test) == whole.y_test)
    result = evaluate(tmp_path / "small.npz", EvaluateConfig(out=None), dataset=whole).results[0]
    assert result.accuracy == expected
    found = load(tmp_path / "small.npz", dataset=whole).preprocess(whole.x_test)
    np.testing.assert_allclose(found, learned.preprocess(whole.x_test), atol=1e-5)
    with pytest.raises(FileError, match="are others"):
        load(tmp_path / "small.npz", dataset=_data(seed=1)).preprocess(whole.x_test)


def test_the_command(tmp_path):
    out = tmp_path / "part.npz"
    status, said, err = _run("part", "--examples=100", f"--out={out}")
    assert status == 0, err
    result = json.loads(said)
    assert (result["train"], result["test"]) == (100, 360)
    assert result["megabytes"] == round(out.stat().st_size / 1e6, 3)
    assert f"--dataset=npz:{out}" in err
    assert repr(load_dataset(f"npz:{out}")).endswith("100 train / 0 validation / 360 test")
