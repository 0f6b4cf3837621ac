"""``~`` is the home folder wherever a path is given, and never a folder of that name."""

import numpy as np
import pytest

import kipax
from kipax import files, load_dataset
from kipax.data.fit import cache_dir
from kipax.ledger import Ledger
from tests.test_support import make_support


@pytest.fixture
def home(tmp_path, monkeypatch):
    place, here = tmp_path / "home", tmp_path / "here"
    place.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.chdir(here)
    yield place
    assert not list(here.iterdir())


def test_what_a_set_writes(home):
    support = make_support()
    support.save("~/set.npz", preprocessor_dir="~")
    support.save_png("~/set.png")
    support.save_folder("~/pictures")
    assert len(kipax.load("~/set.npz")) == 6
    written = {p.name for p in home.iterdir() if not p.name.startswith(".")}  # matplotlib's
    assert written == {"set.npz", "set.png", "pictures"}


def test_what_else_is_written_and_read(home):
    files.append_line("~/lines", "a")
    files.write_json("~/facts.json", [1])
    assert files.read_json("~/facts.json") == [1]
    Ledger("~/points.jsonl").add("k", {"a": 1})
    assert Ledger("~/points.jsonl").get("k") == {"key": "k", "a": 1}
    digits = load_dataset("digits")
    arrays = {k: getattr(digits, k) for k in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(home / "set.npz", **arrays)
    assert load_dataset("npz:~/set.npz").training_hash == digits.training_hash


def test_the_cache(home, monkeypatch):
    monkeypatch.setenv("KIPAX_CACHE", "~/cache")
    assert cache_dir() == home / "cache"
    monkeypatch.delenv("KIPAX_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == home / ".cache" / "kipax"
