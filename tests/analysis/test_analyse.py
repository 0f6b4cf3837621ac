"""The command `kipax analyse` at its smallest, its parts from Python, and what it refuses."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import kipax
from kipax import analysis
from kipax.analysis import AnalyseConfig
from kipax.commands.analyse import open_sets, tell_left_out
from kipax.console import ConsoleReporter
from kipax.errors import FileError, UsageError

SMALL = AnalyseConfig(eval_examples=60, draws=5, keep="50", bands=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of five steps, so that it has checkpoints and a set."""
    folder = tmp_path_factory.mktemp("runs") / "fc1"
    config = kipax.KIPConfig(architecture="fc1", steps=5, target_batch=50, eval_examples=20)
    kipax.run_kip(config, workdir=folder)
    return folder


def _kipax(*words):
    return subprocess.run(
        [sys.executable, "-m", "kipax", "analyse", *map(str, words)],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
def test_a_run_is_told_over_its_checkpoints(run, tmp_path):
    out = tmp_path / "a" / "b"
    done = _kipax(run, f"--workdir={out}", "--eval_examples=60", "--draws=5")
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "analysis.json").read_text())
    assert json.loads(done.stdout.splitlines()[-1]) == result
    assert [row["step"] for row in result["dimension"]] == [0, 1, 4, 5]
    assert list(result["spectrum"]) == list(result["subsampling"]) == ["step 0", "step 5"]
    assert result["test_examples"] == 60
    first, last = result["dimension"][0], result["dimension"][-1]
    assert first["mean_label_entropy"] == 0 < last["mean_label_entropy"]
    # The run began with real images, which are training images of the data set.
    assert len(result["nearest"]["distance"]) == 10
    assert 0 < result["nearest"]["median"] < result["nearest"]["median_of_test_images"]
    for name in ("dimension.png", "spectrum.png", "subsampling.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 300
            assert np.ptp(np.asarray(picture.convert("L"))) > 200
        assert name in done.stderr


def test_the_numbers_are_those_of_the_functions(run, monkeypatch):
    monkeypatch.setattr("kipax.analysis.sets._ROWS", 500)  # training images in three parts
    sets, dataset = open_sets(str(run), AnalyseConfig(), ConsoleReporter())
    result = analysis.analyse(sets, dataset, SMALL)
    support = sets["step 5"]
    row = result["dimension"][-1]
    assert row["intrinsic_dimension"] == pytest.approx(
        analysis.intrinsic_dimension(support.images), abs=1e-3
    )
    assert row["linear_dimension"] == analysis.linear_dimension(support.images)
    x, y = dataset.test_part(60)
    k_ss = np.asarray(support.kernel_fn()(support.images))
    k_ts = np.asarray(support.kernel_fn()(support.preprocess(x), support.images))
    bands = analysis.spectral_bands(k_ss, k_ts, support.labels, y, bands=2)
    assert result["spectrum"]["step 5"]["bands"] == pytest.approx(bands.accuracies, abs=1e-4)
    kept = result["subsampling"]["step 5"]
    assert list(kept) == ["50", "100"]  # the whole set is always there
    assert kept["100"]["mean"] == pytest.approx(np.mean(support.predict(x) == y), abs=1e-4)
    assert (kept["50"]["images"], kept["100"]["std"]) == (5, 0)
    near = result["nearest"]
    far = dataset.x_train[near["training_image"][3]]
    distance = np.linalg.norm(support.preprocess(far[None])[0] - support.images[3])
    assert near["distance"][3] == pytest.approx(distance, abs=1e-3)
    json.dumps(result)


def test_a_set_alone_stands_beside_real_images(run, tmp_path, monkeypatch):
    alone = tmp_path / "alone.npz"
    kipax.load(run).save(alone)
    sets, dataset = open_sets(str(alone), AnalyseConfig(), ConsoleReporter())
    assert list(sets) == ["random real", "KIP"]
    result = analysis.analyse(sets, dataset, SMALL)
    assert len(result["dimension"]) == 2
    assert result["images"] == 10
    real = analysis.analyse({"real": sets["random real"]}, dataset, SMALL)
    assert real["nearest"]["median"] == 0  # they are training images
    assert real["labels"]["shares_most_with"] == [None] * 10
    sets, _ = open_sets("digits-convnet-10", AnalyseConfig(), ConsoleReporter())
    assert list(sets) == ["random real", "KIP"]


def test_repeated_images_are_left_out(run, capsys):
    support = kipax.load(run)
    images = np.array(support.images)
    images[7] = images[2]
    repeated = dataclasses.replace(support, images=images)
    result = analysis.analyse({"it": repeated}, kipax.load_dataset("digits"), SMALL)
    row = result["dimension"][0]
    assert (row["distinct_images"], row["left_out"], row["gradient_left_out"]) == (9, 1, 1)
    tell_left_out(result["dimension"], ConsoleReporter())
    assert capsys.readouterr().err.splitlines() == [
        "it: 1 images repeat others and were left out",
        "it: 1 gradients repeat others and were left out",
    ]
    with pytest.raises(UsageError, match="rank 9, below 10 bands: take at most 9"):
        analysis.analyse({"it": repeated}, kipax.load_dataset("digits"), AnalyseConfig(bands=10))
    images[:] = images[0]
    images[1] = images[1] + 1
    two = dataclasses.replace(support, images=images)
    with pytest.raises(UsageError, match="at least three distinct points; got 2 of 10"):
        analysis.analyse({"it": two}, kipax.load_dataset("digits"), SMALL)


def test_what_is_no_run_or_set(run, tmp_path):
    (tmp_path / "empty").mkdir()
    takes = r"give the folder of a finished kip or label_solve run, a set's file, or a name"
    with pytest.raises(UsageError, match=rf"empty holds no support\.npz: {takes}"):
        open_sets(str(tmp_path / "empty"), AnalyseConfig(), ConsoleReporter())
    (tmp_path / "empty" / "network.npz").touch()  # as of kipax teacher
    with pytest.raises(UsageError, match=rf"a network, which `kipax probe .*empty`.*: {takes}"):
        open_sets(str(tmp_path / "empty"), AnalyseConfig(), ConsoleReporter())
    (tmp_path / "text.npz").write_text("no set")
    with pytest.raises(FileError, match=r"text\.npz"):
        open_sets(str(tmp_path / "text.npz"), AnalyseConfig(), ConsoleReporter())
    done = _kipax("nothing")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("there is no file nothing and no shipped set of that name")
    assert done.stderr.count("\n") == 1
    x = np.random.default_rng(0).integers(0, 17, (20, 6, 6, 1)).astype(np.uint8)
    y = np.arange(20) % 10
    np.savez(tmp_path / "other.npz", x_train=x, y_train=y, x_test=x + 1, y_test=y)
    other = AnalyseConfig(dataset=f"npz:{tmp_path / 'other.npz'}")
    with pytest.raises(UsageError, match=r"takes images \(8, 8, 1\) of 10 classes"):
        open_sets(str(run), other, ConsoleReporter())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"keep": "0"}, "keep is a comma-separated list of whole numbers from 1"),
        ({"keep": "half"}, "keep is a comma-separated list of whole numbers from 1"),
        ({"keep": "50,150"}, "keep is a comma-separated list of percentages from 1 to 100"),
        ({"bands": 0}, "bands must be positive"),
        ({"draws": 0}, "draws must be positive"),
        ({"eval_examples": 0}, "eval_examples must be positive"),
        ({"seed": -1}, "seed must lie between"),
        ({"bands": 2.5}, "bands must be a whole number"),
    ],
)
def test_settings_out_of_range(values, message):
    with pytest.raises(UsageError, match=message):
        AnalyseConfig(**values)


def test_too_many_bands_say_how_many_there_are(run):
    config = dataclasses.replace(SMALL, bands=11)
    with pytest.raises(UsageError, match="rank 10, below 11 bands: take at most 10"):
        analysis.analyse({"it": kipax.load(run)}, kipax.load_dataset("digits"), config)
    with pytest.raises(UsageError, match="at least one set"):
        analysis.analyse({}, kipax.load_dataset("digits"))
