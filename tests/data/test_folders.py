"""Folders as people have them: numbers as names, links, other formats, 16 bits, damaged EXIF."""

import os

import numpy as np
import pytest
from PIL import Image

from kipax import load_dataset
from kipax.data.resize import Picture, fit_pictures
from kipax.errors import FileError, UsageError
from tests.data.test_sources import _picture, _write


def _load(path, **options):
    return load_dataset(f"folder:{path}", **options)


def _grey(folder, values, name="0.png", dtype=np.uint16):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, dtype)).save(folder / name)


# -- classes ------------------------------------------------------------------------------------


def test_numbered_folders_are_the_classes_of_the_numbers(tmp_path):
    for i in range(12):
        _write(tmp_path / str(i), 2, seed=100 * i)
    data = _load(tmp_path)
    assert data.class_names == tuple(map(str, range(12)))
    found = {x.tobytes(): y for x, y in zip(data.x_train, data.y_train, strict=True)}
    both = [found.get(np.asarray(_picture(100 * 10 + i)).tobytes()) for i in range(2)]
    assert 10 in both


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_empty_class_is_refused_not_passed_over(tmp_path, part):
    for p in ("train", "test"):
        for seed, name in enumerate(("ant", "bee", "cat")):
            _write(tmp_path / p / name, 2, seed=10 * seed + 50 * (p == "test"))
    for file in (tmp_path / part / "bee").iterdir():
        file.unlink()
    with pytest.raises(UsageError, match=r"bee holds nothing: put pictures there, or rename"):
        _load(tmp_path)


def test_a_class_without_test_pictures_is_said(tmp_path):
    for p in ("train", "test"):
        for seed, name in enumerate(("ant", "bee", "cat")):
            if (p, name) != ("test", "bee"):
                _write(tmp_path / p / name, 2, seed=10 * seed + 50 * (p == "test"))
    data = _load(tmp_path)
    assert data.class_names == ("ant", "bee", "cat")
    assert sorted(set(data.y_test.tolist())) == [0, 2]
    assert data.note == "no test pictures of bee"


def test_linked_folders_are_followed_once(tmp_path):
    _write(tmp_path / "store" / "deep", 3, seed=50)
    _write(tmp_path / "set" / "a", 2)
    (tmp_path / "set" / "b").symlink_to(tmp_path / "store", target_is_directory=True)
    (tmp_path / "set" / "c").mkdir()
    (tmp_path / "set" / "c" / "linked").symlink_to(tmp_path / "set" / "a")
    (tmp_path / "set" / "c" / "up").symlink_to(tmp_path / "set" / "c")  # a circle
    (tmp_path / "set" / "c" / "top").symlink_to(tmp_path / "set")  # which holds other classes
    data = _load(tmp_path / "set")
    assert data.class_names == ("a", "b", "c")
    assert len(data.x_train) + len(data.x_test) == 7
    assert "links to folders above or read already (2: up, top)" in data.note


@pytest.mark.parametrize("place", ["b", "a/gone.png"])
def test_a_link_to_nothing_is_named(tmp_path, place):
    _write(tmp_path / "a", 2)
    _write(tmp_path / "c", 2, seed=9)
    (tmp_path / place).symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileError, match=f"{place} is a link to what is not there"):
        _load(tmp_path)


def test_accents_are_one_name_however_they_are_spelt(tmp_path):
    for part, name in (("train", "caf\u00e9"), ("test", "cafe\u0301")):
        _write(tmp_path / part / name, 2, seed=50 * (part == "test"))
        _write(tmp_path / part / "tea", 2, seed=50 * (part == "test") + 10)
    data = _load(tmp_path)
    assert data.class_names == ("caf\u00e9", "tea")
    assert data.note == ""


def test_what_is_left_out_is_counted_and_named(tmp_path):
    for p in ("train", "test", "val"):
        for seed, name in enumerate("ab"):
            _write(tmp_path / p / name, 2, seed=10 * seed + 50 * len(p))
    _write(tmp_path / "train" / "a" / "@eaDir", 2, seed=300)
    _write(tmp_path / "train" / ".git", 1)
    _picture(7).save(tmp_path / "train" / "loose.png")
    (tmp_path / "train" / "a" / "notes.txt").write_text("x")
    (tmp_path / "test" / "labels.csv").write_text("x")
    (tmp_path / "val" / "a" / "gone.png").symlink_to(tmp_path / "nowhere")
    data = _load(tmp_path)
    assert len(data.x_train) == 4
    assert data.note == (
        "left out: val/ (4 pictures), hidden files and folders (2: .git, @eaDir), pictures beside "
        "the folders (1: loose.png), other files (2: notes.txt, labels.csv)"
    )


# -- formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["webp", "bmp", "tif", "tiff", "gif", "PNG"])
def test_formats_that_people_have(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    for seed, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for i in range(2):
            _picture(10 * seed + i, mode="L").save(tmp_path / name / f"{i}.{suffix}", **options)
    data = _load(tmp_path)
    pixels = {x[..., 0].tobytes() for x in np.concatenate([data.x_train, data.x_test])}
    assert pixels == {np.asarray(_picture(s, mode="L")).tobytes() for s in (0, 1, 10, 11)}


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_of_several_pictures_in_a_file_the_first_is_taken(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    for seed, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for i in range(2):
            frames = [_picture(100 * seed + 10 * i + k, mode="L") for k in range(3)]
            file = tmp_path / name / f"{i}.{suffix}"
            frames[0].save(file, save_all=True, append_images=frames[1:], **options)
    data = _load(tmp_path)
    assert data.note == "the first picture of each of 4 files with several"
    pixels = {x[..., 0].tobytes() for x in np.concatenate([data.x_train, data.x_test])}
    assert pixels == {np.asarray(_picture(s, mode="L")).tobytes() for s in (0, 10, 100, 110)}


def test_a_malformed_tag_costs_no_picture(tmp_path):
    """EXIF data that end in the middle of a tag; the pixels are sound."""
    for seed, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for i in range(2):
            exif = Image.Exif()
            exif[0x0112], exif[0x010E] = 1, "x" * 40
            whole = exif.tobytes()
            for k, damaged in enumerate((whole[:-30], whole[:20] + b"\xff" * (len(whole) - 20))):
                picture = _picture(100 * seed + 10 * i + k)
                picture.save(tmp_path / name / f"{i}{k}.jpg", exif=damaged)
    data = _load(tmp_path)
    assert len(data.x_train) + len(data.x_test) == 8


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_tag_says(tmp_path, orientation, suffix):
    shown = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    stored = {  # how a camera stores what is shown
        1: shown,
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.T,
        6: np.rot90(shown, 1),
        7: np.rot90(shown, 2).T,
        8: np.rot90(shown, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(2):
            picture = Image.fromarray(np.ascontiguousarray(stored) + np.uint8(i))
            options = {"webp": {"lossless": True}, "tiff": {"compression": "tiff_lzw"}}
            file = tmp_path / name / f"{i}.{suffix}"
            picture.save(file, exif=exif, **options.get(suffix, {}))
    data = _load(tmp_path)
    offsets = np.concatenate([data.x_train, data.x_test])[..., 0] - shown.astype(int)
    assert sorted(set(offsets.ravel().tolist())) == [0, 1]


def test_what_pillow_garbles_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(2):
            _picture(i, size=(4, 3)).save(tmp_path / name / f"{i}.tiff", exif=exif)
    with pytest.raises(FileError, match=r"uncompressed TIFF that its orientation tag turns"):
        _load(tmp_path)


# -- pictures of more than 8 bits a channel -----------------------------------------------------


@pytest.mark.parametrize(
    ("top", "dtype", "shift", "words"),
    [
        (255, np.uint16, 0, "4 grey pictures of more than 8 bits hold 0 to 255: taken as they are"),
        (4095, np.uint16, 4, "taken as 12 bits, of which the upper 8 are kept"),
        (1023, np.uint16, 2, "taken as 10 bits"),
        (65535, np.uint16, 8, "taken as 16 bits"),
        (65535, np.int32, 8, "taken as 16 bits"),
    ],
)
def test_the_range_of_the_set_decides_how_many_bits_there_are(tmp_path, top, dtype, shift, words):
    expected = set()
    suffix = "tiff" if dtype is np.int32 else "png"
    for seed, name in enumerate("ab"):
        for i in range(2):
            values = np.random.default_rng(10 * seed + i).integers(0, top + 1, (6, 6))
            values[0, 0] = top if (seed, i) == (0, 0) else 0  # one picture alone reaches the top
            _grey(tmp_path / name, values, f"{i}.{suffix}", dtype)
            expected.add((values >> shift).astype(np.uint8).tobytes())
    data = _load(tmp_path)
    assert {x.tobytes() for x in np.concatenate([data.x_train, data.x_test])} == expected
    assert words in data.note


@pytest.mark.parametrize(
    ("top", "factor", "words"), [(1.0, 255, "multiplied by 255"), (200.0, 1, "taken as they are")]
)
def test_pictures_of_fractions(tmp_path, top, factor, words):
    for seed, name in enumerate("ab"):
        for i in range(2):
            values = np.random.default_rng(10 * seed + i).random((6, 6)) * top
            _grey(tmp_path / name, values, f"{i}.tiff", np.float32)
    data = _load(tmp_path)
    first = np.rint(np.random.default_rng(0).random((6, 6)).astype(np.float32) * top * factor)
    assert (
        np.abs(np.concatenate([data.x_train, data.x_test])[..., 0] - first).max(axis=(1, 2)).min()
        <= 1
    )
    assert words in data.note


@pytest.mark.parametrize("values", [[[-5, 900]], [[np.nan, 1]], [[0.5, 900]]])
def test_values_that_no_picture_holds_are_refused(tmp_path, values):
    for name in "ab":
        for i in range(2):
            _grey(tmp_path / name, np.repeat(values, 2, axis=0), f"{i}.tiff", np.float32)
    with pytest.raises(UsageError, match=r"keep their values in an npz|pixels must be finite"):
        _load(tmp_path)


def _png_of_16_bit_colour(values):
    """A PNG file of ``(H, W, 3)`` uint16, which Pillow reads but does not write."""
    import struct
    import zlib

    def chunk(kind, body):
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("top", [4096, 65536])
def test_colour_of_16_bits(tmp_path, top):
    for seed, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for i in range(2):
            values = np.random.default_rng(10 * seed + i).integers(0, top, (6, 6, 3))
            (tmp_path / name / f"{i}.png").write_bytes(_png_of_16_bit_colour(values))
    if top == 65536:
        data = _load(tmp_path)
        assert data.note == "of 4 colour pictures of 16 bits the upper 8 are kept"
        first = np.random.default_rng(0).integers(0, top, (6, 6, 3)) >> 8
        pixels = {x.tobytes() for x in np.concatenate([data.x_train, data.x_test])}
        assert first.astype(np.uint8).tobytes() in pixels
    else:
        with pytest.raises(UsageError, match="use only 16 levels of these: convert them to 8 bits"):
            _load(tmp_path)


def test_a_colour_space_that_does_not_convert_is_named():
    lab = Picture((6, 6), False, lambda: Image.new("LAB", (6, 6)), name="lab.tiff")
    with pytest.raises(FileError, match=r"lab\.tiff does not convert to RGB"):
        fit_pictures([lab], None)


# -- what is said of contents -------------------------------------------------------------------


def test_the_same_pictures_in_both_parts_are_counted(tmp_path):
    for part in ("train", "test"):
        _write(tmp_path / part / "a", 3)
        _write(tmp_path / part / "b", 3, seed=50 + 10 * (part == "test"))
    data = _load(tmp_path, validation_examples=2)
    assert data.note == (
        "3 of the 6 test images are training images too (Dataset.without_duplicates leaves those "
        "out of training)"
    )
    with pytest.raises(UsageError, match="every class needs a training image"):
        data.without_duplicates()
    _write(tmp_path / "train" / "a", 5, seed=0)
    clean = _load(tmp_path, validation_examples=2).without_duplicates()
    assert clean.note == ""
    assert len(clean.x_train) + len(clean.x_validation) == 5
    assert len(clean.x_test) == 6


def test_the_same_picture_in_two_classes_is_said(tmp_path):
    for name, seed in (("a", 0), ("b", 50)):
        _write(tmp_path / "train" / name, 4, seed=seed)
        _write(tmp_path / "test" / name, 2, seed=seed + 20)
        _picture(7).save(tmp_path / "train" / name / "same.png")
    assert _load(tmp_path).note == "2 training images stand in several classes"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    _write(tmp_path / "a", 2)
    _write(tmp_path / "b", 2, seed=9)
    (tmp_path / "b").chmod(0)
    with pytest.raises(FileError, match=r"could not read .*b: Permission denied"):
        _load(tmp_path)
